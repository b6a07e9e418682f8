"""The Simple M-Pesa protocol: log in, deposit, balance, and where a deployment has it, status.

Source of every row below: the open-source server "Simple MPESA RESTful API", as read and run in 2026.
Neither the status alone nor 4xx against 5xx tells a refusal from a doubt: a sentence that is not in the
table is never a success and never a refusal.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple
from urllib.parse import quote_plus

from . import clock, errors
from .masking import clean, redact
from .transport import MOST_WORDS, Http

# A token that is about to expire is renewed before it is used; seconds.
TOKEN_MARGIN = 60
# Shillings that a gateway can mean, and characters of a transaction id.
MOST_AMOUNT = 10**15
MOST_RECEIPT = 100


class Row(NamedTuple):
    """One of the gateway's sentences, and what it means."""

    status: int
    sentence: str
    error: type
    reason: str


# Deposit: sentences, each perhaps behind a "<code> ".
DEPOSIT_ROWS = (
    Row(400, r"user not found", errors.Refused, errors.PAYEE_UNKNOWN),
    Row(
        400,
        r"operation not allowed: source and destination accounts similar",
        errors.Refused,
        errors.PAYEE_IS_PAYER,
    ),
    Row(400, r"customer is not allowed to make a deposit", errors.Refused, errors.PAYEE_KIND),
    Row(
        400,
        r"a super agent is only allowed to deposit for other agents",
        errors.OurFault,
        errors.NOT_PERMITTED,
    ),
    Row(400, r"deposit can only be done by an agent", errors.OurFault, errors.NOT_PERMITTED),
    Row(
        400,
        r"(amount|accountNo|customerType) is a required field"
        r"(,(amount|accountNo|customerType) is a required field)*",
        errors.OurFault,
        errors.SETUP,
    ),
    # The debit of the agent and the credit of the payee are two writes, and these are said of either.
    Row(400, r"user's account has not been created, report issue", errors.Unclear, errors.NO_WALLET),
    Row(500, r"couldn't access account\..*", errors.Unclear, errors.ACCOUNT_BLOCKED),
    Row(500, r"cannot deposit amounts less than \d+", errors.Refused, errors.AMOUNT_TOO_SMALL),
    Row(
        500,
        r"cannot debit amount, account balance not enough\. Amount: \S+ Balance: \S+",
        errors.OurFault,
        errors.FLOAT,
    ),
)

# The sentences of a 401 on anything but a login: the request went no further than its token.
TOKEN_SENTENCES = re.compile(
    r"(<\w+> )?(token has expired or is invalid|authorization header not set|authentication token not set"
    r"|invalid signature on token|invalid token)"
)

# How TLS servers (nginx, Go, Apache) answer, by a 400, a request that did not speak TLS.
HTTP_TO_HTTPS = re.compile(
    r"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server"
    r"|speaking plain HTTP to an SSL-enabled server port"
)


@dataclass(frozen=True)
class Settings:
    """How one deployment is reached.

    Whole URLs, since every deployment has its own; ``timeout`` in seconds. ``sends_reference`` puts our
    reference into the deposit, for a gateway with a status query or one that honours it as the
    idempotency key. ``password_problem`` says why there is no password; then nobody logs in.
    ``url_problem`` says which addresses are refused; then nothing at all is asked.
    ``allow_private``: loopback and private addresses may be asked.
    """

    auth_url: str
    payment_url: str
    username: str
    password: str = field(repr=False)
    customer_type: str = "subscriber"
    timeout: float = 10
    status_url: str = ""
    balance_url: str = ""
    sends_reference: bool = False
    connections: int = 1
    password_problem: str = ""
    url_problem: str = ""
    allow_private: bool = False


@dataclass(frozen=True)
class Order:
    """One payment as it goes out: our reference, the payee's id, whole shillings."""

    reference: str
    payee: str = field(repr=False)
    amount: int


@dataclass(frozen=True)
class Status:
    """What the gateway says of a reference.

    :param str state: ``completed``, ``pending``, ``failed`` or ``unknown`` (never seen).
    :param amount: shillings as the gateway has it, or None where it does not say.
    """

    state: str
    receipt: str = ""
    amount: object = None
    words: str = ""


@dataclass
class Contact:
    """One exchange with the gateway, for the journal; texts are masked.

    ``started`` is naive UTC, ``seconds`` a duration, ``outcome`` a word such as ``taken`` or ``unclear``.
    """

    kind: str
    reference: str
    started: datetime
    seconds: float = 0.0
    http_status: int | None = None
    outcome: str = ""
    reason: str = ""
    words: str = ""


OUTCOMES = {
    errors.Refused: "refused",
    errors.OurFault: "our_fault",
    errors.Unreachable: "unreachable",
    errors.Unclear: "unclear",
}


