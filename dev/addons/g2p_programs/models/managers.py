"""What every manager is made of: a wrapper with a reference, and the implementation it refers to."""

from odoo import api, fields, models
from odoo.tools.safe_eval import datetime, dateutil, safe_eval, time

from . import constants


class ManagerMixin(models.AbstractModel):
    _name = "g2p.manager.mixin"
    _description = "Manager Data Model Mixin"

    manager_id = fields.Integer("Manager ID")
    manager_ref_id = fields.Reference(selection="_selection_manager_ref_id", string="Manager", required=True)

    @api.model
    def _selection_manager_ref_id(self):
        """Give the implementations to choose from: a list of (model name, label), for addons to extend."""
        return []

    def open_manager_form(self):
        """Open the implementation record in a dialog."""
        self.ensure_one()
        manager = self.manager_ref_id
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Manager"),
            "res_model": manager._name,
            "res_id": manager.id,
            "view_mode": "form",
            "view_id": manager.get_manager_view_id(),
            "target": "new",
        }


class ManagerSourceMixin(models.AbstractModel):
    _name = "g2p.manager.source.mixin"
    _description = "Manager Data Source Mixin"

    def unlink(self):
        """Delete the implementations, and the wrappers that refer to them."""
        wrappers = [self.get_managers_for_unlink(f"{manager._name},{manager.id}") for manager in self]
        result = super().unlink()
        for wrapper in wrappers:
            wrapper.unlink()
        return result

    def get_managers_for_unlink(self, reference):
        """Give the wrapper of an implementation, named as "model,id"."""
        for wrapper_models in constants.MANAGER_MODELS.values():
            for model in wrapper_models:
                if wrapper := self.env[model].search([("manager_ref_id", "=", reference)]):
                    return wrapper
        return self.env["g2p.program.payment.manager"]

    def get_manager_view_id(self):
        """Give the id of the model's first form view, by priority."""
        domain = [("model", "=", self._name), ("type", "=", "form")]
        return self.env["ir.ui.view"].sudo().search(domain, order="priority, id", limit=1).id


class BaseProgramsManager(models.AbstractModel):
    _name = "base.programs.manager"
    _description = "Base Programs Manager"

    @api.model
    def _get_eval_context(self):
        return {
            "datetime": datetime,
            "dateutil": dateutil,
            "time": time,
            "uid": self.env.uid,
            "user": self.env.user,
        }

    @api.model
    def _safe_eval(self, string, locals_dict=None):
        """Evaluate a domain or another expression that somebody typed in."""
        return safe_eval(string, {**self._get_eval_context(), **(locals_dict or {})})
