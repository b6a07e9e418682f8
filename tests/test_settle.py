import re
from datetime import timedelta

from odoo import fields
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import new_test_user

from ..gateway.simple import Order
from ..models import const
from ..models.claims import Claimed, Claims, Outcome
from ..models.payment import TransitionError
from .common import ProgramCase, click_send, user_elsewhere


class TestSettle(ProgramCase):
    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        self.prepare()
        self.gateway.fault("*", "500-not-taken", count=1)
        self.send()
        self.assert_states(paid=2, doubt=1)
        self.doubt = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        self.let_hours_pass()

    def let_hours_pass(self):
        """What was sent was sent long ago."""
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours'")
        self.env.invalidate_all()

    def settle(self, user=None, payments=None, **vals):
        payments = payments or self.doubt
        wizard = (
            self.env["g2p.payment.mpesa.settle.wizard"]
            .with_user(user or self.finance)
            .with_context(active_model="g2p.payment", active_ids=payments.ids)
            .create(vals)
        )
        wizard.action_settle()
        self.env.invalidate_all()
        return wizard

    def test_what_was_sent_again_may_have_been_paid_the_first_time(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_first_sent_at = mpesa_first_sent_at - interval '3 days'"
        )
        self.env.invalidate_all()
        self.settle(outcome="paid", receipt="TX1", paid_on=fields.Datetime.now() - timedelta(days=3))
        self.assertEqual(self.doubt.mpesa_state, "paid")

    def test_paid_with_a_receipt(self):
        day = fields.Datetime.now().replace(microsecond=0) - timedelta(hours=1)
        self.settle(outcome="paid", receipt="TX1", paid_on=day)
        self.assertEqual((self.doubt.state, self.doubt.status), ("reconciled", "paid"))
        self.assertEqual((self.doubt.mpesa_receipt, self.doubt.payment_datetime), ("TX1", day))
        self.assertTrue(self.doubt.batch_id.batch_has_completed)

    def test_not_before_the_gateway_can_have_carried_it_out(self):
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at + interval '2 hours'")
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "may still carry it out"):
            self.settle(outcome="not_paid", reason="Not on the statement")

    def test_a_receipt_is_for_one_payment_and_of_a_day_that_can_be(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_receipt = 'TX1' WHERE id = %s",
            [(self.payments() - self.doubt)[0].id],
        )
        self.env.invalidate_all()
        now = fields.Datetime.now()
        with self.assertRaisesRegex(ValidationError, "another payment"):
            self.settle(outcome="paid", receipt="TX1", paid_on=now)
        for day in (now + timedelta(days=3), now - timedelta(days=3)):
            with self.assertRaisesRegex(ValidationError, "between"):
                self.settle(outcome="paid", receipt="TX2", paid_on=day)

    def test_taken_after_all_is_told_and_not_prepared_again(self):
        token = self.doubt.mpesa_claim
        self.settle(outcome="not_paid", reason="Not on the statement")
        claims = Claims(self.manager, self.doubt.batch_id.ids, None, 60)
        order = Order(self.doubt.mpesa_reference, self.doubt.account_number, 100)
        outcome = Outcome(Claimed(self.doubt.id, self.doubt.batch_id.id, token, order), const.PAID)
        journal = {"kind": "payment", "payment_id": self.doubt.id, "outcome": "taken"}
        self.assertEqual(claims.record([outcome], [journal]), [])
        self.env.invalidate_all()
        self.assertEqual(self.doubt.mpesa_state, "refused")
        self.assertIn("Paid after all", self.doubt.batch_id.activity_ids.summary)
        self.prepare()
        self.assertEqual(len(self.payments()), 3)

    def test_not_paid_with_a_reason_and_then_prepared_again(self):
        self.settle(outcome="not_paid", reason="Not on the statement of 1 February")
        self.assertEqual((self.doubt.state, self.doubt.status), ("sent", "failed"))
        self.prepare()
        self.send()
        self.assert_states(paid=3, refused=1)
        self.assert_agrees()

    def test_it_is_in_the_journal_and_on_the_batch(self):
        wizard = self.settle(outcome="not_paid", reason="Not on the statement")
        decision = self.doubt.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "decision")
        self.assertEqual((decision.user_id, decision.outcome), (self.finance, "not_paid"))
        self.assertIn("Not on the statement", decision.words)
        self.assertIn("Not on the statement", self.doubt.batch_id.message_ids[:1].body)
        self.assertEqual(len(wizard.attempt_ids), 2)

    def test_the_dialogue_shows_what_is_looked_up(self):
        view = self.env.ref("g2p_payment_simple_mpesa.view_settle_form")
        arch = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance).get_view(view.id)["arch"]
        names = re.findall(r'name="(\w+)"', arch.split('name="attempts"')[0])
        self.assertTrue({"account_number", "mpesa_reference"} <= set(names), names)

    def test_the_reason_is_a_note_and_not_the_gateways_words(self):
        self.settle(outcome="not_paid", reason="Not on the statement")
        self.assertEqual(self.doubt.mpesa_words, "Not on the statement")
        for model, name in (("g2p.payment", "mpesa_words"), ("g2p.payment.mpesa.attempt", "words")):
            self.assertEqual(self.env[model].fields_get([name])[name]["string"], "Note")
        self.assertIn("Note", self.cycle._mpesa_reconciliation_head("UTC"))

    def test_evidence_is_required(self):
        for vals in ({"outcome": "paid"}, {"outcome": "paid", "receipt": "TX1"}, {"outcome": "not_paid"}):
            with self.assertRaises(ValidationError):
                self.settle(**vals)
        self.assert_states(paid=2, doubt=1)

    def test_not_by_the_person_who_sent_it(self):
        self.finance.write(
            {
                "groups_id" if "groups_id" in self.finance else "group_ids": [
                    (4, self.env.ref(const.PROGRAM_MANAGER).id)
                ]
            }
        )
        self.env["g2p.payment"].flush_model()
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sender_id = %s", [self.finance.id])
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "Somebody else"):
            self.settle(outcome="not_paid", reason="I know")

    def test_where_nobody_knows_who_sent_it_not_by_anybody_who_may_send(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_sender_id = NULL, mpesa_sent_at = NULL, mpesa_first_sent_at = NULL"
        )
        self.env.invalidate_all()
        both = new_test_user(
            self.env, "both", groups=f"base.group_user,{const.FINANCE},{const.PROGRAM_MANAGER}"
        )
        with self.assertRaisesRegex(UserError, "may not send payments"):
            self.settle(user=both, outcome="not_paid", reason="I know")
        self.settle(outcome="not_paid", reason="Not on the statement")
        self.assert_states(paid=2, refused=1)

    def test_only_by_the_finance_group(self):
        manager = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        with self.assertRaises(AccessError):
            self.settle(user=manager, outcome="not_paid", reason="I know")

    def test_only_a_doubt_and_all_or_none(self):
        with self.assertRaises(TransitionError):
            self.settle(payments=self.payments(), outcome="not_paid", reason="All of them")
        self.assert_states(paid=2, doubt=1)

    def test_twice_is_refused(self):
        self.settle(outcome="not_paid", reason="Once")
        with self.assertRaises(TransitionError):
            self.settle(outcome="paid", receipt="TX1", paid_on=fields.Datetime.now())

    def test_repeated_after_a_lost_connection_is_once(self):
        wizard = self.settle(outcome="not_paid", reason="Once")
        wizard.action_settle()
        decisions = self.doubt.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "decision")
        self.assertEqual(len(decisions), 1)

    def test_what_was_never_sent_is_written_off(self):
        ready = self.one_more()
        self.write_off(ready)
        self.assertEqual(
            (ready.mpesa_state, ready.mpesa_reason, ready.status), ("refused", "written_off", "failed")
        )

    def write_off(self, ready):
        self.settle(payments=ready, outcome="write_off", reason="Moved away")

    def one_more(self):
        """A payment that is ready, in a batch of its own."""
        self.entitlements[0].copy({"state": "approved"})
        self.prepare()
        return self.payments().filtered(lambda payment: payment.mpesa_state == "ready")

    def test_not_written_off_by_who_has_tried_to_send_it(self):
        ready = self.one_more()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_sender_id = %s WHERE id = %s", [self.finance.id, ready.id]
        )
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "sent one of these"):
            self.write_off(ready)

    def test_not_written_off_by_who_has_sent_its_batch_without_it(self):
        ready = self.one_more()
        ready.batch_id.with_user(self.finance)._mpesa_happened("sent")
        with self.assertRaisesRegex(UserError, "or its batch"):
            self.write_off(ready)

    def test_nor_is_a_doubt_settled_by_who_has_clicked_send_for_its_batch(self):
        self.doubt.batch_id.with_user(self.finance)._mpesa_happened("sent")
        for vals in (
            {"outcome": "not_paid", "reason": "I know"},
            {"outcome": "paid", "receipt": "TX1", "paid_on": fields.Datetime.now()},
        ):
            with self.assertRaisesRegex(UserError, "or its batch"):
                self.settle(**vals)
        self.assert_states(paid=2, doubt=1)

    def test_not_written_off_by_who_has_prepared_it(self):
        ready = self.one_more()
        self.env.cr.execute(
            "UPDATE g2p_payment SET create_uid = %s WHERE id = %s", [self.finance.id, ready.id]
        )
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "must write it off"):
            self.write_off(ready)

    def test_not_by_somebody_of_another_company(self):
        ready = self.one_more()
        elsewhere = user_elsewhere(self.env, const.FINANCE)
        for payments, outcome in ((self.doubt, "not_paid"), (ready, "write_off")):
            with self.assertRaises(AccessError):
                self.settle(user=elsewhere, payments=payments, outcome=outcome, reason="I know")
        self.assert_states(paid=2, doubt=1, ready=1)
        # With both, while they work in the other one, too.
        elsewhere.company_ids |= self.program.company_id
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(elsewhere)

        def settle(companies):
            working = wizard.with_context(
                active_model="g2p.payment", active_ids=self.doubt.ids, allowed_company_ids=companies.ids
            )
            working.create({"outcome": "not_paid", "reason": "Not on the statement"}).action_settle()

        with self.assertRaises(AccessError):
            settle(elsewhere.company_id)
        self.assertEqual(self.doubt.mpesa_state, "doubt")
        settle(elsewhere.company_ids)
        self.env.invalidate_all()
        self.assertEqual(self.doubt.mpesa_state, "refused")


