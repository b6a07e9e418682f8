"""Which account at a gateway it is, as a digest."""

import hashlib
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}


def account_of(url, username):
    """A digest of an account at a gateway, the same however its URL is written.

    :param url: where payments are ordered.
    :param username: as whom. Whether a gateway tells capitals apart is not known: an account is rather
        taken for one than for two.
    """
    parts = [_normal(url or ""), (username or "").strip().casefold()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _normal(url):
    try:
        parts = urlsplit(url.strip())
        scheme = parts.scheme.lower()
        port = parts.port or PORTS.get(scheme)
    except ValueError:
        return url.strip()
    host = (parts.hostname or "").rstrip(".")
    return f"{scheme}://{host}:{port}{parts.path.rstrip('/')}?{parts.query}"
