"""What people are told at the edges: a hold, another payee than was prepared, another amount or currency."""

from odoo.tests import tagged

from .common import MANAGER, phone
from .test_browser import BrowserCase


@tagged("post_install", "-at_install")
class TestEdges(BrowserCase):
    NAME = "12-edges"

    def test_a_hold_says_until_when_and_why_and_one_click_ends_it(self):
        browser, cycle = self.browser, self.lab.cycle(self.server, 20)
        self.server.prepare(cycle)
        self.lab.set_manager(mpesa_hold_until="2100-01-01 12:00:00", mpesa_hold_reason="unreachable")
        self.log_in("manager")
        for name, show in (("cycle", self.open_cycle), ("batch", self.open_batch)):
            show(cycle)
            browser.see(".alert", "Jobs leave the gateway in peace until")
            browser.see(".alert .o_field_widget[name='mpesa_hold_reason']", "cannot be reached")
            browser.rest()
            browser.picture(f"hold-{name}")
        # Nobody has sent for anything: it asks first.
        browser.click(".alert button[name='action_mpesa_go_on']")
        browser.see(".modal", "Payments: 20")
        browser.click(".modal button[name='action_send']")
        browser.see(".o_form_view", "Done: 20 of 20")
        self.assertEqual(self.lab.states(cycle), {"paid": 20})
        self.open_cycle(cycle)
        browser.see(".o_form_view", "Paid: 20")
        self.assertFalse(browser.sees(".alert button[name='action_mpesa_go_on']"))

    def test_another_payee_than_was_prepared_is_told_before_it_is_paid(self):
        browser, cycle = self.browser, self.lab.cycle(self.server, 4)
        self.server.prepare(cycle)
        mine = [("cycle_id", "=", cycle), ("account_number", "=", phone(2))]
        [payment] = self.admin.call("g2p.payment", "search_read", mine, ["partner_id"])
        person = payment["partner_id"][0]
        self.addCleanup(self.admin.write, "res.partner", person, {"phone": f"+{phone(2)}"})
        self.log_in("manager")
        self.open_cycle(cycle)
        browser.button("send_payment")
        browser.see(".modal", "Payments: 4")
        self.admin.write("res.partner", person, {"phone": f"+{phone(3)}"})
        browser.click(".modal button[name='action_send']")
        browser.see(".modal .alert", "is not what was shown")
        browser.see(".modal .alert", "Payees that have changed since they were prepared: 1")
        browser.see(".modal .alert", "Payees that occur more than once in this cycle: 1")
        browser.rest()
        browser.picture("payee-changed")
        self.assertEqual(self.lab.states(cycle), {"ready": 4})
        browser.click(".modal button[name='action_open_changed']")
        browser.see(".o_list_view .o_data_row")
        browser.rest()
        browser.picture("payees-changed")

    def test_another_amount_than_was_issued_is_settled_as_it_was_paid(self):
        browser, cycle = self.browser, self.sent(4)
        self.lab.let_hours_pass()
        doubt = self.doubt(cycle)["id"]
        self.log_in("finance")
        browser.open("g2p.payment", doubt, self.admin.ref("g2p_programs.action_payment"))
        browser.click("button", "Settle")
        browser.click(".modal .o_field_radio label", "Paid:")
        browser.fill("receipt", "TX90")
        browser.see(".modal .o_field_widget[name='paid_amount']")
        browser.fill("paid_amount", "90")
        browser.rest()
        browser.picture("settle-another-amount")

    def test_another_currency_is_told_where_it_is_set_up_and_where_it_is_sent(self):
        browser, cycle = self.browser, self.lab.cycle(self.server, 3)
        self.server.prepare(cycle)
        usd = self.admin.ref("base.USD")
        self.admin.write("res.currency", usd, {"active": True})
        [before] = self.admin.call(MANAGER, "read", [self.lab.ids["manager"]], ["gateway_currency_id"])
        self.lab.set_manager(gateway_currency_id=usd)
        self.addCleanup(self.lab.set_manager, gateway_currency_id=before["gateway_currency_id"][0])
        self.log_in("manager")
        self.open_cycle(cycle)
        browser.button("send_payment")
        browser.see(".modal .alert", "The program pays in")
        browser.rest()
        browser.picture("currency-send")
        self.log_in("admin")
        browser.open(MANAGER, self.lab.ids["manager"])
        browser.see(".alert", "KES")
        browser.rest()
        browser.picture("currency-manager")
