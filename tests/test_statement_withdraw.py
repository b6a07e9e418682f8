from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user

from ..models import const
from .test_statement_facts import FactsCase

WITHDRAW = "g2p.payment.mpesa.withdraw.wizard"


class TestWithdraw(FactsCase):
    """A comparison is taken back, and nothing rests on it any more; nothing of it is deleted."""

    def setUp(self):
        super().setUp()
        self.finance2 = new_test_user(self.env, "finance2", groups=f"base.group_user,{const.FINANCE}")

    def dialogue(self, statement, user=None):
        action = statement.with_user(user or self.finance).action_withdraw()
        wizards = self.env[WITHDRAW].with_user(user or self.finance).with_context(**action["context"])
        return wizards.create({"reason": "The wrong account"})

    def withdraw(self, statement, user=None):
        self.dialogue(statement, user).action_withdraw()
        self.env.invalidate_all()

    def test_what_it_showed_can_be_prepared_again_and_it_is_kept(self):
        statement = self.compare(self.named(4))
        self.refuse(4)
        self.assertEqual(self.prepared_again(), [])
        self.withdraw(statement)
        self.assertEqual(self.prepared_again(), [4])
        self.assertEqual((statement.state, statement.withdrawn_by_id), ("withdrawn", self.finance))
        self.assertEqual(
            (statement.withdrawn_reason, statement.compared_by_id), ("The wrong account", self.finance)
        )
        self.assertEqual(statement.line_ids.payment_id, self.rows[4])
        self.assertIn("The wrong account", "".join(statement.message_ids.mapped("body")))

    def test_a_withdrawn_one_settles_nothing_and_stays_as_it_is(self):
        statement = self.compare(self.named(4))
        self.withdraw(statement)
        self.assertEqual(statement.settle_count, 0)
        with self.assertRaisesRegex(UserError, "settles as paid, and nothing else"):
            self.settle_by(statement, statement.line_ids.filtered("receipt"))
        for act in (statement.with_user(self.finance).unlink, lambda: self.withdraw(statement)):
            with self.assertRaises(UserError):
                act()
        with self.assertRaises(UserError):
            statement.with_user(self.finance).write({"decimal": ","})
        self.assertEqual(self.rows[4].mpesa_state, "doubt")

    def test_the_same_file_can_be_compared_anew(self):
        statement = self.compare(self.named(4))
        with self.assertRaisesRegex(UserError, "imported before"), self.env.cr.savepoint():
            self.compare(self.named(4))
        self.withdraw(statement)
        self.assertEqual(self.compare(self.named(4)).settle_count, 1)

    def test_by_payee_a_payment_is_free_again_for_another_line(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET account_number = %s,"
            " mpesa_sent_at = mpesa_sent_at + interval '30 minutes' WHERE id = %s",
            [self.rows[4].account_number, self.rows[5].id],
        )
        self.env.invalidate_all()
        first = self.compare(self.line(4, receipt="OTHER"))
        self.assertEqual(first.line_ids.filtered("receipt").payment_id, self.rows[4])
        self.withdraw(first)
        second = self.compare(self.line(4))
        self.assertEqual(second.line_ids.filtered("receipt").payment_id, self.rows[4])

    def test_where_it_settled_something_somebody_else_withdraws_it(self):
        statement = self.compare(self.named(4), self.named(5))
        self.settle_by(statement, statement.line_ids.filtered("receipt"))
        dialogue = self.dialogue(statement)
        self.assertEqual((dialogue.settled_count, dialogue.by_others), (2, True))
        self.assertEqual(dialogue.settled_ids, self.rows[4] + self.rows[5])
        with self.assertRaisesRegex(UserError, "Somebody else"):
            dialogue.action_withdraw()
        self.assertEqual(statement.state, "compared")
        dialogue = self.dialogue(statement, self.finance2)
        self.assertFalse(dialogue.by_others)
        self.withdraw(statement, self.finance2)
        self.assertEqual((self.rows[4].mpesa_state, self.rows[5].mpesa_state), ("paid", "paid"))
        activities = self.rows.batch_id.activity_ids.mapped("summary")
        self.assertTrue([summary for summary in activities if "Look at payments again" in (summary or "")])

    def test_who_settled_by_it_does_not_withdraw_it_either(self):
        statement = self.compare(self.named(4), user=self.finance2)
        self.settle_by(statement, statement.line_ids.filtered("receipt"))
        with self.assertRaisesRegex(UserError, "Somebody else"):
            self.withdraw(statement)

    def test_who_compared_it_does_not_withdraw_it_where_somebody_settled_by_it(self):
        statement = self.compare(self.named(4))
        line = statement.line_ids.filtered("receipt").with_user(self.finance2)
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance2)
        wizard.with_context(active_model=line._name, active_ids=line.ids).create({}).action_settle()
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "Somebody else"):
            self.withdraw(statement)

    def test_what_was_settled_as_not_paid_since_is_shown(self):
        statement = self.compare(self.named(0, minutes=-30), self.named(1, minutes=30))
        self.by_hand(4, "not_paid")
        self.assertEqual(self.dialogue(statement).not_paid_count, 1)

    def test_what_other_statements_say_follows_anew(self):
        first = self.compare(self.named(4))
        second = self.compare(self.named(4, receipt="TX99"))
        self.assertEqual(second.twice_count, 1)
        self.withdraw(first)
        self.assertEqual((second.twice_count, second.settle_count), (0, 1))

    def test_the_sign_off_does_not_count_it(self):
        statement = self.compare(self.named(4))
        signoff = self.env["report.g2p_payment_simple_mpesa.signoff"].with_user(self.finance)
        self.env.flush_all()
        self.assertIn("Paid there, in doubt here", [row[0] for row in signoff._statement(self.cycle)])
        self.withdraw(statement)
        self.env.flush_all()
        self.assertNotIn("Paid there, in doubt here", [row[0] for row in signoff._statement(self.cycle)])

    def test_only_by_finance_and_of_own_companies(self):
        statement = self.compare(self.named(4))
        admin = new_test_user(self.env, "boss", groups=f"base.group_user,{const.ADMIN}")
        with self.assertRaises(AccessError):
            self.withdraw(statement, admin)
        other = self.env["res.company"].create({"name": "Other", "country_id": self.env.ref("base.ke").id})
        self.finance2.write({"company_ids": [(6, 0, other.ids)], "company_id": other.id})
        with self.assertRaises(AccessError):
            statement.with_user(self.finance2)._withdraw("x")
        self.assertEqual(statement.state, "compared")
