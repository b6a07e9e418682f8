"""How payments stand that were sent: expired leases, and what the gateway says when it is asked."""

import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from uuid import uuid4

from odoo import _, api, models
from odoo.exceptions import UserError

from ..gateway import clock, errors
from ..gateway.masking import RedactingFilter, mask_payee
from . import const
from .dispatch import LONGEST_PAUSE, LOOK_UP, Dispatch
from .inside import delayed, in_job, job_uuid
from .lease import lease_seconds
from .own_cursor import OwnCursor, durably
from .pace import Pace
from .share import LOOK_EVERY, Share
from .share import PATIENCE as PATIENCE_FOR_SHARE

_logger = logging.getLogger(__name__)
_logger.addFilter(RedactingFilter())

# Minutes until the next query of a payment, after each query of it; the last one goes on.
INTERVALS = (2, 5, 10, 30, 60, 120, 360, 720, 1440)
# Days after it was first sent, after which a payment without news becomes a person's task.
LAST_DAY = 7
# Status queries of one run of the scheduled job, for each manager; and for a connection in one claim.
MOST_IN_RUN = 1000
CLAIM_PER_CONNECTION = 10
# Seconds; less than the shortest interval, after which others may ask for the same payments.
SECONDS_IN_CLAIM = 60
# Odoo kills a scheduled job that takes too long, and what comes after it would wait for ever. What is left is
# asked for by a job of its own, for so long, and then by another one.
SECONDS_IN_RUN = 60
SECONDS_IN_JOB = 60
SECONDS_TO_SEND_AGAIN = 10
PATIENCE = 3


class MpesaStatus(models.AbstractModel):
    _name = "g2p.mpesa.status.mixin"
    _description = "M-Pesa Payment Manager: Status"

    @api.model
    def _cron_mpesa_refresh(self):
        """Scheduled: turn dead senders' claims into doubt, and ask gateways what became of payments."""
        managers = self.env["g2p.program.payment.manager.mpesa"]
        for step in (lambda: durably(self.env, expire_leases), managers._mpesa_renew_secrets_durably):
            try:
                step()
            except Exception:
                # The edge of the job: the managers are looked after all the same.
                _logger.exception("A step of the scheduled job failed")
        ends = clock.now() + SECONDS_IN_RUN
        # Each of them, and there are as many as there are programs.
        for manager in self.sudo().search([]):  # pylint: disable=no-search-all
            try:
                manager._mpesa_look_after(ends)
            except Exception:
                # The edge of the job: whatever is wrong with one manager, the others go on.
                _logger.exception("The status of manager %s could not be refreshed", manager.id)
        locked = self.env["g2p.cycle"].sudo().search([("mpesa_locked", "=", True)])
        durably(self.env, lambda own: own["g2p.cycle"].browse(locked.ids)._mpesa_unlock())

    def _mpesa_look_after(self, ends):
        """One manager's part of the scheduled job; each step is committed on its own."""
        durably(self.env, lambda own: self.with_env(own)._mpesa_give_up())
        if self._mpesa_is_float_enough_again():
            # Where somebody holds the manager, the next run lifts it.
            with suppress(UserError):
                self._mpesa_lift_hold()
        durably(self.env, lambda own: self.with_env(own)._mpesa_sweep())
        try:
            self._mpesa_refresh_status(most=MOST_IN_RUN, ends=ends)
        except errors.GatewayError as error:
            _logger.warning("Manager %s cannot ask its gateway: %s", self.id, error.message)
        else:
            self._mpesa_refresh_in_job(f"mpesa-status-{self.id}")

    def _mpesa_refresh_in_job(self, key):
        """Ask by a job for what is due still, where a job does not do so already."""
        if self.status_endpoint_url and StatusQuery(self).anything_due():
            delayed(self, identity_key=key, priority=20)._refresh_status_job()

    def _refresh_status_job(self):
        """Queue job: ask the gateway for what is due, for a while, and leave the rest to another job.

        :return: what was done, as the job's result.
        """
        self = in_job(self)
        try:
            asked = self._mpesa_refresh_status(ends=clock.now() + SECONDS_IN_JOB)
        except errors.GatewayError as error:
            # The scheduled job tries again.
            return error.message
        self._mpesa_refresh_in_job(f"mpesa-status-{self.id}-after-{job_uuid(self.env)}")
        return f"{asked} asked"

    def _mpesa_give_up(self):
        """What has no news on its last day becomes a person's task, in this transaction.

        The gateway is still asked for it, but it is not sent again.
        """
        self.env.cr.execute(
            "SELECT id, mpesa_state FROM g2p_payment WHERE mpesa_manager_id = %s"
            " AND mpesa_state IN ('accepted', 'doubt') AND (mpesa_state = 'accepted' OR %s"
            "      AND coalesce(mpesa_reason, '') NOT IN ('no_news', 'amount_differs'))"
            " AND mpesa_first_sent_at < clock_timestamp() AT TIME ZONE 'UTC' - %s * interval '1 day'"
            " ORDER BY mpesa_next_check LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED",
            # A doubt of a gateway that cannot be asked is a person's task from its first day.
            [self.id, bool(self.status_endpoint_url), LAST_DAY],
        )
        states = dict(self.env.cr.fetchall())
        payments = self.env["g2p.payment"].browse(states)
        accepted = [{"id": payment_id} for payment_id in states if states[payment_id] == const.ACCEPTED]
        payments._mpesa_move([const.ACCEPTED], const.DOUBT, accepted)
        if payments:
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_reason = 'no_news' WHERE id = ANY(%s)", [payments.ids]
            )
            payments.invalidate_recordset()
            note = _(
                "Payments of which the gateway does not say how they went: %s. Look them up, and settle"
                " them.",
                len(states),
            )
            payments.batch_id[:1]._mpesa_call_finance_once(_("No news for %s days", LAST_DAY), note)

    def _mpesa_refresh_status(self, payments=None, most=float("inf"), ends=float("inf")):
        """Ask the gateway for payments that are accepted or in doubt, those that are due first.

        :param payments: only these, due or not; None for all that are due.
        :param float ends: the moment of the clock after which nothing more is asked.
        :return: how many were asked for.
        :raise GatewayError: the gateway is in no state to be asked.
        """
        self.ensure_one()
        if not self.status_endpoint_url:
            return 0
        return StatusQuery(self, payments).run(most, ends)


