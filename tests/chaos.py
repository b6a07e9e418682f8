"""A seeded random walk through all that goes wrong, and the ledger against the database after each round.

Run by ``dev/chaos``, and by ``test_chaos`` for a few rounds. A seed decides what is ordered; what comes first
when several things happen at once is decided by the machine.
"""

import argparse
import contextlib
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from . import books
    from .calm import walk_calmly
    from .chaos_edges import Edges
    from .chaos_statements import Statements
    from .harness import GONE, PATIENCE, PEOPLE, Lab, load_dev
except ImportError:
    import books
    from calm import walk_calmly
    from chaos_edges import Edges
    from chaos_statements import Statements
    from harness import GONE, PATIENCE, PEOPLE, Lab, load_dev

# Faults of the gateway, ordered for single payees.
CLEAR = ("refuse", "not-allowed", "token-expired")
UNCLEAR = (
    *("500", "drop", "reset", "garbage", "cut-body", "cut-json", "cut-chunks", "html-502", "html-503"),
    *("status-error", "unknown-body", "empty", "frozen", "no-wallet", "429", "redirect"),
    *("interim-102", "interim-103", "surplus", "early"),
)
LATER = ("pending", "fails-later")
# Where a server dies or loses its connection.
DEATHS = (
    *("prepare-committing", "prepare-committed", "claim-before", "claim-committing", "claim-committed"),
    *("order-writing", "order-written", "order-answered"),
    *("outcome-before", "outcome-committing", "outcome-committed"),
)
LOSSES = ("claim-committing", "claim-committed", "outcome-committing", "outcome-committed")
STEPS = 12
# Seconds from step to step, for so many payments, and less for fewer: after they are sent little can happen.
PAUSE, PAYMENTS = (0.1, 0.6), 300
# The share of people for whom the gateway goes wrong.
TROUBLE = 0.15


@dataclass
class Report:
    """What one round did, and what was found after it."""

    seed: int
    full: bool
    seconds: float = 0
    rest: float = 0
    events: Counter = field(default_factory=Counter)
    states: Counter = field(default_factory=Counter)
    doubts: Counter = field(default_factory=Counter)
    problems: list = field(default_factory=list)
    # How many finance had to end.
    by_hand: int = 0

    def __str__(self):
        profile = "full" if self.full else "bare"
        doubts = sum(self.doubts.values())
        return (
            f"seed {self.seed} ({profile}, {self.seconds:.1f} s, {self.rest:.1f} s to rest):"
            f" {sum(self.states.values())} payments {_counts(self.states)};"
            f" {doubts} doubts {_counts(self.doubts)}; {_counts(self.events)};"
            f" {'; '.join(self.problems) or 'agree'}"
        )


def _counts(counter):
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


