"""One HTTP exchange: kept connections, no redirects, an end in time, and certainty about what was written.

An exchange takes three times the time-out at the most: twice until the first byte of the request is written
(look up, connect, TLS), and once from then to the last byte of the answer. Where the look-up alone takes
longer, nothing is written any more.
"""

import http.client
import io
import json
import logging
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as PoolTimeoutError
from urllib3.util import Timeout, parse_url
from urllib3.util.ssl_ import create_urllib3_context

from . import errors
from .masking import RedactingFilter, redact

# An answer of a payment gateway is a few hundred bytes.
MAX_BODY = 64 * 1024
# Seconds for which a server may ask to be left alone.
MOST_RETRY_AFTER = 3600.0
# Of the gateway's own words, so many characters are kept.
MOST_WORDS = 300


class _Clock(threading.local):
    """Of the request that this thread makes: whether it was written, and how much time is left."""

    running = False
    written = False

    def start(self, timeout):
        self.running, self.written = True, False
        self.timeout = timeout
        self._end = time.monotonic() + 2 * timeout

    def stop(self):
        self.running = False

    def about_to_write(self):
        """:raise TimeoutError: too late to write the first byte."""
        if not self.written:
            self.seconds_left()
            self.written = True
            self._end = time.monotonic() + self.timeout

    def seconds_left(self):
        """:raise TimeoutError: none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


_clock = _Clock()


class _BadAnswer(Exception):
    """An answer that is not read to its end; the text is for people."""


# What went wrong, in words for people. The first kind that is among an error and its causes counts.
_BROKEN_OFF = "the connection ended before a whole answer"
_SENTENCES = (
    (ssl.SSLCertVerificationError, "the certificate cannot be trusted"),
    ((ssl.SSLError, SSLError), "no secure connection could be made"),
    (socket.gaierror, "the host name is not known"),
    (ConnectionRefusedError, "the connection was refused"),
    (NewConnectionError, "no connection could be made"),
    ((TimeoutError, PoolTimeoutError), "the time-out has passed"),
    ((ConnectionError, http.client.IncompleteRead), _BROKEN_OFF),
    (http.client.HTTPException, "the answer is not HTTP"),
    (ProtocolError, _BROKEN_OFF),
    (ValueError, "the address or the order cannot be written"),
)
# The same as codes, where whoever sets a gateway up can do something about it.
_CAUSES = (
    (ssl.SSLCertVerificationError, errors.CERTIFICATE),
    (ssl.SSLError, errors.NO_TLS),
    (socket.gaierror, errors.UNKNOWN_NAME),
    (ConnectionRefusedError, errors.CONNECTION_REFUSED),
    (TimeoutError, errors.TIMED_OUT),
)


class _OwnTexts(RedactingFilter):
    """Redacts what urllib3 logs of our requests; other people's are not ours to change."""

    def filter(self, record):
        return super().filter(record) if _clock.running else True


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_OwnTexts())


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
        if self.sock is None and self.auto_open:
            self.connect()
        _clock.about_to_write()
        self.sock.settimeout(_clock.seconds_left())
        return super().send(data)


class _WitnessHTTPConnection(_Witness, HTTPConnection):
    pass


class _WitnessHTTPSConnection(_Witness, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _WitnessHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WitnessHTTPSConnection


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
        self._pools = {}
        self._lock = threading.Lock()

    def close(self):
        """Close the connections."""
        with self._lock:
            for pool, _path in self._pools.values():
                pool.close()
            self._pools.clear()

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
        # ValueError: a header that is no text.
        except (HTTPError, http.client.HTTPException, OSError, ValueError, _BadAnswer) as error:
            words, cause = redact(_cause(error), secrets)[:MOST_WORDS], _cause_code(error)
            if _clock.written:
                raise errors.Unclear(errors.NO_ANSWER, words, cause=cause) from None
            is_tls = isinstance(error, SSLError | ssl.SSLError)
            reason = errors.TLS if is_tls else errors.UNREACHABLE
            raise errors.Unreachable(reason, words, cause=cause) from None
        finally:
            _clock.stop()

    def _exchange(self, method, url, secrets, data, params, headers):
        pool, path = self._pool(url)
        if params:
            path += ("&" if "?" in path else "?") + urlencode(params)
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        body = None
        if data is not None:
            body = urlencode(data).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        response = pool.urlopen(
            method,
            path,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
        )
        try:
            content = _read(response)
        except BaseException:
            # What is left of the answer is not to be taken for the next one.
            response.close()
            raise
        finally:
            response.release_conn()
        return _reply(response, content, secrets)

    def _pool(self, url):
        """The connections to a URL's server, and what is asked for there."""
        with self._lock:
            if url not in self._pools:
                self._pools[url] = self._new_pool(url)
            return self._pools[url]

    def _new_pool(self, url):
        parts = parse_url(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise LocationValueError(f"no address: {parts.scheme}")
        for other, (pool, _path) in self._pools.items():
            if _server(other) == _server(url):
                return pool, parts.request_uri
        options = {
            "maxsize": self._connections,
            "timeout": Timeout(connect=self.timeout, read=self.timeout),
        }
        if parts.scheme == "https":
            options["ssl_context"] = _trust()
        kind = {"http": _HTTPPool, "https": _HTTPSPool}[parts.scheme]
        return kind(parts.host, parts.port, **options), parts.request_uri


def _server(url):
    parts = parse_url(url)
    return parts.scheme, parts.host, parts.port


def _trust():
    """Certificates of the system, where an administrator adds their own, and those that come with Python.

    urllib3 compares the names itself: before version 2 it cannot leave that to Python for a number.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.check_hostname = False
    context.load_default_certs()
    context.load_verify_locations(certifi.where())
    return context


def _cause(error):
    """What went wrong, in a sentence that names no class of Python, and nothing of the form."""
    if isinstance(error, _BadAnswer):
        return str(error)
    causes = _causes(error)
    for kind, sentence in _SENTENCES:
        found = next((cause for cause in causes if isinstance(cause, kind)), None)
        if found:
            detail = getattr(found, "verify_message", "")
            return f"{sentence}: {detail}" if detail else sentence
    return "the exchange failed"


def _causes(error):
    """An error and all that it wraps: urllib3 keeps that in arguments, or in ``reason``."""
    waiting, seen = [error], []
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
    return seen


def _cause_code(error):
    """What went wrong, as a code of :mod:`errors`, or "" where it has none."""
    causes = _causes(error)
    for kind, code in _CAUSES:
        if any(isinstance(cause, kind) for cause in causes):
            return code
    return ""


def _read(response):
    """The whole body, if it is of a sane size."""
    content = b""
    for piece in response.stream(8192, decode_content=False):
        content += piece
        if len(content) > MAX_BODY:
            raise _BadAnswer("the answer is too long")
    # urllib3 1.26 takes a body that ends too early for a whole one.
    if response.length_remaining:
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
