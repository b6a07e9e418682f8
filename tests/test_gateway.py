"""The gateway's contract, row by row, against a real sandbox gateway. No database."""

import contextlib
import json
import logging
import os
import socket
import ssl
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from odoo.tests import BaseCase

from ..gateway import clock, errors, simple
from ..gateway.simple import Order, Settings, SimpleMpesa
from .common import AGENT, SECRET, Listener, WithGateway

PAYEE = "254700000001"
# Seconds that the client waits where the gateway is slow on purpose, and where it is not.
SHORT, LONG = 0.4, 10


# Before Odoo's tests put their own in its place, which lets nobody ask anything but 127.0.0.1.
SEND = requests.Session.send


class GatewayCase(WithGateway, BaseCase):
    """With clients that note their contacts."""

    @classmethod
    def _request_handler(cls, s, r, /, **kw):
        return SEND(s, r, **kw)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.normal = {**cls.gateway.settings(), "revoke_tokens": False}

    def setUp(self):
        super().setUp()
        # An answer that an earlier test did not wait for is still being counted.
        while self.gateway.requests()["in_flight"]["now"]:
            time.sleep(0.05)
        self.gateway.settings(**self.normal)
        self.gateway.reset()
        self.contacts = []

    def client(self, **changes):
        """A client for the sandbox; ``changes`` are fields of its settings."""
        urls = self.gateway.urls
        values = {
            "auth_url": urls["login"],
            "payment_url": urls["deposit"],
            "status_url": urls["status"],
            "balance_url": urls["balance"],
            "username": AGENT,
            "password": SECRET,
            "timeout": LONG,
            "sends_reference": self.PROFILE == "full",
            "allow_private": True,
        }
        client = SimpleMpesa(Settings(**values | changes), self.contacts.append)
        self.addCleanup(client.__exit__)
        return client

    def deposit(self, client=None, payee=PAYEE, amount=100, reference="ref-1"):
        (client or self.client()).deposit(Order(reference, payee, amount))

    def assert_gateway_error(self, kind, reason, call, *args, **kwargs):
        """``call`` raises ``kind`` for ``reason``; return the error."""
        with self.assertRaises(kind) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.reason, reason, caught.exception.message)
        return caught.exception

    def assert_deposit_error(self, kind, reason, **kwargs):
        return self.assert_gateway_error(kind, reason, self.deposit, **kwargs)

    def answer_deposit(self, kind, arg=None):
        self.gateway.fault(PAYEE, kind, arg, count=1)

    def paid(self, payee=PAYEE):
        return self.gateway.ledger()["paid"].get(payee, 0)

    def answers(self, name):
        """How often the gateway gave each of its answers at a URL, by their names."""
        path = self.gateway.urls[name].removeprefix(self.gateway.url)
        return self.gateway.requests()["paths"].get(path, {})


def raw(status, body, content_type="application/json"):
    """A whole HTTP answer, for the sandbox's fault ``garbage``."""
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def error_body(http_status, message, **changes):
    return json.dumps({"error": "internal error", "message": message, "status": http_status} | changes)


class TestLogin(GatewayCase):
    def assert_login_error(self, kind, reason, **changes):
        return self.assert_gateway_error(kind, reason, self.client(**changes).log_in)

    def test_right_credentials_give_a_token(self):
        self.client().log_in()
        self.assertEqual(self.answers("login"), {"ok": 1})

    def test_a_wrong_password_is_our_fault(self):
        error = self.assert_login_error(errors.OurFault, errors.CREDENTIALS, password="wrong")
        self.assertEqual((error.message, error.http_status), ("provided credentials are invalid", 401))

    def test_an_unknown_agent_is_our_fault(self):
        self.assert_login_error(errors.OurFault, errors.CREDENTIALS, username="nobody@example.org")

    def test_a_user_name_that_is_no_address_is_a_wrong_set_up(self):
        error = self.assert_login_error(errors.OurFault, errors.SETUP, username="agent")
        self.assertEqual(error.message, "email must be a valid email address")

    def test_a_missing_field_is_a_wrong_set_up(self):
        error = self.assert_login_error(errors.OurFault, errors.SETUP, username="", password="")
        self.assertCountEqual(
            error.message.split("; "), ["email is a required field", "password is a required field"]
        )

    def test_a_wrong_url_is_a_wrong_set_up(self):
        self.assert_login_error(errors.OurFault, errors.SETUP, auth_url=self.gateway.url + "/api/login")
        self.assert_login_error(errors.OurFault, errors.SETUP, auth_url=self.gateway.urls["balance"])
        self.assert_login_error(errors.OurFault, errors.SETUP, auth_url=self.gateway.urls["deposit"])

    def test_a_gateway_in_trouble_counts_as_not_reached(self):
        for kind in ("500", "html-502", "html-503", "html-504", "429"):
            with self.subTest(kind):
                self.gateway.fault("login", kind, count=1)
                self.assert_login_error(errors.Unreachable, errors.UNREACHABLE)

    def test_a_login_without_an_answer_moves_no_money_and_counts_as_not_reached(self):
        kinds = {"drop": None, "reset": None, "garbage": None, "cut-body": None, "late": 1, "drip": 5}
        for kind, arg in kinds.items():
            with self.subTest(kind):
                self.gateway.fault("login", kind, arg, count=1)
                self.assert_login_error(errors.Unreachable, errors.UNREACHABLE, timeout=SHORT)

    def test_an_answer_without_a_token_is_a_wrong_set_up(self):
        for body in ({}, [], "token", *({"token": token} for token in (1, "", "a\nb", "é"))):
            with self.subTest(body):
                self.gateway.fault("login", "unknown-body", json.dumps(body), count=1)
                self.assert_login_error(errors.OurFault, errors.SETUP)
        for kind in ("html-200", "empty", "redirect", "status-error"):
            with self.subTest(kind):
                self.gateway.fault("login", kind, count=1)
                self.assert_login_error(errors.OurFault, errors.SETUP)

    def test_a_token_need_not_be_a_json_web_token(self):
        for token in ("opaque", "a.b.c", f"a.{'W10'}.c", f"a.{'bnVsbA'}.c", "a." + "W1tb" * 5000 + ".c"):
            with self.subTest(token[:20]):
                self.gateway.fault("login", "unknown-body", json.dumps({"token": token}), count=1)
                self.client().log_in()

    def test_without_a_login_nothing_is_paid(self):
        self.assert_deposit_error(errors.OurFault, errors.CREDENTIALS, client=self.client(password="wrong"))
        self.assertEqual((self.answers("deposit"), self.paid()), ({}, 0))


