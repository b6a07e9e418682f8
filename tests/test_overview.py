"""What people see of a batch and of a cycle, and one click from each number to the rows."""

from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import const
from ..models.live_pages import channel
from .common import ProgramCase, phone


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

    def test_amounts(self):
        for record in (self.batch, self.cycle):
            amounts = (record.mpesa_ready_amount, record.mpesa_under_way_amount, record.stats_paid_amount)
            self.assertEqual(amounts, (100, 0, 700), record)

    def test_the_progress_bar_adds_up(self):
        for record in (self.batch, self.cycle):
            progress = record.mpesa_progress
            parts = {part["name"]: part["count"] for part in progress["parts"]}
            self.assertEqual(parts, {"paid": 7, "refused": 1, "doubt": 1})
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
        self.assertEqual((self.batch.mpesa_again_count, self.cycle.mpesa_again_count), (1, 1))
        action = self.batch.action_mpesa_prepare_again()
        self.assertIn("One payment is prepared.", action["params"]["message"])
        self.env.invalidate_all()
        self.assertEqual((self.batch.mpesa_again_count, self.cycle.mpesa_again_count), (0, 0))
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
        self.assertRegex(said, r"sends .*900.* by M-Pesa \(127.0.0.1\)\. Payments: 9\.")

    def test_what_was_written_off_is_not_to_be_prepared_again(self):
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(finance)
        ready = self.payments().filtered(lambda payment: payment.mpesa_state == "ready")
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=ready.ids)
        wizard.create({"outcome": "write_off", "reason": "Has moved away"}).action_settle()
        self.env.invalidate_all()
        self.assertEqual(self.batch.stats_failed_transactions, 2)
        self.assertEqual(self.batch._mpesa_refused_for_now().partner_id, self.people[1])

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
