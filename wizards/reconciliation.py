from odoo import api, fields, models

from ..models import const


class ReconciliationWizard(models.TransientModel):
    """What became of a cycle, and the files by which finance reconciles it."""

    _name = "g2p.payment.mpesa.reconciliation"
    _description = "Reconcile an M-Pesa Cycle"
    _rec_name = "cycle_id"

    program_id = fields.Many2one("g2p.program", required=True)
    cycle_id = fields.Many2one("g2p.cycle", required=True, domain="[('program_id', '=', program_id)]")
    currency_id = fields.Many2one("res.currency", compute="_compute_totals")
    test_count = fields.Integer("Sent in Test Mode", compute="_compute_totals")
    not_prepared_count = fields.Integer("Not Prepared", compute="_compute_totals")
    count = fields.Integer("Payments", compute="_compute_totals")
    amount = fields.Monetary(compute="_compute_totals")
    paid_count = fields.Integer("Paid", compute="_compute_totals")
    paid_amount = fields.Monetary(compute="_compute_totals")
    short_count = fields.Integer("Paid Too Little", compute="_compute_totals")
    short_amount = fields.Monetary("Open Difference", compute="_compute_totals")
    over_count = fields.Integer("Paid Too Much", compute="_compute_totals")
    over_amount = fields.Monetary("Difference Paid Too Much", compute="_compute_totals")
    refused_count = fields.Integer("Refused", compute="_compute_totals")
    refused_amount = fields.Monetary(compute="_compute_totals")
    doubt_count = fields.Integer("In Doubt", compute="_compute_totals")
    doubt_amount = fields.Monetary("Amount in Doubt", compute="_compute_totals")
    under_way_count = fields.Integer("On Its Way", compute="_compute_totals")
    under_way_amount = fields.Monetary("Amount on Its Way", compute="_compute_totals")
    ready_count = fields.Integer("Not Sent", compute="_compute_totals")
    ready_amount = fields.Monetary("Amount Not Sent", compute="_compute_totals")

    # Each line of the dialogue: the states that it adds up.
    LINES = {
        "paid": {const.PAID},
        "refused": {const.REFUSED},
        "doubt": {const.DOUBT},
        "under_way": {const.SENDING, const.ACCEPTED},
        "ready": {const.READY},
    }

    @api.model
    def default_get(self, fields_list):
        values = super().default_get(fields_list)
        if self.env.context.get("active_model") == "g2p.cycle":
            values["cycle_id"] = self.env.context.get("active_id")
        elif "cycle_id" in fields_list and not values.get("cycle_id"):
            values["cycle_id"] = self._last_paid([]).id
        cycle = self.env["g2p.cycle"].browse(values.get("cycle_id")).exists()
        if cycle:
            values["program_id"] = cycle.program_id.id
        return values

    @api.onchange("program_id")
    def _onchange_program_id(self):
        """The cycle that was paid last is mostly the one that is meant."""
        if self.cycle_id.program_id == self.program_id:
            return
        self.cycle_id = self._last_paid([("cycle_id.program_id", "=", self.program_id.id)])

    def _last_paid(self, domain):
        # Programs of other companies are none of theirs.
        mine = self.env["g2p.program"].search([("id", "!=", False)])
        domain = [*domain, ("mpesa_state", "!=", False), ("cycle_id.program_id", "in", mine.ids)]
        return self.env["g2p.payment"].search(domain, order="id desc", limit=1).cycle_id

    @api.depends("cycle_id")
    def _compute_totals(self):
        for wizard in self:
            groups = self.env["g2p.payment"]._read_group(
                [("cycle_id", "=", wizard.cycle_id.id), ("mpesa_state", "!=", False)],
                ["mpesa_state"],
                ["__count", "amount_issued:sum", "amount_paid:sum"],
            )
            # What was paid is what the gateway has paid.
            groups = [
                (state, count, paid if state == const.PAID else issued)
                for state, count, issued, paid in groups
            ]
            for name, states in self.LINES.items():
                own = [(count, amount) for state, count, amount in groups if state in states]
                wizard[f"{name}_count"] = sum(count for count, _amount in own)
                wizard[f"{name}_amount"] = sum(amount for _count, amount in own)
            differences = wizard.cycle_id.sudo()._mpesa_differences()
            wizard.short_count, wizard.short_amount, wizard.over_count, wizard.over_amount = differences
            wizard.not_prepared_count = wizard.cycle_id.sudo()._mpesa_not_prepared()[0]
            wizard.test_count = self.env["g2p.payment"].search_count(
                [
                    ("cycle_id", "=", wizard.cycle_id.id),
                    ("mpesa_mode", "=", const.TEST),
                    ("mpesa_state", "!=", const.READY),
                ]
            )
            wizard.count = sum(count for _state, count, _amount in groups)
            # All that was issued.
            wizard.amount = sum(amount for _state, _count, amount in groups)
            wizard.amount += wizard.short_amount - wizard.over_amount
            wizard.currency_id = wizard.cycle_id.sudo().mpesa_currency_id

    def action_export_csv(self):
        return self._download("csv")

    def action_export_xlsx(self):
        return self._download("xlsx")

    def action_print_signoff(self):
        """The page that is signed when the cycle is closed."""
        self.ensure_one()
        return self.env.ref("g2p_payment_simple_mpesa.action_report_signoff").report_action(self.cycle_id)

    def _download(self, ending):
        self.ensure_one()
        return {
            "type": "ir.actions.act_url",
            "url": f"/g2p_mpesa/reconciliation/{self.cycle_id.id}/{ending}",
            "target": "self",
        }

    def action_open_payments(self):
        """The payments of the line whose button was clicked.

        The context's ``mpesa_line`` names it: a key of ``LINES``.
        """
        self.ensure_one()
        line = self.env.context.get("mpesa_line")
        return {
            "type": "ir.actions.act_window",
            "name": self.cycle_id.name,
            "res_model": "g2p.payment",
            "views": [(False, "list"), (False, "form")],
            "view_mode": "list,form",
            "domain": [
                ("cycle_id", "=", self.cycle_id.id),
                ("mpesa_state", "in", sorted(self.LINES.get(line) or dict(const.STATES))),
            ],
            "context": {"create": False},
        }
