from uuid import uuid4

from odoo import fields, models
from odoo.exceptions import UserError
from odoo.fields import Command


class AssignPaymentsBatchWizard(models.TransientModel):
    _name = "g2p.assign.payments.batch.wizard"
    _description = "Assign Payments to a Batch"

    payment_ids = fields.Many2many(
        "g2p.payment", string="Payments", default=lambda self: self._default_payment_ids()
    )

    def _default_payment_ids(self):
        payments = self.env["g2p.payment"].browse(self.env.context.get("active_ids", []))
        return payments.filtered(lambda payment: not payment.batch_id)

    def assign_payment(self):
        """Put the payments that have no batch into one new batch, of the first one's cycle."""
        self.ensure_one()
        payments = self.payment_ids.filtered(lambda payment: not payment.batch_id)
        if not payments:
            raise UserError(self.env._("All of these payments are in a batch already."))
        batch = self.env["g2p.payment.batch"].create(
            {
                "name": str(uuid4()),
                "cycle_id": payments[0].cycle_id.id,
                "payment_ids": [Command.set(payments.ids)],
                "stats_datetime": fields.Datetime.now(),
            }
        )
        payments.batch_id = batch
        return {
            "type": "ir.actions.act_window",
            "res_model": "g2p.payment.batch",
            "res_id": batch.id,
            "view_mode": "form",
        }
