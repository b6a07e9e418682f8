"""The server's end of a connection: gevent's WSGI handler, and the ways to break off an answer."""

import contextlib
import io
import socket
import struct
import sys
import time

import gevent
from gevent.pywsgi import Input, WSGIHandler, WSGIServer
from gevent.socket import wait_read

from .answers import DEPOSIT_DONE

KEY = "sandbox.wire"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Seconds after which a kept connection counts as idle.
IDLE = 0.05


class Wire:
    """What an application may do to the connection besides answering. `used`: nothing more is to be sent."""

    __slots__ = ("handler", "used")

    def __init__(self, handler):
        self.handler = handler
        self.used = False

    @property
    def socket(self):
        """The connection."""
        return self.handler.socket

    # -- the acts, by the names in faults.KINDS ------------------------------------------------------------

    def drop(self, answer, arg):
        """Close without a word."""
        self._last_words(b"")

    def drop_unread(self, answer, arg):
        """Close without a word, and without reading what may still come."""
        self.handler.wsgi_input = Input(io.BytesIO(), 0)
        self._last_words(b"")

    def reset(self, answer, arg):
        """Send RST instead of a proper end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._last_words(b"")

    def garbage(self, answer, arg):
        """Send the bytes of `arg`."""
        self._last_words(arg.encode("latin-1"))

    def cut_headers(self, answer, arg):
        """Half of the head."""
        head = answer.head()
        self._last_words(head[: len(head) // 2])

    def cut_body(self, answer, arg):
        """The head and half of the body that it announces."""
        self._last_words(answer.head() + answer.body[: len(answer.body) // 2])

    def cut_chunks(self, answer, arg):
        """A chunk with half of the body, and no last chunk."""
        half = answer.body[: len(answer.body) // 2]
        self._last_words(answer.head(length=False) + b"%x\r\n%b\r\n" % (len(half), half))

    def drip(self, answer, arg):
        """One byte after another, for `arg` seconds in all."""
        self.used = True
        data = answer.raw()
        for position in range(len(data)):
            self.socket.sendall(data[position : position + 1])
            if self.wait(arg / len(data)):
                break

    def hang_up(self, answer, arg):
        """The whole answer, as if the connection were kept, and close."""
        self._last_words(answer.raw())

    def interim_102(self, answer, arg):
        """An interim answer, and the real one right after it."""
        self._kept(b"HTTP/1.1 102 Processing\r\n\r\n" + answer.raw())

    def interim_103(self, answer, arg):
        """The same, of another kind."""
        self._kept(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + answer.raw())

    def surplus(self, answer, arg):
        """The answer, and in the same breath one more that nobody has asked for."""
        self._kept(answer.raw() + DEPOSIT_DONE.raw())

    def early(self, answer, arg):
        """The answer, and once the connection has been idle for a moment one more: before any request."""
        self._kept(answer.raw())
        try:
            wait_read(self.socket.fileno(), timeout=IDLE)
        except TimeoutError:
            self._kept(DEPOSIT_DONE.raw())

    # -- time ----------------------------------------------------------------------------------------------

    def wait(self, seconds, on_hang_up=None):
        """Wait, to the end even if the client hangs up: then `on_hang_up()` at once, and True in the end."""
        end = time.monotonic() + seconds
        gone = self._client_leaves(seconds)
        if gone and on_hang_up:
            on_hang_up()
        gevent.sleep(max(0, end - time.monotonic()))
        return gone

    def _client_leaves(self, seconds):
        try:
            wait_read(self.socket.fileno(), timeout=seconds)
            return not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except OSError:
            return True

    def _kept(self, data):
        self.used = True
        # A client that does not like the beginning hangs up.
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def _last_words(self, data):
        self.used = True
        self.handler.close_connection = True
        if data:
            self.socket.sendall(data)


class Handler(WSGIHandler):
    """Puts a Wire into the environment, and leaves the answer to it where the application used it."""

    def __init__(self, sock, address, server, rfile=None):
        super().__init__(sock, address, server, rfile)
        # Else an answer waits for the acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connections += 1

    def get_environ(self):
        """The environment with `KEY`."""
        environ = super().get_environ()
        self.wire = environ[KEY] = Wire(self)
        return environ

    def process_result(self):
        """Write the answer, unless the wire has."""
        if not self.wire.used:
            super().process_result()

    def _write_with_headers(self, data):
        """Headers and body in one packet: in two, the second may wait 40 ms for the first."""
        self.headers_sent = True
        self.finalize_headers()
        lines = [b"HTTP/1.1 " + self.status, *(b": ".join(header) for header in self.response_headers)]
        self._sendall(b"\r\n".join(lines) + b"\r\n\r\n" + data)

    def log_request(self):
        """Nothing: the counters and the page say what came."""


class Server(WSGIServer):
    """Listens on loopback. `connections`: how many there have been."""

    handler_class = Handler

    def __init__(self, host, port, application):
        super().__init__(
            (host, port),
            application,
            backlog=1024,
            log=None,
            error_log=sys.stderr,
            environ={"SERVER_NAME": host},
        )
        self.connections = 0
