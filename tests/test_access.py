"""The access matrix of README.md: each group against each act."""

from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user

from ..models import const
from .common import MANAGER, ProgramCase, click_send, manager_vals

ROLES = {
    "administrator": "g2p_registry_base.group_g2p_admin",
    "program manager": const.PROGRAM_MANAGER,
    "program validator": "g2p_programs.g2p_program_validator",
    "cycle approver": "g2p_programs.g2p_program_cycle_approver",
    "finance validator": const.FINANCE,
    "registrar": "g2p_registry_base.group_g2p_registrar",
    "internal user": "",
}
SENDERS = {"administrator", "program manager"}
READERS = {
    "administrator",
    "program manager",
    "program validator",
    "cycle approver",
    "finance validator",
    "registrar",
}

# Who may do what; README.md shows the same table.
MATRIX = {
    "see_gateway": SENDERS | {"program validator", "cycle approver"},
    "set_gateway_up": SENDERS,
    "try_connection": SENDERS,
    "use_for_program": SENDERS,
    "delete_gateway": {"administrator"},
    "read_password": set(),
    "prepare": SENDERS,
    "send": SENDERS,
    "send_one": SENDERS,
    "send_by_anothers_dialogue": set(),
    "prepare_again": SENDERS,
    "see_overview": READERS,
    "refresh_status": SENDERS | {"finance validator"},
    "see_payments": READERS,
    "see_journal": SENDERS | {"finance validator"},
    "write_journal": set(),
    "export_cycle": {"administrator", "finance validator"},
    "settle": {"finance validator"},
    "write_outcome_by_hand": set(),
    "delete_sent_payment": set(),
}


class TestAccess(ProgramCase):
    PEOPLE = 3

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.users = {
            role: new_test_user(
                cls.env, role.replace(" ", "-"), groups="base.group_user" + (f",{group}" if group else "")
            )
            for role, group in ROLES.items()
        }

    def setUp(self):
        super().setUp()
        self.prepare()
        self.fault(0, "500-not-taken")
        self.fault(1, "refuse")
        self.send()
        self.doubt = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours'")
        self.entitlements[0].copy({"state": "approved"})
        self.env.flush_all()
        self.gateway.clear_faults()

    # The acts, each as a method of the user's own environment

    def see_gateway(self, env):
        env[MANAGER].browse(self.manager.id).read(["name"])

    def set_gateway_up(self, env):
        env[MANAGER].browse(self.manager.id).write({"password": "another"})
        env[MANAGER].create(manager_vals(self.gateway, program_id=self.program.id, create_batch=False))

    def delete_gateway(self, env):
        vals = manager_vals(self.gateway, program_id=self.program.id, create_batch=False)
        manager = self.env[MANAGER].create(vals)
        env[MANAGER].browse(manager.id).unlink()

    def read_password(self, env):
        env[MANAGER].browse(self.manager.id).read(["secret"])

    def prepare_as(self, env):
        env["g2p.cycle"].browse(self.cycle.id).prepare_payment()

    def send_as(self, env):
        click_send(env["g2p.payment.batch"].browse(self.doubt.batch_id.id))

    def try_connection(self, env):
        env[MANAGER].browse(self.manager.id).action_test_connection()

    def use_for_program(self, env):
        env[MANAGER].browse(self.manager.id).action_use_for_program()

    def send_one(self, env):
        self.cycle.prepare_payment()
        self.env.flush_all()
        ready = self.payments().filtered(lambda payment: payment.mpesa_state == "ready")[:1]
        click_send(env["g2p.payment"].browse(ready.id))

    def send_by_anothers_dialogue(self, env):
        action = self.doubt.batch_id.send_payment()
        env[action["res_model"]].browse(action["res_id"]).action_send()

    def prepare_again(self, env):
        env["g2p.payment.batch"].browse(self.doubt.batch_id.id).action_mpesa_prepare_again()

    def see_overview(self, env):
        batch = env["g2p.payment.batch"].browse(self.doubt.batch_id.id)
        batch.read(["mpesa_progress", "mpesa_mode", "mpesa_held_count", "mpesa_again_count"])

    def refresh_status(self, env):
        env["g2p.payment"].browse(self.doubt.id).action_mpesa_refresh_status()

    def see_payments(self, env):
        env["g2p.payment"].browse(self.doubt.id).read(["mpesa_state", "mpesa_reason"])

    def see_journal(self, env):
        env["g2p.payment.mpesa.attempt"].search([]).read(["outcome"])

    def write_journal(self, env):
        env["g2p.payment.mpesa.attempt"].create({"kind": "decision"})

    def export_cycle(self, env):
        env["g2p.cycle"].browse(self.cycle.id)._mpesa_reconciliation()

    def settle(self, env):
        wizard = env["g2p.payment.mpesa.settle.wizard"].with_context(
            active_model="g2p.payment", active_ids=self.doubt.ids
        )
        wizard.create({"outcome": "not_paid", "reason": "Not on the statement"}).action_settle()

    def write_outcome_by_hand(self, env):
        env["g2p.payment"].browse(self.doubt.id).write({"status": "paid"})

    def delete_sent_payment(self, env):
        env["g2p.payment"].browse(self.doubt.id).unlink()

    def may(self, act, role):
        """Whether it goes through; all that it did is undone."""
        method = getattr(self, act, None) if act not in ("prepare", "send") else getattr(self, f"{act}_as")
        self.env.invalidate_all()
        savepoint = self.env.cr.savepoint()
        try:
            method(self.env(user=self.users[role]))
            self.env.flush_all()
        except (AccessError, UserError):
            return False
        finally:
            self.env.invalidate_all(flush=False)
            savepoint.close(rollback=True)
        return True

    def test_each_group_against_each_act(self):
        for act, allowed in MATRIX.items():
            with self.subTest(act=act):
                self.assertEqual({role for role in ROLES if self.may(act, role)}, allowed)

    def test_buttons_that_only_refuse_are_not_shown(self):
        for role in READERS:
            env = self.env(user=self.users[role])
            for record in (self.cycle, self.doubt.batch_id, self.doubt):
                hidden = record.with_env(env).mpesa_no_send
                self.assertEqual(hidden, role not in SENDERS, (role, record))
        self.program.payment_managers = False
        others = self.cycle.with_env(self.env(user=self.users["program validator"]))
        others.invalidate_recordset()
        self.assertFalse(others.mpesa_no_send)
