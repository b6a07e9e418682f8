"""What a server's certificate says of itself, trusted or not: for whoever has to mend it."""

import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from . import addresses


class Certificate(NamedTuple):
    """Whom it is for, who signed it, and its last day: common names, or whole names where there are none."""

    subject: str
    issuer: str
    ends: str


def fetch(host, port, timeout, allow_private=False):
    """The certificate by which a server introduces itself. Nothing is sent to it.

    :param float timeout: seconds.
    :param bool allow_private: whether loopback and private addresses may be asked.
    :return: a :class:`Certificate`, or None where it cannot be had.
    """
    # Only looked at: whoever sends something verifies it.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            addresses.connect(host, port, lambda: timeout, allow_private) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))
    except (OSError, ValueError):
        return None
    # Older releases of the library, such as Odoo 17.0's, have a naive one only.
    ends = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
    return Certificate(_name(certificate.subject), _name(certificate.issuer), ends.date().isoformat())


def _name(name):
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()
