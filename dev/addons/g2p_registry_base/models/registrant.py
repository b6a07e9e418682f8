import re

from odoo import api, fields, models
from odoo.exceptions import ValidationError
from odoo.tools.mail import single_email_re


class ResPartner(models.Model):
    _inherit = "res.partner"

    is_registrant = fields.Boolean("Registrant")
    is_group = fields.Boolean("Group")
    company_id = fields.Many2one(required=True, default=lambda self: self.env.company)

    family_name = fields.Char()
    given_name = fields.Char()
    addl_name = fields.Char("Additional Name")
    address = fields.Text()
    registration_date = fields.Date(default=fields.Date.today)
    disabled = fields.Datetime("Date Disabled")
    disabled_reason = fields.Text("Reason for Disabling")
    disabled_by = fields.Many2one("res.users")

    phone_number_ids = fields.One2many("g2p.phone.number", "partner_id", "Phone Numbers")
    reg_ids = fields.One2many("g2p.reg.id", "partner_id", "IDs")

    @api.onchange("phone_number_ids")
    def phone_number_ids_change(self):
        """Write the enabled numbers into ``phone``, separated by commas: two numbers give "a,b"."""
        enabled = self.phone_number_ids.filtered(lambda number: not number.disabled)
        self.phone = ",".join(number.phone_no for number in enabled if number.phone_no)

    @api.constrains("email")
    def _check_email(self):
        for partner in self:
            if partner.email and not single_email_re.match(partner.email):
                raise ValidationError(self.env._("%s is not a valid e-mail address.", partner.email))

    @api.constrains("phone")
    def _check_phone(self):
        """Compare with the system parameter ``g2p_registry.phone_regex``, where there is one."""
        regex = self.env["ir.config_parameter"].sudo().get_param("g2p_registry.phone_regex")
        for partner in self:
            if regex and partner.phone and not re.match(regex, partner.phone):
                raise ValidationError(self.env._("%s is not a valid phone number.", partner.phone))
