"""With OpenG2P's addon that hides a program's cycles, Prepare and Send have their buttons on its page."""

import os
import unittest

from odoo.exceptions import UserError
from odoo.tests import BaseCase

from .common import ProgramCase
from .shell import run_on_copy

BUTTONS = ["action_mpesa_prepare", "action_mpesa_send", "action_mpesa_progress"]
SCRIPT = """
import json
from odoo.tests import Form
from odoo.addons.g2p_payment_simple_mpesa.tests.common import (
    MANAGER, make_cycle, make_program, manager_vals, phone, use_manager
)

modules = env["ir.module.module"]
modules.update_list()
module = modules.search([("name", "=", "g2p_program_cycleless")])
module.button_immediate_install()
env.invalidate_all()
env.user.company_id.country_id = env.ref("base.ke")

class Gateway:
    urls = dict.fromkeys(("login", "deposit", "balance", "status"), "https://gateway.example.org/x")

program, manager = make_program(env, manager_vals(Gateway(), balance_endpoint_url=False))
cycle, entitlements = make_cycle(env, program, 3)
found = {"module": module.state, "with cycles": program.mpesa_without_cycles}
program.is_cycleless = True
env.invalidate_all()
found["without"] = program.mpesa_without_cycles
arch = env["g2p.program"].get_view(env.ref("g2p_programs.view_program_list_form").id)["arch"]
found["buttons"] = [name for name in BUTTONS if f'name="{name}"' in arch]
program.action_mpesa_prepare()
found["prepared"] = env["g2p.payment"].search_count([("cycle_id", "=", cycle.id)])
env.cr.commit()
action = program.action_mpesa_send()
found["asks"] = action["res_model"]
found["shown"] = env[action["res_model"]].browse(action["res_id"]).count
found["progress"] = program.action_mpesa_progress()["res_id"] == cycle.id
cycle.state = "ended"
env.invalidate_all()
found["no open cycle"] = program.mpesa_without_cycles
cycle.state = "approved"
env.invalidate_all()
env["g2p.payment"].search([("cycle_id", "=", cycle.id)]).unlink()
program.payment_managers = [(5,)]
env.invalidate_all()
found["no manager"] = program.mpesa_without_cycles
other = env["g2p.program.payment.manager.default"].create({"name": "Other", "program_id": program.id})
use_manager(program, other)
env.invalidate_all()
found["another manager"] = program.mpesa_without_cycles
print(json.dumps(found))
"""


@unittest.skipUnless(
    {"ODOO_RC", "G2P_TEMPLATE_DB"} <= set(os.environ), "needs the databases that dev/test makes"
)
class TestCycleless(BaseCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.found, _connection = run_on_copy(cls, "cycleless", f"BUTTONS = {BUTTONS}\n{SCRIPT}")

    def test_prepare_and_send_have_their_buttons(self):
        self.assertEqual(self.found["module"], "installed")
        self.assertTrue(self.found["without"])
        self.assertEqual(self.found["buttons"], BUTTONS)

    def test_they_do_what_those_of_the_open_cycle_do(self):
        self.assertEqual(self.found["prepared"], 3)
        self.assertEqual((self.found["asks"], self.found["shown"]), ("g2p.payment.mpesa.send.wizard", 3))
        self.assertTrue(self.found["progress"])

    def test_not_where_the_cycle_has_them_or_there_is_none_or_another_manager_pays(self):
        for name in ("with cycles", "no open cycle", "no manager", "another manager"):
            self.assertFalse(self.found[name], name)


class TestWithoutThatAddon(ProgramCase):
    PEOPLE = 1

    def test_there_are_none(self):
        self.assertFalse(self.program.mpesa_without_cycles)
        for name in BUTTONS:
            with self.assertRaises(UserError):
                getattr(self.program, name)()