class TestDeposit(GatewayCase):
    """The rows of the contract's table."""

    def test_done_is_taken(self):
        self.deposit()
        self.assertEqual(self.paid(), 100)

    def test_success_with_an_error_word_is_unclear(self):
        for word in ("perhaps", {"code": 5}, ["perhaps"], True, 17):
            with self.subTest(word):
                self.answer_deposit("unknown-body-taken", json.dumps({"status": "success", "error": word}))
                self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)

    def test_success_with_no_error_in_so_many_words_is_taken(self):
        for word in (None, "", False):
            self.answer_deposit("unknown-body-taken", json.dumps({"status": "success", "error": word}))
            self.deposit()

    def test_success_that_is_said_twice_or_otherwise_is_unclear(self):
        bodies = (
            '{"status": "error", "status": "success"}',
            '{"status": "Success"}',
            '{"status": true}',
            '[{"status": "success"}]',
            '{"data": {"status": "success"}}',
            '"success"',
            '{"status": "success"} x',
        )
        for body in bodies:
            with self.subTest(body):
                self.answer_deposit("unknown-body-not-taken", body)
                self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)

    def test_success_with_another_http_status_is_unclear(self):
        for status in (201, 202, 204, 302, 400, 401, 404, 405):
            with self.subTest(status):
                self.answer_deposit("garbage-not-taken", raw(status, '{"status": "success"}'))
                self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)
        self.answer_deposit("garbage-not-taken", raw(500, '{"status": "success"}'))
        self.assert_deposit_error(errors.Unclear, errors.SERVER_ERROR)

    def test_an_unaccepted_token_is_our_fault(self):
        sentences = (
            "token has expired or is invalid",
            "authorization header not set",
            "authentication token not set",
            "invalid signature on token",
            "invalid token",
        )
        for sentence in sentences:
            with self.subTest(sentence):
                self.gateway.fault(PAYEE, "token-expired", sentence, count=2)
                error = self.assert_deposit_error(errors.OurFault, errors.CREDENTIALS)
                self.assertEqual((error.message, error.http_status), (sentence, 401))
        self.assertEqual(self.paid(), 0)

    def test_an_unknown_sentence_with_401_is_unclear_and_not_sent_again(self):
        self.gateway.fault(PAYEE, "token-expired", "come back tomorrow", count=0)
        self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)
        self.assertEqual(self.answers("deposit"), {"token-expired": 1})

    def test_a_missing_field_is_a_wrong_set_up(self):
        error = self.assert_deposit_error(errors.OurFault, errors.SETUP, payee="")
        self.assertEqual((error.message, error.http_status), ("accountNo is a required field", 400))
        self.assert_deposit_error(errors.OurFault, errors.SETUP, client=self.client(customer_type=""))
        self.assert_deposit_error(errors.OurFault, errors.SETUP, payee="", amount=0)

    def test_an_unknown_payee_is_refused(self):
        error = self.assert_deposit_error(errors.Refused, errors.PAYEE_UNKNOWN, payee="nobody")
        self.assertEqual((error.message, error.http_status), ("user not found", 400))

    def test_an_unknown_payee_is_refused_with_a_code_before_the_sentence(self):
        self.answer_deposit("refuse", "<invalid> user not found")
        self.assert_deposit_error(errors.Refused, errors.PAYEE_UNKNOWN)

    def test_a_wrong_customer_type_is_refused(self):
        client = self.client(customer_type="nobody")
        self.assert_deposit_error(errors.Refused, errors.PAYEE_UNKNOWN, client=client)

    def test_payer_and_payee_the_same_is_refused(self):
        self.assert_deposit_error(errors.Refused, errors.PAYEE_IS_PAYER, payee=AGENT)

    def test_a_merchant_is_refused(self):
        client = self.client(customer_type="merchant")
        self.assert_deposit_error(errors.Refused, errors.PAYEE_KIND, client=client)

    def test_a_super_agent_or_no_agent_is_not_permitted(self):
        for sentence in (
            "<invalid> a super agent is only allowed to deposit for other agents",
            "<invalid> deposit can only be done by an agent",
        ):
            self.answer_deposit("not-allowed", sentence)
            self.assert_deposit_error(errors.OurFault, errors.NOT_PERMITTED)

    def test_an_amount_under_ten_is_refused_with_500(self):
        error = self.assert_deposit_error(errors.Refused, errors.AMOUNT_TOO_SMALL, amount=9)
        self.assertEqual((error.message, error.http_status), ("cannot deposit amounts less than 10", 500))

    def test_not_enough_float_is_our_fault_with_500(self):
        self.gateway.settings(float=50)
        error = self.assert_deposit_error(errors.OurFault, errors.FLOAT)
        self.assertEqual(error.http_status, 500)
        self.assertIn("Amount: 100 Balance: 50", error.message)

    def test_a_large_float_is_said_in_powers_of_ten(self):
        sentence = "cannot debit amount, account balance not enough. Amount: 3000000 Balance: 2.345678e+06"
        self.answer_deposit("500-not-taken", sentence)
        self.assert_deposit_error(errors.OurFault, errors.FLOAT)

    def test_a_frozen_account_is_unclear_with_or_without_money(self):
        for kind in ("frozen-taken", "frozen-not-taken"):
            self.answer_deposit(kind)
            self.assert_deposit_error(errors.Unclear, errors.ACCOUNT_BLOCKED)

    def test_a_missing_wallet_is_unclear_with_or_without_money(self):
        for kind in ("no-wallet-taken", "no-wallet-not-taken"):
            self.answer_deposit(kind)
            self.assert_deposit_error(errors.Unclear, errors.NO_WALLET)

    def test_any_other_500_is_unclear(self):
        for sentence in (None, "ERROR: disk full (SQLSTATE P0001)", "user not found", "cannot deposit"):
            self.answer_deposit("500-taken", sentence)
            self.assert_deposit_error(errors.Unclear, errors.SERVER_ERROR)

    def test_a_sentence_of_the_table_with_another_status_is_unclear(self):
        self.answer_deposit("refuse", "cannot deposit amounts less than 10")
        self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)

    def test_a_refusal_with_more_or_fewer_words_is_unclear(self):
        for sentence in ("user not found, or perhaps it was", "USER NOT FOUND", "<a b> user not found"):
            self.answer_deposit("refuse", sentence)
            self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)

    def test_a_refusal_that_contradicts_itself_is_unclear(self):
        for changes in ({"status": "success"}, {"status": 200}, {"error": ""}, {"error": None}):
            with self.subTest(changes):
                body = error_body(400, "user not found", **changes)
                self.answer_deposit("garbage-not-taken", raw(400, body))
                self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)

    def test_a_wrong_url_is_a_wrong_set_up_and_not_a_refusal(self):
        client = self.client(payment_url=self.gateway.url + "/api/transaction/deposits")
        error = self.assert_deposit_error(errors.OurFault, errors.SETUP, client=client)
        self.assertEqual((error.message, error.http_status), ("HTTP 404, text/plain, 19 bytes", 404))
        client = self.client(payment_url=self.gateway.urls["balance"])
        self.assert_deposit_error(errors.OurFault, errors.SETUP, client=client)
        self.answer_deposit("garbage-not-taken", raw(405, "Cannot POST /x", "text/plain"))
        self.assert_deposit_error(errors.OurFault, errors.SETUP)

    def test_a_404_of_the_gateway_itself_or_a_broken_one_is_unclear(self):
        for body in (error_body(404, "user not found"), '{"error": "not fo', "", "[]"):
            with self.subTest(body):
                self.answer_deposit("garbage-taken", raw(404, body))
                self.assert_deposit_error(errors.Unclear, errors.NOT_UNDERSTOOD)


