from odoo import _, api, models
from odoo.exceptions import AccessError, ValidationError

from . import const
from .payment import check_access

MANAGER = "g2p.program.payment.manager.mpesa"


class Program(models.Model):
    _name = "g2p.program"
    _inherit = ["g2p.program", "g2p.mpesa.cycleless.mixin"]

    def _mpesa_manager(self):
        """The M-Pesa manager by which the program pays, or paid last; empty if there is none."""
        managers = self.env[MANAGER].sudo()
        if not self:
            return managers
        self.ensure_one()
        for reference in self.sudo().payment_managers.mapped("manager_ref_id"):
            if reference and reference._name == MANAGER:
                return reference.sudo()
        return managers.search([("program_id", "=", self.id)], order="id desc", limit=1)

    def _mpesa_currency(self):
        """The currency in which the program pays: its journal's, or else its company's."""
        program = self.sudo()
        journal = program.journal_id
        company = journal.company_id or program.company_id
        return journal.currency_id or company.currency_id

    def _mpesa_check_access(self):
        """Refuse whoever may not see these programs, for what follows is done with all rights.

        OpenG2P has a rule on programs alone, and we have ours on payments, batches and what hangs on them: a
        cycle has none, and can be looked at.

        :raise AccessError: one of the programs is of a company that the user does not work in.
        """
        try:
            check_access(self, "read")
        except AccessError:
            raise AccessError(
                _(
                    "These payments are another company's. Change to that company, or leave them to somebody"
                    " who works there."
                )
            ) from None

    @api.constrains("payment_managers")
    def _check_mpesa_payments_keep_their_manager(self):
        """Another manager would take our ready payments for its own, and pay them beside us."""
        for program in self:
            references = program.sudo().payment_managers.mapped("manager_ref_id")
            managers = [
                ref.id for ref in references if ref and ref._name == "g2p.program.payment.manager.mpesa"
            ]
            ready = (
                self.env["g2p.payment"]
                .sudo()
                .search_count(
                    [
                        ("cycle_id.program_id", "=", program.id),
                        ("mpesa_state", "=", const.READY),
                        ("mpesa_manager_id", "not in", managers),
                    ]
                )
            )
            if ready:
                raise ValidationError(
                    _(
                        "Payments of this program that are ready to be sent by its present M-Pesa manager:"
                        " %s. Send, delete or write them off before another manager takes its place.",
                        ready,
                    )
                )
