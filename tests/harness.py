"""Real Odoo servers on a database of their own, with a gateway, that can be killed at any moment.

Needs nothing but Python and psycopg2: Odoo runs in the servers. From the environment: ODOO_RC (the
configuration file), G2P_TEMPLATE_DB (a database with the addon that nobody is connected to), G2P_ODOO_DIR
(if Odoo is in a folder of its own), G2P_LAB_LOGS (a folder that keeps the servers' logs).
"""

import atexit
import configparser
import contextlib
import http.client
import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import psycopg2.extras
from psycopg2.sql import SQL, Identifier

try:
    from . import books
except ImportError:
    import books

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
START_SECONDS = 60
# How long a test waits for what should take moments.
PATIENCE = 120
APPLICATION = "lab"
# How many people the program has.
PEOPLE = 60
# Seconds without an outcome after which nobody can be sending: more than the longest wait for a connection.
QUIET = 20
# What a client sees of a server that died.
GONE = (OSError, http.client.HTTPException)
_numbers = itertools.count(1)
_filled = {}


class LabError(Exception):
    """The laboratory itself does not work; the text says why."""


def load_dev(name):
    """A module of ``dev/``, which is no part of the addon's package: ``sandbox.client``."""
    path = ROOT / "dev" / (name.replace(".", "/") + ".py")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def wait_until(condition, what, seconds=PATIENCE):
    """Wait for ``condition()`` to give something true, and give that.

    :raise LabError: it did not, in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds} seconds")
        time.sleep(0.05)


class Configuration:
    """What ODOO_RC says; ``environment`` is what a process needs besides."""

    environment = {}

    def __init__(self):
        self.path = os.environ["ODOO_RC"]
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.path)
        self.options = dict(parser["options"])

    def connect(self, database, application=APPLICATION):
        """A connection of psycopg2 with autocommit."""
        names = {"host": "db_host", "port": "db_port", "user": "db_user", "password": "db_password"}
        given = {name: self.options.get(option) for name, option in names.items()}
        known = {name: value for name, value in given.items() if value not in (None, "", "False")}
        connection = psycopg2.connect(dbname=database, application_name=application, **known)
        connection.autocommit = True
        return connection

    def new_name(self, kind):
        """A name for a database, by which whoever started this run finds it should this process be killed."""
        run = os.environ.get("G2P_RUN_ID", "run_0")
        return f"{run}_{kind}_{os.getpid()}_{next(_numbers)}"

    def copy_database(self, template, database):
        """A new database as ``template`` is, to which nobody may be connected."""
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cr:
            names = Identifier(database), Identifier(template)
            # psycopg2 quotes the names.
            cr.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))  # pylint: disable=sql-injection

    def drop(self, database):
        """Remove a database, whoever is connected."""
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cr:
            cr.execute(END_BACKENDS, [database])
            # Waits for those. By force it would also have to end PostgreSQL's own, which it may not.
            cr.execute(SQL("DROP DATABASE IF EXISTS {}").format(Identifier(database)))

    def modules(self, *more):
        """Server-wide modules, with ``more`` of them."""
        wide = self.options.get("server_wide_modules", "base,web").split(",")
        return ",".join([*wide, *(name for name in more if name not in wide)])


def filled_database(configuration):
    """A copy of the template with a program, its people and users; made once, and kept until we end.

    :return: its name, and the ids of what is in it.
    """
    if not _filled:
        name = configuration.new_name("filled")
        atexit.register(configuration.drop, name)
        configuration.copy_database(os.environ["G2P_TEMPLATE_DB"], name)
        _filled[name] = fill(configuration, name)
        with contextlib.closing(configuration.connect(name)) as connection, connection.cursor() as cr:
            cr.execute(WATCH_PAYMENTS)
    return next(iter(_filled.items()))


def fill(configuration, database):
    """Have Odoo's own shell fill a database; gives the ids of what is in it."""
    script = f"from odoo.addons.g2p_payment_simple_mpesa.tests.harness_fill import fill; fill(env, {PEOPLE})"
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        process = subprocess.run(
            [
                *(sys.executable, ROOT / "dev" / "odoo", "shell", "-c", configuration.path),
                *("-d", database, "-D", folder, "--no-http", "--log-level=warn"),
            ],
            input=script + "\n",
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise LabError(f"The database could not be filled:\n{process.stderr[-3000:]}")
    return json.loads(lines[-1])


class Lab:
    """A database with a program and its people, a gateway, and the servers that are started on it.

    Start it from a thread that lives on: its servers die with that thread.

    :param options: of the gateway's command line.
    :param configuration: None for what ODOO_RC says.
    :param bool filled: False: the addon is installed, and that is all there is.
    """

    def __init__(self, *options, configuration=None, filled=True):
        self._filled = filled
        self.configuration = configuration or Configuration()
        self.database = self.configuration.new_name("lab")
        self.folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self.gateway = load_dev("sandbox.client").SandboxProcess(*options)
        self.servers = []
        self.ids = {}
        self._pool = ThreadPoolExecutor(16)
        self._connections = []
        self._exits = contextlib.ExitStack()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    # Life

    def start(self):
        """Copy the filled database, and start the gateway. Gives the object itself."""
        with contextlib.ExitStack() as exits:
            exits.callback(shutil.rmtree, self.folder, ignore_errors=True)
            exits.callback(self._pool.shutdown, wait=False, cancel_futures=True)
            template, self.ids = self._template()
            exits.callback(self.configuration.drop, self.database)
            self.configuration.copy_database(template, self.database)
            self.gateway.start()
            exits.callback(self.gateway.stop)
            exits.callback(self._close_connections)
            if self._filled:
                self._set_addresses()
            exits.callback(self._stop_servers)
            self._exits = exits.pop_all()
        return self

    def _template(self):
        if self._filled:
            return filled_database(Configuration())
        return os.environ["G2P_TEMPLATE_DB"], {"password": "admin"}

    def _set_addresses(self):
        urls = self.gateway.urls
        self.set_manager(
            auth_endpoint_url=urls["login"],
            payment_endpoint_url=urls["deposit"],
            balance_endpoint_url=urls["balance"],
            # It is a copy, and not the place where this was set up.
            mpesa_place=None,
        )

    def stop(self):
        """End everything that it started, and remove what it made."""
        self._exits.close()

    def _stop_servers(self):
        for server in self.servers:
            server.stop()
            if kept := os.environ.get("G2P_LAB_LOGS"):
                shutil.copy(server.log, Path(kept, f"{self.database}_{server.log.name}"))

    def _close_connections(self):
        for connection in self._connections:
            connection.close()

    # Servers and what people do

    def server(self, options=(), workers=0, jobs=0):
        """Start an Odoo server.

        :param options: of Odoo's command line.
        :param int workers: worker processes; 0: one process with threads.
        :param int jobs: how many queue jobs run at once; 0: no job runner.
        """
        server = Server(self, options, workers, jobs)
        self.servers.append(server)
        return server.start()

    def background(self, function, *args, **kwargs):
        """Call a function in a thread; gives its future."""
        return self._pool.submit(function, *args, **kwargs)

    def cycle(self, server, people=None, amount=100, first=0, program=None):
        """An approved cycle with an approved entitlement for each of so many people; gives its id.

        :param program: None for the one there is.
        """
        session = server.session("admin")
        cycle = session.create(
            "g2p.cycle",
            {
                "name": f"Cycle {next(_numbers)}",
                "program_id": program or self.ids["program"],
                "start_date": "2026-01-01",
                "end_date": "2026-01-31",
                "state": "approved",
            },
        )
        partners = self.ids["people"][first:][:people]
        session.create_all(
            "g2p.entitlement",
            [
                {
                    "cycle_id": cycle,
                    "partner_id": partner,
                    "initial_amount": amount,
                    "state": "approved",
                    "is_cash_entitlement": True,
                }
                for partner in partners
            ],
        )
        return cycle

    def more_people(self, server, people):
        """Have so many people in all, each with a phone number of its own."""
        session, known = server.session("admin"), len(self.ids["people"])
        for first in range(known, people, 500):
            numbers = range(first, min(first + 500, people))
            vals = [{"name": f"Person {n}", "is_registrant": True, "phone": f"+2547{n:08d}"} for n in numbers]
            self.ids["people"] += session.create_all("res.partner", vals)

    def cron(self, server):
        """Run the addon's scheduled job now, as the scheduler's user."""
        server.session("admin").call("ir.actions.server", "run", [self.ids["cron_action"]])

    def set_profile(self, full):
        """A gateway with status and idempotency, or a bare one, and the manager's set-up for it."""
        self.gateway.settings(status=full, idempotency=full)
        self.set_manager(
            status_endpoint_url=self.gateway.urls["status"] if full else None, honours_idempotency_key=full
        )

    def set_manager(self, **values):
        """Change the payment manager behind Odoo's back."""
        for name, value in values.items():
            self.execute(
                SQL("UPDATE g2p_program_payment_manager_mpesa SET {} = %s WHERE id = %s").format(
                    Identifier(name)
                ),
                [value, self.ids["manager"]],
            )

    # The database, from beside

    def connect(self):
        """A further connection, closed with the lab."""
        connection = self.configuration.connect(self.database)
        self._connections.append(connection)
        return connection

    def execute(self, query, params=None):
        """Run a statement on a connection of its own; gives a list of dicts, if it has rows."""
        while True:
            # It and a server's statement may wait for each other; then PostgreSQL ends one of them.
            with contextlib.suppress(psycopg2.errors.DeadlockDetected):
                return self._execute_once(query, params)

    def _execute_once(self, query, params):
        with (
            contextlib.closing(self.configuration.connect(self.database)) as connection,
            connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cr,
        ):
            cr.execute(query, params)
            return [dict(row) for row in cr.fetchall()] if cr.description else []

    def end_backends(self, *servers):
        """Have PostgreSQL end the connections of these servers, or of all; gives how many there were."""
        names = [f"odoo-{pid}" for server in servers for pid in server.pids()]
        query = f"{END_BACKENDS} AND application_name <> %s AND (%s OR application_name = ANY(%s))"
        return len(self.execute(query, [self.database, APPLICATION, not names, names]))

    def payments_are_held(self):
        """Whether somebody is about to write payments: has locked the table or a row of it."""
        query = (
            "SELECT 1 FROM pg_locks WHERE relation = 'g2p_payment'::regclass AND mode <> 'AccessShareLock'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return bool(self.execute(query))

    def wait_for_backends(self):
        """Wait until nobody is connected: what killed servers had ordered may still be done."""
        query = f"SELECT 1 {BACKENDS} AND application_name <> %s"
        wait_until(lambda: not self.execute(query, [self.database, APPLICATION]), "nobody is connected")

    @contextlib.contextmanager
    def database_away(self):
        """The database takes no connections, as while PostgreSQL is being restarted."""
        allow = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        name = Identifier(self.database)
        with (
            contextlib.closing(self.configuration.connect("postgres")) as connection,
            connection.cursor() as cr,
        ):
            cr.execute(allow.format(name, SQL("false")))
            try:
                cr.execute(END_BACKENDS, [self.database])
                yield
            finally:
                cr.execute(allow.format(name, SQL("true")))

    def dump(self, path):
        """Write the database as it is at this moment to a file, while others are at work."""
        _run_client(
            "pg_dump", "--format=custom", f"--file={path}", self.database, options=self.configuration.options
        )

    def restore(self, path):
        """Put the database of such a file in the place of the one there is, to which nobody is connected."""
        options = self.configuration.options
        self.configuration.drop(self.database)
        _run_client("createdb", "--template=template0", self.database, options=options)
        _run_client("pg_restore", "--no-owner", f"--dbname={self.database}", str(path), options=options)

    # Time that passes: clocks are the only thing here that is not real

    def let_leases_run_out(self):
        """The lease of each claim is over. For dead senders: one that lives goes by a clock of its own."""
        self.execute(
            "UPDATE g2p_payment SET mpesa_lease_until = mpesa_lease_until - interval '1 day'"
            " WHERE mpesa_state = 'sending'"
        )
        self.let_shares_run_out()

    def let_shares_run_out(self):
        """The connections that senders had are free. For dead senders."""
        self.execute("UPDATE g2p_payment_mpesa_sender SET lease_until = lease_until - interval '1 day'")

    def let_hours_pass(self):
        """Status queries are due, what was sent was sent long ago, and gateways were left in peace enough."""
        self.execute(
            "UPDATE g2p_payment SET mpesa_next_check = mpesa_next_check - interval '2 days',"
            " mpesa_sent_at = mpesa_sent_at - interval '3 hours' WHERE mpesa_state IN ('accepted', 'doubt');"
            "UPDATE g2p_program_payment_manager_mpesa SET mpesa_hold_until = NULL"
        )

    def let_jobs_be_retried(self):
        """Jobs whose process died are seen to be dead at once, and those that were put off are due.

        Those of living processes, which hold their lock, are not touched: a job whose row is written
        meanwhile has to run again.
        """
        self.execute(
            "UPDATE queue_job j SET date_enqueued = date_enqueued - interval '1 hour'"
            " WHERE state IN ('enqueued', 'started')"
            " AND date_enqueued BETWEEN (now() AT TIME ZONE 'UTC') - interval '1 hour'"
            "                       AND (now() AT TIME ZONE 'UTC') - interval '2 seconds'"
            " AND (NOT EXISTS (SELECT FROM queue_job_lock l WHERE l.queue_job_id = j.id) OR id IN"
            "      (SELECT queue_job_id FROM queue_job_lock FOR UPDATE SKIP LOCKED));"
            "UPDATE queue_job SET eta = NULL WHERE state = 'pending' AND eta IS NOT NULL;"
            # A runner that was just connecting has not heard of it, and would look again in a minute.
            "SELECT pg_notify('queue_job', uuid) FROM queue_job WHERE state IN ('enqueued', 'started')"
            " AND date_enqueued < (now() AT TIME ZONE 'UTC') - interval '1 hour'"
        )

    def wait_for_jobs(self):
        """Wait until the queue has nothing to do."""

        def idle():
            self.let_jobs_be_retried()
            return not self.jobs("wait_dependencies", "pending", "enqueued", "started")

        wait_until(idle, "the queue is empty")

    def wait_until_nobody_sends(self, cycle):
        """Wait until no claim is left, or nothing has been recorded for a while: its sender has died."""
        before, since = None, time.monotonic()

        def quiet():
            nonlocal before, since
            states = self.states(cycle)
            if states != before:
                before, since = states, time.monotonic()
            return "sending" not in states or time.monotonic() - since > QUIET

        wait_until(quiet, "nobody sends any more")

    def come_to_rest(self, server, cycle):
        """With everything up again: let time pass, and click Send, until nothing changes any more.

        What is left then needs a person: doubts at a gateway without a status query, and what cannot go out.
        """
        self.gateway.clear_faults()
        self.gateway.settings(latency_ms=0, jitter_ms=0)
        # Those who still send shall be through before their leases are said to be over.
        self.wait_for_jobs()
        before = None
        while before != (before := self._picture(cycle)):
            self.let_leases_run_out()
            self.let_hours_pass()
            self.cron(server)
            self.wait_for_jobs()
            if self.states(cycle).get("ready"):
                server.send(cycle)
                self.wait_for_jobs()

    def _picture(self, cycle):
        return [(payment["id"], payment["state"]) for payment in self.payments(cycle)]

    # What became of it

    def problems(self, cycle=None, again=False):
        """All that is wrong with the payments of a cycle, or with all there are: a list of sentences.

        :param bool again: the gateway honours the reference.
        """
        payments = self.payments(cycle)
        ids = {payment["id"] for payment in payments}
        batches = {payment["batch_id"] for payment in payments}
        return [
            *books.disagreements(payments, self.gateway.ledger()),
            *books.wrong_moves([move for move in self.moves() if move["payment_id"] in ids], again),
            *books.wrong_journal(payments, self.attempts(), again),
            *books.wrong_figures([batch for batch in self.figures() if batch["id"] in batches]),
        ]

    def forget(self):
        """Behind Odoo's back: what is still open is nobody's business any more; an empty ledger."""
        self.execute(
            "UPDATE g2p_payment SET mpesa_state = 'refused' WHERE mpesa_state NOT IN ('paid', 'refused');"
            # Or a line of a statement could be about one that was paid by the books of before.
            "UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '1 year';"
            "UPDATE g2p_payment_batch SET mpesa_wanted_by_id = NULL;"
            "DELETE FROM queue_job"
        )
        self.gateway.reset()

    def payments(self, cycle=None):
        """Payments of a cycle, or all, as :mod:`books` wants them."""
        return self.execute(PAYMENTS, {"cycle": cycle})

    def states(self, cycle=None):
        """How many payments are in each state."""
        states = [payment["state"] for payment in self.payments(cycle)]
        return {state: states.count(state) for state in sorted(set(states))}

    def moves(self):
        """Each change of a payment's state or reference that was ever committed."""
        return self.execute("SELECT * FROM lab_moves ORDER BY id")

    def attempts(self):
        """The journal, in the order of time."""
        return self.execute(ATTEMPTS)

    def figures(self):
        """The figures of each batch, as they are stored and as they should be."""
        return figures(self.execute(FIGURES))

    def reasons(self, cycle=None):
        """Why payments are where they are, with the words of the gateway: for tests that fail."""
        return self.execute(
            "SELECT mpesa_state, mpesa_reason, mpesa_words, count(*) FROM g2p_payment"
            " WHERE mpesa_reason IS NOT NULL AND (%(cycle)s IS NULL OR cycle_id = %(cycle)s)"
            " GROUP BY 1, 2, 3",
            {"cycle": cycle},
        )

    def jobs(self, *states):
        """The queue's jobs in these states, or all."""
        return self.execute(
            "SELECT uuid, state, method_name, identity_key, retry, exc_name, exc_message FROM queue_job"
            " WHERE %s OR state = ANY(%s)",
            [not states, list(states)],
        )


class Server:
    """An Odoo server in a process of its own, in which faults can be ordered: see ``dev/faults/odoo``."""

    def __init__(self, lab, options, workers, jobs):
        self.lab = lab
        self.name = f"server{next(_numbers)}"
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.log = lab.folder / f"{self.name}.log"
        self.faults = lab.folder / f"{self.name}.faults"
        self._options = options
        self._workers = workers
        self._jobs = jobs
        self._process = None
        self._sessions = {}
        # Seconds for which its machine has slept, so far.
        self._slept = 0
        # How much had happened when the last order was given.
        self._seen = 0

    # Life

    def start(self):
        """Start it and wait until it answers. Gives the object itself."""
        modules = self.lab.configuration.modules("queue_job")
        channels = f"root:{self._jobs},root.mpesa:{self._jobs}" if self._jobs else "root:0"
        with open(self.log, "a") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, ROOT / "dev" / "faults" / "odoo", "-c", self.lab.configuration.path),
                    *("-d", self.lab.database, "-D", self.lab.folder, "--load", modules),
                    *("--http-interface", LOOPBACK, "--http-port", str(self.port), "--no-database-list"),
                    *("--workers", str(self._workers), "--max-cron-threads", "0", *self._options),
                ],
                env=environment(
                    G2P_FAULTS=str(self.faults),
                    ODOO_QUEUE_JOB_CHANNELS=channels,
                    **self.lab.configuration.environment,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own, so that it can be killed with its workers.
                start_new_session=True,
            )
        self._wait_for_answer()
        return self

    def _wait_for_answer(self):
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} does not answer; the end of its log:\n{self.log_tail()}")
            time.sleep(0.05)

    def _answers(self):
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=START_SECONDS)
        try:
            # Not /web/health, which answers before the database is loaded. This says that one must log in.
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/web/dataset/call_kw", '{"params": {}}', headers)
            return connection.getresponse().status == http.client.OK
        except GONE:
            return False
        finally:
            connection.close()

    @property
    def running(self):
        """Whether its first process is alive."""
        return self._process is not None and self._process.poll() is None

    def kill(self):
        """SIGKILL to the server and all its workers."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def suspend(self):
        """SIGSTOP to the server and all its workers, as when the machine is put to sleep."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def wake(self, seconds):
        """Go on. The machine's clocks say that so much time has passed, but those that count its running."""
        self.faults.with_suffix(".slept").write_text(str(seconds + self._slept))
        self._slept += seconds
        if self.running:
            os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self):
        """End it. In an orderly way it would take seconds, and there is nothing to keep."""
        self.kill()

    def restart(self):
        """Start it again, on the same port; kill it before if it runs."""
        self.kill()
        return self.start()

    def wait_dead(self):
        """Wait until the process has died that was ordered to; its server goes on if that was a worker."""
        pid = self._wait_for_order("comes to where it dies")
        wait_until(lambda: not self._lives(pid), f"process {pid} of {self.name} dies")

    def _lives(self, pid):
        self._process.poll()
        try:
            return " Z " not in Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def pids(self):
        """Its processes."""
        if not self.running:
            return []
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, listed)]

    def log_tail(self, size=3000):
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:]

    # Faults

    def order(self, point, act="kill", nth=1, **more):
        """Order what is to happen at a point; nothing else is then in force."""
        self._seen = len(self.happened())
        waiting = self.faults.with_suffix(".new")
        waiting.write_text(json.dumps([{"point": point, "act": act, "nth": nth, **more}]))
        waiting.replace(self.faults)

    def forget_orders(self):
        """Nothing is to happen any more."""
        self.faults.unlink(missing_ok=True)

    def happened(self):
        """What was ordered and has happened: pairs of point and process id."""
        done = Path(f"{self.faults}.done")
        lines = done.read_text().splitlines() if done.exists() else []
        return [(point, int(pid)) for point, pid in map(str.split, lines)]

    @contextlib.contextmanager
    def stopped_at(self, point, nth=1):
        """Order a stop; inside the block the process stands there, and after it goes on.

        Gives a function to be called when the deed has begun that leads there. Its argument is a condition:
        until that is true of the process that stands, it is let go on for moments.
        """
        self.order(point, "stop", nth)
        stopped = []

        def arrive(until=lambda: True):
            pid = self._wait_for_order(f"comes to {point}")
            stopped.append(pid)
            _wait_stopped(pid)
            wait_until(lambda: until() or _go_on_for_a_moment(pid), f"{self.name} stands where it shall")

        try:
            yield arrive
        finally:
            self.forget_orders()
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def _wait_for_order(self, what):
        """Wait until the last order has been carried out; gives the process."""
        wait_until(lambda: len(self.happened()) > self._seen, f"{self.name} {what}")
        return self.happened()[-1][1]

    # People

    def session(self, login):
        """The session of a user: ``admin``, ``manager``, ``manager2``, ``finance``."""
        if login not in self._sessions:
            self._sessions[login] = load_dev("demo_rpc").Session(
                self.url, self.lab.database, login, self.lab.ids["password"]
            )
        return self._sessions[login]

    def prepare(self, cycle, login="manager"):
        """Click Prepare; gives the notification's parameters."""
        return self.session(login).click("g2p.cycle", "prepare_payment", cycle)["params"]

    def send(self, cycle, login="manager"):
        """Click Send, and then in the dialogue; gives the notification's parameters."""
        session = self.session(login)
        action = session.click("g2p.cycle", "send_payment", cycle)
        while action["type"] == "ir.actions.act_window":
            action = session.click(action["res_model"], "action_send", action["res_id"])
        return action["params"]


