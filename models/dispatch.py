"""From ready payments to recorded outcomes: claim, send, write.

A claim is committed before the first byte of its payments leaves, no transaction is open while the gateway
is asked, and each outcome is committed on its own. Whatever is killed, in whatever moment, a payment that
may have gone out is never ready again.
"""

import logging
import time
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg2

from ..gateway import errors
from ..gateway.masking import RedactingFilter, mask_payee
from ..gateway.simple import Order
from . import const
from .lease import Lease, lease_seconds
from .own_cursor import PASSING, durably, own_transaction

_logger = logging.getLogger(__name__)
_logger.addFilter(RedactingFilter())

# What is claimed when a sender dies becomes doubt, sent or not: so, little at a time.
CLAIM_SIZE = 4
# So many unclear answers or refused connections in a row, and the rest waits.
PATIENCE = 3
# Why a dispatch stopped that another one may take up without a person.
PASSES = {"unreachable", "circuit"}
# How often those are looked for again that were busy or locked, and seconds between.
ROUNDS = 3
PAUSE = 0.3


@dataclass
class Claimed:
    """A payment that this sender, and nobody else, may send now."""

    payment_id: int
    batch_id: int
    token: str
    order: Order
    again: bool = False


@dataclass
class Result:
    """What one dispatch did.

    :param dict counts: how many payments came to each state, ``ready`` being those that were given back.
    :param str stopped: why the rest was not tried, a code of ``const.REASONS``, or "".
    :param str words: the gateway's own words for it.
    :param bool unfinished: the time was over before the payments were.
    """

    counts: dict = field(default_factory=dict)
    stopped: str = ""
    words: str = ""
    unfinished: bool = False

    def add(self, state):
        self.counts[state] = self.counts.get(state, 0) + 1


