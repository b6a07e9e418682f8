"""The access matrix of README.md: each group against each act."""

import base64
from datetime import datetime

from lxml import etree

from odoo.exceptions import AccessError, UserError
from odoo.tests import Form, new_test_user

from ..models import const
from .common import MANAGER, ROOT, ProgramCase, click_send, manager_vals

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

FINANCE = {"administrator", "finance validator"}

# Who may do what; README.md shows the same table.
MATRIX = {
    "see_gateway": SENDERS | {"program validator", "cycle approver"},
    "replace_password": SENDERS,
    "set_gateway_up": {"administrator"},
    "change_addresses": {"administrator"},
    "confirm_database": {"administrator"},
    "confirm_addresses": {"administrator"},
    "try_connection": SENDERS,
    "use_for_program": SENDERS,
    "delete_gateway": {"administrator"},
    "read_password": set(),
    "prepare": SENDERS,
    "send": SENDERS,
    "send_one": SENDERS,
    "send_by_anothers_dialogue": set(),
    "go_on": SENDERS,
    "export_held": SENDERS,
    "prepare_again": SENDERS,
    "refresh_status": SENDERS | {"finance validator"},
    "refresh_status_of_batch": SENDERS | {"finance validator"},
    "see_payments": READERS,
    "see_overview": READERS,
    "see_whole_payee": READERS - {"registrar"},
    "see_journal": SENDERS | {"finance validator"},
    "open_journal_of_batch": SENDERS | {"finance validator"},
    "open_journal_of_gateway": SENDERS,
    "analyse_payments": SENDERS | {"finance validator"},
    "analyse_contacts": SENDERS | {"finance validator"},
    "print_signoff": READERS - {"registrar"},
    "reconcile": FINANCE,
    "export_cycle": FINANCE,
    "import_statement": FINANCE,
    "see_statement": FINANCE,
    "compare_again": FINANCE,
    "settle": {"finance validator"},
    "settle_by_statement": {"finance validator"},
    "withdraw_statement": {"finance validator"},
    "explain_line": {"finance validator"},
    "write_off": {"finance validator"},
    "write_outcome_by_hand": set(),
    "delete_sent_payment": set(),
    "write_journal": set(),
    "change_journal": set(),
    "delete_from_journal": set(),
    "change_statement": set(),
    "change_line_of_statement": set(),
    "delete_statement": set(),
}
# The acts of each row of README's table, by how the row begins. What only a menu shows is in none.
ROWS = {
    "see the gateway": ["see_gateway"],
    "set it up": ["set_gateway_up", "change_addresses", "confirm_database", "confirm_addresses"],
    "replace the password": [
        *("replace_password", "try_connection", "use_for_program", "open_journal_of_gateway")
    ],
    "delete it": ["delete_gateway"],
    "read the password": ["read_password"],
    "Prepare, Send": ["prepare", "send", "send_one", "go_on", "export_held", "prepare_again"],
    "Send by somebody else": ["send_by_anothers_dialogue"],
    "Refresh Status": ["refresh_status", "refresh_status_of_batch"],
    "see payments": ["see_payments", "see_overview"],
    "see a payee": ["see_whole_payee"],
    "see the journal": ["see_journal", "open_journal_of_batch", "analyse_payments", "analyse_contacts"],
    "print the sign-off": ["print_signoff"],
    "reconcile": ["reconcile", "export_cycle", "import_statement", "see_statement", "compare_again"],
    "settle a doubt": ["settle", "settle_by_statement"],
    "withdraw a comparison": ["withdraw_statement"],
    "explain a line": ["explain_line"],
    "write off": ["write_off"],
    "write an outcome": [
        *("write_outcome_by_hand", "delete_sent_payment"),
        *("write_journal", "change_journal", "delete_from_journal"),
        *("change_statement", "change_line_of_statement", "delete_statement"),
    ],
}
# The columns of that table.
COLUMNS = (
    ("administrator",),
    ("program manager",),
    ("program validator", "cycle approver"),
    ("finance validator",),
    ("registrar",),
    ("internal user",),
)
STATEMENT = "g2p.payment.mpesa.statement"
HEAD = "Receipt No.,Completion Time,Withdrawn,Our Reference"


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
        env[MANAGER].create(manager_vals(self.gateway, program_id=self.program.id, create_batch=False))

    def replace_password(self, env):
        env[MANAGER].browse(self.manager.id).write({"password": "another"})

    def change_addresses(self, env):
        url = f"{self.gateway.url}/another"
        env[MANAGER].browse(self.manager.id).write({"status_endpoint_url": url, "password": "another"})

    def confirm(self, env, kind):
        action = getattr(env[MANAGER].browse(self.manager.id), f"action_confirm_{kind}")()
        wizard = env[action["res_model"]].browse(action["res_id"])
        wizard.is_sure = True
        wizard.action_confirm()

    def confirm_database(self, env):
        self.confirm(env, "place")

    def confirm_addresses(self, env):
        self.confirm(env, "setup")

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
        click_send(env["g2p.payment"].browse(self.one_ready().id))

    def one_ready(self):
        """A payment that somebody else has prepared."""
        self.cycle.prepare_payment()
        self.env.flush_all()
        return self.payments().filtered(lambda payment: payment.mpesa_state == "ready")[:1]

    def send_by_anothers_dialogue(self, env):
        action = self.doubt.batch_id.send_payment()
        env[action["res_model"]].browse(action["res_id"]).action_send()

    def export_held(self, env):
        action = env["g2p.payment.batch"].browse(self.doubt.batch_id.id).send_payment()
        env[action["res_model"]].browse(action["res_id"])._held_back()

    def prepare_again(self, env):
        env["g2p.payment.batch"].browse(self.doubt.batch_id.id).action_mpesa_prepare_again()

    def go_on(self, env):
        self.manager.sudo().write(
            {"mpesa_hold_until": datetime(2100, 1, 1), "mpesa_hold_reason": "unreachable"}
        )
        self.env.flush_all()
        env["g2p.payment.batch"].browse(self.one_ready().batch_id.id).action_mpesa_go_on()

    def see_overview(self, env):
        batch = env["g2p.payment.batch"].browse(self.doubt.batch_id.id)
        batch.read(["mpesa_progress", "mpesa_mode", "mpesa_held_count", "mpesa_again_count"])

    def refresh_status(self, env):
        env["g2p.payment"].browse(self.doubt.id).action_mpesa_refresh_status()

    def refresh_status_of_batch(self, env):
        env["g2p.payment.batch"].browse(self.doubt.batch_id.id).action_mpesa_refresh_status()

    def see_payments(self, env):
        env["g2p.payment"].browse(self.doubt.id).read(["mpesa_state", "mpesa_reason", "mpesa_payee"])

    def see_whole_payee(self, env):
        env["g2p.payment"].browse(self.doubt.id).read(["account_number"])

    def open_action(self, env, action):
        """What a click on a button shows."""
        env[action["res_model"]].search(action["domain"]).read(["display_name"])

    def open_journal_of_batch(self, env):
        self.open_action(env, env["g2p.payment.batch"].browse(self.doubt.batch_id.id).action_mpesa_journal())

    def open_journal_of_gateway(self, env):
        manager = env[MANAGER].browse(self.manager.id)
        manager.read(["name"])
        self.open_action(env, manager.action_open_journal())

    def analyse_payments(self, env):
        env["g2p.payment.mpesa.report"].search([]).read(["outcome"])

    def analyse_contacts(self, env):
        env["g2p.payment.mpesa.attempt.report"].search([]).read(["outcome"])

    def print_signoff(self, env):
        values = env["report.g2p_payment_simple_mpesa.signoff"]._get_report_values(self.cycle.ids)
        values["docs"].read(["name"])

    def see_journal(self, env):
        env["g2p.payment.mpesa.attempt"].search([]).read(["outcome"])

    def write_journal(self, env):
        env["g2p.payment.mpesa.attempt"].create({"kind": "decision"})

    def change_journal(self, env):
        env["g2p.payment.mpesa.attempt"].browse(self.doubt.mpesa_attempt_ids.ids).write({"outcome": "taken"})

    def delete_from_journal(self, env):
        env["g2p.payment.mpesa.attempt"].browse(self.doubt.mpesa_attempt_ids.ids).unlink()

    def reconcile(self, env):
        wizards = env["g2p.payment.mpesa.reconciliation"]
        wizards.with_context(active_model="g2p.cycle", active_id=self.cycle.id).create({}).read(["count"])

    def export_cycle(self, env):
        env["g2p.cycle"].browse(self.cycle.id)._mpesa_reconciliation()

    def settle(self, env):
        wizard = env["g2p.payment.mpesa.settle.wizard"].with_context(
            active_model="g2p.payment", active_ids=self.doubt.ids
        )
        wizard.create({"outcome": "not_paid", "reason": "Not on the statement"}).action_settle()

    def write_off(self, env):
        wizard = env["g2p.payment.mpesa.settle.wizard"].with_context(
            active_model="g2p.payment", active_ids=self.one_ready().ids
        )
        wizard.create({"outcome": "write_off", "reason": "Moved away"}).action_settle()

    def import_statement(self, env):
        moment = self.doubt.mpesa_sent_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        line = f"TX1,{moment},-100.00,{self.doubt.mpesa_reference}"
        with Form(env[STATEMENT]) as form:
            form.program_id = env["g2p.program"].browse(self.program.id)
            form.name = "statement"
            form.file = base64.b64encode(f"{HEAD}\n{line}\n".encode())
            form.only_carried_out = True
        form.record.action_compare()
        self.env.flush_all()
        return form.record

    def compared(self, env):
        """A statement that somebody else has compared: it shows the doubt as paid."""
        statement = self.import_statement(self.env)
        self.env.invalidate_all()
        return env[STATEMENT].browse(statement.id)

    def see_statement(self, env):
        statement = self.compared(env)
        statement.read(["name", "doubt_count"])
        statement.line_ids.read(["payee", "result"])
        statement.summary_ids.read(["result", "count"])

    def compare_again(self, env):
        self.compared(env).action_compare_again()

    def settle_by_statement(self, env):
        action = self.compared(env).action_settle()
        env[action["res_model"]].with_context(**action["context"]).create({}).action_settle()

    def withdraw_statement(self, env):
        action = self.compared(env).action_withdraw()
        wizard = env[action["res_model"]].with_context(**action["context"])
        wizard.create({"reason": "The wrong account"}).action_withdraw()

    def explain_line(self, env):
        content = f"{HEAD}\nTX9,2026-01-05T10:00:00Z,-77.00,\n"
        with Form(self.env[STATEMENT]) as form:
            form.program_id = self.program
            form.name = "unknown"
            form.file = base64.b64encode(content.encode())
            form.only_carried_out = True
        form.record.action_compare()
        self.env.flush_all()
        line = form.record.line_ids.filtered(lambda line: line.result == "only_there")
        action = env[line._name].browse(line.ids).action_explain()
        wizard = env[action["res_model"]].with_context(**action["context"])
        wizard.create({"reason": "Rent of the office"}).action_explain()

    def change_statement(self, env):
        self.compared(env).write({"name": "Another"})

    def change_line_of_statement(self, env):
        lines = self.compared(self.env).line_ids
        env[lines._name].browse(lines.ids).write({"amount": 5})

    def delete_statement(self, env):
        self.compared(env).unlink()

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
        self.maxDiff = None
        self.assertEqual({act: {role for role in ROLES if self.may(act, role)} for act in MATRIX}, MATRIX)

    def test_readme_says_the_same(self):
        text = (ROOT / "README.md").read_text()
        table = text.split("Who may do what")[1].split("\n\n")[1].splitlines()[2:]
        told = {}
        for row in table:
            what, *cells = (cell.strip() for cell in row.strip("|").split("|"))
            [key] = [key for key in ROWS if what.startswith(key)]
            self.assertNotIn(key, told)
            allowed = [roles for roles, cell in zip(COLUMNS, cells, strict=True) if cell.startswith("yes")]
            told[key] = {role for roles in allowed for role in roles}
        self.assertEqual(set(told), set(ROWS))
        for key, acts in ROWS.items():
            for act in acts:
                self.assertEqual(MATRIX[act], told[key], (key, act))
        self.assertEqual({act for acts in ROWS.values() for act in acts}, set(MATRIX))

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

    def arch(self, role, model, kind):
        """A view as somebody of this role gets it."""
        kinds = dict(self.env["ir.ui.view"]._fields["type"].selection)
        kind = "tree" if kind == "list" and "list" not in kinds else kind
        return etree.fromstring(self.env(user=self.users[role])[model].get_view(view_type=kind)["arch"])

    def test_refresh_status_is_shown_to_those_who_may(self):
        button = "//button[@name='action_mpesa_refresh_status']"
        models = ("g2p.payment", "g2p.payment.batch")
        shown = {
            model: {role for role in READERS if self.arch(role, model, "form").xpath(button)}
            for model in models
        }
        self.assertEqual(shown, dict.fromkeys(models, MATRIX["refresh_status"]))

    def test_whether_the_gateway_can_be_asked(self):
        registrar = self.doubt.with_env(self.env(user=self.users["registrar"]))
        self.assertFalse(registrar.mpesa_can_ask)
        self.manager.status_endpoint_url = self.gateway.urls["status"]
        self.env.invalidate_all()
        self.assertTrue(registrar.mpesa_can_ask)

    def test_lists_show_masked_payees_and_pages_whole_ones_to_those_who_may(self):
        whole, masked = "//field[@name='account_number']", "//field[@name='mpesa_payee']"
        for role in READERS:
            may = role in MATRIX["see_whole_payee"]
            rows = self.arch(role, "g2p.payment", "list")
            shown = [node for node in rows.xpath(whole) if node.get("column_invisible") not in ("1", "True")]
            self.assertEqual((shown, len(rows.xpath(masked))), ([], 1), role)
            page = self.arch(role, "g2p.payment", "form")
            self.assertEqual((len(page.xpath(whole)), len(page.xpath(masked))), (may, 1), role)
            self.assertEqual(len(self.arch(role, "g2p.payment", "search").xpath(whole)), may, role)
            payment = self.doubt.with_env(self.env(user=self.users[role]))
            self.assertRegex(payment.mpesa_payee, r"^2547\*+\d{3}$")

    def test_a_line_of_a_statement_shows_its_payee_as_a_whole_on_its_page_alone(self):
        model = "g2p.payment.mpesa.statement.line"
        names = {
            kind: [node.get("name") for node in self.arch("finance validator", model, kind).iter("field")]
            for kind in ("list", "form")
        }
        self.assertTrue("payee" in names["form"] and "payee" not in names["list"])
        self.assertIn("payee_masked", names["list"])
        line = self.env[model].new({"payee": "254700000001"})
        self.assertEqual((line.payee_masked, self.env[model].new({}).payee_masked), ("2547*****001", False))
