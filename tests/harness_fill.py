"""What a lab's database holds: run by Odoo's shell, in a process of its own."""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace

from odoo.tests import new_test_user

from ..models import const
from .common import make_cycle, make_program, manager_vals

PASSWORD = "a-lab-for-payments"


# Each lab has a gateway of its own.
URLS = defaultdict(lambda: "http://127.0.0.1:9/")


def fill(env, people):
    """A program that pays by our manager, its people, and users; print their ids."""
    env.user.company_id.country_id = env.ref("base.ke")
    program, manager = make_program(env, manager_vals(SimpleNamespace(urls=URLS), api_timeout=1))
    _cycle, entitlements = make_cycle(env, program, people, name="Cycle 0")
    groups = {
        "manager": const.PROGRAM_MANAGER,
        "manager2": const.PROGRAM_MANAGER,
        "finance": const.FINANCE,
        "validator": "g2p_programs.g2p_program_validator",
        "approver": "g2p_programs.g2p_program_cycle_approver",
        "registrar": "g2p_registry_base.group_g2p_registrar",
    }
    for login, group in groups.items():
        new_test_user(env, login, groups=f"base.group_user,{group}", password=PASSWORD)
    new_test_user(env, "colleague", groups="base.group_user", password=PASSWORD)
    admin = env.ref("base.user_admin")
    admin.password = PASSWORD
    members = "users" if "users" in env["res.groups"]._fields else "user_ids"
    env.ref(const.ADMIN)[members] = [(4, admin.id)]
    env.cr.commit()
    cron = env.ref("g2p_payment_simple_mpesa.cron_refresh")
    ids = {
        "password": PASSWORD,
        "program": program.id,
        "manager": manager.id,
        "people": entitlements.partner_id.ids,
        "cron_action": cron.ir_actions_server_id.id,
    }
    # It is read by the lab.
    sys.stdout.write(json.dumps(ids) + "\n")
    sys.stdout.flush()