# Each fault of the sandbox that touches deposits: its argument, and what the client makes of it.
TAKEN = (None, None)
NO_ANSWER = (errors.Unclear, errors.NO_ANSWER)
NOT_UNDERSTOOD = (errors.Unclear, errors.NOT_UNDERSTOOD)
SERVER_ERROR = (errors.Unclear, errors.SERVER_ERROR)
FAULTS = {
    "refuse": (None, (errors.Refused, errors.PAYEE_UNKNOWN)),
    "not-allowed": (None, (errors.Refused, errors.PAYEE_KIND)),
    "same-account": (None, (errors.Refused, errors.PAYEE_IS_PAYER)),
    "no-float": (None, (errors.OurFault, errors.FLOAT)),
    "no-wallet": (None, (errors.Unclear, errors.NO_WALLET)),
    "frozen": (None, (errors.Unclear, errors.ACCOUNT_BLOCKED)),
    "500": (None, SERVER_ERROR),
    "status-error": (None, NOT_UNDERSTOOD),
    "unknown-body": (None, NOT_UNDERSTOOD),
    "html-200": (None, NOT_UNDERSTOOD),
    "html-502": (None, SERVER_ERROR),
    "html-503": (None, SERVER_ERROR),
    "html-504": (None, SERVER_ERROR),
    "429": (None, NOT_UNDERSTOOD),
    "empty": (None, NOT_UNDERSTOOD),
    "redirect": (None, NOT_UNDERSTOOD),
    "drop": (None, NO_ANSWER),
    "reset": (None, NO_ANSWER),
    "garbage": (None, NO_ANSWER),
    "cut-headers": (None, NOT_UNDERSTOOD),
    "cut-body": (None, NO_ANSWER),
    "cut-chunks": (None, NO_ANSWER),
    "cut-json": (None, NOT_UNDERSTOOD),
    "drip": (5, NO_ANSWER),
    "late": (1, NO_ANSWER),
    "late-taking": (1, NO_ANSWER),
    "drop-unread": (None, NO_ANSWER),
    "hang-up-taken": (None, TAKEN),
    "hang-up-not-taken": (None, SERVER_ERROR),
    "interim-102": (None, NO_ANSWER),
    "interim-103": (None, NO_ANSWER),
    "surplus-taken": (None, TAKEN),
    "surplus-not-taken": (None, SERVER_ERROR),
    "early-taken": (None, TAKEN),
    "early-not-taken": (None, SERVER_ERROR),
    "pending": (None, TAKEN),
    "fails-later": (3600, TAKEN),
    # Once: a new login, and the same order once more.
    "token-expired": (None, TAKEN),
}


class TestFaults(GatewayCase):
    def kinds(self):
        """The sandbox's names of all faults of a deposit, from its own words."""
        with self.assertRaises(Exception) as caught:
            self.gateway.fault(PAYEE, "no-such-fault")
        return str(caught.exception).partition("there are ")[2].split(", ")

    def expected(self, name):
        kind = name.removesuffix("-not-taken").removesuffix("-taken")
        arg, outcome = FAULTS.get(name) or FAULTS[kind]
        if name.endswith("-not-taken") and kind.startswith("cut-"):
            # What is cut is a 500 then: a status line that arrived is believed.
            outcome = SERVER_ERROR if outcome == NOT_UNDERSTOOD else outcome
        return arg, outcome

    def test_each_kind_is_what_it_is_whether_money_moved_or_not(self):
        for number, name in enumerate(self.kinds()):
            arg, (kind, reason) = self.expected(name)
            payee = f"2547000001{number:02}"
            with self.subTest(name):
                self.gateway.fault("*" if name == "drop-unread" else payee, name, arg, count=1)
                client = self.client(timeout=SHORT if arg and reason == errors.NO_ANSWER else LONG)
                if kind:
                    self.assert_deposit_error(kind, reason, client=client, payee=payee)
                else:
                    self.deposit(client, payee)
                # What the gateway did, by its own books: so much for what we say of it.
                self.assertEqual(self.paid_in_the_end(name, payee), 100 if name in self.moving() else 0)
                self.assertFalse(kind and issubclass(kind, errors.NotTaken) and name in self.moving())

    def moving(self):
        """The faults with which the money moves."""
        taken = {name for name in self.kinds() if name.endswith("-taken") and not name.endswith("-not-taken")}
        return taken | {"late-taking", "pending", "fails-later", "token-expired"}

    def paid_in_the_end(self, name, payee):
        end = time.monotonic() + 10
        while name == "late-taking" and not self.paid(payee) and time.monotonic() < end:
            time.sleep(0.05)
        return self.paid(payee)

    def test_nobody_gets_what_came_before_after_or_between_an_answer(self):
        for kind in ("interim-102", "interim-103", "surplus", "early"):
            for name, paid in ((f"{kind}-taken", 100), (f"{kind}-not-taken", 0)):
                with self.subTest(name):
                    self.gateway.reset()
                    self.gateway.fault("254700000002", name, count=1)
                    client = self.client()
                    with contextlib.suppress(errors.Unclear):
                        self.deposit(client, payee="254700000002")
                    time.sleep(0.2)
                    self.assert_deposit_error(
                        errors.Refused, errors.PAYEE_UNKNOWN, client=client, payee="nobody"
                    )
                    self.assertEqual(self.paid("254700000002"), paid)

    def test_a_redirect_is_never_followed(self):
        self.gateway.fault("*", "redirect-taken")
        for call in ("login", "balance", "status"):
            self.gateway.fault(call, "redirect")
        client = self.client()
        self.assert_gateway_error(errors.OurFault, errors.SETUP, client.log_in)
        self.gateway.clear_faults("login")
        for ask in (self.deposit, lambda client: client.balance(), lambda client: client.status("x")):
            with self.assertRaises(errors.GatewayError):
                ask(client)
        self.assertEqual(self.paid(), 100)
        self.assertNotIn("/api/transaction/deposit/elsewhere", self.gateway.requests()["paths"])

    def test_an_answer_of_many_megabytes_is_not_read(self):
        body = json.dumps({"status": "success", "message": "x" * 900_000})
        self.answer_deposit("unknown-body-taken", body)
        error = self.assert_deposit_error(*NO_ANSWER)
        self.assertIn("too long", error.message)


