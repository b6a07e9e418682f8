"""Send asks first: what, how much, who cannot be paid, what is on its way."""

from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user

from ..models import const
from ..wizards.send import amounts_in
from .common import ProgramCase, click_send, phone

WIZARD = "g2p.payment.mpesa.send.wizard"


class DialogueCase(ProgramCase):
    def open(self, record=None):
        """Click Send, and no more; gives the dialogue."""
        self.env.flush_all()
        action = (record or self.cycle).send_payment()
        self.env.invalidate_all()
        self.assertEqual((action["res_model"], action["target"]), (WIZARD, "new"))
        return self.env[WIZARD].browse(action["res_id"])

    def rows(self, action):
        self.assertEqual(action["res_model"], "g2p.payment")
        return self.env["g2p.payment"].search(action["domain"])


class TestDialogue(DialogueCase):
    def test_nothing_is_sent_before_somebody_has_looked(self):
        self.prepare()
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.amount, wizard.mode), (10, 1000, "test"))
        self.assertIn("127.0.0.1", wizard.gateway)
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assert_states(ready=10)
        self.assertIn("10 sent now", wizard.action_send()["params"]["message"])
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_the_batchs_own_button_asks_for_the_batch_alone(self):
        self.manager.batch_tag_ids.max_batch_size = 6
        batches = self.prepare().batch_id.sorted("id")
        self.assertEqual(self.open(batches[0]).count, 6)
        click_send(batches[1])
        self.assert_states(paid=4, ready=6)

    def test_who_cannot_be_paid_and_why_one_click_from_the_rows(self):
        self.entitlements[1].initial_amount = 100.5
        self.entitlements[2].initial_amount = 100.5
        self.prepare()
        self.people[4].phone = False
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.held_count), (7, 3))
        lines = {line.reason: line for line in wizard.held_ids}
        self.assertEqual(
            {reason: (line.count, line.amount) for reason, line in lines.items()},
            {"not_whole": (2, 201), "no_payee": (1, 100)},
        )
        self.assertEqual(self.rows(lines["no_payee"].action_open()).partner_id, self.people[4])
        self.assertEqual(self.rows(lines["not_whole"].action_open()).partner_id, self.people[1:3])

    def test_who_was_corrected_is_counted_anew(self):
        self.people[4].phone = False
        self.prepare()
        self.assertEqual(self.open().held_count, 1)
        self.people[4].phone = f"+{phone(4)}"
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.held_count), (10, 0))
        self.assertFalse(self.payments()[4].mpesa_reason)

    def test_what_the_gateway_said_is_kept_until_it_is_sent_again(self):
        self.manager.balance_endpoint_url = False
        self.gateway.settings(float=0)
        self.prepare()
        self.send()
        said = self.payments().filtered(lambda payment: payment.mpesa_reason == "float")
        self.assertTrue(said)
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.held_count), (10, 0))
        self.assertEqual(set(said.mapped("mpesa_reason")), {"float"})

    def test_payees_that_occur_more_than_once(self):
        for person in self.people[:3]:
            person.phone = f"+{phone(0)}"
        self.prepare()
        wizard = self.open()
        self.assertEqual(wizard.repeated_count, 1)
        self.assertEqual(self.rows(wizard.action_open_repeated()).partner_id, self.people[:3])

    def test_payees_are_those_of_now_and_not_those_of_prepare(self):
        self.prepare()
        for person in self.people[:3]:
            person.phone = f"+{phone(0)}"
        wizard = self.open()
        self.assertEqual((wizard.repeated_count, wizard.changed_count), (1, 2))
        self.assertEqual(self.rows(wizard.action_open_repeated()).partner_id, self.people[:3])
        self.assertEqual(self.rows(wizard.action_open_changed()).partner_id, self.people[1:3])
        # Whoever looks next is told so, too.
        self.assertEqual(self.open().changed_count, 2)
        wizard.action_send()
        self.assert_states(paid=10)
        self.assertEqual(self.gateway.ledger()["paid"][phone(0)], 300)
        self.assert_agrees()

    def test_capitals_make_nobody_another_payee(self):
        self.manager.payee_id_type = "email"
        for number, person in enumerate(self.people):
            person.email = f"person{number}@example.org"
        self.people[1].email = "Person0@Example.org"
        self.prepare()
        wizard = self.open()
        self.assertEqual(wizard.repeated_count, 1)
        self.assertEqual(self.rows(wizard.action_open_repeated()).partner_id, self.people[:2])

    def test_another_payee_than_was_shown_is_shown_first(self):
        self.prepare()
        wizard = self.open()
        self.people[4].phone = f"+{phone(40)}"
        self.env.flush_all()
        self.assertEqual(wizard.action_send()["res_id"], wizard.id)
        self.assertEqual((wizard.has_grown, wizard.changed_count), (True, 1))
        self.assert_states(ready=10)
        wizard.action_send()
        self.assert_states(paid=10)
        self.assertIn(phone(40), self.gateway.ledger()["paid"])

    def test_another_amount_than_was_shown_is_shown_first(self):
        self.entitlements.initial_amount = 200
        payments = self.prepare()
        payments[0].amount_issued = 150
        wizard = self.open()
        # The sum is the same.
        payments[0].amount_issued = 200
        payments[1].amount_issued = 150
        self.env.flush_all()
        self.assertEqual(wizard.action_send()["res_id"], wizard.id)
        self.assertTrue(wizard.has_grown)
        self.assert_states(ready=10)

    def test_a_payee_that_nobody_was_shown_is_not_paid(self):
        self.prepare()
        self.people[4].phone = f"+{phone(40)}"
        self.env.flush_all()
        message = self.manager._mpesa_send(self.payments().batch_id)["params"]["message"]
        self.assertIn("The payee ID has changed", message)
        self.assert_states(paid=9, ready=1)
        self.assertEqual(self.payments()[4].mpesa_reason, "payee_changed")
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.changed_count, wizard.held_count), (1, 1, 0))
        wizard.action_send()
        self.assert_states(paid=10)
        self.assertIn(phone(40), self.gateway.ledger()["paid"])
        self.assert_agrees()

    def test_who_is_approved_and_was_not_prepared(self):
        self.prepare()
        self.assertEqual(self.open().not_prepared_count, 0)
        late = self.entitlements[0].copy({"state": "approved"})
        self.entitlements[0].copy({"state": "draft"})
        self.assertEqual(self.open().not_prepared_count, 1)
        self.cycle.prepare_payment()
        self.assertEqual(self.open().not_prepared_count, 0)
        self.assertEqual(self.payments().filtered(lambda row: row.entitlement_id == late).amount_issued, 100)

    def test_payees_that_occur_in_another_batch_of_the_cycle(self):
        self.manager.batch_tag_ids.max_batch_size = 5
        self.people[7].phone = f"+{phone(0)}"
        batches = self.prepare().batch_id.sorted("id")
        click_send(batches[0])
        wizard = self.open(batches[1])
        self.assertEqual((wizard.count, wizard.repeated_count), (5, 1))
        self.assertEqual(self.rows(wizard.action_open_repeated()).partner_id, self.people[0] | self.people[7])
        self.assertEqual(self.open(self.payments()[8]).repeated_count, 0)
        click_send(batches[1])
        self.assertEqual(self.open().repeated_count, 0)

    def test_another_mode_than_was_shown_is_shown_first(self):
        self.prepare()
        wizard = self.open()
        self.manager.mode = "live"
        self.env.flush_all()
        self.assertEqual(wizard.action_send()["res_id"], wizard.id)
        self.assertTrue(wizard.has_moved)
        self.assert_states(ready=10)
        with self.assertRaisesRegex(UserError, "Type the amount"):
            wizard.action_send()
        wizard.typed_amount = "1000"
        wizard.action_send()
        self.assert_states(paid=10)

    def test_what_is_on_its_way_already(self):
        self.prepare()
        self.fault(1, "refuse")
        self.fault(2, "500-taken")
        self.send()
        self.entitlements[0].copy({"state": "approved"})
        self.cycle.prepare_payment()
        wizard = self.open()
        counts = (wizard.count, wizard.paid_count, wizard.refused_count, wizard.doubt_count)
        self.assertEqual(counts, (2, 8, 1, 1))
        self.assertEqual(self.rows(wizard.action_open_doubt()).mapped("mpesa_state"), ["doubt"])
        self.assertEqual(self.rows(wizard.action_open_refused()).mapped("mpesa_state"), ["refused"])
        self.assertFalse(self.rows(wizard.action_open_under_way()))

    def test_more_than_was_shown_is_shown_first(self):
        self.people[4].phone = False
        self.prepare()
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.amount), (9, 900))
        self.people[4].phone = f"+{phone(4)}"
        self.env.flush_all()
        action = wizard.action_send()
        self.assertEqual((action["res_model"], action["res_id"]), (WIZARD, wizard.id))
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assertTrue(wizard.has_grown)
        self.assertEqual((wizard.count, wizard.amount, wizard.held_count), (10, 1000, 0))
        wizard.action_send()
        self.assert_states(paid=10)

    def test_what_is_prepared_meanwhile_is_in_another_batch_and_not_sent(self):
        self.prepare()
        wizard = self.open()
        self.entitlements[0].copy({"state": "approved"})
        self.cycle.prepare_payment()
        self.env.flush_all()
        wizard.action_send()
        self.assert_states(paid=10, ready=1)

    def test_less_than_was_shown_is_no_question(self):
        self.prepare()
        wizard = self.open()
        click_send(self.cycle)
        self.assertIn("0 sent now", wizard.action_send()["params"]["message"])
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_nothing_ready(self):
        self.prepare()
        self.send()
        wizard = self.open()
        self.assertEqual((wizard.count, wizard.paid_count, wizard.balance_known), (0, 10, False))

    def test_who_may_not_send_sees_no_dialogue_and_cannot_use_anothers(self):
        self.prepare()
        wizard = self.open()
        for group in (const.FINANCE, "g2p_programs.g2p_program_validator"):
            user = new_test_user(self.env, group, groups=f"base.group_user,{group}")
            with self.assertRaises(AccessError, msg=group):
                self.manager.with_user(user).send_payments(self.payments().batch_id.with_user(user))
            with self.assertRaises(AccessError, msg=group):
                wizard.with_user(user).action_send()
        self.assert_states(ready=10)


