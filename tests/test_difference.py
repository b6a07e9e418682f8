"""Paid is what the gateway has paid: less, or more, than was issued, and the difference is open."""

from datetime import timedelta

from odoo import fields
from odoo.exceptions import ValidationError
from odoo.tests import new_test_user

from ..models import const
from .common import ProgramCase


class TestDifference(ProgramCase):
    PROFILE = "full"
    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        self.prepare()
        self.send()
        self.doubt = self.payments()[1]
        # The gateway has paid 100 of what were 110.
        self.env.cr.execute("UPDATE g2p_entitlement SET initial_amount = 110")
        self.env.cr.execute("UPDATE g2p_payment SET amount_issued = 110 WHERE id = %s", [self.doubt.id])
        self.env.invalidate_all()
        self.doubt.batch_id._mpesa_refresh_figures()
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_next_check = mpesa_next_check - interval '2 days'")
        self.run_cron()
        self.assert_states(paid=2, doubt=1)
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours'")
        self.env.invalidate_all()

    def wizard(self, **vals):
        return (
            self.env["g2p.payment.mpesa.settle.wizard"]
            .with_user(self.finance)
            .with_context(active_model="g2p.payment", active_ids=self.doubt.ids)
            .create({"outcome": "paid", "receipt": "TX1", "paid_on": self.moment(), **vals})
        )

    def moment(self):
        return fields.Datetime.now() - timedelta(hours=1)

    def settle(self, **vals):
        self.wizard(**vals).action_settle()
        self.env.invalidate_all()

    def test_what_the_gateway_says_is_kept_and_offered(self):
        self.assertEqual(self.doubt.mpesa_reason, "amount_differs")
        self.assertEqual(self.doubt.mpesa_gateway_amount, 100)
        wizard = self.wizard()
        self.assertEqual((wizard.paid_amount, wizard.differs), (100, True))
        with self.assertRaisesRegex(ValidationError, "give a reason"):
            wizard.action_settle()
        with self.assertRaisesRegex(ValidationError, "amount that the gateway has paid"):
            self.settle(paid_amount=0, reason="x")

    def test_it_is_settled_as_what_was_paid_and_the_difference_is_open(self):
        self.settle(reason="By the statement")
        self.assertEqual((self.doubt.mpesa_state, self.doubt.amount_paid), ("paid", 100))
        self.assertEqual(self.doubt.mpesa_difference, 10)
        found = self.env["g2p.payment"].search([("mpesa_difference", "!=", 0)])
        self.assertEqual(found & self.payments(), self.doubt)
        self.assert_figures()
        for record in (self.doubt.batch_id, self.cycle):
            self.assertEqual((record.stats_paid_amount, record.mpesa_short_amount), (300, 10))
            self.assertEqual((record.mpesa_over_amount, record.mpesa_under_way_amount), (0, 0))
            action = record.with_context(mpesa_show="differs").action_mpesa_show()
            self.assertEqual(self.env["g2p.payment"].search(action["domain"]), self.doubt)
        decision = self.doubt.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "decision")
        self.assertEqual(decision.amount, 100)
        self.assertRegex(decision.words, "Paid: .*100.* of .*110")

    def test_nothing_prepares_the_difference_again(self):
        self.settle(reason="By the statement")
        before = self.payments()
        self.prepare()
        self.assertEqual(self.payments(), before)

    def test_reconciliation_and_sign_off_show_it(self):
        self.settle(reason="By the statement")
        own = self.cycle.with_user(self.finance)
        wizard = own.env["g2p.payment.mpesa.reconciliation"].create(
            {"program_id": self.program.id, "cycle_id": self.cycle.id}
        )
        self.assertEqual((wizard.paid_amount, wizard.short_count, wizard.short_amount), (300, 1, 10))
        self.assertEqual(wizard.amount, 310)
        rows = list(own._mpesa_reconciliation().rows())
        self.assertEqual(sorted(row[-1] for row in rows), [0, 0, 10])
        figures = own.env["report.g2p_payment_simple_mpesa.signoff"]._figures(own)
        self.assertEqual((figures["short"], figures["total"]), ((1, 10), (3, 310)))
        self.assertEqual([row[2] for row in figures["outcomes"]], [300])
        page = self.env["ir.qweb"]._render(
            "g2p_payment_simple_mpesa.signoff",
            own.env["report.g2p_payment_simple_mpesa.signoff"]._get_report_values(own.ids)
            | {"env": self.env, "res_company": self.env.company, "web_base_url": "", "is_html_empty": bool},
        )
        self.assertIn("less than was issued", str(page))
        self.assertNotIn("Nothing: each payment was made", str(page))
        report = self.env["g2p.payment.mpesa.report"].search([("cycle_id", "=", self.cycle.id)])
        self.assertEqual(sum(report.mapped("difference")), 10)

    def test_more_than_was_issued_is_shown_apart(self):
        self.settle(paid_amount=125, reason="By the statement")
        batch = self.doubt.batch_id
        self.assertEqual((batch.mpesa_short_amount, batch.mpesa_over_amount), (0, 15))
        self.assertEqual(batch.stats_paid_amount, 325)
        self.assertEqual(self.cycle._mpesa_differences(), (0, 0, 1, 15))
        self.assert_figures()

    def test_the_whole_amount_needs_no_reason_and_leaves_nothing_open(self):
        self.settle(paid_amount=110)
        self.assertEqual((self.doubt.amount_paid, self.doubt.mpesa_difference), (110, 0))
        self.assertEqual(self.cycle._mpesa_differences(), (0, 0, 0, 0))
