from odoo.tests import new_test_user

from ..models import const
from .common import ProgramCase, phone, tag


class TestPrepare(ProgramCase):
    def test_one_payment_for_each_with_payee_amount_and_batch(self):
        self.entitlements[2].transfer_fee = 5
        payments = self.prepare()
        self.assertEqual(len(payments), 10)
        self.assertEqual(payments.mapped("account_number"), [phone(number) for number in range(10)])
        self.assertEqual(set(payments.mapped("amount_issued")), {100})
        self.assertEqual(payments[2].payment_fee, 5)
        self.assertEqual(set(payments.mapped("state")), {"issued"})
        self.assertEqual(len(set(payments.mapped("name"))), 10)
        batch = payments.batch_id
        self.assertEqual(batch.payment_ids, payments.sorted("id", reverse=True) & batch.payment_ids)
        self.assertEqual(len(batch.payment_ids), 10)
        self.assertEqual((batch.stats_issued_transactions, batch.stats_issued_amount), (10, 1000))
        self.assertEqual((batch.batch_has_started, batch.batch_has_completed), (False, False))

    def test_batches_by_tag_and_size(self):
        rich = tag(self.env, size=3, order=1, domain="[('initial_amount', '>', 100)]")
        rest = tag(self.env, size=4, order=2)
        self.manager.batch_tag_ids = [(6, 0, (rich | rest).ids)]
        self.entitlements[:4].initial_amount = 200
        self.prepare()
        batches = self.env["g2p.payment.batch"].search([("cycle_id", "=", self.cycle.id)], order="id")
        self.assertEqual(
            [(b.tag_id, len(b.payment_ids)) for b in batches], [(rich, 3), (rich, 1), (rest, 4), (rest, 2)]
        )
        self.assertEqual(set(batches[0].payment_ids.mapped("amount_issued")), {200})

    def test_a_batch_has_a_name_that_can_be_said_and_keeps_its_uuid_as_reference(self):
        self.manager.batch_tag_ids.max_batch_size = 6
        batches = self.prepare().batch_id.sorted("id")
        self.assertEqual(batches.mapped("name"), ["Cycle 1 / Everybody / 1", "Cycle 1 / Everybody / 2"])
        self.assertEqual({len(reference) for reference in batches.mapped("external_batch_ref")}, {36})
        self.assertEqual(len(set(batches.mapped("external_batch_ref"))), 2)
        self.entitlements[0].copy({"state": "approved"})
        self.prepare()
        self.assertEqual(self.payments().batch_id.sorted("id")[-1].name, "Cycle 1 / Everybody / 3")

    def test_a_batch_size_of_nought_is_no_error(self):
        self.manager.batch_tag_ids.max_batch_size = 0
        self.assertEqual(len(self.prepare().batch_id), 1)

    def test_only_approved_entitlements(self):
        self.entitlements[:3].state = "draft"
        self.assertEqual(len(self.prepare()), 7)
        self.entitlements[:3].state = "approved"
        self.assertEqual(len(self.prepare()), 10)

    def test_a_payment_of_another_manager_that_is_not_failed_blocks(self):
        vals = {"entitlement_id": self.entitlements[0].id, "cycle_id": self.cycle.id, "amount_issued": 100}
        self.program.payment_managers = [(5,)]
        other = self.env["g2p.payment"].create(vals)
        self.assertFalse(other.mpesa_state)
        wrapper = self.env["g2p.program.payment.manager"].search([("program_id", "=", self.program.id)])
        self.program.payment_managers = [(6, 0, wrapper[-1:].ids)]
        self.assertEqual(len(self.prepare()), 10)
        self.assertEqual(self.payments().filtered("mpesa_state"), self.payments() - other)
        other.status = "failed"
        self.assertEqual(len(self.prepare()), 11)

    def test_a_payment_made_by_hand_is_ours_too(self):
        vals = {"entitlement_id": self.entitlements[0].id, "cycle_id": self.cycle.id, "amount_issued": 100}
        payment = self.env["g2p.payment"].create(vals)
        self.assertEqual((payment.mpesa_state, payment.account_number), ("ready", phone(0)))
        self.assertEqual(len(self.prepare()), 10)

    def test_who_cannot_be_paid_is_known_before_sending(self):
        self.people[4].phone = False
        self.assertEqual(self.prepare()[4].mpesa_reason, "no_payee")

    def test_many_are_prepared_by_a_job_for_a_person_without_an_email_address(self):
        user = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        user.partner_id.email = False
        manager = self.manager.with_user(user)
        manager._prepare_payments_async(self.cycle.with_user(user), self.entitlements.with_user(user), 10)
        self.assertTrue(self.cycle.locked)
        job = self.env["queue.job"].search([("identity_key", "=", f"mpesa-prepare-{self.cycle.id}")])
        self.assertEqual(len(job), 1)
        manager._prepare_job(self.cycle.with_user(user), self.entitlements.with_user(user))
        self.assertFalse(self.cycle.locked)
        self.assertEqual(len(self.payments()), 10)
