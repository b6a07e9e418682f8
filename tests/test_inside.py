"""Dialogues are one's own, and what changes how the addon behaves cannot be said from outside."""

from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user

from ..models import const, inside
from .common import MANAGER, ProgramCase, manager_vals

OURS = "odoo.addons.g2p_payment_simple_mpesa"
SEND, HELD = "g2p.payment.mpesa.send.wizard", "g2p.payment.mpesa.send.held"
SETTLE = "g2p.payment.mpesa.settle.wizard"
RECONCILE = "g2p.payment.mpesa.reconciliation"


class TestDialogues(ProgramCase):
    PEOPLE = 3

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        groups = f"base.group_user,g2p_registry_base.group_g2p_admin,{const.PROGRAM_MANAGER},{const.FINANCE}"
        cls.one, cls.other = (new_test_user(cls.env, login, groups=groups) for login in ("one", "other"))

    def setUp(self):
        super().setUp()
        self.people[0].phone = False
        self.prepare()
        self.env.flush_all()

    def opened(self, user):
        """The dialogue of Send that this user has opened."""
        action = self.cycle.with_user(user).send_payment()
        return self.env[SEND].with_user(user).browse(action["res_id"])

    def dialogues(self, user):
        """A record of each kind of dialogue, and of its lines, that this user has."""
        send = self.opened(user)
        return [
            send,
            send.held_ids,
            self.env[RECONCILE]
            .with_user(user)
            .create({"program_id": self.program.id, "cycle_id": self.cycle.id}),
            self.env[SETTLE].with_user(user).create({"outcome": "write_off", "reason": "x"}),
        ]

    def test_each_is_seen_by_whoever_opened_it_and_by_nobody_else(self):
        for record in self.dialogues(self.one):
            self.assertTrue(record, record)
            record.read(["display_name"])
            others = record.with_user(self.other)
            others.invalidate_recordset()
            self.assertFalse(others.search([("id", "in", record.ids)]), record)
            with self.assertRaises(AccessError):
                others.read(["create_date"])
            with self.assertRaises(UserError):
                others.write({"create_date": "2020-01-01"})

    def test_a_line_opens_nothing_for_somebody_else(self):
        held = self.opened(self.one).held_ids
        held.action_open()
        with self.assertRaises(AccessError):
            held.with_user(self.other).action_open()

    def test_every_kind_of_dialogue_has_a_rule(self):
        kinds = {
            name
            for name, model in self.registry.items()
            if model._transient and model._module == "g2p_payment_simple_mpesa"
        }
        self.assertLessEqual({SEND, HELD, SETTLE, RECONCILE}, kinds)
        for name in kinds:
            rules = self.env["ir.rule"].search([("model_id.model", "=", name)])
            self.assertTrue(
                [rule for rule in rules if "create_uid" in rule.domain_force and not rule.groups], name
            )

    def test_what_the_dialogue_of_send_shows_is_not_written_by_hand(self):
        wizard = self.opened(self.one)
        before = wizard.read(["count", "amount", "shown"])
        for vals in ({"count": 1000}, {"amount": 0}, {"shown": "live x"}, {"payment_ids": [(5,)]}):
            with self.assertRaises(UserError):
                wizard.write(vals)
        with self.assertRaises(UserError):
            self.env[SEND].with_user(self.one).create({"manager_id": self.manager.id, "count": 9})
        wizard.typed_amount = "200"
        self.assertEqual(wizard.read(["count", "amount", "shown"]), before)

    def test_the_key_of_a_decision_is_its_own(self):
        wizards = self.env[SETTLE].with_user(self.one)
        first = wizards.create({"outcome": "write_off"})
        second = wizards.with_context(default_key=first.key).create(
            {"outcome": "write_off", "key": first.key}
        )
        self.assertNotEqual(first.key, second.key)
        second.write({"key": first.key})
        self.assertNotEqual(first.key, second.key)


