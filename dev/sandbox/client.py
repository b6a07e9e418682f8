"""Starts a sandbox gateway of one's own, for tests and scripts. Needs nothing but Python.

    with SandboxProcess(profile="full") as gateway:
        gateway.fault("254700000001", "late-taken", 5)
        ...
        assert gateway.ledger()["paid"] == {"254700000001": 100}

It uses urllib only: some test frameworks forbid `requests` in tests. It can be imported by its path, too.
"""

import json
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parent.parent / "gateway"
EMAIL, PASSWORD = "agent@example.org", "sandbox-secret"
PATHS = {
    "login": "/api/login/agent",
    "deposit": "/api/transaction/deposit",
    "balance": "/api/account/balance",
    "statement": "/api/account/statement",
    "status": "/api/transaction/status",
}
START_SECONDS = 30
CALL_SECONDS = 30
PORT_SECONDS = 5


class SandboxError(Exception):
    """The gateway did not start, or refused an order; the text says why."""


class SandboxProcess:
    """A gateway in a process of its own, on a free port of 127.0.0.1.

    `url` has no slash at the end; `urls` are whole URLs by name: login, deposit, balance, statement, status.
    `port`, `pid`, `ledger_file`: of the process. It ends with the process that started it, however that ends.

    :param options: more of the command line, for example "--float", "500"
    :param profile: "bare" or "full"
    :param ledger: path of its books; None: a file that goes away with `stop()`
    :param port: 0: any free one
    """

    email, password = EMAIL, PASSWORD

    def __init__(self, *options, profile="bare", ledger=None, port=0):
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-") if ledger is None else None
        self.ledger_file = Path(ledger or Path(self._folder.name) / "ledger.sqlite")
        self.port = port
        self.pid = None
        self._options = ["--profile", profile, *(str(option) for option in options)]
        self._memory = {}
        self._process = self._errors = None
        # A test may have a proxy in its environment; loopback never goes through one.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    @property
    def url(self):
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def urls(self):
        """Whole URLs by name."""
        return {name: self.url + path for name, path in PATHS.items()}

    @property
    def running(self):
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    # -- life ----------------------------------------------------------------------------------------------

    def start(self):
        """Start it and wait until it listens. Gives the object itself.

        :raise SandboxError: it does not start; in its own words
        """
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed in _bury
        self._process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), "--quiet", "--until-eof", *self._place(), *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        line = self._first_line()
        if not line:
            self._process.kill()
            words = self.errors().strip()
            self._bury()
            raise SandboxError(words or "The gateway did not start, and did not say why.")
        self.pid = json.loads(line)["pid"]
        self.port = urllib.parse.urlsplit(json.loads(line)["url"]).port
        return self

    def stop(self):
        """End it in an orderly way; a temporary ledger goes too."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._bury()
        if self._folder:
            self._folder.cleanup()

    def kill(self):
        """SIGKILL. The books stay, and `restart()` goes on with them."""
        self._look()
        self._process.kill()
        self._bury()

    def restart(self):
        """Start again on the same port and books, with the settings and faults last seen.

        Kills it if it runs.

        :raise SandboxError: it does not start
        """
        if self._process:
            self.kill()
        deadline = time.monotonic() + PORT_SECONDS
        while True:
            try:
                return self.start()
            except SandboxError as ex:
                # Any connection out of this machine may have the port for a moment.
                if "is taken" not in str(ex) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def freeze(self):
        """It no longer answers, and connections to it stay open (SIGSTOP)."""
        self._look()
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Goes on where it was frozen."""
        self._process.send_signal(signal.SIGCONT)

    def errors(self):
        """What the process wrote to its standard error: tracebacks, if anything."""
        self._errors.seek(0)
        return self._errors.read()

    def _place(self):
        memory = [part for name, value in self._memory.items() for part in (f"--{name}", json.dumps(value))]
        return ["--port", str(self.port), "--ledger", str(self.ledger_file), *memory]

    def _first_line(self):
        """The JSON line; empty if the process ended or took too long."""
        if not select.select([self._process.stdout], [], [], START_SECONDS)[0]:
            return b""
        return self._process.stdout.readline()

    def _bury(self):
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()
        self._process = self.pid = None

    def _look(self):
        """Note settings and faults for a restart, if it can still be asked."""
        try:
            self.settings()
            self.faults()
        except (OSError, SandboxError):
            return

    # -- control -------------------------------------------------------------------------------------------

    def ledger(self, since=0, limit=None):
        """The books: entries (after entry `since`, at most `limit`), paid, count, total, float."""
        query = {"since": since} | ({} if limit is None else {"limit": limit})
        return self._call("GET", f"/sandbox/ledger?{urllib.parse.urlencode(query)}")

    def requests(self):
        """Counters: paths, in_flight, references_sent_again, connections. Since the process started."""
        return self._call("GET", "/sandbox/requests")

    def settings(self, **values):
        """Set some (latency_ms=20, float=500, revoke_tokens=True, ...), and give all."""
        method = "POST" if values else "GET"
        settings = self._call(method, "/sandbox/settings", values or None)
        self._memory["settings"] = {name: value for name, value in settings.items() if name != "float"}
        return settings

    def fault(self, payee, kind, arg=None, count=None, probability=1.0):
        """Order a fault for a payee, for "*" or for a call, and give all that are in force.

        :raise SandboxError: there is no such fault
        """
        order = {"payee": payee, "kind": kind, "arg": arg, "count": count, "probability": probability}
        return self.order([order])

    def order(self, faults):
        """Order a list of faults at once: dicts with payee, kind, and perhaps arg, count, probability."""
        return self._note_faults(self._call("POST", "/sandbox/faults", faults))

    def faults(self):
        """The faults in force, as they could be ordered again."""
        return self._note_faults(self._call("GET", "/sandbox/faults"))

    def clear_faults(self, payee=None):
        """Forget all faults, or those of one payee."""
        query = f"?{urllib.parse.urlencode({'payee': payee})}" if payee else ""
        return self._note_faults(self._call("DELETE", f"/sandbox/faults{query}"))

    def reset(self):
        """Empty ledger and counters, full float, no faults. Settings and tokens stay."""
        self._call("POST", "/sandbox/reset")
        self.clear_faults()

    def _note_faults(self, faults):
        self._memory["faults"] = faults
        return faults

    def _call(self, method, path, value=None):
        data = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=CALL_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as ex:
            raise SandboxError(json.load(ex)["message"]) from ex
