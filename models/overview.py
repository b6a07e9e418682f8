"""What people see of a batch or a cycle: how far it is, and what needs somebody."""

from psycopg2.sql import SQL, Identifier

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
    "differs": [("mpesa_difference", "!=", 0)],
    "all": [],
}
# The parts of the progress bar in their order, those that are done first: name, fields with the number and
# with the amount, Bootstrap's colour. Each payment is in one of them.
PARTS = (
    ("paid", "stats_paid_transactions", "stats_paid_amount", "success"),
    ("refused", "stats_failed_transactions", "stats_failed_amount", "danger"),
    ("under_way", "mpesa_under_way_count", "mpesa_under_way_amount", "info"),
    ("doubt", "mpesa_doubt_count", "mpesa_doubt_amount", "warning"),
    ("ready", "mpesa_ready_count", "mpesa_ready_amount", "secondary"),
)
# The view with the parts that the forms have alike.
VIEW = "g2p_payment_simple_mpesa.view_overview"


class MpesaOverview(models.AbstractModel):
    """For batches, whose figures are stored, and cycles, whose are the sums of their batches'."""

    _name = "g2p.mpesa.overview.mixin"
    _description = "M-Pesa Payments: Overview"

    mpesa_currency_id = fields.Many2one(
        "res.currency", "Currency of the Payments", compute="_compute_mpesa_manager", compute_sudo=True
    )
    mpesa_mode = fields.Selection(const.MODES, "Mode", compute="_compute_mpesa_manager", compute_sudo=True)
    mpesa_gateway_name = fields.Char("Gateway", compute="_compute_mpesa_manager", compute_sudo=True)
    mpesa_can_ask = fields.Boolean(compute="_compute_mpesa_manager", compute_sudo=True)
    mpesa_hold_until = fields.Datetime(
        "Left in Peace Until", compute="_compute_mpesa_manager", compute_sudo=True
    )
    mpesa_hold_reason = fields.Selection(
        const.REASONS, "Why It Is Left in Peace", compute="_compute_mpesa_manager", compute_sudo=True
    )
    mpesa_no_send = fields.Boolean("Not to Be Sent by the User", compute="_compute_mpesa_no_send")
    mpesa_ready_amount = fields.Float("Amount Ready", compute="_compute_mpesa_amounts")
    mpesa_under_way_amount = fields.Float("Amount on Its Way", compute="_compute_mpesa_amounts")
    mpesa_progress = fields.Json("Progress", compute="_compute_mpesa_progress")
    mpesa_held_count = fields.Integer("Cannot Be Paid", compute="_compute_mpesa_to_do")
    mpesa_other_mode_count = fields.Integer("Sent in Another Mode", compute="_compute_mpesa_to_do")
    mpesa_again_count = fields.Integer("Refused, and May Be Paid Now", compute="_compute_mpesa_to_do")
    mpesa_correct_count = fields.Integer("Refused, to Be Corrected First", compute="_compute_mpesa_to_do")

    def _mpesa_batches(self):
        """The batches whose payments these are."""
        raise NotImplementedError

    # Of a payment: the field by which it is one of these.
    MPESA_LINK = ""

    def _mpesa_currencies(self):
        """From the id of each of these records to the id of its payments' currency, as it was prepared."""
        self.env["g2p.payment"].flush_model(["mpesa_currency_id", self.MPESA_LINK])
        self.env.cr.execute(
            SQL(
                "SELECT r.id, (SELECT p.mpesa_currency_id FROM g2p_payment p"
                "               WHERE p.{} = r.id AND p.mpesa_currency_id IS NOT NULL LIMIT 1)"
                "  FROM unnest(%s::int[]) AS r(id)"
            ).format(Identifier(self.MPESA_LINK)),
            [self.ids],
        )
        return dict(self.env.cr.fetchall())

    def _mpesa_managers(self):
        """From the id of each of these records to the M-Pesa manager that sends its payments."""
        raise NotImplementedError

    @api.model
    def _get_view(self, view_id=None, view_type="form", **options):
        """Put what the forms have alike in its places."""
        arch, view = super()._get_view(view_id, view_type, **options)
        for part in self.env.ref(VIEW).sudo()._get_combined_arch() if view_type == "form" else ():
            name = part.get("name")
            for place in list(arch.iterfind(f".//div[@name='{name}']")):
                siblings = place.getparent()
                at = siblings.index(place)
                siblings[at : at + 1] = part
        return arch, view

    def _compute_mpesa_manager(self):
        managers, currencies = self._mpesa_managers(), self._mpesa_currencies()
        for record in self:
            manager = managers.get(record.id) or self.env["g2p.program.payment.manager.mpesa"]
            record.mpesa_mode = manager.mode
            record.mpesa_gateway_name = manager.name
            record.mpesa_can_ask = bool(manager.status_endpoint_url)
            is_held = bool(manager) and record.mpesa_ready_count > 0 and manager._mpesa_is_held()
            record.mpesa_hold_until = is_held and manager.mpesa_hold_until
            record.mpesa_hold_reason = is_held and manager.mpesa_hold_reason
            record.mpesa_currency_id = currencies.get(record.id) or record.program_id._mpesa_currency()

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
        "mpesa_short_amount",
        "mpesa_over_amount",
    )
    def _compute_mpesa_amounts(self):
        for record in self:
            record.mpesa_ready_amount = record.stats_issued_amount - record.stats_sent_amount
            ended = record.stats_paid_amount + record.stats_failed_amount + record.mpesa_doubt_amount
            ended += record.mpesa_short_amount - record.mpesa_over_amount
            record.mpesa_under_way_amount = (
                max(record.stats_sent_amount - ended, 0) if record.mpesa_under_way_count else 0
            )

    @api.depends("stats_issued_transactions", *(field for part in PARTS for field in part[1:3]))
    def _compute_mpesa_progress(self):
        labels = self._mpesa_part_labels()
        for record in self:
            total = record.stats_issued_transactions
            through = record.stats_paid_transactions + record.stats_failed_transactions
            parts = [
                {
                    "name": name,
                    "label": labels[name],
                    "count": record[count],
                    "amount": record[amount],
                    "colour": colour,
                }
                for name, count, amount, colour in PARTS
                if record[count]
            ]
            record.mpesa_progress = {
                "total": total,
                "through": through,
                "parts": parts,
                "label": _("Done: %(through)s of %(all)s", through=through, all=total),
                "moving": bool(record.mpesa_under_way_count),
                "currency": record.mpesa_currency_id.id,
            }

    def _mpesa_part_labels(self):
        return {
            "paid": _("Paid:"),
            "under_way": _("On their way:"),
            "doubt": _("In doubt:"),
            "refused": _("Refused:"),
            "ready": _("Not sent:"),
        }

    def _compute_mpesa_to_do(self):
        for record in self:
            batches = record._mpesa_batches()
            domain = [("batch_id", "in", batches.ids), *SHOWN["held"]]
            record.mpesa_held_count = self.env["g2p.payment"].search_count(domain) if batches else 0
            sent = record._mpesa_sent_otherwise()
            record.mpesa_other_mode_count = self.env["g2p.payment"].search_count(sent) if sent else 0
            refused = batches._mpesa_refused_for_now() if record.stats_failed_transactions else {}
            record.mpesa_again_count = len(refused.get(const.AGAIN, ()))
            record.mpesa_correct_count = len(refused.get(const.CORRECT, ()))

    def _mpesa_sent_otherwise(self):
        """The domain of payments that were sent in another mode than the gateway is in now; None of none."""
        batches, other = self._mpesa_batches(), {const.TEST: const.LIVE, const.LIVE: const.TEST}
        if not batches or not self.mpesa_mode:
            return None
        mode = ("mpesa_mode", "=", other[self.mpesa_mode])
        return [("batch_id", "in", batches.ids), ("mpesa_state", "!=", const.READY), mode]

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
            "other_mode": _("Sent in Another Mode"),
            "differs": _("Not Paid as Issued"),
            "all": _("Payments"),
        }
        batches = self._mpesa_batches()
        if shown == "other_mode":
            sent = self._mpesa_sent_otherwise() or [("id", "=", False)]
            return batches._mpesa_payments_action(labels[shown], sent)
        if shown in (const.AGAIN, const.CORRECT):
            domain = [("id", "in", batches._mpesa_refused_for_now()[shown].ids)]
            return batches._mpesa_payments_action(labels["refused"], domain)
        return batches._mpesa_payments_action(labels[shown], SHOWN[shown])

    def action_mpesa_journal(self):
        """All contacts with the gateway about these payments, and what people decided."""
        self.ensure_one()
        action = self.env["ir.actions.actions"]._for_xml_id("g2p_payment_simple_mpesa.action_attempt")
        return {**action, "domain": [("batch_id", "in", self._mpesa_batches().ids)]}

    def action_mpesa_prepare_again(self):
        """New payments, with new references, for those that were refused and are approved still.

        Which of them says ``mpesa_show`` in the context, as for :meth:`action_mpesa_show`: ``again`` or
        ``correct``; without it both.
        """
        self.ensure_one()
        self.program_id._mpesa_check_access()
        found = self._mpesa_batches()._mpesa_refused_for_now()
        shown = self.env.context.get("mpesa_show")
        refused = found[shown] if shown in found else self.env["g2p.payment"].union(*found.values())
        manager = self.program_id.get_manager(self.env["g2p.program"].MANAGER_PAYMENT)
        if not refused or not manager:
            # Without a choice, all of the cycle would be prepared.
            return notification("warning", _("There is nobody to be prepared again."))
        return manager.prepare_payments(refused.cycle_id[:1], refused.entitlement_id)

    def action_mpesa_go_on(self):
        """Have jobs send at once what was sent for, though they would leave the gateway in peace still.

        :return: a client action; a dialogue, where nobody has sent for anything.
        """
        self.ensure_one()
        return self.sudo()._mpesa_managers()[self.id].with_env(self.env)._mpesa_go_on(self._mpesa_batches())

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
