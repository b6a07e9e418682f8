"""The connections of an account at a gateway, divided among all who send: in the database.

A sender holds a share for as long as it sends, and gives up a part of it when others come. So there are
never more requests in flight than the account's connections, whichever job, click, program or company they
are of; and a payment costs no statement for it.
"""

import logging
import threading
import time
from contextlib import contextmanager, suppress
from uuid import uuid4

from odoo import fields, models

from ..gateway import clock
from ..gateway.masking import RedactingFilter
from .own_cursor import PASSING
from .payment import NOW

_logger = logging.getLogger(__name__)
_logger.addFilter(RedactingFilter())

# Seconds between looks at who else sends, and between those of one that waits for its share.
LOOK_EVERY = 1
WAIT_EVERY = 0.2
# Seconds for which a share counts that could not be renewed. With less than a quarter left, nothing begins.
SECONDS = 15
SAFE = 1 / 4
# A request may be made of two exchanges, and each takes three times the time-out at the most.
TIMEOUTS_OF_A_REQUEST = 6
# Seconds after which who sends lets somebody else have a turn, where there are more of them than connections.
TURN = 10
# Seconds that a sender waits for its first turn.
PATIENCE = 15


class MpesaSender(models.Model):
    """Who sends from an account at the moment, or waits to; a row for each sender."""

    _name = "g2p.payment.mpesa.sender"
    _description = "M-Pesa Sender"
    _log_access = False
    _rec_name = "token"
    _order = "since, id"

    account = fields.Char(required=True, readonly=True)
    token = fields.Char(required=True, readonly=True)
    connections = fields.Integer(required=True, readonly=True, help="How many of the account's it has.")
    since = fields.Datetime("Waits or Sends Since", required=True, readonly=True)
    served_at = fields.Datetime("Last Turn", required=True, readonly=True)
    lease_until = fields.Datetime("Lease", required=True, readonly=True)

    def init(self):
        self.env.cr.execute(
            """
            CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_sender_token_uniq
                ON g2p_payment_mpesa_sender (token);
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_sender_account_idx
                ON g2p_payment_mpesa_sender (account, since, id);
            """
        )


