"""What people see of a batch and of a cycle, and one click from each number to the rows."""

import re

from lxml import etree

from odoo.exceptions import AccessError
from odoo.tests import Form, new_test_user
from odoo.tools.safe_eval import safe_eval

from ..gateway import errors, simple
from ..models import const
from ..models.live_pages import channel
from .common import ProgramCase, make_cycle, phone

# The number and the amount of each outcome.
OUTCOMES = {"paid": [7, 700], "doubt": [1, 100], "refused": [1, 100], "ready": [1, 100]}


class TestNewCycle(ProgramCase):
    PEOPLE = 1

    def test_one_that_is_not_saved_yet_has_the_programs_currency(self):
        """Its form is drawn before it is saved."""
        cycle = self.env["g2p.cycle"].new({"program_id": self.program.id})
        self.assertEqual(cycle.mpesa_currency_id, self.program._mpesa_currency())


class OverviewCase(ProgramCase):
    def setUp(self):
        super().setUp()
        self.people[0].phone = False
        self.prepare()
        self.fault(1, "refuse")
        self.fault(2, "500-not-taken")
        self.send()
        self.batch = self.payments().batch_id
        self.assert_states(ready=1, refused=1, doubt=1, paid=7)

    def rows(self, record, shown):
        action = record.with_context(mpesa_show=shown).action_mpesa_show()
        self.assertIn("list", action["view_mode"].replace("tree", "list"))
        return self.env["g2p.payment"].search(action["domain"])


