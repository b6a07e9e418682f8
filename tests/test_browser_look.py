"""What people see can be read, and no key moves money by itself; screenshots: ``.dev/screenshots``."""

import json

from odoo.tests import tagged

from .test_browser import MANAGER, BrowserCase

OURS = "g2p_payment_simple_mpesa"
LONG_NAME = "Jacinta Nyambura Wanjiku Kariuki-Mwangi, Coast Region"
PARTS = ".o_form_sheet .o_g2p_mpesa_part"
# Of what stands in the cells and headings of lists: what is cut, and words that are broken in the middle.
UNREADABLE = """((selector) => {
    const found = [];
    const content = (el) => {
        const box = el.getBoundingClientRect(), style = getComputedStyle(el);
        return [box.left + parseFloat(style.paddingLeft), box.right - parseFloat(style.paddingRight)];
    };
    for (const cell of [...document.querySelectorAll(selector)].filter(__seen)) {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        for (let text = texts.nextNode(); text; text = texts.nextNode()) {
            const range = document.createRange();
            range.selectNodeContents(text);
            const box = range.getBoundingClientRect();
            for (let el = text.parentElement; box.width; el = el.parentElement) {
                const [left, right] = content(el);
                const cuts = el === cell || getComputedStyle(el).overflowX !== "visible";
                if (cuts && getComputedStyle(el).display !== "inline" &&
                        (box.left < left - 0.03 || box.right > right + 0.03)) {
                    found.push(`cut: ${text.data.trim()}`);
                    break;
                }
                if (el === cell) break;
            }
            for (const word of text.data.matchAll(/\\S+/g)) {
                range.setStart(text, word.index);
                range.setEnd(text, word.index + word[0].length);
                const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
                if (lines.size > 1 && !/[-/]/.test(word[0])) found.push(`broken: ${word[0]}`);
            }
        }
    }
    return [...new Set(found)];
})"""