class TestFloat(DialogueCase):
    def test_a_small_float_is_said_before_anything_is_sent(self):
        self.prepare()
        self.gateway.settings(float=350)
        wizard = self.open()
        self.assertEqual((wizard.balance_known, wizard.balance, wizard.balance_after), (True, 350, -650))
        self.assert_states(ready=10)
        wizard.action_send()
        self.assert_states(paid=3, ready=7)
        self.assert_agrees()

    def test_another_gateway_than_was_shown_is_shown_first_with_its_float(self):
        self.prepare()
        wizard = self.open()
        self.manager.payment_endpoint_url += "?elsewhere"
        self.gateway.settings(float=350)
        self.addCleanup(self.gateway.settings, float=10**9)
        self.env.flush_all()
        wizard.typed_amount = "1000"
        wizard.action_send()
        self.assertEqual((wizard.has_moved, wizard.balance, wizard.typed_amount), (True, 350, False))
        self.assertEqual(self.gateway.ledger()["count"], 0)
        wizard.action_send()
        self.assert_states(paid=3, ready=7)

    def test_a_float_that_is_not_known(self):
        self.prepare()
        self.gateway.fault("login", "500", count=1)
        wizard = self.open()
        self.assertEqual((wizard.balance_known, wizard.balance_reason), (False, "unreachable"))
        wizard.action_send()
        self.assert_states(paid=10)

    def test_a_gateway_without_a_balance(self):
        self.manager.balance_endpoint_url = False
        self.prepare()
        wizard = self.open()
        self.assertEqual((wizard.balance_known, wizard.balance_reason, wizard.has_balance_url), (False,) * 3)
        self.assertFalse(self.env["g2p.payment.mpesa.attempt"].search([]))


