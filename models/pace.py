"""How fast requests go to a gateway, over all senders of a manager on all machines: in the database."""

from odoo import fields, models

from ..gateway import clock
from .payment import NOW

# Seconds between looks whether another sender was asked for a pause.
ASK_EVERY = 1


class MpesaPace(models.Model):
    """The moment before which no further request is made; a row for each manager.

    In a table of its own: the manager's row is held by whoever prepares.
    """

    _name = "g2p.payment.mpesa.pace"
    _description = "M-Pesa Pace"
    _log_access = False
    _rec_name = "manager_id"

    manager_id = fields.Many2one(
        "g2p.program.payment.manager.mpesa", required=True, readonly=True, ondelete="cascade"
    )
    next_at = fields.Datetime("Next Request", readonly=True)

    def init(self):
        self.env.cr.execute(
            "CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_pace_manager_uniq"
            " ON g2p_payment_mpesa_pace (manager_id)"
        )


class Pace:
    """Gives one sender the moments for its requests.

    Each sender takes a few moments at a time, the next that nobody has taken: so all come to their turn, and
    nobody waits for another one's transaction.

    :param manager: the M-Pesa payment manager.
    """

    def __init__(self, manager):
        self._manager_id = manager.id
        self._rate = manager.max_requests_per_second
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
            f"SELECT extract(epoch FROM next_at - {NOW}) FROM g2p_payment_mpesa_pace WHERE manager_id = %s",
            [self._manager_id],
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
        """Let no sender of this manager make a request for so long."""
        own.cr.execute(
            f"INSERT INTO g2p_payment_mpesa_pace AS pace (manager_id, next_at)"
            f" VALUES (%s, {NOW} + %s * interval '1 second') ON CONFLICT (manager_id)"
            " DO UPDATE SET next_at = greatest(pace.next_at, excluded.next_at)",
            [self._manager_id, seconds],
        )

    def _take(self, own, number):
        own.cr.execute(
            f"""
            INSERT INTO g2p_payment_mpesa_pace AS pace (manager_id, next_at)
                VALUES (%(manager)s, {NOW} + %(length)s * interval '1 second')
            ON CONFLICT (manager_id) DO UPDATE
                SET next_at = greatest(pace.next_at, {NOW}) + %(length)s * interval '1 second'
            RETURNING extract(epoch FROM next_at - {NOW}) - %(length)s
            """,
            {"manager": self._manager_id, "length": number / self._rate},
        )
        return float(own.cr.fetchone()[0])