class SimpleMpesa:
    """A client for one deployment; may be used by several threads.

    :param Settings settings: where and as whom.
    :param record: called with a :class:`Contact` after each exchange, in the thread that made it.
    """

    def __init__(self, settings: Settings, record: Callable[[Contact], None] = lambda contact: None):
        self.settings = settings
        self._record = record
        self._http = Http(settings.timeout, settings.connections, settings.allow_private)
        # As it is, and as it stands in the form: some error pages repeat what came.
        self._passwords = (settings.password, quote_plus(settings.password, errors="replace"))
        self._lock = threading.Lock()
        self._token = ""
        self._token_ends = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._http.close()

    def log_in(self):
        """Get a token, unless there is one that is still good.

        :raise OurFault: wrong credentials or set-up.
        :raise Unreachable: the gateway is not there, or in no state to answer.
        """
        self._bearer()

    def deposit(self, order: Order):
        """Pay one person. Returns once the gateway has taken the order.

        :raise Refused: not paid, because of this payee or amount.
        :raise OurFault: not paid, and nobody else would be.
        :raise Unreachable: nothing was written.
        :raise Unclear: may have been paid.
        """
        self._with_token(self._deposit_once, order)

    def status(self, reference):
        """Ask how a payment stands.

        :return: a :class:`Status`.
        :raise GatewayError: no answer that says so.
        """
        return self._with_token(self._status_once, reference)

    def balance(self):
        """The float, in shillings.

        :raise GatewayError: no answer that says so.
        """
        return self._with_token(self._balance_once)

    # Each question, asked once

    def _deposit_once(self, order):
        token = self._bearer()
        form = {
            "amount": str(order.amount),
            "accountNo": order.payee,
            "customerType": self.settings.customer_type,
        }
        headers = _authorization(token)
        if self.settings.sends_reference:
            form["reference"] = order.reference
            headers["Idempotency-Key"] = order.reference
        with self._contact("payment", order.reference) as contact:
            reply = self._send(
                contact, "POST", self.settings.payment_url, (order.payee,), data=form, headers=headers
            )
            self._require_token_accepted(reply, token)
            self._require_taken(reply)
            contact.outcome = "taken"

    def _status_once(self, reference):
        token = self._bearer()
        with self._contact("status", reference) as contact:
            question = {"params": {"reference": reference}, "headers": _authorization(token)}
            reply = self._send(contact, "GET", self.settings.status_url, **question)
            self._require_token_accepted(reply, token)
            status = self._read_status(reply, reference)
            contact.outcome, contact.words = status.state, status.words
            return status

    def _balance_once(self):
        token = self._bearer()
        with self._contact("balance") as contact:
            reply = self._send(contact, "GET", self.settings.balance_url, headers=_authorization(token))
            self._require_token_accepted(reply, token)
            balance = _data(reply).get("balance")
            if not _is_amount(balance):
                raise _misunderstood(reply)
            contact.outcome = "answered"
            return balance

    def _login_once(self):
        if self.settings.url_problem:
            raise errors.OurFault(errors.SETUP, self.settings.url_problem, cause=errors.REFUSED_URL)
        if self.settings.password_problem:
            # Without a word to the gateway, which locks out who guesses.
            raise errors.OurFault(errors.SECRET, self.settings.password_problem)
        form = {"email": self.settings.username, "password": self.settings.password}
        with self._contact("login") as contact:
            try:
                reply = self._send(contact, "POST", self.settings.auth_url, data=form)
            except errors.Unclear as error:
                # A login moves no money: without an answer to it, nothing was asked.
                raise errors.Unreachable(errors.UNREACHABLE, error.message, cause=error.cause) from None
            token = reply.text("token")
            if reply.status == 200 and token and token.isascii() and token.isprintable():
                contact.outcome = "answered"
                return token
            raise _login_error(reply)

    # What an answer means

    def _require_taken(self, reply):
        """Return only on the gateway's clear word that it took the order."""
        if reply.status == 200 and _is_success(reply):
            return
        for row in DEPOSIT_ROWS:
            if reply.is_error and reply.status == row.status and _says(reply, row.sentence):
                raise _error(row.error, row.reason, reply)
        if reply.status == 422 and self.settings.sends_reference:
            raise _error(errors.Unclear, errors.REFERENCE_CONFLICT, reply)
        raise _misunderstood(reply)

    def _require_token_accepted(self, reply, token):
        if _rejects_token(reply):
            error = _error(_TokenRejected, errors.CREDENTIALS, reply)
            error.token = token
            raise error

    def _read_status(self, reply, reference):
        if reply.status == 404 and reply.is_error and reply.text("error") == "not found":
            return Status("unknown", words=reply.words)
        data = _data(reply)
        state, amount = data.get("state"), data.get("amount")
        if (
            state not in ("completed", "pending", "failed")
            or data.get("reference") != reference
            or not (amount is None or _is_amount(amount))
        ):
            raise _misunderstood(reply)
        return Status(state, _receipt(data), amount, self._redact(data.get("reason") or ""))

    # The token

    def _with_token(self, ask, *args):
        try:
            return ask(*args)
        except _TokenRejected as rejected:
            # Turned away at the door: nothing was done, and the same may be asked once more.
            self._forget(rejected.token)
        return ask(*args)

    def _bearer(self):
        with self._lock:
            if not self._token or clock.now() > self._token_ends:
                self._token = self._login_once()
                lifetime = _lifetime(self._token)
                self._token_ends = clock.now() + lifetime - min(TOKEN_MARGIN, lifetime / 10)
            return self._token

    def _forget(self, token):
        with self._lock:
            if self._token == token:
                self._token = ""

    # Exchange and record

    def _send(self, contact, method, url, hidden=(), **form):
        reply = self._http.send(method, url, secrets=(*self._secrets(), *hidden), **form)
        contact.http_status = reply.status
        return reply

    @contextmanager
    def _contact(self, kind, reference=""):
        contact = Contact(kind, reference, datetime.now(timezone.utc).replace(tzinfo=None))
        begin = clock.now()
        try:
            yield contact
        except errors.GatewayError as error:
            contact.outcome = next(word for base, word in OUTCOMES.items() if isinstance(error, base))
            contact.reason, contact.words = error.reason, error.message
            raise
        finally:
            contact.seconds = clock.now() - begin
            self._record(contact)

    def _redact(self, text):
        return redact(text, self._secrets())[:MOST_WORDS]

    def _secrets(self):
        return (*self._passwords, self._token)


