"""Walks through one cycle as program manager and as finance officer, and keeps pictures. `dev/screenshots`
starts this."""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
import urllib.parse
from pathlib import Path

from PIL import Image

DEV = Path(__file__).resolve().parent
sys.path.append(str(DEV.parent / "tests"))

import demo_program  # noqa: E402
from browser import Browser  # noqa: E402
from demo import PASSWORD  # noqa: E402
from demo_rpc import RpcError, Session  # noqa: E402
from demo_screen import Screen  # noqa: E402
from demo_server import OdooServer, ServerError  # noqa: E402
from harness import LabError, wait_until  # noqa: E402
from sandbox.client import SandboxError, SandboxProcess  # noqa: E402

MANAGER = demo_program.MANAGER
OURS = "g2p_payment_simple_mpesa"
# More than a handful, so that jobs send them while somebody looks on.
PEOPLE = 60
# Beside those of the demo: no answer, though the money has moved; and two people with one telephone.
NO_ANSWER, SHARES, SHARED = 33, 41, 42
# Milliseconds of the gateway, slow enough for a picture under way.
LATENCY = 250
WIDE, NARROW, PAGE = (1280, 800), (390, 844), (1280, 1400)
COLOURS, MOST_BYTES = 128, 120_000
HEAD = "Receipt No.,Completion Time,Transaction Status,Withdrawn,Other Party Info"


def main():
    """Give the exit status."""
    args = _arguments()
    try:
        Walk(args).run()
    except (RpcError, LabError, SandboxError, ServerError) as ex:
        print(f"screenshots: {ex}", file=sys.stderr)
        return 1
    return 0


def _arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--lang", default="en_US")
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    if args.lang != "en_US" and not args.to:
        parser.error("--lang needs --to: the guides are in English")
    args.to = (args.to or DEV.parent / "static" / "description").resolve()
    return args


