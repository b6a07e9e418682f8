from odoo import api, fields, models


class ProgramMembership(models.Model):
    _name = "g2p.program_membership"
    _description = "Program Membership"
    _inherit = ["mail.thread", "mail.activity.mixin"]
    _order = "id desc"
    _rec_name = "partner_id"

    partner_id = fields.Many2one(
        "res.partner", "Registrant", required=True, domain=[("is_registrant", "=", True)]
    )
    registrant_id = fields.Integer("Registrant ID", related="partner_id.id")
    program_id = fields.Many2one("g2p.program", required=True)
    state = fields.Selection(
        [
            ("draft", "Draft"),
            ("enrolled", "Enrolled"),
            ("paused", "Paused"),
            ("exited", "Exited"),
            ("not_eligible", "Not Eligible"),
            ("duplicated", "Duplicated"),
        ],
        default="draft",
    )
    enrollment_date = fields.Datetime(compute="_compute_enrolled_date", store=True)
    exit_date = fields.Date()
    last_deduplication = fields.Date()
    deduplication_status = fields.Selection(
        [
            ("new", "New"),
            ("processing", "Processing"),
            ("verified", "Verified"),
            ("duplicated", "Duplicated"),
        ],
        default="new",
    )
    delivery_mechanism_value = fields.Char()

    @api.depends("state")
    def _compute_enrolled_date(self):
        for membership in self:
            if membership.enrollment_date or membership.state != "enrolled":
                membership.enrollment_date = membership.enrollment_date
            else:
                membership.enrollment_date = fields.Datetime.now()
