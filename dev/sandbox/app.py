"""The gateway itself: a WSGI application that speaks the Simple M-Pesa protocol."""

import hmac
import itertools
import json
import random
import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import parse_qsl

from . import answers
from .answers import AnsweredError
from .control import Control
from .faults import ELSEWHERE, EVERY_PAYEE, FaultBook
from .ledger import COMPLETED, FAILED, Order, moment
from .settings import Settings
from .tokens import TokenError, Tokens
from .traffic import Traffic
from .wire import KEY

AGENT, SUPER_AGENT = "agent", "super_agent"
CUSTOMER_TYPES = ("subscriber", "agent", "merchant")
FORM = "application/x-www-form-urlencoded"
MAX_BODY = 1 << 20
MAX_AMOUNT = 2**64 - 1
STATEMENT_ROWS = 5
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
HOSTS = ("127.0.0.1", "localhost", "")
AGENTS_NAMESPACE = uuid.UUID("5d0c3f5e-6f2c-4b57-9a0e-0a53f1f6a001")


@dataclass(frozen=True)
class Agent:
    """Who may log in. `kind`: agent or super_agent."""

    email: str
    password: str
    kind: str = AGENT

    @cached_property
    def user_id(self):
        """The same for the same e-mail address, also after a restart."""
        return str(uuid.uuid5(AGENTS_NAMESPACE, self.email))


class Call:
    """One HTTP request. `subject`: what the page shows of it. `flight`: of a deposit on its way."""

    __slots__ = ("environ", "flight", "method", "number", "path", "subject", "wire")

    def __init__(self, environ, number):
        self.environ = environ
        self.number = number
        self.method = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"]
        self.wire = environ[KEY]
        self.subject = ""
        self.flight = None

    def header(self, name):
        """A header's text, None if it did not come."""
        return self.environ.get("HTTP_" + name.upper().replace("-", "_"))

    def query(self):
        """The query string; of a name that comes twice the first."""
        return _first_values(self.environ["QUERY_STRING"])

    def form(self):
        """The form in the body; empty when the body is no form."""
        content_type = self.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        body = self.body()
        return _first_values(body.decode("utf-8", "replace")) if content_type == FORM else {}

    def json(self):
        """The JSON in the body.

        :raise ValueError: it is none
        """
        return json.loads(self.body() or b"{}")

    def body(self):
        """The whole body. One that the client cuts short is answered, in case that it still listens."""
        if int(self.environ.get("CONTENT_LENGTH") or 0) > MAX_BODY:
            raise AnsweredError(answers.BODY_TOO_LARGE)
        try:
            return self.environ["wsgi.input"].read(MAX_BODY)
        except OSError as ex:
            raise AnsweredError(answers.BODY_CUT) from ex

    def wait(self, seconds):
        """Wait, and note if the client hangs up meanwhile."""
        return self.wire.wait(seconds, self.flight.end if self.flight else None)


def _first_values(text):
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))


