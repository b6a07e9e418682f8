"""Each group opens each view, in headless Chromium; screenshots: ``.dev/screenshots``."""

import contextlib
import time

from odoo.tests import tagged

from .common import phone
from .harness import LabError, load_dev
from .test_browser import MANAGER, NOT_OURS, BrowserCase

OURS = "g2p_payment_simple_mpesa"
# Actions of OpenG2P whose views we extend.
EXTENDED = ("action_payment", "action_payment_batch", "action_cycle")
MODES = ("list", "kanban", "graph", "pivot", "calendar", "activity")
# The forms that links and rows lead to, with the action that opens them.
FORMS = {
    "g2p.cycle": "g2p_programs.action_cycle",
    "g2p.payment.batch": "g2p_programs.action_payment_batch",
    "g2p.payment": "g2p_programs.action_payment",
    MANAGER: f"{OURS}.action_manager",
}
# Buttons that open a dialogue, by what stands on them.
DIALOGUES = {"g2p.cycle": "Send", "g2p.payment.batch": "Send", "g2p.payment": "Settle"}


@tagged("post_install", "-at_install")
class TestWalk(BrowserCase):
    """Of each group: all that its menus lead to, in all modes, and the forms and dialogues behind it."""

    NAME = "7-walk"
    maxDiff = None
    LOGINS = ("admin", "manager", "validator", "approver", "finance", "registrar")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sent, waiting = (cls.lab.cycle(cls.server, 4, first=first) for first in (0, 4))
        cls.gateway.fault(phone(1), "500-taken")
        cls.gateway.fault(phone(2), "refuse")
        for cycle in (sent, waiting):
            cls.server.prepare(cycle)
        cls.server.send(sent)
        cls.cycles = [sent, waiting]

    def begin_again(self):
        """What is open stays as it is."""

    def test_every_view_of_every_group(self):
        opened, failed = {}, []
        for login in self.LOGINS:
            self.log_in(login)
            actions, forms = self.actions(login), self.forms(login)
            opened[login] = {*actions.values(), *(form[0] for form in forms)}
            for action, name in actions.items():
                failed += self.complaints(self.visit, action, f"{login}-{name}")
            for form in forms:
                failed += self.complaints(self.visit_form, *form)
        self.assertEqual(failed, [])
        # What was not opened cannot have complained.
        for login in ("admin", "manager"):
            expected = {"action_manager", "action_attempt", "action_payment", *FORMS}
            self.assertLessEqual(expected, opened[login])
        self.assertLessEqual({"action_attempt", "action_statement", "g2p.cycle"}, opened["finance"])
        self.assertNotIn("action_manager", opened["finance"])
        self.assertFalse(opened["registrar"] & {"action_manager", "action_attempt", MANAGER})

    def test_a_broken_view_is_seen(self):
        """A field that the model has not, as after half an update."""
        [view] = self.lab.execute(
            "UPDATE ir_ui_view SET arch_db = regexp_replace(arch_db::text, '</(list|tree)>',"
            "    '<field name=''gone''/></\\1>')::jsonb, arch_updated = true"
            " WHERE model = 'g2p.payment.mpesa.attempt' AND type IN ('list', 'tree') RETURNING id"
        )
        mended = contextlib.ExitStack()
        mended.callback(self.mend, view["id"])
        self.addCleanup(mended.close)
        self.server.restart()
        self.log_in("finance")
        action = self.admin.ref(f"{OURS}.action_attempt")
        [complaint] = self.complaints(self.visit, action, "broken")
        self.assertIn("gone", complaint)
        # The browser has kept it by then; whoever logs in next sees what there is now.
        time.sleep(1)
        mended.close()
        self.log_in("finance")
        self.assertEqual(self.complaints(self.visit, action, "mended"), [])

    def mend(self, view):
        self.lab.execute(
            "UPDATE ir_ui_view SET arch_db = replace(arch_db::text, '<field name=''gone''/>', '')::jsonb"
            " WHERE id = %s",
            [view],
        )
        self.server.restart()

    def complaints(self, visit, *where):
        """What a visit complains of: a list with one sentence, or none."""
        try:
            visit(*where)
        except (AssertionError, LabError) as error:
            self.browser.errors.clear()
            return [f"{where[-1]}: {str(error)[:800]}"]
        return []

    # Where to go

    def actions(self, login):
        """The window actions, ours and those that we extend, that the user's menus lead to: names by id."""
        data = self.admin.call(
            "ir.model.data",
            "search_read",
            [
                ("model", "=", "ir.actions.act_window"),
                *("|", ("module", "=", OURS)),
                *("&", ("module", "=", "g2p_programs"), ("name", "in", EXTENDED)),
            ],
            ["res_id", "name"],
        )
        names = {row["res_id"]: row["name"] for row in data}
        menus = self.server.session(login).call("ir.ui.menu", "load_menus", False)
        found = {
            menu.get("action_id")
            or menu.get("actionID")
            or int(str(menu.get("action") or "x,0").split(",")[1])
            for menu in menus.values()
        }
        return {action: names[action] for action in found if action in names}

    def forms(self, login):
        """Our records that the user can read: model, id, action, name of the picture."""
        session, forms = self.server.session(login), []
        sent, waiting = self.cycles
        domains = {
            "g2p.cycle": [("id", "in", [sent, waiting])],
            "g2p.payment.batch": [("cycle_id", "=", sent)],
            "g2p.payment": [("cycle_id", "=", sent), ("mpesa_state", "=", "doubt")],
        }
        for model, action in FORMS.items():
            with contextlib.suppress(load_dev("demo_rpc").RpcError):
                for record in session.call(model, "search", domains.get(model, [])):
                    forms.append((model, record, self.admin.ref(action), f"{login}-{model}-{record}"))
        return forms

    # Being there

    def visit(self, action, name):
        """All modes of an action, and the form of its first row."""
        browser = self.browser
        browser.visit(f"/web#action={action}")
        browser.see(".o_action_manager .o_view_controller, .o_action_manager .o_content, .modal")
        browser.rest()
        browser.picture(name)
        self.assert_well(name)
        for mode in MODES:
            if browser.sees(f".o_switch_view.o_{mode}"):
                browser.click(f".o_switch_view.o_{mode}")
                self.assert_well(f"{name} {mode}")
        if browser.sees(".o_switch_view.o_list"):
            browser.click(".o_switch_view.o_list")
        if browser.sees(".o_list_view .o_data_row:not(.o_sample_data_disabled .o_data_row) .o_data_cell"):
            browser.click(".o_list_view .o_data_row .o_data_cell:not(.o_field_cell_button)")
            self.assert_well(f"{name} form")
            self.turn_pages(name)

    def visit_form(self, model, record, action, name):
        """A form, its pages, and the dialogue that its button opens."""
        browser = self.browser
        browser.open(model, record, action)
        browser.picture(name)
        self.assert_well(name)
        self.turn_pages(name)
        if browser.sees(".o_statusbar_buttons button", DIALOGUES.get(model, "nothing")):
            browser.click(".o_statusbar_buttons button", DIALOGUES[model])
            browser.see(".modal")
            browser.rest()
            browser.picture(f"{name}-dialogue")
            self.assertTrue(browser.sees(".modal .o_form_view"), browser.text(".modal"))
            self.assert_well(f"{name} dialogue")
            self.turn_pages(name)

    def turn_pages(self, name):
        browser = self.browser
        tabs = "document.querySelectorAll('.o_form_view .o_notebook .nav-link')"
        for page in range(browser.js(f"{tabs}.length")):
            browser.js(f"{tabs}[{page}]?.click()")
            browser.rest()
            self.assert_well(f"{name} page {page}")

    def assert_well(self, what):
        errors = [error for error in self.browser.errors if not any(part in error for part in NOT_OURS)]
        self.assertEqual(errors, [], what)
        self.assertFalse(self.browser.sees(".o_error_dialog"), what)
