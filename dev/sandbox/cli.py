"""The command line."""

import argparse
import contextlib
import errno
import json
import os
import signal
import sqlite3
import sys
import textwrap

import gevent
from gevent.socket import wait_read

from .app import SUPER_AGENT, Agent, Gateway
from .client import PATHS
from .faults import CALLS, KINDS, NOT_TAKEN, TAKEN, FaultError, parse
from .ledger import Ledger, LedgerInUseError
from .settings import SettingError, Settings
from .wire import Server

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8750
DEFAULT_AGENT = ("agent@example.org", "sandbox-secret")


class CannotStartError(Exception):
    """Why the gateway does not run, in a sentence."""


def main(argv=None):
    """Run the gateway until it is told to stop. Exit status 0, or 1 with a sentence."""
    args = _parser().parse_args(argv)
    try:
        _run(args)
    except CannotStartError as ex:
        sys.stderr.write(f"{ex}\n")
        return 1
    return 0


# -- options -----------------------------------------------------------------------------------------------


def _agent(text):
    email, _, password = text.partition(":")
    if "@" not in email or not password:
        raise argparse.ArgumentTypeError(f"{text!r} is not EMAIL:PASSWORD")
    return email, password


def _host(text):
    if text not in (LOOPBACK, "localhost"):
        raise argparse.ArgumentTypeError(f"a sandbox listens on {LOOPBACK} only, not on {text!r}")
    return LOOPBACK


def _port(text):
    if not (text.isdecimal() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0: any that is free)")
    return int(text)


def _fault(text):
    try:
        return parse(text)
    except FaultError as ex:
        raise argparse.ArgumentTypeError(str(ex)) from ex


def _json_of(kind):
    def read(text):
        try:
            value = json.loads(text)
        except ValueError as ex:
            raise argparse.ArgumentTypeError(f"no JSON: {ex}") from ex
        if not isinstance(value, kind):
            raise argparse.ArgumentTypeError(f"a JSON {'list' if kind is list else 'object'} is wanted")
        return value

    return read


def _kinds_help():
    """The table of faults."""
    groups = {
        "Of a deposit, no money moves": [k for k in KINDS if k.money == "no"],
        f"Of a deposit, with {TAKEN} or {NOT_TAKEN} behind the name; some of other calls, without":
            [k for k in KINDS if k.money == "either"],
        "Of a deposit, the money moves": [k for k in KINDS if k.money == "yes"],
        "Of other calls only": [k for k in KINDS if k.money is None],
    }  # fmt: skip
    lines = []
    for title, kinds in groups.items():
        lines.append(f"{title}:")
        lines.extend(_kind_lines(kind) for kind in kinds)
        lines.append("")
    return "\n".join(lines)


def _kind_lines(kind):
    name = f"{kind.name}[:{kind.argument}]" if kind.argument else kind.name
    return textwrap.fill(
        kind.text, 100, initial_indent=f"  {name:<24} ", subsequent_indent=" " * 27, break_on_hyphens=False
    )


EPILOG = f"""
faults: PAYEE=KIND[:ARG][*COUNT][@PROBABILITY]
PAYEE is the account as it is sent, * for every deposit, or one of {", ".join(CALLS)}.
COUNT is how many times (without it: for ever), PROBABILITY from 0 to 1. A payee's own faults come first, then
those of *, each in the order given; a fault with a count goes when it is used up.


  --fault 254700000003=late-taken:30        paid, but answered after half a minute
  --fault '*=drop-taken*2'                  the next two deposits are paid and never answered
  --fault '*=500-not-taken@0.05' --seed 7   five in a hundred, the same ones each time
  --fault login=late:8

{_kinds_help()}
With -not-taken, a kind that has no words of its own says 500 "Something has happened. Report Issue."

control over HTTP, while it runs (JSON):
  GET    /                   the page
  GET    /sandbox/ledger     entries, paid by payee, count, total, float (?since=ID, ?limit=N)
  GET    /sandbox/requests   counters; how many deposits were in flight at once, in all and to one payee
  GET    /sandbox/settings   POST sets some: latency_ms, jitter_ms, float, token_ttl, status, idempotency,
                             settle_seconds, payee_pattern, seed, and "revoke_tokens": true
  GET    /sandbox/faults     POST adds: [{{"payee", "kind", "arg", "count", "probability"}}]; DELETE clears
  POST   /sandbox/reset      empties the ledger
"""


def _parser():
    parser = argparse.ArgumentParser(
        prog="dev/gateway",
        description="A gateway to try a set-up with: it speaks the Simple M-Pesa protocol, keeps a ledger\n"
        "and goes wrong in the ways that you order. No money is in it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_place(parser)
    _add_money(parser)
    _add_behaviour(parser)
    _add_for_programs(parser)
    return parser


def _add_place(parser):
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0: any free one"
    )
    parser.add_argument("--host", type=_host, default=LOOPBACK, help=f"{LOOPBACK} only")


def _add_money(parser):
    parser.add_argument(
        "--ledger",
        metavar="FILE",
        help="SQLite file with the books; default: in memory, gone at the end",
    )
    parser.add_argument(
        "--float",
        type=int,
        default=10_000_000,
        metavar="N",
        help="shillings in a new ledger (%(default)s)",
    )
    email, password = DEFAULT_AGENT
    parser.add_argument(
        "--agent",
        type=_agent,
        action="append",
        default=[],
        metavar="EMAIL:PASSWORD",
        help=f"who may log in, can be repeated; default {email}:{password}",
    )
    parser.add_argument(
        "--super-agent",
        type=_agent,
        action="append",
        default=[],
        metavar="EMAIL:PASSWORD",
        help="a super agent, who may deposit for agents only",
    )
    parser.add_argument(
        "--payee-pattern", metavar="REGEX", help="which accounts exist; default: 6 to 20 digits, or an e-mail"
    )


