"""For how long jobs leave a gateway in peace that stopped, and what ends that: time, a person, or proof."""

import math

import psycopg2

from odoo import _, fields, models
from odoo.exceptions import UserError

from . import const
from .dispatch import PASSES
from .notify import notification
from .own_cursor import PAUSES, durably
from .payment import NOW

# Minutes that jobs leave a gateway in peace for: what passes by itself, and what somebody has to mend.
HOLD_MINUTES = 5
HOLD_MINUTES_FOR_US = 60
# A person waits: so many tries, of some seconds each.
TRIES = 2


class MpesaHold(models.AbstractModel):
    _name = "g2p.mpesa.hold.mixin"
    _description = "M-Pesa Payment Manager: Left in Peace"

    mpesa_hold_until = fields.Datetime("Left in Peace Until", readonly=True, copy=False)
    mpesa_hold_reason = fields.Selection(const.REASONS, readonly=True, copy=False)

    def _mpesa_is_held(self):
        """Whether jobs leave the gateway in peace now. The clock is the database server's."""
        self.ensure_one()
        self.env.cr.execute(
            f"SELECT mpesa_hold_until > {NOW} FROM {self._table} WHERE id = %s", [self._origin.id]
        )
        row = self.env.cr.fetchone()
        return bool(row and row[0])

    def _mpesa_note_hold(self, result):
        """Have jobs leave a gateway in peace for a while. A person who clicks is not held back."""
        if result.stopped:
            minutes = HOLD_MINUTES if result.stopped in PASSES else HOLD_MINUTES_FOR_US
            minutes = max(minutes, math.ceil(result.hold_seconds / 60))
            until, reason = f"{NOW} + interval '{minutes} minutes'", result.stopped
        elif result.counts and self.mpesa_hold_until:
            until, reason = "NULL", None
        else:
            return
        self.env.cr.execute(
            f"UPDATE {self._table} SET mpesa_hold_until = {until}, mpesa_hold_reason = %s WHERE id IN ("
            # Somebody who prepares holds the row; then it is left as it is.
            f"SELECT id FROM {self._table} WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED)",
            [reason, self.id],
        )

    def _mpesa_lift_hold(self):
        """By a person's word, have jobs ask the gateway again. Committed when this returns.

        :raise UserError: somebody else holds the payment manager, so jobs would go on waiting.
        """
        self.ensure_one()

        def lift(own):
            manager = self.with_env(own)
            if manager._mpesa_is_held():
                own.cr.execute(
                    f"UPDATE {self._table} SET mpesa_hold_until = NULL, mpesa_hold_reason = NULL"
                    " WHERE id = %s",
                    [self.id],
                )

        try:
            durably(self.env, lift, PAUSES[:TRIES])
        except psycopg2.errors.LockNotAvailable:
            raise UserError(
                _(
                    "Nothing was sent: somebody is preparing payments with this payment manager, or changing"
                    " it. Click again in a minute."
                )
            ) from None
        self.invalidate_recordset(["mpesa_hold_until", "mpesa_hold_reason"])

    def _mpesa_end_hold(self):
        """In this transaction, have jobs ask the gateway again, and queue those that wait."""
        for manager in self.filtered("mpesa_hold_until"):
            manager.sudo().write({"mpesa_hold_until": False, "mpesa_hold_reason": False})
            # As the scheduled job, whoever mended it.
            manager.sudo()._queue_wanted()

    def _mpesa_has_proved(self, balance):
        """Whether the gateway has shown that what jobs leave it in peace for is over.

        :param balance: the float that it has just told, None where it does not say.
        """
        if self.mpesa_hold_reason != "float":
            return True
        return balance is not None and balance >= self._mpesa_largest_waiting()

    def _mpesa_largest_waiting(self):
        """The largest amount of a payment that is ready, and that nothing else keeps back."""
        self.env["g2p.payment"].flush_model()
        self.env.cr.execute(
            "SELECT coalesce(max(amount_issued), 0)::float FROM g2p_payment WHERE mpesa_manager_id = %s"
            " AND mpesa_state = 'ready' AND NOT coalesce(mpesa_reason, '') = ANY(%s)",
            [self.id, list(const.HELD)],
        )
        return self.env.cr.fetchone()[0]

    def _mpesa_is_float_enough_again(self):
        """Ask for the float, if jobs leave the gateway in peace because it was too small."""
        is_asked = self.mpesa_hold_reason == "float" and self.balance_endpoint_url and self._mpesa_is_held()
        if not is_asked or self._mpesa_moved():
            return False
        balance, _reason = self._mpesa_balance()
        return self._mpesa_has_proved(balance)

    def _mpesa_go_on(self, batches):
        """Go on at once with what was sent for in these batches; ask first where nothing was.

        :return: a client action.
        :raise AccessError: the user may not send.
        :raise UserError: as :meth:`_mpesa_lift_hold`.
        """
        self._require_sender(batches)
        self._mpesa_require_same_place()
        self._mpesa_lift_hold()
        wanted = self.sudo()._mpesa_wanted() & batches
        if not wanted:
            return self.send_payments(batches)
        # Who has them go on is one who sends.
        self._note_sent(wanted)
        moving = durably(self.env, lambda own: self.with_env(own)._queue_and_count(wanted.ids))
        kind = "success" if moving == len(wanted) else "warning"
        sentence = _("Sent in the background: %(moving)s of %(all)s batches.", moving=moving, all=len(wanted))
        return notification(kind, sentence)

    def _queue_and_count(self, batch_ids):
        """Queue what was sent for; gives how many of these batches have a job now.

        The others say why they have none.
        """
        self.sudo()._queue_wanted()
        return len(self._on_their_way().intersection(batch_ids))
