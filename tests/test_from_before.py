"""What came ready from the earlier module waits for a person's word; what the rules refuse is never asked."""

from odoo.exceptions import UserError

from ..models import const
from .common import phone
from .test_migration import EarlierPaymentsCase


class TestHeldBack(EarlierPaymentsCase):
    """The earlier module may have paid it in a request that broke off, and was forgotten as a whole."""

    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.rows = self.old_payment(0, self.old_batch())
        self.rows |= self.old_payment(1, self.rows.batch_id)
        self.update()
        self.batch = self.rows.batch_id

    def dialogue(self, payments=None):
        action = self.env["g2p.payment.mpesa.send.wizard"]._open(self.manager, self.batch, payments)
        return self.env[action["res_model"]].browse(action["res_id"])

    def sent(self):
        self.env.invalidate_all()
        return self.gateway.ledger()["paid"]

    def test_no_way_in_sends_it(self):
        self.manager._mpesa_send(self.batch)
        self.manager._send_payments(self.batch)
        self.manager._send_some(self.rows[:1])
        self.manager._send_payments_job(self.batch, 500)
        self.run_cron()
        self.assertEqual(self.sent(), {})
        self.assertEqual(self.rows.mapped("mpesa_state"), ["ready", "ready"])
        self.assertEqual(self.rows.mapped("mpesa_reason"), [const.FROM_BEFORE] * 2)

    def test_the_button_of_one_payment_does_not_either(self):
        self.send()
        action = self.rows[:1].send_payment()
        self.assertEqual(self.env[action["res_model"]].browse(action["res_id"]).count, 0)
        self.assertEqual(self.sent(), {})

    def test_the_dialogue_names_number_and_sum(self):
        wizard = self.dialogue()
        self.assertEqual((wizard.count, wizard.before_count, wizard.before_amount), (0, 2, 200))

    def test_it_goes_out_once_a_person_has_confirmed_it_and_stays_marked(self):
        wizard = self.dialogue()
        with self.assertRaisesRegex(UserError, "tick the box"):
            wizard.action_confirm_before()
        wizard.before_is_compared = True
        wizard.action_confirm_before()
        self.assertEqual((wizard.count, wizard.amount, wizard.before_count), (2, 200, 0))
        self.assertEqual(self.sent(), {})
        self.send()
        self.assertEqual(self.sent(), {phone(0): 100, phone(1): 100})
        self.assertEqual(self.rows.mapped("mpesa_from_before"), [True, True])
        self.assertEqual(self.rows.mpesa_before_confirmed_by_id, self.env.user)

    def test_who_confirmed_is_in_journal_and_chatter(self):
        wizard = self.dialogue()
        wizard.before_is_compared = True
        wizard.action_confirm_before()
        self.env.invalidate_all()
        rows = self.rows.mpesa_attempt_ids.filtered(lambda row: row.outcome == "not_paid_before")
        self.assertEqual((len(rows), rows.user_id), (2, self.env.user))
        self.assertIn("did not pay these payments: 2", self.batch.message_ids[0].body)

    def test_only_what_was_shown_is_confirmed(self):
        wizard = self.dialogue(self.rows[:1])
        self.assertEqual(wizard.before_count, 1)
        wizard.before_is_compared = True
        wizard.action_confirm_before()
        self.manager._mpesa_send(self.batch)
        self.assertEqual(self.sent(), {phone(0): 100})

    def test_what_is_prepared_here_needs_no_word(self):
        self.prepare()
        self.send()
        self.assertEqual(self.sent(), {phone(2): 100})

    def test_something_else_against_it_stays(self):
        self.entitlements[0].state = "cancelled"
        self.env.flush_all()
        wizard = self.dialogue()
        self.assertEqual(wizard.before_count, 1)
        wizard.before_is_compared = True
        wizard.action_confirm_before()
        self.assertEqual(wizard.count, 1)
        self.assertFalse(self.rows[0].mpesa_before_confirmed_at)


class TestSetUp(EarlierPaymentsCase):
    PROFILE = "full"
    PEOPLE = 1

    def refuse(self, **urls):
        """Set addresses that the rules refuse, as the earlier module let people write them."""
        self.env.flush_all()
        for name, url in urls.items():
            self.env.cr.execute(
                f"UPDATE g2p_program_payment_manager_mpesa SET {name} = %s WHERE id = %s",
                [url, self.manager.id],
            )
        self.env.invalidate_all()

    def asked(self):
        """What the gateway was asked, by path; what the test itself asks the sandbox does not count."""
        paths = self.gateway.requests()["paths"]
        return {path: count for path, count in paths.items() if path.startswith("/api/")}

    def test_one_connection(self):
        self.update()
        self.assertEqual(self.manager.max_connections, 1)

    def test_all_addresses_that_are_refused_are_named(self):
        self.refuse(
            auth_endpoint_url="http://gateway.example.org/login",
            payment_endpoint_url="https://user:word@gateway.example.org/pay",
        )
        self.update()
        for sentence in (
            "Login URL: http is only possible",
            "Payment URL: leave user name and password out",
            "Nothing is sent or asked before this is corrected",
        ):
            self.assertIn(sentence, self.words())

    def test_how_numbers_go_out_is_told(self):
        self.update()
        self.assertIn("digits with the country code", self.words())
        self.manager.payee_id_type = "email"
        self.update()
        self.assertNotIn("digits with the country code", self.words())

    def test_a_refused_address_is_not_used(self):
        """The address would answer: the name and password in it are what is refused."""
        payments = self.prepare()
        for name in ("auth_endpoint_url", "payment_endpoint_url", "status_endpoint_url"):
            with self.subTest(name):
                good = self.manager[name]
                self.refuse(**{name: good.replace("://", "://user:word@")})
                before = self.asked()
                self.manager._send_payments(payments.batch_id)
                self.manager.action_test_connection()
                self.env.invalidate_all()
                self.assertEqual(self.asked(), before)
                self.assertEqual(payments.mapped("mpesa_state"), ["ready"])
                self.assertFalse(self.manager.test_passed)
                self.assertIn("leave user name and password out", self.manager.test_result)
                self.refuse(**{name: good})
        self.manager._send_payments(payments.batch_id)
        self.env.invalidate_all()
        self.assertEqual(self.gateway.ledger()["paid"], {phone(0): 100})

    def test_how_payments_stand_is_not_asked_there(self):
        payments = self.prepare()
        self.manager._send_payments(payments.batch_id)
        self.refuse(balance_endpoint_url="https://user:word@gateway.example.org/balance")
        before = self.asked()
        with self.assertRaisesRegex(UserError, "leave user name and password out"):
            payments.action_mpesa_refresh_status()
        self.assertEqual(self.asked(), before)
