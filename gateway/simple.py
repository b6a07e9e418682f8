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

from . import errors
from .masking import redact
from .transport import Http

# The gateway refuses less (a 500, "cannot deposit amounts less than 10").
LEAST_AMOUNT = 10
# A token that is about to expire is renewed before it is used; seconds.
TOKEN_MARGIN = 60


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
    Row(
        400, r"user's account has not been created, report issue", errors.Unclear, errors.NO_WALLET
    ),
    Row(500, r"user's account has not been created, report issue", errors.Unclear, errors.NO_WALLET),
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


@dataclass(frozen=True)
class Settings:
    """How one deployment is reached.

    Whole URLs, since every deployment has its own; ``timeout`` in seconds. ``sends_reference`` puts our
    reference into the deposit, for a gateway with a status query or one that honours it as the
    idempotency key.
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
        self._http = Http(settings.timeout, settings.connections)
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
        try:
            self._deposit_once(order)
        except _TokenRejected as rejected:
            # Refused at the door, so the same order may knock once more.
            self._forget(rejected.token)
            self._deposit_once(order)

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
            reply = self._send(contact, "POST", self.settings.payment_url, data=form, headers=headers)
            self._require_token_accepted(reply, token)
            self._require_taken(reply)
            contact.outcome = "taken"

    def _status_once(self, reference):
        token = self._bearer()
        with self._contact("status", reference) as contact:
            reply = self._send(
                contact,
                "GET",
                self.settings.status_url,
                params={"reference": reference},
                headers=_authorization(token),
            )
            self._require_token_accepted(reply, token)
            status = self._read_status(reply, reference)
            contact.outcome, contact.words = status.state, status.words
            return status

    def _balance_once(self):
        token = self._bearer()
        with self._contact("balance") as contact:
            reply = self._send(
                contact, "GET", self.settings.balance_url, headers=_authorization(token)
            )
            self._require_token_accepted(reply, token)
            data = reply.body.get("data") if isinstance(reply.body, dict) else None
            balance = data.get("balance") if isinstance(data, dict) else None
            if reply.status != 200 or not _is_amount(balance):
                raise self._error(errors.Unclear, errors.NOT_UNDERSTOOD, reply)
            contact.outcome = "answered"
            return balance

    def _login_once(self):
        form = {"email": self.settings.username, "password": self.settings.password}
        with self._contact("login") as contact:
            try:
                reply = self._send(contact, "POST", self.settings.auth_url, data=form)
            except errors.Unclear as error:
                # A login moves no money: without an answer to it, nothing was asked.
                raise errors.Unreachable(errors.UNREACHABLE, error.message) from None
            token = reply.field("token")
            if reply.status == 200 and token.isascii() and token.isprintable() and token:
                contact.outcome = "answered"
                return token
            raise self._login_error(reply)

    # What an answer means

    def _require_taken(self, reply):
        """Return only on the gateway's clear word that it took the order."""
        error_word = reply.field("error")
        if reply.status == 200 and reply.field("status") == "success" and not error_word:
            return
        for row in DEPOSIT_ROWS:
            if (
                reply.status == row.status
                and error_word
                and re.fullmatch(rf"(<\w+> )?({row.sentence})", reply.field("message"))
            ):
                raise self._error(row.error, row.reason, reply)
        raise self._unlisted(reply)

    def _unlisted(self, reply):
        if reply.status == 422 and self.settings.sends_reference:
            return self._error(errors.Unclear, errors.REFERENCE_CONFLICT, reply)
        # No such address or method: HTTP's own word that nobody there took the request.
        if reply.status in (404, 405) and reply.field("status") != "success":
            return self._error(errors.OurFault, errors.SETUP, reply)
        reason = errors.SERVER_ERROR if reply.status >= 500 else errors.NOT_UNDERSTOOD
        return self._error(errors.Unclear, reason, reply)

    def _require_token_accepted(self, reply, token):
        if reply.status == 401 and TOKEN_SENTENCES.fullmatch(reply.field("message")):
            error = self._error(_TokenRejected, errors.CREDENTIALS, reply)
            error.token = token
            raise error

    def _login_error(self, reply):
        if reply.status == 401 or (reply.status == 400 and "user not found" in reply.field("message")):
            return self._error(errors.OurFault, errors.CREDENTIALS, reply)
        if reply.status >= 500 or reply.status == 429:
            return self._error(errors.Unreachable, errors.UNREACHABLE, reply)
        return self._error(errors.OurFault, errors.SETUP, reply)

    def _read_status(self, reply, reference):
        data = reply.body.get("data") if isinstance(reply.body, dict) else None
        if reply.status == 404 and reply.field("error") == "not found":
            return Status("unknown", words=self._redact(reply.sentence))
        if reply.status == 200 and reply.field("status") == "success" and isinstance(data, dict):
            known = data.get("state") in ("completed", "pending", "failed")
            if known and data.get("reference") in (reference, None):
                return Status(
                    data["state"],
                    receipt=_text(data.get("transactionId")),
                    amount=data.get("amount"),
                    words=self._redact(_text(data.get("reason"))),
                )
        raise self._error(errors.Unclear, errors.NOT_UNDERSTOOD, reply)

    # The token

    def _with_token(self, ask, *args):
        try:
            return ask(*args)
        except _TokenRejected as rejected:
            self._forget(rejected.token)
            return ask(*args)

    def _bearer(self):
        with self._lock:
            if not self._token or time.monotonic() > self._token_ends:
                self._token = self._login_once()
                self._token_ends = time.monotonic() + _lifetime(self._token) - TOKEN_MARGIN
            return self._token

    def _forget(self, token):
        with self._lock:
            if self._token == token:
                self._token = ""

    # Exchange and record

    def _send(self, contact, method, url, **kwargs):
        reply = self._http.send(method, url, secrets=self._secrets(), **kwargs)
        contact.http_status = reply.status
        return reply

    @contextmanager
    def _contact(self, kind, reference=""):
        contact = Contact(kind, reference, datetime.now(timezone.utc).replace(tzinfo=None))
        begin = time.monotonic()
        try:
            yield contact
        except errors.GatewayError as error:
            contact.outcome = next(word for base, word in OUTCOMES.items() if isinstance(error, base))
            contact.reason, contact.words = error.reason, error.message
            raise
        finally:
            contact.seconds = time.monotonic() - begin
            self._record(contact)

    def _error(self, error, reason, reply):
        return error(reason, self._redact(reply.sentence), reply.status)

    def _redact(self, text):
        return redact(text, self._secrets())[:300]

    def _secrets(self):
        return (self.settings.password, self._token)


class _TokenRejected(errors.OurFault):
    """The request went no further than its token."""

    token = ""


def _authorization(token):
    return {"Authorization": f"Bearer {token}"}


def _lifetime(token):
    """How long a JSON web token lives from now, in seconds; for ever where it does not say.

    By the gateway's own clock where it names the moment of issue: ours may differ.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - float(claims.get("iat", time.time()))
    except (AttributeError, IndexError, ValueError, KeyError, TypeError):
        return float("inf")


def _is_amount(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value):
    return value if isinstance(value, str) else ""
