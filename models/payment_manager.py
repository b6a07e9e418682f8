from odoo import api, models


class PaymentManager(models.Model):
    _inherit = "g2p.program.payment.manager"

    @api.model
    def _selection_manager_ref_id(self):
        selection = super()._selection_manager_ref_id()
        choice = ("g2p.program.payment.manager.mpesa", "M-Pesa")
        return selection if choice in selection else [*selection, choice]