class TestTime(GatewayCase):
    def assert_over_in(self, seconds, *args, **kwargs):
        begin = time.monotonic()
        error = self.assert_deposit_error(*args, **kwargs)
        self.assertLess(time.monotonic() - begin, seconds)
        return error

    def test_a_slow_answer_that_comes_in_time_is_taken(self):
        self.answer_deposit("drip-taken", 0.3)
        self.deposit()

    def test_headers_that_drip_in_are_not_waited_for(self):
        self.answer_deposit("drip-taken", 60)
        client = self.client(timeout=SHORT)
        client.log_in()
        # The fault's 60 seconds are those of some 230 bytes, more than half of them headers.
        self.assert_over_in(3 * SHORT, *NO_ANSWER, client=client)

    def test_a_body_that_drips_in_is_not_waited_for(self):
        client = self.client(timeout=2)
        client.log_in()
        # Headers after some 1.2 seconds, the end of the body after 2.7.
        self.answer_deposit("drip-taken", 2.7)
        error = self.assert_over_in(6, *NO_ANSWER, client=client)
        self.assertEqual(error.message, "the time-out has passed")

    def test_a_kept_connection_has_the_whole_time_again(self):
        client = self.client(timeout=1)
        for number in range(4):
            self.gateway.fault(PAYEE, "late-taken", 0.5, count=1)
            self.deposit(client, reference=f"ref-{number}")
        self.assertEqual(self.paid(), 400)

    def test_what_is_not_connected_in_time_is_never_written(self):
        client = self.client(timeout=SHORT)
        client.log_in()
        client._http.close()
        look_up = socket.getaddrinfo

        def slow_look_up(*args, **kwargs):
            time.sleep(2.5 * SHORT)
            return look_up(*args, **kwargs)

        with patch.object(socket, "getaddrinfo", slow_look_up):
            self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, client=client)
        self.assertNotIn("taken", self.answers("deposit"))
        self.assertEqual(self.paid(), 0)

    def test_a_gateway_that_stands_still_is_not_waited_for(self):
        client = self.client(timeout=SHORT)
        client.log_in()
        self.gateway.freeze()
        # Thawed first, then started again: what it was sent is done by then, or never.
        self.addCleanup(self.gateway.restart)
        self.addCleanup(self.gateway.thaw)
        self.assert_over_in(3 * SHORT, *NO_ANSWER, client=client)


