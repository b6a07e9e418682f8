"""Whatever comes back, cut wherever it may be: paid, refused and our fault only on a clear word."""

import contextlib
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from odoo.tests import BaseCase

from ..gateway import errors
from ..gateway.simple import Order, Settings, SimpleMpesa
from .common import Listener

# The contract's table once more, by another hand: what a gateway says when no money moved.
REFUSALS = {
    400: (
        "user not found",
        "<invalid> user not found",
        "<invalid> operation not allowed: source and destination accounts similar",
        "<invalid> customer is not allowed to make a deposit",
    ),
    500: ("cannot deposit amounts less than 10",),
}
OUR_FAULTS = {
    400: (
        "amount is a required field",
        "amount is a required field,accountNo is a required field",
        "<invalid> a super agent is only allowed to deposit for other agents",
        "<invalid> deposit can only be done by an agent",
    ),
    401: (
        "token has expired or is invalid",
        "authorization header not set",
        "authentication token not set",
        "invalid signature on token",
        "invalid token",
    ),
    500: ("cannot debit amount, account balance not enough. Amount: 400 Balance: 120",),
}
DOUBTS = {
    400: ("user's account has not been created, report issue",),
    500: ("couldn't access account. frozen", "Something has happened. Report Issue."),
}
SENTENCES = [
    sentence for table in (REFUSALS, OUR_FAULTS, DOUBTS) for rows in table.values() for sentence in rows
]
# Said that it will be closed, a connection is not used again; else the next request may come too late.
CLOSE = b"Connection: close"
GOOD_LOGIN = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n%b\r\n\r\n{"token": "opaq"}' % CLOSE

# Whole answers as the contract has them: an HTTP status and an object.
SUCCESS = {"status": "success", "message": "Success"}
STATUS = {"reference": "ref-1", "state": "completed", "transactionId": "A1", "amount": 100, "reason": "late"}
CONTRACT = [
    (200, SUCCESS | {"data": {"message": "Transaction under processing."}}),
    (200, {"userId": "1", "userType": "agent", "token": "eyJ.e30.c2ln"}),
    (200, SUCCESS | {"data": {"userID": "1", "balance": 690}}),
    (200, SUCCESS | {"data": STATUS}),
    (200, SUCCESS | {"data": STATUS | {"state": "failed"}}),
    (404, {"error": "not found", "message": "never seen", "status": 404}),
    (401, {"error": "unauthorized", "message": "provided credentials are invalid", "status": 401}),
]
ERRORS = [
    (status, {"error": "could not process request", "message": sentence, "status": status})
    for table in (REFUSALS, OUR_FAULTS, DOUBTS)
    for status, sentences in table.items()
    for sentence in sentences
]
STATUSES = st.sampled_from((200, 201, 400, 401, 404, 405, 422, 500, 502)) | st.integers(0, 1200)
WORDS = (*SENTENCES, "success", "error", "not found", "completed", "ref-2")
PAGES = (b"Cannot POST /x", b"<html>404</html>", b"The plain HTTP request was sent to HTTPS port")
TEXTS = st.sampled_from(WORDS) | st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OTHER_BODIES = (
    JSON.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(PAGES)
    | st.binary(max_size=50)
    # A name that comes twice, and more nesting than a parser likes.
    | st.sampled_from((b'{"status": "success", "status": "success"}', b"[" * 20_000, b'{"a":' * 20_000))
)
HEADERS = st.lists(
    st.sampled_from(
        (
            b"Content-Type: application/json",
            b"Content-Encoding: gzip",
            b"Connection: close",
            b"Location: http://127.0.0.1:1/elsewhere",
            b"Location: \xff//[",
            b"Set-Cookie: a=\xff; Domain=..",
            b"Retry-After: 0",
            b"no header at all",
            b"X: " + b"y" * 70_000,
        )
    ),
    max_size=2,
)
FRAMINGS = ("length", "chunked", "none", "too long", "too short", "both", "nonsense")


