from odoo import api, fields, models

from . import const, statement_facts


class PaymentBatch(models.Model):
    _name = "g2p.payment.batch"
    _inherit = ["g2p.payment.batch", "g2p.mpesa.overview.mixin"]

    MPESA_LINK = "batch_id"

    mpesa_used = fields.Boolean("Paid by M-Pesa", compute="_compute_mpesa_used")
    mpesa_payment_count = fields.Integer("Number of Payments", compute="_compute_mpesa_payment_count")

    @api.depends("mpesa_state")
    def _compute_mpesa_used(self):
        for batch in self:
            batch.mpesa_used = bool(batch.mpesa_state)

    @api.depends("stats_issued_transactions", "mpesa_state")
    def _compute_mpesa_payment_count(self):
        """Not of ``payment_ids``, which would be read, each of them."""
        others = self.filtered(lambda batch: not batch.mpesa_state)
        domain = [("batch_id", "in", others.ids)]
        groups = self.env["g2p.payment"]._read_group(domain, ["batch_id"], ["__count"]) if others else ()
        counts = {batch.id: count for batch, count in groups}
        for batch in self:
            batch.mpesa_payment_count = counts.get(batch.id) or batch.stats_issued_transactions

    def _mpesa_batches(self):
        return self

    def _mpesa_managers(self):
        self.env.cr.execute(
            "SELECT b.id, (SELECT p.mpesa_manager_id FROM g2p_payment p"
            "               WHERE p.batch_id = b.id AND p.mpesa_manager_id IS NOT NULL LIMIT 1)"
            "  FROM g2p_payment_batch b WHERE b.id = ANY(%s)",
            [self.ids],
        )
        managers = self.env["g2p.program.payment.manager.mpesa"]
        return {
            batch_id: managers.browse(manager_id or ()) for batch_id, manager_id in self.env.cr.fetchall()
        }

    def _mpesa_refused_for_now(self):
        """Refused payments of people whose entitlements are approved still, and who are not prepared again.

        :return: a dict of those that pass by themselves (``const.AGAIN``), and those of which somebody is to
            correct something first (``const.CORRECT``).
        """
        self.env.cr.execute(
            "SELECT p.id, CASE WHEN p.mpesa_allowed_again THEN 'failed_later' ELSE p.mpesa_reason END"
            "  FROM g2p_payment p JOIN g2p_entitlement e ON e.id = p.entitlement_id"
            " WHERE p.batch_id = ANY(%s) AND p.mpesa_state = 'refused' AND e.state = 'approved'"
            f"   AND NOT {statement_facts.shown_as_paid('p')} AND NOT {statement_facts.not_understood('p')}"
            "   AND NOT EXISTS ("
            "       SELECT 1 FROM g2p_payment later"
            "        WHERE later.entitlement_id = p.entitlement_id AND later.id > p.id)",
            [self.ids],
        )
        ids = {const.AGAIN: [], const.CORRECT: [], None: []}
        for payment_id, reason in self.env.cr.fetchall():
            ids[const.REFUSED_FOR.get(reason, const.CORRECT)].append(payment_id)
        return {kind: self.env["g2p.payment"].browse(ids[kind]) for kind in (const.AGAIN, const.CORRECT)}

    def _mpesa_payments_action(self, name, domain):
        """A paged list of those of the batches' payments that match."""
        action = self.env["ir.actions.actions"]._for_xml_id("g2p_programs.action_payment")
        return {
            **action,
            "name": name,
            "display_name": name,
            "domain": [("batch_id", "in", self.ids), *domain],
            "context": {"create": False, "mpesa_one_batch": len(self) == 1},
            "target": "current",
        }
