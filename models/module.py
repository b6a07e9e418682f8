from odoo import _, models
from odoo.exceptions import UserError

from . import const

MODULE = "g2p_payment_simple_mpesa"


class Module(models.Model):
    _inherit = "ir.module.module"

    def button_uninstall(self):
        """Keep this addon while a payment's fate is open; it is asked before anything is removed.

        :raise UserError: how many payments there are, and what to do.
        """
        if MODULE in (self | self.downstream_dependencies()).mapped("name"):
            self._mpesa_refuse_to_go()
        return super().button_uninstall()

    def _mpesa_refuse_to_go(self):
        """Raise a UserError if a payment is sending, accepted or in doubt: only this addon knows of it."""
        counts = self._mpesa_counts()
        open_states = (const.SENDING, const.ACCEPTED, const.DOUBT)
        if not any(counts.get(state) for state in open_states):
            return
        raise UserError(
            _(
                "M-Pesa payments cannot be uninstalled now. Being sent: %(sending)s; waiting for the"
                " gateway's last word: %(accepted)s; in doubt: %(doubt)s. Without this module nobody could"
                " find out whether these were paid. Refresh their status, let the finance group settle the"
                " doubts, and then uninstall.",
                **{state: counts.get(state, 0) for state in open_states},
            )
        )

    def _mpesa_counts(self):
        """How many payments there are in each state, with what others have committed since we began.

        Apart from where it is told: Odoo 19 reads the language by the first cursor that it finds there.
        """
        with self.env.registry.cursor() as cr:
            cr.execute("SELECT mpesa_state, count(*) FROM g2p_payment GROUP BY mpesa_state")
            return dict(cr.fetchall())