def _wait_stopped(pid):
    wait_until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text(), f"process {pid} stops")


def _go_on_for_a_moment(pid):
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.02)
    os.kill(pid, signal.SIGSTOP)
    _wait_stopped(pid)


# PostgreSQL's own processes, which clean up, are not ours to end.
BACKENDS = "FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
END_BACKENDS = f"SELECT pg_terminate_backend(pid) {BACKENDS}"

# Has the database itself keep each change of a payment's state.
# The registry's own jobs are not ours to wait for.
WATCH_PAYMENTS = """
    DELETE FROM queue_job;
    CREATE TABLE lab_moves (
        id serial, payment_id int, old varchar, new varchar, old_reference varchar, new_reference varchar,
        moved timestamp DEFAULT clock_timestamp()
    );
    CREATE FUNCTION lab_note() RETURNS trigger AS $$
    BEGIN
        INSERT INTO lab_moves (payment_id, old, new, old_reference, new_reference) VALUES
            (NEW.id, OLD.mpesa_state, NEW.mpesa_state, OLD.mpesa_reference, NEW.mpesa_reference);
        RETURN NULL;
    END
    $$ LANGUAGE plpgsql;
    CREATE TRIGGER lab_note AFTER UPDATE ON g2p_payment FOR EACH ROW
        WHEN (OLD.mpesa_state IS DISTINCT FROM NEW.mpesa_state
              OR OLD.mpesa_reference IS DISTINCT FROM NEW.mpesa_reference)
        EXECUTE FUNCTION lab_note()
"""

