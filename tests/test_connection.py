"""Test Connection: one sentence for each thing that can be wrong, and no money moves."""

import os
import socket
import ssl
import tempfile
from contextlib import closing, contextmanager
from unittest.mock import patch

import requests

from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from .common import Listener, ProgramCase, phone
from .test_gateway import TlsServer, make_certificate

# Before Odoo's tests put their own in its place.
SEND = requests.Session.send


class Parrot(Listener):
    """Says the same to everybody."""

    def __init__(self, answer):
        self._answer = answer.encode()
        super().__init__()

    def serve(self, connection):
        with connection:
            connection.recv(65536)
            connection.sendall(self._answer)


@contextmanager
def server(answer):
    """A server on loopback that says the same to everybody; gives its address."""
    with closing(Parrot(answer)) as parrot:
        yield f"http://127.0.0.1:{parrot.port}/login"


def http(status, body, kind):
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}"


class TestConnection(ProgramCase):
    PEOPLE = 1
    PROFILE = "full"

    @classmethod
    def _request_handler(cls, s, r, /, **kw):
        # Odoo's tests ask nobody outside; of this name there is nobody, anywhere.
        if "//gateway.invalid/" in r.url:
            return SEND(s, r, **kw)
        return super()._request_handler(s, r, **kw)

    def says(self, **vals):
        """Whether the test passes with another set-up, and what it says."""
        if vals:
            self.manager.write({"password": "sandbox-secret", **vals})
        self.env.flush_all()
        params = self.manager.action_test_connection()["params"]
        self.env.invalidate_all()
        shown = f"{self.manager.test_result} {self.manager.test_warning or ''}".strip()
        self.assertEqual(shown, params["message"])
        passed = "warning" if self.manager.test_warning else "success"
        self.assertEqual(params["type"], passed if self.manager.test_passed else "danger")
        self.assertEqual(self.manager.tested_by_id, self.env.user)
        # The form keeps it: the sentence of one test does not stay beside that of the next.
        self.assertFalse(params["sticky"])
        return params["message"]

    def test_all_is_well(self):
        self.gateway.settings(float=123456)
        self.assertRegex(self.says(), r"accepts user name and password, and the float is .*123,456")
        self.assertTrue(self.manager.test_passed)
        self.assertEqual(self.gateway.ledger()["count"], 0)
        kinds = self.env["g2p.payment.mpesa.attempt"].search([], order="id").mapped("kind")
        self.assertEqual(kinds, ["login", "balance", "status"])

    def test_a_database_server_that_may_forget(self):
        self.env.cr.execute(
            "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
        )
        off = [row[0] for row in self.env.cr.fetchall()]
        self.says()
        warning = self.manager.test_warning or ""
        self.assertEqual([name for name in ("fsync", "full_page_writes") if name in warning], sorted(off))
        self.assertEqual("payments were sent, and they would be sent again" in warning, bool(off))
        self.assertTrue(self.manager.test_passed)

    def test_without_a_balance_url(self):
        self.assertIn("No money was moved", self.says(balance_endpoint_url=False, status_endpoint_url=False))
        self.assertEqual(self.env["g2p.payment.mpesa.attempt"].search([]).mapped("kind"), ["login"])

    def test_a_wrong_password(self):
        self.assertRegex(self.says(password="wrong"), "127.0.0.1 does not accept user name and password")
        self.assertFalse(self.manager.test_passed)
        journal = self.env["g2p.payment.mpesa.attempt"].search([])
        self.assertEqual((journal.kind, journal.reason), ("login", "credentials"))
        self.assertEqual(journal.user_id, self.env.user)

    def test_a_name_that_is_not_found(self):
        url = "https://gateway.invalid/login"
        sentence = self.says(auth_endpoint_url=url)
        self.assertRegex(sentence, "Login URL: there is no server named gateway.invalid")

    def test_a_connection_that_is_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        sentence = self.says(auth_endpoint_url=f"http://127.0.0.1:{port}/login")
        self.assertRegex(sentence, f"127.0.0.1 refuses the connection at port {port}")

    def test_no_answer_in_time(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/login"
            self.assertRegex(self.says(auth_endpoint_url=url), "no answer from 127.0.0.1 within 1 seconds")

    def test_a_certificate_that_is_not_trusted(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(make_certificate(folder.name))
        other = TlsServer(context)
        self.addCleanup(other.close)
        sentence = self.says(auth_endpoint_url=f"https://127.0.0.1:{other.port}/login")
        self.assertRegex(sentence, "the certificate of 127.0.0.1 is not trusted: self.signed certificate")
        self.assertRegex(sentence, r"issued to localhost by localhost, and ends on 20\d\d-\d\d-\d\d")
        self.assertNotIn(b"sandbox-secret", other.request)

    def test_https_to_a_port_without_tls(self):
        url = self.gateway.urls["login"].replace("http:", "https:")
        self.assertRegex(self.says(auth_endpoint_url=url), "does not speak TLS")

    def test_a_web_page_instead_of_a_gateway(self):
        with server(http("200 OK", "<html>Welcome</html>", "text/html")) as url:
            self.assertRegex(self.says(auth_endpoint_url=url), "is not JSON")

    def test_json_of_another_kind_of_gateway(self):
        with server(http("200 OK", '{"access_token": "x", "expires_in": 3599}', "application/json")) as url:
            self.assertRegex(self.says(auth_endpoint_url=url), "not as a Simple M-Pesa gateway does")

    def test_an_address_that_the_servers_configuration_does_not_allow(self):
        with patch.dict(os.environ, G2P_MPESA_ALLOW_PRIVATE_ADDRESSES="0"):
            sentence = self.says()
        self.assertRegex(sentence, "Login URL: 127.0.0.1 is not asked, .*allow_private_addresses = True")
        self.assertFalse([path for path in self.gateway.requests()["paths"] if path.startswith("/api/")])

    def test_a_name_that_leads_to_where_nobody_is_asked(self):
        leads = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
        with patch.object(socket, "getaddrinfo", return_value=leads):
            sentence = self.says(auth_endpoint_url="https://gateway.invalid/latest")
        self.assertRegex(sentence, "gateway.invalid is not asked, because its address is of a kind")

    def test_of_somebody_elses_answer_only_its_kind_is_told_and_kept(self):
        bodies = (("<p>inner</p>", "text/html"), ('{"message": "inner"}', "application/json"))
        for status in ("200 OK", "401 No", "404 No"):
            for body, kind in bodies:
                with server(http(status, body, kind)) as url:
                    self.assertNotIn("inner", self.says(auth_endpoint_url=url))
                words = self.env["g2p.payment.mpesa.attempt"].search([], order="id desc", limit=1).words
                self.assertEqual(words, f"HTTP {status[:3]}, {kind}, {len(body)} bytes")

    def test_a_wrong_path(self):
        url = self.gateway.url + "/nowhere"
        self.assertRegex(self.says(auth_endpoint_url=url), "Login URL: .* there is nothing at /nowhere")

    def test_the_sentence_names_the_address_that_is_wrong(self):
        url = self.gateway.url + "/nowhere"
        self.assertRegex(self.says(balance_endpoint_url=url), "Balance URL: .* there is nothing at /nowhere")
        url = self.gateway.urls["balance"]
        self.assertRegex(
            self.says(balance_endpoint_url=url, status_endpoint_url=url),
            "Status URL: .*not as a Simple M-Pesa gateway does",
        )

    def test_a_gateway_with_an_error_of_its_own(self):
        self.gateway.fault("login", "500")
        self.assertRegex(self.says(), "has an error of its own")

    def test_a_new_address_is_not_tested(self):
        self.says()
        self.assertTrue(self.manager.tested_at)
        self.manager.api_timeout = 2
        self.assertTrue(self.manager.tested_at)
        self.manager.payment_endpoint_url = self.gateway.url + "/elsewhere"
        self.assertFalse(self.manager.tested_at)

    def test_the_payments_are_not_touched(self):
        self.prepare()
        self.says()
        self.assert_states(ready=1)
        self.assertNotIn(phone(0), self.gateway.ledger()["paid"])

    def test_who_may_not_set_it_up_may_not_test_it(self):
        user = new_test_user(
            self.env, "validator", groups="base.group_user,g2p_programs.g2p_program_validator"
        )
        with (
            patch.object(type(self.manager), "_mpesa_client") as client,
            self.assertRaises(AccessError),
        ):
            self.manager.with_user(user).action_test_connection()
        client.assert_not_called()