class Gateway:
    """The application, with all that it keeps."""

    def __init__(self, ledger, agents, settings=None, seed=None):
        self.ledger = ledger
        self.agents = {agent.email: agent for agent in agents}
        self.agents_by_id = {agent.user_id: agent for agent in agents}
        self.settings = settings or Settings()
        self.faults = FaultBook(seed)
        self.dice = random.Random(seed)
        self.traffic = Traffic()
        self.tokens = Tokens(ledger.secret, ledger.generation)
        self.numbers = itertools.count(ledger.last_request_no() + 1)
        self.connections = lambda: 0
        self._being_judged = set()
        self.control = Control(self)
        self.routes = {
            "/api/login/agent": {"POST": self.log_in},
            "/api/transaction/deposit": {"POST": self.deposit},
            ELSEWHERE: {"POST": self.deposit_elsewhere},
            "/api/account/balance": {"GET": self.balance},
            "/api/account/statement": {"GET": self.statement},
            "/api/transaction/status": {"GET": self.status},
            **self.control.routes,
        }

    def __call__(self, environ, start_response):
        call = Call(environ, next(self.numbers))
        try:
            answer = self._handler_of(call)(call)
        except AnsweredError as ex:
            answer = ex.answer
        self.traffic.note(call, answer)
        if call.wire.used:
            return []
        start_response(answer.status_line, answer.header_list())
        return [answer.body]

    def _handler_of(self, call):
        # A web page elsewhere can make a browser call 127.0.0.1, but not under its name.
        if (call.header("Host") or "").partition(":")[0] not in HOSTS:
            raise AnsweredError(answers.STRANGE_HOST)
        methods = self.routes.get(call.path)
        # A deployment without a status endpoint does not know the path.
        if methods is None or (call.path == "/api/transaction/status" and not self.settings.status):
            raise AnsweredError(answers.NO_SUCH_PATH)
        if call.method not in methods:
            raise AnsweredError(answers.METHOD_NOT_ALLOWED)
        return methods[call.method]

    # -- the calls but the deposit -------------------------------------------------------------------------

    def log_in(self, call):
        """POST /api/login/agent."""
        return self._with_fault(call, "login", self._log_in)

    def _log_in(self, call):
        form = call.form()
        email, password = form.get("email", ""), form.get("password", "")
        call.subject = email
        messages = [f"{name} is a required field" for name in ("email", "password") if not form.get(name)]
        if email and not EMAIL.fullmatch(email):
            messages.insert(0, "email must be a valid email address")
        if messages:
            return answers.login_errors(messages)
        agent = self.agents.get(email)
        if agent is None:
            return answers.NO_SUCH_AGENT
        if not hmac.compare_digest(agent.password.encode(), password.encode()):
            return answers.WRONG_PASSWORD
        token = self.tokens.issue(agent.user_id, agent.kind, self.settings.token_ttl)
        return answers.as_json({"userId": agent.user_id, "userType": agent.kind, "token": token})

    def balance(self, call):
        """GET /api/account/balance."""
        return self._with_fault(call, "balance", self._balance)

    def _balance(self, call):
        return answers.balance(self._agent_of(call).user_id, self.ledger.float)

    def statement(self, call):
        """GET /api/account/statement."""
        return self._with_fault(call, "statement", self._statement)

    def _statement(self, call):
        user_id = self._agent_of(call).user_id
        rows = self.ledger.newest(STATEMENT_ROWS, agent=user_id)
        return answers.statement(user_id, [_movement(row) for row in rows])

    def status(self, call):
        """GET /api/transaction/status?reference=."""
        return self._with_fault(call, "status", self._status)

    def _status(self, call):
        self._agent_of(call)
        reference = call.query().get("reference")
        call.subject = reference or ""
        if not reference:
            return answers.missing_fields(["reference"])
        row = self.ledger.find(reference)
        if row is not None:
            reason = "the payment was reversed" if row["state"] == FAILED else None
            return answers.status(reference, row["state"], row["amount"], row["transaction_id"], reason)
        judged = self.ledger.judged(reference)
        if judged is not None:
            return answers.status(reference, FAILED, judged.amount, reason=judged.answer.reason)
        return answers.never_seen(reference)

    def _with_fault(self, call, name, handle):
        """Answer a call that moves no money, with the fault that is ordered for it."""
        self._unread(call, name)
        fault = self.faults.for_call(name)
        if fault and fault.kind.answer:
            call.body()
            answer = fault.kind.answer(fault.arg).named(fault.name)
        else:
            answer = handle(call)
        self._pause(call, 1)
        return self._send(call, fault, answer)

    def _agent_of(self, call):
        """The agent whose token came with the call."""
        try:
            agent = self.agents_by_id.get(self.tokens.user_of(call.header("Authorization")))
        except TokenError as ex:
            raise AnsweredError(answers.unauthorized(str(ex))) from ex
        if agent is None:
            raise AnsweredError(answers.unauthorized("invalid token"))
        return agent

    # -- the deposit ---------------------------------------------------------------------------------------

    def deposit(self, call):
        """POST /api/transaction/deposit."""
        self._unread(call, EVERY_PAYEE)
        form = call.form()
        agent = self._agent_of(call)
        order = self._order_of(call, form)
        with self.traffic.flight(order) as call.flight:
            fault = self.faults.for_deposit(order.payee)
            self._pause(call, 0.5)
            answer = self._judge_in_turn(call, agent, order, fault)
            self._pause(call, 0.5)
            return self._send(call, fault, self._answer_outside(fault, answer))

    def deposit_elsewhere(self, call):
        """Where a redirect points to: a client that follows it has paid here, without a fault."""
        form = call.form()
        agent = self._agent_of(call)
        order = self._order_of(call, form)
        with self.traffic.flight(order):
            return self._judge(call, agent, order, None)

    def _order_of(self, call, form):
        amount = _whole_shillings(form.get("amount", ""))
        fields = {
            "amount": amount,
            "accountNo": form.get("accountNo"),
            "customerType": form.get("customerType"),
        }
        missing = [name for name, value in fields.items() if not value]
        call.subject = f"{form.get('accountNo', '')} {form.get('amount', '')}"
        if missing:
            raise AnsweredError(answers.missing_fields(missing))
        return Order(form["accountNo"], amount, form["customerType"], self._reference_of(call, form))

    def _reference_of(self, call, form):
        field = form.get("reference") or None
        key = (call.header("Idempotency-Key") or "").strip().strip('"') or None
        if self.settings.idempotency and field and key and field != key:
            raise AnsweredError(answers.TWO_REFERENCES)
        return field or key

    def _judge_in_turn(self, call, agent, order, fault):
        """The answer; with idempotency, a repeat waits until the first is judged."""
        if not (self.settings.idempotency and order.reference):
            return self._judge(call, agent, order, fault)
        with self._turn(call, order.reference):
            earlier = self.ledger.judged(order.reference)
            if earlier and (earlier.payee, earlier.amount) != (order.payee, order.amount):
                return answers.OTHER_ORDER
            if earlier and earlier.moved:
                return earlier.answer.named("repeated")
            return self._judge(call, agent, order, fault)

    @contextmanager
    def _turn(self, call, reference):
        while reference in self._being_judged:
            call.wait(0.02)
        self._being_judged.add(reference)
        try:
            yield
        finally:
            self._being_judged.discard(reference)

    def _judge(self, call, agent, order, fault):
        """Take the money or refuse, in the books, and give the gateway's own answer."""
        if fault and fault.kind.delay == "before":
            call.wait(fault.arg)
        if fault and not fault.takes:
            return self._not_taken(order, fault)
        refusal = self._refusal(agent, order)
        if refusal:
            self.ledger.refuse(order, refusal)
            return refusal
        answer = answers.DEPOSIT_DONE
        if fault and fault.kind.own and fault.kind.answer:
            answer = fault.kind.answer(fault.arg).named(fault.name)
        seconds, state = self._settlement(fault)
        self.ledger.take(agent.user_id, order, answer, call.number, settle_after=seconds, settle_to=state)
        return answer

    def _not_taken(self, order, fault):
        """A fault that moves no money. What the gateway never got, it does not remember."""
        if fault.name == "no-float":
            answer = answers.no_float(order.amount, fault.arg)
        elif fault.kind.answer:
            answer = fault.kind.answer(fault.arg)
        else:
            answer = answers.SOMETHING_HAPPENED
        if fault.kind.own:
            self.ledger.refuse(order, answer)
        return answer.named(fault.name)

    def _refusal(self, agent, order):
        """Why this order cannot be, or None."""
        if order.customer_type not in CUSTOMER_TYPES or not self._is_payee(order.payee):
            return answers.UNKNOWN_PAYEE
        if order.payee == agent.email:
            return answers.SAME_ACCOUNT
        if order.customer_type == "merchant":
            return answers.NOT_ALLOWED
        if agent.kind == SUPER_AGENT and order.customer_type != "agent":
            return answers.AGENTS_ONLY
        if order.amount < answers.MINIMUM_AMOUNT:
            return answers.UNDER_MINIMUM
        if order.amount > self.ledger.float:
            return answers.no_float(order.amount, self.ledger.float)
        return None

    def _is_payee(self, payee):
        return re.fullmatch(self.settings.payee_pattern, payee) is not None

    def _settlement(self, fault):
        """Seconds until a deposit is settled, and its state then."""
        if fault and fault.name == "pending":
            return fault.arg, COMPLETED
        if fault and fault.name == "fails-later":
            return fault.arg, FAILED
        return self.settings.settle_seconds, COMPLETED

    @staticmethod
    def _answer_outside(fault, answer):
        """What comes instead of the gateway's answer from something before it."""
        if fault and fault.kind.answer and not fault.kind.own:
            return fault.kind.answer(fault.arg).named(fault.name)
        return answer

    # -- sending -------------------------------------------------------------------------------------------

    def _unread(self, call, target):
        """Drop the connection before the body is read, if that is ordered."""
        fault = self.faults.before_reading(target)
        if fault:
            call.wire.drop_unread(None, None)
            raise AnsweredError(answers.SOMETHING_HAPPENED.named(fault.name))

    def _send(self, call, fault, answer):
        """Answer in the way of the fault. The answer's name is then the fault's."""
        if fault is None:
            return answer
        if fault.kind.delay == "after":
            call.wait(fault.arg)
        if fault.kind.wire == "cut_json":
            return replace(answer, body=answer.body[: len(answer.body) // 2], name=fault.name)
        if fault.kind.wire:
            getattr(call.wire, fault.kind.wire)(answer, fault.arg)
        if fault.kind.wire or fault.kind.delay:
            return answer.named(fault.name)
        return answer

    def _pause(self, call, share):
        """A share of the latency that is set. A deposit is taken in the middle of it."""
        settings = self.settings
        if settings.latency_ms or settings.jitter_ms:
            call.wait(share * (settings.latency_ms + self.dice.uniform(0, settings.jitter_ms)) / 1000)


def _whole_shillings(text):
    """An amount as the reference server reads it: what is not a whole unsigned number is 0."""
    if not re.fullmatch(r"[0-9]+", text, re.ASCII):
        return 0
    # No more digits than can matter: Python refuses to read thousands of them.
    amount = int(text.lstrip("0")[:40] or 0)
    return amount if amount <= MAX_AMOUNT else 0


def _movement(row):
    """A row of the statement. What was returned counts on both sides."""
    returned = row["amount"] if row["state"] == FAILED else 0
    return {
        "transactionId": row["transaction_id"],
        "transactionType": "DEPOSIT",
        "createdAt": moment(row["at"]),
        "creditedAmount": returned,
        "debitedAmount": row["amount"],
        "userId": row["agent"],
        "accountId": str(uuid.uuid5(AGENTS_NAMESPACE, row["agent"])),
    }
