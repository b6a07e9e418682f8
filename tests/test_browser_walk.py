"""Each group opens each view, in headless Chromium; screenshots: ``.dev/screenshots``."""

import contextlib
import json
import time

from lxml import etree

from odoo.tests import tagged

from .common import manager_vals, phone
from .harness import LabError, load_dev
from .test_browser import MANAGER, NOT_OURS, STATEMENT, BrowserCase

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
    STATEMENT: f"{OURS}.action_statement",
}
# Buttons that open a dialogue, and what stands on them.
DIALOGUES = {
    "g2p.cycle": ("[name='send_payment']", ""),
    "g2p.payment.batch": ("[name='send_payment']", ""),
    "g2p.payment": ("", "Settle"),
    STATEMENT: ("[name='action_settle']", ""),
}
LINE = f"{STATEMENT}.line"
# In the page: what opens the menu of filters, while that is closed.
OPEN_MENU = "document.querySelector('.o_searchview_dropdown_toggler[aria-expanded=false]')"


@tagged("post_install", "-at_install")
class TestWalk(BrowserCase):
    """Of each group: all that its menus lead to, in all modes, and the forms and dialogues behind it."""

    NAME = "7-walk"
    maxDiff = None
    LOGINS = ("admin", "manager", "validator", "approver", "finance", "registrar", "colleague")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sent, waiting = (cls.lab.cycle(cls.server, 4, first=first) for first in (0, 4))
        cls.gateway.fault(phone(1), "500-taken")
        cls.gateway.fault(phone(2), "refuse")
        live = cls.lab.cycle(cls.server, 2, first=8, program=cls.make_live_program())
        for cycle in (sent, waiting, live):
            cls.server.prepare(cycle)
        cls.server.send(sent)
        cls.compared = cls.import_statement(sent)
        cls.sent, cls.waiting, cls.live = sent, waiting, live

    @classmethod
    def make_live_program(cls):
        """Another program, which moves real money; gives its id."""
        program = cls.new_program()
        [tag] = cls.admin.create_all("g2p.payment.batch.tag", [{"name": "All", "order": 1, "domain": "[]"}])
        vals = manager_vals(cls.gateway, program_id=program, mode="live", batch_tag_ids=[(6, 0, [tag])])
        manager = cls.admin.create(MANAGER, vals)
        cls.admin.click(MANAGER, "action_use_for_program", manager)
        return program

    def setUp(self):
        super().setUp()
        # Who has opened which dialogue.
        self.dialogues = []

    def begin_again(self):
        """What is open stays as it is."""

    def come_in(self, login):
        self.log_in(login)
        self.browser.visit("/web")
        self.assert_well(f"{login} comes in")

    def test_every_view_of_every_group(self):
        opened, failed = {}, []
        for login in self.LOGINS:
            self.come_in(login)
            actions, forms = self.actions(login), self.forms(login)
            opened[login] = {*actions.values(), *(form[0] for form in forms)}
            for action, name in actions.items():
                failed += self.complaints(self.visit, action, f"{login}-{name}")
            for form in forms:
                failed += self.complaints(self.visit_form, *form)
        self.assertEqual(failed, [])
        # What was not opened cannot have complained.
        everything = {"action_manager", "action_attempt", "action_statement", "action_payment", *FORMS}
        self.assertLessEqual(everything, opened["admin"])
        self.assertLessEqual(everything - {"action_statement", STATEMENT}, opened["manager"])
        self.assertLessEqual({"action_attempt", "action_statement", STATEMENT}, opened["finance"])
        self.assertNotIn("action_manager", opened["finance"])
        self.assertFalse(opened["registrar"] & {"action_manager", "action_attempt", MANAGER, STATEMENT})
        self.assertFalse(opened["colleague"])
        senders = {(login, model) for login in ("admin", "manager") for model in ("g2p.cycle",)}
        self.assertLessEqual(senders, set(self.dialogues))
        self.assertLessEqual({("finance", "g2p.payment"), ("finance", STATEMENT)}, set(self.dialogues))

    def test_what_a_colleague_has_as_a_bookmark(self):
        """Somebody who is in none of OpenG2P's groups is told so, and sees nothing of the record."""
        self.come_in("colleague")
        payments = self.admin.call("g2p.payment", "search", [("cycle_id", "=", self.sent)], limit=1)
        for model, record in ((STATEMENT, self.compared), ("g2p.payment", payments[0])):
            self.browser.visit(
                f"/web#action={self.admin.ref(FORMS[model])}&id={record}&model={model}&view_type=form"
            )
            self.browser.see(".modal", f"({model}) records")
            self.browser.picture(f"colleague-{model}")
            self.assertFalse(self.browser.sees(".o_form_view"))

    def test_every_filter_and_group_of_our_search_views(self):
        self.come_in("admin")
        filters, failed = self.filters(), []
        for model, items in filters.items():
            failed += self.complaints(self.search_by_each, items, model)
        self.assertEqual(failed, [])
        self.assertGreaterEqual(len(filters), 7, filters)
        self.assertGreaterEqual(len(filters[LINE]), 9)

    def search_by_each(self, items, model):
        self.open_list(model)
        for menu, label in items:
            self.toggle(menu, label, f"{model}: {label}")
        self.browser.picture(f"filters-{model}")

    def filters(self):
        """Of each model that we search: the menu and the words of each filter and group of ours."""
        data = self.admin.call(
            "ir.model.data", "search_read", [("module", "=", OURS), ("model", "=", "ir.ui.view")], ["res_id"]
        )
        views = self.admin.call(
            "ir.ui.view",
            "search_read",
            [("id", "in", [row["res_id"] for row in data]), ("type", "=", "search")],
            ["model", "arch_db"],
        )
        found = {}
        for view in views:
            # Not those of OpenG2P beside which ours are put.
            nodes = etree.fromstring(view["arch_db"]).xpath("//filter[not(@position)]")
            found.setdefault(view["model"], []).extend(self.place(view["model"], node) for node in nodes)
        return found

    def place(self, model, node):
        menu = ".o_group_by_menu" if "group_by" in node.get("context", "") else ".o_filter_menu"
        if node.get("string"):
            return menu, node.get("string")
        date = node.get("date")
        return menu, self.admin.call(model, "fields_get", [date], ["string"])[date]["string"]

    def open_list(self, model):
        """The page on which a model is searched, with nothing searched for, and the menu of its filters."""
        browser = self.browser
        if model == LINE:
            browser.act(self.admin.ref(FORMS[STATEMENT]), self.compared)
            browser.click(".oe_stat_button[name='action_open_lines']", "Lines")
        else:
            known = ("id", "in", list(self.actions("admin")))
            [action] = self.admin.call("ir.actions.act_window", "search", [("res_model", "=", model), known])
            browser.act(action)
        browser.see(".o_searchview_dropdown_toggler")
        self.assert_well(model)

    def toggle(self, menu, label, what):
        """Have the page searched or grouped by something, and by nothing else."""
        browser, item = self.browser, f"__item({json.dumps(menu)}, {json.dumps(label)})"
        while browser.sees(".o_searchview .o_facet_remove"):
            browser.click(".o_searchview .o_facet_remove")
        # The menu may still be closing, as it does when a page is drawn anew.
        browser.press(f"({item} || ({OPEN_MENU}?.click(), null))", what)
        option = f"{item}.closest('.o_accordion')?.querySelector('.o_item_option')"
        if browser.js(f"!!({option})"):
            browser.press(option, what)
        shown = browser.js(
            "[...document.querySelectorAll('.o_searchview_facet')].map((el) => el.textContent.trim())"
        )
        self.assertTrue(any(facet.startswith(label) for facet in shown), (what, shown))
        self.assert_well(what)

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
        self.come_in("finance")
        action = self.admin.ref(f"{OURS}.action_attempt")
        [complaint] = self.complaints(self.visit, action, "broken")
        self.assertIn("gone", complaint)
        # The browser has kept it by then; whoever logs in next sees what there is now.
        time.sleep(1)
        mended.close()
        self.come_in("finance")
        self.assertEqual(self.complaints(self.visit, action, "mended"), [])

    def mend(self, view):
        self.lab.execute(
            "UPDATE ir_ui_view SET arch_db = replace(arch_db::text, '<field name=''gone''/>', '')::jsonb"
            " WHERE id = %s",
            [view],
        )
        # It would complain of a server that is away.
        self.browser.leave()
        self.server.restart()

    def complaints(self, visit, *where):
        """What a visit complains of: a list with one sentence, or none."""
        try:
            visit(*where)
        except (AssertionError, LabError) as error:
            # What it has left open is in nobody's way.
            self.browser.visit("/web")
            self.browser.errors.clear()
            return [f"{where[-1]}: {str(error)[:800]}"]
        return []

    # Where to go

    def known_actions(self):
        """The window actions that are ours, or whose views we extend: names by id."""
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
        return {row["res_id"]: row["name"] for row in data}

    def actions(self, login):
        """Those of them that the user's menus lead to."""
        names = self.known_actions()
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
        domains = {
            "g2p.cycle": [("id", "in", [self.sent, self.waiting, self.live])],
            "g2p.payment.batch": [("cycle_id", "=", self.sent)],
            "g2p.payment": [("cycle_id", "=", self.sent), ("mpesa_state", "=", "doubt")],
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
        browser.act(action)
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
        browser.act(action, record)
        browser.see(".o_form_view")
        browser.picture(name)
        self.assert_well(name)
        self.turn_pages(name)
        if model == STATEMENT:
            self.visit_lines(action, record, name)
        button, text = DIALOGUES.get(model, ("[name='none']", ""))
        # One cycle's is the other's; that with nothing to send is looked at once.
        if (model, record) == ("g2p.cycle", self.sent) and not name.startswith("admin"):
            return
        if browser.sees(f".o_statusbar_buttons button{button}", text):
            browser.click(f".o_statusbar_buttons button{button}", text)
            browser.see(".modal")
            browser.rest()
            browser.picture(f"{name}-dialogue")
            self.assertTrue(browser.sees(".modal .o_form_view"), browser.text(".modal"))
            self.assert_well(f"{name} dialogue")
            self.turn_pages(name)
            self.dialogues.append((name.split("-")[0], model))
            browser.click(".modal-header .btn-close")

    def visit_lines(self, action, record, name):
        """The lines of a statement, the payment that one is about, and back to the form."""
        browser = self.browser
        browser.click(".oe_stat_button[name='action_open_lines']", "Lines")
        browser.see(".o_list_view .o_data_row", "TX")
        browser.picture(f"{name}-lines")
        self.assert_well(f"{name} lines")
        browser.click(".o_list_view .o_data_row .o_data_cell", "TX")
        browser.see(".o_form_view .o_field_widget[name='mpesa_state']")
        self.assert_well(f"{name} payment of a line")
        browser.act(action, record)

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
