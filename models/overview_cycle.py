from odoo import api, fields, models

from . import const

# The figures of a cycle are the sums of its batches'.
COUNTS = (
    "stats_issued_transactions",
    "stats_paid_transactions",
    "stats_failed_transactions",
    "mpesa_ready_count",
    "mpesa_under_way_count",
    "mpesa_doubt_count",
)
AMOUNTS = (
    "stats_issued_amount",
    "stats_sent_amount",
    "stats_paid_amount",
    "stats_failed_amount",
    "mpesa_doubt_amount",
    "mpesa_short_amount",
    "mpesa_over_amount",
)


class Cycle(models.Model):
    _name = "g2p.cycle"
    _inherit = ["g2p.cycle", "g2p.mpesa.overview.mixin"]

    MPESA_LINK = "cycle_id"

    mpesa_used = fields.Boolean("Paid by M-Pesa", compute="_compute_mpesa_sums")
    mpesa_reason = fields.Selection(const.REASONS, "Why Sending Stopped", compute="_compute_mpesa_sums")
    mpesa_words = fields.Char("The Gateway's Words", compute="_compute_mpesa_sums")
    stats_issued_transactions = fields.Integer("Payments Issued", compute="_compute_mpesa_sums")
    stats_issued_amount = fields.Float("Amount Issued", compute="_compute_mpesa_sums")
    stats_sent_amount = fields.Float("Amount Sent", compute="_compute_mpesa_sums")
    stats_paid_transactions = fields.Integer("Payments Paid", compute="_compute_mpesa_sums")
    stats_paid_amount = fields.Float("Amount Paid", compute="_compute_mpesa_sums")
    stats_failed_transactions = fields.Integer("Payments Refused", compute="_compute_mpesa_sums")
    stats_failed_amount = fields.Float("Amount Refused", compute="_compute_mpesa_sums")
    mpesa_ready_count = fields.Integer("Ready", compute="_compute_mpesa_sums")
    mpesa_under_way_count = fields.Integer("On Their Way", compute="_compute_mpesa_sums")
    mpesa_doubt_count = fields.Integer("In Doubt", compute="_compute_mpesa_sums")
    mpesa_doubt_amount = fields.Float("Amount in Doubt", compute="_compute_mpesa_sums")
    mpesa_short_amount = fields.Float("Open Difference", compute="_compute_mpesa_sums")
    mpesa_over_amount = fields.Float("Paid Too Much", compute="_compute_mpesa_sums")

    @api.depends("payment_batch_ids")
    def _compute_mpesa_sums(self):
        names = [*COUNTS, *AMOUNTS]
        batches = self.env["g2p.payment.batch"]
        ours = [("cycle_id", "in", self.ids), ("mpesa_state", "!=", False)]
        groups = batches._read_group(ours, ["cycle_id"], [f"{name}:sum" for name in names])
        sums = {cycle.id: dict(zip(names, values, strict=True)) for cycle, *values in groups}
        stopped = [*ours, ("mpesa_reason", "!=", False), ("mpesa_ready_count", ">", 0)]
        groups = batches._read_group(stopped, ["cycle_id", "mpesa_reason", "mpesa_words"])
        reasons = {cycle.id: (reason, words) for cycle, reason, words in groups}
        for cycle in self:
            found = sums.get(cycle.id, {})
            cycle.update({name: found.get(name) or 0 for name in names})
            cycle.mpesa_used = bool(found)
            cycle.mpesa_reason, cycle.mpesa_words = reasons.get(cycle.id, (False, False))

    def _mpesa_batches(self):
        return self.payment_batch_ids.filtered("mpesa_state")

    def _mpesa_managers(self):
        """The program's payment manager, where it is one of ours."""
        ours = "g2p.program.payment.manager.mpesa"
        found = {cycle.id: cycle.program_id.payment_managers[:1].manager_ref_id for cycle in self}
        return {
            cycle_id: manager if manager and manager._name == ours else self.env[ours]
            for cycle_id, manager in found.items()
        }
