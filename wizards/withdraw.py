from odoo import api, fields, models


class WithdrawWizard(models.TransientModel):
    """What rests on the comparison of a statement, before a person takes it back."""

    _name = "g2p.payment.mpesa.withdraw.wizard"
    _description = "Withdraw the Comparison of an M-Pesa Statement"

    statement_id = fields.Many2one("g2p.payment.mpesa.statement", required=True)
    settled_ids = fields.Many2many(
        "g2p.payment", string="Settled as Paid by It", compute="_compute_what_rests_on_it"
    )
    settled_count = fields.Integer("Settled as Paid", compute="_compute_what_rests_on_it")
    not_paid_count = fields.Integer("Settled as Not Paid Since", compute="_compute_what_rests_on_it")
    by_others = fields.Boolean(compute="_compute_what_rests_on_it")
    reason = fields.Char(required=True, help="For example: the column of amounts was the wrong one.")

    @api.depends("statement_id")
    def _compute_what_rests_on_it(self):
        for wizard in self:
            statement = wizard.statement_id.sudo()
            payments, people = statement._settled_by_it() if statement else (self.env["g2p.payment"], ())
            wizard.settled_ids = payments.with_env(self.env)
            wizard.settled_count = len(payments)
            wizard.not_paid_count = len(statement._not_paid_since()) if statement else 0
            mine = statement and self.env.user in people | statement.compared_by_id
            wizard.by_others = bool(payments and mine)

    def action_withdraw(self):
        """Take the comparison back.

        :raise AccessError: not a person of the finance group.
        :raise UserError: it has settled something, and this person had a part in it.
        """
        self.ensure_one()
        self.statement_id._withdraw(self.reason)
        return {"type": "ir.actions.act_window_close"}
