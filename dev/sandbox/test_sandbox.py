"""The sandbox gateway, row by row of the protocol. Plain pytest: no Odoo, no database server."""

import base64
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
import requests

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from sandbox.client import EMAIL, LAUNCHER, PASSWORD, SandboxError, SandboxProcess

PAYEE, OTHER = "254700000001", "254700000002"
DONE = {
    "status": "success",
    "message": "Success",
    "data": {"message": "Transaction under processing. You will receive a message shortly."},
}
DROPPED = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class Payer:
    """A client of the gateway, as simple as can be."""

    def __init__(self, gateway, email=EMAIL, password=PASSWORD):
        self.gateway = gateway
        self.session = requests.Session()
        self.session.trust_env = False
        answer = self.log_in(email, password)
        self.token = answer.json()["token"]

    def log_in(self, email, password, **options):
        form = {"email": email, "password": password}
        return self.session.post(self.gateway.urls["login"], data=form, timeout=10, **options)

    def deposit(self, payee=PAYEE, amount=100, kind="subscriber", headers=None, timeout=10, **fields):
        form = {"amount": amount, "accountNo": payee, "customerType": kind, **fields}
        return self.session.post(
            self.gateway.urls["deposit"],
            data={name: value for name, value in form.items() if value is not None},
            headers={"Authorization": f"Bearer {self.token}", **(headers or {})},
            timeout=timeout,
            allow_redirects=False,
        )

    def get(self, name, **query):
        return self.session.get(
            self.gateway.urls[name],
            params=query,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=10,
        )

    def state(self, reference):
        """(HTTP status, state) of a reference."""
        answer = self.get("status", reference=reference)
        return answer.status_code, answer.json().get("data", {}).get("state")


@pytest.fixture(scope="module")
def processes():
    """One bare and one full gateway for all tests of the module."""
    with SandboxProcess(profile="bare") as bare, SandboxProcess(profile="full") as full:
        yield {"bare": bare, "full": full}


@pytest.fixture
def bare(processes):
    """A bare gateway with empty books."""
    yield from _fresh(processes["bare"])


@pytest.fixture
def full(processes):
    """A gateway with status and idempotency, with empty books."""
    yield from _fresh(processes["full"])


def _fresh(gateway):
    before = gateway.settings()
    gateway.settings(**before | {"float": 10_000_000})
    gateway.reset()
    yield gateway
    gateway.settings(**before | {"float": 10_000_000})
    assert gateway.running
    assert gateway.errors() == ""


@pytest.fixture
def own():
    """A gateway of the test's own, full, to kill and restart."""
    with SandboxProcess(profile="full") as gateway:
        yield gateway


def total(gateway):
    return gateway.ledger()["total"]


def error(status, message):
    words = {400: "could not process request", 401: "unauthorized", 500: "internal error"}
    return {"error": words[status], "message": message, "status": status}


def wait_until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


# -- log in ------------------------------------------------------------------------------------------------


def test_login_gives_a_token_for_six_hours(bare):
    answer = Payer(bare).log_in(EMAIL, PASSWORD)
    assert answer.status_code == 200
    assert set(answer.json()) == {"userId", "userType", "token"}
    assert answer.json()["userType"] == "agent"
    head, payload, _signature = answer.json()["token"].split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["exp"] - claims["iat"] in (6 * 3600, 6 * 3600 + 1)


def test_login_with_wrong_password(bare):
    answer = Payer(bare).log_in(EMAIL, "wrong")
    assert answer.status_code == 401
    assert answer.json() == error(401, "provided credentials are invalid")


def test_login_of_nobody(bare):
    answer = Payer(bare).log_in("nobody@example.org", PASSWORD)
    assert answer.status_code == 400
    assert answer.json() == error(400, "user not found")


@pytest.mark.parametrize(
    ("form", "messages"),
    [
        ({}, ["email is a required field", "password is a required field"]),
        ({"email": EMAIL}, ["password is a required field"]),
        ({"email": "", "password": "x"}, ["email is a required field"]),
        ({"email": "agent", "password": "x"}, ["email must be a valid email address"]),
    ],
)
def test_login_with_missing_fields(bare, form, messages):
    answer = requests.post(bare.urls["login"], data=form, timeout=10)
    assert answer.status_code == 400
    assert answer.json() == [{"error": "Validation Error", "message": m, "status": 400} for m in messages]


def test_bodies_are_forms_not_json(bare):
    answer = requests.post(bare.urls["login"], json={"email": EMAIL, "password": PASSWORD}, timeout=10)
    assert answer.status_code == 400


def test_super_agent_and_several_agents():
    options = ("--super-agent", "boss@example.org:a:b", "--agent", "one@example.org:1")
    with SandboxProcess(*options) as gateway:
        boss = Payer(gateway, "boss@example.org", "a:b")
        assert boss.log_in("boss@example.org", "a:b").json()["userType"] == "super_agent"
        assert boss.deposit(kind="agent").json() == DONE
        refused = boss.deposit(kind="subscriber")
        assert refused.status_code == 400
        assert "super agent" in refused.json()["message"]
        assert Payer(gateway, "one@example.org", "1").deposit().json() == DONE
        assert boss.log_in(EMAIL, PASSWORD).status_code == 400