NOT_ASKED = object()
# Whose turn it is, by this moment or not: what is asked for now was chosen by somebody.
DUE = """
    mpesa_state IN ('accepted', 'doubt') AND mpesa_manager_id = %(manager)s AND mpesa_reference IS NOT NULL
    AND mpesa_gateway = ANY(%(gateways)s)
    AND CASE WHEN %(all)s THEN mpesa_next_check <= statement_timestamp() AT TIME ZONE 'UTC'
             ELSE id = ANY(%(ids)s) AND NOT id = ANY(%(asked)s) END
"""


class StatusQuery:
    """Asks the gateway for payments, as many at a time as there are connections.

    Two at once never ask for the same one. Threads make the requests and nothing else.

    :param payments: only these, due or not; None for all that are due.
    """

    def __init__(self, manager, payments=None):
        self.env = manager.env
        self.manager = manager
        self.payment_ids = payments.ids if payments is not None else None
        self._gateway = manager._mpesa_gateway()
        # Of what was sent elsewhere, this gateway would say that it has failed, or was never seen.
        self._gateways = manager._mpesa_asks_for()
        self._own = OwnCursor(manager.env)
        self._share = Share(manager, self._own, lease_seconds(manager.env))
        self._by_reference = {}
        self._rows = []
        self._asked = []
        self._never_seen = []
        # The gateway has paid another amount.
        self._differing = {}
        self._pace = Pace(manager)
        self._lock = threading.Lock()
        self._in_a_row = 0
        # Why nothing more is asked.
        self._error = None

    def run(self, most, ends):
        """Ask until nothing is due.

        :param most: ask for no more than so many.
        :param float ends: the moment of the clock after which nothing more is asked.
        :return: how many were asked for.
        :raise GatewayError: the gateway is in no state to be asked.
        """
        if not self.anything_due():
            return 0
        with (
            self.manager._mpesa_client(self._note) as client,
            closing(self._own),
            closing(self._share),
            ThreadPoolExecutor(self._share.most, "mpesa-status") as pool,
        ):
            self._require_share(ends)
            while len(self._asked) < most and clock.now() < ends:
                self._share.look()
                at_once = min(CLAIM_PER_CONNECTION * max(1, self._share.size), self._pace.most_at_once)
                number = min(at_once, most - len(self._asked))
                due, turns = durably(self.env, lambda own, number=number: self._claim_turns(own, number))
                if not due:
                    break
                until = min(ends, clock.now() + SECONDS_IN_CLAIM)
                orders = [(payment, turn, until) for payment, turn in zip(due, turns, strict=True)]
                asking = [pool.submit(self._ask, client, *order) for order in orders]
                while wait(asking, LOOK_EVERY).not_done:
                    self._share.look()
                answers = [future.result() for future in asking]
                self._record(due, answers)
                self._send_again(ends)
        return len(self._asked)

    def _send_again(self, ends):
        """Send what the gateway has never seen, and has a moment for it, however long the queries took."""
        if not self._never_seen:
            return
        ends = max(ends, clock.now() + SECONDS_TO_SEND_AGAIN)
        batches = self.env["g2p.payment.batch"]
        Dispatch(self.manager, batches, share=self._share).send_again(self._never_seen, ends)
        self._never_seen = []

    def _require_share(self, ends):
        """Wait for a connection for us, not beyond a moment of the clock.

        :raise GatewayError: others have them all.
        """
        if not self._share.acquire(min(PATIENCE_FOR_SHARE, max(0, ends - clock.now()))):
            raise errors.Unreachable(
                errors.UNREACHABLE,
                _("All connections of this account at the gateway are taken at the moment."),
            )

    def anything_due(self):
        """Whether there is something left to ask for."""

        def look(own):
            own.cr.execute(f"SELECT 1 FROM g2p_payment WHERE {DUE} LIMIT 1", self._parameters())
            return bool(own.cr.fetchone())

        return durably(self.env, look)

    def _claim_turns(self, own, number):
        """The next due payments, and the moment for each; none while the gateway is to be left alone."""
        seconds = self._pace.seconds_ahead(own)
        if seconds > LONGEST_PAUSE:
            raise errors.Unreachable(
                errors.UNREACHABLE, _("The gateway is to be left alone for %s seconds.", math.ceil(seconds))
            )
        due = self._claim(own, int(number))
        return due, self._pace.reserve(own, len(due))

    def _parameters(self):
        return {
            "manager": self.manager.id,
            "gateways": self._gateways,
            "all": self.payment_ids is None,
            "ids": self.payment_ids or [],
            "asked": self._asked if self.payment_ids else [],
        }

    def _claim(self, own, number):
        """The next due payments; put off before they are asked for, so that nobody else asks."""
        minutes = ", ".join(str(interval) for interval in INTERVALS)
        own.cr.execute(
            # Looked up once: as a part of WHERE it may be run for each row, and find others each time.
            f"""
            WITH due AS MATERIALIZED (
                SELECT id FROM g2p_payment WHERE {DUE}
                 ORDER BY mpesa_next_check LIMIT %(number)s FOR NO KEY UPDATE SKIP LOCKED)
            UPDATE g2p_payment p SET
                mpesa_checks = coalesce(p.mpesa_checks, 0) + 1,
                mpesa_next_check = clock_timestamp() AT TIME ZONE 'UTC' + interval '1 minute'
                    * (ARRAY[{minutes}])[least(coalesce(p.mpesa_checks, 0) + 1, {len(INTERVALS)})]
              FROM due WHERE p.id = due.id
            RETURNING p.id, p.mpesa_claim AS claim, p.batch_id, p.mpesa_reference, p.amount_issued,
                p.account_number,
                p.mpesa_state = 'doubt' AND p.mpesa_gateway = %(gateway)s AND p.mpesa_sent_at
                    < clock_timestamp() AT TIME ZONE 'UTC' - %(grace)s * interval '1 minute'
                    AND p.mpesa_first_sent_at > clock_timestamp() AT TIME ZONE 'UTC'
                        - %(key_hours)s * interval '1 hour' AS may_go_again,
                p.mpesa_sent_at < clock_timestamp() AT TIME ZONE 'UTC' - %(grace)s * interval '1 minute'
                    OR (SELECT count(*) FROM g2p_payment_mpesa_attempt a
                         WHERE a.payment_id = p.id AND a.kind IN ('payment', 'lease')) < 2 AS is_of_this
            """,
            self._parameters()
            | {
                "number": number,
                "gateway": self._gateway,
                "grace": self.manager._mpesa_grace(),
                "key_hours": self.manager.key_hours,
            },
        )
        due = own.cr.dictfetchall()
        self._by_reference = {row["mpesa_reference"]: row for row in due}
        return due

    # In the threads

    def _ask(self, client, payment, turn, until):
        """The gateway's answer, or None where there is none; ``NOT_ASKED`` where it is too late to ask."""
        while not self._error and (left := min(turn, until) - clock.now()) > 0:
            time.sleep(min(left, LOOK_UP))
        with self._share.connection(lambda: self._error or clock.now() >= until) as is_there:
            return self._status(client, payment) if is_there else NOT_ASKED

    def _status(self, client, payment):
        try:
            status = client.status(payment["mpesa_reference"])
        except errors.GatewayError as error:
            self._count(error)
            return None
        self._count(None)
        return status

    def _count(self, error):
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if error else 0
            is_us = isinstance(error, errors.OurFault)
            if error and (is_us or error.is_overload or self._in_a_row >= PATIENCE):
                self._error = self._error or error

    def _note(self, contact):
        row = self.env["g2p.payment.mpesa.attempt"]._row(contact) | {"manager_id": self.manager.id}
        payment = self._by_reference.get(contact.reference)
        if payment:
            row |= {
                "payment_id": payment["id"],
                "batch_id": payment["batch_id"],
                "payee": mask_payee(payment["account_number"]),
                "amount": payment["amount_issued"],
            }
        self._rows.append(row)

    # Written by the thread that runs

    def _record(self, due, answers):
        """Settle what the gateway has decided, and leave the rest as it is."""
        pairs = list(zip(due, answers, strict=True))
        not_asked = [payment["id"] for payment, answer in pairs if answer is NOT_ASKED]
        self._asked += [payment["id"] for payment, answer in pairs if answer is not NOT_ASKED]
        moves = [self._move(*pair) for pair in pairs if pair[1] not in (None, NOT_ASKED)]
        durably(self.env, lambda own: self._write(own, [move for move in moves if move], not_asked))
        self._rows.clear()
        if self._error:
            if self._error.is_overload:
                seconds = self._error.retry_after or 2.0**self._in_a_row
                durably(self.env, lambda own: self._pace.put_off(own, seconds))
            raise self._error

    def _move(self, payment, status):
        """What an answer means: sources, target, whether confirmed, and the row; None if nothing follows."""
        sources = (const.ACCEPTED, const.DOUBT)
        row = {"id": payment["id"], "mpesa_reason": None, "mpesa_words": status.words or None}
        if status.state == "completed" and status.amount not in (None, payment["amount_issued"]):
            self._differing[payment["id"]] = status.amount
            return (const.ACCEPTED,), const.DOUBT, False, row | {"mpesa_reason": "amount_differs"}
        if status.state == "completed":
            return sources, const.PAID, True, row | {"mpesa_receipt": status.receipt or None}
        # Sent once more after a failure, it may be under way while the gateway still tells of the first time.
        # Somebody else may have sent it once more since it was looked up: then it has another claim.
        if status.state == "failed" and payment["is_of_this"]:
            row |= {"claim": payment["claim"], "mpesa_reason": errors.FAILED_LATER}
            return sources, const.REFUSED, False, row
        if status.state == "unknown" and payment["may_go_again"] and self.manager.honours_idempotency_key:
            self._never_seen.append(payment["id"])
        return None

    def _write(self, own, moves, not_asked):
        """Twice is as good as once."""
        for sources, target, confirmed in {move[:3] for move in moves}:
            rows = [move[3] for move in moves if move[:3] == (sources, target, confirmed)]
            own["g2p.payment"]._mpesa_move(sources, target, rows, confirmed=confirmed)
        own["g2p.payment.mpesa.attempt"]._record(self._rows)
        own.cr.execute(
            "UPDATE g2p_payment p SET mpesa_reason = 'amount_differs', mpesa_gateway_amount = v.amount"
            "  FROM unnest(%s::int[], %s::numeric[]) AS v(id, amount)"
            " WHERE p.id = v.id AND mpesa_state = 'doubt'",
            [list(self._differing), list(self._differing.values())],
        )
        # They are due still.
        own.cr.execute(
            "UPDATE g2p_payment SET mpesa_next_check = clock_timestamp() AT TIME ZONE 'UTC'"
            " WHERE id = ANY(%s) AND mpesa_state IN ('accepted', 'doubt')",
            [not_asked],
        )


