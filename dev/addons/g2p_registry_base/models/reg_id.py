from odoo import fields, models


class G2PIDType(models.Model):
    _name = "g2p.id.type"
    _description = "ID Type"
    _order = "name ASC"

    name = fields.Char()
    id_validation = fields.Char("ID Validation")


class G2PRegistrantID(models.Model):
    _name = "g2p.reg.id"
    _description = "Registrant ID"
    _order = "id desc"
    _rec_name = "value"

    partner_id = fields.Many2one("res.partner", "Registrant", required=True)
    id_type = fields.Many2one("g2p.id.type", "ID Type", required=True)
    id_type_as_str = fields.Char(related="id_type.name", string="ID Type Name")
    value = fields.Char(size=100)
    status = fields.Selection([("invalid", "Invalid"), ("valid", "Valid")])
    expiry_date = fields.Date()
    description = fields.Char()

    _one_of_a_type = models.Constraint(
        "UNIQUE(partner_id, id_type)",
        "A registrant can have one ID of each type.",
    )
