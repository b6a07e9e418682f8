from odoo import fields, models


class SendWizard(models.TransientModel):
    """The float is too small for what is to be sent: a person decides."""

    _name = "g2p.payment.mpesa.send.wizard"
    _description = "Send M-Pesa Payments"

    manager_id = fields.Many2one("g2p.program.payment.manager.mpesa", readonly=True, required=True)
    batch_ids = fields.Many2many("g2p.payment.batch", readonly=True)
    currency_id = fields.Many2one(related="manager_id.currency_id")
    count = fields.Integer("Payments", readonly=True)
    amount = fields.Monetary("To Be Sent", readonly=True)
    balance = fields.Monetary("Float", readonly=True)

    def action_send(self):
        """Send until the float is used up; the rest stays ready."""
        self.ensure_one()
        return self.manager_id.with_context(mpesa_float_seen=True).send_payments(self.batch_ids)
