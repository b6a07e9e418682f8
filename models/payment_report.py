from odoo import fields, models

from . import const


class MpesaPaymentReport(models.Model):
    """Payments with what they are counted by: program, cycle, outcome, reason, day.

    A query and not a table, so that it is always true and costs nothing where nobody looks.
    """

    _name = "g2p.payment.mpesa.report"
    _description = "M-Pesa Payment Analysis"
    _auto = False
    _order = "id desc"
    _rec_name = "payment_id"

    payment_id = fields.Many2one("g2p.payment", readonly=True)
    program_id = fields.Many2one("g2p.program", readonly=True)
    cycle_id = fields.Many2one("g2p.cycle", readonly=True)
    batch_id = fields.Many2one("g2p.payment.batch", "Payment Batch", readonly=True)
    manager_id = fields.Many2one("g2p.program.payment.manager.mpesa", "Payment Manager", readonly=True)
    partner_id = fields.Many2one("res.partner", "Beneficiary", readonly=True)
    company_id = fields.Many2one("res.company", readonly=True)
    currency_id = fields.Many2one("res.currency", readonly=True)
    sender_id = fields.Many2one("res.users", "Sent By", readonly=True)
    outcome = fields.Selection(const.STATES, readonly=True)
    reason = fields.Selection(const.REASONS, readonly=True)
    mode = fields.Selection(const.MODES, readonly=True)
    prepared_on = fields.Datetime("Prepared", readonly=True)
    sent_on = fields.Datetime("Sent", readonly=True)
    paid_on = fields.Datetime("Paid", readonly=True)
    amount = fields.Monetary(readonly=True)
    amount_paid = fields.Monetary(readonly=True)
    difference = fields.Monetary("Open Difference", readonly=True)
    fee = fields.Monetary("Transfer Fee of the Entitlement", readonly=True)

    _depends = {
        "g2p.payment": [
            "cycle_id",
            "batch_id",
            "entitlement_id",
            "mpesa_currency_id",
            "create_date",
            "payment_datetime",
            "amount_issued",
            "amount_paid",
            "payment_fee",
            "mpesa_manager_id",
            "mpesa_sender_id",
            "mpesa_state",
            "mpesa_reason",
            "mpesa_mode",
            "mpesa_sent_at",
        ],
        "g2p.cycle": ["program_id"],
        "g2p.program": ["company_id"],
        "g2p.entitlement": ["partner_id"],
        "res.company": ["currency_id"],
    }

    @property
    def _table_query(self):
        # Outer joins to primary keys: PostgreSQL leaves those out that a question does not need.
        return """
            SELECT p.id, p.id AS payment_id, c.program_id, p.cycle_id, p.batch_id,
                   p.mpesa_manager_id AS manager_id, e.partner_id, g.company_id,
                   coalesce(p.mpesa_currency_id, o.currency_id) AS currency_id,
                   p.mpesa_sender_id AS sender_id,
                   p.mpesa_state AS outcome, p.mpesa_reason AS reason,
                   CASE WHEN p.mpesa_state <> 'ready' THEN p.mpesa_mode END AS mode,
                   p.create_date AS prepared_on, p.mpesa_sent_at AS sent_on,
                   CASE WHEN p.mpesa_state = 'paid' THEN p.payment_datetime END AS paid_on,
                   p.amount_issued AS amount, p.amount_paid, p.payment_fee AS fee,
                   CASE WHEN p.mpesa_state = 'paid' THEN p.amount_issued - p.amount_paid END AS difference
              FROM g2p_payment p
              LEFT JOIN g2p_cycle c ON c.id = p.cycle_id
              LEFT JOIN g2p_program g ON g.id = c.program_id
              LEFT JOIN g2p_entitlement e ON e.id = p.entitlement_id
              LEFT JOIN res_company o ON o.id = g.company_id
             WHERE p.mpesa_state IS NOT NULL
        """

    def action_open_payment(self):
        """Open the payment itself."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "res_model": "g2p.payment",
            "res_id": self.payment_id.id,
            "views": [(False, "form")],
            "view_mode": "form",
        }