PAYMENTS = """
    SELECT id, account_number AS payee, amount_issued::float AS amount, mpesa_state AS state,
        mpesa_reference AS reference, batch_id
      FROM g2p_payment WHERE %(cycle)s IS NULL OR cycle_id = %(cycle)s ORDER BY id
"""
ATTEMPTS = """
    SELECT payment_id, kind, outcome, reference FROM g2p_payment_mpesa_attempt
     WHERE payment_id IS NOT NULL ORDER BY started, id
"""
FIGURES = """
    SELECT b.id,
        b.stats_issued_transactions AS s_issued, count(p.id) AS c_issued,
        coalesce(b.stats_issued_amount, 0)::float AS s_issued_amount,
        coalesce(sum(p.amount_issued), 0)::float AS c_issued_amount,
        b.stats_sent_transactions AS s_sent, count(p.id) FILTER (WHERE p.mpesa_state <> 'ready') AS c_sent,
        b.stats_paid_transactions AS s_paid, count(p.id) FILTER (WHERE p.mpesa_state = 'paid') AS c_paid,
        coalesce(b.stats_paid_amount, 0)::float AS s_paid_amount,
        coalesce(sum(p.amount_issued) FILTER (WHERE p.mpesa_state = 'paid'), 0)::float AS c_paid_amount,
        b.stats_failed_transactions AS s_refused,
        count(p.id) FILTER (WHERE p.mpesa_state = 'refused') AS c_refused,
        b.mpesa_ready_count AS s_ready, count(p.id) FILTER (WHERE p.mpesa_state = 'ready') AS c_ready,
        b.mpesa_under_way_count AS s_under_way,
        count(p.id) FILTER (WHERE p.mpesa_state IN ('sending', 'accepted')) AS c_under_way,
        b.mpesa_doubt_count AS s_doubt, count(p.id) FILTER (WHERE p.mpesa_state = 'doubt') AS c_doubt,
        b.stats_issued_transactions AS s_sum,
        b.mpesa_ready_count + b.mpesa_under_way_count + b.mpesa_doubt_count + b.stats_paid_transactions
            + b.stats_failed_transactions AS c_sum,
        coalesce(b.batch_has_started, false) AS s_started,
        coalesce(bool_or(p.mpesa_first_sent_at IS NOT NULL OR p.mpesa_state <> 'ready'), false) AS c_started,
        coalesce(b.batch_has_completed, false) AS s_completed,
        coalesce(bool_and(p.mpesa_state IN ('paid', 'refused')), false) AS c_completed
    FROM g2p_payment_batch b JOIN g2p_payment p ON p.batch_id = b.id
    GROUP BY b.id ORDER BY b.id
"""