class TestConnection(GatewayCase):
    def connections(self):
        return self.gateway.requests()["connections"]

    def test_deposits_share_one_connection(self):
        before = self.connections()
        client = self.client()
        for number in range(10):
            self.deposit(client, reference=f"ref-{number}")
        # One is that of the question itself.
        self.assertEqual(self.connections() - before, 2)
        self.assertEqual(self.paid(), 1000)

    def test_refusals_keep_the_connection(self):
        before = self.connections()
        client = self.client()
        for _number in range(5):
            self.assert_deposit_error(errors.Refused, errors.PAYEE_UNKNOWN, client=client, payee="nobody")
        self.assertEqual(self.connections() - before, 2)

    def test_a_connection_that_was_closed_while_idle_is_replaced(self):
        client = self.client()
        for number in range(3):
            self.answer_deposit("hang-up-taken")
            self.deposit(client, reference=f"ref-{number}")
            time.sleep(0.1)
        self.assertEqual(self.paid(), 300)

    def test_a_gateway_that_was_started_again_is_paid_through(self):
        client = self.client()
        self.deposit(client)
        self.gateway.restart()
        self.deposit(client, reference="ref-2")
        self.assertEqual((self.paid(), self.answers("login")), (200, {}))

    def test_nobody_at_the_address_is_unreachable(self):
        client = self.client(timeout=1)
        client.log_in()
        self.gateway.kill()
        try:
            error = self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, client=client)
        finally:
            self.gateway.start()
        self.assertEqual(error.message, "the connection was refused")
        self.assertEqual(self.paid(), 0)

    def test_an_unknown_host_is_unreachable(self):
        unknown = socket.gaierror(-2, "Name or service not known")
        with patch.object(socket, "getaddrinfo", side_effect=unknown):
            error = self.assert_gateway_error(errors.Unreachable, errors.UNREACHABLE, self.client().log_in)
        self.assertEqual(error.message, "the host name is not known")

    def test_where_an_address_leads(self):
        asked = {
            "http://[::1]/pay": ("::1", 80),
            "https://[::1]/pay": ("::1", 443),
            "http://[::1]:8080/pay": ("::1", 8080),
            "https://gateway.example:8443": ("gateway.example", 8443),
        }
        for url, (host, port) in asked.items():
            with (
                self.subTest(url),
                patch.object(socket, "getaddrinfo", side_effect=socket.gaierror) as look_up,
                self.assertRaises(errors.Unreachable),
            ):
                self.client(auth_url=url).log_in()
            self.assertEqual(look_up.call_args.args[:2], (host, port))

    def test_an_address_that_is_none_is_unreachable(self):
        for url in ("", "gateway", "ftp://gateway/", "http://", "http://gateway:port/", "http://a b/"):
            with self.subTest(url):
                error = self.assert_gateway_error(
                    errors.Unreachable, errors.UNREACHABLE, self.client(auth_url=url).log_in
                )
                self.assertIn(
                    error.message,
                    ("the address or the order cannot be written", "the host name is not known"),
                )

    def test_what_people_are_told_names_no_class_of_python(self):
        broken_off = "the connection ended before a whole answer"
        told = {
            "late-taken": "the time-out has passed",
            **dict.fromkeys(("drop-taken", "reset-taken", "cut-body-taken", "cut-chunks-taken"), broken_off),
            "garbage-taken": "the answer is not HTTP",
        }
        for kind, words in told.items():
            with self.subTest(kind):
                client = self.client(timeout=SHORT)
                client.log_in()
                self.answer_deposit(kind, {"late-taken": 5, "garbage-taken": "garbage\r\n\r\n"}.get(kind))
                error = self.assert_deposit_error(*NO_ANSWER, client=client)
                self.assertIn(error.message, (words, "the answer was cut short"))

    def test_an_address_that_is_none_is_unreachable_and_nothing_else(self):
        urls = ("", "nowhere", "http://", "http://[", "ftp://127.0.0.1/", "http://127.0.0.1:99999/")
        for url in (*urls, "http://\udcff/"):
            with self.subTest(url):
                client = self.client(payment_url=url)
                self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, client=client)

    def test_what_cannot_be_written_is_unreachable(self):
        self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, payee="\udcff")
        self.assertEqual(self.answers("deposit"), {})

    def test_proxies_and_netrc_of_the_environment_do_not_count(self):
        with tempfile.NamedTemporaryFile("w", suffix="netrc") as netrc:
            netrc.write("machine 127.0.0.1 login somebody password else\n")
            netrc.flush()
            nowhere = "http://127.0.0.1:1"
            environment = {"NETRC": netrc.name, "http_proxy": nowhere, "ALL_PROXY": nowhere, "no_proxy": ""}
            with patch.dict(os.environ, environment):
                self.deposit()
        self.assertEqual(self.paid(), 100)


class TestToken(GatewayCase):
    def test_one_login_serves_many_deposits(self):
        client = self.client()
        client.log_in()
        for number in range(5):
            self.deposit(client, reference=f"ref-{number}")
        self.assertEqual(self.answers("login"), {"ok": 1})

    def test_a_rejected_token_means_one_new_login_and_the_same_order_once_more(self):
        client = self.client()
        self.deposit(client, payee="254700000002")
        self.gateway.settings(revoke_tokens=True)
        self.deposit(client)
        self.assertEqual(self.answers("login"), {"ok": 2})
        self.assertEqual(self.answers("deposit"), {"taken": 2, "unauthorized": 1})
        self.assertEqual(self.paid(), 100)
        self.assertEqual(
            [(contact.kind, contact.outcome) for contact in self.contacts[2:]],
            [("payment", "our_fault"), ("login", "answered"), ("payment", "taken")],
        )

    def test_a_token_that_is_rejected_again_is_our_fault(self):
        self.gateway.fault(PAYEE, "token-expired", count=0)
        self.assert_deposit_error(errors.OurFault, errors.CREDENTIALS)
        self.assertEqual(self.answers("login"), {"ok": 2})
        self.assertEqual((self.answers("deposit"), self.paid()), ({"token-expired": 2}, 0))

    def test_credentials_that_end_between_are_our_fault(self):
        client = self.client()
        client.log_in()
        self.gateway.settings(revoke_tokens=True)
        self.gateway.fault("login", "wrong-password")
        self.assert_deposit_error(errors.OurFault, errors.CREDENTIALS, client=client)
        self.assertEqual(self.paid(), 0)

    def test_a_gateway_that_goes_down_between_moved_no_money(self):
        client = self.client()
        client.log_in()
        self.gateway.settings(revoke_tokens=True)
        self.gateway.fault("login", "drop")
        self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, client=client)
        self.assertEqual(self.paid(), 0)

    def test_a_token_is_renewed_before_it_expires(self):
        client = self.client()
        client.log_in()
        for seconds, logins in ((6 * 3600 - 120, 1), (6 * 3600 - 30, 2)):
            later = SimpleNamespace(now=lambda shift=seconds: clock.now() + shift)
            with patch.object(simple, "clock", later):
                self.deposit(client)
            self.assertEqual(self.answers("login"), {"ok": logins})
        self.assertNotIn("unauthorized", self.answers("deposit"))

    def test_a_token_of_a_short_life_serves_more_than_one_deposit(self):
        self.gateway.settings(token_ttl=30)
        client = self.client()
        self.deposit(client)
        self.deposit(client)
        self.assertEqual(self.answers("login"), {"ok": 1})

    def test_several_threads_log_in_once(self):
        self.gateway.settings(latency_ms=50)
        client = self.client(connections=8)
        self.deposit_by_threads(client)
        self.assertEqual((self.answers("login"), self.answers("deposit")), ({"ok": 1}, {"taken": 8}))

    def test_several_threads_whose_token_is_rejected_log_in_once_more(self):
        client = self.client(connections=8)
        client.log_in()
        self.gateway.settings(latency_ms=50, revoke_tokens=True)
        self.deposit_by_threads(client)
        self.assertEqual((self.answers("login"), self.answers("deposit")["taken"]), ({"ok": 2}, 8))
        self.assertEqual(set(self.gateway.ledger()["paid"].values()), {100})

    def deposit_by_threads(self, client):
        with ThreadPoolExecutor(8) as threads:
            payees = [f"25470000000{number}" for number in range(8)]
            list(threads.map(lambda payee: self.deposit(client, payee, reference=payee), payees))


