"""Whatever happens to payments in whatever order: Hypothesis looks for an order that breaks a rule.

Senders, the gateway, the scheduled job, people and the clock take turns: the real code on a real database and
a real gateway, within one transaction. What happens at the same moment is in ``test_processes``.
"""

import contextlib
import os
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import new_test_user

from ..models import const
from ..models.claims import Outcome
from ..models.dispatch import Dispatch
from ..models.mpesa_status import expire_leases
from ..models.own_cursor import durably
from . import books, harness
from .common import ProgramCase

# What a gateway answers to an order.
CLEAR = ("", "refuse", "not-allowed", "no-float", "token-expired")
UNCLEAR = ("500-taken", "500-not-taken", "drop-taken", "drop-not-taken", "frozen-not-taken")
LATER = ("pending", "fails-later")
ANSWERS = st.sampled_from(CLEAR + UNCLEAR + LATER)
# How far a sender is with a payment that it has claimed.
FATES = st.sampled_from(("waiting", "given back", "answered", "recorded"))
SOME = st.integers(0, 11)
OUTCOMES = ("ready", "accepted", "paid", "refused", "doubt")
# What is refused: to settle what is in another state, to write by hand, to delete what was sent.
FORBIDDEN = ("paid", "not_paid", "write_off", "status", "mpesa_state", "delete")
# What OpenG2P's own fields say: state, status, whether it is final. Written once more, as in ``books``.
TOLD = {
    "ready": {("issued", None, False)},
    "sending": {("sent", None, False)},
    "accepted": {("sent", None, False)},
    "doubt": {("sent", None, False)},
    "paid": {("sent", "paid", True), ("reconciled", "paid", True)},
    "refused": {("sent", "failed", True)},
}


class Sender:
    """One that dispatches, held still between claim, order and record."""

    def __init__(self, manager, batches, most):
        self.dispatch = Dispatch(manager, batches)
        self.claims, self.lease = self.dispatch._claims, self.dispatch._lease
        self.manager = manager
        self.share = self.dispatch._share
        self.waiting = []
        self.answered = []
        # What it has nothing more to do with: recorded, or given back.
        self.ended = []
        self.claim(most)

    def claim(self, most):
        """What it looked up the first time still counts for a moment."""
        _recorded, claimed = self.claims.record_and_claim([], [], most, self.lease.hold)
        self.dispatch._by_reference.update({item.order.reference: item for item in claimed})
        self.waiting += claimed

    def order(self, item):
        self.waiting.remove(item)
        # For this order alone: nobody looks after it while the sender is held still, and others wait for it.
        with contextlib.closing(self.share), self.manager._mpesa_client(self.dispatch._note) as client:
            self.share.acquire()
            self.answered.append(self.dispatch._order(client, item))

    def record(self, outcome):
        self.answered.remove(outcome)
        self.dispatch._write([outcome] if outcome.state else [])
        if not outcome.state:
            self.claims.release([outcome.item])
        self.ended.append(outcome.item)

    def release(self, item):
        self.waiting.remove(item)
        self.claims.release([item])
        self.ended.append(item)