class Dispatch:
    """Sends the ready payments of batches, one after another.

    :param manager: the M-Pesa payment manager, with the caller's environment.
    :param batches: whose payments; other managers' payments in them are left alone.
    :param float seconds: begin no further payment after this long; None for no limit.
    :param int most: begin no more payments than this; None for no limit.
    :param payments: only these of them; None for all.
    :param bool by_job: nobody waits, so it waits itself while the gateway is left in peace.
    """

    def __init__(self, manager, batches, seconds=None, most=None, by_job=False, payments=None):
        self.env = manager.env
        self.manager = manager
        # Read now: the caller's cursor may be lost while money is on its way.
        self._confirms_later = bool(manager.status_endpoint_url)
        self._gateway = manager._mpesa_gateway()
        self.batch_ids = batches.ids
        self.payment_ids = payments and payments.ids
        self.result = Result()
        self._ends = time.monotonic() + seconds if seconds else float("inf")
        self._left = most or float("inf")
        self._in_a_row = 0
        # Rows of the journal that are not written yet, and the payment that they are about.
        self._rows = []
        self._item = None
        self._by_job = by_job
        self._lease = Lease(manager.env, lease_seconds(manager.env))

    def run(self):
        """Send until nothing is ready, or something says stop.

        :return: a :class:`Result`.
        :raise psycopg2.Error: the database is gone; what was claimed and not recorded becomes doubt.
        """
        if self._by_job and self._is_left_in_peace():
            return self.result
        with self.manager._mpesa_client(self._note) as client, self._lease:
            if self._anything_ready() and self._log_in(client):
                self._send_rounds(client)
        durably(self.env, self._finish)
        return self.result

    def _is_left_in_peace(self):
        """After several failures in a row nobody asks the gateway for a while, but a person who clicks."""
        with own_transaction(self.env) as own:
            manager = self.manager.with_env(own)
            if manager.mpesa_hold_until and manager.mpesa_hold_until > own.cr.now():
                self._stop(manager.mpesa_hold_reason, "")
        return bool(self.result.stopped)

    def _anything_ready(self, condition=""):
        with own_transaction(self.env) as own:
            own.cr.execute(
                "SELECT 1 FROM g2p_payment WHERE batch_id = ANY(%s) AND mpesa_state = 'ready'"
                f" AND mpesa_manager_id = %s AND (%s::int4[] IS NULL OR id = ANY(%s)) {condition} LIMIT 1",
                [self.batch_ids, self.manager.id, self.payment_ids, self.payment_ids],
            )
            return bool(own.cr.fetchone())

    def _log_in(self, client):
        try:
            client.log_in()
        except errors.NotTaken as error:
            self._stop(error.reason, error.message)
        durably(self.env, self._write_rows)
        self._rows.clear()
        return not self.result.stopped

    def _send_rounds(self, client):
        """Pass over the batches until nothing is left that could go out, or nothing moves any more."""
        idle = 0
        while idle < ROUNDS:
            before = sum(self.result.counts.values())
            self._send_round(client)
            if not self._may_go_on() or not self._anything_ready("AND mpesa_reason IS NULL"):
                return
            # Somebody edits the payment, or another payment to this payee is on its way.
            idle = 0 if sum(self.result.counts.values()) > before else idle + 1
            time.sleep(PAUSE)

    def _send_round(self, client):
        last_id = 0
        while self._may_go_on():
            claimed, last_id = self._claim(last_id)
            if claimed:
                self._send_all(client, claimed)
            elif not last_id:
                return

    def _may_go_on(self):
        if time.monotonic() >= self._ends:
            self.result.unfinished = True
        return not self.result.stopped and self._left > 0 and not self.result.unfinished

    def send_again(self, payment_ids):
        """Send doubts again, with the reference, payee and amount that they went out with.

        Only for a gateway that honours the reference, and says that it has never seen it.
        """
        with self.manager._mpesa_client(self._note) as client, self._lease:
            for payment_id in payment_ids:
                item = self._claim_doubt(payment_id) if self._may_go_on() else None
                if item:
                    self._send_one(client, item)
                    self._lease.drop(item.token)
        return self.result

    # Claim

    def _claim_doubt(self, payment_id):
        token = str(uuid4())
        self._lease.hold(token, time.monotonic())
        try:
            with own_transaction(self.env) as own:
                return self._claim_doubt_in(own, token, payment_id)
        except (psycopg2.errors.UniqueViolation, *PASSING):
            # Nothing was claimed, or it becomes a doubt again by itself.
            return None

    def _claim_doubt_in(self, own, token, payment_id):
        own.cr.execute(
            "SELECT id, batch_id, amount_issued, mpesa_reference, account_number FROM g2p_payment"
            " WHERE id = %s AND mpesa_state = 'doubt' AND mpesa_reference IS NOT NULL"
            " FOR NO KEY UPDATE SKIP LOCKED",
            [payment_id],
        )
        row = own.cr.dictfetchone()
        if not row:
            return None
        item = self._claimed(token, row, row["account_number"], again=True)
        self._mark_sending(own, token, [item])
        return item

    def _claim(self, after_id):
        """Claim the next few payments, in a transaction that is committed when this returns.

        :return: the claimed, and the id to go on from, 0 at the end.
        """
        token = str(uuid4())
        self._lease.hold(token, time.monotonic())
        try:
            with own_transaction(self.env) as own:
                return self._claim_in(own, token, after_id)
        except psycopg2.errors.UniqueViolation:
            # Another sender has just claimed a payment to the same payee.
            return [], 0
        except psycopg2.errors.LockNotAvailable:
            # Somebody holds a row for long. Nothing was claimed.
            return [], 0
        except PASSING:
            # Whether the COMMIT happened is not known, so give back what it may have claimed.
            durably(self.env, lambda own: self._release(own, token))
            return [], 0

    def _claim_in(self, own, token, after_id):
        rows = self._candidates(own, after_id)
        if not rows:
            return [], 0
        sendable, problems = self._sort_out(own, rows)
        claimed = [self._claimed(token, *pair) for pair in self._without_busy_payees(own, sendable)]
        self._mark_sending(own, token, claimed)
        self._write_problems(own, problems)
        return claimed, rows[-1]["id"]

    def _mark_sending(self, own, token, items):
        own["g2p.payment"]._mpesa_move(
            [const.READY, const.DOUBT],
            const.SENDING,
            [self._claim_row(item) for item in items],
            new_claim={
                "token": token,
                "gateway": self._gateway,
                "user_id": self.env.uid,
                "lease_seconds": self._lease.seconds,
            },
        )

    def _candidates(self, own, after_id):
        own.cr.execute(
            """
            SELECT p.id, p.batch_id, p.amount_issued, p.mpesa_reference, p.mpesa_reason,
                   e.partner_id, e.state AS entitlement_state
              FROM g2p_payment p
              JOIN g2p_entitlement e ON e.id = p.entitlement_id
             WHERE p.batch_id = ANY(%s) AND p.mpesa_state = 'ready' AND p.mpesa_manager_id = %s AND p.id > %s
               AND (%s::int4[] IS NULL OR p.id = ANY(%s))
             ORDER BY p.id
             LIMIT %s
               FOR NO KEY UPDATE OF p SKIP LOCKED
            """,
            [
                self.batch_ids,
                self.manager.id,
                after_id,
                self.payment_ids,
                self.payment_ids,
                int(min(CLAIM_SIZE, self._left)),
            ],
        )
        return own.cr.dictfetchall()

    def _sort_out(self, own, rows):
        """Split into pairs of row and payee that can go out, and pairs of row and what keeps it back."""
        manager = self.manager.with_env(own)
        partners = own["res.partner"].browse({row["partner_id"] for row in rows})
        payees = manager._mpesa_payees(partners)
        sendable, problems = [], []
        for row in rows:
            payee = payees.get(row["partner_id"])
            problem = manager._mpesa_problem(row["amount_issued"], payee, row["entitlement_state"])
            (problems if problem else sendable).append((row, problem or payee))
        return sendable, problems

    def _without_busy_payees(self, own, sendable):
        own.cr.execute(
            "SELECT account_number FROM g2p_payment"
            " WHERE mpesa_manager_id = %s AND mpesa_state = 'sending' AND account_number = ANY(%s)",
            [self.manager.id, [payee for _row, payee in sendable]],
        )
        busy = {row[0] for row in own.cr.fetchall()}
        free = []
        for row, payee in sendable:
            if payee not in busy:
                free.append((row, payee))
                busy.add(payee)
        return free

    def _claimed(self, token, row, payee, again=False):
        reference = row["mpesa_reference"] or str(uuid4())
        return Claimed(
            payment_id=row["id"],
            batch_id=row["batch_id"],
            token=token,
            order=Order(reference, payee, self.manager._whole_shillings(row["amount_issued"])),
            again=again,
        )

    @staticmethod
    def _claim_row(item):
        return {
            "id": item.payment_id,
            "mpesa_reference": item.order.reference,
            "account_number": item.order.payee,
            "mpesa_reason": None,
            "mpesa_words": None,
        }

    @staticmethod
    def _write_problems(own, problems):
        for row, problem in problems:
            if row["mpesa_reason"] != problem:
                own.cr.execute(
                    "UPDATE g2p_payment SET mpesa_reason = %s, mpesa_words = NULL WHERE id = %s",
                    [problem, row["id"]],
                )

    # Send

    def _send_all(self, client, claimed):
        """Send what was claimed, and give back what was not begun."""
        begun = 0
        try:
            for item in claimed:
                if not self._may_go_on() or not self._lease.is_safe(item.token):
                    break
                begun += 1
                self._left -= 1
                self._send_one(client, item)
        finally:
            if begun < len(claimed):
                not_begun = [item.payment_id for item in claimed[begun:]]
                token = claimed[0].token
                durably(self.env, lambda own: self._release(own, token, not_begun))
            self._lease.drop(claimed[0].token)

    def _send_one(self, client, item):
        self._item = item
        reason = words = None
        try:
            client.deposit(item.order)
            state = const.ACCEPTED if self._confirms_later else const.PAID
            self._in_a_row = 0
        except errors.Refused as error:
            state, reason, words = const.REFUSED, error.reason, error.message
            self._in_a_row = 0
        except errors.OurFault as error:
            state, reason, words = const.READY, error.reason, error.message
            self._stop(error.reason, error.message)
        except errors.Unreachable as error:
            state, reason, words = const.READY, error.reason, error.message
            self._one_more(error.reason, error.message)
        except errors.Unclear as error:
            state, reason, words = const.DOUBT, error.reason, error.message
            self._one_more("circuit", error.message)
        if item.again and state == const.READY:
            # It did not go out this time; of the first time nobody knows.
            state = const.DOUBT
        outcome = {"id": item.payment_id, "mpesa_reason": reason, "mpesa_words": words}
        durably(self.env, lambda own: self._write_outcome(own, item, state, outcome))
        self._rows.clear()
        self._item = None
        self.result.add(state)

    def _one_more(self, reason, words):
        self._in_a_row += 1
        if self._in_a_row >= PATIENCE:
            self._stop(reason, words)

    def _stop(self, reason, words):
        self.result.stopped, self.result.words = reason, words

    # Write

    def _write_outcome(self, own, item, state, outcome):
        """Record what became of a payment. Twice is as good as once."""
        payments = own["g2p.payment"]
        sources = const.SOURCES[state] & {const.SENDING, const.DOUBT}
        # From doubt: our lease ran out, and this is the gateway's own late answer.
        payments._mpesa_move(sources, state, [outcome], claim=item.token)
        self._write_rows(own)

    def _release(self, own, token, payment_ids=None):
        """Give back what this claim holds and has not begun to send."""
        own.cr.execute(
            "SELECT id FROM g2p_payment WHERE mpesa_claim = %s AND mpesa_state = 'sending'"
            " AND (%s OR id = ANY(%s)) ORDER BY id FOR NO KEY UPDATE",
            [token, payment_ids is None, payment_ids or []],
        )
        rows = [{"id": row[0]} for row in own.cr.fetchall()]
        own["g2p.payment"]._mpesa_move([const.SENDING], const.READY, rows, claim=token)

    def _note(self, contact):
        """Keep a contact with the gateway until it is written together with what came of it."""
        row = self.env["g2p.payment.mpesa.attempt"]._row(contact) | {"manager_id": self.manager.id}
        item = self._item
        if item and contact.reference:
            row |= {
                "payment_id": item.payment_id,
                "batch_id": item.batch_id,
                "payee": mask_payee(item.order.payee),
                "amount": item.order.amount,
            }
        self._rows.append(row)

    def _write_rows(self, own):
        own["g2p.payment.mpesa.attempt"]._record(self._rows)

    def _finish(self, own):
        batches = own["g2p.payment.batch"].browse(self.batch_ids)
        self.manager.with_env(own)._mpesa_note_hold(self.result)
        batches._mpesa_note_stop(self.result.stopped, self.result.words)
        if self.result.stopped not in PASSES:
            batches._mpesa_want_no_more(bool(self.result.stopped))