class TestBalance(GatewayCase):
    def assert_balance_error(self, kind, reason, client=None):
        return self.assert_gateway_error(kind, reason, (client or self.client()).balance)

    def test_the_float_is_a_number_of_shillings(self):
        self.gateway.settings(float=2_345_678)
        self.assertEqual(self.client().balance(), 2_345_678)

    def test_a_rejected_token_is_replaced(self):
        self.gateway.fault("balance", "token-expired")
        self.assertEqual(self.client().balance(), 10_000_000)

    def test_no_number_is_no_balance(self):
        numbers = (None, True, "690", float("nan"), float("inf"), -1e300, 10**4000, [])
        bodies = [json.dumps({"status": "success", "data": {"balance": number}}) for number in numbers]
        bodies += ['{"status": "success"}', "[]", '{"status": "error", "data": {"balance": 5}}']
        for body in bodies:
            with self.subTest(body[:60]):
                self.gateway.fault("balance", "unknown-body", body, count=1)
                self.assert_balance_error(errors.Unclear, errors.NOT_UNDERSTOOD)

    def test_an_error_is_no_balance(self):
        self.gateway.fault("balance", "500", "couldn't access account. frozen", count=1)
        self.assert_balance_error(errors.Unclear, errors.SERVER_ERROR)

    def test_a_wrong_url_is_a_wrong_set_up(self):
        client = self.client(balance_url=self.gateway.url + "/api/balance")
        self.assert_balance_error(errors.OurFault, errors.SETUP, client)


class TestStatus(GatewayCase):
    PROFILE = "full"

    def assert_status_error(self, kind, reason, client=None):
        return self.assert_gateway_error(kind, reason, (client or self.client()).status, "ref-1")

    def test_completed_comes_with_receipt_and_amount(self):
        self.deposit()
        status = self.client().status("ref-1")
        self.assertEqual((status.state, status.amount), ("completed", 100))
        self.assertRegex(status.receipt, "^[0-9a-f-]{36}$")

    def test_pending(self):
        self.answer_deposit("pending")
        self.deposit()
        self.assertEqual(self.client().status("ref-1").state, "pending")

    def test_failed_comes_with_a_reason(self):
        self.answer_deposit("fails-later", 0)
        self.deposit()
        status = self.client().status("ref-1")
        self.assertEqual((status.state, status.words), ("failed", "the payment was reversed"))

    def test_a_refused_order_is_failed(self):
        self.answer_deposit("refuse")
        self.assert_deposit_error(errors.Refused, errors.PAYEE_UNKNOWN)
        self.assertEqual(self.client().status("ref-1").state, "failed")

    def test_a_reference_that_was_never_seen_is_unknown(self):
        self.assertEqual(self.client().status("ref-1").state, "unknown")

    def test_a_wrong_url_is_never_taken_for_never_seen(self):
        for name in ("/api/transaction/state", "/api/login/agent", "/"):
            with self.subTest(name):
                client = self.client(status_url=self.gateway.url + name)
                with self.assertRaises(errors.GatewayError):
                    client.status("ref-1")
        client = self.client(status_url=self.gateway.url + "/api/transaction/state")
        self.assert_status_error(errors.OurFault, errors.SETUP, client)

    def test_a_404_in_other_words_is_not_never_seen(self):
        answers = (
            ("Cannot GET /api/transaction/status", errors.OurFault),
            ("<html>not found</html>", errors.OurFault),
            ("", errors.Unclear),
            ('{"error": "not found"', errors.Unclear),
            ('{"error": "no route"}', errors.Unclear),
            ('{"message": "not found"}', errors.Unclear),
            ('{"error": "not found", "status": "success"}', errors.Unclear),
        )
        for body, kind in answers:
            with self.subTest(body):
                self.gateway.fault("status", "garbage", raw(404, body), count=1)
                with self.assertRaises(kind):
                    self.client().status("ref-1")

    def test_not_found_without_404_is_not_never_seen(self):
        for status in (200, 400, 500, 502):
            self.gateway.fault("status", "garbage", raw(status, '{"error": "not found"}'), count=1)
            self.assert_status_error(
                errors.Unclear, errors.SERVER_ERROR if status >= 500 else errors.NOT_UNDERSTOOD
            )

    def test_an_answer_that_is_not_about_this_payment_is_unclear(self):
        good = {"reference": "ref-1", "state": "completed", "transactionId": 17, "amount": 100}
        self.assertEqual(self.status_of(good).receipt, "17")
        others = (
            ("reference", "ref-2"),
            ("state", "done"),
            ("state", None),
            ("state", []),
            ("amount", "100"),
        )
        for name, value in others:
            with self.subTest(name, value=value), self.assertRaises(errors.Unclear):
                self.status_of(good | {name: value})
        with self.assertRaises(errors.Unclear):
            self.status_of(good, status="error")
        with self.assertRaises(errors.Unclear):
            self.status_of(good, error="perhaps")

    def test_an_answer_about_another_reference_or_none_is_unclear(self):
        for reference in ("ref-2", None, ""):
            with self.subTest(reference), self.assertRaises(errors.Unclear):
                self.status_of({"state": "completed", "reference": reference})

    def test_receipt_and_words_are_such_that_a_database_takes_them(self):
        status = self.status_of(
            {"state": "failed", "transactionId": "A\x001\udc00", "reason": f"{PAYEE}\x00\udc00 left"}
        )
        self.assertEqual((status.receipt, status.words), ("A 1 ", "2547*****001  left"))

    def status_of(self, data, **fields):
        data = {"reference": "ref-1"} | data
        body = json.dumps({"status": "success", "data": data} | fields)
        self.gateway.fault("status", "unknown-body", body, count=1)
        return self.client().status("ref-1")

    def test_trouble_says_nothing_about_the_payment(self):
        self.deposit()
        names = ("500", "status-error", "html-200", "html-502", "429", "empty", "redirect", "drop", "reset")
        for name in (*names, "garbage", "cut-headers", "cut-body", "cut-chunks", "cut-json"):
            with self.subTest(name), self.assertRaises(errors.Unclear):
                self.gateway.fault("status", name, count=1)
                self.client().status("ref-1")

    def test_a_rejected_token_is_replaced(self):
        self.gateway.fault("status", "token-expired")
        self.assertEqual(self.client().status("ref-1").state, "unknown")


