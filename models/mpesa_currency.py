"""In which currency a gateway pays, and what is not sent because a program has another one."""

from odoo import _, api, fields, models


class MpesaCurrency(models.AbstractModel):
    _name = "g2p.mpesa.currency.mixin"
    _description = "M-Pesa Payment Manager: Currency"

    gateway_currency_id = fields.Many2one(
        "res.currency",
        "Currency of the Gateway",
        tracking=True,
        default=lambda self: self.env.ref("base.KES", raise_if_not_found=False),
        help="In which currency the gateway pays, by its operator's word, e.g. KES. It is told a number,"
        " and no currency: payments of a program with another one are not sent.",
    )
    program_currency_id = fields.Many2one(
        "res.currency", "Currency of the Program", compute="_compute_program_currency", compute_sudo=True
    )
    currency_differs = fields.Boolean(compute="_compute_program_currency", compute_sudo=True)

    @api.depends(
        "gateway_currency_id", "program_id.journal_id.currency_id", "program_id.company_id.currency_id"
    )
    def _compute_program_currency(self):
        for manager in self:
            currency = manager.program_id._mpesa_currency() if manager.program_id else False
            manager.program_currency_id = currency
            manager.currency_differs = manager._mpesa_is_other_currency(currency and currency.id)

    def _mpesa_is_other_currency(self, currency_id):
        """Whether an amount in this currency is not what the gateway would pay.

        :param currency_id: an id, or nothing where it is not known.
        """
        own = self.gateway_currency_id.id
        return bool(own and currency_id and own != currency_id)

    def _mpesa_currency_sentence(self):
        return _(
            "Nothing is sent: %(program)s pays in %(currency)s, and the gateway in %(gateway)s. Correct the"
            " journal or the company of the program, or the currency of the gateway.",
            program=self.program_id.name,
            currency=self.program_currency_id.name,
            gateway=self.gateway_currency_id.name,
        )

    def _init_column(self, column_name):
        """Those that there were before pay in the currency of their programs, as they did."""
        if column_name != "gateway_currency_id":
            return super()._init_column(column_name)
        self.env.cr.execute(
            f"""
            UPDATE {self._table} m SET gateway_currency_id = coalesce(j.currency_id, o.currency_id)
              FROM g2p_program g
              LEFT JOIN account_journal j ON j.id = g.journal_id
              LEFT JOIN res_company o ON o.id = coalesce(j.company_id, g.company_id)
             WHERE g.id = m.program_id AND m.gateway_currency_id IS NULL
            """
        )
        return None