# -- deposit -----------------------------------------------------------------------------------------------


def test_deposit_pays(bare):
    answer = Payer(bare).deposit(amount=250)
    assert (answer.status_code, answer.json()) == (200, DONE)
    assert answer.headers["Content-Type"] == "application/json"
    ledger = bare.ledger()
    assert ledger["paid"] == {PAYEE: 250}
    assert (ledger["count"], ledger["total"], ledger["float"]) == (1, 250, 10_000_000 - 250)
    (entry,) = ledger["entries"]
    assert set(entry) == {"id", "transaction_id", "reference", "payee", "amount", "at", "state", "request_no"}
    assert (entry["payee"], entry["amount"], entry["state"]) == (PAYEE, 250, "completed")
    assert datetime.fromisoformat(entry["at"]).utcoffset() is not None


def test_the_same_call_twice_pays_twice(bare):
    payer = Payer(bare)
    for _ in range(2):
        key = {"Idempotency-Key": "r1"}
        assert payer.deposit(reference="r1", headers=key, unknown="x").status_code == 200
    assert bare.ledger()["paid"] == {PAYEE: 200}
    assert bare.requests()["references_sent_again"] == {"r1": 2}


@pytest.mark.parametrize("payee", [PAYEE, "jane@example.org"])
@pytest.mark.parametrize("kind", ["subscriber", "agent"])
def test_payee_is_msisdn_or_email(bare, payee, kind):
    assert Payer(bare).deposit(payee, kind=kind).status_code == 200


@pytest.mark.parametrize("payee", ["False", f"+{PAYEE}", f"{PAYEE},{OTHER}", "abc", " ", "25470000000\u0661"])
def test_anything_else_is_no_payee(bare, payee):
    answer = Payer(bare).deposit(payee)
    assert (answer.status_code, answer.json()) == (400, error(400, "user not found"))
    assert total(bare) == 0


def test_which_payees_exist_can_be_set(bare):
    bare.settings(payee_pattern="KE[0-9]+")
    payer = Payer(bare)
    assert payer.deposit("KE0123").status_code == 200
    assert payer.deposit(PAYEE).status_code == 400


@pytest.mark.parametrize(
    "amount", ["99.75", "-100", "+100", "abc", "1e3", "0", "", " 100", "\u0663\u0660", "9" * 30, None]
)
def test_amount_that_is_no_whole_number_counts_as_missing(bare, amount):
    answer = Payer(bare).deposit(amount=amount)
    assert (answer.status_code, answer.json()) == (400, error(400, "amount is a required field"))
    assert total(bare) == 0


def test_leading_zeros_are_a_number(bare):
    assert Payer(bare).deposit(amount="0" * 5000 + "100").status_code == 200
    assert total(bare) == 100


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"payee": None}, "accountNo is a required field"),
        ({"payee": None, "amount": None}, "amount is a required field,accountNo is a required field"),
        ({"kind": ""}, "customerType is a required field"),
    ],
)
def test_missing_fields(bare, fields, message):
    answer = Payer(bare).deposit(**fields)
    assert (answer.status_code, answer.json()) == (400, error(400, message))


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"kind": "stranger"}, 400, "user not found"),
        ({"kind": "merchant"}, 400, "<invalid> customer is not allowed to make a deposit"),
        (
            {"payee": EMAIL, "kind": "agent"},
            400,
            "<invalid> operation not allowed: source and destination accounts similar",
        ),
        ({"amount": 9}, 500, "cannot deposit amounts less than 10"),
    ],
)
def test_refusals(bare, fields, status, message):
    answer = Payer(bare).deposit(**fields)
    assert (answer.status_code, answer.json()) == (status, error(status, message))
    assert total(bare) == 0


def test_ten_is_enough(bare):
    assert Payer(bare).deposit(amount=10).status_code == 200


def test_float_runs_out(bare):
    bare.settings(float=520)
    payer = Payer(bare)
    assert payer.deposit(amount=400).status_code == 200
    answer = payer.deposit(amount=400)
    message = "cannot debit amount, account balance not enough. Amount: 400 Balance: 120"
    assert (answer.status_code, answer.json()) == (500, error(500, message))
    assert payer.deposit(amount=120).status_code == 200
    assert bare.ledger()["float"] == 0


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "authorization header not set"),
        ("Bearer", "authentication token not set"),
        ("Bearer ", "authentication token not set"),
        ("Basic abc", "authentication token not set"),
        ("Bearer abc", "invalid token"),
        ("Bearer a.b.c", "invalid token"),
        ("Bearer {token}x", "invalid signature on token"),
    ],
)
def test_tokens_that_are_no_good(bare, header, message):
    payer = Payer(bare)
    value = header.format(token=payer.token) if header else None
    for name in ("deposit", "balance", "statement"):
        headers = {"Authorization": value} if value else {}
        form = {"amount": 100, "accountNo": PAYEE, "customerType": "subscriber"}
        method = "POST" if name == "deposit" else "GET"
        answer = payer.session.request(method, bare.urls[name], data=form, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()) == (401, error(401, message))
    assert total(bare) == 0


