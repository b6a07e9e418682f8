from odoo import fields, models


class ExplainWizard(models.TransientModel):
    """What lines of a statement are that are about no payment here."""

    _name = "g2p.payment.mpesa.explain.wizard"
    _description = "Explain Lines of an M-Pesa Statement"

    line_ids = fields.Many2many(
        "g2p.payment.mpesa.statement.line",
        "g2p_payment_mpesa_explain_line_rel",
        string="Lines",
        required=True,
    )
    reason = fields.Char(
        "What They Are", required=True, help="For example: rent of the office, paid by hand on the portal."
    )

    def action_explain(self):
        """Keep the reason, with who gave it.

        :raise AccessError: not a person of the finance group.
        :raise UserError: one of the lines is about a payment.
        """
        self.ensure_one()
        self.line_ids._explain(self.reason)
        return {"type": "ir.actions.act_window_close"}
