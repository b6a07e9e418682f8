"""Amounts are in the currency in which they were prepared, and go out only where the gateway pays in it."""

from odoo.tests import new_test_user

from ..models import const
from ..models.claims import Claims
from .common import MANAGER, ProgramCase, manager_vals, tag


class TestCurrency(ProgramCase):
    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.kes, self.usd = self.env.ref("base.KES"), self.env.ref("base.USD")

    def other_journal(self, currency):
        return self.env["account.journal"].create(
            {"name": "Other", "code": "OT", "type": "bank", "currency_id": currency.id}
        )

    def wizard(self):
        self.env.flush_all()
        action = self.cycle.send_payment()
        return self.env[action["res_model"]].browse(action["res_id"])

    def test_a_new_gateway_pays_in_kenyan_shillings(self):
        self.assertEqual(self.manager.gateway_currency_id, self.kes)
        self.assertFalse(self.manager.currency_differs)

    def test_a_program_in_another_currency_is_told_and_nothing_is_sent(self):
        self.program.journal_id = self.other_journal(self.usd)
        self.assertTrue(self.manager.currency_differs)
        self.manager.action_test_connection()
        self.assertFalse(self.manager.test_passed)
        self.assertIn("pays in USD, and the gateway in KES", self.manager.test_result)
        payments = self.prepare()
        self.assertEqual(set(payments.mapped("mpesa_reason")), {"other_currency"})
        wizard = self.wizard()
        self.assertTrue(wizard.currency_differs)
        self.assertEqual(wizard.count, 0)
        self.assertEqual(self.env["g2p.payment.mpesa.send.held"].search([]).currency_id, self.usd)
        self.env["g2p.payment"].browse(payments.ids)
        self.manager._send_payments(payments.batch_id)
        self.assert_states(ready=3)
        self.assertEqual(self.gateway.ledger()["count"], 0)
        # Whoever corrects the set-up sends them.
        self.manager.gateway_currency_id = self.usd
        self.send()
        self.assert_states(paid=3)

    def test_one_by_one_as_well(self):
        self.program.journal_id = self.other_journal(self.usd)
        payment = self.env["g2p.payment"].create(
            {
                "name": "x",
                "entitlement_id": self.entitlements[0].id,
                "cycle_id": self.cycle.id,
                "amount_issued": 100,
            }
        )
        self.assertEqual(payment.mpesa_reason, "other_currency")
        self.assertEqual(payment.mpesa_currency_id, self.usd)

    def test_a_journal_changed_later_changes_no_payment_that_is_there(self):
        payments = self.prepare()
        self.send()
        self.program.journal_id = self.other_journal(self.usd)
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertEqual(payments.journal_id.currency_id, self.usd)
        for found in (
            payments.currency_id,
            payments.mpesa_currency_id,
            payments.batch_id.mpesa_currency_id,
            self.cycle.mpesa_currency_id,
            self.env["g2p.payment.mpesa.report"].search([("cycle_id", "=", self.cycle.id)]).currency_id,
            self.env["g2p.payment.mpesa.reconciliation"].new({"cycle_id": self.cycle.id}).currency_id,
            payments.mpesa_attempt_ids.currency_id,
        ):
            self.assertEqual(found, self.kes)
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        rows = list(self.cycle.with_user(finance)._mpesa_reconciliation().rows())
        self.assertEqual({row[5] for row in rows}, {"KES"})

    def test_what_was_prepared_before_the_change_goes_out_as_it_was_prepared(self):
        self.prepare()
        self.program.journal_id.currency_id = self.usd
        self.send()
        self.assert_states(paid=3)

    def test_a_doubt_in_another_currency_is_not_sent_again(self):
        self.prepare()
        self.fault(0, "drop-not-taken", count=1)
        self.send()
        doubt = self.payments().filtered(lambda p: p.mpesa_state == "doubt")
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '1 hour'")
        self.manager.gateway_currency_id = self.usd
        self.env.flush_all()
        claims = Claims(self.manager, [], None, 60)
        self.assertIsNone(claims.claim_doubt(doubt.id, lambda token: None))
        self.manager.gateway_currency_id = self.kes
        self.env.flush_all()
        self.assertTrue(claims.claim_doubt(doubt.id, lambda token: None))

    def test_managers_and_payments_of_before_the_update_are_in_their_programs_currency(self):
        payments = self.prepare()
        self.program.journal_id.currency_id = self.usd
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_currency_id = NULL;"
            "UPDATE g2p_program_payment_manager_mpesa SET gateway_currency_id = NULL"
        )
        self.manager._init_column("gateway_currency_id")
        payments._mpesa_fill_currencies()
        self.env.invalidate_all()
        self.assertEqual(self.manager.gateway_currency_id, self.usd)
        self.assertEqual(payments.mpesa_currency_id, self.usd)
        self.assertFalse(self.manager.currency_differs)

    def test_a_program_without_a_journal_has_its_companys_currency(self):
        program = self.env["g2p.program"].create({"name": "Other"})
        vals = manager_vals(self.gateway, program_id=program.id, batch_tag_ids=[tag(self.env).id])
        manager = self.env[MANAGER].create(vals)
        self.assertEqual(manager.program_currency_id, program._mpesa_currency())
        self.assertEqual(manager.currency_differs, program._mpesa_currency() != self.kes)
