from odoo import fields, models


class Program(models.Model):
    _inherit = "g2p.program"

    is_cycleless = fields.Boolean()
    default_active_cycle = fields.Many2one("g2p.cycle", compute="_compute_default_active_cycle")

    def _compute_default_active_cycle(self):
        open_states = ("draft", "to_approve", "approved")
        for program in self:
            cycles = program.cycle_ids.filtered(lambda cycle: cycle.state in open_states)
            program.default_active_cycle = cycles.sorted("start_date", reverse=True)[:1]