def _add_behaviour(parser):
    parser.add_argument(
        "--profile",
        choices=("bare", "full"),
        default="bare",
        help="bare (default): the reference server; full: with status endpoint and idempotency key",
    )
    parser.add_argument("--status", action=argparse.BooleanOptionalAction, help="the status endpoint alone")
    parser.add_argument(
        "--idempotency", action=argparse.BooleanOptionalAction, help="the idempotency key alone"
    )
    parser.add_argument("--latency", type=float, metavar="MS", help="milliseconds that each answer takes")
    parser.add_argument("--jitter", type=float, metavar="MS", help="up to so many milliseconds more")
    parser.add_argument("--token-ttl", type=float, metavar="SECONDS", help="default six hours")
    parser.add_argument(
        "--settle", type=float, metavar="SECONDS", help="a deposit's status is pending for so long; default 0"
    )
    parser.add_argument(
        "--fault", type=_fault, action="append", default=[], metavar="FAULT", help="a fault, see below"
    )
    parser.add_argument("--seed", type=int, help="for probability and jitter: the same dice each time")


def _add_for_programs(parser):
    group = parser.add_argument_group("for programs that start it")
    group.add_argument(
        "--settings",
        type=_json_of(dict),
        default={},
        metavar="JSON",
        help="as POSTed, stronger than the options",
    )
    group.add_argument(
        "--faults", type=_json_of(list), metavar="JSON", help="as POSTed, instead of all --fault"
    )
    group.add_argument("--quiet", action="store_true", help="only the JSON line")
    group.add_argument("--until-eof", action="store_true", help="end when standard input is closed")


# -- running -----------------------------------------------------------------------------------------------


def _run(args):
    ledger = _open_ledger(args)
    try:
        gateway = _gateway(args, ledger)
        server = _listen(args, gateway)
        _announce(args, server.server_port)
        _serve(args, server)
    finally:
        ledger.close()


def _open_ledger(args):
    if args.float < 0:
        raise CannotStartError("The float is a whole number of shillings from 0 up.")
    try:
        return Ledger(args.ledger, args.float)
    except LedgerInUseError as ex:
        raise CannotStartError(f"The ledger {ex} is in use by another gateway.") from ex
    except (OSError, sqlite3.Error) as ex:
        raise CannotStartError(f"The ledger {args.ledger} cannot be opened: {ex}.") from ex


def _gateway(args, ledger):
    agents = [Agent(*agent) for agent in args.agent or ([] if args.super_agent else [DEFAULT_AGENT])]
    agents += [Agent(*agent, SUPER_AGENT) for agent in args.super_agent]
    gateway = Gateway(ledger, agents, Settings(), args.seed)
    try:
        gateway.control.apply({**_settings(args), **args.settings})
        if args.faults is not None:
            gateway.control.order(args.faults)
    except (SettingError, FaultError) as ex:
        raise CannotStartError(f"{ex}.") from ex
    for fault in args.fault if args.faults is None else ():
        gateway.faults.add(fault)
    return gateway


def _settings(args):
    """The settings in the options; those that were not given are left out."""
    full = args.profile == "full"
    given = {
        "latency_ms": args.latency,
        "jitter_ms": args.jitter,
        "token_ttl": args.token_ttl,
        "settle_seconds": args.settle,
        "payee_pattern": args.payee_pattern,
        "status": full if args.status is None else args.status,
        "idempotency": full if args.idempotency is None else args.idempotency,
    }
    return {name: value for name, value in given.items() if value is not None}


def _listen(args, gateway):
    server = Server(args.host, args.port, gateway)
    gateway.connections = lambda: server.connections
    try:
        server.start()
    except OSError as ex:
        if ex.errno == errno.EADDRINUSE:
            text = f"Port {args.port} is taken: choose another with --port, or --port 0 for any that is free."
        else:
            text = f"Cannot listen on port {args.port}: {os.strerror(ex.errno)}."
        raise CannotStartError(text) from ex
    return server


def _announce(args, port):
    url = f"http://{LOOPBACK}:{port}"
    if not args.quiet:
        sys.stderr.write(_welcome(url, args))
    sys.stdout.write(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


def _welcome(url, args):
    agents = args.agent or args.super_agent or [DEFAULT_AGENT]
    shown = {
        "The page": f"{url}/",
        "Log in at": url + PATHS["login"],
        "Deposit at": url + PATHS["deposit"],
        "Balance at": url + PATHS["balance"],
        "As": f"{agents[0][0]} with the password {agents[0][1]}",
        "Ledger": args.ledger or "in memory, gone at the end",
        "End with": "Ctrl-C",
    }
    if args.status or (args.status is None and args.profile == "full"):
        shown["Status at"] = url + PATHS["status"]
    return "".join(f"{name:<11} {value}\n" for name, value in shown.items())


def _serve(args, server):
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, server.stop, timeout=0)
    if args.until_eof:
        gevent.spawn(_stop_at_eof, server)
    server.serve_forever()


def _stop_at_eof(server):
    while True:
        wait_read(0)
        with contextlib.suppress(BlockingIOError):
            if not os.read(0, 1024):
                break
    server.stop(timeout=0)