def figures(rows):
    """What ``FIGURES`` gives, as :mod:`books` wants it."""
    names = [name.removeprefix("s_") for name in (rows[0] if rows else ()) if name.startswith("s_")]
    return [
        {
            "id": row["id"],
            "stored": {name: row[f"s_{name}"] for name in names},
            "counted": {name: row[f"c_{name}"] for name in names},
        }
        for row in rows
    ]


def _run_client(program, *arguments, options):
    """One of PostgreSQL's own programs, on the server that Odoo uses.

    :raise LabError: it failed; in its own words.
    """
    names = {"PGHOST": "db_host", "PGPORT": "db_port", "PGUSER": "db_user", "PGPASSWORD": "db_password"}
    given = {name: options.get(option) for name, option in names.items()}
    known = {name: value for name, value in given.items() if value not in (None, "", "False")}
    process = subprocess.run(
        [program, *arguments], env=dict(os.environ, **known), capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise LabError(f"{program}: {process.stderr[-2000:]}")


def environment(**more):
    """For a process that runs Odoo."""
    given = dict(os.environ, **more)
    if given.get("G2P_ODOO_DIR"):
        given["PYTHONPATH"] = given["G2P_ODOO_DIR"]
    return given


def free_port():
    """A port of loopback that is free at this moment."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]