class Walk(Edges, Statements):
    """One round.

    :param Lab lab: with a server that was started with jobs.
    :param int cycles: of as many people each as the lab has.
    :param int connections: of each sender; None: 1, 4 or 8.
    """

    def __init__(self, lab, server, seed, cycles, connections=None):
        self.lab, self.server, self.gateway = lab, server, lab.gateway
        self.random = random.Random(seed)
        self.connections = connections
        self.report = Report(seed, full=self.random.random() < 0.5)
        self._cycles = cycles
        self._running = []

    def run(self):
        """Walk, come to rest, and compare. Gives the :class:`Report`."""
        begin = time.monotonic()
        self._set_out()
        for _step in range(STEPS):
            self._step()
            time.sleep(self.random.uniform(*PAUSE) * min(1, self._cycles * PEOPLE / PAYMENTS))
        begin_rest = time.monotonic()
        self._bring_all_up()
        self._rest()
        self._end_doubts()
        self.report.rest = time.monotonic() - begin_rest
        self._compare()
        self._go_back()
        self.report.seconds = time.monotonic() - begin
        return self.report

    # Setting out

    def _set_out(self):
        self._up()
        self._set_out_for_edges()
        self.server.forget_orders()
        self.lab.forget()
        self.lab.set_profile(self.report.full)
        self.lab.set_manager(
            api_timeout=1,
            mpesa_hold_until=None,
            max_connections=self.connections or self.random.choice((1, 4, 8)),
            max_requests_per_second=self.random.choice((0, 0, 0, 200)),
        )
        size = self.random.choice((7, 20, 500))
        self.lab.execute("UPDATE g2p_payment_batch_tag SET max_batch_size = %s", [size])
        self.gateway.settings(
            latency_ms=self.random.choice((0, 5, 20)), settle_seconds=0, seed=self.report.seed
        )
        amount = self.random.choice((10, 100, 1500))
        self.cycles = [self.lab.cycle(self.server, PEOPLE, amount) for _number in range(self._cycles)]
        self._order_faults()
        for cycle in self.cycles:
            self.server.prepare(cycle)
            self._in_background(self.server.send, cycle, self._login())

    def _order_faults(self):
        kinds = [*CLEAR, *(f"{kind}{flavour}" for kind in UNCLEAR for flavour in ("-taken", "-not-taken"))]
        kinds += LATER if self.report.full else ()
        for payee in self.random.sample(self._payees(), int(TROUBLE * PEOPLE)):
            kind = self.random.choice(kinds)
            arg = self.random.uniform(0.1, 1) if kind in LATER else None
            self.gateway.fault(payee, kind, arg, count=self.random.choice((1, 2, 3)))
            self.report.events[f"gateway {kind}"] += 1
        if self.random.random() < 0.3:
            # Longer than the time-out: judged at once, or when nobody waits for it any more.
            kind = self.random.choice(("late-taken", "late-taking"))
            self.gateway.fault(self.random.choice(self._payees()), kind, self.random.uniform(1.5, 3), count=1)
            self.report.events[f"gateway {kind}"] += 1

    def _payees(self):
        return [f"2547{number:08d}" for number in range(PEOPLE)]

    # Steps

    def _step(self):
        self._up()
        names, weights = zip(*((name, weight) for name, weight in self._steps().items()), strict=True)
        name = self.random.choices(names, weights)[0]
        self.report.events[name] += 1
        with contextlib.suppress(*GONE):
            getattr(self, f"_{name}")()

    def _steps(self):
        return {
            **{"send": 12, "prepare": 4, "schedule": 4, "edit": 3, "hours_pass": 2},
            **{"die": 6, "kill": 2, "lose": 4, "end_backends": 2, "database_away": 1},
            **{"gateway_dies": 2, "gateway_sleeps": 2, "latency": 2, "revoke": 2, "empty_float": 1},
            **self.edge_steps(),
            **self.statement_steps(),
        }

    def _login(self):
        return self.random.choice(("manager", "manager2"))

    def _cycle(self):
        return self.random.choice(self.cycles)

    def _send(self):
        self._in_background(self.server.send, self._cycle(), self._login())

    def _prepare(self):
        self._in_background(self.server.prepare, self._cycle(), self._login())

    def _schedule(self):
        self._in_background(self.lab.cron, self.server)

    def _hours_pass(self):
        self.lab.let_hours_pass()

    def _edit(self):
        self.lab.execute(
            "UPDATE g2p_payment SET payment_fee = coalesce(payment_fee, 0) + 1"
            " WHERE cycle_id = %s AND id %% 3 = 0",
            [self._cycle()],
        )

    def _die(self):
        self.server.order(self.random.choice(DEATHS), nth=self.random.randint(1, 12))

    def _kill(self):
        self.server.kill()

    def _lose(self):
        self.server.order(self.random.choice(LOSSES), "lose", nth=self.random.randint(1, 6))

    def _end_backends(self):
        self.lab.end_backends(self.server)

    def _database_away(self):
        with self.lab.database_away():
            time.sleep(self.random.uniform(0.1, 0.8))

    def _gateway_dies(self):
        self.gateway.kill()
        time.sleep(self.random.uniform(0, 0.5))
        self.gateway.restart()

    def _gateway_sleeps(self):
        self.gateway.freeze()
        time.sleep(self.random.uniform(0.2, 1.4))
        self.gateway.thaw()

    def _latency(self):
        self.gateway.settings(latency_ms=self.random.choice((0, 10, 50)), jitter_ms=10)

    def _revoke(self):
        self.gateway.settings(revoke_tokens=True)

    def _empty_float(self):
        self.gateway.settings(float=self.random.choice((0, 500, 5000)))

    def _in_background(self, function, *args):
        self._running.append(self.lab.background(self._patiently, function, *args))

    def _patiently(self, function, *args):
        # A click fails while the server dies; what the person is told then is not what is looked at here.
        with contextlib.suppress(load_dev("demo_rpc").RpcError, KeyError, *GONE):
            function(*args)

    def _up(self):
        if not self.server.running:
            self.report.events["restarted"] += 1
            self.server.restart()

    # The end

    def _bring_all_up(self):
        self.server.forget_orders()
        self._up()
        self.gateway.settings(float=10_000_000)
        for future in self._running:
            future.result(PATIENCE)
        self._up()
        self.gateway.clear_faults()
        self.gateway.settings(latency_ms=0, jitter_ms=0)
        self._address_as_before()
        # A new server, as after any bad day: the queue's runner does not survive each loss of its connection.
        self.server.kill()
        self.lab.let_hours_pass()
        # Nobody who has claimed anything is alive, and the new server sends as soon as it is up.
        self.lab.wait_for_backends()
        self.lab.let_leases_run_out()
        self.server.restart()
        self.lab.cron(self.server)
        self.lab.wait_for_jobs()

    def _rest(self):
        for cycle in self.cycles:
            self.server.prepare(cycle)
            self.lab.wait_for_jobs()
            self.lab.come_to_rest(self.server, cycle)

    def _compare(self):
        payments = [payment for cycle in self.cycles for payment in self.lab.payments(cycle)]
        ids = {payment["id"] for payment in payments}
        batches = {payment["batch_id"] for payment in payments}
        moves = [move for move in self.lab.moves() if move["payment_id"] in ids]
        again = self.report.full
        self.report.problems += [
            *books.disagreements(payments, self.gateway.ledger()),
            *books.wrong_moves(moves, again),
            *books.wrong_journal(payments, self.lab.attempts(), again),
            *books.wrong_figures([batch for batch in self.lab.figures() if batch["id"] in batches]),
        ]
        self.report.states.update(payment["state"] for payment in payments)
        doubted = {move["payment_id"] for move in moves if move["new"] == "doubt"}
        self.report.doubts.update(p["state"] for p in payments if p["id"] in doubted)
        self._everybody_is_accounted_for(payments)

    def _everybody_is_accounted_for(self, payments):
        """At rest nobody is under way, and nobody is forgotten."""
        open_ones = [p for p in payments if p["state"] in ("ready", "sending", "accepted")]
        self.report.problems += [f"payment {p['id']} is still {p['state']}" for p in open_ones]
        for cycle in self.cycles:
            entitled = self.lab.execute(
                "SELECT count(*) AS n, count(DISTINCT p.entitlement_id) AS paid FROM g2p_entitlement e"
                " LEFT JOIN g2p_payment p ON p.entitlement_id = e.id WHERE e.cycle_id = %s",
                [cycle],
            )[0]
            if entitled["paid"] < PEOPLE:
                self.report.problems.append(f"{PEOPLE - entitled['paid']} people of a cycle have no payment")