def expire_leases(own):
    """Turn claims whose sender died into doubt, in this transaction; nobody knows whether they went out."""
    own.cr.execute(
        "SELECT id, batch_id, mpesa_manager_id, mpesa_reference, amount_issued, account_number,"
        " mpesa_sender_id FROM g2p_payment WHERE mpesa_state = 'sending'"
        " AND mpesa_lease_until < clock_timestamp() AT TIME ZONE 'UTC'"
        " ORDER BY id LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED"
    )
    rows = own.cr.dictfetchall()
    own["g2p.payment"]._mpesa_move(
        [const.SENDING],
        const.DOUBT,
        [{"id": row["id"], "mpesa_reason": "sender_died", "mpesa_words": None} for row in rows],
    )
    own["g2p.payment.mpesa.attempt"]._record([_lease_row(own, row) for row in rows])


def _lease_row(own, row):
    return {
        "key": str(uuid4()),
        "kind": "lease",
        "manager_id": row["mpesa_manager_id"],
        "payment_id": row["id"],
        "batch_id": row["batch_id"],
        "reference": row["mpesa_reference"],
        "payee": mask_payee(row["account_number"]),
        "amount": row["amount_issued"],
        "started": own.cr.now(),
        "outcome": "doubt",
        "reason": "sender_died",
        "user_id": row["mpesa_sender_id"],
    }