class Share:
    """One sender's share of its account's connections.

    The thread that dispatches calls :meth:`look` about once a second; threads that make requests do so
    inside of :meth:`connection`.

    :param manager: the M-Pesa payment manager.
    :param own: an ``OwnCursor`` for the thread that dispatches.
    :param float lease_seconds: how long a share counts that could not be renewed, at the most.
    """

    def __init__(self, manager, own, lease_seconds):
        # Read now: the caller's cursor may be lost while money is on its way.
        self.account = manager._mpesa_account()
        managers = manager._mpesa_account_managers()
        self._manager_ids = managers.ids
        self.most = min(managers.mapped("max_connections"))
        self._own = own
        self._seconds = min(lease_seconds, SECONDS)
        self._request_seconds = TIMEOUTS_OF_A_REQUEST * manager.api_timeout
        self._token = str(uuid4())
        # How many the database says are ours; how many we may use, which is less while we give some up.
        self._held = 0
        self._goal = 0
        self._in_use = 0
        self._safe_until = 0.0
        self._look_at = 0.0
        self._is_known = False
        self._condition = threading.Condition()

    @property
    def size(self):
        """How many connections there are to be used now."""
        return min(self._held, self._goal)

    # In the thread that dispatches

    def acquire(self, seconds=PATIENCE, in_line=True):
        """Wait for a share.

        :param float seconds: for how long at the most.
        :param bool in_line: wait for a turn where there are as many senders as connections; otherwise it is
            over at once there, for nobody waits for the answer.
        :return: whether there is one.
        """
        ends = clock.now() + seconds
        while not self.size:
            self._look(must_have_room=not in_line and not self._is_known)
            if not self.size and (clock.now() >= ends or not (in_line or self._is_known)):
                return False
            if not self.size:
                time.sleep(WAIT_EVERY)
        return True

    def look(self):
        """Renew the share, and take or give up connections, if it is time to."""
        gives_up = self._held > max(self._goal, self._in_use)
        if gives_up or clock.now() >= self._look_at:
            self._look()

    def close(self):
        """Give the share back; what is in flight must have ended. It ends by itself where that fails."""
        with self._condition:
            self._held = self._goal = 0
        if self._is_known:
            self._is_known = False
            with suppress(*PASSING), self._own.transaction() as own:
                own.cr.execute("DELETE FROM g2p_payment_mpesa_sender WHERE token = %s", [self._token])

    def _look(self, must_have_room=False):
        wait = LOOK_EVERY if self.size else WAIT_EVERY
        begun = clock.now()
        self._look_at = begun + min(wait, self._seconds / 4)
        try:
            with self._own.transaction() as own:
                share = self._share_out(own, must_have_room)
        except PASSING as error:
            # Nothing begins once it has grown old.
            _logger.warning("The share of an account's connections could not be renewed: %s", error)
            return
        with self._condition:
            self._is_known = share is not None
            # Never more than the database says now; and no fewer than are in use, for these it counts.
            self._held = share or 0
            self._safe_until = begun + self._seconds * (1 - SAFE)
            self._condition.notify_all()

    def _share_out(self, own, must_have_room):
        """Write down what is ours; gives that number, None where there is no place for us."""
        # Alone for this account from here on: the second statement sees what the one before us has written.
        own.cr.execute(
            "SELECT pg_advisory_xact_lock(hashtext('g2p_payment_mpesa_sender'), hashtext(%s))", [self.account]
        )
        own.cr.execute(
            f"DELETE FROM g2p_payment_mpesa_sender WHERE account = %s AND lease_until < {NOW}", [self.account]
        )
        own.cr.execute(
            f"""
            SELECT s.token, s.connections, extract(epoch FROM {NOW} - s.served_at)::float AS seconds,
                   (SELECT min(max_connections) FROM g2p_program_payment_manager_mpesa
                     WHERE id = ANY(%s)) AS most
              FROM (VALUES (1)) one(one) LEFT JOIN g2p_payment_mpesa_sender s ON s.account = %s
             ORDER BY s.since, s.id
            """,
            [self._manager_ids, self.account],
        )
        rows = own.cr.dictfetchall()
        most = rows[0]["most"] or 1
        senders = [row for row in rows if row["token"]]
        if must_have_room and len(senders) >= most:
            return None
        mine = next((row for row in senders if row["token"] == self._token), None)
        share, again = self._decide(senders, mine, most)
        self._write_down(own, share, again)
        return share

    def _decide(self, senders, mine, most):
        """How many connections are ours from now on, and whether we begin to wait anew."""
        others = sum(row["connections"] for row in senders if row is not mine)
        number = len(senders) + (mine is None)
        place = senders.index(mine) if mine else len(senders)
        # Who has had a turn goes to the end of those who wait.
        again = bool(mine and mine["connections"] and number > most and mine["seconds"] > TURN)
        if again:
            place = len(senders) - 1
        goal = most // number + (place < most % number)
        with self._condition:
            # From here on no more are begun than that; those in flight are ours until they end.
            self._goal = goal
            share = max(self._in_use, min(goal, max(0, most - others)))
            # Whether what is written is committed may never be known.
            self._held = min(self._held, share)
        return share, again

    def _write_down(self, own, share, again):
        own.cr.execute(
            f"""
            INSERT INTO g2p_payment_mpesa_sender AS s
                (account, token, connections, since, served_at, lease_until)
                VALUES (%(account)s, %(token)s, %(share)s, {NOW}, {NOW},
                        {NOW} + %(lease)s * interval '1 second')
            ON CONFLICT (token) DO UPDATE SET connections = excluded.connections,
                lease_until = excluded.lease_until,
                served_at = CASE WHEN s.connections = 0 THEN excluded.served_at ELSE s.served_at END,
                since = CASE WHEN %(again)s THEN excluded.since ELSE s.since END
            """,
            {
                "account": self.account,
                "token": self._token,
                "share": share,
                "again": again,
                # What begins at the last moment ends before others take its connection.
                "lease": self._seconds + self._request_seconds,
            },
        )

    # In the threads that make requests

    @contextmanager
    def connection(self, is_over=lambda: False):
        """Have one of the connections for a request; gives False where it is over before there is one.

        :param is_over: called from time to time; True ends the waiting.
        """
        taken = self._take(is_over)
        try:
            yield taken
        finally:
            if taken:
                self._give()

    def _take(self, is_over):
        with self._condition:
            while not is_over():
                if self._in_use < self.size and clock.now() < self._safe_until:
                    self._in_use += 1
                    return True
                self._condition.wait(WAIT_EVERY)
        return False

    def _give(self):
        with self._condition:
            self._in_use -= 1
            self._condition.notify()
