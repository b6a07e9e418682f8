"""Claims and outcomes in the database: each in a short transaction of its own, none during HTTP."""

from dataclasses import dataclass, field
from uuid import uuid4

import psycopg2

from ..gateway.simple import Order
from . import const
from .own_cursor import PASSING, durably, own_transaction


@dataclass(frozen=True)
class Claimed:
    """A payment that this sender, and nobody else, may send now.

    :param bool again: it was a doubt, and goes out again with the same reference.
    """

    payment_id: int
    batch_id: int
    token: str
    order: Order
    again: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a claimed payment; ``words`` are the gateway's own, masked."""

    item: Claimed
    state: str
    reason: str | None = None
    words: str | None = None


@dataclass
class Claims:
    """The claims of one sender.

    :param manager: the M-Pesa payment manager, with the caller's environment.
    :param batch_ids: whose payments; other managers' payments in them are left alone.
    :param payment_ids: only these of them; None for all.
    :param float lease_seconds: how long a claim outlives its sender.
    """

    manager: object
    batch_ids: list
    payment_ids: list | None
    lease_seconds: float
    gateway: str = field(init=False)

    def __post_init__(self):
        self.env = self.manager.env
        # Read now: the caller's cursor may be lost while money is on its way.
        self.gateway = self.manager._mpesa_gateway()

    def anything_ready(self, untried=False):
        """Whether something could be sent; with ``untried``, something that nothing is known against."""
        with own_transaction(self.env) as own:
            own.cr.execute(
                "SELECT 1 FROM g2p_payment WHERE batch_id = ANY(%s) AND mpesa_state = 'ready'"
                " AND mpesa_manager_id = %s AND (%s::int4[] IS NULL OR id = ANY(%s))"
                " AND (NOT %s OR mpesa_reason IS NULL) LIMIT 1",
                [self.batch_ids, self.manager.id, self.payment_ids, self.payment_ids, untried],
            )
            return bool(own.cr.fetchone())

    # Claim

    def claim(self, after_id, most, hold):
        """Claim the next payments, in a transaction that is committed when this returns.

        :param int after_id: those with a larger id.
        :param hold: called with the claim's token before it is made.
        :return: the claimed, and the id to go on from, 0 at the end.
        """
        token = str(uuid4())
        hold(token)
        try:
            with own_transaction(self.env) as own:
                return self._claim_in(own, token, after_id, most)
        except psycopg2.errors.UniqueViolation:
            # Another sender has just claimed a payment to the same payee.
            return [], 0
        except psycopg2.errors.LockNotAvailable:
            # Somebody holds a row for long. Nothing was claimed.
            return [], 0
        except PASSING:
            # Whether the COMMIT happened is not known, so give back what it may have claimed.
            durably(self.env, lambda own: self._release_in(own, [token]))
            return [], 0

    def claim_doubt(self, payment_id, hold):
        """Claim a doubt, to send it again as it went out. Committed when this returns.

        :return: the claimed, or None if it is no doubt any more, or somebody has it.
        """
        token = str(uuid4())
        hold(token)
        try:
            with own_transaction(self.env) as own:
                return self._claim_doubt_in(own, token, payment_id)
        except (psycopg2.errors.UniqueViolation, *PASSING):
            # Nothing was claimed, or it becomes a doubt again by itself.
            return None

    def _claim_in(self, own, token, after_id, most):
        rows = self._candidates(own, after_id, most)
        if not rows:
            return [], 0
        sendable, problems = self._sort_out(own, rows)
        claimed = [self._claimed(token, *pair) for pair in self._without_busy_payees(own, sendable)]
        self._mark_sending(own, token, claimed)
        _write_problems(own, problems)
        return claimed, rows[-1]["id"]

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

    def _candidates(self, own, after_id, most):
        own.cr.execute(
            """
            SELECT p.id, p.batch_id, p.amount_issued, p.mpesa_reference, p.mpesa_reason,
                   e.partner_id, e.state AS entitlement_state, e.initial_amount
              FROM g2p_payment p
              JOIN g2p_entitlement e ON e.id = p.entitlement_id
             WHERE p.batch_id = ANY(%s) AND p.mpesa_state = 'ready' AND p.mpesa_manager_id = %s AND p.id > %s
               AND (%s::int4[] IS NULL OR p.id = ANY(%s))
             ORDER BY p.id
             LIMIT %s
               FOR NO KEY UPDATE OF p SKIP LOCKED
            """,
            [self.batch_ids, self.manager.id, after_id, self.payment_ids, self.payment_ids, most],
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
            problem = manager._mpesa_problem(
                row["amount_issued"], payee, row["entitlement_state"], row["initial_amount"]
            )
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

    def _mark_sending(self, own, token, items):
        own["g2p.payment"]._mpesa_move(
            [const.READY, const.DOUBT],
            const.SENDING,
            [
                {
                    "id": item.payment_id,
                    "mpesa_reference": item.order.reference,
                    "account_number": item.order.payee,
                    "mpesa_reason": None,
                    "mpesa_words": None,
                }
                for item in items
            ],
            new_claim={
                "token": token,
                "gateway": self.gateway,
                "user_id": self.env.uid,
                "lease_seconds": self.lease_seconds,
            },
        )

    # Give back, and write what became of them

    def release(self, items):
        """Give back what was claimed and not begun."""
        if items:
            tokens, ids = {item.token for item in items}, [item.payment_id for item in items]
            durably(self.env, lambda own: self._release_in(own, list(tokens), ids))

    def _release_in(self, own, tokens, payment_ids=None):
        own.cr.execute(
            "SELECT id, mpesa_claim AS claim FROM g2p_payment"
            " WHERE mpesa_claim = ANY(%s) AND mpesa_state = 'sending' AND (%s OR id = ANY(%s))"
            " ORDER BY id FOR NO KEY UPDATE",
            [tokens, payment_ids is None, payment_ids or []],
        )
        own["g2p.payment"]._mpesa_move([const.SENDING], const.READY, own.cr.dictfetchall())

    def record(self, outcomes, journal_rows):
        """Record what became of payments, and the contacts with the gateway. Committed when this returns.

        :return: those of the outcomes that are recorded on the payment. Another one came too late: its lease
            had run out, and somebody has settled the doubt since.
        """
        return durably(self.env, lambda own: self._record_in(own, outcomes, journal_rows))

    def _record_in(self, own, outcomes, journal_rows):
        """Twice is as good as once."""
        for state in {outcome.state for outcome in outcomes}:
            # From doubt: our lease ran out, and this is the gateway's own late answer.
            sources = const.SOURCES[state] & {const.SENDING, const.DOUBT}
            rows = [_outcome_row(outcome) for outcome in outcomes if outcome.state == state]
            own["g2p.payment"]._mpesa_move(sources, state, rows)
        own["g2p.payment.mpesa.attempt"]._record(journal_rows)
        ids = [outcome.item.payment_id for outcome in outcomes]
        own.cr.execute("SELECT id, mpesa_state FROM g2p_payment WHERE id = ANY(%s)", [ids])
        now = dict(own.cr.fetchall())
        late = [outcome for outcome in outcomes if now[outcome.item.payment_id] != outcome.state]
        taken = [o.item.payment_id for o in late if o.state in (const.PAID, const.ACCEPTED)]
        own["g2p.payment"].browse(taken)._mpesa_tell_taken_after_all()
        return [outcome for outcome in outcomes if outcome not in late]


def _outcome_row(outcome):
    return {
        "id": outcome.item.payment_id,
        "claim": outcome.item.token,
        "mpesa_reason": outcome.reason,
        "mpesa_words": outcome.words,
    }


def _write_problems(own, problems):
    for row, problem in problems:
        if row["mpesa_reason"] != problem:
            own.cr.execute(
                "UPDATE g2p_payment SET mpesa_reason = %s, mpesa_words = NULL WHERE id = %s",
                [problem, row["id"]],
            )
