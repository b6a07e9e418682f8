"""Steps of the walk that touch what the addon does not own: a clock, a database that goes back, an address.

Each is a method of :class:`Edges`, which :class:`chaos.Walk` takes in.
"""

import contextlib
import http.server
import json
import threading
import time
import urllib.parse
from collections import Counter

try:
    from .harness import GONE, load_dev
except ImportError:
    from harness import GONE, load_dev

MANAGER = "g2p.program.payment.manager.mpesa"
# What somebody who requeues jobs by hand can find.
REQUEUED = ("done", "failed", "cancelled")
# Seconds that a suspended machine stands still, and those that its clocks say have passed.
STANDS, PASSED = (0.2, 1.0), 600
# Seconds in which a server that may not send could have sent.
TEMPTED = 4


class Liar:
    """A server at another address, which says of every payment that it has failed, or was never seen.

    It listens on a free port of 127.0.0.1, and ends with the process.

    :param bool failed: what it says: "failed", else "never seen".
    """

    def __init__(self, failed):
        self.asked = 0
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                liar.asked += 1
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                reference = query.get("reference", [""])[0]
                status, body = 404, {"error": "not found", "message": "no such reference", "status": 404}
                if failed:
                    data = {"reference": reference, "state": "failed", "reason": "no"}
                    status, body = 200, {"status": "success", "data": data}
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_args):
                """Nothing is logged."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/api/transaction/status"

    def close(self):
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class Edges:
    """Needs ``lab``, ``server``, ``gateway``, ``random``, ``report`` and ``cycles`` of a walk."""

    def _set_out_for_edges(self):
        self._liar = None
        self._backup = None

    def edge_steps(self):
        """Names of steps, and how often each is to be taken beside the others."""
        return {"click_in_a_hold": 2, "requeue": 2, "suspend": 2, "another_address": 1, "back_up": 1}

    # A hold, and a person who clicks

    def _click_in_a_hold(self):
        self.lab.execute(
            "UPDATE g2p_program_payment_manager_mpesa SET mpesa_hold_reason = 'circuit',"
            " mpesa_hold_until = (now() AT TIME ZONE 'UTC') + interval '1 hour' WHERE id = %s",
            [self.lab.ids["manager"]],
        )
        self._send()

    # A job that somebody requeues by hand, whatever had become of it

    def _requeue(self):
        jobs = self.lab.execute(
            "SELECT uuid FROM queue_job WHERE method_name = '_send_payments_job' AND state = ANY(%s)"
            " ORDER BY id",
            [list(REQUEUED)],
        )
        if jobs:
            uuid = self.random.choice(jobs)["uuid"]
            self.lab.execute(
                "UPDATE queue_job SET state = 'pending', eta = NULL, exc_info = NULL, retry = 0"
                " WHERE uuid = %s AND state = ANY(%s)",
                [uuid, list(REQUEUED)],
            )

    # A machine that was asleep: its clock of real time went on, and that of its processes did not

    def _suspend(self):
        self.server.suspend()
        time.sleep(self.random.uniform(*STANDS))
        self.lab.let_leases_run_out()
        self.server.wake(PASSED)
        self._schedule()

    # Another address, from which nothing may be believed of what went elsewhere

    def _another_address(self):
        if not self.report.full or self._liar:
            return
        self._liar = Liar(failed=self.random.random() < 0.5)
        self._set_status_url(self._liar.url)
        self.lab.let_hours_pass()
        self._schedule()

    def _set_status_url(self, url):
        """As an administrator does it, in the form."""
        with contextlib.suppress(load_dev("demo_rpc").RpcError, *GONE):
            self.server.session("admin").write(MANAGER, self.lab.ids["manager"], self._addresses(url))

    def _addresses(self, status_url):
        # A password goes to no other server than the one that it was given for, unless it is given again.
        return {"status_endpoint_url": status_url, "password": self.gateway.password}

    def _address_as_before(self):
        """The walk's own end: the address is the right one again, and an administrator says so."""
        if not self._liar:
            return
        self._liar.close()
        self._liar = None
        url = self.gateway.urls["status"]
        self.server.session("admin").write(MANAGER, self.lab.ids["manager"], self._addresses(url))
        # What went out meanwhile is asked for there, once an administrator has said that it is known there.
        self._confirm()

    # A database that goes back

    def _back_up(self):
        """Keep the database as it is at this moment, while it is at work."""
        if self._backup:
            return
        self._backup = self.lab.folder / f"backup-{self.report.seed}.dump"
        self.lab.dump(self._backup)

    def _go_back(self):
        """Put an earlier moment's database in place: nothing goes out of it by itself or by a click."""
        if not self._backup:
            return
        self.report.events["went back"] += 1
        self.server.kill()
        self.lab.wait_for_backends()
        self.lab.restore(self._backup)
        self._backup.unlink()
        self.lab.let_hours_pass()
        self.lab.let_leases_run_out()
        before = self.gateway.ledger()["count"]
        self.server.restart()
        self._tempt()
        after = self.gateway.ledger()["count"]
        if after != before:
            self.report.problems.append(f"{after - before} payments went out of a restored database")
        self._confirm()
        if self.report.full:
            self._go_on_from_before()

    def _tempt(self):
        """All that sends: the queue's own jobs, those requeued, the scheduled job, a click."""
        self._requeue()
        with contextlib.suppress(load_dev("demo_rpc").RpcError, KeyError, *GONE):
            self.lab.cron(self.server)
        for cycle in self.cycles:
            with contextlib.suppress(load_dev("demo_rpc").RpcError, KeyError, *GONE):
                self.server.send(cycle)
        time.sleep(TEMPTED)
        self.lab.wait_for_jobs()

    def _go_on_from_before(self):
        """Where the gateway honours the reference, going on from an earlier moment pays nobody twice."""
        for cycle in self.cycles:
            self.lab.come_to_rest(self.server, cycle)
        entries = [entry for entry in self.gateway.ledger()["entries"] if entry["state"] != "failed"]
        moved = Counter(entry["reference"] for entry in entries)
        self.report.problems += [f"{ref}: {n} times after going back" for ref, n in moved.items() if n > 1]
        for payment in (payment for cycle in self.cycles for payment in self.lab.payments(cycle)):
            paid, state = moved[payment["reference"]], payment["state"]
            if (state == "paid") != bool(paid) and state not in ("doubt", "accepted", "sending"):
                self.report.problems.append(
                    f"payment {payment['id']} is {state} after going back, paid {paid}"
                )

    def _confirm(self):
        """An administrator has read what has changed, the database or the addresses, and confirms."""
        session = self.server.session("admin")
        for button in ("action_confirm_place", "action_confirm_setup"):
            # There is nothing to confirm, as when the address is the same again.
            with contextlib.suppress(load_dev("demo_rpc").RpcError):
                action = session.click(MANAGER, button, self.lab.ids["manager"])
                session.write(action["res_model"], action["res_id"], {"is_sure": True})
                session.click(action["res_model"], "action_confirm", action["res_id"])
