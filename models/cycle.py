from odoo import fields, models


class Cycle(models.Model):
    _inherit = "g2p.cycle"

    mpesa_locked = fields.Boolean(readonly=True, copy=False, help="Locked by our jobs, and freed after them.")

    def _mpesa_lock(self, reason):
        self.sudo().write({"locked": True, "locked_reason": reason, "mpesa_locked": True})

    def _mpesa_unlock(self):
        """Free the cycle if it was locked by us and no payment of it is on its way to the gateway."""
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
                                  AND j.identity_key LIKE 'mpesa-prepare-' || c.id || '-%%')
            """,
            [self.ids, self.env.context.get("job_uuid") or ""],
        )
        self.invalidate_recordset()
