"""Faults to order: which kinds there are, how an order is written, and whose turn it is."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from . import answers
from .answers import Answer

EVERY_PAYEE = "*"
# What can be ordered for a payee, and for the other calls under their own names.
CALLS = ("login", "balance", "statement", "status")

TAKEN, NOT_TAKEN = "-taken", "-not-taken"
GARBAGE = "\x00\xff\x16\x03\x01 this is no HTTP \x80\x81\r\n\r\n"
UNKNOWN_BODY = '{"outcome": "perhaps", "code": 17}'


class FaultError(ValueError):
    """An order that cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of going wrong.

    `money`: for a deposit, whether it moves: "no", "yes", or "either" (then it is ordered with -taken or
    -not-taken behind the name). None: not for deposits. `calls`: the other calls that it can be ordered for.
    `answer`: makes the answer from the argument; None leaves the gateway's own (with -not-taken a 500).
    `own`: the gateway itself says it and remembers it; else something before it does, or nobody.
    `wire`: the act of `wire.Wire` that sends the answer. `delay`: wait "before" taking or "after" it.
    `argument`: SECONDS, TEXT or none; `default` where none is given. `count`: how many times if not said.
    """

    name: str
    text: str
    money: str | None = "either"
    calls: tuple[str, ...] = CALLS
    answer: Callable[[str], Answer] | None = None
    own: bool = False
    wire: str | None = None
    delay: str | None = None
    argument: str | None = None
    default: str | float | None = None
    count: int | None = None


def _refusal(name, text, answer, default):
    return Kind(name, text, money="no", calls=(), own=True, answer=answer, argument="TEXT", default=default)


def _fixed(answer):
    return lambda arg: answer


def _error(status):
    return lambda message: answers.error(status, message, "ordered")


def _proxy(status, title):
    return Kind(
        f"html-{status}", f"HTML with status {status}", answer=_fixed(answers.html(status, title, "html"))
    )


def _text(status, **fields):
    return lambda body: Answer(status, body.encode(), "ordered", **fields)


def _too_many(seconds):
    return answers.error(429, "slow down", "too-many", headers=(("Retry-After", f"{seconds:g}"),))


def _redirect(path):
    return Answer(307, b"", "redirect", headers=(("Location", path),))


STATUS_ERROR = '{"status": "error", "message": "Transaction failed"}'
ELSEWHERE = "/api/transaction/deposit/elsewhere"

KINDS = (
    # Refusals: the answer is clear, no money moves.
    _refusal("refuse", "400: no such payee; TEXT replaces the sentence", _error(400), "user not found"),
    _refusal(
        "not-allowed",
        "400: a kind of payee that may not be paid; TEXT replaces the sentence",
        _error(400),
        answers.NOT_ALLOWED.reason,
    ),
    _refusal(
        "same-account",
        "400: payer and payee are the same; TEXT replaces the sentence",
        _error(400),
        answers.SAME_ACCOUNT.reason,
    ),
    _refusal("no-float", "500: not enough float; TEXT is the balance it speaks of", None, "0"),
    Kind(
        "token-expired",
        "401, once if no count is given; TEXT replaces the sentence",
        money="no",
        calls=("balance", "statement", "status"),
        answer=answers.unauthorized,
        argument="TEXT",
        default="token has expired or is invalid",
        count=1,
    ),
    # Said by the gateway itself, and it may be true of either of its two writes.
    Kind(
        "no-wallet",
        "400: the payee has no wallet yet",
        calls=(),
        answer=_fixed(answers.NO_WALLET),
        own=True,
    ),
    Kind(
        "frozen",
        "500: an account is frozen; TEXT is the reason",
        calls=(),
        answer=answers.frozen,
        own=True,
        argument="TEXT",
        default="account is frozen",
    ),
    Kind(
        "500",
        "500; TEXT replaces 'Something has happened'",
        answer=_error(500),
        own=True,
        argument="TEXT",
        default=answers.SOMETHING_HAPPENED.reason,
    ),
    Kind("status-error", "200 with status 'error'", answer=lambda arg: _text(200)(STATUS_ERROR), own=True),
    Kind(
        "unknown-body",
        "200 with a body that nobody knows; TEXT is the body",
        answer=_text(200),
        own=True,
        argument="TEXT",
        default=UNKNOWN_BODY,
    ),
    # Said by something before the gateway.
    _proxy(200, "Welcome"),
    _proxy(502, "Bad Gateway"),
    _proxy(503, "Service Unavailable"),
    _proxy(504, "Gateway Time-out"),
    Kind("429", "429, Retry-After SECONDS", answer=_too_many, argument="SECONDS", default=1),
    Kind("empty", "200 with an empty body", answer=_fixed(Answer(200, b"", "empty"))),
    Kind(
        "redirect",
        "307 to the URL TEXT; without it, to one that pays whoever follows",
        answer=_redirect,
        argument="TEXT",
        default=ELSEWHERE,
    ),
    # What the network does.
    Kind("drop", "close the connection without an answer", wire="drop"),
    Kind("reset", "reset the connection (RST) without an answer", wire="reset"),
    Kind(
        "garbage",
        "send bytes that are no HTTP and close; TEXT is the bytes, one for each character",
        wire="garbage",
        argument="TEXT",
        default=GARBAGE,
    ),
    Kind("cut-headers", "close in the middle of the headers", own=True, wire="cut_headers"),
    Kind("cut-body", "close in the middle of the body", own=True, wire="cut_body"),
    Kind("cut-chunks", "a chunked body that ends without its last chunk", own=True, wire="cut_chunks"),
    Kind("cut-json", "a whole HTTP answer with half of the JSON", own=True, wire="cut_json"),
    Kind(
        "drip",
        "send the answer byte by byte for SECONDS",
        own=True,
        wire="drip",
        argument="SECONDS",
        default=30,
    ),
    Kind("hang-up", "a whole answer, then close the kept connection", own=True, wire="hang_up"),
    Kind("interim-102", "an interim answer (102), then the answer", own=True, wire="interim_102"),
    Kind("interim-103", "an interim answer (103), then the answer", own=True, wire="interim_103"),
    Kind("surplus", "the answer, and at once a success that nobody asked for", own=True, wire="surplus"),
    Kind(
        "early",
        "the answer, and before the next request a success that nobody asked for",
        own=True,
        wire="early",
    ),
    # Time.
    Kind(
        "late",
        "answer SECONDS late (a deposit is taken at once)",
        own=True,
        delay="after",
        argument="SECONDS",
        default=30,
    ),
    Kind(
        "late-taking",
        "take the deposit after SECONDS, then answer",
        money="yes",
        calls=(),
        own=True,
        delay="before",
        argument="SECONDS",
        default=30,
    ),
    # What the status endpoint says later.
    Kind(
        "pending",
        "taken; its status is pending for SECONDS, for ever if none are given",
        money="yes",
        calls=(),
        own=True,
        argument="SECONDS",
        default=float("inf"),
    ),
    Kind(
        "fails-later",
        "taken; pending for SECONDS, then failed and the money is back",
        money="yes",
        calls=(),
        own=True,
        argument="SECONDS",
        default=1,
    ),
    # Before anything is read, so not for a single payee.
    Kind(
        "drop-unread",
        "close the connection before the body is read (for * or a call)",
        money="no",
        wire="drop_unread",
    ),
    # Of the other calls only.
    Kind(
        "wrong-password", "401", money=None, calls=("login",), answer=_fixed(answers.WRONG_PASSWORD), own=True
    ),
    Kind(
        "no-such-agent",
        "400: user not found",
        money=None,
        calls=("login",),
        answer=_fixed(answers.NO_SUCH_AGENT),
        own=True,
    ),
    Kind(
        "not-found",
        "404, as for a reference that was never seen",
        money=None,
        calls=("status",),
        answer=_fixed(answers.never_seen("(ordered)")),
        own=True,
    ),
)


def _deposit_names(kind):
    if kind.money == "either":
        return {kind.name + TAKEN: (kind, True), kind.name + NOT_TAKEN: (kind, False)}
    return {} if kind.money is None else {kind.name: (kind, kind.money == "yes")}


DEPOSIT_KINDS = {name: what for kind in KINDS for name, what in _deposit_names(kind).items()}
CALL_KINDS = {call: {kind.name: kind for kind in KINDS if call in kind.calls} for call in CALLS}


@dataclass(slots=True)
class Fault:
    """An order in force. `left` None: for ever. `takes`: whether a deposit moves its money."""

    target: str
    name: str
    kind: Kind
    takes: bool
    arg: str | float | None
    left: int | None
    probability: float = 1.0

    def as_dict(self):
        """As it would be ordered now."""
        for_ever = None if self.kind.count is None else 0
        return {
            "payee": self.target,
            "kind": self.name,
            "arg": None if self.arg == float("inf") else self.arg,
            "count": for_ever if self.left is None else self.left,
            "probability": self.probability,
        }


def _known_kind(target, name):
    if target in CALLS:
        if name not in CALL_KINDS[target]:
            known = ", ".join(CALL_KINDS[target])
            raise FaultError(f"{target!r} knows no fault {name!r}; it knows {known}")
        return CALL_KINDS[target][name], False
    if name + TAKEN in DEPOSIT_KINDS:
        raise FaultError(f"say whether the money moves: {name}{TAKEN} or {name}{NOT_TAKEN}")
    if name not in DEPOSIT_KINDS:
        raise FaultError(f"there is no fault {name!r} of a deposit; there are {', '.join(DEPOSIT_KINDS)}")
    if name == "drop-unread" and target != EVERY_PAYEE:
        raise FaultError("drop-unread comes before the payee is known: order it for * or for a call")
    return DEPOSIT_KINDS[name]


def _checked_argument(kind, arg):
    if arg in (None, ""):
        return kind.default
    if kind.argument is None:
        raise FaultError(f"{kind.name} has no argument")
    if kind.argument == "SECONDS":
        return _seconds(kind, arg)
    if kind.name == "garbage" and any(ord(char) > 255 for char in str(arg)):
        raise FaultError("garbage: one character for each byte, none above 255")
    if kind.name == "no-float" and not str(arg).isdecimal():
        raise FaultError("no-float: a balance in whole shillings")
    if kind.name == "redirect" and not re.fullmatch(r"[!-~]+", str(arg)):
        raise FaultError("redirect: a path or URL without blanks")
    return str(arg)


def _seconds(kind, arg):
    try:
        seconds = float(arg)
    except (TypeError, ValueError) as ex:
        raise FaultError(f"{kind.name} needs a number of seconds, not {arg!r}") from ex
    if not 0 <= seconds <= 86_400 * 365:
        raise FaultError(f"{kind.name}: seconds from 0 to a year")
    return seconds


def _checked_count(kind, count):
    """None: for ever, or once for a kind that says so; 0: for ever."""
    if count is None:
        return kind.count
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise FaultError(f"count is how many times, not {count!r} (0: for ever)")
    return count or None


def _checked_probability(probability):
    if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise FaultError(f"probability is a number from 0 to 1, not {probability!r}")
    return float(probability)


def make(payee, kind, arg=None, count=None, probability=1.0):
    """The fault of an order.

    :param payee: the payee's account as it is sent, `*` for every deposit, or one of CALLS
    :raise FaultError: there is no such fault, or it makes no sense
    """
    if not isinstance(payee, str) or not payee or not isinstance(kind, str):
        raise FaultError("a fault has a payee and a kind, both text")
    known, takes = _known_kind(payee, kind)
    return Fault(
        target=payee,
        name=kind,
        kind=known,
        takes=takes,
        arg=_checked_argument(known, arg),
        left=_checked_count(known, count),
        probability=_checked_probability(probability),
    )


WRITTEN = re.compile(
    r"(?P<payee>[^=]+)=(?P<kind>[a-z0-9-]+)(?::(?P<arg>.*?))?(?:\*(?P<count>\d+))?(?:@(?P<probability>[\d.]+))?",
    re.DOTALL,
)


def parse(text):
    """The fault of `PAYEE=KIND[:ARG][*COUNT][@PROBABILITY]`.

    :raise FaultError: it cannot be read, or makes no sense
    """
    match = WRITTEN.fullmatch(text)
    if not match:
        raise FaultError(f"{text!r} is not PAYEE=KIND[:ARG][*COUNT][@PROBABILITY]")
    order = match.groupdict()
    try:
        count = int(order["count"]) if order["count"] else None
        probability = float(order["probability"] or 1)
    except ValueError as ex:
        raise FaultError(f"{text!r}: the probability is no number") from ex
    return make(order["payee"], order["kind"], order["arg"], count, probability)


class FaultBook:
    """The faults in force, in the order in which they came. Those of a payee go before those of all."""

    def __init__(self, seed=None):
        self._of = {}
        self.seed(seed)

    def seed(self, seed):
        """Start the dice again."""
        self._dice = random.Random(seed)

    def add(self, fault):
        """Put a fault in force, after those that its target has."""
        self._of.setdefault(fault.target, []).append(fault)

    def clear(self, target=None):
        """Forget all faults, or those of one target."""
        if target is None:
            self._of.clear()
        else:
            self._of.pop(target, None)

    def in_force(self):
        """All faults with times left."""
        return [fault for faults in self._of.values() for fault in faults]

    def for_deposit(self, payee):
        """The fault of this deposit, used up by one, or None."""
        if not self._of:
            return None
        return self._next(payee) or self._next(EVERY_PAYEE)

    def for_call(self, call):
        """The fault of this login, balance, statement or status call, used up by one, or None."""
        return self._next(call) if self._of else None

    def before_reading(self, target):
        """A drop-unread fault of this target whose turn it is, used up by one, or None."""
        return self._next(target, unread=True) if self._of else None

    def _next(self, target, unread=False):
        for fault in self._of.get(target, ()):
            if (fault.name == "drop-unread") is not unread:
                continue
            if fault.probability < 1 and self._dice.random() >= fault.probability:
                continue
            self._use(fault)
            return fault
        return None

    def _use(self, fault):
        if fault.left is None:
            return
        fault.left -= 1
        if fault.left == 0:
            self._of[fault.target].remove(fault)
            if not self._of[fault.target]:
                del self._of[fault.target]
