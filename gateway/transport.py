"""One HTTP exchange by `requests`: kept connections, no redirects, an end in time, and certainty about what
was written.

An exchange takes three times the time-out at the most: twice until the first byte of the request is written
(look up, connect, TLS), and once from then to the last byte of the answer. Where the look-up alone takes
longer, nothing is written any more. The connections are those of :mod:`.wire`.
"""

import http.client
import json
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from . import addresses, errors
from .masking import MOST_TEXT, redact
from .wire import BadAnswer, Pool, SecurePool, watch

USER_AGENT = "g2p_payment_simple_mpesa"
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
FORM = "application/x-www-form-urlencoded"
# What may stand in an address as it is.
IN_ADDRESS = "%/:=&?~#+!$,;'@()*[]"
# An answer of a payment gateway is a few hundred bytes.
MAX_BODY = 64 * 1024
# Seconds for which a server may ask to be left alone.
MOST_RETRY_AFTER = 3600.0
# Of the gateway's own words, so many characters are kept.
MOST_WORDS = 300
KIND = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,60}", re.ASCII)

# What went wrong, in words for people. The first kind that fits counts.
_BROKEN_OFF = "the connection ended before a whole answer"
_NO_ADDRESS = "the address or the order cannot be written"
_FORBIDDEN = {
    addresses.NEVER: "addresses of this kind are never asked",
    addresses.PRIVATE: "the server's configuration allows no loopback or private addresses",
}
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


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end.

    :param int status: the HTTP status.
    :param body: the parsed JSON, or None where the body is no JSON.
    :param str words: what the gateway says to people in this protocol's way, masked; of any other answer
        only its kind.
    :param bool is_text: the body is something else than JSON, not only a broken or a missing one.
    :param str page: the beginning of the body, to be looked at and not to be kept.
    :param retry_after: seconds for which the server asks to be left alone, or None.
    """

    status: int
    body: object = field(repr=False)
    words: str
    is_text: bool
    page: str = field(repr=False)
    retry_after: float | None = None

    def text(self, name):
        """A text in a JSON object, by its name there, or "" where there is none."""
        return _text_in(self.body, name)

    @property
    def is_error(self):
        """Whether this is one of the gateway's error objects, and does not contradict itself."""
        return bool(self.text("error")) and self.body.get("status") in (None, self.status)


class _Request(requests.PreparedRequest):
    """A request as it goes out. What `requests` would work out for each is worked out once for an address."""

    def __init__(self, method, server, path, data, headers):
        super().__init__()
        if not all(text.isascii() and text.isprintable() for text in headers.values()):
            raise ValueError("a header that cannot be written")
        self.method, self.url, self.path, self.hooks = method, server + path, path, {}
        self.headers = {**HEADERS, **headers}
        if data is not None:
            self.body = urlencode(data).encode()
            self.headers["Content-Type"] = FORM
            self.headers["Content-Length"] = str(len(self.body))


class _NoCookies(RequestsCookieJar):
    """Keeps none, and does not look for any."""

    def extract_cookies(self, response, request):
        pass


class _Session(requests.Session):
    def get_redirect_target(self, resp):
        """None is followed, nor looked at: by a 307 the same order would be posted to somebody else."""
        return None


class _Adapter(HTTPAdapter):
    """Keeps one pool of :mod:`.wire`'s connections for each server.

    :param dict pool_options: for all pools.
    """

    def __init__(self, **pool_options):
        # Whatever went wrong is raised at once, as it is, and nothing is asked twice.
        super().__init__(max_retries=Retry(False))
        self._pool_options = pool_options
        self._pools = {}
        self._lock = threading.Lock()

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):
        return self.get_connection(request.url)

    def get_connection(self, url, proxies=None):
        """The pool of a URL's server. It has no proxy."""
        parts = urlsplit(url)
        server = parts.scheme, parts.netloc
        with self._lock:
            if server not in self._pools:
                self._pools[server] = self._new_pool(parts)
            return self._pools[server]

    def _new_pool(self, parts):
        kind, options = Pool, {}
        if parts.scheme == "https":
            kind, options = SecurePool, {"ssl_context": _trust(), "cert_reqs": "CERT_REQUIRED"}
        # Without a port, http.client would look for one in the host, and find the end of an IPv6 address.
        port = parts.port or kind.ConnectionCls.default_port
        return kind(parts.hostname, port, **self._pool_options, **options)

    def cert_verify(self, conn, url, verify, cert):
        """The pool has what it trusts."""

    def request_url(self, request, proxies):
        return request.path

    def build_response(self, req, resp):
        """Without cookies: none is kept."""
        response = requests.Response()
        response.status_code, response.headers, response.raw = resp.status, resp.headers, resp
        response.request, response.url = req, req.url
        return response

    def close(self):
        with self._lock:
            while self._pools:
                self._pools.popitem()[1].close()


