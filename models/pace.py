"""How fast requests go to a gateway, over all who send from an account, on all machines: in the database."""

from odoo import fields, models

from ..gateway import clock
from .payment import NOW

# Seconds between looks whether another sender was asked for a pause.
ASK_EVERY = 1


class MpesaPace(models.Model):
    """The moment before which no further request is made; a row for each account at a gateway.

    In a table of its own: a manager's row is held by whoever prepares.
    """

    _name = "g2p.payment.mpesa.pace"
    _description = "M-Pesa Pace"
    _log_access = False
    _rec_name = "account"

    account = fields.Char(readonly=True)
    next_at = fields.Datetime("Next Request", readonly=True)

    def init(self):
        # Before, there was a row for each manager.
        self.env.cr.execute(
            """
            ALTER TABLE g2p_payment_mpesa_pace DROP COLUMN IF EXISTS manager_id;
            DELETE FROM g2p_payment_mpesa_pace WHERE account IS NULL;
            CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_pace_account_uniq
                ON g2p_payment_mpesa_pace (account);
            """
        )


class Pace:
    """Gives one sender the moments for its requests.

    Each sender takes a few moments at a time, the next that nobody has taken: so all come to their turn, and
    nobody waits for another one's transaction.

    :param manager: the M-Pesa payment manager.
    """

    def __init__(self, manager):
        self._account = manager._mpesa_account()
        # The slowest that is set on a manager of the account; nought is no limit.
        rates = manager._mpesa_account_managers().mapped("max_requests_per_second")
        self._rate = min((rate for rate in rates if rate > 0), default=0)
        self._ask_at = 0.0

    @property
    def most_at_once(self):
        """How many moments to take at a time at the most: those of a second."""
        return max(1, int(self._rate)) if self._rate > 0 else float("inf")

    def is_to_be_asked(self):
        """Whether to reserve the next moments: always where there is a rate, or else once a second."""
        return self._rate > 0 or clock.now() >= self._ask_at

    def seconds_ahead(self, own):
        """How long the next moment is away; below nought where it may be taken at once."""
        own.cr.execute(
            f"SELECT extract(epoch FROM next_at - {NOW}) FROM g2p_payment_mpesa_pace WHERE account = %s",
            [self._account],
        )
        row = own.cr.fetchone()
        return float(row[0]) if row else 0

    def reserve(self, own, number):
        """Take the next moments.

        :param own: an environment in a short transaction of our own.
        :return: as many moments of the clock.
        """
        if not number:
            return []
        seconds = self._take(own, number) if self._rate > 0 else self.seconds_ahead(own)
        self._ask_at = clock.now() + ASK_EVERY
        begin, step = clock.now() + max(0, seconds), 1 / self._rate if self._rate > 0 else 0
        return [begin + place * step for place in range(number)]

    def put_off(self, own, seconds):
        """Let nobody who sends from this account make a request for so long."""
        own.cr.execute(
            f"INSERT INTO g2p_payment_mpesa_pace AS pace (account, next_at)"
            f" VALUES (%s, {NOW} + %s * interval '1 second') ON CONFLICT (account)"
            " DO UPDATE SET next_at = greatest(pace.next_at, excluded.next_at)",
            [self._account, seconds],
        )

    def _take(self, own, number):
        own.cr.execute(
            f"""
            INSERT INTO g2p_payment_mpesa_pace AS pace (account, next_at)
                VALUES (%(account)s, {NOW} + %(length)s * interval '1 second')
            ON CONFLICT (account) DO UPDATE
                SET next_at = greatest(pace.next_at, {NOW}) + %(length)s * interval '1 second'
            RETURNING extract(epoch FROM next_at - {NOW}) - %(length)s
            """,
            {"account": self._account, "length": number / self._rate},
        )
        return float(own.cr.fetchone()[0])
