"""One HTTP exchange: kept connections, no redirects, an end in time, and certainty about what was written.

An exchange takes three times the time-out at the most: twice until the first byte of the request is written
(look up, connect, TLS), and once from then to the last byte of the answer. Where the look-up alone takes
longer, nothing is written any more.
"""

import http.client
import io
import json
import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode, urlsplit

import certifi

from . import clock, errors
from .masking import redact

USER_AGENT = "g2p_payment_simple_mpesa"
# What may stand in an address as it is.
IN_ADDRESS = "%/:=&?~#+!$,;'@()*[]"
# An answer of a payment gateway is a few hundred bytes.
MAX_BODY = 64 * 1024
# Seconds for which a server may ask to be left alone.
MOST_RETRY_AFTER = 3600.0
# Of the gateway's own words, so many characters are kept.
MOST_WORDS = 300


class _Clock(threading.local):
    """Of the request that this thread makes: whether it was written, and how much time is left."""

    written = False

    def start(self, timeout):
        self.written = False
        self.timeout = timeout
        self._end = clock.now() + 2 * timeout

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


_clock = _Clock()


class _BadAnswer(Exception):
    """An answer that is not read to its end; the text is for people."""


# What went wrong, in words for people. The first kind that fits counts.
_BROKEN_OFF = "the connection ended before a whole answer"
_NO_ADDRESS = "the address or the order cannot be written"
_SENTENCES = (
    (ssl.SSLCertVerificationError, "the certificate cannot be trusted"),
    (ssl.SSLError, "no secure connection could be made"),
    (socket.gaierror, "the host name is not known"),
    (ConnectionRefusedError, "the connection was refused"),
    (TimeoutError, "the time-out has passed"),
    ((ConnectionError, http.client.IncompleteRead), _BROKEN_OFF),
    ((ValueError, http.client.InvalidURL), _NO_ADDRESS),
    (http.client.HTTPException, "the answer is not HTTP"),
    (OSError, "no connection could be made"),
)
# The same as codes, where whoever sets a gateway up can do something about it.
_CAUSES = (
    (ssl.SSLCertVerificationError, errors.CERTIFICATE),
    (ssl.SSLError, errors.NO_TLS),
    (socket.gaierror, errors.UNKNOWN_NAME),
    (ConnectionRefusedError, errors.CONNECTION_REFUSED),
    (TimeoutError, errors.TIMED_OUT),
)


class _TimedReader(io.RawIOBase):
    """Reads a socket for as long as there is time: a socket's own time-out begins anew with each byte."""

    def __init__(self, sock, raw):
        self._sock, self._raw = sock, raw

    def readable(self):
        return True

    def readinto(self, buffer):
        self._sock.settimeout(_clock.seconds_left())
        return self._raw.readinto(buffer)

    def close(self):
        self._raw.close()
        return super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp.detach()))


class _Witness:
    """A connection that notes when a request is about to be written, and has an eye on the clock."""

    response_class = _TimedResponse
    _held = None

    def request(self, *args, **kwargs):
        """Write head and form in one piece: in two, the server wakes up twice."""
        self._held = []
        try:
            returned = super().request(*args, **kwargs)
            whole = b"".join(self._held)
        finally:
            self._held = None
        self.send(whole)
        return returned

    def send(self, data):
        if self._held is not None:
            return self._held.append(data)
        if self.sock is None:
            self.connect()
        _clock.about_to_write()
        self.sock.settimeout(_clock.seconds_left())
        return super().send(data)

    def close_if_dropped(self):
        """Whoever writes to a connection that the server has closed does not know what became of it."""
        if self.sock is not None:
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            if poll.poll(0):
                self.close()


class _HTTPConnection(_Witness, http.client.HTTPConnection):
    pass


class _HTTPSConnection(_Witness, http.client.HTTPSConnection):
    pass


class _Server:
    """The kept connections to one server. A thread has one to itself for as long as it needs it.

    :param parts: of an address there, split.
    :param float timeout: seconds to connect.
    :param int most: connections that are kept.
    :raise ValueError: the address is none.
    """

    def __init__(self, parts, timeout, most):
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no address: {parts.scheme}")
        self._kind = {"http": _HTTPConnection, "https": _HTTPSConnection}[parts.scheme]
        # Without a port, http.client would look for one in the host, and find the end of an IPv6 address.
        port = parts.port or self._kind.default_port
        self._where = {"host": parts.hostname, "port": port, "timeout": timeout}
        if parts.scheme == "https":
            self._where["context"] = _trust()
        self._most = most
        self._idle = deque()

    def take(self):
        """A connection that nobody else has."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._kind(**self._where)
        connection.close_if_dropped()
        return connection

    def give_back(self, connection):
        """Keep a connection whose answer was read to the end."""
        if len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self):
        while self._idle:
            self._idle.pop().close()


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end.

    :param int status: the HTTP status.
    :param body: the parsed JSON, or None where the body is no JSON.
    :param str words: what the gateway says to people, or the beginning of the body; masked.
    :param bool is_text: the body is something else than JSON, not only a broken or a missing one.
    :param retry_after: seconds for which the server asks to be left alone, or None.
    """

    status: int
    body: object = field(repr=False)
    words: str
    is_text: bool
    retry_after: float | None = None

    def text(self, name):
        """A text in a JSON object, by its name there, or "" where there is none."""
        return _text_in(self.body, name)

    @property
    def is_error(self):
        """Whether this is one of the gateway's error objects, and does not contradict itself."""
        return bool(self.text("error")) and self.body.get("status") in (None, self.status)


