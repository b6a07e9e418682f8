from odoo import api, fields, models


class G2PPhoneNumber(models.Model):
    _name = "g2p.phone.number"
    _description = "Phone Number"
    _order = "id desc"
    _rec_name = "phone_no"

    partner_id = fields.Many2one("res.partner", "Registrant", required=True)
    phone_no = fields.Char("Phone Number", required=True)
    phone_sanitized = fields.Char(compute="_compute_phone_sanitized", store=True)
    date_collected = fields.Date(default=fields.Date.today)
    disabled = fields.Datetime("Date Disabled")
    disabled_by = fields.Many2one("res.users")
    country_id = fields.Many2one("res.country")

    @api.depends("phone_no", "country_id")
    def _compute_phone_sanitized(self):
        """Give the number in E.164; a number that is none raises UserError, as in OpenG2P.

        Without a country, the company's is taken.
        """
        for number in self:
            number.phone_sanitized = number.phone_no and number._phone_format(
                number=number.phone_no, country=number.country_id, raise_exception=True
            )
