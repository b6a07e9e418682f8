"""What the gateway says, as data. No I/O here."""

import json
from dataclasses import dataclass, replace
from http import HTTPStatus

JSON = "application/json"
HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"

MINIMUM_AMOUNT = 10

# The word in "error" that goes with a status.
ERROR_WORDS = {
    400: "could not process request",
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    422: "unprocessable entity",
    429: "too many requests",
    500: "internal error",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `name` is what the counters call it; `reason` is the sentence in it, if any."""

    status: int
    body: bytes
    name: str
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    reason: str | None = None

    @property
    def status_line(self):
        """`200 OK`."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    def header_list(self):
        """The headers as WSGI wants them."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            *self.headers,
        ]

    def head(self, *, length=True):
        """Status line and headers as they go over the wire, with the empty line."""
        headers = [(name, value) for name, value in self.header_list() if length or name != "Content-Length"]
        if not length:
            headers.append(("Transfer-Encoding", "chunked"))
        lines = [f"HTTP/1.1 {self.status_line}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def raw(self):
        """The whole answer as it goes over the wire."""
        return self.head() + self.body

    def named(self, name):
        """The same answer under another name."""
        return replace(self, name=name)


class AnsweredError(Exception):
    """Stops the work on a request: `answer` is all there is to say."""

    def __init__(self, answer):
        super().__init__(answer.name)
        self.answer = answer


def as_json(value, name="ok", status=200):
    """An answer with `value` as JSON."""
    return Answer(status, json.dumps(value).encode(), name)


def error(status, message, name, headers=()):
    """The gateway's usual error: error, message, status."""
    body = {"error": ERROR_WORDS[status], "message": message, "status": status}
    return Answer(status, json.dumps(body).encode(), name, headers=tuple(headers), reason=message)


def html(status, title, name):
    """What a proxy says instead of the gateway."""
    page = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Answer(status, page.encode(), name, content_type=HTML)


def plain(status, text, name):
    """A sentence without any form."""
    return Answer(status, f"{text}\n".encode(), name, content_type=PLAIN)


DEPOSIT_WORDS = "Transaction under processing. You will receive a message shortly."
DEPOSIT_BODY = {"status": "success", "message": "Success", "data": {"message": DEPOSIT_WORDS}}
DEPOSIT_DONE = as_json(DEPOSIT_BODY, "taken")

NO_SUCH_PATH = plain(404, "404 page not found", "no-such-path")
METHOD_NOT_ALLOWED = error(405, "method not allowed", "wrong-method")
STRANGE_HOST = error(403, "the sandbox answers to 127.0.0.1 and localhost only", "strange-host")
BODY_TOO_LARGE = error(400, "the body is too large", "too-large")
BODY_CUT = error(400, "the body ends too early", "body-cut")
SOMETHING_HAPPENED = error(500, "Something has happened. Report Issue.", "something-happened")

UNKNOWN_PAYEE = error(400, "user not found", "unknown-payee")
SAME_ACCOUNT = error(
    400, "<invalid> operation not allowed: source and destination accounts similar", "same-account"
)
NOT_ALLOWED = error(400, "<invalid> customer is not allowed to make a deposit", "not-allowed")
AGENTS_ONLY = error(400, "<invalid> a super agent is only allowed to deposit for other agents", "agents-only")
NO_WALLET = error(400, "user's account has not been created, report issue", "no-wallet")
UNDER_MINIMUM = error(500, f"cannot deposit amounts less than {MINIMUM_AMOUNT}", "under-minimum")
OTHER_ORDER = error(422, "the reference was used before, with another amount or payee", "other-order")
TWO_REFERENCES = error(400, "reference and Idempotency-Key are not the same", "two-references")

WRONG_PASSWORD = error(401, "provided credentials are invalid", "wrong-password")
NO_SUCH_AGENT = error(400, "user not found", "no-such-agent")


def unauthorized(message):
    """401 with the gateway's sentence about the token."""
    return error(401, message, "unauthorized")


def missing_fields(names):
    """Of a deposit: one sentence for each field, in one string."""
    return error(400, ",".join(f"{name} is a required field" for name in names), "missing-field")


def login_errors(messages):
    """Of a login: a list with an error for each field."""
    rows = [{"error": "Validation Error", "message": message, "status": 400} for message in messages]
    return as_json(rows, "missing-field", status=400)


def no_float(amount, balance):
    """The agent cannot pay that much. Shillings."""
    message = f"cannot debit amount, account balance not enough. Amount: {amount} Balance: {balance}"
    return error(500, message, "no-float")


def frozen(reason):
    """An account, of the agent or of the payee, is frozen or suspended."""
    return error(500, f"couldn't access account. {reason}", "frozen")


def never_seen(reference):
    """Of a status query."""
    return error(404, f"no transaction with reference {reference}", "never-seen")


def balance(user_id, shillings):
    """The agent's float."""
    data = {"userID": user_id, "balance": shillings}
    return as_json({"status": "success", "message": f"Your current balance is {shillings}", "data": data})


def statement(user_id, transactions):
    """The last movements; None when there are none."""
    words = "The last transactions of your account"
    data = {"message": words, "userID": user_id, "transactions": transactions or None}
    return as_json({"status": "success", "message": words, "data": data})


def status(reference, state, amount, transaction_id=None, reason=None):
    """What became of a reference."""
    data = {
        "reference": reference,
        "state": state,
        "transactionId": transaction_id,
        "amount": amount,
        "reason": reason,
    }
    return as_json({"status": "success", "data": data}, state)
