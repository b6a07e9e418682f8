"""One HTTP exchange: kept-alive connections, no redirects, and certainty about what was written."""

import json
import threading
import time
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from . import errors
from .masking import redact

# An answer of a payment gateway is a few hundred bytes.
MAX_BODY = 64 * 1024

_written = threading.local()


class _Witness:
    """Notes that a request is about to be written, once the connection stands."""

    def send(self, data):
        if self.sock is None and self.auto_open:
            self.connect()
        _written.yes = True
        return super().send(data)


class _WitnessHTTPConnection(_Witness, HTTPConnection):
    pass


class _WitnessHTTPSConnection(_Witness, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _WitnessHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WitnessHTTPSConnection


class _WitnessAdapter(HTTPAdapter):
    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end.

    :param int status: the HTTP status.
    :param body: the parsed JSON, or None where the body is no JSON.
    :param str text: the beginning of the body, not masked.
    """

    status: int
    body: object
    text: str

    def field(self, name):
        """A text field of a JSON object, or "" where there is none."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        return value if isinstance(value, str) else ""

    @property
    def sentence(self):
        """The gateway's own words."""
        return self.field("message") or self.text[:200]


class Http:
    """Requests to one gateway.

    :param float timeout: seconds to connect, seconds between two bytes of the answer, and seconds for
        the body in all.
    :param int connections: how many connections are kept alive.
    """

    def __init__(self, timeout, connections=1):
        self.timeout = timeout
        self.session = requests.Session()
        # A .netrc would replace the Authorization header, and a proxy variable would see the money.
        self.session.trust_env = False
        adapter = _WitnessAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    def close(self):
        """Close the connections."""
        self.session.close()

    def send(self, method, url, data=None, params=None, headers=None, secrets=()):
        """Make one request.

        :return: the :class:`Reply`.
        :raise Unreachable: no byte of the request was written.
        :raise Unclear: it was written, and no whole answer came back.
        """
        _written.yes = False
        try:
            return self._exchange(method, url, data, params, headers)
        # urllib3's own errors and ValueError (a header that is no text) escape from requests in places.
        except (requests.RequestException, OSError, ValueError, HTTPError) as error:
            # The exception's text holds addresses and host names, never the form.
            words = redact(f"{type(error).__name__}: {error}", secrets)[:300]
            if _written.yes:
                raise errors.Unclear(errors.NO_ANSWER, words) from None
            reason = errors.TLS if isinstance(error, requests.exceptions.SSLError) else errors.UNREACHABLE
            raise errors.Unreachable(reason, words) from None

    def _exchange(self, method, url, data, params, headers):
        with self.session.request(
            method,
            url,
            data=data,
            params=params,
            headers=headers,
            timeout=(self.timeout, self.timeout),
            # A 307 would post the form and the token again, to wherever it says.
            allow_redirects=False,
            stream=True,
        ) as response:
            content = _read(response, time.monotonic() + self.timeout)
            return Reply(response.status_code, _parse(content), content[:2000].decode("utf-8", "replace"))


def _read(response, deadline):
    """The whole body, if it comes before ``deadline`` and is of a sane size."""
    content = b""
    for piece in response.iter_content(8192):
        content += piece
        if len(content) > MAX_BODY:
            raise requests.ConnectionError("the answer is too long")
        if time.monotonic() > deadline:
            raise requests.Timeout("the answer takes too long")
    return content


def _parse(content):
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
