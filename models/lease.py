"""A claim ends by itself, unless its sender is alive to renew it."""

import logging
import threading

from ..gateway import clock
from ..gateway.masking import RedactingFilter
from .own_cursor import PASSING, own_transaction
from .payment import NOW

_logger = logging.getLogger(__name__)
_logger.addFilter(RedactingFilter())

DEFAULT_SECONDS = 60
# With less than this share of its time left, a claim is used for nothing new, and not renewed either: so
# that nobody renews a part of it while somebody else turns the other part into doubts.
SAFE = 1 / 4


class Lease:
    """Renews the claims of one sender, in a thread of its own, for as long as the sender lives.

    :param env: whose database.
    :param float seconds: how long a claim outlives its sender.
    """

    def __init__(self, env, seconds):
        self.seconds = seconds
        self._env = env
        self._tokens = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="mpesa-lease", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        # A renewal that waits for a lock ends by its time-out.
        self._thread.join(self.seconds)

    def hold(self, token):
        """Renew a claim from now on; it is about to be made."""
        with self._lock:
            self._tokens[token] = clock.now() + self.seconds

    def keep(self, tokens):
        """Only these claims have not come to their end."""
        with self._lock:
            self._tokens = {token: until for token, until in self._tokens.items() if token in tokens}

    def is_safe(self, token):
        """Whether the claim is ours for long enough to begin a request."""
        return clock.now() < self._tokens.get(token, 0) - self.seconds * SAFE

    def _beat(self):
        while not self._stop.wait(self.seconds / 3):
            tokens, now = list(self._tokens), clock.now()
            try:
                renewed = self._renew(tokens)
            except PASSING as error:
                # The sender sees that its claim grows old, and begins nothing more.
                _logger.warning("A lease could not be renewed: %s", error)
            else:
                self._prolong(renewed, now + self.seconds)

    def _prolong(self, tokens, until):
        with self._lock:
            self._tokens.update({token: until for token in tokens if token in self._tokens})

    def _renew(self, tokens):
        """Renew those claims that have not nearly run out; gives them."""
        if not tokens:
            return set()
        with own_transaction(self._env) as own:
            own.cr.execute(
                f"UPDATE g2p_payment SET mpesa_lease_until = {NOW} + %s * interval '1 second'"
                f" WHERE mpesa_claim = ANY(%s) AND mpesa_state = 'sending'"
                f" AND mpesa_lease_until > {NOW} + %s * interval '1 second'"
                " RETURNING mpesa_claim",
                [self.seconds, tokens, self.seconds * SAFE],
            )
            return {row[0] for row in own.cr.fetchall()}


def lease_seconds(env):
    """How long a claim outlives its sender; a system parameter, at least 2."""
    value = env["ir.config_parameter"].sudo().get_param("g2p_payment_simple_mpesa.lease_seconds")
    return max(float(value or DEFAULT_SECONDS), 2)