class TestOverview(OverviewCase):
    def test_each_number_opens_its_rows(self):
        for record in (self.batch, self.cycle):
            counts = {
                "paid": record.stats_paid_transactions,
                "refused": record.stats_failed_transactions,
                "doubt": record.mpesa_doubt_count,
                "ready": record.mpesa_ready_count,
                "under_way": record.mpesa_under_way_count,
                "held": record.mpesa_held_count,
                "all": record.stats_issued_transactions,
            }
            expected = {"paid": 7, "refused": 1, "doubt": 1, "ready": 1, "under_way": 0, "held": 1, "all": 10}
            self.assertEqual(counts, expected, record)
            found = {shown: len(self.rows(record, shown)) for shown in counts}
            self.assertEqual(found, counts, record)
        self.assertEqual(self.rows(self.batch, "held").partner_id, self.people[0])

    def test_what_was_sent_in_another_mode_than_that_of_now(self):
        for now, mode in (("test", "live"), ("live", "test")):
            self.manager.mode = now
            self.env.flush_all()
            # What is ready has the mode of a claim that was given back.
            self.env.cr.execute("UPDATE g2p_payment SET mpesa_mode = %s", [now])
            self.env.invalidate_all()
            for record in (self.batch, self.cycle):
                self.assertEqual(record.mpesa_other_mode_count, 0)
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_mode = %s WHERE mpesa_state IN ('ready', 'paid', 'doubt')",
                [mode],
            )
            self.env.invalidate_all()
            for record in (self.batch, self.cycle):
                self.assertEqual(record.mpesa_other_mode_count, 8)
                self.assertEqual(
                    sorted(self.rows(record, "other_mode").mapped("mpesa_state")), ["doubt"] + ["paid"] * 7
                )

    def test_amounts(self):
        for record in (self.batch, self.cycle):
            amounts = (record.mpesa_ready_amount, record.mpesa_under_way_amount, record.stats_paid_amount)
            self.assertEqual(amounts, (100, 0, 700), record)

    def test_the_progress_bar_adds_up(self):
        for record in (self.batch, self.cycle):
            progress = record.mpesa_progress
            parts = {part["name"]: part["count"] for part in progress["parts"]}
            self.assertEqual(parts, {"paid": 7, "refused": 1, "doubt": 1, "ready": 1})
            self.assertEqual(sum(parts.values()), progress["total"])
            amounts = {part["name"]: part["amount"] for part in progress["parts"]}
            self.assertEqual(amounts, {"paid": 700, "refused": 100, "doubt": 100, "ready": 100})
            self.assertEqual(progress["currency"], self.env.ref("base.KES").id)
            self.assertEqual((progress["total"], progress["through"], progress["moving"]), (10, 8, False))
            self.assertIn("8 of 10", progress["label"])

    def test_gateway_mode_and_currency_are_shown_to_finance_who_may_not_read_the_gateway(self):
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        batch = self.batch.with_user(finance)
        self.assertEqual((batch.mpesa_mode, batch.mpesa_gateway_name), ("test", "M-Pesa"))
        self.assertEqual(batch.mpesa_currency_id.name, "KES")
        self.assertFalse(batch.mpesa_can_ask)
        with self.assertRaises(AccessError):
            self.manager.with_user(finance).read(["name"])

    def test_refused_are_prepared_again_by_one_click(self):
        self.assertEqual((self.batch.mpesa_correct_count, self.cycle.mpesa_correct_count), (1, 1))
        action = self.cycle.with_context(mpesa_show="correct").action_mpesa_prepare_again()
        self.assertIn("One payment is prepared.", action["params"]["message"])
        self.env.invalidate_all()
        self.assertEqual((self.batch.mpesa_correct_count, self.cycle.mpesa_correct_count), (0, 0))
        again = self.payments().filtered(lambda payment: payment.partner_id == self.people[1])
        self.assertEqual(sorted(again.mapped("mpesa_state")), ["ready", "refused"])
        self.gateway.clear_faults()
        self.send()
        self.assertEqual(self.gateway.ledger()["paid"][phone(1)], 100)
        self.assert_agrees()

    def test_nobody_else_is_prepared_where_nobody_was_refused(self):
        self.batch.action_mpesa_prepare_again()
        self.entitlements[5].copy({"state": "approved"})
        count = len(self.payments())
        self.env.invalidate_all()
        self.assertIn("nobody", self.batch.action_mpesa_prepare_again()["params"]["message"])
        self.assertEqual(len(self.payments()), count)

    def test_who_sent_what_they_were_shown_is_in_the_batchs_timeline(self):
        said = " ".join(self.batch.message_ids.mapped("body"))
        self.assertRegex(said, r"sends .*900.* by M-Pesa \(127.0.0.1\), Test\. Payments: 9\.")

    def test_what_was_written_off_is_not_to_be_prepared_again(self):
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(finance)
        ready = self.payments().filtered(lambda payment: payment.mpesa_state == "ready")
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=ready.ids)
        wizard.create({"outcome": "write_off", "reason": "Has moved away"}).action_settle()
        self.env.invalidate_all()
        self.assertEqual(self.batch.stats_failed_transactions, 2)
        refused = self.batch._mpesa_refused_for_now()
        self.assertEqual(refused[const.CORRECT].partner_id, self.people[1])
        self.assertFalse(refused[const.AGAIN])

    def test_a_batch_of_another_manager_has_its_number_of_payments(self):
        other = self.env["g2p.payment.batch"].create({"name": "Other", "cycle_id": self.cycle.id})
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = NULL, mpesa_manager_id = NULL, batch_id = %s"
            " WHERE id = ANY(%s)",
            [other.id, self.payments()[:3].ids],
        )
        self.env.invalidate_all()
        self.assertEqual((other.mpesa_payment_count, other.mpesa_mode), (3, False))
        self.assertEqual(self.batch.mpesa_payment_count, 10)

    def test_the_batchs_form_does_not_read_each_payment(self):
        for model in ("g2p.payment.batch", "g2p.cycle"):
            for kind in ("form", "list" if "list" in self.view_types() else "tree"):
                arch = self.env[model].with_context(hide_cash=False).get_view(view_type=kind)["arch"]
                self.assertNotIn('name="payment_ids"', arch, (model, kind))

    def test_whether_entitlements_are_to_be_approved_is_asked_without_reading_them(self):
        self.env.invalidate_all()
        self.assertTrue(self.cycle.show_approve_entitlements_button)
        self.assertNotIn("entitlement_ids", self.cycle._cache)
        self.cycle.entitlement_ids[3].state = "pending_validation"
        self.env.invalidate_all()
        self.assertFalse(self.cycle.show_approve_entitlements_button)

    def view_types(self):
        return dict(self.env["ir.ui.view"]._fields["type"].selection)


