"""What a finance officer sees and clicks, in headless Chromium; screenshots: ``.dev/screenshots``."""

import io
import shutil
import tempfile
from pathlib import Path

try:
    from pypdf import PdfReader
except ImportError:
    # Of Odoo 17.0.
    from PyPDF2 import PdfReader

from odoo.tests import tagged

from .browser import SCREENSHOTS
from .harness import LabError, wait_until
from .test_browser import SERIES, BrowserCase

SIGNOFF = "g2p_payment_simple_mpesa.signoff"


@tagged("post_install", "-at_install")
class TestFinance(BrowserCase):
    """Somebody of the finance group compares a statement, settles by it, exports and prints."""

    NAME = "5-finance"

    def test_a_statement_with_a_double_payment(self):
        browser = self.browser
        cycle = self.sent(5)
        self.log_in("finance")
        browser.open("g2p.payment.mpesa.statement", action=self.action("action_statement"))
        [program] = self.admin.call("g2p.program", "read", [self.lab.ids["program"]], ["name"])
        [kes] = self.admin.call("res.currency", "search_read", [("name", "=", "KES")], ["symbol"])
        given = {"program": program["name"], "statement": self.statement(cycle), "currency": kes["symbol"]}
        browser.tour("g2p_mpesa_statement", given)
        self.assertEqual(self.lab.states(cycle), {"paid": 5})
        browser.size(1280, 800)
        for model, action in (
            ("g2p.payment.mpesa.statement", "action_statement"),
            ("g2p.payment.mpesa.attempt", "action_attempt"),
        ):
            browser.open(model, action=self.action(action))
            browser.see(".o_list_view .o_data_row")
            browser.picture(f"{action}-list")
            self.assertEqual(self.cut(), [], action)
        browser.size(1366, 900)

    def cut(self):
        """Headings, payees and outcomes of a list that are not to be read to their end."""
        cells = ".o_list_table thead th *, .o_data_row [name='payee'], .o_data_row [name='outcome']"
        return self.browser.js(
            f'[...document.querySelectorAll("{cells}")].filter((el) => __seen(el) && el.textContent.trim()'
            " && el.scrollWidth > el.clientWidth + 1 && getComputedStyle(el).overflowX !== 'visible')"
            ".map((el) => el.textContent.trim())"
        )

    def action(self, name):
        return self.admin.ref(f"g2p_payment_simple_mpesa.{name}")

    def test_the_sign_off_as_it_is_printed(self):
        if not shutil.which("wkhtmltopdf"):
            raise LabError("There is no wkhtmltopdf: dev/test installs it.")
        cycle = self.sent(6, refused=[2])
        self.log_in("finance")
        self.browser.visit(f"/web#action={self.action('action_reconciliation')}")
        content = self.browser.fetch(f"/report/pdf/{SIGNOFF}/{cycle}")
        self.assertEqual(content[:5], b"%PDF-")
        (SCREENSHOTS / f"sign-off-{SERIES}.pdf").write_bytes(content)
        pages = PdfReader(io.BytesIO(content)).pages
        # Of so small a cycle the signatures are not on a page of their own.
        self.assertEqual(len(pages), 1)
        [page] = pages
        [name] = self.admin.call("g2p.cycle", "read", [cycle], ["name"])
        text = " ".join(page.extract_text().split())
        if not text:
            # Debian's draws each letter as a shape; an empty page has none.
            self.assertGreater(page.get_contents().get_data().count(b" c\n"), 5000)
            self.browser.visit(f"/report/html/{SIGNOFF}/{cycle}")
            text = " ".join(self.browser.text().split())
        for words in (
            "Sign-off: payments by M-Pesa",
            "TEST Sent in test mode: 6.",
            "(127.0.0.1), Test",
            "Printed by",
            f"{name['name']} / Everybody / 1",
            "Paid 4 400.00",
            "In doubt 1 100.00",
            "All 6 600.00",
            "Payments that are not closed: 1",
            "In doubt The gateway had an error of its own 1 100.00",
            "Person 1 In doubt",
            "Prepared by, date",
        ):
            self.assertIn(words, text)
        self.assertNotIn("2547", text)

    def test_what_is_counted_exported_and_signed(self):
        browser = self.browser
        cycle = self.sent(6, refused=[2])
        self.log_in("finance")
        for name, seen in (
            ("action_payment_report", ".o_pivot table"),
            ("action_attempt_report", ".o_graph_renderer canvas"),
        ):
            browser.visit(f"/web#action={self.action(name)}")
            browser.see(seen)
            browser.rest()
            browser.picture(name)
        browser.visit(f"/web#action={self.action('action_reconciliation')}")
        browser.see(".modal", "Not sent")
        browser.see(".modal button[name='action_export_csv']")
        browser.picture("reconcile")
        text = browser.js(f"fetch('/g2p_mpesa/reconciliation/{cycle}/csv').then((answer) => answer.text())")
        self.assertEqual(len(text.strip().splitlines()), 7)
        browser.visit(f"/report/html/{SIGNOFF}/{cycle}")
        browser.see("body", "Sign-off")
        browser.see("body", "Payments that are not closed: 1")
        browser.picture("sign-off")

    def test_what_was_sent_in_test_mode_stays_a_test(self):
        """Though the gateway is live by now."""
        browser, cycle = self.browser, self.sent(6, refused=[2])
        self.lab.set_manager(mode="live")
        self.log_in("finance")
        self.open_cycle(cycle)
        browser.see(".alert-danger", "Sent in test mode: 6.")
        browser.picture("sent-in-test-mode")
        browser.click(".alert-danger button[name='action_mpesa_show']")
        browser.see(".o_list_view .o_data_row", "Refused")
        browser.click(".o_list_view .o_data_row .o_data_cell", "Paid")
        browser.see(".o_form_view .o_field_widget[name='mpesa_mode']", "Test")
        browser.picture("payment-sent-in-test-mode")
        browser.visit(f"/web#action={self.action('action_reconciliation')}")
        browser.see(".modal .alert", "Sent in test mode: 6.")
        browser.picture("reconcile-test-mode")
        browser.visit(f"/report/html/{SIGNOFF}/{cycle}")
        browser.see("body", "Sent in test mode: 6.")
        browser.picture("sign-off-test-mode")

    def test_the_dialogue_comes_again_if_the_mode_was_changed(self):
        browser, cycle = self.browser, self.lab.cycle(self.server, 3)
        self.server.prepare(cycle)
        self.log_in("manager")
        self.open_cycle(cycle)
        browser.button("send_payment")
        browser.see(".modal", "Test mode.")
        self.lab.set_manager(mode="live")
        browser.click(".modal button[name='action_send']")
        browser.see(".modal .alert", "has been changed since this was opened")
        browser.see(".modal .ribbon", "LIVE")
        browser.see(".modal .o_field_widget[name='typed_amount']")
        browser.rest()
        browser.picture("mode-changed")
        self.assertEqual(self.lab.states(cycle), {"ready": 3})

    def test_who_cannot_be_paid_as_a_file(self):
        """From the dialogue of Send, which stays open."""
        browser = self.browser
        cycle = self.lab.cycle(self.server, 3, amount=100.5)
        self.server.prepare(cycle)
        folder = tempfile.mkdtemp(prefix="downloads-")
        self.addCleanup(shutil.rmtree, folder)
        browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=folder)
        self.log_in("manager")
        self.open_cycle(cycle)
        browser.button("send_payment")
        browser.see(".modal", "Cannot be paid, and stay ready: 3")
        browser.picture("export-held")
        browser.click(".modal button[name='action_export_held']")
        [path] = wait_until(lambda: list(Path(folder).glob("*.csv")), "the file is there")
        self.assertIn("Cannot Be Paid", path.name)
        self.assertEqual(len(path.read_text(encoding="utf-8-sig").splitlines()), 4)
        self.assertTrue(browser.sees(".modal", "Cannot be paid"))