class PaymentMachine(RuleBasedStateMachine):
    """The program of ``case``; each walk begins with nothing prepared, and leaves nothing behind."""

    case = None

    def __init__(self):
        super().__init__()
        self.env, self.gateway, self.cycle = self.case.env, self.case.gateway, self.case.cycle
        self.honours = self.case.PROFILE == "full"
        self.senders = []
        self.journal = (0, 0, None)
        self.compared = {}
        self.gateway.reset()
        self.savepoint = self.env.cr.savepoint()
        self.case.prepare()

    def teardown(self):
        self.savepoint.close(rollback=True)
        self.env.invalidate_all()

    # Who is there

    def payments(self, *states):
        self.env.invalidate_all()
        return self.case.payments().filtered(lambda payment: not states or payment.mpesa_state in states)

    def any_of(self, things, number):
        return things[number % len(things)]

    def of_senders(self, name):
        return [(sender, thing) for sender in self.senders for thing in getattr(sender, name)]

    def anybody_in(self, *states):
        return bool(self.payments(*states))

    # Senders

    @initialize(begun=st.lists(st.tuples(FATES, ANSWERS), max_size=4))
    def begin(self, begun):
        """Somebody is on the way with the first payments."""
        sender = self.new_sender(len(begun))
        for item, (fate, answer) in list(zip(sender.waiting, begun, strict=True)):
            if fate == "given back":
                sender.release(item)
            elif fate != "waiting":
                self.order_one(sender, item, answer)
            if fate == "recorded":
                sender.record(sender.answered[-1])

    def new_sender(self, most):
        self.env.flush_all()
        sender = Sender(self.case.manager, self.payments().batch_id, most)
        self.senders.append(sender)
        return sender

    @precondition(lambda self: self.anybody_in("ready"))
    @rule(most=st.integers(1, 4), answers=st.lists(ANSWERS, max_size=2))
    def claim(self, most, answers):
        sender = self.new_sender(most)
        for item, answer in list(zip(sender.waiting, answers, strict=False)):
            self.order_one(sender, item, answer)

    def order_one(self, sender, item, answer):
        with self.answering(item.order.payee, answer):
            safe = sender.lease.is_safe(item.token)
            sender.order(item)
        assert safe or not sender.answered[-1].state, "ordered without a lease"

    @precondition(lambda self: self.senders)
    @rule(number=SOME, most=st.integers(1, 4))
    def claim_on(self, number, most):
        self.env.flush_all()
        self.any_of(self.senders, number).claim(most)

    @precondition(lambda self: self.of_senders("waiting") or self.of_senders("answered"))
    @rule(number=SOME, answer=ANSWERS, order=st.booleans())
    def work(self, number, answer, order):
        """A sender records, or else orders or gives back."""
        answered, waiting = self.of_senders("answered"), self.of_senders("waiting")
        if answered and not (order and waiting):
            sender, outcome = self.any_of(answered, number)
            sender.record(outcome)
        elif order:
            self.order_one(*self.any_of(waiting, number), answer)
        else:
            sender, item = self.any_of(waiting, number)
            sender.release(item)

    @precondition(lambda self: self.anybody_in("sending"))
    @rule()
    def leases_run_out(self):
        for sender in self.senders:
            sender.lease.keep(())
        self.pass_time("mpesa_lease_until", "1 day")
        durably(self.env, expire_leases)

    @precondition(lambda self: self.anybody_in("ready"))
    @rule(number=SOME, answer=ANSWERS)
    def send(self, number, answer):
        """One payment mostly, and now and then all that are ready."""
        payment = self.any_of(self.payments("ready"), number)
        with self.answering(payment.account_number, answer):
            payment.send_payment() if number else self.case.send()

    @contextlib.contextmanager
    def answering(self, payee, answer):
        # Whoever cannot be asked later does not say later that it failed.
        if answer and (self.honours or answer not in LATER):
            self.gateway.fault(payee, answer, 0 if answer == "fails-later" else None, count=1)
        yield
        self.gateway.clear_faults()

    # The scheduled job, and time

    @precondition(lambda self: self.anybody_in("accepted", "doubt"))
    @rule(number=SOME, answer=ANSWERS, hours=st.booleans())
    def schedule(self, number, answer, hours):
        if hours:
            self.pass_time("mpesa_sent_at", "1 hour")
        self.pass_time("mpesa_next_check", "2 days")
        asked = self.payments("doubt") or self.payments("accepted")
        with self.answering(self.any_of(asked, number).account_number, answer):
            self.case.run_cron()

    def pass_time(self, column, interval):
        self.env.flush_all()
        self.env.cr.execute(f"UPDATE g2p_payment SET {column} = {column} - interval '{interval}'")
        self.env.invalidate_all()

    # People

    @precondition(lambda self: self.anybody_in("doubt"))
    @rule(number=SOME)
    def settle(self, number):
        """As the gateway's records say."""
        self.pass_time("mpesa_sent_at", "1 hour")
        payment = self.any_of(self.payments("doubt"), number)
        if self.is_pending(payment):
            return
        evidence = {"outcome": "not_paid", "reason": "Not on the statement"}
        if self.is_on_the_statement(payment):
            evidence = {"outcome": "paid", "receipt": str(uuid4()), "paid_on": fields.Datetime.now()}
        self.settle_by_hand(payment, **evidence)

    @rule(number=SOME, act=st.sampled_from(("prepare", "prepare", "write off", "days", *FORBIDDEN)))
    def do_other_things(self, number, act):
        payment = self.any_of(self.payments(), number)
        if act == "prepare":
            self.prepare(payment.partner_id)
        elif act == "days":
            self.pass_time("mpesa_first_sent_at", "8 days")
            self.pass_time("mpesa_sent_at", "8 days")
        elif act == "write off" and payment.mpesa_state == "ready":
            self.settle_by_hand(payment, outcome="write_off", reason="Moved away")
        elif act in FORBIDDEN:
            self.do_what_nobody_may(payment, act)

    def prepare(self, person):
        own = self.payments().filtered(lambda payment: payment.partner_id == person)
        if set(own.mapped("mpesa_state")) == {"paid"}:
            own[0].entitlement_id.copy({"state": "approved"})
        self.case.prepare()

    def do_what_nobody_may(self, payment, act):
        state = payment.mpesa_state
        if act == "delete":
            refused, do = bool(payment.mpesa_first_sent_at), payment.unlink
        elif act in ("status", "mpesa_state"):
            refused, do = True, lambda: payment.write({act: "paid"})
        else:
            evidence = {"reason": "I know", "receipt": str(uuid4()), "paid_on": fields.Datetime.now()}
            refused = state != ("ready" if act == "write_off" else "doubt")
            do = lambda: self.settle_by_hand(payment, outcome=act, **evidence)  # noqa: E731
        if refused:
            self.assert_refused(do)

    def assert_refused(self, act):
        with self.case.assertRaises(UserError), self.env.cr.savepoint():
            act()

    def is_pending(self, payment):
        entries = self.gateway.ledger()["entries"]
        return any((e["payee"], e["state"]) == (payment.account_number, "pending") for e in entries)

    def is_on_the_statement(self, payment):
        paid = self.gateway.ledger()["paid"].get(payment.account_number, 0)
        known = self.payments("paid").filtered(lambda p: p.account_number == payment.account_number)
        return paid > sum(known.mapped("amount_issued"))

    def settle_by_hand(self, payment, **vals):
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.case.finance)
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=payment.ids)
        wizard.create(vals).action_settle()

    # What is always true

    def query(self, statement, *values):
        self.env.flush_all()
        self.env.cr.execute(statement, *values)
        return self.env.cr.dictfetchall()

    def rows(self):
        return self.query(harness.PAYMENTS, {"cycle": self.cycle.id})

    @invariant()
    def arrows_only_and_one_reference_for_life(self):
        assert not list(books.wrong_moves(self.query("SELECT * FROM lab_moves ORDER BY id"), self.honours))

    @invariant()
    def what_comes_too_late_changes_nothing(self):
        """Whatever senders say of claims that have come to their end.

        They may have been given back, accepted, settled by a person or claimed by another one since.
        """
        for sender, item in self.of_senders("ended"):
            before = self.picture(item)
            if before["claim"] == item.token and before["state"] in ("sending", "doubt"):
                # Its lease ran out, and this would be the gateway's own late answer: that counts.
                continue
            for state in OUTCOMES if self.compared.get(item) != before else ():
                sender.claims.record([Outcome(item, state)], [])
                assert self.picture(item) == before, (before, state)
            self.compared[item] = before

    def picture(self, item):
        return self.query(
            "SELECT mpesa_claim AS claim, mpesa_state AS state, md5(p::text) AS row"
            " FROM g2p_payment p WHERE id = %s",
            [item.payment_id],
        )[0]

    @invariant()
    def the_ledger_agrees(self):
        assert not books.disagreements(self.rows(), self.gateway.ledger())

    @invariant()
    def the_journal_bears_it_out(self):
        # A test has one transaction, so all leases would have run out at the moment in which it began.
        attempts = [attempt for attempt in self.query(harness.ATTEMPTS) if attempt["kind"] != "lease"]
        assert not list(books.wrong_journal(self.rows(), attempts, self.honours))

    @invariant()
    def the_journal_only_grows(self):
        table = "SELECT count(*) AS n, max(id) AS last, md5(string_agg(t::text, '' ORDER BY id)) AS sum FROM"
        table = f"{table} g2p_payment_mpesa_attempt t WHERE id <= %s"
        count, last, digest = self.journal
        before = self.query(table, [last])[0]
        assert (before["n"], before["sum"]) == (count, digest)
        now = self.query(table, [2**31 - 1])[0]
        self.journal = (now["n"], now["last"] or 0, now["sum"])

    @invariant()
    def openg2p_is_told_the_same(self):
        told = self.query(
            "SELECT mpesa_state, state, status, status_is_final AS final, amount_issued, amount_paid,"
            " payment_datetime, mpesa_reference FROM g2p_payment WHERE cycle_id = %s",
            [self.cycle.id],
        )
        for row in told:
            state = row["mpesa_state"]
            assert (row["state"], row["status"], bool(row["final"])) in TOLD[state], row
            assert bool(row["payment_datetime"]) == (state == "paid"), row
            assert (row["amount_paid"] or 0) == (row["amount_issued"] if state == "paid" else 0), row
            assert row["mpesa_reference"] or state in ("ready", "refused"), row

    @invariant()
    def figures_are_those_of_the_payments(self):
        assert not list(books.wrong_figures(harness.figures(self.query(harness.FIGURES))))

    @invariant()
    def one_open_payment_for_an_entitlement(self):
        assert not self.query(
            "SELECT entitlement_id FROM g2p_payment WHERE cycle_id = %s AND status IS DISTINCT FROM 'failed'"
            " GROUP BY entitlement_id HAVING count(*) > 1",
            [self.cycle.id],
        )


class TestMachine(ProgramCase):
    PEOPLE = 4
    EXAMPLES, STEPS = 15, 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.finance = new_test_user(cls.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        cls.env.cr.execute(harness.WATCH_PAYMENTS)

    def test_what_must_be_true_is_true_after_each_step(self):
        examples = int(os.environ.get("G2P_MACHINE_EXAMPLES", 0))
        machine = type("Machine", (PaymentMachine,), {"case": self})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples or self.EXAMPLES,
                stateful_step_count=self.STEPS,
                derandomize=not examples,
                # To make a walk that fails shorter takes minutes, which is for whoever looks into it.
                phases=tuple(Phase) if examples else (Phase.generate,),
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


class TestMachineWithStatus(TestMachine):
    PROFILE = "full"

    def test_the_arrows_are_those_of_the_books(self):
        arrows = {(source, target) for target, sources in const.SOURCES.items() for source in sources}
        self.assertEqual(arrows, books.ARROWS | {books.AGAIN})
