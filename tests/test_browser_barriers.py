"""What is ours, worked with a keyboard and a screen reader; screenshots: ``.dev/screenshots``."""

from odoo.tests import tagged

from .common import phone
from .test_browser import MANAGER, SERIES, STATEMENT, BrowserCase

OURS = "g2p_payment_simple_mpesa"
FIELDS = ".o_field_widget[name^='mpesa_']"


@tagged("post_install", "-at_install")
class TestBarriers(BrowserCase):
    """What is ours has no barrier that axe-core can find."""

    NAME = "6-barriers"
    maxDiff = None
    # Of Odoo 17.0: the colours of its alerts, which every addon's have, and its dialogue's way to scroll.
    BORROWED = {"17": (("color-contrast", ".alert"), ("scrollable-region-focusable", ".modal-body"))}

    def setUp(self):
        super().setUp()
        self.found = []

    def look_for_barriers(self, *selectors):
        """In each of these, which are to be seen."""
        for selector in selectors:
            self.browser.see(selector)
        self.found += self.browser.barriers(*selectors, borrowed=self.BORROWED.get(SERIES, ()))

    def action(self, name):
        return self.admin.ref(f"{OURS}.{name}")

    def test_what_a_program_manager_uses(self):
        browser = self.browser
        cycle = self.lab.cycle(self.server, 4)
        self.gateway.fault(phone(1), "500-taken")
        self.gateway.fault(phone(2), "refuse")
        self.log_in("manager")
        self.server.prepare(cycle)
        self.open_cycle(cycle)
        browser.button("send_payment")
        browser.see(".modal", "Test mode")
        self.look_for_barriers(".modal .modal-content")
        browser.click(".modal button[name='action_send']")
        browser.see(".o_g2p_mpesa_progress", "3 of 4")
        self.look_for_barriers(".o_g2p_mpesa_progress", ".o_form_view .alert")
        self.open_batch(cycle)
        self.look_for_barriers(".o_g2p_mpesa_progress", ".o_form_view .alert")
        browser.click(".o_notebook .nav-link", "Timeline")
        self.look_for_barriers(".o_field_widget[name='mpesa_timeline']")
        gateway = self.lab.ids["manager"]
        browser.open(MANAGER, gateway, self.action("action_manager"))
        for page in ("Gateway", "Payee", "Limits & speed", "Batches", "History"):
            browser.click(".o_notebook .nav-link", page)
            self.look_for_barriers(".o_form_view .o_form_sheet")
        browser.picture("manager")
        self.assertEqual(self.found, [])

    def test_what_a_finance_officer_uses(self):
        browser = self.browser
        cycle = self.sent()
        self.lab.let_hours_pass()
        self.log_in("finance")
        browser.visit(f"/web#action={self.action('action_statement')}")
        browser.click(".o_list_button_add")
        browser.attach("file", "statement.csv", self.statement(cycle))
        browser.see(".o_field_widget[name='column_ids'] .o_data_row", "Receipt No.")
        self.look_for_barriers(".o_form_view .o_form_sheet")
        statement = self.import_statement(cycle)
        browser.open(STATEMENT, statement, self.action("action_statement"))
        self.look_for_barriers(".o_form_view .o_form_sheet", ".o_form_view .alert")
        browser.picture("statement")
        browser.button("action_settle")
        browser.see(".modal", "from its line of the statement")
        self.look_for_barriers(".modal .modal-content")
        browser.click(".modal-header .btn-close")
        browser.click(".oe_stat_button[name='action_open_lines']", "Lines")
        browser.see(".o_list_view .o_data_row", "TX")
        self.look_for_barriers(".o_list_renderer")
        browser.picture("lines")
        browser.act(self.admin.ref("g2p_programs.action_payment"), self.doubt(cycle)["id"])
        self.look_for_barriers(FIELDS)
        browser.click("button", "Settle")
        browser.see(".modal", "gateway's own records")
        for outcome in ("Paid:", "Not paid"):
            browser.click(".modal .o_field_radio label", outcome)
            self.look_for_barriers(".modal .modal-content")
        browser.picture("settle")
        browser.click(".modal-header .btn-close")
        browser.act(self.action("action_reconciliation"))
        self.look_for_barriers(".modal .modal-content")
        browser.picture("reconcile")
        browser.click(".modal-header .btn-close")
        browser.act(self.action("action_payment_report"))
        self.look_for_barriers(".o_pivot table")
        browser.click(".o_switch_view.o_list")
        self.look_for_barriers(".o_list_renderer")
        browser.picture("analysis")
        browser.act(self.action("action_attempt"))
        self.look_for_barriers(".o_list_renderer")
        browser.picture("journal")
        self.assertEqual(self.found, [])