class _TokenRejected(errors.OurFault):
    """The request went no further than its token."""

    token = ""


def _authorization(token):
    return {"Authorization": f"Bearer {token}"}


def _error(error, reason, reply):
    made = error(reason, reply.words, reply.status, _cause_code(reply))
    made.retry_after = reply.retry_after
    return made


def _cause_code(reply):
    """In what an answer is not one of this protocol; it does not matter where the reason says more."""
    if _is_wrong_address(reply):
        return errors.NO_PAGE
    return errors.NOT_JSON if reply.body is None else errors.OTHER_PROTOCOL


def _misunderstood(reply):
    if _is_wrong_address(reply):
        return _error(errors.OurFault, errors.SETUP, reply)
    if reply.status >= 500:
        return _error(errors.Unclear, errors.SERVER_ERROR, reply)
    return _error(errors.Unclear, errors.NOT_UNDERSTOOD, reply)


def _rejects_token(reply):
    return reply.status == 401 and reply.is_error and bool(TOKEN_SENTENCES.fullmatch(reply.text("message")))


def _login_error(reply):
    if _rejects_token(reply):
        # Whoever asks for a token here is not the one who gives it.
        return _error(errors.OurFault, errors.SETUP, reply)
    if reply.status == 401 or (reply.status == 400 and _says(reply, "user not found")):
        return _error(errors.OurFault, errors.CREDENTIALS, reply)
    if reply.status >= 500 or reply.status == 429:
        return _error(errors.Unreachable, errors.UNREACHABLE, reply)
    return _error(errors.OurFault, errors.SETUP, reply)


def _says(reply, sentence):
    return re.fullmatch(rf"(<\w+> )?({sentence})", reply.text("message")) is not None


def _is_success(reply):
    return reply.text("status") == "success" and not reply.body.get("error")


def _is_wrong_address(reply):
    """A web server's own word that there is nobody at this address: a page, and nothing of the gateway's."""
    if reply.status == 405:
        return reply.is_text or reply.is_error
    if reply.status == 400:
        return reply.is_text and bool(HTTP_TO_HTTPS.search(reply.page))
    return reply.status == 404 and reply.is_text


def _data(reply):
    """The ``data`` of a success, else an empty dict."""
    data = reply.body.get("data") if reply.status == 200 and _is_success(reply) else None
    return data if isinstance(data, dict) else {}


def _receipt(data):
    """The gateway's transaction id, a text or a whole number, as a text."""
    receipt = data.get("transactionId")
    return clean(str(receipt))[:MOST_RECEIPT] if isinstance(receipt, str | int) else ""


def _lifetime(token):
    """How long a JSON web token lives from now, in seconds; for ever where it does not say.

    By the gateway's own clock where it names the moment of issue: ours may differ.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - float(claims.get("iat", time.time()))
    except (AttributeError, IndexError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")


def _is_amount(value):
    # Infinity and NaN are JSON to Python.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST_AMOUNT