def rarely(other, usual):
    """``usual``, or once in a while a value of the strategy ``other``."""
    return st.integers(0, 5).flatmap(lambda number: other if number == 5 else st.just(usual))


@st.composite
def objects(draw):
    """A status and a body as in the contract, often with one of its parts changed."""
    status, value = draw(st.sampled_from(CONTRACT) | st.sampled_from(ERRORS))
    value = dict(value)
    inner = value.get("data")
    part = draw(st.sampled_from(("none", "none", "status", "field", "field", "data", "more", "other")))
    if part == "status":
        status = draw(STATUSES)
    elif part == "field":
        value[draw(st.sampled_from(sorted(value)))] = draw(JSON)
    elif part == "data" and inner:
        value["data"] = inner | {draw(st.sampled_from(sorted(inner))): draw(JSON)}
    elif part == "more":
        value[draw(st.sampled_from(("error", "status", "message", "data", "token")))] = draw(JSON)
    elif part == "other":
        return draw(STATUSES), draw(OTHER_BODIES)
    return status, json.dumps(value).encode()


def framed(framing, body):
    """The header lines and the bytes of a body; all framings but the first three are lies."""
    lengths = {"length": len(body), "too long": len(body) + 7, "too short": len(body) // 2, "both": len(body)}
    lines = [b"Content-Length: %d" % lengths[framing]] if framing in lengths else []
    if framing == "nonsense":
        lines = [b"Content-Length: -1, 5"]
    if framing in ("chunked", "both"):
        lines.append(b"Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return lines, body


@st.composite
def answers(draw):
    """Status, the body as far as it may be believed (or None), and all the bytes that are sent."""
    status, body = draw(objects())
    framing = draw(rarely(st.sampled_from(FRAMINGS), "length"))
    headers = draw(rarely(HEADERS, []))
    lines, sent = framed(framing, body)
    data = b"\r\n".join([b"HTTP/1.1 %d X" % status, *headers, *lines, b"", b""]) + sent
    cut = draw(rarely(st.integers(0, 200), 0))
    if framing == "none":
        # Without a length nobody can tell that there was more.
        body = body[: len(body) - cut] if cut < len(body) else None
    elif framing == "too short":
        body = body[: len(body) // 2]
    elif cut > len(b"0\r\n\r\n") or (cut and framing == "length"):
        body = None
    return status, body, data[: len(data) - cut]


class RawServer(Listener):
    """Gives ``answer``, whatever it is, to every request but a login, and closes."""

    def __init__(self):
        self.answer = self.login = GOOD_LOGIN
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.sendall(self.login if b"/login" in self._request(connection) else self.answer)

    @staticmethod
    def _request(connection):
        head, _end, body = b"", b"", b""
        while not _end:
            piece = connection.recv(65536)
            if not piece:
                return b""
            head, _end, body = (head + piece).partition(b"\r\n\r\n")
        length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
        while len(body) < length and (piece := connection.recv(65536)):
            body += piece
        return head.partition(b"\r\n")[0]


class TestFuzz(BaseCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = RawServer()
        cls.addClassCleanup(cls.server.close)

    # Always the same examples, and none of them kept on disk.
    bounded = settings(max_examples=200, derandomize=True, deadline=None, database=None)

    def ask(self, call, *args, answer=GOOD_LOGIN, login=GOOD_LOGIN):
        """The result of a client's method, or the error that it raised: of no kind but ours."""
        self.server.answer, self.server.login = answer, login
        url = self.server.url
        urls = {"status_url": url, "balance_url": url}
        where = Settings(f"{url}/login", url, "a", "b", timeout=5, allow_private=True, **urls)
        with SimpleMpesa(where) as client:
            if call != "log_in":
                client._token, client._token_ends = "opaq", float("inf")
            try:
                return getattr(client, call)(*args)
            except errors.GatewayError as error:
                return error

    def deposit(self, answer):
        return self.ask("deposit", Order("ref-1", "254700000001", 100), answer=answer)

    def loaded(self, body):
        """The body as a JSON object, or an empty one; of what is said twice, nothing."""
        try:
            value = json.loads(body or b"", object_pairs_hook=self.once)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    @staticmethod
    def once(pairs):
        names = [name for name, _value in pairs]
        return {name: value for name, value in pairs if names.count(name) == 1}

    @bounded
    @given(answers())
    def test_a_deposit_is_decided_by_a_clear_word_only(self, answer):
        status, body, data = answer
        result = self.deposit(data)
        said = self.loaded(body)
        if result is None:
            self.assertEqual((status, said.get("status"), bool(said.get("error"))), (200, "success", False))
        elif isinstance(result, errors.Refused):
            self.assertIn(said.get("message"), REFUSALS.get(status, ()))
            self.assertTrue(said.get("error"))
        elif isinstance(result, errors.OurFault):
            if not self.is_wrong_address(status, body):
                self.assertIn(said.get("message"), OUR_FAULTS.get(status, ()))
                self.assertTrue(said.get("error"))
        elif isinstance(result, errors.Unreachable):
            # The token was not accepted, and the new login came to a connection that was being closed.
            self.assertIn(said.get("message"), OUR_FAULTS[401])
        else:
            self.assertIsInstance(result, errors.Unclear)

    def is_wrong_address(self, status, body):
        is_page = body and not self.loaded(body)
        return status == 405 or (is_page and (status == 404 or (status == 400 and b"plain HTTP" in body)))

    @bounded
    @given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data))
    def test_any_bytes_are_a_doubt(self, data):
        self.assertIsInstance(self.deposit(data), errors.Unclear)

    @bounded
    @given(answers())
    def test_a_status_is_what_the_gateway_says_of_this_reference(self, answer):
        status, body, data = answer
        result = self.ask("status", "ref-1", answer=data)
        if isinstance(result, errors.GatewayError):
            return
        said = self.loaded(body)
        if result.state == "unknown":
            self.assertEqual((status, said.get("error")), (404, "not found"))
        else:
            self.assertEqual((status, said.get("status")), (200, "success"))
            self.assertEqual(said["data"]["state"], result.state)
            self.assertIn(said["data"].get("reference"), ("ref-1", None))

    @bounded
    @given(answers())
    def test_a_login_gives_a_token_or_moved_no_money(self, answer):
        status, body, data = answer
        result = self.ask("log_in", login=data)
        if result is None:
            self.assertEqual(status, 200)
            self.assertTrue(self.loaded(body)["token"])
        else:
            self.assertIsInstance(result, errors.NotTaken)

    @bounded
    @given(answers())
    def test_a_balance_is_a_number(self, answer):
        status, body, data = answer
        result = self.ask("balance", answer=data)
        if not isinstance(result, errors.GatewayError):
            self.assertEqual((status, self.loaded(body)["data"]["balance"]), (200, result))
            self.assertEqual(result, float(result))

    def test_a_success_is_believed_when_it_is_whole(self):
        self.assert_believed_when_whole(200, {"status": "success"}, type(None))

    def test_a_refusal_is_believed_when_it_is_whole(self):
        body = {"error": "error", "message": "user not found", "status": 400}
        self.assert_believed_when_whole(400, body, errors.Refused)

    def test_a_rejected_token_is_believed_when_it_is_whole(self):
        body = {"error": "unauthorized", "message": "invalid token", "status": 401}
        self.assert_believed_when_whole(401, body, errors.OurFault)

    def assert_believed_when_whole(self, status, body, kind):
        """``kind`` is what a deposit comes to, and a doubt wherever the answer is cut."""
        for framing in ("length", "chunked", "none"):
            lines, sent = framed(framing, json.dumps(body).encode())
            whole = b"\r\n".join([b"HTTP/1.1 %d X" % status, CLOSE, *lines, b"", b""]) + sent
            self.assertIsInstance(self.deposit(whole), kind)
            # The last chunk is an empty one: with it cut, all of the body is there.
            for end in range(len(whole.removesuffix(b"0\r\n\r\n"))):
                self.assertIsInstance(self.deposit(whole[:end]), errors.Unclear, whole[:end])