class TestRefused(OverviewCase):
    """What passes by itself is tried again; the rest is corrected first."""

    def setUp(self):
        super().setUp()
        self.passing = self.payments().filtered(lambda payment: payment.mpesa_state == "paid")[:2]
        self.unknown = self.payments().filtered(lambda payment: payment.mpesa_state == "refused")
        self.refuse(self.passing, "failed_later")

    def refuse(self, payments, reason):
        """As if the gateway had said so."""
        payments.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'refused', status = 'failed', mpesa_reason = %s"
            " WHERE id = ANY(%s)",
            [reason, payments.ids],
        )
        self.env.invalidate_all()
        self.batch._mpesa_refresh_figures()

    def test_they_are_counted_and_shown_apart(self):
        for record in (self.batch, self.cycle):
            self.assertEqual((record.mpesa_again_count, record.mpesa_correct_count), (2, 1), record)
            self.assertEqual(self.rows(record, "again"), self.passing.sorted("id", reverse=True))
            self.assertEqual(self.rows(record, "correct"), self.unknown)

    def test_try_again_leaves_what_is_to_be_corrected(self):
        before = self.payments()
        self.cycle.with_context(mpesa_show="again").action_mpesa_prepare_again()
        self.env.invalidate_all()
        made = self.payments() - before
        self.assertEqual(made.entitlement_id, self.passing.entitlement_id)
        self.assertEqual((self.cycle.mpesa_again_count, self.cycle.mpesa_correct_count), (0, 1))

    def test_each_reason_of_a_refused_payment_is_in_the_table(self):
        said = {row.reason for row in simple.DEPOSIT_ROWS if row.error is errors.Refused}
        ours = {errors.FAILED_LATER, "settled_not_paid", "written_off"}
        self.assertEqual(set(const.REFUSED_FOR), said | ours)

    def test_what_has_no_reason_is_looked_at_first(self):
        self.refuse(self.passing, None)
        self.assertEqual((self.batch.mpesa_again_count, self.batch.mpesa_correct_count), (0, 3))


class TestForms(OverviewCase):
    """What stands in the forms of a batch and of a cycle, and that they say the same."""

    def arch(self, record):
        return etree.fromstring(record.get_view(view_type="form")["arch"])

    def shown(self, record, xpath):
        """The text of what is not hidden there, and the buttons: their words."""
        found = []
        for node in self.arch(record).xpath(xpath):
            found += self.words(record, node)
        return " ".join(" ".join(found).split())

    def words(self, record, node):
        if self.is_hidden(record, node):
            return [node.tail or ""]
        own = [str(record[node.get("name")])] if node.tag == "field" else [node.get("string") or ""]
        inner = [word for child in node for word in self.words(record, child)]
        return [node.text or "", *own, *inner, node.tail or ""]

    def is_hidden(self, record, node):
        condition = node.get("invisible")
        names = set(re.findall(r"[a-z_]\w*", condition or "")) & set(record._fields)
        values = {name: record[name] for name in names}
        return bool(condition) and bool(safe_eval(condition, {**values, "context": {}}))

    def alerts(self, record):
        return self.shown(record, "//div[contains(@class, 'alert ')][.//field[starts-with(@name, 'mpesa_')]]")

    def shown_buttons(self, record):
        box = "//div[@name='button_box']//button[starts-with(@name, 'action_mpesa_')]"
        return [button for button in self.arch(record).xpath(box) if not self.is_hidden(record, button)]

    def test_each_outcome_of_a_batch_has_a_button_with_number_and_amount(self):
        found = {}
        for button in self.shown_buttons(self.batch):
            fields = [field.get("name") for field in button.iter("field")]
            if fields:
                shown = safe_eval(button.get("context"))["mpesa_show"]
                found[shown] = [self.batch[name] for name in fields]
                self.assertEqual(len(self.rows(self.batch, shown)), found[shown][0])
        self.assertEqual(found, OUTCOMES)

    def test_each_part_of_the_progress_opens_its_payments(self):
        for record in (self.batch, self.cycle):
            bars = self.arch(record).xpath("//sheet//field[@name='mpesa_progress'][not(ancestor::field)]")
            self.assertEqual(len(bars), 1, record)
            parts = {part["name"]: part for part in record.mpesa_progress["parts"]}
            found = {name: [part["count"], part["amount"]] for name, part in parts.items()}
            self.assertEqual(found, OUTCOMES, record)
            for name, (count, _amount) in found.items():
                self.assertEqual(len(self.rows(record, name)), count, name)

    def test_a_cycle_that_is_not_paid_by_us_has_none_of_it(self):
        cycle, _entitlements = make_cycle(self.env, self.program, 1, name="Cycle 2")
        self.assertEqual(self.shown_buttons(cycle), [])
        self.assertEqual(self.alerts(cycle), "")

    def test_the_alerts_of_batch_and_cycle_are_the_same(self):
        alerts = self.alerts(self.cycle)
        self.assertEqual(alerts, self.alerts(self.batch))
        for part in ("In doubt: 1", "Show Doubts", "Show Who, and Why", "Prepare Again"):
            self.assertIn(part, alerts)
        self.assertNotIn("Sending has stopped", alerts)
        self.assertNotIn("Try Again", alerts)

    def test_who_may_not_settle_is_not_offered_it(self):
        manager = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        for record in (self.batch, self.cycle):
            alerts = self.alerts(record.with_user(manager))
            self.assertIn("Show Doubts", alerts)
            self.assertIn("Prepare Again", alerts)
            self.assertNotIn("Settle", alerts)
            alerts = self.alerts(record.with_user(finance))
            self.assertIn("Settle Doubts", alerts)
            self.assertNotIn("Prepare Again", alerts)

    def test_what_to_do_where_sending_has_stopped(self):
        sentences = {
            "float": "Top up the float at the gateway, then click Send",
            "unreachable": "A job tries again by itself",
            "circuit": "A job tries again by itself",
            "credentials": "Once the cause is mended, click Send",
        }
        for reason, sentence in sentences.items():
            self.batch._mpesa_note_stop(reason, "Balance: 5")
            self.env.invalidate_all()
            for record in (self.batch, self.cycle):
                alerts = self.alerts(record)
                self.assertIn("Sending has stopped.", alerts)
                self.assertIn("It says: Balance: 5", alerts)
                for other in set(sentences.values()):
                    self.assertEqual(other in alerts, other == sentence, (record, reason, other))
                self.assertEqual("Open the Gateway" in alerts, reason != "float")

    def test_the_ribbon_says_the_mode(self):
        views = {
            "mpesa_mode": (self.batch, self.cycle),
            "mode": (self.manager, self.env["g2p.payment.mpesa.send.wizard"]),
        }
        for field, records in views.items():
            for record in records:
                ribbons = {
                    node.get("title"): node.get("invisible")
                    for node in self.arch(record).iter("widget")
                    if node.get("name") == "web_ribbon"
                }
                expected = {"TEST": f"{field} != 'test'", "LIVE": f"{field} != 'live'"}
                self.assertEqual(ribbons, expected, record)


