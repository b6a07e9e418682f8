from odoo import _, api, fields, models
from odoo.exceptions import UserError

from ..models import const
from ..models.from_before import unconfirmed
from ..models.own_cursor import durably
from ..models.payment import check_access
from ..models.send_preview import OURS, Totals, preview


class SendWizard(models.TransientModel):
    """In the dialogue: what came from the earlier module, and is not sent before somebody has compared it."""

    _inherit = "g2p.payment.mpesa.send.wizard"

    before_count = fields.Integer("From the Earlier Module", readonly=True)
    before_amount = fields.Monetary("Their Sum", readonly=True)
    before_is_compared = fields.Boolean(
        "I have compared them with the gateway's statement: they were not paid"
    )

    @api.model
    def _counts(self, found):
        before = found.held.get(const.FROM_BEFORE, Totals())
        return {**super()._counts(found), "before_count": before.count, "before_amount": before.amount}

    def _check_hands(self, names):
        return super()._check_hands(names - {"before_is_compared"})

    def action_confirm_before(self):
        """Let those go out that were held back for this alone; the dialogue shows the new numbers.

        :raise UserError: the box is not ticked.
        """
        self.ensure_one()
        check_access(self, "write")
        self.manager_id._require_sender(self.batch_ids)
        if not self.before_is_compared:
            raise UserError(
                _(
                    "Compare these payments with the gateway's statement, and tick the box, if they were not"
                    " paid."
                )
            )
        durably(self.env, self._confirm_before)
        found = preview(self.manager_id, self.batch_ids, self.payment_ids or None)
        balance, reason = self.manager_id._mpesa_balance() if found.sendable.count else (None, "")
        self.sudo().write(
            {
                **self._counts(found),
                "before_is_compared": False,
                "balance_known": balance is not None,
                "balance": balance or 0,
                "balance_reason": reason,
                "typed_amount": False,
            }
        )
        return self._action()

    def _confirm_before(self, own):
        ids = self.payment_ids.ids or None
        own.cr.execute(
            f"SELECT p.id FROM g2p_payment p WHERE {OURS} AND p.mpesa_state = 'ready' AND p.mpesa_reason = %s"
            f" AND {unconfirmed('p')} ORDER BY p.id FOR NO KEY UPDATE",
            [self.batch_ids.ids, self.manager_id.id, ids, ids, const.FROM_BEFORE],
        )
        payments = own["g2p.payment"].sudo().browse(row[0] for row in own.cr.fetchall())
        payments._mpesa_confirm_not_paid_before(own.user)
