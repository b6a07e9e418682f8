"""With OpenG2P's addon ``g2p_program_cycleless``, a program shows no cycles: it is paid from its own page."""

from odoo import _, api, fields, models
from odoo.exceptions import UserError


class MpesaCycleless(models.AbstractModel):
    """That addon shows its own buttons for a list of payment managers, in which ours is not.

    It is not needed: where its fields are not there, nothing is shown.
    """

    _name = "g2p.mpesa.cycleless.mixin"
    _description = "M-Pesa: Program without Visible Cycles"

    mpesa_without_cycles = fields.Boolean(compute="_compute_mpesa_without_cycles", compute_sudo=True)

    @api.depends("payment_managers", "state")
    def _compute_mpesa_without_cycles(self):
        for program in self:
            manager = program.payment_managers[:1].manager_ref_id
            program.mpesa_without_cycles = (
                bool(program._mpesa_open_cycle())
                and program.state == "active"
                and bool(manager)
                and manager._name == "g2p.program.payment.manager.mpesa"
                # Should that addon know our manager one day.
                and not ("show_send_payments_button" in self._fields and program.show_send_payments_button)
            )

    def _mpesa_open_cycle(self):
        """The cycle of a program that shows none; empty where it does, or has no open one."""
        is_cycleless = "is_cycleless" in self._fields and "default_active_cycle" in self._fields
        if not is_cycleless or not self.is_cycleless:
            return self.env["g2p.cycle"]
        return self.default_active_cycle

    def _mpesa_require_open_cycle(self):
        self.ensure_one()
        cycle = self._mpesa_open_cycle()
        if not cycle:
            raise UserError(_("This program has no open cycle to pay from."))
        return cycle

    def action_mpesa_prepare(self):
        """As Prepare Payments on the program's open cycle.

        :raise UserError: there is none.
        """
        return self._mpesa_require_open_cycle().prepare_payment()

    def action_mpesa_send(self):
        """As Send Payments on the program's open cycle: the dialogue that asks first.

        :raise UserError: there is none.
        """
        return self._mpesa_require_open_cycle().send_payment()

    def action_mpesa_progress(self):
        """The page of the program's open cycle: how far its payments are, and what needs somebody.

        :raise UserError: there is none.
        """
        cycle = self._mpesa_require_open_cycle()
        return {
            "type": "ir.actions.act_window",
            "res_model": cycle._name,
            "res_id": cycle.id,
            "view_mode": "form",
            "views": [(self.env.ref("g2p_programs.view_cycle_form").id, "form")],
        }