class TestHands(ProgramCase):
    """What nobody can do by hand, the administrator and the super user included."""

    PEOPLE = 2

    def setUp(self):
        super().setUp()
        self.prepare()

    def test_status_is_not_written_by_hand(self):
        for vals in ({"status": "paid"}, {"state": "sent"}, {"mpesa_state": "paid"}, {"amount_paid": 5}):
            with self.assertRaises(UserError):
                self.payments()[0].write(vals)

    def test_amount_and_payee_are_fixed_once_sent(self):
        self.payments()[0].amount_issued = 50
        self.send()
        for vals in ({"amount_issued": 60}, {"account_number": "254711111111"}, {"batch_id": False}):
            with self.assertRaises(UserError):
                self.payments()[0].write(vals)
        self.assertEqual(self.payments()[0].amount_paid, 50)

    def test_no_more_than_the_entitlement_and_to_nobody_else(self):
        payment = self.payments()[0]
        for vals in (
            {"amount_issued": 5000},
            {"account_number": "254711111111"},
            {"entitlement_id": self.entitlements[1].id},
        ):
            with self.assertRaises(UserError):
                payment.write(vals)
        self.env.flush_all()
        self.env.cr.execute("UPDATE g2p_payment SET amount_issued = 5000 WHERE id = %s", [payment.id])
        self.env.invalidate_all()
        self.send()
        self.assertEqual((payment.mpesa_state, payment.mpesa_reason), ("ready", "above_entitlement"))

    def test_nothing_is_smuggled_in_by_defaults_or_copies(self):
        self.send()
        payment = self.payments()[0]
        entitlement = self.entitlements[0].copy({"state": "approved"})
        sneaky = {
            "default_mpesa_reference": "mine",
            "default_status": "paid",
            "default_mpesa_duplicate": True,
            "default_state": "sent",
        }
        vals = {"entitlement_id": entitlement.id, "cycle_id": self.cycle.id, "amount_issued": 100}
        made = self.env["g2p.payment"].with_context(**sneaky).create(vals)
        self.assertEqual((made.state, made.status, made.mpesa_state), ("issued", False, "ready"))
        self.assertNotEqual(made.mpesa_reference, "mine")
        self.assertFalse(made.mpesa_duplicate)
        for more in ({"state": "sent", "status": "paid"}, {"mpesa_state": "doubt"}):
            with self.assertRaises(UserError):
                self.env["g2p.payment"].create({**vals, **more})
        with self.assertRaises(ValidationError):
            payment.copy()
        batch = payment.batch_id.copy()
        self.assertFalse(batch.payment_ids or batch.stats_paid_transactions or batch.batch_has_started)

    def test_a_batch_is_wanted_by_nobody_else_and_its_figures_are_counted(self):
        batch = self.payments().batch_id
        for vals in (
            {"mpesa_wanted_by_id": self.env.uid},
            {"stats_paid_transactions": 9},
            {"mpesa_state": False},
        ):
            with self.assertRaises(UserError):
                batch.write(vals)

    def test_another_manager_does_not_get_ready_payments(self):
        refused = self.assertRaisesRegex(ValidationError, "before another manager")
        with refused, self.env.cr.savepoint():
            self.program.payment_managers = [(5,)]
        self.env.invalidate_all()
        self.send()
        self.program.payment_managers = [(5,)]

    def test_payments_of_an_earlier_manager_are_told_and_sent_by_it_alone(self):
        self.send()
        self.entitlements[0].copy({"state": "approved"})
        self.entitlements[1].copy({"state": "approved"})
        self.prepare()
        ready = self.payments().filtered(lambda payment: payment.mpesa_state == "ready")
        later = self.manager.copy({"name": "Later", "password": "wrong"})
        # As a release does, after the program was given another manager.
        self.program.payment_managers.manager_ref_id = f"{later._name},{later.id}"
        message = self.send()
        self.assertIn("Payments of the manager M-Pesa, which it alone sends: 2", message)
        self.assertEqual(self.notification["type"], "warning")
        self.assert_states(paid=2, ready=2)
        click_send(ready)
        self.assert_states(paid=4)
        self.assert_agrees()

    def test_a_user_can_be_deleted(self):
        new_test_user(self.env, "leaver", groups="base.group_user").unlink()

    def test_what_was_sent_is_kept(self):
        self.payments()[0].unlink()
        self.send()
        with self.assertRaises(UserError):
            self.payments()[0].unlink()

    def test_no_payment_is_born_sent(self):
        vals = {"entitlement_id": self.entitlements[0].id, "mpesa_state": "paid"}
        with self.assertRaises(UserError):
            self.env["g2p.payment"].create(vals)

    def test_no_second_open_payment_for_an_entitlement(self):
        vals = {
            "entitlement_id": self.entitlements[0].id,
            "cycle_id": self.cycle.id,
            "amount_issued": 100,
        }
        with self.assertRaises(ValidationError):
            self.env["g2p.payment"].create(vals)

    def test_flags_of_a_batch_follow_from_its_payments(self):
        batch = self.payments().batch_id
        self.assertFalse(batch.batch_has_started)
        for flag in ("batch_has_started", "batch_has_completed"):
            with self.assertRaises(UserError):
                batch.write({flag: True})
        self.send()
        self.assertTrue(batch.batch_has_started and batch.batch_has_completed)
        self.assertEqual((batch.stats_paid_transactions, batch.stats_paid_amount), (2, 200))

    def test_the_journal_is_append_only(self):
        self.send()
        admin = self.env.ref("base.user_admin")
        attempt = self.env["g2p.payment.mpesa.attempt"].search([], limit=1).with_user(admin)
        for act in (
            lambda: attempt.write({"outcome": "paid"}),
            attempt.unlink,
            lambda: attempt.create({"kind": "login"}),
        ):
            with self.assertRaises(AccessError):
                act()
        for statement in (
            "UPDATE g2p_payment_mpesa_attempt SET outcome = 'x'",
            "DELETE FROM g2p_payment_mpesa_attempt",
        ):
            with self.assertRaisesRegex(Exception, "append-only"), self.env.cr.savepoint():
                self.env.cr.execute(statement, log_exceptions=False)

    def test_no_arrow_leads_back(self):
        self.send()
        payment = self.payments()[0]
        with self.assertRaisesRegex(TransitionError, "paid.*ready"):
            payment._mpesa_move(["paid"], "ready", [{"id": payment.id}])
        moved = payment._mpesa_move(["ready"], "refused", [{"id": payment.id}])
        with self.assertRaisesRegex(TransitionError, "paid.*refused"):
            payment._mpesa_require(payment.ids, moved, "refused")
