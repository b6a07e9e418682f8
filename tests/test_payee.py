"""Whom a payment goes to, from the registry to the gateway's ledger."""

from odoo.tests import new_test_user

from ..models import bulk_create
from ..models.const import HELD, PROGRAM_MANAGER
from .common import ProgramCase, phone
from .test_manager import ManagerCase


class TestWhichNumber(ManagerCase):
    def numbers(self, *texts):
        """The newest first."""
        return self.person(
            phone_number_ids=[
                (0, 0, {"phone_no": text, "date_collected": f"2026-01-{28 - place:02}"})
                for place, text in enumerate(texts)
            ]
        )

    def why(self, person):
        found = self.manager._mpesa_payees_or_why(person)[person.id]
        return found or (found.reason, found.text)

    def test_where_the_newest_cannot_be_used_no_older_one_is_paid_instead(self):
        for text, reason in (("0202222222", "phone_not_mobile"), ("+255712345678", "phone_other_country")):
            person = self.numbers(text, f"+{phone(1)}")
            self.assertEqual(self.why(person), (reason, text))
            person.phone_number_ids.filtered(lambda n, text=text: n.phone_no == text).disabled = "2026-02-01"
            self.env.invalidate_all()
            self.assertEqual(self.why(person), phone(1))

    def test_the_first_of_several_in_the_plain_field(self):
        self.assertEqual(self.why(self.person(phone=f"+{phone(1)},+{phone(2)}")), phone(1))
        self.assertEqual(
            self.why(self.person(phone=f"0202222222,+{phone(2)}")), ("phone_not_mobile", "0202222222")
        )
        self.assertEqual(self.why(self.person(phone="712345678,0")), "254712345678")

    def test_a_disabled_number_is_not_paid_whatever_country_stands_beside_it(self):
        kenya, tanzania = self.env.ref("base.ke"), self.env.ref("base.tz")
        self.manager.payee_country_ids = kenya | tanzania
        number = {"phone_no": "0712345678", "country_id": kenya.id, "disabled": "2026-01-01"}
        person = self.person(country_id=tanzania.id, phone_number_ids=[(0, 0, number)])
        person.phone = "0712 345 678"
        self.assertEqual(self.why(person), ("no_payee", None))

    def test_one_country_that_is_paid_is_the_one_that_numbers_are_read_by(self):
        self.manager.payee_country_ids = self.env.ref("base.tz")
        self.assertEqual(self.why(self.person(phone="0712345678")), "255712345678")
        self.assertEqual(self.why(self.person(phone="+254712345678"))[0], "phone_other_country")

    def test_other_payee_ids_go_out_as_they_stand(self):
        self.manager.payee_id_type = "bank_acc_no"
        self.assertEqual(self.why(self.person(bank_ids=[(0, 0, {"acc_number": "\u200b 00a1 \t"})])), "00a1")
        # The next account is not paid in its place.
        accounts = [(0, 0, {"acc_number": "00\x0711"}), (0, 0, {"acc_number": "0022"})]
        self.assertEqual(self.why(self.person(bank_ids=accounts)), ("no_payee", "00\ufffd11"))


class TestHeldBack(ProgramCase):
    PEOPLE = 5

    def setUp(self):
        super().setUp()
        self.texts = ("0202222222", "+255712345678", "07l2345678", False)
        for person, text in zip(self.people, self.texts, strict=False):
            person.phone = text
        self.reasons = ["phone_not_mobile", "phone_other_country", "phone_unreadable", "no_payee", False]

    def check(self, payments):
        self.assertEqual(payments.mapped("mpesa_reason"), self.reasons)
        self.assertEqual(payments.mapped("mpesa_payee_text"), [*self.texts, False])
        self.assertEqual(payments.mapped("account_number"), [False] * 4 + [phone(4)])

    def test_each_with_its_own_reason_and_the_text_as_it_stands(self):
        self.check(self.prepare())
        self.send()
        self.assert_states(ready=4, paid=1)
        self.assertEqual(list(self.gateway.ledger()["paid"]), [phone(4)])

    def test_by_the_orm_as_in_bulk(self):
        self.patch(bulk_create, "KNOWN_CODE", ("odoo.nobody",))
        self.check(self.prepare())

    def test_what_is_wrong_by_the_time_of_sending(self):
        payments = self.prepare()
        self.people[4].phone = "0712 34"
        self.send()
        self.assert_states(ready=5)
        self.assertEqual(payments[4].mpesa_reason, "phone_unreadable")
        self.assertEqual(payments[4].mpesa_payee_text, "0712 34")
        self.people[4].phone = "0712 345"
        self.env.flush_all()
        # Looked at anew before anybody is asked.
        self.cycle.send_payment()
        self.env.invalidate_all()
        self.assertEqual(payments[4].mpesa_payee_text, "0712 345")
        self.people[4].phone = "0712 345 678"
        self.send()
        self.assertFalse(payments[4].mpesa_payee_text)
        self.assertEqual(list(self.gateway.ledger()["paid"]), ["254712345678"])

    def test_who_may_not_see_payees_sees_the_text_masked(self):
        payment = self.prepare()[2]
        self.assertEqual(payment.mpesa_payee, "07*****678")
        self.assertIn(PROGRAM_MANAGER, payment._fields["mpesa_payee_text"].groups)
        clerk = new_test_user(self.env, "clerk", groups="base.group_user,account.group_account_invoice")
        self.assertNotIn("mpesa_payee_text", payment.with_user(clerk).fields_get())


class TestNoCountry(ProgramCase):
    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.program.company_id.country_id = False
        self.sentence = "of which country the numbers are"

    def test_it_is_said_once_and_nothing_goes_out(self):
        self.assertTrue(self.manager.mpesa_no_country)
        arch = self.env[self.manager._name].get_view(view_type="form")["arch"]
        self.assertIn(self.sentence, " ".join(arch.split()))
        payments = self.prepare()
        self.assertEqual(set(payments.mapped("mpesa_reason")), {"no_country"})
        self.assertLessEqual(set(payments.mapped("mpesa_reason")), HELD)
        params = self.manager.action_test_connection()["params"]
        self.assertIn(self.sentence, params["message"])
        self.assertFalse(self.manager.test_passed)
        self.assertTrue(self.wizard().no_country)
        self.send()
        self.assert_states(ready=3)

    def wizard(self):
        action = self.cycle.send_payment()
        return self.env[action["res_model"]].browse(action["res_id"])

    def test_a_list_on_the_manager_is_enough(self):
        self.prepare()
        self.manager.payee_country_ids = self.env.ref("base.ke")
        self.assertFalse(self.manager.mpesa_no_country)
        self.assertFalse(self.wizard().no_country)
        self.assertIn("No money was moved", self.manager.action_test_connection()["params"]["message"])
        self.assertTrue(self.manager.test_passed)
        self.send()
        self.assert_states(paid=3)

    def test_other_payee_ids_need_none(self):
        self.manager.payee_id_type = "email"
        self.assertFalse(self.manager.mpesa_no_country)