def walk(rounds, seed, cycles, connections=None, workers=0, tell=lambda line: None):
    """Walk ``rounds`` times, with the seeds ``seed``, ``seed + 1``, …; gives the reports.

    :param int workers: processes of the server; 0: one with threads. Two jobs run at once in any case.
    """
    reports = []
    with Lab() as lab:
        server = lab.server(jobs=2, workers=workers)
        for number in range(rounds):
            reports.append(Walk(lab, server, seed + number, cycles, connections).run())
            tell(reports[-1])
    return reports


def total(reports):
    """All rounds in a few lines."""
    events, states, doubts = Counter(), Counter(), Counter()
    for report in reports:
        events, states, doubts = events + report.events, states + report.states, doubts + report.doubts
    wrong = [report for report in reports if report.problems]
    payments = sum(states.values())
    ended = payments - states["doubt"] - sum(report.by_hand for report in reports)
    return "\n".join(
        (
            f"{len(reports)} rounds, seeds {reports[0].seed} to {reports[-1].seed},"
            f" {sum(report.seconds for report in reports):.0f} s",
            f"{payments} payments: {_counts(states)}",
            f"{sum(doubts.values())} were in doubt for a time; now: {_counts(doubts)}",
            f"{100 * ended / payments:.3f} % ended without a person;"
            f" {max(report.rest for report in reports):.1f} s to rest at the most",
            f"what happened: {_counts(events)}",
            f"rounds that do not agree: {len(wrong)}"
            + "".join(f"\n  seed {report.seed}: {'; '.join(report.problems)}" for report in wrong),
        )
    )


def _say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv=None):
    """The command line. Exit status 0 only if all rounds agree."""
    parser = argparse.ArgumentParser(prog="dev/chaos", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20, help="how many (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (1)")
    parser.add_argument("--cycles", type=int, default=5, help=f"of {PEOPLE} people each, in a round (5)")
    parser.add_argument(
        "--calm",
        action="store_true",
        help="instead: a lost answer in a hundred and a death each minute, in real time: half an hour",
    )
    parser.add_argument("--payments", type=int, default=3000, help="with --calm: how many (3000)")
    parser.add_argument("--connections", type=int, help="of each sender (1, 4 or 8, as the seed has it)")
    parser.add_argument("--workers", type=int, default=0, help="processes of the server (one with threads)")
    args = parser.parse_args(argv)
    if args.calm:
        problems = walk_calmly(args.payments, args.seed, tell=_say)
        _say("; ".join(problems) or "ledger and database agree")
        return int(bool(problems))
    reports = walk(args.rounds, args.seed, args.cycles, args.connections, args.workers, tell=_say)
    _say(total(reports))
    return int(any(report.problems for report in reports))


if __name__ == "__main__":
    sys.exit(main())
