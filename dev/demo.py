"""Pays a cycle on a real Odoo through the sandbox gateway, and proves it. `dev/demo` starts this."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import demo_program
import demo_report
from demo_program import DemoError
from demo_rpc import RpcError, Session
from demo_screen import Screen
from demo_server import OdooServer, ServerError
from sandbox.client import SandboxError, SandboxProcess

PASSWORD = "demo"
SEND_DIALOGUE = "g2p.payment.mpesa.send.wizard"
CRON = "g2p_payment_simple_mpesa.cron_refresh"
JOBS = ("channel", "=", "root.mpesa")
OPEN_JOB = ("state", "in", ["wait_dependencies", "pending", "enqueued", "started"])
# Nothing happens for so long: then nothing will.
PATIENCE = 90
SETTLED_ENOUGH = ("paid", "refused", "ready")


def main():
    """Give the exit status: 0 if ledger and database agree."""
    args = _arguments()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return Run(args).run()
    except RpcError as ex:
        print(f"demo: Odoo says: {ex} (its log is {_log()})", file=sys.stderr)
    except (DemoError, SandboxError, ServerError) as ex:
        print(f"demo: {ex}", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return 1


def _arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--profile", choices=("full", "bare"), required=True)
    parser.add_argument("--serve", action="store_true")
    return parser.parse_args()


def _terminate(signum, frame):
    raise KeyboardInterrupt


def _log():
    return Path(os.environ["G2P_DEV_DIR"]) / "log" / "demo.log"


class Run:
    """One run of the demo, from its people to its table."""

    def __init__(self, args):
        self.args = args
        self.asked = args.profile == "full"
        self.screen = Screen()
        self.people = demo_program.make_people(args.people)

    def run(self):
        """Do all of it; give the exit status."""
        money = int(sum(person.amount for person in self.people))
        gateway = SandboxProcess("--float", money + 1_000_000, profile=self.args.profile)
        server = OdooServer(self.args.database, self.args.port, _log())
        try:
            with self.screen.step("Sandbox gateway"):
                gateway.start()
                demo_program.order_faults(gateway)
            with self.screen.step("Odoo server"):
                server.start()
            self.server, self.gateway = server, gateway
            self._enter()
            self._pay()
            agrees = self._report()
            if self.args.serve:
                self._serve()
            return 0 if agrees else 1
        finally:
            server.stop()
            gateway.stop()

    # -- what people do ------------------------------------------------------------------------------------

    def _log_in(self, login, password):
        return Session(self.server.url, self.args.database, login, password)

    def _enter(self):
        with self.screen.step(f"A program of {len(self.people):,} people, its gateway and its users"):
            self.admin = self._log_in("admin", "admin")
            self.demo = demo_program.enter_program(self.admin, self.gateway, self.asked)
            demo_program.enter_users(self.admin, PASSWORD)
            demo_program.enter_people(self.admin, self.demo, self.people, self.screen.progress)
            self.manager = self._log_in("manager", PASSWORD)

    def _pay(self):
        notified = []
        with self.screen.step("Prepare Payments, clicked by the program manager"):
            notified.append(self._click("prepare_payment"))
            self._wait(lambda: f"{self._count():,} payments prepared")
        with self.screen.step("Send Payments, clicked by the program manager"):
            notified.append(self._click("send_payment"))
            self._wait(self._how_far)
        self.after_send = demo_report.read_payments(self.admin, self.demo.cycle)
        if self.asked:
            with self.screen.step("The scheduled job asks the gateway how they stand"):
                self._ask_gateway()
        print("", *(f"  > {line}" for message in notified for line in message.splitlines()), sep="\n")

    def _click(self, button):
        """Click on the cycle's form; give what the notification says.

        :raise DemoError: it says that nothing was done, or asks something.
        """
        action = self.manager.click("g2p.cycle", button, self.demo.cycle) or {}
        if action.get("res_model") == SEND_DIALOGUE:
            action = self.manager.click(SEND_DIALOGUE, "action_send", action["res_id"])
        if action.get("type") == "ir.actions.act_window":
            raise DemoError(f"{button} asks something first: {action.get('name')}")
        params = action.get("params", {})
        if params.get("type") == "danger":
            raise DemoError(f"{button} says: {params.get('message')}")
        return params.get("message", "")

    def _ask_gateway(self):
        """Trigger the scheduled job until it has nothing more to settle: one run asks for so many."""
        cron = self.admin.ref(CRON)
        while left := self._count(("mpesa_state", "not in", SETTLED_ENOUGH)):
            self._trigger(cron)
            now_left = self._count(("mpesa_state", "not in", SETTLED_ENOUGH))
            self.screen.progress(f"{now_left:,} to be settled")
            if now_left >= left:
                return

    def _trigger(self, cron):
        """Run the scheduled job now; the scheduler itself may be running it."""
        for _attempt in range(20):
            try:
                self.admin.call("ir.cron", "method_direct_trigger", [cron])
                return
            except RpcError as ex:
                if "execut" not in str(ex):
                    raise
                time.sleep(0.5)
        raise DemoError("The scheduled job is busy, and does not come to an end.")

    # -- jobs ----------------------------------------------------------------------------------------------

    def _count(self, *domain):
        return self.admin.count("g2p.payment", ("cycle_id", "=", self.demo.cycle), *domain)

    def _how_far(self):
        waiting = self._count(("mpesa_state", "=", "ready"), ("mpesa_reason", "=", False))
        sending = self._count(("mpesa_state", "=", "sending"))
        return f"{len(self.people) - waiting - sending:,} of {len(self.people):,}, {sending} being sent"

    def _wait(self, how_far):
        """Wait for the jobs that a click has queued.

        :raise DemoError: a job has failed, or nothing moves any more.
        """
        seen, since = "", time.monotonic()
        while self.admin.count("queue.job", JOBS, OPEN_JOB):
            text = how_far()
            if text != seen:
                seen, since = text, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise DemoError(f"the jobs stand still at: {seen}; Odoo's log is {self.server.log}")
            self.screen.progress(text)
            time.sleep(0.5)
        failed = self.admin.call(
            "queue.job", "search_read", [JOBS, ("state", "=", "failed")], ["name", "exc_message"], limit=1
        )
        if failed:
            raise DemoError(f"the job {failed[0]['name']} failed: {failed[0]['exc_message']}")

    # -- what came of it -----------------------------------------------------------------------------------

    def _report(self):
        """Print it; give whether ledger and database agree."""
        now = demo_report.read_payments(self.admin, self.demo.cycle)
        if len(now) != len(self.people):
            raise DemoError(f"there are {len(now):,} payments for {len(self.people):,} people")
        words = demo_report.Words(self.admin)
        lines = demo_report.people_table(self.demo.people, self.after_send, now, words)
        sums, agrees = demo_report.agreement(now, self.gateway.ledger(), words)
        print("", *lines, "", *sums, "", sep="\n", flush=True)
        return agrees

    def _serve(self):
        url = self.server.url
        action = self.admin.ref("g2p_programs.action_cycle")
        menu = self.admin.ref("g2p_programs.g2p_program_menu_root")
        cycle = f"action={action}&model=g2p.cycle&view_type=form&id={self.demo.cycle}&menu_id={menu}"
        print(
            f"The cycle       {url}/web#{cycle}",
            f"Program manager manager / {PASSWORD}",
            f"Finance         finance / {PASSWORD}",
            "Administrator   admin / admin",
            f"The gateway     {self.gateway.url}",
            f"Odoo's log      {self.server.log}",
            "",
            "Ctrl-C ends it; servers and database are gone then.",
            sep="\n",
            flush=True,
        )
        while self.server.running:
            time.sleep(0.5)
        raise ServerError(f"Odoo has ended: {self.server.complaint()}")


if __name__ == "__main__":
    sys.exit(main())
