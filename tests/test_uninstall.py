import os
import unittest

from cryptography.fernet import Fernet

from odoo.exceptions import UserError
from odoo.tests import BaseCase

from ..hooks import uninstall_hook
from .common import ProgramCase
from .shell import run_on_copy

MODULE = "g2p_payment_simple_mpesa"
KEY = Fernet.generate_key().decode()


class TestRefusal(ProgramCase):
    """Before anything is removed, and once more at the last moment."""

    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.module = self.env["ir.module.module"].search([("name", "=", MODULE)])
        self.prepare()

    def put(self, *states):
        """Put the cycle's payments into these states, whatever led to them."""
        self.env.flush_all()
        for payment, state in zip(self.payments(), states, strict=True):
            self.env.cr.execute("UPDATE g2p_payment SET mpesa_state = %s WHERE id = %s", [state, payment.id])
        self.env.invalidate_all()

    def test_while_the_fate_of_one_is_open(self):
        for state in ("sending", "accepted", "doubt"):
            self.put("ready", "paid", state)
            for refused in (self.module.button_uninstall, lambda: uninstall_hook(self.env)):
                with self.assertRaises(UserError):
                    refused()
            self.assertEqual(self.module.state, "installed")
            self.assertTrue(self.program.payment_managers)

    def test_the_sentence_says_how_many_and_what_to_do(self):
        self.put("doubt", "doubt", "accepted")
        with self.assertRaises(UserError) as refusal:
            self.module.button_uninstall()
        sentence = str(refusal.exception)
        self.assertIn("Being sent: 0; waiting for the gateway's last word: 1; in doubt: 2", sentence)
        self.assertIn("Refresh their status, let the finance group settle the doubts", sentence)

    def test_with_what_it_depends_on(self):
        self.put("ready", "paid", "doubt")
        programs = self.env["ir.module.module"].search([("name", "=", "g2p_programs")])
        with self.assertRaises(UserError):
            programs.button_uninstall()

    def test_not_when_all_is_settled(self):
        self.put("ready", "paid", "refused")
        self.module.button_uninstall()
        self.assertEqual(self.module.state, "to remove")

    def test_other_modules_are_none_of_its_business(self):
        self.put("sending", "accepted", "doubt")
        other = self.env["ir.module.module"].search([("name", "=", "queue_job_batch")]) or self.module.copy(
            {"name": "some_other_module", "state": "installed"}
        )
        other.button_uninstall()

    def test_a_program_is_left_without_a_manager_rather_than_with_a_broken_one(self):
        self.put("ready", "paid", "refused")
        self.env["g2p.payment.batch"].search([])[0].activity_schedule(
            "mail.mail_activity_data_todo", user_id=self.env.uid
        )
        uninstall_hook(self.env)
        self.assertFalse(self.program.payment_managers)
        with self.assertRaisesRegex(UserError, "No Payment Manager"):
            self.cycle.prepare_payment()
        self.assertFalse(self.env["mail.activity"].search([("res_model", "=", "g2p.payment.batch")]))


