"""Bytes that no gateway should send, and addresses that are never asked. No database.

Whatever comes early, twice, late or without an end: nobody gets somebody else's answer.
"""

import contextlib
import gzip
import http.client
import json
import logging
import socket
import ssl
import tempfile
import threading
import time
from unittest.mock import patch

import requests

from odoo.tests import BaseCase

from ..gateway import addresses, errors
from ..gateway.simple import Order, Settings, SimpleMpesa
from .common import Listener
from .test_gateway import make_certificate, raw

# Before Odoo's tests put their own in its place.
SEND = requests.Session.send
SUCCESS = raw(200, '{"status": "success"}').encode()
REFUSAL = raw(400, '{"error": "x", "message": "user not found", "status": 400}').encode()
# Time for bytes to arrive on this machine.
MOMENT = 0.1


class Scripted(Listener):
    """A gateway that sends the bytes that it is told, and keeps its connections.

    ``requests`` are the heads and bodies that came, in order, and ``connections`` how many there were.

    :param script: for each request pieces of bytes; a number waits so many seconds, None closes.
    :param bytes greeting: is sent before anything is asked.
    """

    def __init__(self, *script, greeting=b"", context=None):
        self.requests, self.connections = [], 0
        self._script, self._greeting, self._context = list(script), greeting, context
        super().__init__()

    @property
    def url(self):
        return f"http{'s' if self._context else ''}://localhost:{self.port}/pay"

    def serve(self, connection):
        self.connections += 1
        threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection):
        with contextlib.suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                connection.sendall(self._greeting)
                while self._answer(connection):
                    continue

    def _answer(self, connection):
        request = connection.recv(65536)
        if request:
            self.requests.append(request)
            for piece in self._script.pop(0) if self._script else [SUCCESS]:
                if piece is None:
                    return False
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                else:
                    time.sleep(piece)
        return bool(request)


class WireCase(BaseCase):
    @classmethod
    def _request_handler(cls, s, r, /, **kw):
        return SEND(s, r, **kw)

    def server(self, *script, **kwargs):
        server = Scripted(*script, **kwargs)
        self.addCleanup(server.close)
        return server

    def client(self, server, timeout=5, **changes):
        values = {"auth_url": server.url, "payment_url": server.url, "status_url": server.url}
        values |= {"username": "agent", "password": "pass-word", "timeout": timeout, "allow_private": True}
        client = SimpleMpesa(Settings(**values | changes))
        client._token, client._token_ends = "opaque", float("inf")
        self.addCleanup(client.__exit__)
        return client

    def deposit(self, client, number=1):
        """What comes of a deposit: None, or the error."""
        try:
            return client.deposit(Order(f"ref-{number}", f"2547{number:08}", 100))
        except errors.GatewayError as error:
            return error

    def assert_unclear(self, error, reason=errors.NO_ANSWER):
        self.assertIsInstance(error, errors.Unclear)
        self.assertEqual(error.reason, reason, error.message)
        return error


