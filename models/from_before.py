"""Payments that were ready when they were taken over from the earlier module: it may have paid them.

It recorded what it had paid at the end of a request, and forgot all of it when the request broke off. So
each waits until somebody has compared it with the gateway's statement. That it came from there is never
taken off it again.
"""

from uuid import uuid4

from odoo import _, fields, models

from ..gateway.masking import mask_payee
from . import const
from .payment import NOW


def unconfirmed(payment):
    """SQL: whether nobody has confirmed yet that the earlier module did not pay it.

    :param str payment: an alias of ``g2p_payment``.
    """
    return f"({payment}.mpesa_from_before IS TRUE AND {payment}.mpesa_before_confirmed_at IS NULL)"


class PaymentFromBefore(models.Model):
    # A file of its own, for what ends when no payment of the earlier module is left.
    _inherit = "g2p.payment"  # pylint: disable=consider-merging-classes-inherited

    mpesa_from_before = fields.Boolean(
        "From the Earlier Module",
        readonly=True,
        copy=False,
        help="It was ready when it was taken over from OpenG2P's own module, which may have paid it and"
        " forgotten that.",
    )
    mpesa_before_confirmed_at = fields.Datetime("Confirmed as Not Paid On", readonly=True, copy=False)
    mpesa_before_confirmed_by_id = fields.Many2one(
        "res.users", "Confirmed as Not Paid By", readonly=True, copy=False
    )

    def _mpesa_confirm_not_paid_before(self, user):
        """Let these go out, by the word of ``user``; recorded in the journal. In this transaction.

        :return: those of them that waited for it.
        """
        self.env.cr.execute(
            f"""
            UPDATE g2p_payment p SET
                mpesa_before_confirmed_at = {NOW},
                mpesa_before_confirmed_by_id = %s,
                mpesa_reason = CASE WHEN p.mpesa_reason = %s THEN NULL ELSE p.mpesa_reason END
             WHERE p.id = ANY(%s) AND p.mpesa_state = 'ready' AND {unconfirmed("p")}
            RETURNING p.id
            """,
            [user.id, const.FROM_BEFORE, self.ids],
        )
        confirmed = self.browse(row[0] for row in self.env.cr.fetchall())
        self.invalidate_recordset()
        self.env["g2p.payment.mpesa.attempt"]._record(
            [
                {
                    "key": str(uuid4()),
                    "kind": "decision",
                    "manager_id": payment.mpesa_manager_id.id,
                    "payment_id": payment.id,
                    "batch_id": payment.batch_id.id or None,
                    "payee": mask_payee(payment.account_number) if payment.account_number else None,
                    "amount": payment.amount_issued,
                    "started": self.env.cr.now(),
                    "outcome": "not_paid_before",
                    "user_id": user.id,
                }
                for payment in confirmed
            ]
        )
        for batch in confirmed.batch_id:
            batch._message_log(
                body=_(
                    "%(person)s has confirmed, with the gateway's statement, that the earlier module did not"
                    " pay these payments: %(count)s. They can be sent.",
                    person=user.name,
                    count=len(confirmed.filtered(lambda p, batch=batch: p.batch_id == batch)),
                ),
                author_id=user.partner_id.id,
            )
        return confirmed