class TestPaymentForm(OverviewCase):
    def test_only_what_may_be_written_looks_so(self):
        for payment in self.payments():
            form = Form(payment)
            for name, value in (
                ("amount_paid", 5),
                ("payment_datetime", "2026-01-01"),
                ("account_number", "x"),
            ):
                with self.assertRaises(AssertionError, msg=(payment.mpesa_state, name)):
                    setattr(form, name, value)
            if payment.mpesa_state != "ready":
                with self.assertRaises(AssertionError):
                    form.amount_issued = 5

    def test_it_is_called_by_whom_it_pays(self):
        payment = self.payments()[3]
        self.assertEqual(payment.display_name, f"Person 3 ({payment.mpesa_payee})")
        self.assertNotIn(phone(3), payment.display_name)
        self.assertEqual(self.payments()[0].display_name, "Person 0")

    def test_one_of_another_manager_is_called_as_ever(self):
        payment = self.payments()[3]
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_state = NULL WHERE id = %s", [payment.id])
        self.env.invalidate_all()
        self.assertEqual(payment.display_name, payment.name)


class TestWhoHears(OverviewCase):
    """On Odoo's bus hears of a batch or a cycle whoever may read it, and nobody else."""

    def hears(self, user, *names):
        return list(self.env["ir.websocket"].with_user(user)._mpesa_allowed(names))

    def test_who_may_read_it(self):
        names = [channel(self.batch), channel(self.cycle)]
        manager = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.assertEqual(self.hears(manager, *names), [self.batch, self.cycle])
        nobody = new_test_user(self.env, "nobody", groups="base.group_user")
        self.assertEqual(self.hears(nobody, *names), [])
        self.assertEqual(self.hears(self.env.ref("base.public_user"), *names), [])

    def test_what_is_not_ours_stays_as_it_is(self):
        self.assertEqual(
            self.hears(self.env.user, "broadcast", "g2p_mpesa_res.users_1"),
            ["broadcast", "g2p_mpesa_res.users_1"],
        )

    def test_what_is_not_there(self):
        self.assertEqual(self.hears(self.env.user, "g2p_mpesa_g2p.payment.batch_999999999"), [])