@tagged("post_install", "-at_install")
class TestKeyboard(BrowserCase):
    """Money is sent, and doubts are settled, without a mouse."""

    NAME = "9-keyboard"
    maxDiff = None

    def assert_reached(self, *expected):
        """Tab comes to all of these in this order, and not out of the dialogue; one sees where it is.

        It goes round: on Odoo 17.0 the buttons below come before what stands above them.
        """
        browser = self.browser
        found = browser.tab_through()
        # The group of radio buttons may be come to by another one of them.
        reached = list(dict.fromkeys(name for name, _seen in found))
        self.assertIn(expected[0], reached)
        first = reached.index(expected[0])
        in_order = [name for name in reached[first:] + reached[:first] if name in expected]
        self.assertEqual(in_order, list(expected), reached)
        self.assertEqual([name for name, seen in found if not seen], [], "no focus to be seen")
        self.assertTrue(browser.js("!!document.activeElement.closest('.modal')"), reached)

    def test_send(self):
        browser = self.browser
        cycle = self.lab.cycle(self.server, 4)
        self.gateway.fault(phone(1), "refuse")
        self.lab.set_manager(mode="live", confirm_above=0)
        self.server.restart()
        self.server.prepare(cycle)
        self.log_in("manager")
        self.open_cycle(cycle)
        browser.button("send_payment")
        browser.see(".modal", "this moves real money")
        browser.key("Escape")
        browser.wait("!__find('.modal')", "Escape closes the dialogue")
        browser.button("send_payment")
        browser.see(".modal", "this moves real money")
        self.assert_reached("typed_amount", "Send Nothing", "action_send")
        browser.picture("send")
        browser.tab_to("action_send")
        browser.key("Enter")
        browser.see(".modal", "this moves real money")
        self.assertEqual(self.gateway.ledger()["count"], 0)
        browser.tab_to("typed_amount")
        browser.type("400")
        browser.tab_to("action_send")
        browser.key("Enter")
        browser.see(".o_g2p_mpesa_progress", "4 of 4")
        self.assertEqual(self.lab.states(cycle), {"paid": 3, "refused": 1})

    def test_settle(self):
        browser = self.browser
        cycle = self.sent()
        self.lab.let_hours_pass()
        self.log_in("finance")
        browser.open("g2p.payment", self.doubt(cycle)["id"], self.admin.ref("g2p_programs.action_payment"))
        browser.click("button", "Settle")
        browser.see(".modal", "gateway's own records")
        browser.key("Escape")
        browser.wait("!__find('.modal')", "Escape closes the dialogue")
        browser.click("button", "Settle")
        browser.see(".modal", "gateway's own records")
        browser.tab_to("outcome")
        browser.key("Space")
        browser.see(".modal .o_field_widget[name='receipt']")
        self.assert_reached("outcome", "receipt", "paid_on", "reason", "Cancel", "action_settle")
        browser.picture("settle-paid")
        browser.tab_to("outcome")
        browser.key("ArrowDown")
        browser.see(".modal .alert", "goes out a second time")
        self.assert_reached("outcome", "reason", "Cancel", "action_settle")
        browser.picture("settle-not-paid")
        browser.tab_to("reason")
        browser.type("Not on the statement of today")
        browser.tab_to("action_settle")
        browser.key("Enter")
        browser.wait("!__find('.modal')", "it is settled")
        self.assertEqual(self.lab.states(cycle), {"paid": 3, "refused": 1})
