"""What a gateway's answer allows us to do next.

The class of an exception is the decision; its ``reason`` is one of the codes below, which the Odoo side
turns into a sentence for people.

========================  ==============  =====================================================
class                     money moved?    what may be done next
========================  ==============  =====================================================
:class:`Refused`          no              this payment has failed; go on with the next one
:class:`OurFault`         no              stop; the payment can go out once the cause is mended
:class:`Unreachable`      no              the order was not written; it can go out later
:class:`Unclear`          perhaps         never send again; ask for the status, or a person
========================  ==============  =====================================================
"""

# Because of this payee or amount.
PAYEE_UNKNOWN = "payee_unknown"
PAYEE_IS_PAYER = "payee_is_payer"
PAYEE_KIND = "payee_kind"
AMOUNT_TOO_SMALL = "amount_too_small"
FAILED_LATER = "failed_later"

# Because of us.
CREDENTIALS = "credentials"
SECRET = "secret"
FLOAT = "float"
NOT_PERMITTED = "not_permitted"
SETUP = "setup"
TLS = "tls"
UNREACHABLE = "unreachable"

# Not known.
NO_ANSWER = "no_answer"
NOT_UNDERSTOOD = "not_understood"
SERVER_ERROR = "server_error"
ACCOUNT_BLOCKED = "account_blocked"
NO_WALLET = "no_wallet"
REFERENCE_CONFLICT = "reference_conflict"
AMOUNT_DIFFERS = "amount_differs"

# What exactly, where that helps whoever mends it: there was no answer, or it was not one of this protocol.
UNKNOWN_NAME = "unknown_name"
CONNECTION_REFUSED = "connection_refused"
TIMED_OUT = "timed_out"
CERTIFICATE = "certificate"
NO_TLS = "no_tls"
FORBIDDEN_ADDRESS = "forbidden_address"
# The rules refuse the address itself, whatever is there.
REFUSED_URL = "refused_url"
PRIVATE_ADDRESS = "private_address"
NO_PAGE = "no_page"
NOT_JSON = "not_json"
OTHER_PROTOCOL = "other_protocol"


class GatewayError(Exception):
    """A gateway did not do what it was asked.

    :param str reason: one of this module's codes.
    :param str message: the gateway's own words, or ours; already masked.
    :param int http_status: the HTTP status, or None where there was no answer.
    :param str cause: what exactly, by one of this module's codes for it, or "".

    ``retry_after``: seconds for which the gateway asks to be left alone, None where it does not.
    """

    retry_after = None

    def __init__(self, reason, message="", http_status=None, cause=""):
        super().__init__(message or reason)
        self.reason = reason
        self.message = message
        self.http_status = http_status
        self.cause = cause

    @property
    def is_overload(self):
        """Whether the gateway says that this is too much for it."""
        return self.http_status in (429, 503) or self.retry_after is not None


class NotTaken(GatewayError):
    """No money moved, for certain."""


class Refused(NotTaken):
    """The gateway says clearly: not paid, because of this payee or amount."""


class OurFault(NotTaken):
    """Nothing can be paid until somebody mends credentials, float, permission or set-up."""


class Unreachable(NotTaken):
    """No byte of the order was written; or the question moves no money, and has no answer."""


class Unclear(GatewayError):
    """The request may have been carried out."""