def test_unsigned_token_is_refused(bare):
    payer = Payer(bare)
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    payer.token = ".".join([head, payer.token.split(".")[1], ""])
    assert payer.deposit().json()["message"] == "invalid token"


def test_token_expires(bare):
    bare.settings(token_ttl=0.1)
    payer = Payer(bare)
    time.sleep(1.2)
    answer = payer.deposit()
    assert (answer.status_code, answer.json()) == (401, error(401, "token has expired or is invalid"))


def test_revoked_tokens(bare):
    payer = Payer(bare)
    assert payer.deposit().status_code == 200
    bare.settings(revoke_tokens=True)
    answer = payer.deposit()
    assert (answer.status_code, answer.json()) == (401, error(401, "token has expired or is invalid"))
    assert Payer(bare).deposit().status_code == 200


# -- balance and statement ---------------------------------------------------------------------------------


def test_balance(bare):
    bare.settings(float=790)
    payer = Payer(bare)
    payer.deposit()
    answer = payer.get("balance").json()
    assert answer["message"] == "Your current balance is 690"
    assert answer["status"] == "success"
    assert answer["data"]["balance"] == 690
    assert answer["data"]["userID"] == payer.log_in(EMAIL, PASSWORD).json()["userId"]


def test_statement_has_the_last_five_newest_first(bare):
    payer = Payer(bare)
    assert payer.get("statement").json()["data"]["transactions"] is None
    for amount in range(11, 18):
        payer.deposit(amount=amount)
    answer = payer.get("statement").json()
    assert answer["status"] == "success"
    rows = answer["data"]["transactions"]
    assert [row["debitedAmount"] for row in rows] == [17, 16, 15, 14, 13]
    names = "transactionId transactionType createdAt creditedAmount debitedAmount userId accountId"
    assert set(rows[0]) == set(names.split())
    assert rows[0]["transactionType"] == "DEPOSIT"
    assert datetime.fromisoformat(rows[0]["createdAt"]).utcoffset() is not None


# -- status and idempotency --------------------------------------------------------------------------------


def test_bare_has_no_status_endpoint(bare):
    answer = Payer(bare).get("status", reference="r1")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


def test_status_of_a_deposit(full):
    payer = Payer(full)
    payer.deposit(reference="r1")
    answer = payer.get("status", reference="r1").json()
    assert answer["status"] == "success"
    assert answer["data"].pop("transactionId")
    assert answer["data"] == {"reference": "r1", "state": "completed", "amount": 100, "reason": None}


def test_status_of_a_reference_never_seen(full):
    answer = Payer(full).get("status", reference="nobody's")
    assert answer.status_code == 404
    assert answer.json()["error"] == "not found"


def test_status_needs_a_reference_and_a_token(full):
    assert Payer(full).get("status").status_code == 400
    assert requests.get(full.urls["status"], params={"reference": "r1"}, timeout=10).status_code == 401


def test_status_of_a_refusal(full):
    payer = Payer(full)
    payer.deposit("nobody", reference="r1")
    data = payer.get("status", reference="r1").json()["data"]
    assert (data["state"], data["reason"], data["transactionId"]) == ("failed", "user not found", None)


def test_status_is_pending_for_a_while(full):
    full.settings(settle_seconds=0.5)
    payer = Payer(full)
    payer.deposit(reference="r1")
    assert payer.state("r1") == (200, "pending")
    assert full.ledger()["entries"][0]["state"] == "pending"
    wait_until(lambda: payer.state("r1") == (200, "completed"))
    assert total(full) == 100


def test_pending_for_ever(full):
    full.fault(PAYEE, "pending")
    payer = Payer(full)
    payer.deposit(reference="r1")
    assert payer.state("r1") == (200, "pending")
    assert full.faults()[0]["arg"] is None


def test_fails_later_and_the_money_is_back(full):
    full.fault(PAYEE, "fails-later", 0.4)
    payer = Payer(full)
    before = full.ledger()["float"]
    assert payer.deposit(reference="r1").json() == DONE
    assert payer.state("r1") == (200, "pending")
    assert full.ledger()["float"] == before - 100
    wait_until(lambda: payer.state("r1") == (200, "failed"))
    ledger = full.ledger()
    assert (ledger["float"], ledger["paid"], ledger["count"]) == (before, {}, 1)
    assert payer.get("status", reference="r1").json()["data"]["reason"]


@pytest.mark.parametrize("where", ["field", "header", "quoted header", "both"])
def test_a_repeat_gets_the_first_answer_and_moves_nothing(full, where):
    fields = {"reference": "r1"} if where in ("field", "both") else {}
    value = '"r1"' if where == "quoted header" else "r1"
    headers = {} if where == "field" else {"Idempotency-Key": value}
    payer = Payer(full)
    first = payer.deposit(headers=headers, **fields)
    again = payer.deposit(headers=headers, **fields)
    assert first.json() == again.json() == DONE
    assert total(full) == 100


def test_a_repeat_with_another_amount_or_payee_gets_422(full):
    payer = Payer(full)
    payer.deposit(reference="r1")
    assert payer.deposit(reference="r1", amount=101).status_code == 422
    assert payer.deposit(OTHER, reference="r1").status_code == 422
    assert total(full) == 100


