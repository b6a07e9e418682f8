"""Claims and outcomes in the database: each in a short transaction of its own, none during HTTP."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4, uuid5

import psycopg2

from ..gateway import clock
from ..gateway.simple import Order
from . import const
from .last_look import COLUMNS, payees_of, problem_of
from .mpesa_payee import registry_text
from .own_cursor import PASSING, OwnCursor
from .payment import AS_IT_IS, NOW

# So many payments are looked up at once, and it counts for so many seconds.
LOOK_AHEAD = 200
PLAN_SECONDS = 2
# Of references that are made from a payment's own data.
OF_PAYMENTS = UUID("0b7f2f6e-6f43-4c0e-9a39-6a0f5d0f3c55")


class Moved(Exception):
    """This is not the database that sent until now."""


@dataclass(frozen=True)
class Claimed:
    """A payment that this sender, and nobody else, may send now.

    :param bool again: it was a doubt, and goes out again with the same reference.
    :param looked_up: what it must still be when it is claimed, as the database puts it.
    """

    payment_id: int
    batch_id: int
    token: str
    order: Order
    again: bool = False
    looked_up: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a claimed payment; ``words`` are the gateway's own, masked."""

    item: Claimed
    state: str
    reason: str | None = None
    words: str | None = None


@dataclass
class Claims:
    """The claims of one sender, for the thread that dispatches.

    What comes next is looked up for many payments at once, and claimed a few at a time: a claim is one
    statement, in which the database compares once more what was looked up.

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
    account: str = field(init=False)
    mode: str = field(init=False)

    def __post_init__(self):
        self.env = self.manager.env
        # Read now: the caller's cursor may be lost while money is on its way.
        self.gateway = self.manager._mpesa_gateway()
        self.account = self.manager._mpesa_account()
        self.mode = self.manager.mode
        self._manager_id = self.manager.id
        self._own = self.own_cursor = OwnCursor(self.env)
        self._planned = deque()
        self._plan_ends = 0
        self._last_id = 0
        # Whether nothing is ready beyond what is planned.
        self._is_last = False
        # Whether this is another database than the one that sent; and where it was found not to be.
        self.has_moved = False
        self._known_place = None

    @property
    def at_end(self):
        """Whether all that was ready has been claimed, or passed over."""
        return self._is_last and not self._planned

    def close(self):
        """Give the connection to the database back."""
        self._own.close()

    def anything_ready(self, untried=False):
        """Whether something could be sent; with ``untried``, something that nothing is known against."""

        def look(own):
            own.cr.execute(
                "SELECT 1 FROM g2p_payment WHERE batch_id = ANY(%s) AND mpesa_state = 'ready'"
                " AND mpesa_manager_id = %s AND (%s::int4[] IS NULL OR id = ANY(%s))"
                " AND (NOT %s OR mpesa_reason IS NULL) LIMIT 1",
                [self.batch_ids, self._manager_id, self.payment_ids, self.payment_ids, untried],
            )
            return bool(own.cr.fetchone())

        return self._own.durably(look)

    # Claim

    def rewind(self):
        """Begin anew with the first payment."""
        self._planned.clear()
        self._is_last, self._last_id = False, 0

    def _give_up_for_now(self):
        self._planned.clear()
        self._is_last = True

    def record_and_claim(self, outcomes, journal_rows, most, hold):
        """Record what became of payments, and claim the next ones. Committed when this returns.

        In one transaction, since each exchange with PostgreSQL takes as long as a request to a fast gateway.

        :param outcomes: and ``journal_rows``, as for :meth:`record`; both may be empty.
        :param hold: called with the claim's token before it is made.
        :return: what :meth:`record` does, and the claimed; none of them where somebody else has them, or
            ``at_end``.
        """
        token = str(uuid4())
        try:
            items = self._next(token, most)
            if items:
                hold(token)
                with self._own.transaction() as own:
                    self._require_same_place(own)
                    recorded = self._record_in(own, outcomes, journal_rows)
                    # What has become a doubt since it was looked up may have been paid.
                    moved = self._mark_sending(own, token, items, const.READY)
                return recorded, [item for item in items if item.payment_id in moved]
        except Moved:
            self._give_up_for_now()
        except psycopg2.errors.UniqueViolation:
            # Another sender has just claimed a payment to one of these payees. These come in the next round.
            items = []
        except psycopg2.errors.LockNotAvailable:
            # Somebody holds a row for long. Nothing was claimed.
            self._give_up_for_now()
        except PASSING:
            # Whether the COMMIT happened is not known, so give back what it may have claimed.
            self._own.durably(lambda own: self._release_in(own, [token]))
            self._give_up_for_now()
        return self.record(outcomes, journal_rows), []

    def claim_doubt(self, payment_id, hold):
        """Claim a doubt, to send it again as it went out. Committed when this returns.

        :return: the claimed, or None if it is no doubt any more, somebody has it, or it has just been sent.
        """
        token = str(uuid4())
        hold(token)
        try:
            with self._own.transaction() as own:
                self._require_same_place(own)
                return self._claim_doubt_in(own, token, payment_id)
        except (Moved, psycopg2.errors.UniqueViolation, *PASSING):
            # Nothing was claimed, or it becomes a doubt again by itself.
            return None

    def _require_same_place(self, own):
        """Once for each connection: after a loss, another server may have taken over, without our claims.

        :raise Moved: this is not the database that sent until now.
        """
        if own is not self._known_place:
            self.has_moved = bool(self.manager.with_env(own)._mpesa_moved())
            if self.has_moved:
                raise Moved
            self._known_place = own

    def _claim_doubt_in(self, own, token, payment_id):
        manager = self.manager.with_env(own)
        own.cr.execute(
            f"""
            SELECT {COLUMNS}
              FROM g2p_payment p JOIN g2p_entitlement e ON e.id = p.entitlement_id
             WHERE p.id = %s AND p.mpesa_state = 'doubt' AND p.mpesa_reference IS NOT NULL
               AND p.mpesa_gateway = %s AND p.mpesa_sent_at < {NOW} - %s * interval '1 minute'
               AND p.mpesa_first_sent_at > {NOW} - %s * interval '1 hour'
               FOR NO KEY UPDATE OF p SKIP LOCKED
            """,
            [payment_id, self.gateway, manager._mpesa_grace(), manager.key_hours],
        )
        row = own.cr.dictfetchone()
        if not row or not self._may_go_again(manager, row):
            return None
        item = self._claimed(token, row, row["account_number"], again=True)
        return item if self._mark_sending(own, token, [item], const.DOUBT) else None

    def _may_go_again(self, manager, row):
        """What is looked at before a first sending is looked at again; and the payee is the same still."""
        payee = payees_of(manager, [row]).get(row["partner_id"])
        return not problem_of(manager, row, payee) and payee == row["account_number"]

    # What comes next

    def _next(self, token, most):
        """The next payments that could go out, no two of them to the same payee."""
        if not self._planned or clock.now() > self._plan_ends:
            self._plan()
        items, payees = [], set()
        while self._planned and len(items) < most:
            row, payee = self._planned.popleft()
            self._last_id = row["id"]
            if payee not in payees:
                payees.add(payee)
                items.append(self._claimed(token, row, payee))
        return items

    def _plan(self):
        """Look up what comes after the last one that was taken, and note what cannot go out."""
        self._planned.clear()
        self._is_last = False
        while not self.at_end and not self._planned:
            with self._own.transaction() as own:
                rows = self._candidates(own)
                sendable, problems = self._sort_out(own, rows)
                _write_problems(own, problems)
            self._planned.extend(sendable)
            self._is_last = len(rows) < LOOK_AHEAD
            if rows and not sendable:
                self._last_id = rows[-1]["id"]
        self._plan_ends = clock.now() + PLAN_SECONDS

    def _candidates(self, own):
        own.cr.execute(
            f"""
            SELECT p.name, {COLUMNS}, {AS_IT_IS} AS looked_up
              FROM g2p_payment p
              JOIN g2p_entitlement e ON e.id = p.entitlement_id
             WHERE p.batch_id = ANY(%s) AND p.mpesa_state = 'ready' AND p.mpesa_manager_id = %s AND p.id > %s
               AND (%s::int4[] IS NULL OR p.id = ANY(%s))
             ORDER BY p.id
             LIMIT %s
            """,
            [
                self.batch_ids,
                self._manager_id,
                self._last_id,
                self.payment_ids,
                self.payment_ids,
                LOOK_AHEAD,
            ],
        )
        return own.cr.dictfetchall()

    def _sort_out(self, own, rows):
        """Split into pairs of row and payee that can go out, and rows with what keeps them back."""
        manager = self.manager.with_env(own)
        payees = payees_of(manager, rows)
        sendable, problems = [], []
        for row in rows:
            payee = payees.get(row["partner_id"])
            # Sent is what was shown.
            is_other = payee != row["account_number"]
            problem = problem_of(manager, row, payee) or (const.PAYEE_CHANGED if is_other else None)
            if problem:
                problems.append((row, problem, registry_text(payee)))
            else:
                sendable.append((row, payee))
        return sendable, problems

    def _claimed(self, token, row, payee, again=False):
        return Claimed(
            payment_id=row["id"],
            batch_id=row["batch_id"],
            token=token,
            order=Order(reference_of(row), payee, self.manager._whole_shillings(row["amount_issued"])),
            again=again,
            looked_up=row.get("looked_up"),
        )

    def _mark_sending(self, own, token, items, source):
        """Claim them in one statement, if they are as they were looked up; gives the ids of those it was.

        :param str source: the state in which they were looked up.
        """
        return own["g2p.payment"]._mpesa_move(
            [source],
            const.SENDING,
            [
                {
                    "id": item.payment_id,
                    "looked_up": item.looked_up,
                    "mpesa_reference": item.order.reference,
                    "account_number": item.order.payee,
                    "mpesa_account": self.account,
                    "mpesa_reason": None,
                    "mpesa_words": None,
                    "mpesa_payee_text": None,
                }
                for item in items
            ],
            new_claim={
                "token": token,
                "gateway": self.gateway,
                "mode": self.mode,
                "user_id": self.env.uid,
                "lease_seconds": self.lease_seconds,
            },
        )

    # Moments for the requests

    def turns(self, pace, number):
        """Moments for so many requests; at once where the database does not say."""
        if not pace.is_to_be_asked():
            return [0] * number
        try:
            with self._own.transaction() as own:
                return pace.reserve(own, number)
        except PASSING:
            return [0] * number

    def put_off(self, pace, seconds):
        """Have all who send from this account leave the gateway alone for so long."""
        with suppress(*PASSING), self._own.transaction() as own:
            pace.put_off(own, seconds)

    # Give back, and write what became of them

    def release(self, items):
        """Give back what was claimed and not begun."""
        if items:
            tokens, ids = {item.token for item in items}, [item.payment_id for item in items]
            self._own.durably(lambda own: self._release_in(own, list(tokens), ids))

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
        if not outcomes and not journal_rows:
            return []
        return self._own.durably(lambda own: self._record_in(own, outcomes, journal_rows))

    def _record_in(self, own, outcomes, journal_rows):
        """Twice is as good as once."""
        moved = set()
        for state in {outcome.state for outcome in outcomes}:
            # From doubt: our lease ran out, and this is the gateway's own late answer.
            sources = const.SOURCES[state] & {const.SENDING, const.DOUBT}
            rows = [_outcome_row(outcome) for outcome in outcomes if outcome.state == state]
            moved |= own["g2p.payment"]._mpesa_move(sources, state, rows)
        own["g2p.payment.mpesa.attempt"]._record(journal_rows)
        late = self._late(own, [outcome for outcome in outcomes if outcome.item.payment_id not in moved])
        return [outcome for outcome in outcomes if outcome not in late]

    def _late(self, own, not_moved):
        """Those of the outcomes that came too late, and not only a second time."""
        if not not_moved:
            return []
        ids = [outcome.item.payment_id for outcome in not_moved]
        own.cr.execute("SELECT id, mpesa_state FROM g2p_payment WHERE id = ANY(%s)", [ids])
        now = dict(own.cr.fetchall())
        late = [outcome for outcome in not_moved if now[outcome.item.payment_id] != outcome.state]
        taken = [o.item.payment_id for o in late if o.state in (const.PAID, const.ACCEPTED)]
        own["g2p.payment"].browse(taken)._mpesa_tell_taken_after_all()
        return late


def reference_of(row):
    """The reference by which the gateway is to know a payment: given when it was prepared.

    One that was prepared before that was so gets the same one in each copy of the database.

    :param dict row: ``id``, ``name`` and ``mpesa_reference``.
    """
    return row["mpesa_reference"] or str(uuid5(OF_PAYMENTS, f"{row['id']} {row['name']}"))


def _outcome_row(outcome):
    return {
        "id": outcome.item.payment_id,
        "claim": outcome.item.token,
        "mpesa_reason": outcome.reason,
        "mpesa_words": outcome.words,
    }


def _write_problems(own, problems):
    """Of each: the row, what keeps it back, and the registry's text where that is why, or None."""
    for row, problem, text in problems:
        if (row["mpesa_reason"], row["mpesa_payee_text"]) != (problem, text):
            own.cr.execute(
                "UPDATE g2p_payment SET mpesa_reason = %s, mpesa_payee_text = %s, mpesa_words = NULL"
                " WHERE id = %s AND mpesa_state = 'ready'",
                [problem, text, row["id"]],
            )