@tagged("post_install", "-at_install")
class TestLook(BrowserCase):
    """Lists and dialogues, at the width of a small laptop, with long names."""

    NAME = "10-look"
    maxDiff = None

    def setUp(self):
        super().setUp()
        for login in ("manager", "finance"):
            [user] = self.admin.call("res.users", "search", [("login", "=", login)])
            self.admin.write("res.users", user, {"name": LONG_NAME})
        self.browser.size(1366, 900)

    def action(self, name):
        return self.admin.ref(f"{OURS}.{name}")

    def assert_readable(self, table, name):
        """All headings and cells of a list."""
        self.browser.see(f"{table} .o_data_row")
        self.browser.picture(name)
        cells = f"{table} thead th, {table} .o_data_row td, {table} tfoot td"
        self.assertEqual(self.browser.js(f"{UNREADABLE}({json.dumps(cells)})"), [], name)

    def test_amounts_of_payments_have_a_currency_and_a_sum(self):
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.log_in("manager")
        self.open_batch(cycle)
        browser.click(".oe_stat_button", "Paid")
        browser.see(".o_list_view .o_data_row")
        for amount in ("amount_issued", "amount_paid"):
            cells = browser.js(
                f"[...document.querySelectorAll('.o_data_row td[name={amount}]')].map((td) => td.innerText)"
            )
            self.assertEqual([" ".join(cell.split()) for cell in cells], ["100.00 KSh"] * 4)
        sums = " ".join(browser.text(".o_list_view tfoot").split())
        self.assertEqual(sums, "400.00 KSh 400.00 KSh")
        self.assert_readable(".o_list_view", "payments")

    def test_the_journal_can_be_read(self):
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.log_in("manager")
        browser.open("g2p.payment", self.doubt(cycle)["id"], self.admin.ref("g2p_programs.action_payment"))
        self.assert_readable(".o_field_widget[name='mpesa_attempt_ids']", "payment")
        browser.open(MANAGER, self.lab.ids["manager"], self.action("action_manager"))
        browser.click(".o_notebook .nav-link", "History")
        self.assert_readable(".o_field_widget[name='recent_attempt_ids']", "history")
        browser.open("g2p.payment.mpesa.attempt", action=self.action("action_attempt"))
        self.assert_readable(".o_list_view", "journal")
        self.assertIn("KSh", browser.text(".o_list_view tfoot"))
        logins = browser.js(
            "[...document.querySelectorAll('.o_data_row')].filter((row) => row.innerText.includes('Login'))"
            ".map((row) => row.querySelector('td[name=amount]').innerText.trim())"
        )
        self.assertEqual(set(logins), {""})

    def test_batches_can_be_read(self):
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.log_in("manager")
        browser.open("g2p.payment.batch", action=self.admin.ref("g2p_programs.action_payment_batch"))
        self.assert_readable(".o_list_view", "batches")
        self.open_cycle(cycle)
        browser.click(".o_notebook .nav-link", "Payment Batches")
        self.assert_readable(".o_field_widget[name='payment_batch_ids']", "cycle")

    def test_what_is_settled_can_be_read(self):
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.lab.let_hours_pass()
        self.log_in("finance")
        browser.open("g2p.payment", self.doubt(cycle)["id"], self.admin.ref("g2p_programs.action_payment"))
        browser.click("button", "Settle")
        self.assert_readable(".modal .o_field_widget[name='payment_ids']", "settle")
        self.show_column("payment_ids", "Reason")
        self.assert_readable(".modal .o_field_widget[name='payment_ids']", "settle-reason")
        browser.click(".modal .o_notebook .nav-link", "What was tried")
        self.assert_readable(".modal .o_field_widget[name='attempt_ids']", "settle-tried")

    def show_column(self, field, heading):
        browser = self.browser
        browser.click(f".modal .o_field_widget[name='{field}'] .o_optional_columns_dropdown button")
        browser.click(".o-dropdown--menu .dropdown-item, .dropdown-menu .dropdown-item", heading)
        browser.see(f".modal .o_field_widget[name='{field}'] thead th", heading)

    def test_each_outcome_is_one_click_away(self):
        """On OpenG2P's own cycle, too, which has many buttons above."""
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.log_in("manager")
        for width, height in ((1366, 900), (390, 844)):
            browser.size(width, height)
            for part, payments in (("Paid", 4), ("Refused", 1), ("In doubt", 1)):
                self.open_cycle(cycle)
                self.assertFalse(browser.sees(".o_button_more", "More") and width > 767)
                browser.see(PARTS, part)
                browser.picture(f"cycle-{width}-{part.split()[0].lower()}")
                self.assert_high_enough(width)
                browser.click(PARTS, part)
                browser.see(".o_list_view .o_data_row, .o_kanban_view .o_kanban_record")
                # The cycle's page has a list of its own, and goes away later.
                rows = f"document.querySelectorAll('.o_data_row').length === {payments}"
                browser.wait(f"!__find('.o_form_view') && {rows}", f"{part}: {payments}")
        browser.size(1366, 900)

    def assert_high_enough(self, width):
        """On a telephone, for a finger."""
        if width > 767:
            return
        heights = self.browser.js(
            f"[...document.querySelectorAll({PARTS!r})].map((el) => el.getBoundingClientRect().height)"
        )
        self.assertGreaterEqual(min(heights), 30)

    def test_no_key_sends_by_itself(self):
        browser = self.browser
        cycle = self.lab.cycle(self.server, 4)
        self.server.prepare(cycle)
        self.log_in("manager")
        for key in ("Enter", "Space", "Control+Enter", "Alt+q"):
            self.open_cycle(cycle)
            browser.js("document.querySelector('button[name=send_payment]').focus()")
            browser.key("Enter")
            browser.see(".modal button[name='action_send']")
            browser.wait("__name(document.activeElement) === 'Send Nothing'", "the focus is where it is calm")
            browser.picture(f"send-{key.lower()}")
            browser.key(key)
            self.assertFalse(browser.sees(".o_notification", "sent now"))
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assertEqual(self.lab.states(cycle), {"ready": 4})

    def test_no_key_settles_by_itself(self):
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.lab.let_hours_pass()
        self.log_in("finance")
        for key in ("Enter", "Control+Enter"):
            browser.open(
                "g2p.payment", self.doubt(cycle)["id"], self.admin.ref("g2p_programs.action_payment")
            )
            browser.click("button", "Settle")
            browser.see(".modal", "gateway's own records")
            browser.tab_to("outcome")
            browser.key("Space")
            browser.key("ArrowDown")
            browser.see(".modal .alert", "goes out a second time")
            browser.tab_to("reason")
            browser.type("Not on the statement of today")
            browser.key(key)
        self.assertEqual(self.lab.states(cycle), {"doubt": 1, "paid": 4, "refused": 1})
