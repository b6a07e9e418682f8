"""What people see of a batch or a cycle: how far it is, and what needs somebody."""

from odoo import _, api, fields, models

from . import const
from .notify import notification
from .payment import may_send

# What a smart button opens: the states, and whether what is held back belongs to it.
SHOWN = {
    "paid": [("mpesa_state", "=", const.PAID)],
    "under_way": [("mpesa_state", "in", (const.SENDING, const.ACCEPTED))],
    "doubt": [("mpesa_state", "=", const.DOUBT)],
    "refused": [("mpesa_state", "=", const.REFUSED)],
    "ready": [("mpesa_state", "=", const.READY)],
    "held": [("mpesa_state", "=", const.READY), ("mpesa_reason", "in", tuple(const.HELD))],
    "all": [],
}
# The parts of the progress bar in their order: name, field with the number, Bootstrap's colour.
PARTS = (
    ("paid", "stats_paid_transactions", "success"),
    ("under_way", "mpesa_under_way_count", "info"),
    ("doubt", "mpesa_doubt_count", "warning"),
    ("refused", "stats_failed_transactions", "danger"),
)


class MpesaOverview(models.AbstractModel):
    """For batches, whose figures are stored, and cycles, whose are the sums of their batches'."""

    _name = "g2p.mpesa.overview.mixin"
    _description = "M-Pesa Payments: Overview"

    mpesa_currency_id = fields.Many2one(
        "res.currency", "Currency of the Payments", compute="_compute_mpesa_manager", compute_sudo=True
    )
    mpesa_mode = fields.Selection(
        [("test", "Test"), ("live", "Live")], "Mode", compute="_compute_mpesa_manager", compute_sudo=True
    )
    mpesa_gateway_name = fields.Char("Gateway", compute="_compute_mpesa_manager", compute_sudo=True)
    mpesa_can_ask = fields.Boolean(compute="_compute_mpesa_manager", compute_sudo=True)
    mpesa_no_send = fields.Boolean("Not to Be Sent by the User", compute="_compute_mpesa_no_send")
    mpesa_ready_amount = fields.Float("Amount Ready", compute="_compute_mpesa_amounts")
    mpesa_under_way_amount = fields.Float("Amount on Its Way", compute="_compute_mpesa_amounts")
    mpesa_progress = fields.Json("Progress", compute="_compute_mpesa_progress")
    mpesa_held_count = fields.Integer("Cannot Be Paid", compute="_compute_mpesa_to_do")
    mpesa_again_count = fields.Integer("Refused, and Not Prepared Again", compute="_compute_mpesa_to_do")

    def _mpesa_batches(self):
        """The batches whose payments these are."""
        raise NotImplementedError

    def _mpesa_managers(self):
        """From the id of each of these records to the M-Pesa manager that sends its payments."""
        raise NotImplementedError

    def _compute_mpesa_manager(self):
        managers = self._mpesa_managers()
        for record in self:
            manager = managers.get(record.id) or self.env["g2p.program.payment.manager.mpesa"]
            record.mpesa_mode = manager.mode
            record.mpesa_gateway_name = manager.name
            record.mpesa_can_ask = bool(manager.status_endpoint_url)
            record.mpesa_currency_id = record.program_id.journal_id.currency_id

    @api.depends_context("uid")
    def _compute_mpesa_no_send(self):
        managers = {} if may_send(self.env) else self.sudo()._mpesa_managers()
        for record in self:
            record.mpesa_no_send = bool(managers.get(record.id))

    @api.depends(
        "stats_issued_amount",
        "stats_sent_amount",
        "stats_paid_amount",
        "stats_failed_amount",
        "mpesa_doubt_amount",
    )
    def _compute_mpesa_amounts(self):
        for record in self:
            record.mpesa_ready_amount = record.stats_issued_amount - record.stats_sent_amount
            ended = record.stats_paid_amount + record.stats_failed_amount + record.mpesa_doubt_amount
            # The earlier module paid less than it had issued.
            record.mpesa_under_way_amount = (
                max(record.stats_sent_amount - ended, 0) if record.mpesa_under_way_count else 0
            )

    @api.depends(
        "stats_issued_transactions", "mpesa_ready_count", *(field for _name, field, _colour in PARTS)
    )
    def _compute_mpesa_progress(self):
        labels = self._mpesa_part_labels()
        for record in self:
            total = record.stats_issued_transactions
            through = record.stats_paid_transactions + record.stats_failed_transactions
            parts = [
                {"name": name, "label": labels[name], "count": record[field], "colour": colour}
                for name, field, colour in PARTS
                if record[field]
            ]
            record.mpesa_progress = {
                "total": total,
                "through": through,
                "parts": parts,
                "label": _("Done: %(through)s of %(all)s", through=through, all=total),
                "moving": bool(record.mpesa_under_way_count),
            }

    def _mpesa_part_labels(self):
        return {
            "paid": _("Paid:"),
            "under_way": _("On their way:"),
            "doubt": _("In doubt:"),
            "refused": _("Refused:"),
        }

    def _compute_mpesa_to_do(self):
        for record in self:
            batches = record._mpesa_batches()
            domain = [("batch_id", "in", batches.ids), *SHOWN["held"]]
            record.mpesa_held_count = self.env["g2p.payment"].search_count(domain) if batches else 0
            record.mpesa_again_count = (
                len(batches._mpesa_refused_for_now()) if record.stats_failed_transactions else 0
            )

    # What the buttons do

    def action_mpesa_show(self):
        """The payments of one outcome, in a paged list; which one says ``mpesa_show`` in the context."""
        self.ensure_one()
        shown = self.env.context.get("mpesa_show", "all")
        labels = {
            "paid": _("Paid"),
            "under_way": _("On Their Way"),
            "doubt": _("In Doubt"),
            "refused": _("Refused"),
            "ready": _("Ready"),
            "held": _("Cannot Be Paid"),
            "all": _("Payments"),
        }
        return self._mpesa_batches()._mpesa_payments_action(labels[shown], SHOWN[shown])

    def action_mpesa_journal(self):
        """All contacts with the gateway about these payments, and what people decided."""
        self.ensure_one()
        action = self.env["ir.actions.actions"]._for_xml_id("g2p_payment_simple_mpesa.action_attempt")
        return {**action, "domain": [("batch_id", "in", self._mpesa_batches().ids)]}

    def action_mpesa_prepare_again(self):
        """New payments, with new references, for those that were refused and are approved still."""
        self.ensure_one()
        refused = self._mpesa_batches()._mpesa_refused_for_now()
        manager = self.program_id.get_manager(self.env["g2p.program"].MANAGER_PAYMENT)
        if not refused or not manager:
            # Without a choice, all of the cycle would be prepared.
            return notification("warning", _("There is nobody to be prepared again."))
        return manager.prepare_payments(refused.cycle_id[:1], refused.entitlement_id)

    def action_mpesa_gateway(self):
        """The set-up of the gateway that sends these payments."""
        self.ensure_one()
        manager = self.sudo()._mpesa_managers()[self.id]
        return {
            "type": "ir.actions.act_window",
            "res_model": manager._name,
            "res_id": manager.id,
            "view_mode": "form",
            "views": [(False, "form")],
        }
