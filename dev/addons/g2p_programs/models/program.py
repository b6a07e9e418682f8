from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.fields import Command

from . import constants

# Field with the managers of each kind. The stand-in has payment managers only: the other kinds have none.
SINGLE_MANAGERS = {
    constants.MANAGER_CYCLE: "cycle_managers",
    constants.MANAGER_PROGRAM: "program_managers",
    constants.MANAGER_ENTITLEMENT: "entitlement_managers",
    constants.MANAGER_PAYMENT: "payment_managers",
}
LISTED_MANAGERS = (
    constants.MANAGER_ELIGIBILITY,
    constants.MANAGER_DEDUPLICATION,
    constants.MANAGER_NOTIFICATION,
)


class Program(models.Model):
    _name = "g2p.program"
    _description = "Program"
    _inherit = ["mail.thread", "mail.activity.mixin", "job.relate.mixin"]
    _order = "id desc"

    MANAGER_ELIGIBILITY = constants.MANAGER_ELIGIBILITY
    MANAGER_CYCLE = constants.MANAGER_CYCLE
    MANAGER_PROGRAM = constants.MANAGER_PROGRAM
    MANAGER_ENTITLEMENT = constants.MANAGER_ENTITLEMENT
    MANAGER_DEDUPLICATION = constants.MANAGER_DEDUPLICATION
    MANAGER_NOTIFICATION = constants.MANAGER_NOTIFICATION
    MANAGER_PAYMENT = constants.MANAGER_PAYMENT

    name = fields.Char(required=True)
    description = fields.Text()
    active = fields.Boolean(default=True)
    company_id = fields.Many2one("res.company", default=lambda self: self.env.company)
    target_type = fields.Selection([("group", "Group"), ("individual", "Individual")], default="group")
    state = fields.Selection([("active", "Active"), ("ended", "Ended")], default="active", readonly=True)
    date_ended = fields.Date()
    journal_id = fields.Many2one(
        "account.journal",
        "Disbursement Journal",
        domain=[("beneficiary_disb", "=", True), ("type", "in", ("bank", "cash"))],
        default=lambda self: self._default_journal_id(),
    )
    locked = fields.Boolean(default=False)
    locked_reason = fields.Char()
    payment_managers = fields.Many2many("g2p.program.payment.manager")

    cycle_ids = fields.One2many("g2p.cycle", "program_id", "Cycles")
    cycles_count = fields.Integer(compute="_compute_cycle_count", store=True)
    program_membership_ids = fields.One2many("g2p.program_membership", "program_id", "Memberships")
    have_members = fields.Boolean(compute="_compute_have_members", store=True)
    beneficiaries_count = fields.Integer(compute="_compute_beneficiary_count")
    eligible_beneficiaries_count = fields.Integer(compute="_compute_beneficiary_count")
    duplicate_membership_count = fields.Integer(compute="_compute_beneficiary_count")

    @api.model
    def _default_journal_id(self):
        # A program manager may not read journals.
        domain = [
            ("beneficiary_disb", "=", True),
            ("type", "in", ("bank", "cash")),
            ("company_id", "=", self.env.company.id),
        ]
        return self.env["account.journal"].sudo().search(domain, limit=1).id

    @api.model_create_multi
    def create(self, vals_list):
        """Create programs, each with the default managers."""
        programs = super().create(vals_list)
        for program in programs:
            program.create_default_managers()
        return programs

    def create_default_managers(self):
        """Give the program a default manager of each kind in `constants.MANAGER_MODELS`."""
        self.ensure_one()
        for field, wrapper_models in constants.MANAGER_MODELS.items():
            for wrapper_model, model in wrapper_models.items():
                manager = self.env[model].create({"name": "Default", "program_id": self.id})
                wrapper = self.env[wrapper_model].create(
                    {"program_id": self.id, "manager_ref_id": f"{model},{manager.id}"}
                )
                self.write({field: [Command.link(wrapper.id)]})

    @api.constrains("payment_managers")
    def check_managers_limit(self):
        """Allow one payment manager: another one replaces it."""
        for program in self:
            if len(program.payment_managers) > 1:
                raise UserError(self.env._("Only one payment manager is allowed."))

    @api.depends("cycle_ids")
    def _compute_cycle_count(self):
        for program in self:
            program.cycles_count = len(program.cycle_ids)

    @api.depends("program_membership_ids")
    def _compute_have_members(self):
        for program in self:
            program.have_members = bool(program.program_membership_ids)

    @api.depends("program_membership_ids.state")
    def _compute_beneficiary_count(self):
        for program in self:
            states = program.program_membership_ids.mapped("state")
            program.beneficiaries_count = len(states)
            program.eligible_beneficiaries_count = states.count("enrolled")
            program.duplicate_membership_count = states.count("duplicated")

    def get_manager(self, kind):
        """Give the program's implementation record for a kind that it has one of, None if there is none.

        :param int kind: one of the constants `MANAGER_*`
        :raise NotImplementedError: a kind that is not known, or that a program has a list of
        """
        self.ensure_one()
        if kind not in SINGLE_MANAGERS:
            raise NotImplementedError(f"manager kind {kind}")
        field = SINGLE_MANAGERS[kind]
        wrapper = self[field] if field in self._fields else None
        if not wrapper:
            return None
        wrapper.ensure_one()
        return wrapper.manager_ref_id

    def get_managers(self, kind):
        """Give the list of managers of a kind that a program has several of: none here.

        :raise NotImplementedError: any other kind
        """
        self.ensure_one()
        if kind not in LISTED_MANAGERS:
            raise NotImplementedError(f"manager kind {kind}")
        return []

    def open_program_form(self):
        """Open the program."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Program"),
            "res_model": "g2p.program",
            "res_id": self.id,
            "view_mode": "form",
        }

    def open_cycles_form(self):
        """Open the list of the program's cycles."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Cycles"),
            "res_model": "g2p.cycle",
            "view_mode": "list,form",
            "domain": [("program_id", "=", self.id)],
            "context": {"default_program_id": self.id},
        }