class Http:
    """Requests to one gateway.

    :param float timeout: seconds to connect, and seconds from the request to the end of the answer.
    :param int connections: how many connections are kept alive.
    :param bool allow_private: whether loopback and private addresses may be asked.
    """

    def __init__(self, timeout, connections=1, allow_private=False):
        self.timeout = timeout
        self._session = _Session()
        # Neither proxies nor .netrc of the environment.
        self._session.trust_env = False
        self._session.cookies = _NoCookies()
        self._session.adapters.clear()
        adapter = _Adapter(maxsize=connections, allow_private=allow_private)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._targets = {}

    def close(self):
        """Close the connections."""
        self._session.close()

    def send(self, method, url, secrets=(), data=None, params=None, headers=None):
        """Make one request. It follows no redirect, knows no proxy and no .netrc, and asks nothing twice.

        :param secrets: strings that no text of the answer, or of an exception, shall show.
        :param dict data: the form that is posted.
        :param dict params: of the query string.
        :return: the :class:`Reply`.
        :raise Unreachable: no byte of the request was written.
        :raise Unclear: some of it was written, and no whole answer came back in time.
        """
        watch.start(self.timeout)
        try:
            return self._exchange(method, url, secrets, data, params, headers or {})
        # ValueError: an address that is none, or a header that is no text.
        except (http.client.HTTPException, HTTPError, OSError, ValueError, BadAnswer) as raised:
            error = _origin(raised)
            words, cause = redact(_cause(error), secrets)[:MOST_WORDS], _cause_code(error)
            if watch.written:
                raise errors.Unclear(errors.NO_ANSWER, words, cause=cause) from None
            reason = errors.TLS if isinstance(error, ssl.SSLError) else errors.UNREACHABLE
            raise errors.Unreachable(reason, words, cause=cause) from None
        finally:
            watch.stop()

    def _exchange(self, method, url, secrets, data, params, headers):
        server, path = self._target(url)
        if params:
            path += ("&" if "?" in path else "?") + urlencode(params)
        request = _Request(method, server, path, data, headers)
        # Nothing of it is for this one request: what is not given here, `requests` would look for.
        response = self._session.send(request, stream=True, allow_redirects=False, proxies={}, verify=True)
        try:
            content = _read(response.raw)
        except BaseException:
            # What is left of the answer is not to be taken for the next one.
            response.raw.close()
            raise
        finally:
            response.raw.release_conn()
        return _reply(response, content, secrets)

    def _target(self, url):
        """The server of a URL, and what is asked for there."""
        if url not in self._targets:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"no address: {parts.scheme}")
            # A port that is none is found here.
            _port = parts.port
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._targets[url] = f"{parts.scheme}://{parts.netloc}", quote(path, safe=IN_ADDRESS)
        return self._targets[url]


def _trust():
    """Certificates of the system, where an administrator adds their own, and those that come with Python."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.load_verify_locations(requests.certs.where())
    return context


def _origin(error):
    """What went wrong first: `requests` and urllib3 put their own exceptions around it."""
    at = error
    while isinstance(at, requests.RequestException | HTTPError) and at.__context__:
        at = at.__context__
    return at


def _cause(error):
    """What went wrong, in a sentence that names no class of Python, and nothing of the form."""
    if isinstance(error, BadAnswer):
        return str(error)
    if isinstance(error, addresses.NotAllowed):
        return _FORBIDDEN[error.kind]
    sentence, detail = _first(_SENTENCES, error), getattr(error, "verify_message", "")
    return f"{sentence}: {detail}" if detail else sentence


def _cause_code(error):
    if isinstance(error, addresses.NotAllowed):
        return errors.PRIVATE_ADDRESS if error.kind == addresses.PRIVATE else errors.FORBIDDEN_ADDRESS
    return _first(_CAUSES, error)


def _first(table, error):
    """What a table says of an error's kind, or "" where it says nothing."""
    return next((said for kind, said in table if isinstance(error, kind)), "")


def _read(raw):
    """The whole body, if it is of a sane size. It was asked for as it is: nothing is unpacked."""
    content = b""
    while piece := raw.read(8192, decode_content=False):
        content += piece
        if len(content) > MAX_BODY:
            raise BadAnswer("the answer is too long")
    # A body that ends too early is taken for a whole one if it is read in pieces.
    if raw.length_remaining:
        raise BadAnswer("the answer was cut short")
    return content


def _reply(response, content, secrets):
    packed = response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
    body = None if packed else _parse(content)
    is_text = body is None and content.strip()[:1] not in (b"", b"{", b"[")
    words = redact(_messages(body) or _kind(response, content), secrets)[:MOST_WORDS]
    page = content[:MOST_TEXT].decode("utf-8", "replace")
    retry_after = _retry_after(response.headers.get("Retry-After"))
    return Reply(response.status_code, body, words, is_text, page, retry_after)


def _kind(response, content):
    """Of an answer that is not this protocol's, no more: it may be a page of somebody else's server."""
    kind = KIND.match(response.headers.get("Content-Type", ""))
    return f"HTTP {response.status_code}, {kind.group() if kind else 'no content type'}, {len(content)} bytes"


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
    """What an object of this protocol, or each in a list of them, says to people."""
    rows = body if isinstance(body, list) else [body]
    return "; ".join(
        _text_in(row, "message") for row in rows if _text_in(row, "error") or _text_in(row, "status")
    )


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
