"""A gateway's answer is about what was sent to that gateway, and administrators say which one that is."""

from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import const
from .common import SECRET, ProgramCase


class TestSetup(ProgramCase):
    PEOPLE = 3
    PROFILE = "full"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        group = f"base.group_user,{const.PROGRAM_MANAGER}"
        cls.person = new_test_user(cls.env, "program-manager", groups=group)

    def sent(self):
        """Accepted; whoever asks is told that each was paid."""
        self.prepare()
        self.send()
        self.assert_states(accepted=3)

    def change(self, manager=None, name="status_endpoint_url"):
        """Another address of the same server, which says the same."""
        manager = manager or self.manager
        manager.write({name: f"{manager[name]}?v=2", "password": SECRET})
        self.env.flush_all()

    def ask(self):
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_next_check = '2020-01-01'")
        self.run_cron()
        return self.payments().action_mpesa_refresh_status()["params"]["message"]

    def confirm(self):
        action = self.manager.action_confirm_setup()
        wizard = self.env[action["res_model"]].browse(action["res_id"])
        wizard.is_sure = True
        wizard.action_confirm()
        self.env.invalidate_all()

    def asked(self):
        return sum(
            sum(codes.values())
            for path, codes in self.gateway.requests()["paths"].items()
            if "status" in path
        )

    def test_what_was_sent_before_a_change_is_not_asked_for_until_it_is_confirmed(self):
        self.sent()
        self.change()
        self.assertIn("addresses were changed", self.ask())
        self.assertEqual(self.asked(), 0)
        self.assert_states(accepted=3)
        self.assertEqual(self.manager.not_asked_count, 3)
        batch = self.payments().batch_id
        self.assertIn("addresses were changed", " ".join(batch.activity_ids.mapped("summary")))
        self.confirm()
        self.assertEqual(self.manager.not_asked_count, 0)
        self.ask()
        self.assert_states(paid=3)

    def test_without_a_change_it_goes_on_by_itself(self):
        self.sent()
        self.assertNotIn("addresses were changed", self.ask())
        self.assert_states(paid=3)

    def test_a_confirmation_is_of_the_addresses_that_were_confirmed(self):
        self.sent()
        self.change()
        self.confirm()
        self.change()
        self.ask()
        self.assert_states(accepted=3)

    def test_back_to_the_addresses_of_before_needs_nobody(self):
        self.sent()
        before = self.manager.status_endpoint_url
        self.change()
        self.manager.write({"status_endpoint_url": before, "password": SECRET})
        self.ask()
        self.assert_states(paid=3)

    def test_only_administrators_change_addresses(self):
        manager = self.manager.with_user(self.person)
        self.assertFalse(manager.may_change_addresses)
        for vals in ({"honours_idempotency_key": not manager.honours_idempotency_key}, {"key_hours": 100}):
            with self.assertRaises(AccessError):
                manager.write(vals)
        for name in ("auth", "payment", "status", "balance"):
            with self.assertRaisesRegex(AccessError, "Only an administrator"):
                self.change(manager, f"{name}_endpoint_url")
        with self.assertRaisesRegex(AccessError, "Only an administrator"):
            manager.write({"username": "me@example.org", "password": SECRET})
        with self.assertRaises(AccessError):
            manager.addresses_open = True
        # The same again is no change.
        manager.write({"status_endpoint_url": manager.status_endpoint_url, "password": SECRET})
        manager.max_connections = 2

    def test_where_program_managers_may_nobody_is_asked_until_it_is_confirmed(self):
        self.manager.addresses_open = True
        self.sent()
        self.change(self.manager.with_user(self.person))
        self.assertEqual(self.manager.setup_changed_by_id, self.person)
        for entitlement in self.entitlements:
            entitlement.copy({"state": "approved"})
        self.prepare()
        self.send()
        self.ask()
        # Neither for what went out by the addresses of now: whose word would it be?
        self.assertEqual(self.asked(), 0)
        with self.assertRaises(AccessError):
            self.manager.with_user(self.person).action_confirm_setup()
        self.confirm()
        self.ask()
        self.assert_states(paid=6)
