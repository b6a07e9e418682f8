"""The connections that `requests` uses here: they see what is written and read, and keep the time.

``requests`` alone cannot say whether a request was written, ends no answer that drips in, and takes for an
answer whatever comes. These are its own connections (those of urllib3, which are http.client's), and they

- note the moment before the first byte is written, and end the exchange in time (:data:`watch`);
- connect only to addresses that may be asked (:mod:`.addresses`);
- are used again only after an answer whose length was told, that was read whole, and after which nothing
  came: else somebody else's answer would be taken for the next one.
"""

import contextlib
import http.client
import io
import logging
import select
import socket
import ssl
import threading

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from . import addresses, clock

# Bytes of an answer on the wire: a body, how it is divided, and the headers.
MOST_BYTES = 512 * 1024
# What comes without a body, whatever its headers say.
NO_CONTENT = (204, 304)


class _Clock(threading.local):
    """Of the request that this thread makes: whether it was written, and how much time is left."""

    written = False
    running = False

    def start(self, timeout):
        self.running, self.written = True, False
        self.timeout = timeout
        self._end = clock.now() + 2 * timeout

    def stop(self):
        self.running = False

    def about_to_write(self):
        """:raise TimeoutError: too late to write the first byte."""
        if not self.written:
            self.seconds_left()
            self.written = True
            self._end = clock.now() + self.timeout

    def seconds_left(self):
        """:raise TimeoutError: none."""
        left = self._end - clock.now()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


watch = _Clock()


class BadAnswer(Exception):
    """An answer that is not read to its end; the text is for people."""


class _Silence(logging.Filter):
    """urllib3 writes addresses and headers that it cannot read: not those of our requests."""

    def filter(self, record):
        return not watch.running


for _name in ("connection", "connectionpool", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_Silence())


class _TimedReader(io.RawIOBase):
    """Reads a socket for as long as there is time: a socket's own time-out begins anew with each byte."""

    def __init__(self, sock, raw):
        self.sock, self._raw = sock, raw
        self._left = MOST_BYTES
        self.ended = False

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.ended:
            return 0
        self.sock.settimeout(watch.seconds_left())
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise BadAnswer("the answer is too long")
        return count

    def close(self):
        self._raw.close()
        return super().close()


class _Reader(io.BufferedReader):
    """What one answer is read from. What was read beyond its end ends the connection."""

    def end(self):
        # Nothing more is read from the socket now, only looked at what was.
        self.raw.ended = True
        if self.peek(1):
            with contextlib.suppress(OSError):
                self.raw.sock.shutdown(socket.SHUT_RDWR)


class _Response(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = _Reader(_TimedReader(sock, self.fp.detach()))

    def _read_status(self):
        version, status, reason = super()._read_status()
        # 100 says "go on" to whoever waits with the body, and some say it to everybody: http.client reads on.
        if 101 <= status < 200:
            raise BadAnswer(f"an interim answer (HTTP {status}), and not the answer itself")
        return version, status, reason

    def begin(self):
        returned = super().begin()
        lengths = set(self.headers.get_all("Content-Length", ()))
        codings = self.headers.get_all("Transfer-Encoding", ())
        if len(lengths) > 1 or any(not (one.isascii() and one.strip().isdigit()) for one in lengths):
            raise BadAnswer("the answer's length is not understood")
        if [coding.strip().lower() for coding in codings] not in ([], ["chunked"]):
            raise BadAnswer("the answer's encoding is not understood")
        # Where an answer's end is not told, or is told in two ways, none is read after it.
        if (lengths and codings) or not (lengths or codings) or self.status in NO_CONTENT:
            self.will_close = True
        return returned

    def _close_conn(self):
        self.fp.end()
        return super()._close_conn()


class _Witness:
    """A connection that notes when a request is about to be written, and has an eye on the clock."""

    response_class = _Response
    allow_private = False
    _held = None

    def connect(self):
        """Connect to an address that may be asked."""
        host = self._dns_host.strip("[]")
        self.sock = addresses.connect(host, self.port, watch.seconds_left, self.allow_private)

    def request(self, *args, **kwargs):
        """Write head and form in one piece: in two, the server wakes up twice."""
        self._held = []
        try:
            returned = super().request(*args, **kwargs)
            whole = b"".join(self._held)
        finally:
            self._held = None
        self._be_silent()
        self.send(whole)
        return returned

    def send(self, data):
        if self._held is not None:
            return self._held.append(data)
        watch.about_to_write()
        self.sock.settimeout(watch.seconds_left())
        try:
            return super().send(data)
        except ConnectionError as error:
            # Of some, urllib3 takes no notice and reads what is there: that is no answer to this request.
            raise ConnectionAbortedError("broken off while it was written") from error

    def _be_silent(self):
        """Have a connection from which nothing has come before anything was asked.

        What comes unasked is somebody else's, or the end: and whoever writes to a connection that the server
        has closed does not know what became of it.
        """
        if self.sock is not None and not self._is_silent():
            self.close()
        if self.sock is None:
            self.connect()
            if not self._is_silent():
                self.close()
                raise BadAnswer("the server speaks before it is asked")

    def _is_silent(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


class _Connection(_Witness, HTTPConnection):
    pass


class _SecureConnection(_Witness, HTTPSConnection):
    def connect(self):
        """Connect, and speak TLS: the certificate is for the host's name, whatever its address."""
        returned = super().connect()
        plain, self.sock = self.sock, None
        try:
            plain.settimeout(watch.seconds_left())
            self.sock = self.ssl_context.wrap_socket(plain, server_hostname=self.host.strip("[]"))
        except BaseException:
            plain.close()
            raise
        self.is_verified = True
        return returned

    def _is_silent(self):
        if super()._is_silent() and not self.sock.pending():
            return True
        # TLS has something to say of its own, such as a ticket: only what is meant for us is no silence.
        self.sock.settimeout(0)
        try:
            self.sock.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False


class _Allowing:
    def __init__(self, *args, allow_private=False, **kwargs):
        super().__init__(*args, **kwargs)
        self._allow_private = allow_private

    def _new_conn(self):
        connection = super()._new_conn()
        connection.allow_private = self._allow_private
        return connection


class Pool(_Allowing, HTTPConnectionPool):
    """Kept connections to one server. ``allow_private``: loopback and private addresses may be asked."""

    ConnectionCls = _Connection


class SecurePool(_Allowing, HTTPSConnectionPool):
    """The same, by TLS."""

    ConnectionCls = _SecureConnection
