"""A payment's reference is fixed when it is prepared, and what is committed about it stays."""

from unittest.mock import patch
from uuid import UUID, uuid4

from odoo.exceptions import UserError

from ..models.bulk_create import BulkCreate
from ..models.own_cursor import OwnCursor, own_transaction
from .common import ProgramCase, make_cycle


class TestReference(ProgramCase):
    PEOPLE = 3
    PROFILE = "full"

    def names(self):
        return self.payments().mapped("name")

    def references(self):
        return self.payments().mapped("mpesa_reference")

    def test_it_is_fixed_when_the_payment_is_prepared(self):
        self.prepare()
        prepared = self.references()
        self.assertEqual(prepared, self.names())
        self.assertTrue(all(str(UUID(reference)) == reference for reference in prepared))
        self.send()
        self.assertEqual(self.references(), prepared)
        told = {entry["reference"] for entry in self.gateway.ledger()["entries"]}
        self.assertEqual(told, set(prepared))

    def test_the_way_of_the_orm_fixes_it_too(self):
        look_up = BulkCreate._look_up
        with patch.object(BulkCreate, "_look_up", lambda bulk: look_up(bulk) and False):
            self.prepare()
        self.assertEqual(self.references(), self.names())
        self.assertTrue(all(self.references()))

    def test_a_payment_that_others_make_gets_one_of_its_own(self):
        entitlements = make_cycle(self.env, self.program, 4, name="Cycle 2")[1]
        name = str(uuid4())
        common = {"cycle_id": entitlements.cycle_id.id, "amount_issued": 100}
        vals = [{**common, "entitlement_id": entitlement.id} for entitlement in entitlements]
        made = self.env["g2p.payment"].create([vals[0], {**vals[1], "name": "PAY/1"}])
        made |= self.env["g2p.payment"].create([{**more, "name": name} for more in vals[2:]])
        # OpenG2P gives all payments without a name the same one.
        self.assertEqual(len(set(made.mapped("mpesa_reference"))), 4)
        self.assertTrue(all(made.mapped("mpesa_reference")))

    def test_what_was_prepared_before_gets_the_same_in_each_copy_of_the_database(self):
        self.prepare()
        self.env.cr.execute("ALTER TABLE g2p_payment DISABLE TRIGGER g2p_payment_mpesa_reference_for_life")
        told = []
        for _copy in range(2):
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_reference = NULL, mpesa_state = 'ready', state = 'issued',"
                " status = NULL, mpesa_reason = NULL WHERE id = ANY(%s)",
                [self.payments().ids],
            )
            self.env.invalidate_all()
            self.gateway.reset()
            self.send()
            told.append(sorted(entry["reference"] for entry in self.gateway.ledger()["entries"]))
        self.assertEqual(len(set(told[0])), 3)
        self.assertEqual(told[0], told[1])

    def test_what_was_prepared_and_never_sent_can_be_changed_and_deleted(self):
        payments = self.prepare()
        self.assertFalse(payments.batch_id.batch_has_started)
        payments[0].amount_issued = 90
        payments[1].unlink()
        self.send()
        with self.assertRaises(UserError):
            self.payments()[0].unlink()

    def test_a_copy_of_the_database_pays_nobody_twice_where_the_gateway_honours_the_key(self):
        payments = self.prepare()
        with self.env.cr.savepoint() as before:
            self.send()
            self.assertEqual(self.gateway.ledger()["count"], 3)
            self.env.invalidate_all(flush=False)
            before.rollback()
        self.env.invalidate_all(flush=False)
        self.assertEqual(set(payments.mapped("mpesa_state")), {"ready"})
        self.send()
        self.assertEqual(self.gateway.ledger()["count"], 3)


class TestOwnCursor(ProgramCase):
    PEOPLE = 1

    def setting(self):
        with own_transaction(self.env) as own:
            own.cr.execute("SHOW synchronous_commit")
            return own.cr.fetchone()[0]

    def test_a_claim_waits_for_the_disk_whatever_the_server_does_for_others(self):
        for before, after in (
            *(("off", "on"), ("local", "on"), ("remote_write", "on")),
            *(("on", "on"), ("remote_apply", "remote_apply")),
        ):
            with self.subTest(before):
                self.env.cr.execute("SELECT set_config('synchronous_commit', %s, false)", [before])
                self.assertEqual(self.setting(), after)
                with OwnCursor(self.env) as own, own.transaction() as env:
                    env.cr.execute("SHOW synchronous_commit")
                    self.assertEqual(env.cr.fetchone()[0], after)