class TestWhoseAnswer(WireCase):
    def test_an_interim_answer_is_unclear_and_its_connection_is_not_used_again(self):
        for status in (101, 102, 103, 199):
            with self.subTest(status):
                interim = f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode()
                server = self.server([interim, MOMENT / 2, SUCCESS], [REFUSAL])
                client = self.client(server)
                self.assertIn(str(status), self.assert_unclear(self.deposit(client, 1)).message)
                time.sleep(MOMENT)
                self.assertIsInstance(self.deposit(client, 2), errors.Refused)
                self.assertEqual(server.connections, 2)

    def test_go_on_is_no_answer_and_the_answer_after_it_counts(self):
        server = self.server([b"HTTP/1.1 100 Continue\r\n\r\n", MOMENT, REFUSAL], [SUCCESS])
        client = self.client(server)
        self.assertIsInstance(self.deposit(client, 1), errors.Refused)
        self.assertIsNone(self.deposit(client, 2))
        self.assertEqual(server.connections, 1)

    def test_what_comes_after_an_answer_is_not_the_next_one(self):
        half = len(REFUSAL) // 2
        chunked = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n%b\r\n0\r\n\r\n" % SUCCESS[-21:]
        )
        for pieces in (
            [SUCCESS + REFUSAL],
            [SUCCESS, MOMENT / 2, REFUSAL],
            [SUCCESS + REFUSAL[:half], MOMENT / 2, REFUSAL[half:]],
            [SUCCESS + b"\r\n"],
            [chunked + REFUSAL],
            [raw(200, "").replace("Length: 0", "Length: 21").encode() + SUCCESS[-21:] + REFUSAL],
        ):
            with self.subTest(pieces):
                server = self.server(pieces, [SUCCESS])
                client = self.client(server)
                self.assertIsNone(self.deposit(client, 1))
                time.sleep(MOMENT)
                self.assertIsNone(self.deposit(client, 2))
                self.assertEqual((server.connections, len(server.requests)), (2, 2))

    def test_whoever_speaks_before_being_asked_is_not_asked(self):
        server = self.server(greeting=SUCCESS)
        with patch("socket.socket.connect", _connect_and_wait):
            error = self.deposit(self.client(server))
        self.assertIsInstance(error, errors.Unreachable)
        self.assertIn("before it is asked", error.message)
        self.assertEqual(server.requests, [])

    def test_a_connection_is_kept_after_a_told_length_only(self):
        body = SUCCESS[-21:]
        told = {
            b"Content-Length: 21": 1,
            b"Content-Length: 21\r\nContent-Length: 21": 1,
            b"Content-Length: 21\r\nConnection: close": 2,
        }
        for headers, connections in told.items():
            with self.subTest(headers):
                server = self.server([b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (headers, body)])
                client = self.client(server)
                self.assertIsNone(self.deposit(client, 1))
                self.assertIsNone(self.deposit(client, 2))
                self.assertEqual(server.connections, connections)
        server = self.server([b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n" + body, None])
        client = self.client(server)
        self.assertIsNone(self.deposit(client, 1))
        self.assertIsNone(self.deposit(client, 2))
        self.assertEqual(server.connections, 2)

    def test_an_answer_without_a_body_closes_its_connection(self):
        for status in (204, 304):
            server = self.server([raw(status, "").encode()], [SUCCESS])
            client = self.client(server)
            self.assert_unclear(self.deposit(client, 1), errors.NOT_UNDERSTOOD)
            self.assertIsNone(self.deposit(client, 2))
            self.assertEqual(server.connections, 2)

    def test_a_length_that_can_be_read_in_two_ways_is_unclear(self):
        for headers in (
            *("Content-Length: 21\r\nContent-Length: 3", "Content-Length: 21, 21", "Content-Length: +21"),
            *("Content-Length: 2_1", "Content-Length: -1", "Content-Length:", "Content-Length: 0x15"),
            *("Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity\r\nContent-Length: 21"),
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ):
            with self.subTest(headers):
                server = self.server([b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (headers.encode(), SUCCESS[-21:])])
                client = self.client(server)
                self.assert_unclear(self.deposit(client, 1))
                self.assertIsNone(self.deposit(client, 2))
                self.assertEqual(server.connections, 2)

    def test_chunks_without_end_are_not_read(self):
        for size in (b"-1", b"fffffff"):
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % size
            server = self.server([head, b"x" * 3_000_000])
            self.assertIn("too long", self.assert_unclear(self.deposit(self.client(server))).message)


class TestOnce(WireCase):
    def test_nothing_is_asked_twice(self):
        later = raw(503, "later").replace("\r\n", "\r\nRetry-After: 0\r\n", 1).encode()
        for pieces in (
            [None],
            [SUCCESS[:20], None],
            [b"garbage\r\n\r\n", None],
            [later],
            [raw(408, "").encode()],
        ):
            with self.subTest(pieces):
                server = self.server([SUCCESS], pieces)
                client = self.client(server)
                # Over a kept connection, too: there, others send again.
                self.assertIsNone(self.deposit(client, 1))
                self.assertIsInstance(self.deposit(client, 2), errors.Unclear)
                time.sleep(MOMENT)
                self.assertEqual(len(server.requests), 2)

    def test_a_connection_that_was_closed_meanwhile_is_replaced_before_anything_is_written(self):
        server = self.server([SUCCESS, None])
        client = self.client(server)
        for number in (1, 2):
            self.assertIsNone(self.deposit(client, number))
            time.sleep(MOMENT)
        self.assertEqual((server.connections, len(server.requests)), (2, 2))

    def test_of_an_order_that_broke_off_no_answer_is_read(self):
        real = http.client.HTTPConnection.send

        def send_and_break(connection, data):
            real(connection, data)
            time.sleep(MOMENT)
            raise BrokenPipeError

        with patch("http.client.HTTPConnection.send", send_and_break):
            self.assert_unclear(self.deposit(self.client(self.server([SUCCESS]))))

    def test_no_header_can_be_smuggled_in(self):
        for reference in ("a\r\nX-Other: 1", "a\n b", "a\nb", "\u2028"):
            server = self.server()
            client = self.client(server, sends_reference=True)
            with self.subTest(reference), self.assertRaises(errors.Unreachable):
                client.deposit(Order(reference, "254700000001", 100))
            self.assertEqual(server.requests, [])

    def test_no_cookie_is_kept(self):
        server = self.server([SUCCESS.replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\n", 1)])
        client = self.client(server)
        self.assertIsNone(self.deposit(client, 1))
        self.assertIsNone(self.deposit(client, 2))
        self.assertNotIn(b"cookie", server.requests[1].lower())

    def test_what_goes_out(self):
        server = self.server()
        self.assertIsNone(self.deposit(self.client(server)))
        head, _blank, form = server.requests[0].partition(b"\r\n\r\n")
        self.assertEqual(form, b"amount=100&accountNo=254700000001&customerType=subscriber")
        self.assertCountEqual(
            head.decode().split("\r\n"),
            [
                "POST /pay HTTP/1.1",
                f"Host: localhost:{server.port}",
                "Accept: */*",
                "Accept-Encoding: identity",
                "User-Agent: g2p_payment_simple_mpesa",
                "Authorization: Bearer opaque",
                "Content-Type: application/x-www-form-urlencoded",
                f"Content-Length: {len(form)}",
            ],
        )

    def test_a_packed_answer_is_neither_unpacked_nor_believed(self):
        body = SUCCESS[-21:]
        for coding, sent in (("gzip", gzip.compress(body)), ("gzip", body), ("br", body)):
            head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(sent)}\r\n\r\n"
            server = self.server([head.encode() + sent])
            self.assert_unclear(self.deposit(self.client(server)), errors.NOT_UNDERSTOOD)

    def test_no_log_has_an_address_or_what_is_no_header(self):
        records, root = [], logging.getLogger()
        handler = logging.Handler(logging.DEBUG)
        handler.emit = lambda record: records.append(logging.Formatter().format(record))
        self.addCleanup(root.setLevel, root.level)
        root.setLevel(logging.DEBUG)
        root.addHandler(handler)
        self.addCleanup(root.removeHandler, handler)
        server = self.server([b"HTTP/1.1 200 OK\r\nto 254700000001\r\nContent-Length: 0\r\n\r\n"])
        client = self.client(server, payment_url=f"{server.url}?key=hidden")
        self.deposit(client)
        logging.getLogger("urllib3.connectionpool").debug("others")
        self.assertFalse([text for text in records if "hidden" in text or "254700000001" in text])
        self.assertIn("others", records)


class TestTlsConnections(WireCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        pem = make_certificate(folder.name)
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.context.load_cert_chain(pem)
        cls.startClassPatcher(patch.dict("os.environ", {"SSL_CERT_FILE": str(pem)}))

    def test_a_connection_by_tls_is_kept(self):
        server = self.server(context=self.context)
        client = self.client(server)
        for number in range(4):
            self.assertIsNone(self.deposit(client, number))
            time.sleep(0.02)
        self.assertEqual((server.connections, len(server.requests)), (1, 4))

    def test_what_comes_early_or_after_an_answer_by_tls_is_nobodys(self):
        server = self.server([SUCCESS, MOMENT / 2, REFUSAL], [SUCCESS], context=self.context)
        client = self.client(server)
        self.assertIsNone(self.deposit(client, 1))
        time.sleep(MOMENT)
        self.assertIsNone(self.deposit(client, 2))
        self.assertEqual(server.connections, 2)

    def test_the_certificate_is_for_the_name_and_not_for_where_it_leads(self):
        server = self.server(context=self.context)
        client = self.client(server, payment_url=f"https://gateway.example:{server.port}/")
        with leads_to("127.0.0.1"):
            error = self.deposit(client)
        self.assertEqual((type(error), error.reason), (errors.Unreachable, errors.TLS))
        self.assertEqual(server.requests, [])


class TestAddresses(WireCase):
    def test_what_each_address_is(self):
        kinds = {
            addresses.NEVER: (
                *("169.254.169.254", "169.254.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255"),
                *(
                    "240.0.0.1",
                    "100.100.100.200",
                    "168.63.129.16",
                    "fd00:ec2::254",
                    "fe80::1",
                    "fe80::1%eth0",
                ),
                *("::", "ff02::1", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe"),
                *("64:ff9b:1::1", "100::1", "4000::1", "::a9fe:a9fe"),
            ),
            addresses.PRIVATE: (
                *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
                *(
                    "100.64.0.1",
                    "::1",
                    "fc00::1",
                    "fd12::1",
                    "::ffff:127.0.0.1",
                    "2002:7f00:1::",
                    "192.0.2.1",
                ),
                *("64:ff9b::10.0.0.1", "fec0::1"),
            ),
            "": (
                "8.8.8.8",
                "172.32.0.1",
                "2606:4700::1",
                "::ffff:8.8.8.8",
                "64:ff9b::8.8.8.8",
                "100.128.0.1",
            ),
        }
        for kind, texts in kinds.items():
            for text in texts:
                self.assertEqual(addresses.kind_of(text), kind, text)

    def test_addresses_that_are_never_asked_are_not_connected_to(self):
        server = self.server()
        for allowed in (True, False):
            for text in ("169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "0.0.0.0"):
                with self.subTest(text, allowed=allowed), patch("socket.socket.connect") as connect:
                    host = f"[{text}]" if ":" in text else text
                    client = self.client(server, payment_url=f"http://{host}/", allow_private=allowed)
                    error = self.deposit(client)
                    self.assertIsInstance(error, errors.Unreachable)
                    self.assertEqual(error.cause, errors.FORBIDDEN_ADDRESS)
                    connect.assert_not_called()

    def test_private_addresses_are_asked_where_that_is_allowed_only(self):
        server = self.server()
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1"):
            with self.subTest(host):
                url = f"http://{host}:{server.port}/"
                error = self.deposit(self.client(server, payment_url=url, allow_private=False))
                self.assertIsInstance(error, errors.Unreachable)
                self.assertEqual(error.cause, errors.PRIVATE_ADDRESS)
                self.assertEqual(server.connections, 0)
        self.assertIsNone(self.deposit(self.client(server)))

    def test_a_name_is_compared_by_what_it_leads_to_when_it_is_asked(self):
        server = self.server()
        url = f"http://gateway.example:{server.port}/"
        client = self.client(server, payment_url=url, allow_private=False)
        with leads_to("127.0.0.1"):
            self.assertEqual(self.deposit(client).cause, errors.PRIVATE_ADDRESS)
        with leads_to("169.254.169.254"):
            self.assertEqual(self.deposit(client).cause, errors.FORBIDDEN_ADDRESS)
        self.assertEqual(server.connections, 0)
        # The first may not be asked, the second may.
        with leads_to("169.254.169.254", "127.0.0.1"):
            self.assertIsNone(self.deposit(self.client(server, payment_url=url)))

    def test_it_is_looked_up_once_and_connected_to_what_was_compared(self):
        server = self.server()
        client = self.client(server, payment_url=f"http://gateway.example:{server.port}/")
        with leads_to("127.0.0.1") as look_up:
            self.assertIsNone(self.deposit(client))
        self.assertEqual(look_up.call_count, 1)
        self.assertIn(b"Host: gateway.example", server.requests[0])


class TestWords(WireCase):
    def test_of_somebody_elses_page_only_its_kind_is_kept(self):
        bodies = (
            "<html>hidden</html>",
            '{"AccessKeyId": "hidden"}',
            '{"message": "hidden"}',
            '["hidden"]',
            "hidden",
        )
        for body in bodies:
            for status in (200, 401, 404, 500):
                with self.subTest(body, status=status):
                    server = self.server([raw(status, body, "text/html; hidden").encode()])
                    error = self.deposit(self.client(server))
                    self.assertEqual(error.message, f"HTTP {status}, text/html, {len(body)} bytes")

    def test_what_this_protocol_says_is_kept(self):
        for body in (
            {"status": "error", "message": "come back"},
            {"error": "internal error", "message": "come back", "status": 500},
        ):
            server = self.server([raw(500, json.dumps(body)).encode()])
            self.assertEqual(self.deposit(self.client(server)).message, "come back")


def leads_to(*texts):
    """Each name leads to these addresses."""

    def look_up(host, port, *args, **kwargs):
        families = [socket.AF_INET6 if ":" in text else socket.AF_INET for text in texts]
        return [
            (family, socket.SOCK_STREAM, 6, "", (text, port))
            for family, text in zip(families, texts, strict=True)
        ]

    return patch.object(socket, "getaddrinfo", side_effect=look_up)


CONNECT = socket.socket.connect


def _connect_and_wait(sock, where):
    CONNECT(sock, where)
    time.sleep(MOMENT)