class TestIdempotency(GatewayCase):
    PROFILE = "full"

    def test_a_repeat_moves_no_money(self):
        client = self.client()
        self.deposit(client)
        self.deposit(client)
        self.assertEqual(self.paid(), 100)
        self.assertEqual(self.gateway.requests()["references_sent_again"], {"ref-1": 2})

    def test_a_repeat_after_a_lost_answer_moves_no_money(self):
        self.answer_deposit("drop-taken")
        self.assert_deposit_error(*NO_ANSWER)
        self.deposit()
        self.assertEqual(self.paid(), 100)

    def test_a_repeat_with_another_amount_or_payee_is_unclear(self):
        self.deposit()
        self.assert_deposit_error(errors.Unclear, errors.REFERENCE_CONFLICT, amount=200)
        self.assert_deposit_error(errors.Unclear, errors.REFERENCE_CONFLICT, payee="254700000002")

    def test_where_no_reference_is_sent_422_is_not_understood(self):
        self.answer_deposit("garbage-taken", raw(422, error_body(422, "another amount")))
        self.assert_deposit_error(*NOT_UNDERSTOOD, client=self.client(sends_reference=False))

    def test_where_no_reference_is_sent_there_is_none_to_find(self):
        self.deposit(self.client(sends_reference=False))
        self.assertEqual(self.client().status("ref-1").state, "unknown")


class TestContacts(GatewayCase):
    def test_each_contact_is_noted_with_its_outcome(self):
        client = self.client()
        self.deposit(client)
        self.assert_deposit_error(errors.Refused, errors.PAYEE_UNKNOWN, client=client, payee="nobody")
        self.answer_deposit("drop-taken")
        self.assert_deposit_error(*NO_ANSWER, client=client)
        client.balance()
        self.assertEqual(
            [(at.kind, at.reference, at.http_status, at.outcome, at.reason) for at in self.contacts],
            [
                ("login", "", 200, "answered", ""),
                ("payment", "ref-1", 200, "taken", ""),
                ("payment", "ref-1", 400, "refused", errors.PAYEE_UNKNOWN),
                ("payment", "ref-1", None, "unclear", errors.NO_ANSWER),
                ("balance", "", 200, "answered", ""),
            ],
        )
        self.assertEqual(self.contacts[2].words, "user not found")

    def test_a_contact_has_its_moment_and_its_duration(self):
        self.gateway.settings(latency_ms=200)
        self.deposit()
        for contact in self.contacts:
            self.assertGreaterEqual(contact.seconds, 0.2)
            self.assertLess(contact.seconds, 10)
            now = datetime.now(timezone.utc).replace(tzinfo=None)
            self.assertLess(abs(now - contact.started), timedelta(seconds=20))

    def test_failed_logins_and_status_queries_are_noted(self):
        with self.assertRaises(errors.OurFault):
            self.client(password="wrong").log_in()
        self.gateway.settings(status=True)
        self.client().status("ref-1")
        self.assertEqual(
            [(note.kind, note.http_status, note.outcome, note.reason) for note in self.contacts],
            [
                ("login", 401, "our_fault", errors.CREDENTIALS),
                ("login", 200, "answered", ""),
                ("status", 404, "unknown", ""),
            ],
        )

    def test_what_was_not_written_is_noted_as_unreachable(self):
        self.assert_deposit_error(
            errors.Unreachable, errors.UNREACHABLE, client=self.client(payment_url="http://127.0.0.1:1/")
        )
        note = self.contacts[-1]
        self.assertEqual((note.kind, note.http_status, note.outcome), ("payment", None, "unreachable"))


