from odoo import _, fields, models
from odoo.exceptions import AccessError

from . import const, figures
from .inside import job_uuid
from .payment import check_access
from .reconciliation import Reconciliation, file_name


class Cycle(models.Model):
    _inherit = "g2p.cycle"

    mpesa_locked = fields.Boolean(readonly=True, copy=False, help="Locked by our jobs, and freed after them.")

    def _compute_show_approve_entitlement(self):
        """Whether nothing waits for approval: a question to the database, for a form of many people.

        OpenG2P reads all entitlements of the cycle each time its form is opened: five seconds at 100,000.
        """
        for cycle in self:
            waiting = [("cycle_id", "=", cycle.id), ("state", "!=", "approved")]
            cycle.show_approve_entitlements_button = not self.env["g2p.entitlement"].search(waiting, limit=1)

    def _mpesa_lock(self, reason):
        self.sudo().write({"locked": True, "locked_reason": reason, "mpesa_locked": True})

    def _mpesa_unlock(self):
        """Free the cycle if it was locked by us and no payment of it is on its way to the gateway."""
        self.flush_recordset()
        own_job = job_uuid(self.env) or ""
        self.env.cr.execute(
            """
            UPDATE g2p_cycle c SET locked = false, locked_reason = NULL, mpesa_locked = false
             WHERE c.id = ANY(%s) AND c.mpesa_locked
               AND NOT EXISTS (SELECT 1 FROM g2p_payment p JOIN g2p_payment_batch b ON b.id = p.batch_id
                                WHERE b.cycle_id = c.id AND p.mpesa_state = 'sending')
               AND NOT EXISTS (SELECT 1 FROM queue_job j JOIN g2p_payment_batch b ON b.cycle_id = c.id
                                WHERE j.state IN ('wait_dependencies', 'pending', 'enqueued', 'started')
                                  AND j.uuid <> %s AND j.identity_key LIKE 'mpesa-send-' || b.id || '-%%')
               AND NOT EXISTS (SELECT 1 FROM queue_job j
                                WHERE j.state IN ('wait_dependencies', 'pending', 'enqueued', 'started')
                                  AND j.uuid <> %s AND j.identity_key LIKE 'mpesa-prepare-' || c.id || '-%%')
            """,
            [self.ids, own_job, own_job],
        )
        self.invalidate_recordset()

    def _mpesa_differences(self):
        """Of these cycles' paid payments, those that were not paid as they were issued.

        :return: number and amount of what was paid too little, and of what was paid too much.
        """
        self.env.flush_all()
        self.env.cr.execute(
            f"""
            SELECT count(*) FILTER (WHERE p.amount_paid < p.amount_issued),
                   coalesce(sum(greatest(p.amount_issued - p.amount_paid, 0)), 0)::float,
                   count(*) FILTER (WHERE p.amount_paid > p.amount_issued),
                   coalesce(sum(greatest(p.amount_paid - p.amount_issued, 0)), 0)::float
              FROM g2p_payment p WHERE p.cycle_id = ANY(%s) AND {figures.DIFFERS}
            """,
            [self.ids],
        )
        return self.env.cr.fetchone()

    def _mpesa_not_prepared(self):
        """Number and amount of the approved entitlements of these cycles for which no payment was ever made.

        They were approved after the others were prepared, or no batch tag takes them.
        """
        self.env.flush_all()
        self.env.cr.execute(
            "SELECT count(*), coalesce(sum(initial_amount), 0) FROM g2p_entitlement e"
            " WHERE cycle_id = ANY(%s) AND state = 'approved'"
            " AND NOT EXISTS (SELECT FROM g2p_payment p WHERE p.entitlement_id = e.id)",
            [self.ids],
        )
        return self.env.cr.fetchone()

    def _mpesa_reconciliation(self):
        """The cycle's :class:`Reconciliation`, noted in the cycle's chatter.

        :raise AccessError: neither finance validator nor administrator, or of another company. Others may
            look at payments one by one; a file with all payees of a cycle is for whoever reconciles it.
        """
        self.ensure_one()
        user = self.env.user
        if not (user.has_group(const.FINANCE) or user.has_group(const.ADMIN)):
            raise AccessError(_("The payees of a whole cycle are exported by people of the finance group."))
        check_access(self.env["g2p.payment"], "read")
        self.sudo().program_id.with_env(self.env)._mpesa_check_access()
        self.sudo()._message_log(
            body=_("%s has exported the payments for reconciliation.", user.name),
            author_id=user.partner_id.id,
        )
        return Reconciliation(self)

    def _mpesa_reconciliation_head(self, zone):
        return [
            _("Reference"),
            _("Batch"),
            _("Beneficiary"),
            _("Payee"),
            _("Amount"),
            _("Currency"),
            _("Outcome"),
            _("Reason"),
            _("Note"),
            _("Receipt"),
            _("Sent (%s)", zone),
            _("Paid (%s)", zone),
            _("Amount Paid"),
            _("Transfer Fee of the Entitlement"),
            _("Mode"),
            _("Open Difference"),
        ]

    def _mpesa_file_name(self, ending):
        """Such as ``Cash transfers - January.csv``, of characters that any disk takes."""
        return file_name(self, f"{self.sudo().program_id.name} - {self.name}", ending)
