"""Measures the addon beside a floor, prints a table and writes JSON. `dev/bench` starts this."""

import argparse
import configparser
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
from sandbox.client import EMAIL, PASSWORD, SandboxProcess

DEV = Path(__file__).resolve().parent
OURS = "g2p.program.payment.manager.mpesa"
DEFAULT = "g2p.program.payment.manager.default"
THEIRS = "g2p.program.payment.manager.simple.mpesa"
PARTS = ("prepare", "send", "workers", "memory", "status", "form", "statement", "plans")
# How long one measured run of sending takes at the floor, about.
SECONDS = 4
# What a request takes beside the gateway's latency, about, and requests a second that one process makes.
REQUEST_MS, MOST_A_SECOND = 1.5, 900
BATCH = 500


class Process:
    """A process that takes orders as lines of JSON."""

    def __init__(self, *command, env=None):
        self._process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            text=True,
        )
        self._read()

    def begin(self, **order):
        """Give an order; ``end`` gives the answer."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def end(self):
        return self._read()

    def __call__(self, do, **order):
        self.begin(do=do, **order)
        return self._read()

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)

    def _read(self):
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise SystemExit(f"bench: a process ended with {self._process.wait(10)}")
            if line.startswith("{"):
                return json.loads(line)


class Bench:
    """One run of the command."""

    def __init__(self, args):
        self.args = args
        self.rc = os.environ["ODOO_RC"]
        self.results = []
        self.gateway = SandboxProcess("--float", str(10**12))
        self.payee = 10**7
        self._spare = []

    def run(self):
        self.gateway.start()
        try:
            self._set_out()
            if self.args.million:
                self._million()
            else:
                for part in self.args.only:
                    getattr(self, f"_{part}")()
        finally:
            self.gateway.stop()
        self._write()

    # Databases and processes

    def _with_others(self, measure):
        """Figures of ``measure()``, with what the gateway and PostgreSQL used of the processors meanwhile."""
        before = self._others_cpu()
        figures = measure()
        used = [after - begin for after, begin in zip(self._others_cpu(), before, strict=True)]
        return figures | {"cpu_gateway": used[0], "cpu_database": used[1]}

    def _others_cpu(self):
        children = [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat")]
        children = [pid for pid in children if _stat(pid)[1:2] == [str(self._postmaster)]]
        # What has ended is counted by its parent.
        database = _cpu_of([self._postmaster], places=4) + _cpu_of(children)
        return _cpu_of([self.gateway.pid]), database

    def _set_out(self):
        self.database = self._database("bench", os.environ["G2P_TEMPLATE_DB"])
        self.worker = Process(DEV / "bench_worker.py", self.database, self.rc)
        backend = self.worker("sql", query="SELECT pg_backend_pid()")["rows"][0][0]
        self._postmaster = int(_stat(backend)[1])
        self.others = []
        self.floors = []
        self._version = subprocess.run(
            [sys.executable, "-c", "import odoo.release; print(odoo.release.version)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        self._say(f"Odoo {self._version}, Python {platform.python_version()}, {os.cpu_count()} processors")
        people = 1_000_000 if self.args.million else max(self.args.sizes)
        began = time.monotonic()
        self.ids = self.worker("fill", people=people)
        self._say(f"{people} people in the registry ({time.monotonic() - began:.0f} s)")
        self.ids |= self.worker("manager", program=self.ids["program"], model=OURS, vals=self._manager_vals())

    def _manager_vals(self):
        urls = self.gateway.urls
        return {
            "name": "M-Pesa",
            "auth_endpoint_url": urls["login"],
            "payment_endpoint_url": urls["deposit"],
            "username": EMAIL,
            "password": PASSWORD,
            "payee_id_type": "phone",
            "create_batch": True,
        }

    def _database(self, kind, template):
        name = f"{os.environ['G2P_RUN_ID']}_{kind}"
        connection = psycopg2.connect(dbname="postgres")
        connection.autocommit = True
        with connection.cursor() as cr:
            cr.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        connection.close()
        return name

    def _more_workers(self, number):
        while len(self.others) < number - 1:
            self.others.append(Process(DEV / "bench_worker.py", self.database, self.rc))
        return [self.worker, *self.others][:number]

    def _more_floors(self, number):
        while len(self.floors) < number:
            self.floors.append(Process(DEV / "bench_floor.py"))
        return self.floors[:number]

    # Prepare

    def _prepare(self):
        """Ours, and a loop of the ORM; beside OpenG2P's own where it is there."""
        self._say("\nPrepare: ms a payment, median (lowest to highest)")
        loops = {}
        for size in self.args.sizes:
            ours = [self._prepare_once(size) for _ in range(self.args.runs)]
            self._result("prepare", ours, size=size)
            if size <= self.args.most_slow:
                loops[size] = [self._loop_once(size) for _ in range(1 if size > 2000 else self.args.runs)]
                self._result("prepare, plain ORM loop", loops[size], size=size, against=ours)
        if self.args.beside:
            self._prepare_beside()

    def _cycle(self, size, program=None):
        return self.worker(
            "cycle", program=program or self.ids["program"], first=self.ids["first"], people=size
        )["cycle"]

    def _prepare_once(self, size):
        cycle = self._cycle(size)
        figures = self.worker("prepare", cycle=cycle, model=OURS, manager=self.ids["manager"])
        self._spare += self.worker("batches", cycle=cycle)["batches"]
        return figures

    def _loop_once(self, size):
        program = self._default_program()
        return self.worker("prepare_loop", cycle=self._cycle(size, program))

    def _default_program(self):
        if "other" not in self.ids:
            rows = self.worker(
                "sql",
                query="INSERT INTO g2p_program (name, journal_id, company_id, state)"
                " SELECT 'Other', journal_id, company_id, state FROM g2p_program WHERE id = %s RETURNING id",
                params=[self.ids["program"]],
            )["rows"]
            self.ids["other"] = int(rows[0][0])
            self.ids |= {
                "other_manager": self.worker("default_manager", program=self.ids["other"])["manager"]
            }
        return self.ids["other"]

    def _prepare_beside(self):
        """OpenG2P's own module, on a database of its own."""
        theirs = self._beside()
        for size in [size for size in self.args.sizes if size <= self.args.most_slow]:
            runs = []
            for _run in range(1 if size > 2000 else self.args.runs):
                cycle = theirs(
                    "cycle", program=self._their["program"], first=self._their["first"], people=size
                )
                runs.append(
                    theirs("prepare", cycle=cycle["cycle"], model=THEIRS, manager=self._their["manager"])
                )
                self._their.setdefault("batches", []).extend(
                    theirs("batches", cycle=cycle["cycle"])["batches"]
                )
            ours = next(r["runs"] for r in self.results if r["what"] == "prepare" and r["size"] == size)
            self._result("prepare, OpenG2P's own", runs, size=size, against=ours)

    def _beside(self):
        if hasattr(self, "_their_worker"):
            return self._their_worker
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.rc)
        paths = parser["options"]["addons_path"].split(",")
        paths = [
            *self.args.beside.split(":"),
            *(path for path in paths if Path(path) != DEV.parent / ".dev" / "addons"),
        ]
        queue = DEV.parent / ".dev" / "addons" / "queue_job"
        if queue.exists():
            folder = Path(f"{self.rc}.queue")
            folder.mkdir(exist_ok=True)
            (folder / "queue_job").symlink_to(queue.resolve())
            paths.append(str(folder))
        parser["options"]["addons_path"] = ",".join(paths)
        rc = f"{self.rc}.beside"
        with open(rc, "w") as file:
            parser.write(file)
        database = self._database("beside", os.environ["G2P_BARE_DB"])
        subprocess.run(
            [
                *(sys.executable, DEV / "odoo", "-c", rc, "-d", database, "-i", "g2p_payment_simple_mpesa"),
                *("--stop-after-init", "--no-http", "--log-level=error"),
            ],
            check=True,
        )
        self._their_worker = worker = Process(DEV / "bench_worker.py", database, rc)
        self._their = worker("fill", people=max(s for s in self.args.sizes if s <= self.args.most_slow))
        program = self._their["program"]
        self._their |= worker("manager", program=program, model=THEIRS, vals=self._manager_vals())
        return worker

    # Send

    def _send(self):
        self._say("\nSend: payments/s, median (lowest to highest); of the floor of the same run")
        for latency in self.args.latencies:
            for connections in self.args.connections:
                self._send_pairs(latency, connections, 1)
            if self.args.beside:
                self._send_beside(latency)

    def _workers(self):
        """Two workers against one, with as many connections each."""
        self._say("\nWorkers: payments/s; of what one does")
        for latency in self.args.latencies[-1:]:
            for connections in self.args.connections:
                one = self._send_runs(latency, connections, 1)
                two = self._send_runs(latency, connections, 2)
                self._result("send", one, latency=latency, connections=connections, workers=1, more=True)
                self._result(
                    "send", two, latency=latency, connections=connections, workers=2, against=one, more=True
                )

    def _send_pairs(self, latency, connections, workers):
        number = self._number(latency, connections)
        floors, ours = [], []
        for _run in range(self.args.runs):
            floors.append(self._floor_once(latency, connections, workers, number))
            ours.append(self._send_once(latency, connections, workers, number))
        options = {"latency": latency, "connections": connections, "workers": workers}
        self._result("floor", floors, **options)
        self._result("send", ours, **options, against=floors, more=True)

    def _send_runs(self, latency, connections, workers):
        number = self._number(latency, connections)
        return [self._send_once(latency, connections, workers, number) for _ in range(self.args.runs)]

    def _number(self, latency, connections):
        rate = min(MOST_A_SECOND, connections * 1000 / (latency + REQUEST_MS))
        return max(60, int(rate * SECONDS * self.args.length))

    def _floor_once(self, latency, connections, workers, number):
        self.gateway.settings(latency_ms=latency)
        at = time.monotonic() + 0.7
        floors = self._more_floors(workers)

        def order():
            for floor in floors:
                self.payee += number
                floor.begin(
                    login=self.gateway.urls["login"],
                    deposit=self.gateway.urls["deposit"],
                    first=self.payee,
                    number=number,
                    connections=connections,
                    at=at,
                )
            return _together([floor.end() for floor in floors])

        return self._with_others(order)

    def _send_once(self, latency, connections, workers, number):
        self.gateway.settings(latency_ms=latency)
        # Of the account, which the workers share.
        vals = {"max_connections": connections * workers}
        self.worker("write", model=OURS, ids=[self.ids["manager"]], vals=vals)
        batches = [self._take_batches(number) for _worker in range(workers)]
        before = self._paid()
        at = time.monotonic() + 0.7
        processes = self._more_workers(workers)

        def send():
            for process, its in zip(processes, batches, strict=True):
                process.begin(do="send", manager=self.ids["manager"], batches=its, at=at, most=number)
            return _together([process.end() for process in processes])

        figures = self._with_others(send)
        if self._paid() - before != figures["payments"] or figures["payments"] != number * workers:
            raise SystemExit(f"bench: the ledger has {self._paid() - before} payments, and not {figures}")
        return figures

    def _paid(self):
        return self.gateway.ledger()["count"]

    def _take_batches(self, number):
        need = -(-number // BATCH)
        while len(self._spare) < need:
            self._prepare_once(max(self.args.sizes))
        taken, self._spare = self._spare[:need], self._spare[need:]
        return taken

    def _send_beside(self, latency):
        theirs = self._beside()
        number = max(1, int(self._number(latency, 1) / BATCH + 0.5)) * BATCH if latency == 0 else BATCH
        runs, floors = [], []
        for _run in range(self.args.runs):
            cycle = theirs("cycle", program=self._their["program"], first=self._their["first"], people=number)
            theirs("prepare", cycle=cycle["cycle"], model=THEIRS, manager=self._their["manager"])
            batches = theirs("batches", cycle=cycle["cycle"])["batches"]
            floors.append(self._floor_once(latency, 1, 1, number))
            theirs.begin(
                do="send",
                manager=self._their["manager"],
                batches=batches,
                at=time.monotonic() + 0.7,
                model=THEIRS,
            )
            runs.append(theirs.end())
        options = {"latency": latency, "connections": 1, "workers": 1}
        self._result("send, OpenG2P's own", runs, **options, against=floors, more=True)

    # Memory, status, forms, plans

    def _memory(self):
        """Peak on top of what a fresh process has: preparing and sending a thousand, and the most."""
        self._say("\nMemory on top of a fresh process, MB")
        for size in (min(self.args.sizes), max(self.args.sizes)):
            fresh = Process(DEV / "bench_worker.py", self.database, self.rc)
            self.gateway.settings(latency_ms=0)
            cycle = self._cycle(size)
            prepared = fresh("prepare", cycle=cycle, model=OURS, manager=self.ids["manager"])
            batches = fresh("batches", cycle=cycle)["batches"]
            fresh.close()
            fresh = Process(DEV / "bench_worker.py", self.database, self.rc)
            self.worker("write", model=OURS, ids=[self.ids["manager"]], vals={"max_connections": 8})
            sent = fresh("send", manager=self.ids["manager"], batches=batches, at=0)
            fresh.close()
            for what, figures in (("prepare", prepared), ("send", sent)):
                self.results.append({"what": f"memory, {what}", "size": size, "runs": [figures]})
                self._say(f"  {what:8} {size:8}: {figures['memory'] / 1e6:7.1f}, {figures['seconds']:.1f} s")

    def _status(self):
        """Status queries, on a gateway that answers them, per payment."""
        self._say("\nStatus refresh: payments/s")
        gateway = SandboxProcess("--float", str(10**12), profile="full").start()
        gateway.settings(settle_seconds=0)
        urls = gateway.urls
        vals = {
            "auth_endpoint_url": urls["login"],
            "payment_endpoint_url": urls["deposit"],
            "status_endpoint_url": urls["status"],
            "password": PASSWORD,
            "max_connections": 8,
        }
        ids = [self.ids["manager"]]
        self.worker("write", model=OURS, ids=ids, vals=vals)
        runs = []
        for _run in range(self.args.runs):
            cycle = self._cycle(1000)
            self.worker("prepare", cycle=cycle, model=OURS, manager=self.ids["manager"])
            batches = self.worker("batches", cycle=cycle)["batches"]
            self.worker("send", manager=self.ids["manager"], batches=batches, at=0)
            runs.append(self.worker("status", manager=self.ids["manager"], cycle=cycle))
        self._result("status", runs, more=True)
        urls = self.gateway.urls
        vals = {
            "auth_endpoint_url": urls["login"],
            "payment_endpoint_url": urls["deposit"],
            "status_endpoint_url": False,
            "password": PASSWORD,
        }
        self.worker("write", model=OURS, ids=ids, vals=vals)
        gateway.stop()

    def _form(self):
        """Opening a batch, a cycle and the dialogue of Send, with the most payments in one batch."""
        self._say("\nOpening a form: ms")
        tag = "UPDATE g2p_payment_batch_tag SET max_batch_size = %s"
        for size in (min(self.args.sizes), max(self.args.sizes)):
            self.worker("sql", query=tag, params=[size])
            cycle = self._cycle(size)
            self.worker("prepare", cycle=cycle, model=OURS, manager=self.ids["manager"])
            batch = self.worker("batches", cycle=cycle)["batches"][0]
            for model, record in (("g2p.payment.batch", batch), ("g2p.cycle", cycle)):
                runs = [
                    self.worker("form", model=model, record=record) for _ in range(max(3, self.args.runs))
                ]
                self._result(f"form of {model}", runs, size=size)
            ids = {"manager": self.ids["manager"], "cycle": cycle}
            runs = [self.worker("dialogue", **ids) for _ in range(max(3, self.args.runs))]
            self._result("dialogue of Send", runs, size=size)
        self.worker("sql", query=tag, params=[BATCH])

    def _statement(self):
        """Importing a statement of as many lines as the cycle has payments, and comparing it."""
        self._say("\nA gateway's statement: s")
        size = max(self.args.sizes)
        for column in ("reference", "payee"):
            cycle = self._cycle(size)
            self.worker("prepare", cycle=cycle, model=OURS, manager=self.ids["manager"])
            fresh = Process(DEV / "bench_worker.py", self.database, self.rc)
            answer = fresh("statement", program=self.ids["program"], cycle=cycle, column=column)
            fresh.close()
            for step, figures in answer["steps"].items():
                self.results.append({"what": f"statement, {step}", "by": column, "runs": [figures]})
                self._say(
                    f"  {size} lines by {column:10} {step:14} {figures['seconds']:7.1f}"
                    f"   [{figures['memory'] / 1e6:.0f} MB]"
                )
            self._say(f"  {answer['results']}")

    def _plans(self):
        """What PostgreSQL makes of the queries that matter, on this database."""
        from bench_plans import QUERIES

        rows = self.worker("sql", query="SELECT count(*) FROM g2p_payment")["rows"]
        self._say(f"\nPlans, with {rows[0][0]} payments")
        self.worker("sql", query="ANALYZE")
        batch = self.worker("sql", query="SELECT max(id) FROM g2p_payment_batch")["rows"][0][0]
        for name, query in QUERIES.items():
            filled = query.format(batch=batch, manager=self.ids["manager"])
            plan = self.worker("sql", query=f"EXPLAIN (ANALYZE, BUFFERS, COSTS off) {filled}")["rows"]
            self.results.append({"what": "plan", "name": name, "plan": [row[0] for row in plan]})
            self._say(f"- {name}")
            for (line,) in plan:
                self._say(f"    {line}")

    # A million

    def _million(self):
        self._say(
            "\nA million prepared, and half a million sent at no latency, by two workers of 8 connections"
        )
        cycle = self._cycle(1_000_000)
        prepared = self.worker("prepare", cycle=cycle, model=OURS, manager=self.ids["manager"])
        self._result("prepare a million", [prepared])
        batches = self.worker("batches", cycle=cycle)["batches"][:1000]
        self.worker("write", model=OURS, ids=[self.ids["manager"]], vals={"max_connections": 16})
        self.gateway.settings(latency_ms=0)
        begin = time.monotonic()
        processes = self._more_workers(2)
        answers = []
        # As jobs do: a batch each.
        for process, its in zip(processes, (batches[0::2], batches[1::2]), strict=True):
            process.begin(do="send_one_by_one", manager=self.ids["manager"], batches=its)
        answers = [process.end() for process in processes]
        sent = _together(answers)
        self._result("send half a million", [sent], more=True)
        self._say(f"  {time.monotonic() - begin:.0f} s; the ledger has {self._paid()} payments")
        sizes = self.worker(
            "sql",
            query="SELECT relname, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN"
            " ('g2p_payment', 'g2p_payment_mpesa_attempt', 'g2p_entitlement',"
            " 'g2p_payment_g2p_payment_batch_rel') ORDER BY 1",
        )["rows"]
        self._say("  " + ", ".join(f"{name} {size}" for name, size in sizes))
        self._plans()

    # What came out

    def _result(self, what, runs, against=None, more=False, **options):
        """Keep and print a figure; ``more``: more is better, and the ratio is of ``against``."""
        result = {"what": what, **options, "runs": runs}
        values = [run["payments"] / run["seconds"] if more or what == "floor" else _each(run) for run in runs]
        median = statistics.median(values)
        result |= {"median": median, "lowest": min(values), "highest": max(values)}
        note = ""
        if against:
            other = [run["payments"] / run["seconds"] if more else _each(run) for run in against]
            result["ratio"] = median / statistics.median(other)
            note = f"{result['ratio']:7.2f}"
        if what == "send" and against and options.get("workers") == 1:
            result["own_ms"] = _each(_median_run(runs)) - _each(_median_run(against))
            note += f", {result['own_ms']:.2f} ms our own"
        middle = _median_run(runs)
        number = middle["payments"]
        if "statements" not in middle and "cpu" in middle:
            note += f"   [cpu {1000 * middle['cpu'] / number:.2f} ms]"
        elif "cpu" in middle:
            note += (
                f"   [cpu {1000 * middle['cpu'] / number:.2f} ms, {middle['statements'] / number:.2f} SQL,"
                f" {middle['commits'] / number:.3f} commits, {middle['memory'] / 1e6:.0f} MB]"
            )
        if "cpu_gateway" in middle:
            gateway, database = (1000 * middle[name] / number for name in ("cpu_gateway", "cpu_database"))
            note += f" [cpu of the gateway {gateway:.2f} ms, of PostgreSQL {database:.2f} ms]"
        label = " ".join(f"{name} {value}" for name, value in options.items())
        self._say(f"  {what:24} {label:38} {median:9.2f} ({min(values):.2f} to {max(values):.2f}) {note}")
        self.results.append(result)

    def _say(self, line):
        print(line, flush=True)

    def _write(self):
        path = Path(os.environ["G2P_DEV_DIR"]) / "bench.json"
        heading = {"odoo": self._version, "python": platform.python_version(), "processors": os.cpu_count()}
        path.write_text(json.dumps({**heading, "results": self.results}, indent=1) + "\n")


def _stat(pid):
    """The kernel's figures of a process, from its state on; empty if it is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_of(pids, places=2):
    """Seconds of the processors: user and system, and with 4 places those of ended children too."""
    ticks = sum(int(number) for pid in pids for number in _stat(pid)[11 : 11 + places])
    return ticks / os.sysconf("SC_CLK_TCK")


def _each(run):
    """Milliseconds for one payment."""
    return 1000 * run["seconds"] / run["payments"]


def _median_run(runs):
    return sorted(runs, key=_each)[len(runs) // 2]


def _together(answers):
    """What several processes did at once, as one run."""
    begin, end = min(a["begin"] for a in answers), max(a["end"] for a in answers)
    added = ("payments", "cpu", "statements", "commits", "memory")
    sums = {name: sum(a[name] for a in answers) for name in added if name in answers[0]}
    return {**answers[0], **sums, "begin": begin, "end": end, "seconds": end - begin}


def _numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(prog="dev/bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few figures, short runs")
    parser.add_argument("--million", action="store_true", help="a million prepared, half of them sent")
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--beside", help="folders with OpenG2P's own module")
    parser.add_argument("--sizes", type=_numbers, help="payments to prepare (1000,10000,100000)")
    parser.add_argument(
        "--most-slow", type=int, default=10000, help="the largest size for the slow ways (10000)"
    )
    parser.add_argument("--latencies", type=_numbers, help="of the gateway, ms (0,20,100)")
    parser.add_argument("--connections", type=_numbers, help="of a worker (1,4,8,32)")
    parser.add_argument("--runs", type=int, help="runs of each figure (3)")
    parser.add_argument("--length", type=float, default=1, help="of a run of sending, a factor (1)")
    args = parser.parse_args()
    args.sizes = args.sizes or ([1000, 10000] if args.quick else [1000, 10000, 100000])
    args.latencies = args.latencies or ([0, 20] if args.quick else [0, 20, 100])
    args.connections = args.connections or ([1, 8] if args.quick else [1, 4, 8, 32])
    args.runs = args.runs or (2 if args.quick else 3)
    args.only = args.only or (PARTS[:2] if args.quick else PARTS)
    Bench(args).run()


if __name__ == "__main__":
    main()