class TestPrivate(GatewayCase):
    """Neither errors nor contacts nor logs show a secret or a payee."""

    PASSWORD = "p@ss w/ü&more"

    def setUp(self):
        super().setUp()
        root, self.records = logging.getLogger(), []
        handler = logging.Handler()
        handler.emit = lambda record: self.records.append(logging.Formatter().format(record))
        self.addCleanup(root.setLevel, root.level)
        root.setLevel(logging.DEBUG)
        root.addHandler(handler)
        self.addCleanup(root.removeHandler, handler)

    def assert_private(self, error, *hidden):
        texts = [str(error), repr(error), error.message, *map(repr, self.contacts), *self.records]
        for secret in (*hidden, SECRET, self.PASSWORD, PAYEE, AGENT, "eyJ"):
            self.assertFalse([text for text in texts if secret in text], secret)

    def test_words_of_the_gateway_are_masked(self):
        client = self.client()
        client.log_in()
        others = "254700000002, +254 700 000 003, \x00\ud800"
        echo = f"no {PAYEE} for {AGENT} by {SECRET}, Bearer {client._token}, nor {others}"
        self.answer_deposit("500-taken", echo)
        error = self.assert_deposit_error(errors.Unclear, errors.SERVER_ERROR, client=client)
        self.assert_private(error, "254700000002", "700 000 003", "\x00", "\ud800")
        self.assertIn("no *** for a***@example.org by ***, Bearer ***, nor 2547*****002", error.message)

    def test_a_payee_of_any_form_is_masked(self):
        self.gateway.settings(payee_pattern=".*")
        for payee in ("A-12/77", "KE-77", "ann@localhost", "Ann O'Hara"):
            with self.subTest(payee):
                self.gateway.fault(payee, "500-taken", f"no wallet of {payee}", count=1)
                error = self.assert_deposit_error(errors.Unclear, errors.SERVER_ERROR, payee=payee)
                self.assert_private(error, payee)

    def test_an_error_page_that_repeats_the_form_is_masked(self):
        form = "email=agent%40example.org&password=p%40ss+w%2F%C3%BC%26more"
        self.gateway.fault("login", "500", form)
        error = self.assert_gateway_error(
            errors.Unreachable, errors.UNREACHABLE, self.client(password=self.PASSWORD).log_in
        )
        self.assert_private(error, "p%40ss", "agent%40", "more")

    def test_an_answer_to_a_login_that_is_not_understood_shows_no_token(self):
        for token in ("opaque-token", "eyJhbGciOiJIUzI1NiJ9." + "eyJ1c2VySWQiOiI2" * 30):
            body = json.dumps({"userId": "6" * 8, "token": token})
            self.gateway.fault("login", "garbage", raw(201, body), count=1)
            error = self.assert_gateway_error(errors.OurFault, errors.SETUP, self.client().log_in)
            self.assert_private(error, "opaque-token", "eyJ1c2VySWQi")

    def test_headers_and_what_is_no_http_are_masked(self):
        headers = f"HTTP/1.1 200 OK\r\nX-Payee: 1\r\nto {PAYEE} from {AGENT}\r\n\r\n"
        for answer in (headers, f"{PAYEE} is no HTTP\r\n\r\n", f"HTTP/1.1 {PAYEE} OK\r\n\r\n"):
            with self.subTest(answer):
                self.answer_deposit("garbage-taken", answer)
                with self.assertRaises(errors.Unclear) as caught:
                    self.deposit()
                self.assert_private(caught.exception)

    def test_an_address_with_a_payee_in_it_is_masked(self):
        client = self.client(status_url=f"http://127.0.0.1:1/{PAYEE}")
        error = self.assert_gateway_error(errors.Unreachable, errors.UNREACHABLE, client.status, PAYEE)
        texts = [str(error), *self.records, *(note.words for note in self.contacts)]
        self.assertFalse([text for text in texts if PAYEE in text])

    def test_an_order_that_cannot_be_written_is_not_shown(self):
        error = self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, payee=PAYEE + "\udcff")
        self.assert_private(error)

    def test_long_words_are_cut_and_quickly_read(self):
        begin = time.monotonic()
        for word in ("a", "1", "eyJ-", "a@", "A9 ", "Bearer ", "token=", "<a> "):
            self.answer_deposit("500-taken", word * (60_000 // len(word)))
            error = self.assert_deposit_error(errors.Unclear, errors.SERVER_ERROR)
            self.assertLessEqual(len(error.message), 300)
        self.assertLess(time.monotonic() - begin, 10)


class TlsServer(Listener):
    """``request`` is what came in by TLS. Without a context it never answers."""

    def __init__(self, context=None, answer=b""):
        self.request, self._context, self._answer = b"", context, answer
        self._held = []
        super().__init__()

    def close(self):
        for connection in self._held:
            connection.close()
        return super().close()

    def serve(self, connection):
        if self._context is None:
            self._held.append(connection)
        else:
            self._answer_one(connection)

    def _answer_one(self, connection):
        connection.settimeout(5)
        try:
            with self._context.wrap_socket(connection, server_side=True) as tls:
                while piece := b"customerType" not in self.request and tls.recv(65536):
                    self.request += piece
                tls.sendall(self._answer)
        except OSError:
            connection.close()


def make_certificate(folder):
    """A self-signed certificate for localhost, not for 127.0.0.1; returns a file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.9"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = Path(folder) / "localhost.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class TestTls(GatewayCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.pem = make_certificate(folder.name)
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.context.load_cert_chain(cls.pem)

    def server(self, context=None, answer=b""):
        server = TlsServer(context, answer)
        self.addCleanup(server.close)
        return server

    def trust_as_an_administrator(self):
        """Where OpenSSL looks for the certificates that the machine trusts."""
        self.enterContext(patch.dict(os.environ, {"SSL_CERT_FILE": str(self.pem)}))

    def test_a_trusted_certificate_with_the_right_name_is_accepted(self):
        server = self.server(self.context, raw(200, '{"status": "success"}').encode())
        client = self.client(payment_url=f"https://localhost:{server.port}/")
        self.trust_as_an_administrator()
        self.deposit(client)
        self.assertIn(b"Authorization: Bearer ", server.request)

    def test_a_certificate_that_nobody_signed_is_not_trusted(self):
        server = self.server(self.context)
        client = self.client(payment_url=f"https://localhost:{server.port}/")
        self.assert_deposit_error(errors.Unreachable, errors.TLS, client=client)
        self.assertEqual(server.request, b"")

    def test_a_certificate_with_another_name_is_not_trusted(self):
        server = self.server(self.context)
        client = self.client(payment_url=f"https://127.0.0.1:{server.port}/")
        self.trust_as_an_administrator()
        self.assert_deposit_error(errors.Unreachable, errors.TLS, client=client)
        self.assertEqual(server.request, b"")

    def test_certificates_named_in_the_environment_do_not_count(self):
        server = self.server(self.context)
        client = self.client(payment_url=f"https://localhost:{server.port}/")
        with patch.dict(os.environ, REQUESTS_CA_BUNDLE=str(self.pem), CURL_CA_BUNDLE=str(self.pem)):
            self.assert_deposit_error(errors.Unreachable, errors.TLS, client=client)

    def test_https_to_an_http_port_writes_nothing(self):
        url = self.gateway.urls["deposit"].replace("http:", "https:")
        self.assert_deposit_error(errors.Unreachable, errors.TLS, client=self.client(payment_url=url))
        self.assertEqual((self.answers("deposit"), self.paid()), ({}, 0))

    def test_https_to_a_port_that_never_answers_writes_nothing_and_ends_in_time(self):
        server = self.server()
        client = self.client(payment_url=f"https://localhost:{server.port}/", timeout=SHORT)
        client.log_in()
        begin = time.monotonic()
        self.assert_deposit_error(errors.Unreachable, errors.UNREACHABLE, client=client)
        self.assertLess(time.monotonic() - begin, 3 * SHORT)

    def test_a_login_by_http_to_an_https_port_is_unreachable(self):
        server = self.server(self.context)
        client = self.client(auth_url=f"http://localhost:{server.port}/")
        self.assert_gateway_error(errors.Unreachable, errors.UNREACHABLE, client.log_in)
        self.assertEqual(server.request, b"")

    def test_a_deposit_by_http_to_an_https_port_that_says_nothing_is_unclear(self):
        server = self.server(self.context)
        client = self.client(payment_url=f"http://localhost:{server.port}/")
        self.assert_deposit_error(*NO_ANSWER, client=client)

    def test_a_deposit_by_http_to_an_https_port_that_says_so_is_a_wrong_set_up(self):
        pages = (
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
            "Client sent an HTTP request to an HTTPS server.\n",
            "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br /></p>",
        )
        for page in pages:
            self.answer_deposit("garbage-not-taken", raw(400, page, "text/html"))
            self.assert_deposit_error(errors.OurFault, errors.SETUP)
        self.answer_deposit("garbage-not-taken", raw(400, "Bad Request", "text/html"))
        self.assert_deposit_error(*NOT_UNDERSTOOD)