class Http:
    """Requests to one gateway.

    :param float timeout: seconds to connect, and seconds from the request to the end of the answer.
    :param int connections: how many connections are kept alive.
    """

    def __init__(self, timeout, connections=1):
        self.timeout = timeout
        self._connections = connections
        self._servers = {}
        self._targets = {}
        self._lock = threading.Lock()

    def close(self):
        """Close the connections."""
        with self._lock:
            for server in self._servers.values():
                server.close()

    def send(self, method, url, secrets=(), data=None, params=None, headers=None):
        """Make one request. It follows no redirect, and knows no proxy and no .netrc.

        :param secrets: strings that no text of the answer, or of an exception, shall show.
        :param dict data: the form that is posted.
        :param dict params: of the query string.
        :return: the :class:`Reply`.
        :raise Unreachable: no byte of the request was written.
        :raise Unclear: some of it was written, and no whole answer came back in time.
        """
        _clock.start(self.timeout)
        try:
            return self._exchange(method, url, secrets, data, params, headers or {})
        # ValueError: an address that is none, or a header that is no text.
        except (http.client.HTTPException, OSError, ValueError, _BadAnswer) as error:
            words, cause = redact(_cause(error), secrets)[:MOST_WORDS], _first(_CAUSES, error)
            if _clock.written:
                raise errors.Unclear(errors.NO_ANSWER, words, cause=cause) from None
            reason = errors.TLS if isinstance(error, ssl.SSLError) else errors.UNREACHABLE
            raise errors.Unreachable(reason, words, cause=cause) from None

    def _exchange(self, method, url, secrets, data, params, headers):
        server, target = self._target(url)
        if params:
            target += ("&" if "?" in target else "?") + urlencode(params)
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT, **headers}
        body = None
        if data is not None:
            body = urlencode(data).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = server.take()
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            content = _read(response)
        except BaseException:
            # What is left of the answer is not to be taken for the next one.
            connection.close()
            raise
        server.give_back(connection)
        return _reply(response, content, secrets)

    def _target(self, url):
        """The server of a URL, and what is asked for there."""
        with self._lock:
            if url not in self._targets:
                self._targets[url] = self._new_target(urlsplit(url))
            return self._targets[url]

    def _new_target(self, parts):
        key = parts.scheme, parts.netloc
        if key not in self._servers:
            self._servers[key] = _Server(parts, self.timeout, self._connections)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self._servers[key], quote(target, safe=IN_ADDRESS)


def _trust():
    """Certificates of the system, where an administrator adds their own, and those that come with Python."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.load_verify_locations(certifi.where())
    return context


def _cause(error):
    """What went wrong, in a sentence that names no class of Python, and nothing of the form."""
    if isinstance(error, _BadAnswer):
        return str(error)
    sentence, detail = _first(_SENTENCES, error), getattr(error, "verify_message", "")
    return f"{sentence}: {detail}" if detail else sentence


def _first(table, error):
    """What a table says of an error's kind, or "" where it says nothing."""
    return next((said for kind, said in table if isinstance(error, kind)), "")


def _read(response):
    """The whole body, if it is of a sane size."""
    content = b""
    while piece := response.read(8192):
        content += piece
        if len(content) > MAX_BODY:
            raise _BadAnswer("the answer is too long")
    # http.client takes a body that ends too early for a whole one if it is read in pieces.
    if response.length:
        raise _BadAnswer("the answer was cut short")
    return content


def _reply(response, content, secrets):
    body = _parse(content)
    words = _messages(body) or content.decode("utf-8", "replace")
    is_text = body is None and content.strip()[:1] not in (b"", b"{", b"[")
    words = redact(words, secrets)[:MOST_WORDS]
    return Reply(response.status, body, words, is_text, _retry_after(response.headers.get("Retry-After")))


def _retry_after(text):
    """Seconds from now, of a header that has seconds or a date; None where there is none, or nonsense."""
    if not text:
        return None
    try:
        if text.strip().isdigit():
            seconds = float(text)
        else:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(max(0.0, seconds), MOST_RETRY_AFTER)


def _messages(body):
    """What a JSON object, or each in a list of them, says to people."""
    rows = body if isinstance(body, list) else [body]
    return "; ".join(filter(None, (_text_in(row, "message") for row in rows)))


def _text_in(body, name):
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, str) else ""


def _parse(content):
    try:
        return json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None


def _object(pairs):
    """A JSON object in which no name comes twice: of two statuses, who knows which one counts."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name comes twice")
    return value