def test_field_and_header_must_agree(full):
    assert Payer(full).deposit(reference="r1", headers={"Idempotency-Key": "r2"}).status_code == 400
    assert total(full) == 0


def test_a_repeat_of_a_refusal_is_judged_again(full):
    full.settings(float=50)
    payer = Payer(full)
    assert payer.deposit(reference="r1").status_code == 500
    full.settings(float=500)
    assert payer.deposit(reference="r1").json() == DONE
    assert payer.state("r1") == (200, "completed")
    assert total(full) == 100


def test_a_repeat_of_a_strange_first_answer(full):
    full.fault(PAYEE, "500-taken", count=1)
    payer = Payer(full)
    first = payer.deposit(reference="r1")
    again = payer.deposit(reference="r1")
    assert first.status_code == again.status_code == 500
    assert first.json() == again.json()
    assert total(full) == 100


def test_a_repeat_waits_for_the_first(full):
    full.fault(PAYEE, "late-taking", 0.5, count=1)
    payer, other = Payer(full), Payer(full)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(payer.deposit, reference="r1")
        wait_until(lambda: full.requests()["in_flight"]["now"] == 1)
        again = other.deposit(reference="r1")
        assert first.result().json() == again.json() == DONE
    assert total(full) == 100


@pytest.mark.parametrize(("status", "idempotency"), [(True, False), (False, True)])
def test_status_and_idempotency_apart(status, idempotency):
    options = [
        "--status" if status else "--no-status",
        "--idempotency" if idempotency else "--no-idempotency",
    ]
    with SandboxProcess(*options) as gateway:
        payer = Payer(gateway)
        payer.deposit(reference="r1")
        payer.deposit(reference="r1")
        assert total(gateway) == (100 if idempotency else 200)
        assert payer.get("status", reference="r1").status_code == (200 if status else 404)


# -- faults of a deposit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arg", "status", "message"),
    [
        ("refuse", None, 400, "user not found"),
        ("refuse", "<invalid> user not found", 400, "<invalid> user not found"),
        ("not-allowed", None, 400, "<invalid> customer is not allowed to make a deposit"),
        (
            "same-account",
            None,
            400,
            "<invalid> operation not allowed: source and destination accounts similar",
        ),
        ("no-float", 7, 500, "cannot debit amount, account balance not enough. Amount: 100 Balance: 7"),
    ],
)
def test_refusals_to_order(full, kind, arg, status, message):
    full.fault(PAYEE, kind, arg)
    payer = Payer(full)
    answer = payer.deposit(reference="r1")
    assert (answer.status_code, answer.json()) == (status, error(status, message))
    assert total(full) == 0
    assert payer.deposit(OTHER).status_code == 200
    assert payer.state("r1") == (200, "failed")


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize(
    ("kind", "arg", "status", "message"),
    [
        ("no-wallet", None, 400, "user's account has not been created, report issue"),
        ("frozen", None, 500, "couldn't access account. account is frozen"),
        ("frozen", "suspended by an officer", 500, "couldn't access account. suspended by an officer"),
        ("500", None, 500, "Something has happened. Report Issue."),
        ("500", "out of order", 500, "out of order"),
    ],
)
def test_perhaps_of_the_gateway(full, kind, arg, status, message, taken):
    full.fault(PAYEE, f"{kind}-taken" if taken else f"{kind}-not-taken", arg)
    payer = Payer(full)
    answer = payer.deposit(reference="r1")
    assert (answer.status_code, answer.json()) == (status, error(status, message))
    assert total(full) == (100 if taken else 0)
    assert payer.state("r1") == (200, "completed" if taken else "failed")


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("status-error", 200, '{"status": "error", "message": "Transaction failed"}'),
        ("unknown-body", 200, '{"outcome": "perhaps", "code": 17}'),
        ("html-200", 200, "<html>"),
        ("html-502", 502, "<html>"),
        ("html-503", 503, "<html>"),
        ("html-504", 504, "<html>"),
        ("empty", 200, ""),
        ("429", 429, '{"error": "too many requests"'),
    ],
)
def test_perhaps_with_an_answer_that_says_nothing(full, kind, status, body, taken):
    full.fault(PAYEE, f"{kind}-taken" if taken else f"{kind}-not-taken")
    answer = Payer(full).deposit()
    assert answer.status_code == status
    assert answer.text.startswith(body)
    assert total(full) == (100 if taken else 0)


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("kind", ["drop", "reset", "garbage", "cut-body", "cut-chunks"])
def test_perhaps_with_a_broken_answer(full, kind, taken):
    full.fault(PAYEE, f"{kind}-taken" if taken else f"{kind}-not-taken", count=1)
    payer = Payer(full)
    with pytest.raises(DROPPED):
        payer.deposit()
    assert total(full) == (100 if taken else 0)
    assert payer.deposit().json() == DONE


@pytest.mark.parametrize("taken", [True, False])
def test_cut_headers_look_like_an_empty_answer(bare, taken):
    bare.fault(PAYEE, "cut-headers-taken" if taken else "cut-headers-not-taken")
    answer = Payer(bare).deposit()
    # Python's own HTTP client forgives the cut: the status alone proves nothing.
    assert answer.status_code == (200 if taken else 500)
    assert answer.content == b""
    assert total(bare) == (100 if taken else 0)


