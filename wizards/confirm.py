from odoo import _, api, fields, models
from odoo.exceptions import AccessError, UserError

from ..models import const, place


class ConfirmWizard(models.TransientModel):
    """An administrator confirms what only a person can know: which database sends, and whose word counts."""

    _name = "g2p.payment.mpesa.confirm.wizard"
    _description = "Confirm an M-Pesa Payment Manager"

    manager_id = fields.Many2one("g2p.program.payment.manager.mpesa", readonly=True, required=True)
    kind = fields.Selection([("place", "Database"), ("setup", "Set-up")], readonly=True, required=True)
    shown = fields.Char(readonly=True)
    what = fields.Char("What Has Changed", readonly=True)
    count = fields.Integer("Open Payments", readonly=True)
    changed_by_id = fields.Many2one("res.users", readonly=True)
    is_sure = fields.Boolean("I have read this, and know that it is so")

    @api.model
    def _open(self, manager, kind):
        """A dialogue about one manager.

        :raise AccessError: not an administrator.
        """
        self._require_admin()
        moved = manager._mpesa_moved() if kind == "place" else []
        wizard = self.create(
            {
                "manager_id": manager.id,
                "kind": kind,
                "shown": self._now(manager, kind),
                "what": manager._mpesa_place_words(moved),
                "count": manager.not_asked_count,
                "changed_by_id": manager.setup_changed_by_id.id,
            }
        )
        return {
            "type": "ir.actions.act_window",
            "name": _("Send from This Database") if kind == "place" else _("Ask at the New Addresses"),
            "res_model": self._name,
            "res_id": wizard.id,
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
        }

    def action_confirm(self):
        """Confirm it.

        :raise AccessError: not an administrator.
        :raise UserError: the box is not ticked, or it has changed since.
        """
        self.ensure_one()
        self._require_admin()
        if not self.is_sure:
            raise UserError(_("Read it, and tick the box, if it is so."))
        if self.kind == "place":
            self.manager_id._mpesa_confirm_place(self.shown)
        elif self.shown != self._now(self.manager_id, self.kind):
            raise UserError(_("The addresses were changed again since this was shown. Look at them again."))
        else:
            self.manager_id._mpesa_confirm_setup()
        return {"type": "ir.actions.client", "tag": "soft_reload"}

    @api.model
    def _now(self, manager, kind):
        return place.as_text(place.here(self.env.cr)) if kind == "place" else manager._mpesa_gateway()

    def _require_admin(self):
        if not self.env.user.has_group(const.ADMIN):
            raise AccessError(_("Only an administrator confirms this."))