# In Odoo's shell: try with a doubt, then with none.
UNINSTALL = """
import json
from datetime import date
from odoo.exceptions import UserError

program = env["g2p.program"].create({
    "name": "Going",
    "journal_id": env["account.journal"].create({"name": "Going", "code": "GO", "type": "bank"}).id,
})
manager = env["g2p.program.payment.manager.mpesa"].create({
    "name": "M-Pesa", "program_id": program.id, "create_batch": False, "payee_id_type": "email",
    "auth_endpoint_url": "https://gateway.example.org/login",
    "payment_endpoint_url": "https://gateway.example.org/deposit",
    "username": "agent@example.org", "password": "secret",
})
wrapper = env["g2p.program.payment.manager"].create({
    "program_id": program.id, "manager_ref_id": f"{manager._name},{manager.id}",
})
program.payment_managers = [(6, 0, wrapper.ids)]
cycle = env["g2p.cycle"].create({
    "name": "Going", "program_id": program.id, "state": "approved",
    "start_date": date(2026, 1, 1), "end_date": date(2026, 1, 31),
})
person = env["res.partner"].create({"name": "Somebody", "is_registrant": True})
entitlement = env["g2p.entitlement"].create({
    "cycle_id": cycle.id, "partner_id": person.id, "initial_amount": 100, "state": "approved",
})
payment = env["g2p.payment"].create({
    "entitlement_id": entitlement.id, "cycle_id": cycle.id, "amount_issued": 100,
})
manager.with_delay()._send_payments(env["g2p.payment.batch"])
env["g2p.payment.mpesa.statement"].with_delay()._read_job(0)
env["g2p.payment.mpesa.attempt"]._record([{"key": "1", "kind": "login", "manager_id": manager.id}])
env.flush_all()
module = env["ir.module.module"].search([("name", "=", "g2p_payment_simple_mpesa")])
found = {"entitlement": entitlement.id, "secret": manager.secret}

def put(state):
    env.cr.execute("UPDATE g2p_payment SET mpesa_state = %s WHERE id = %s", [state, payment.id])
    env.cr.commit()

put("doubt")
try:
    module.button_immediate_uninstall()
except UserError as error:
    env.cr.rollback()
    found["by the button"] = str(error)

# As if it had become a doubt since the button was clicked.
env.cr.execute("UPDATE ir_module_module SET state = 'to remove' WHERE id = %s", [module.id])
env.cr.commit()
try:
    type(env.registry).new(env.cr.dbname, update_module=True)
except UserError as error:
    found["at the last moment"] = str(error)
env.cr.rollback()
env.cr.execute("SELECT state FROM ir_module_module WHERE id = %s", [module.id])
found["afterwards"] = env.cr.fetchone()[0]
env.cr.execute("SELECT count(*) FROM g2p_program_payment_manager_mpesa WHERE id = %s", [manager.id])
found["managers"] = env.cr.fetchone()[0]

put("refused")
env.invalidate_all()
module.button_immediate_uninstall()
env.cr.commit()
print(json.dumps(found))
"""


@unittest.skipUnless(
    {"ODOO_RC", "G2P_TEMPLATE_DB"} <= set(os.environ), "needs the databases that dev/test makes"
)
class TestUninstall(BaseCase):
    """On a copy of a database, by Odoo itself."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.found, cls.connection = run_on_copy(cls, "uninstall", UNINSTALL, G2P_MPESA_SECRET_KEY=KEY)

    def query(self, statement, *values):
        with self.connection.cursor() as cr:
            cr.execute(statement, values or None)
            return cr.fetchall()

    def test_its_password_is_encrypted_and_hinders_nothing(self):
        self.assertTrue(self.found["secret"].startswith("{fernet}"))

    def test_the_button_refuses(self):
        self.assertIn("in doubt: 1.", self.found["by the button"])

    def test_odoo_puts_it_back_at_the_last_moment(self):
        self.assertIn("in doubt: 1.", self.found["at the last moment"])
        self.assertEqual(self.found["afterwards"], "installed")
        self.assertEqual(self.found["managers"], 1)

    def test_then_it_goes(self):
        self.assertEqual(
            self.query("SELECT state FROM ir_module_module WHERE name = %s", MODULE), [("uninstalled",)]
        )

    def test_nothing_is_left_in_the_schema(self):
        left = self.query(
            "SELECT relname FROM pg_class WHERE relname LIKE '%mpesa%'"
            " UNION SELECT proname FROM pg_proc WHERE proname LIKE '%mpesa%'"
            " UNION SELECT attname FROM pg_attribute WHERE attname LIKE 'mpesa%'"
        )
        self.assertEqual(left, [])

    def test_nothing_points_at_what_is_gone(self):
        for statement in (
            "SELECT manager_ref_id FROM g2p_program_payment_manager WHERE manager_ref_id LIKE '%mpesa%'",
            "SELECT model FROM ir_model WHERE model LIKE '%mpesa%'",
            "SELECT name FROM ir_ui_view WHERE model LIKE '%mpesa%' OR arch_db::text LIKE '%mpesa\\_%'",
            "SELECT cron_name FROM ir_cron WHERE cron_name LIKE 'M-Pesa%'",
            "SELECT uuid FROM queue_job WHERE model_name LIKE '%mpesa%'",
            "SELECT name FROM queue_job_function WHERE name LIKE '%mpesa%'",
        ):
            self.assertEqual(self.query(statement), [], statement)

    def test_payments_stay_with_the_program(self):
        rows = self.query(
            "SELECT state FROM g2p_payment WHERE entitlement_id = %s", self.found["entitlement"]
        )
        self.assertEqual(rows, [("issued",)])