class TestContext(ProgramCase):
    PEOPLE = 3

    def test_whoever_says_that_they_prepare_does_not(self):
        other = self.env[MANAGER].create(
            manager_vals(self.gateway, program_id=self.program.id, create_batch=False)
        )
        vals = {"entitlement_id": self.entitlements[0].id, "cycle_id": self.cycle.id, "amount_issued": 100}
        for said in (other.id, [other.id], str(other.id), {"value": other.id}):
            payment = self.env["g2p.payment"].with_context(mpesa_preparing=said).create(vals)
            self.assertEqual(payment.mpesa_manager_id, self.manager, said)
            payment.unlink()
        said = inside.Preparing(other.id)
        payment = self.env["g2p.payment"].with_context(mpesa_preparing=said).create(vals)
        self.assertEqual(payment.mpesa_manager_id, other)

    def test_whoever_names_a_job_is_in_none(self):
        self.manager.with_context(job_uuid="forged", mpesa_job="forged").action_test_connection()
        contacts = self.env["g2p.payment.mpesa.attempt"].search([("manager_id", "=", self.manager.id)])
        self.assertTrue(contacts)
        self.assertFalse(contacts.filtered("job_uuid"))

    def test_a_job_is_one_whatever_the_context_says(self):
        from ..models import mpesa_send

        self.prepare()
        said = {"queue_job__no_delay": True, "company_id": 1000}
        manager = self.manager.with_context(**said)
        before = self.gateway.ledger()
        manager._send_by_jobs(self.payments().batch_id, {self.payments().batch_id.id: 3})
        self.assertEqual(self.gateway.ledger(), before)
        self.assert_states(ready=3)
        self.assertTrue(self.env["queue.job"].search([("identity_key", "=like", "mpesa-send-%")]))
        self.assertTrue(mpesa_send.CHUNK)

    def test_what_is_written_on_cursors_of_our_own_knows_no_more_than_the_language(self):
        from ..models.own_cursor import durably

        told = self.manager.with_context(lang="en_US", default_state="sent", tracking_disable=True)
        seen = durably(told.env, lambda own: dict(own.context))
        self.assertEqual(seen, {"lang": "en_US"})

    def test_a_changed_address_is_told_whatever_the_context_says(self):
        self.env.flush_all()
        self.cr.precommit.run()
        count = len(self.manager.message_ids)
        quiet = {"tracking_disable": True, "mail_notrack": True, "mail_create_nolog": True}
        self.env.flush_all()
        self.manager.with_context(**quiet).write(
            {"auth_endpoint_url": f"{self.manager.auth_endpoint_url}/other"}
        )
        self.env.flush_all()
        self.cr.precommit.run()
        self.assertGreater(len(self.manager.message_ids), count)


class TestFollows(ProgramCase):
    """What follows from what was done is written by nobody."""

    def test_of_a_manager(self):
        person = new_test_user(self.env, "pm", groups=f"base.group_user,{const.ADMIN}")
        manager = self.manager.with_user(person)
        for vals in (
            {"secret": "x"},
            {"test_passed": True},
            {"tested_at": "2026-01-01"},
            {"password_set_by_id": self.env.uid},
            {"mpesa_hold_until": "2036-01-01"},
            {"prepare_count": 7},
        ):
            with self.assertRaises(UserError):
                manager.write(vals)
            with self.assertRaises(UserError):
                manager.create(manager_vals(self.gateway, program_id=self.program.id, **vals))
            given = {f"default_{name}": value for name, value in vals.items()}
            made = manager.with_context(**given).create(
                manager_vals(self.gateway, program_id=self.program.id, create_batch=False)
            )
            for name, value in vals.items():
                self.assertNotEqual(str(made.sudo()[name]), str(value), name)

    def test_a_test_of_the_connection_is_noted_by_whoever_may_try_it(self):
        person = new_test_user(self.env, "pm", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.manager.with_user(person).action_test_connection()
        self.assertTrue(self.manager.test_passed)
        self.assertEqual(self.manager.tested_by_id, person)