class TestTypedAmount(DialogueCase):
    def setUp(self):
        super().setUp()
        self.manager.mode = "live"
        self.prepare()

    def test_in_live_mode_the_amount_is_typed(self):
        wizard = self.open()
        self.assertTrue(wizard.must_type)
        for wrong in (False, "", "yes", "100", "10,000", "1000.50", "-1000"):
            wizard.typed_amount = wrong
            with self.assertRaisesRegex(UserError, "Type the amount", msg=wrong):
                wizard.action_send()
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assert_states(ready=10)
        wizard.typed_amount = "1,000"
        wizard.action_send()
        self.assert_states(paid=10)

    def test_not_up_to_the_managers_threshold(self):
        self.manager.confirm_above = 1000
        wizard = self.open()
        self.assertFalse(wizard.must_type)
        wizard.action_send()
        self.assert_states(paid=10)

    def test_from_just_above_it(self):
        self.manager.confirm_above = 999
        self.assertTrue(self.open().must_type)

    def test_an_amount_typed_for_less_is_not_good_for_more(self):
        self.people[4].phone = False
        wizard = self.open()
        wizard.typed_amount = "900"
        self.people[4].phone = f"+{phone(4)}"
        self.env.flush_all()
        wizard.action_send()
        self.assertFalse(wizard.typed_amount)
        with self.assertRaises(UserError):
            wizard.action_send()
        self.assert_states(ready=10)

    def test_amounts_as_people_write_them(self):
        for text in ("65750", "65,750", "65.750", "65 750", "65\u202f750", "65,750.00", "65.750,00"):
            self.assertIn(65750.0, amounts_in(text), text)
        for text in ("", "KES", "6575", "65 750.5x", "--"):
            self.assertNotIn(65750.0, amounts_in(text), text)


class TestOnePayment(DialogueCase):
    def test_the_button_of_a_payment_asks_for_it_alone(self):
        self.prepare()
        wizard = self.open(self.payments()[3])
        self.assertEqual((wizard.count, wizard.amount), (1, 100))
        wizard.action_send()
        self.assert_states(paid=1, ready=9)
        self.assertEqual(self.payments()[3].mpesa_state, "paid")

    def test_in_live_mode_too_the_amount_is_typed(self):
        self.manager.mode = "live"
        self.prepare()
        wizard = self.open(self.payments()[3])
        with self.assertRaises(UserError):
            wizard.action_send()
        self.assert_states(ready=10)

    def test_one_that_cannot_be_paid(self):
        self.people[3].phone = False
        self.prepare()
        wizard = self.open(self.payments()[3])
        self.assertEqual((wizard.count, wizard.held_count), (0, 1))
        wizard.action_send()
        self.assert_states(ready=10)
