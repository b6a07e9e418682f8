"""The cases in which the obvious design loses money or pays twice, by their numbers.

Those that need two processes, or one that dies, are in ``test_processes``.
"""

import json

from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import const
from .common import ProgramCase, click_send, make_cycle, phone


class TestNaiveSender(ProgramCase):
    def test_01_taken_and_answered_after_the_timeout(self):
        self.prepare()
        self.fault(1, "late-taken", 2)
        self.send()
        self.assert_states(paid=9, doubt=1)
        self.send()
        self.assertEqual(self.gateway.ledger()["paid"][phone(1)], 100)
        self.assert_agrees()

    def test_02_server_error_and_not_taken(self):
        self.prepare()
        self.fault(1, "500-not-taken")
        message = self.send()
        self.assert_states(paid=9, doubt=1)
        self.assertIn("1 in doubt", message)
        self.assert_agrees()

    def test_03_server_error_and_taken(self):
        self.prepare()
        self.fault(1, "500-taken")
        self.send()
        self.send()
        self.assert_states(paid=9, doubt=1)
        self.assertEqual(self.gateway.ledger()["paid"][phone(1)], 100)
        self.assert_agrees()

    def test_06_wrong_password_then_the_right_one(self):
        self.prepare()
        self.manager.password = "wrong"
        message = self.send()
        self.assert_states(ready=10)
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assertIn("does not accept user name or password", message)
        self.assertEqual(len(self.payments().batch_id.activity_ids), 1)
        self.manager.password = "sandbox-secret"
        self.send()
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_07_payee_without_a_phone_number(self):
        self.people[3].phone = False
        self.prepare()
        message = self.send()
        self.assert_states(paid=9, ready=1)
        self.assertEqual(self.payments()[3].mpesa_reason, "no_payee")
        self.assertIn("1 not sent", message)
        self.assertEqual(self.gateway.ledger()["count"], 9)
        self.people[3].phone = f"+{phone(3)}"
        self.send()
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_08_payee_with_two_phone_numbers(self):
        first, second = phone(101), phone(102)
        self.people[3].phone_number_ids = [(0, 0, {"phone_no": f"+{number}"}) for number in (first, second)]
        self.people[3].phone = f"+{first},+{second}"
        payments = self.prepare()
        self.assertEqual(payments[3].account_number, second)
        self.send()
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_08_joined_numbers_without_numbers_of_their_own(self):
        self.people[3].phone = f"+{phone(101)},+{phone(102)}"
        self.assertEqual(self.prepare()[3].account_number, phone(101))

    def test_09_amounts_with_cents_and_below_the_least(self):
        self.entitlements[3].initial_amount = 99.75
        self.entitlements[4].initial_amount = 9.99
        self.entitlements[5].initial_amount = 9
        self.prepare()
        self.send()
        self.assert_states(paid=7, ready=3)
        reasons = self.payments()[3:6].mapped("mpesa_reason")
        self.assertEqual(reasons, ["not_whole", "not_whole", "below_minimum"])
        self.assertEqual(self.gateway.ledger()["count"], 7)
        payment = self.payments()[3]
        payment.amount_issued = 100
        self.send()
        self.assert_states(paid=8, ready=2)
        self.assert_agrees()

    def test_10_success_with_an_error_inside(self):
        self.prepare()
        self.fault(1, "status-error-not-taken")
        self.fault(2, "unknown-body-taken")
        self.send()
        self.assert_states(paid=8, doubt=2)
        self.assert_agrees()

    def test_18_sender_without_an_email_address(self):
        sender = new_test_user(self.env, "sender", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        sender.partner_id.email = False
        self.prepare()
        self.fault(1, "refuse")
        self.fault(5, "no-float", count=1)
        for _click in range(2):
            self.env.flush_all()
            click_send(self.cycle.with_user(sender))
        self.assert_states(paid=9, refused=1)
        self.assert_agrees()

    def test_19_account_in_a_country_without_ibans(self):
        self.manager.payee_id_type = "bank_acc_iban"
        for person, country, bank_code in (
            (self.people[0], "base.ke", "01"),
            (self.people[1], "base.de", "37040044"),
        ):
            country = self.env.ref(country)
            bank = self.env["res.bank"].create({"name": "Bank", "country": country.id, "bic": bank_code})
            self.env["res.partner.bank"].create(
                {"partner_id": person.id, "acc_number": "532013000", "bank_id": bank.id}
            )
        normal = self.gateway.settings()["payee_pattern"]
        self.addCleanup(self.gateway.settings, payee_pattern=normal)
        self.gateway.settings(payee_pattern="DE[0-9]{20}")
        self.prepare()
        self.send()
        without, with_iban = self.payments()[:2]
        self.assertEqual((without.mpesa_state, without.mpesa_reason), ("ready", "no_payee"))
        self.assertEqual(with_iban.mpesa_state, "paid")
        self.assertEqual(self.gateway.ledger()["paid"], {"DE89370400440532013000": 100})

    def test_21_without_automatic_batches(self):
        self.manager.write({"create_batch": False, "batch_tag_ids": [(5,)]})
        payments = self.prepare()
        self.assertEqual(len(payments), 10)
        self.assertFalse(payments.batch_id)
        self.assertIn("no batch", self.notification["message"])
        self.send()
        self.assert_states(ready=10)
        wizard = self.env["g2p.assign.payments.batch.wizard"].with_context(
            active_ids=payments.ids, active_model="g2p.payment"
        )
        wizard.create({}).assign_payment()
        self.send()
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_22_the_password_is_read_back_by_nobody(self):
        for group in (const.ADMIN, const.PROGRAM_MANAGER, "g2p_programs.g2p_program_validator"):
            user = new_test_user(
                self.env, f"reader-{group}", groups=f"base.group_user,base.group_allow_export,{group}"
            )
            manager = self.manager.with_user(user)
            manager.invalidate_recordset()
            seen = [manager.read(), manager.export_data(["name", "password"]), manager.copy_data()]
            self.assertNotIn("sandbox-secret", json.dumps(seen, default=str))
            with self.assertRaises(AccessError):
                manager.read(["secret"])
            with self.assertRaises(AccessError):
                manager.search([("secret", "like", "s%")])
        self.assertFalse(self.env["mail.message"].search([("body", "ilike", "sandbox-secret")]))

    def test_another_cycle_pays_the_same_people_again(self):
        self.prepare()
        self.send()
        second = self.cycle.copy({"name": "Cycle 2", "state": "approved"})
        for entitlement in self.entitlements:
            entitlement.copy({"cycle_id": second.id, "state": "approved"})
        second.prepare_payment()
        self.env.flush_all()
        click_send(second)
        self.assertEqual(self.gateway.ledger()["total"], 2000)


class TestOnlyOnce(ProgramCase):
    PEOPLE = 3

    def test_preparing_again_makes_nothing_new(self):
        self.prepare()
        self.prepare()
        self.assertEqual(len(self.payments()), 3)
        self.assertIn("have a payment already", self.notification["message"])

    def test_refused_is_prepared_again_with_a_new_reference(self):
        self.prepare()
        self.fault(1, "refuse", count=1)
        self.send()
        first = self.payments()[1]
        self.assertEqual((first.status, first.state), ("failed", "sent"))
        self.prepare()
        self.send()
        self.assert_states(paid=3, refused=1)
        references = self.payments().mapped("mpesa_reference")
        self.assertEqual(len(set(references)), 4)
        self.assert_agrees()

    def test_a_second_send_says_what_became_of_the_first(self):
        self.prepare()
        self.send()
        message = self.send()
        self.assertIn("3 sent before (Paid: 3)", message)
        self.assertIn("0 sent now", message)

    def test_one_more_cycle_does_not_touch_the_first(self):
        self.prepare()
        other, _entitlements = make_cycle(self.env, self.program, 0, name="Cycle 2")
        self.assertEqual(other.prepare_payment()["params"]["type"], "danger")
        self.assert_states(ready=3)
