from uuid import uuid4

from odoo import api, fields, models
from odoo.exceptions import UserError


class Payment(models.Model):
    _name = "g2p.payment"
    _description = "Payment"
    _order = "id desc"

    # Made once, when the server starts: payments created without a name share it, as in OpenG2P.
    name = fields.Char(default=str(uuid4()), readonly=True)
    entitlement_id = fields.Many2one("g2p.entitlement", required=True)
    cycle_id = fields.Many2one("g2p.cycle", readonly=True)
    program_id = fields.Many2one("g2p.program", related="cycle_id.program_id")
    partner_id = fields.Many2one("res.partner", "Beneficiary", related="entitlement_id.partner_id")
    company_id = fields.Many2one("res.company", default=lambda self: self.env.company)
    journal_id = fields.Many2one("account.journal", compute="_compute_journal_id", store=True)
    currency_id = fields.Many2one("res.currency", related="journal_id.currency_id")
    batch_id = fields.Many2one("g2p.payment.batch")

    account_number = fields.Char()
    amount_issued = fields.Monetary(required=True)
    amount_paid = fields.Monetary()
    payment_fee = fields.Monetary()
    issuance_date = fields.Datetime(default=fields.Datetime.now)
    payment_datetime = fields.Datetime()

    state = fields.Selection(
        [("issued", "Issued"), ("sent", "Sent"), ("reconciled", "Reconciled")],
        required=True,
        default="issued",
    )
    status = fields.Selection([("paid", "Paid"), ("failed", "Failed")])
    status_is_final = fields.Boolean(default=False)
    status_datetime = fields.Datetime()

    @api.depends("cycle_id.program_id.journal_id")
    def _compute_journal_id(self):
        for payment in self:
            payment.journal_id = payment.cycle_id.program_id.journal_id

    @api.ondelete(at_uninstall=False)
    def _unlink_only_issued(self):
        if any(payment.state != "issued" for payment in self):
            raise UserError(self.env._("Only payments in the state Issued can be deleted."))

    def send_payment(self):
        """Do nothing: the button is there, and so is its emptiness, in OpenG2P."""


class PaymentBatch(models.Model):
    _name = "g2p.payment.batch"
    _description = "Payment Batch"
    _order = "id desc"

    # Shared like the name of a payment.
    name = fields.Char(default=str(uuid4()), readonly=True)
    cycle_id = fields.Many2one("g2p.cycle", readonly=True)
    program_id = fields.Many2one("g2p.program", related="cycle_id.program_id")
    # Beside `batch_id` of the payment, and independent of it: whoever writes one must write the other.
    payment_ids = fields.Many2many("g2p.payment", "g2p_payment_g2p_payment_batch_rel", string="Payments")
    tag_id = fields.Many2one("g2p.payment.batch.tag", "Batch Tag")
    external_batch_ref = fields.Char("External Batch Reference")
    batch_has_started = fields.Boolean()
    batch_has_completed = fields.Boolean()

    # Nobody writes these but `stats_datetime`.
    stats_datetime = fields.Datetime("Stats As Of")
    stats_issued_transactions = fields.Integer("Issued Transactions", readonly=True)
    stats_issued_amount = fields.Float("Issued Amount", readonly=True)
    stats_sent_transactions = fields.Integer("Sent Transactions", readonly=True)
    stats_sent_amount = fields.Float("Sent Amount", readonly=True)
    stats_paid_transactions = fields.Integer("Paid Transactions", readonly=True)
    stats_paid_amount = fields.Float("Paid Amount", readonly=True)
    stats_failed_transactions = fields.Integer("Failed Transactions", readonly=True)
    stats_failed_amount = fields.Float("Failed Amount", readonly=True)

    @api.ondelete(at_uninstall=False)
    def _unlink_not_started(self):
        if any(batch.batch_has_started for batch in self):
            raise UserError(self.env._("A batch that has started cannot be deleted."))

    def unlink(self):
        """Delete batches, with their payments."""
        payments = self.payment_ids
        result = super().unlink()
        payments.unlink()
        return result

    def send_payment(self):
        """Send these batches through the program's payment manager."""
        manager = self.program_id.get_manager(self.env["g2p.program"].MANAGER_PAYMENT)
        return manager.send_payments(self)


class PaymentBatchTag(models.Model):
    _name = "g2p.payment.batch.tag"
    _description = "Payment Batch Tag"
    _order = "order asc"

    name = fields.Char()
    order = fields.Integer()
    domain = fields.Text("Domain of Entitlements", default="[]")
    max_batch_size = fields.Integer(default=500)