def test_what_never_reached_the_gateway_is_not_known_to_it(full):
    payer = Payer(full)
    full.fault(PAYEE, "drop-not-taken", count=1)
    with pytest.raises(DROPPED):
        payer.deposit(reference="r1")
    full.fault(PAYEE, "html-502-not-taken", count=1)
    payer.deposit(reference="r2")
    assert payer.state("r1")[0] == payer.state("r2")[0] == 404
    assert payer.deposit(reference="r1").json() == DONE


def test_what_the_gateway_answered_and_the_network_lost(full):
    full.fault(PAYEE, "drop-taken", count=2)
    payer = Payer(full)
    for _ in range(2):
        with pytest.raises(DROPPED):
            payer.deposit(reference="r1")
    assert payer.state("r1") == (200, "completed")
    assert payer.deposit(reference="r1").json() == DONE
    assert total(full) == 100


def exchange(gateway, request):
    """Send bytes, give (bytes that came, how it ended: "closed" or "reset")."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request)
        came = b""
        try:
            while data := connection.recv(65536):
                came += data
        except ConnectionResetError:
            return came, "reset"
    return came, "closed"


def raw_deposit(payer, payee=PAYEE, keep=True):
    body = f"amount=100&accountNo={payee}&customerType=subscriber"
    lines = [
        "POST /api/transaction/deposit HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {payer.token}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def test_on_the_wire(bare):
    payer = Payer(bare)
    seen = {}
    for kind in ("drop", "reset", "garbage", "cut-headers", "cut-body", "cut-chunks", "hang-up"):
        bare.fault(PAYEE, f"{kind}-taken", count=1)
        seen[kind] = exchange(bare, raw_deposit(payer))
    whole = json.dumps(DONE).encode()
    assert seen["drop"] == (b"", "closed")
    assert seen["reset"] == (b"", "reset")
    assert seen["garbage"][0].startswith(b"\x00\xff")
    assert b"\r\n\r\n" not in seen["cut-headers"][0]
    head, _, body = seen["cut-body"][0].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2]
    head, _, body = seen["cut-chunks"][0].partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert not body.endswith(b"0\r\n\r\n")
    assert whole[: len(whole) // 2] in body
    head, _, body = seen["hang-up"][0].partition(b"\r\n\r\n")
    assert body == whole
    assert b"close" not in head.lower()


def test_garbage_of_ones_own_can_be_any_answer(bare):
    bare.fault(PAYEE, "garbage-not-taken", "HTTP/1.1 299 Odd\r\nContent-Length: 3\r\n\r\n\x00\xff!")
    answer = Payer(bare).deposit()
    assert (answer.status_code, answer.content) == (299, b"\x00\xff!")


def test_half_of_the_json(bare):
    bare.fault(PAYEE, "cut-json-taken")
    answer = Payer(bare).deposit()
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"JSON|delimiter|Unterminated|Expecting"):
        answer.json()
    assert total(bare) == 100


def test_late_answer_is_taken_at_once(bare):
    bare.fault(PAYEE, "late-taken", 0.6)
    payer = Payer(bare)
    with pytest.raises(requests.ReadTimeout):
        payer.deposit(timeout=0.2)
    assert total(bare) == 100
    start = time.monotonic()
    assert payer.deposit().json() == DONE
    assert time.monotonic() - start >= 0.6


def test_late_taking_takes_also_when_the_client_has_gone(bare):
    bare.fault(PAYEE, "late-taking", 0.5)
    with pytest.raises(requests.ReadTimeout):
        Payer(bare).deposit(timeout=0.2)
    assert total(bare) == 0
    wait_until(lambda: total(bare) == 100)


def test_late_and_not_taken(bare):
    bare.fault(PAYEE, "late-not-taken", 0.2)
    answer = Payer(bare).deposit()
    assert answer.json() == error(500, "Something has happened. Report Issue.")
    assert total(bare) == 0


def test_drip(bare):
    bare.fault(PAYEE, "drip-taken", 0.5)
    start = time.monotonic()
    # Each byte comes well before the time-out, all of them do not.
    assert Payer(bare).deposit(timeout=0.3).json() == DONE
    assert time.monotonic() - start > 0.4


def test_too_many_requests(bare):
    bare.fault(PAYEE, "429-not-taken", 3)
    assert Payer(bare).deposit().headers["Retry-After"] == "3"


def test_a_redirect_pays_whoever_follows_it(bare):
    bare.fault(PAYEE, "redirect-not-taken")
    payer = Payer(bare)
    answer = payer.deposit()
    assert answer.status_code == 307
    assert total(bare) == 0
    form = {"amount": 100, "accountNo": PAYEE, "customerType": "subscriber"}
    headers = {"Authorization": f"Bearer {payer.token}"}
    followed = payer.session.post(bare.urls["deposit"], data=form, headers=headers, timeout=10)
    assert followed.json() == DONE
    assert total(bare) == 100
    assert "/api/transaction/deposit/elsewhere" in bare.requests()["paths"]


def test_token_expired_comes_once(bare):
    bare.fault("*", "token-expired")
    payer = Payer(bare)
    answer = payer.deposit()
    assert (answer.status_code, answer.json()) == (401, error(401, "token has expired or is invalid"))
    assert payer.deposit().status_code == 200
    assert bare.faults() == []


def test_drop_before_the_body_is_read(bare):
    bare.fault("*", "drop-unread", count=1)
    payer = Payer(bare)
    head = raw_deposit(payer).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert exchange(bare, head)[0] == b""
    assert payer.deposit().status_code == 200
    assert total(bare) == 100


def test_a_body_that_the_client_cuts_is_not_taken(bare):
    request = raw_deposit(Payer(bare))
    with socket.create_connection(("127.0.0.1", bare.port), timeout=10) as connection:
        connection.sendall(request[:-5])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(100)
    assert total(bare) == 0


# -- whose turn a fault is ---------------------------------------------------------------------------------


def test_counts_and_order(bare):
    bare.order(
        [
            {"payee": "*", "kind": "html-503-not-taken", "count": 2},
            {"payee": PAYEE, "kind": "refuse", "count": 1},
            {"payee": PAYEE, "kind": "500-not-taken", "count": 1},
        ]
    )
    payer = Payer(bare)
    assert [payer.deposit().status_code for _ in range(5)] == [400, 500, 503, 503, 200]
    assert bare.faults() == []


def test_probability_with_a_seed_is_the_same_each_time(bare):
    payer = Payer(bare)

    def walk():
        bare.clear_faults()
        bare.settings(seed=7)
        bare.fault("*", "500-not-taken", probability=0.5)
        return [payer.deposit().status_code for _ in range(20)]

    first = walk()
    assert first == walk()
    assert {200, 500} == set(first)


def test_faults_can_be_cleared(bare):
    bare.fault(PAYEE, "refuse")
    bare.fault(OTHER, "refuse")
    assert [fault["payee"] for fault in bare.clear_faults(PAYEE)] == [OTHER]
    assert bare.clear_faults() == []


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ((PAYEE, "drop"), "drop-taken or drop-not-taken"),
        ((PAYEE, "nonsense"), "there is no fault"),
        ((PAYEE, "late-taken", "soon"), "number of seconds"),
        ((PAYEE, "drop-taken", 5), "no argument"),
        ((PAYEE, "drop-unread"), "order it for"),
        ((PAYEE, "refuse", None, -1), "how many times"),
        (("login", "refuse"), "it knows"),
        ((PAYEE, "garbage-taken", "€"), "none above 255"),
    ],
)
def test_orders_that_make_no_sense(bare, order, says):
    with pytest.raises(SandboxError, match=says):
        bare.fault(*order)
    assert bare.faults() == []


def test_a_list_of_orders_is_all_or_none(bare):
    with pytest.raises(SandboxError, match="no more"):
        bare.order([{"payee": PAYEE, "kind": "refuse"}, {"payee": PAYEE, "kind": "refuse", "when": "now"}])
    assert bare.faults() == []


# -- faults of the other calls -----------------------------------------------------------------------------


def test_slow_login(bare):
    payer = Payer(bare)
    bare.fault("login", "late", 0.4)
    start = time.monotonic()
    assert payer.log_in(EMAIL, PASSWORD).status_code == 200
    assert time.monotonic() - start >= 0.4


@pytest.mark.parametrize(
    ("kind", "status"),
    [("wrong-password", 401), ("no-such-agent", 400), ("500", 500), ("html-503", 503), ("429", 429)],
)
def test_failing_login(bare, kind, status):
    payer = Payer(bare)
    bare.fault("login", kind, count=1)
    assert payer.log_in(EMAIL, PASSWORD).status_code == status
    assert payer.log_in(EMAIL, PASSWORD).status_code == 200


@pytest.mark.parametrize("call", ["login", "balance", "statement", "status"])
@pytest.mark.parametrize("kind", ["drop", "reset", "garbage", "cut-body", "drop-unread"])
def test_broken_answers_of_the_other_calls(full, call, kind):
    payer = Payer(full)
    full.fault(call, kind, count=1)
    with pytest.raises(DROPPED):
        payer.log_in(EMAIL, PASSWORD) if call == "login" else payer.get(call, reference="r1")
    assert full.faults() == []


def test_status_that_does_not_know_yet(full):
    payer = Payer(full)
    payer.deposit(reference="r1")
    full.fault("status", "not-found", count=1)
    assert payer.state("r1")[0] == 404
    assert payer.state("r1") == (200, "completed")


# -- in flight ---------------------------------------------------------------------------------------------


def test_deposits_in_flight_are_counted(bare):
    bare.settings(latency_ms=300)
    with ThreadPoolExecutor() as pool:
        payers = [Payer(bare) for _ in range(3)]
        bare.reset()
        list(pool.map(lambda pair: pair[0].deposit(pair[1]), zip(payers, [PAYEE, PAYEE, OTHER], strict=True)))
    in_flight = bare.requests()["in_flight"]
    assert in_flight["now"] == 0
    assert in_flight["largest"] == 3
    assert in_flight["largest_to_one_payee"] == 2
    assert in_flight["more_than_one_at_once"] == {PAYEE: 2}


def test_one_after_another_is_never_two(bare):
    bare.settings(latency_ms=1)
    payer = Payer(bare)
    for _ in range(50):
        payer.deposit()
    in_flight = bare.requests()["in_flight"]
    assert (in_flight["largest"], in_flight["largest_to_one_payee"]) == (1, 1)


def test_a_client_that_hangs_up_is_no_longer_in_flight(bare):
    bare.fault(PAYEE, "late-taken", 3, count=1)
    payer = Payer(bare)
    with pytest.raises(requests.ReadTimeout):
        payer.deposit(timeout=0.1)
    wait_until(lambda: bare.requests()["in_flight"]["now"] == 0, 1)
    payer.deposit()
    assert bare.requests()["in_flight"]["largest_to_one_payee"] == 1


def test_connections_are_kept(bare):
    payer = Payer(bare)
    payer.deposit()
    before = bare.requests()["connections"]
    for _ in range(20):
        payer.deposit()
    # One more for each question of the test's own.
    assert bare.requests()["connections"] == before + 1


def test_outcomes_are_counted(bare):
    payer = Payer(bare)
    bare.reset()
    bare.fault(PAYEE, "500-taken", count=1)
    payer.deposit()
    payer.deposit()
    payer.deposit("nobody")
    paths = bare.requests()["paths"]
    assert paths["/api/transaction/deposit"] == {"500-taken": 1, "taken": 1, "unknown-payee": 1}


# -- latency and settings ----------------------------------------------------------------------------------


def test_latency(bare):
    payer = Payer(bare)
    bare.settings(latency_ms=200, jitter_ms=50)
    start = time.monotonic()
    payer.deposit()
    assert 0.2 <= time.monotonic() - start < 0.6


@pytest.mark.parametrize(
    "values",
    [{"latency_ms": -1}, {"status": "yes"}, {"float": 1.5}, {"unheard_of": 1}, {"payee_pattern": "("}],
)
def test_settings_that_cannot_be(bare, values):
    before = bare.settings()
    with pytest.raises(SandboxError):
        bare.settings(latency_ms=5, **values) if "latency_ms" not in values else bare.settings(**values)
    assert bare.settings() == before


def test_control_wants_json(bare):
    for path in ("settings", "faults"):
        answer = requests.post(f"{bare.url}/sandbox/{path}", data=b"{no", timeout=10)
        assert answer.status_code == 400
        assert "JSON" in answer.json()["message"]


# -- books, death and life ---------------------------------------------------------------------------------


def test_ledger_since_and_limit(bare):
    payer = Payer(bare)
    for amount in (10, 20, 30):
        payer.deposit(amount=amount)
    first = bare.ledger()["entries"][0]["id"]
    later = bare.ledger(since=first)
    assert [entry["amount"] for entry in later["entries"]] == [20, 30]
    assert (later["count"], later["total"]) == (3, 60)
    assert [entry["amount"] for entry in bare.ledger(limit=1)["entries"]] == [10]


def test_reset(full):
    payer = Payer(full)
    payer.deposit(reference="r1")
    full.reset()
    ledger = full.ledger()
    assert (ledger["entries"], ledger["paid"], ledger["float"]) == ([], {}, 10_000_000)
    assert payer.state("r1")[0] == 404
    assert full.requests()["references_sent_again"] == {}


def test_books_survive_a_kill(own):
    payer = Payer(own)
    own.settings(float=5000, latency_ms=1)
    own.fault(OTHER, "refuse", count=2)
    for number in range(20):
        payer.deposit(reference=f"r{number}")
    payer.deposit(OTHER)
    before, port, pid = own.ledger(), own.port, own.pid
    own.kill()
    assert not own.running
    with pytest.raises(requests.ConnectionError):
        payer.deposit()
    own.restart()
    assert (own.port, own.ledger()) == (port, before)
    assert own.pid != pid
    assert own.settings()["latency_ms"] == 1
    assert [fault["count"] for fault in own.faults()] == [1]
    assert payer.deposit(reference="r1").json() == DONE
    assert total(own) == 2000
    assert payer.deposit(reference="new").json() == DONE
    assert own.ledger()["entries"][-1]["request_no"] > before["entries"][-1]["request_no"]


def test_revoked_tokens_stay_revoked_after_a_restart(own):
    payer = Payer(own)
    own.settings(revoke_tokens=True)
    own.restart()
    assert payer.deposit().status_code == 401


def test_pending_deposits_settle_after_a_restart(own):
    own.fault(PAYEE, "fails-later", 0.5)
    Payer(own).deposit(reference="r1")
    own.restart()
    wait_until(lambda: own.ledger()["float"] == 10_000_000)


def test_what_was_answered_is_in_the_books_whenever_it_is_killed(own):
    answered = []

    def send(sender):
        payer = Payer(own)
        for number in range(100_000):
            reference = f"{sender}-{number}"
            try:
                if payer.deposit(f"2547{sender:02}{number:06}", reference=reference).json() == DONE:
                    answered.append(reference)
            except requests.RequestException:
                return

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) > 200, 20)
    os.kill(own.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    own.restart()
    ledger = own.ledger()
    booked = {entry["reference"] for entry in ledger["entries"]}
    assert set(answered) <= booked
    assert len(booked) == ledger["count"] <= len(answered) + 3
    assert ledger["float"] == 10_000_000 - ledger["total"]


def test_a_frozen_gateway_takes_connections_and_says_nothing(own):
    payer = Payer(own)
    own.freeze()
    with pytest.raises(requests.ReadTimeout):
        payer.deposit(timeout=0.3)
    own.thaw()
    wait_until(lambda: total(own) == 100)


def test_an_orderly_end_leaves_one_file(tmp_path):
    gateway = SandboxProcess(ledger=tmp_path / "books").start()
    Payer(gateway).deposit()
    gateway.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books", "books.lock"]
    with sqlite3.connect(tmp_path / "books") as db:
        assert db.execute("SELECT payee, amount FROM entries").fetchall() == [(PAYEE, 100)]


def test_ends_with_the_process_that_started_it(tmp_path):
    code = (
        f"import sys, os; sys.path.insert(0, {str(LAUNCHER.parent)!r})\n"
        "from sandbox.client import SandboxProcess\n"
        "print(SandboxProcess().start().pid, flush=True); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    pid = int(run.stdout)

    def gone():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"

    wait_until(gone)


# -- the process -------------------------------------------------------------------------------------------


def run(*options):
    command = [sys.executable, str(LAUNCHER), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_port_taken_is_one_sentence(bare):
    result = run("--port", str(bare.port))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"Port {bare.port} is taken" in result.stderr


def test_ledger_in_use_is_one_sentence(bare):
    result = run("--port", "0", "--ledger", str(bare.ledger_file))
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "in use by another gateway" in result.stderr


def test_ledger_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "book").write_text("dear diary " * 1000)
    for path in (tmp_path / "book", tmp_path / "no" / "folder"):
        result = run("--port", "0", "--ledger", str(path))
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert "cannot be opened" in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "::"])
def test_other_hosts_are_refused(host):
    result = run("--host", host)
    assert result.returncode == 2
    assert "127.0.0.1 only" in result.stderr


def test_other_names_are_refused(bare):
    answer = requests.get(f"{bare.url}/sandbox/ledger", headers={"Host": "evil.example"}, timeout=10)
    assert answer.status_code == 403


@pytest.mark.parametrize("fault", ["x", f"{PAYEE}=drop", f"{PAYEE}=late-taken:soon", f"{PAYEE}=refuse@2"])
def test_faults_that_cannot_be_read(fault):
    result = run("--fault", fault)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_faults_on_the_command_line():
    options = [
        "--fault",
        f"{PAYEE}=refuse:no * such @ payee*2",
        "--fault",
        "*=late-taken:0.1@0.5",
        "--seed",
        "1",
    ]
    with SandboxProcess(*options) as gateway:
        assert gateway.faults() == [
            {"payee": PAYEE, "kind": "refuse", "arg": "no * such @ payee", "count": 2, "probability": 1.0},
            {"payee": "*", "kind": "late-taken", "arg": 0.1, "count": None, "probability": 0.5},
        ]
        assert Payer(gateway).deposit().json()["message"] == "no * such @ payee"
        gateway.restart()
        assert gateway.faults()[0]["count"] == 1


def test_prints_one_json_line():
    command = [sys.executable, str(LAUNCHER), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = json.loads(process.stdout.readline())
        assert line["pid"] == process.pid
        assert requests.get(line["url"], timeout=10).status_code == 200
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest) == (0, "")
    assert f"{line['url']}/api/transaction/deposit" in errors
    assert "Traceback" not in errors


def test_help_names_every_fault():
    from sandbox.faults import KINDS

    text = run("--help").stdout
    assert all(f"  {kind.name}" in text for kind in KINDS)
    assert max(len(line) for line in text.splitlines() if "--" not in line) <= 110


def test_unknown_paths_and_methods(bare):
    assert requests.get(f"{bare.url}/api/nothing", timeout=10).text == "404 page not found\n"
    assert requests.get(bare.urls["deposit"], timeout=10).status_code == 405
    assert requests.post(bare.urls["login"], data=b"x" * 2_000_000, timeout=10).status_code == 400


def test_page(full):
    payer = Payer(full)
    for number in range(60):
        payer.deposit(amount=10 + number, reference=f"<r{number}>")
    full.fault(PAYEE, "late-taken", 5, count=3)
    page = requests.get(full.url, timeout=10)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    text = page.text
    for words in ("late-taken", "&lt;r59&gt;", "idempotency", EMAIL, "/?page=2", "page 1 of 2"):
        assert words in text
    assert "<r59>" not in text
    assert "&lt;r5&gt;" not in text
    assert "&lt;r5&gt;" in requests.get(f"{full.url}/?page=2", timeout=10).text
    assert "http://" not in text.replace(full.url, "")
    assert requests.get(f"{full.url}/?page=x", timeout=10).status_code == 400


def test_the_client_module_needs_only_python():
    file = LAUNCHER.parent / "sandbox" / "client.py"
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('client', {str(file)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.SandboxProcess, {'gevent', 'requests'} & set(sys.modules))"
    )
    # -S: without site-packages.
    command = [sys.executable, "-I", "-S", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "<class 'client.SandboxProcess'> set()\n"
