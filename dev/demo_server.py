"""A real Odoo server for the demo: workers, the scheduler and the job runner, on 127.0.0.1."""

import configparser
import contextlib
import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from demo_front import LOOPBACK, Front

LAUNCHER = Path(__file__).resolve().parent / "odoo"
USUAL_PORT = 8069
# Jobs take a worker each, so more workers than jobs: the web client must not wait for them.
WORKERS = 4
CHANNELS = "root:2,root.mpesa:2"
# Odoo kills a worker whose request takes longer, and a job is one.
JOB_SECONDS = 3600
START_SECONDS = 120
STOP_SECONDS = 8


class ServerError(Exception):
    """The server does not run; the text says why."""


class OdooServer:
    """The server as a process of its own.

    :param str database: the only one that it serves.
    :param int port: where it is to listen; 0: the usual port if that is free, or else any.
    :param Path log: its log file, overwritten.
    :raise ServerError: the port is taken.
    """

    def __init__(self, database, port, log):
        self.database = database
        self.log = log
        self._http_port, socket_port = free_ports(2)
        self._configuration = self._write_configuration(socket_port)
        self._front = _front(port, self._http_port, socket_port)
        self.url = f"http://{LOOPBACK}:{self._front.port}"
        self._process = None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    def start(self):
        """Start it and wait until it answers. Gives the object itself.

        :raise ServerError: it ended, or did not answer in time.
        """
        self.log.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, LAUNCHER, "-c", self._configuration, "-d", self.database],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The job runner calls its own server, and a proxy cannot reach that.
            env=os.environ | {"NO_PROXY": "*", "no_proxy": "*"},
            # Ctrl-C reaches the demo, which then ends the server in an orderly way.
            start_new_session=True,
        )
        self._front.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerError(f"Odoo ended while it was starting: {self.complaint()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(
                    f"Odoo did not answer within {START_SECONDS} seconds; its log is {self.log}"
                )
            time.sleep(0.1)
        return self

    def stop(self):
        """End it with all its workers."""
        if not self._process:
            return
        self._front.stop()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    @property
    def running(self):
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def complaint(self):
        """The last error of the log, in one line, and where the log is."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return f"it left no log at {self.log}"
        errors = [
            line for line in lines if re.search(r" (ERROR|CRITICAL) |^\w[\w.]*(Error|Exception): ", line)
        ]
        return f"{(errors or lines or ['it said nothing'])[-1].strip()} (its log is {self.log})"

    def _answers(self):
        try:
            with self._opener.open(f"{self.url}/web/health", timeout=5):
                return True
        except (OSError, http.client.HTTPException):
            return False

    def _write_configuration(self, socket_port):
        """The configuration that the set-up has made, with what makes it a server. Gives its path."""
        given = Path(os.environ["ODOO_RC"])
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(given)
        options = parser["options"]
        options["http_port"] = str(self._http_port)
        options["gevent_port"] = str(socket_port)
        options["workers"] = str(WORKERS)
        options["max_cron_threads"] = "1"
        options["limit_time_real"] = str(JOB_SECONDS)
        options["list_db"] = "False"
        options["logfile"] = str(self.log)
        options["server_wide_modules"] += ",queue_job"
        parser["queue_job"] = {"channels": CHANNELS}
        path = given.with_name(f"{given.stem}_demo.conf")
        with path.open("w") as file:
            parser.write(file)
        return path


def free_ports(count):
    """Ports on which nothing listens, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _number in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def _front(port, http_port, socket_port):
    try:
        return Front(port or USUAL_PORT, http_port, socket_port)
    except OSError as ex:
        if not port:
            return Front(0, http_port, socket_port)
        why = "is taken" if ex.errno == errno.EADDRINUSE else f"cannot be had: {ex.strerror}"
        raise ServerError(f"port {port} {why}") from ex
