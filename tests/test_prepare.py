from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import bulk_create, const, mpesa_prepare
from .common import ProgramCase, phone, tag

# What is its own in each row.
OF_THE_ROW = {"id", "name", "mpesa_reference", "create_date", "write_date", "issuance_date", "batch_id"}


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

    def test_a_batch_is_filled_over_several_chunks(self):
        self.manager.batch_tag_ids.max_batch_size = 4
        self.patch(mpesa_prepare, "CHUNK", 3)
        batches = self.prepare().batch_id.sorted("id")
        self.assertEqual([len(batch.payment_ids) for batch in batches], [4, 4, 2])
        self.assertEqual(batches.mapped("stats_issued_transactions"), [4, 4, 2])

    def test_a_batch_that_has_started_takes_no_more(self):
        self.manager.batch_tag_ids.max_batch_size = 500
        _payments, batch, _place = self.manager._prepare_chunk(self.cycle, mpesa_prepare.START)
        self.env["g2p.payment"]._mpesa_move(["ready"], "refused", [{"id": batch.payment_ids[0].id}])
        batch._mpesa_refresh_figures()
        self.assertTrue(batch.batch_has_started)
        self.entitlements[0].copy({"state": "approved"})
        place = {**mpesa_prepare.START, "batch": batch.id, "room": 490}
        _payments, other, _place = self.manager._prepare_chunk(self.cycle, place)
        self.assertNotEqual(batch, other)

    def test_in_bulk_as_the_orm_makes_them(self):
        """Column by column, and for who cannot be paid, too."""
        self.people[4].phone = False
        self.entitlements[2].write({"initial_amount": 10.5, "transfer_fee": 5})
        self.assertTrue(bulk_create.BulkCreate(self.manager).is_same)
        in_bulk = self.rows(self.prepare())
        self.payments().batch_id.unlink()
        self.assertFalse(self.payments())
        # Another addon has a part in it.
        self.patch(bulk_create, "KNOWN_CODE", ("odoo.nobody",))
        self.assertFalse(bulk_create.BulkCreate(self.manager).is_same)
        by_orm = self.rows(self.prepare())
        self.assertEqual(len(in_bulk), 10)
        self.assertEqual(in_bulk, by_orm)

    def rows(self, payments):
        """What stands in the database, but for what is each row's own; by person."""
        self.env.flush_all()
        self.env.cr.execute("SELECT * FROM g2p_payment WHERE id = ANY(%s)", [payments.ids])
        rows = self.env.cr.dictfetchall()
        for row in rows:
            self.assertTrue(all(row[name] for name in OF_THE_ROW))
        rows = [{name: row[name] for name in row if name not in OF_THE_ROW} for row in rows]
        return sorted(rows, key=lambda row: row["entitlement_id"])

    def test_what_follows_from_payments_follows_in_bulk_too(self):
        self.assertFalse(self.entitlements.payment_ids)
        payments = self.prepare()
        self.assertEqual(self.entitlements.payment_ids, payments & self.entitlements.payment_ids)
        self.assertEqual(payments.batch_id.payment_ids, payments.sorted("id", reverse=True))

    def test_who_may_not_make_payments_makes_none_in_bulk(self):
        user = new_test_user(
            self.env, "validator", groups="base.group_user,g2p_programs.g2p_program_validator"
        )
        with self.assertRaises(AccessError):
            self.manager.with_user(user).prepare_payments(self.cycle.with_user(user))
        self.assertFalse(self.payments())

    def test_a_default_that_somebody_has_set_is_kept(self):
        self.env["ir.default"].set("g2p.payment", "payment_fee", 7)
        self.assertFalse(bulk_create.BulkCreate(self.manager).is_same)

    def test_jobs_go_on_where_the_last_one_ended(self):
        self.patch(mpesa_prepare, "CHUNK", 3)
        self.patch(mpesa_prepare, "JOB", 3)
        nobody = self.env["g2p.entitlement"]
        self.manager._prepare_payments_async(self.cycle, nobody, 10)
        for number in range(1, 5):
            jobs = self.env["queue.job"].search(
                [("identity_key", "=like", f"mpesa-prepare-{self.cycle.id}-%")]
            )
            job = jobs.sorted("id")[-1]
            self.assertEqual(len(jobs), number)
            self.assertTrue(self.cycle.locked)
            self.manager.with_context(job_uuid=job.uuid)._prepare_job(*job.args)
            job.state = "done"
            self.env.flush_all()
        self.assertEqual(len(self.payments()), 10)
        self.assertFalse(self.cycle.locked)
        # The first again, as after a crash.
        self.manager._prepare_job(*jobs.sorted("id")[0].args)
        self.assertEqual(len(self.payments()), 10)

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
        job = self.env["queue.job"].search([("identity_key", "=like", f"mpesa-prepare-{self.cycle.id}-%")])
        self.assertEqual(len(job), 1)
        manager = manager.with_context(job_uuid=job.uuid)
        manager._prepare_job(self.cycle.with_user(user), self.entitlements.with_user(user))
        self.assertFalse(self.cycle.locked)
        self.assertEqual(len(self.payments()), 10)