class Walk:
    """One cycle from the gateway's set-up to the sign-off. Each step is found by names, in any language."""

    def __init__(self, args):
        self.args = args
        self.screen = Screen()
        args.to.mkdir(parents=True, exist_ok=True)

    def run(self):
        """Do all of it."""
        log = Path(os.environ["G2P_DEV_DIR"]) / "log" / "screenshots.log"
        gateway = SandboxProcess("--float", 1_000_000)
        server = OdooServer(self.args.database, 0, log)
        with self.screen.step("Sandbox gateway and Odoo server"):
            gateway.start()
            server.start()
        try:
            self.gateway, self.url = gateway, server.url
            with self.screen.step(f"A program of {PEOPLE} people"):
                self.enter()
            with Browser(self.url, "guides") as self.browser, self.screen.step("Pictures"):
                self.browser.size(*WIDE)
                self.as_program_manager()
                self.as_finance_officer()
        finally:
            server.stop()
            gateway.stop()

    # What there is before

    def enter(self):
        """The demo's program at a gateway that cannot be asked, so that there is something to settle."""
        people = demo_program.make_people(PEOPLE)
        people[SHARES - 1] = dataclasses.replace(people[SHARES - 1], phones=people[SHARED - 1].phones)
        demo_program.order_faults(self.gateway)
        self.gateway.fault(demo_program.msisdn(NO_ANSWER), "500-taken")
        self.gateway.settings(latency_ms=LATENCY)
        self.admin = admin = Session(self.url, self.args.database, "admin", "admin")
        self.demo = demo_program.enter_program(admin, self.gateway, asked=False)
        demo_program.enter_users(admin, PASSWORD)
        demo_program.enter_people(admin, self.demo, people, self.screen.progress)
        self.speak(self.args.lang)

    def speak(self, code):
        """Have the people use the web client in a language."""
        if code == "en_US":
            return
        admin = self.admin
        [lang] = admin.call("res.lang", "search", [("code", "=", code), ("active", "in", [True, False])])
        wizard = admin.create("base.language.install", {"lang_ids": [(6, 0, [lang])], "overwrite": True})
        admin.call("base.language.install", "lang_install", [wizard])
        for user in admin.call("res.users", "search", [("login", "in", ["manager", "finance"])]):
            admin.write("res.users", user, {"lang": code})

    # The pictures

    def keep(self, name):
        """A picture of the page as it is."""
        self.browser.rest()
        path = self.args.to / f"{name}.png"
        shutil.move(self.browser.picture(name), path)
        shrink(path)
        self.screen.progress(path.name)

    def log_in(self, login):
        self.browser.log_in(self.args.database, login, PASSWORD)

    def ref(self, name):
        return self.admin.ref(f"{OURS}.{name}")

    def count(self, *domain):
        return self.admin.count("g2p.payment", ("cycle_id", "=", self.demo.cycle), *domain)

    # The program manager

    def as_program_manager(self):
        """Test the gateway, prepare, look, send, and see what is left to do."""
        self.log_in("manager")
        self.test_the_gateway()
        self.prepare()
        self.look_and_send()
        self.see_it_through()

    def test_the_gateway(self):
        browser = self.browser
        [manager] = self.admin.call(MANAGER, "search", [])
        browser.open(MANAGER, manager, self.ref("action_manager"))
        browser.button("action_test_connection")
        browser.see(".o_notification")
        self.keep("gateway")

    def open_cycle(self):
        self.browser.open("g2p.cycle", self.demo.cycle, self.admin.ref("g2p_programs.action_cycle"))

    def open_batch(self):
        [batch] = self.admin.call("g2p.payment.batch", "search", [("cycle_id", "=", self.demo.cycle)])
        self.browser.open("g2p.payment.batch", batch, self.admin.ref("g2p_programs.action_payment_batch"))

    def prepare(self):
        self.open_cycle()
        self.browser.button("prepare_payment")
        self.browser.see(".o_notification")
        self.keep("prepared")
        self.browser.dismiss()

    def look_and_send(self):
        browser = self.browser
        browser.button("send_payment")
        browser.see(".modal button[name='action_send']")
        self.keep("send")
        browser.click(".modal .o_field_widget[name='held_ids'] button[name='action_open']")
        browser.see(".o_list_view .o_data_row")
        self.keep("cannot-be-paid")
        self.open_cycle()
        browser.button("send_payment")
        browser.click(".modal button[name='action_send']")
        browser.wait("!__find('.modal')", "the dialogue is closed")

    def see_it_through(self):
        self.open_batch()
        wait_until(lambda: self.count(("mpesa_state", "=", "paid")) >= PEOPLE // 3, "a third is paid")
        self.keep("progress")
        ended = [("mpesa_reason", "=", False), ("mpesa_state", "in", ["ready", "sending"])]
        wait_until(lambda: not self.count(*ended), "all are sent")
        time.sleep(2)
        self.open_batch()
        self.keep("batch")
        self.browser.size(*NARROW)
        self.open_batch()
        self.keep("batch-phone")
        self.browser.size(*WIDE)
        self.open_cycle()
        self.keep("cycle")

    # The finance officer

    def as_finance_officer(self):
        """Settle a doubt by hand and one by the statement, see who was paid twice, and sign off."""
        self.log_in("finance")
        self.settle_by_hand()
        self.compare_a_statement()
        self.sign_off()
        self.count_by_outcome()

    def entries(self):
        """The gateway's ledger, which its statement shows."""
        return self.gateway.ledger()["entries"]

    def settle_by_hand(self):
        browser = self.browser
        [entry] = [line for line in self.entries() if line["payee"] == demo_program.msisdn(NO_ANSWER)]
        self.open_batch()
        browser.click(".alert button[name='action_mpesa_show']")
        browser.see(".o_list_view .o_data_row")
        self.keep("doubts")
        [person] = [person for person in self.demo.people.values() if person.number == NO_ANSWER]
        browser.click(".o_data_row .o_data_cell", person.name)
        browser.click(f".o_form_view button[name='{self.ref('action_settle')}']")
        browser.click(".modal .o_field_widget[name='outcome'] input[data-value='paid']")
        browser.fill("receipt", entry["transaction_id"])
        browser.fill("reason", "Seen on the statement of today")
        browser.moment("paid_on", entry["at"])
        self.keep("settle")
        browser.click(".modal button[name='action_settle']")
        browser.wait("!__find('.modal')", "it is settled")

    def statement(self):
        """As the operator writes it, without our reference; somebody was paid a second time, not by us."""
        entries = self.entries()
        twice = dict(entries[5], transaction_id="TX9F03K7Q2")
        lines = [HEAD]
        for entry in [*entries, twice]:
            amount = f"-{entry['amount']:.2f}"
            cells = entry["transaction_id"], entry["at"], "Completed", amount, entry["payee"]
            lines.append(",".join(cells))
        return "\n".join(lines)

    def compare_a_statement(self):
        browser = self.browser
        browser.open("g2p.payment.mpesa.statement", action=self.ref("action_statement"))
        browser.click(".o_list_button_add")
        browser.see(".o_form_view")
        browser.choose("program_id", "Cash transfers")
        browser.attach("file", "statement.csv", self.statement())
        browser.see(".o_field_widget[name='column_ids'] .o_data_row")
        self.keep("statement-columns")
        browser.button("action_compare")
        browser.see(".alert-danger button[name='action_open_lines']")
        self.keep("statement")
        browser.click(".alert-danger button[name='action_open_lines']")
        browser.see(".o_list_view .o_data_row")
        self.keep("paid-twice")
        browser.js("history.back()")
        browser.see(".o_form_view button[name='action_settle']")
        browser.rest()
        browser.button("action_settle")
        browser.see(".modal button[name='action_settle']")
        self.keep("settle-by-statement")
        browser.click(".modal button[name='action_settle']")
        browser.wait("!__find('.modal')", "it is settled")

    def sign_off(self):
        browser = self.browser
        browser.visit(f"/web#action={self.ref('action_reconciliation')}")
        browser.see(".modal button[name='action_print_signoff']")
        self.keep("reconcile")
        # The web client says in which language a report is asked for.
        context = urllib.parse.quote(json.dumps({"lang": self.args.lang}))
        browser.visit(f"/report/html/{OURS}.signoff/{self.demo.cycle}?context={context}")
        browser.see("table")
        browser.size(*PAGE)
        self.keep("sign-off")
        browser.size(*WIDE)

    def count_by_outcome(self):
        self.browser.visit(f"/web#action={self.ref('action_payment_report')}")
        self.browser.see(".o_pivot table")
        self.keep("figures")


def shrink(path):
    """Write a picture with few colours, so that it is small enough to be kept with the source.

    :raise LabError: it is too large all the same.
    """
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise LabError(f"{path.name} has {size} bytes, more than {MOST_BYTES}")


if __name__ == "__main__":
    sys.exit(main())
