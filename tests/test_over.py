from odoo.exceptions import UserError
from odoo.tests import new_test_user

from ..models import const
from .common import ProgramCase


class TestOver(ProgramCase):
    """Of a cycle that was cancelled, or a program that has ended, nothing goes out by any way in."""

    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.prepare()
        self.rows = self.payments()

    def cancel(self):
        self.cycle.state = "cancelled"
        self.env.flush_all()

    def end(self):
        self.program.state = "ended"
        self.env.flush_all()

    def assert_nothing_goes_out(self):
        batches = self.rows.batch_id
        self.manager._mpesa_send(batches)
        self.manager._send_payments(batches)
        self.manager._send_some(self.rows[:1])
        self.manager._send_payments_job(batches[0], 500)
        self.env.invalidate_all()
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assertEqual(set(self.rows.mapped("mpesa_state")), {"ready"})
        self.assertEqual(set(self.rows.mapped("mpesa_reason")), {const.CYCLE_CLOSED})

    def test_a_cancelled_cycle_is_not_sent(self):
        self.cancel()
        self.assert_nothing_goes_out()

    def test_an_ended_program_is_not_sent(self):
        self.end()
        self.assert_nothing_goes_out()

    def test_the_dialogue_says_so(self):
        self.cancel()
        action = self.manager.send_payments(self.rows.batch_id)
        wizard = self.env[action["res_model"]].browse(action.get("res_id"))
        self.assertEqual((wizard.count, wizard.held_count), (0, 3))

    def test_what_is_approved_again_goes_out(self):
        self.cancel()
        self.assert_nothing_goes_out()
        self.cycle.state = "approved"
        self.env.flush_all()
        self.manager._mpesa_send(self.rows.batch_id)
        self.env.invalidate_all()
        self.assertEqual(self.gateway.ledger()["count"], 3)

    def test_nothing_is_prepared(self):
        for act in (self.cancel, self.end):
            act()
            params = self.manager.prepare_payments(self.cycle)["params"]
            self.assertEqual(params["type"], "danger")
            self.assertIn("cancelled", params["message"])
            self.cycle.state = "approved"


class TestWrittenOff(ProgramCase):
    """What finance has written off is not prepared again, unless finance allows it."""

    PEOPLE = 2

    def setUp(self):
        super().setUp()
        self.finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        self.prepare()
        self.row = self.payments()[0]
        self.settle("write_off")

    def settle(self, outcome, user=None):
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(user or self.finance)
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=self.row.ids)
        wizard.create({"outcome": outcome, "reason": "Moved away"}).action_settle()
        self.env.invalidate_all()

    def prepared_again(self):
        before = self.payments()
        self.manager.prepare_payments(self.cycle)
        return self.payments() - before

    def test_it_is_not_prepared_again(self):
        self.assertFalse(self.prepared_again())

    def test_it_is_once_finance_allows_it(self):
        self.settle("allow_again")
        self.assertEqual((self.row.mpesa_state, self.row.mpesa_allowed_again), ("refused", True))
        self.assertEqual(self.row.batch_id._mpesa_refused_for_now()[const.AGAIN], self.row)
        self.assertEqual(self.prepared_again().entitlement_id, self.row.entitlement_id)
        decision = self.row.mpesa_attempt_ids.filtered(lambda a: a.outcome == "allow_again")
        self.assertEqual((decision.user_id, decision.words), (self.finance, "Moved away"))

    def test_only_what_was_written_off(self):
        self.row = self.payments()[1]
        with self.assertRaisesRegex(UserError, "Only what was written off"):
            self.settle("allow_again")

    def test_not_by_who_prepared_it(self):
        self.env.cr.execute("UPDATE g2p_payment SET create_uid = %s", [self.finance.id])
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "You have prepared"):
            self.settle("allow_again")

    def test_the_new_one_written_off_needs_a_word_of_its_own(self):
        self.settle("allow_again")
        self.row = self.prepared_again()
        self.settle("write_off")
        self.assertFalse(self.prepared_again())
