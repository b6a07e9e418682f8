"""What happened to a batch, and when: prepared, sent by whom, stopped and why, paid, settled, ended."""

from datetime import datetime, timezone

from markupsafe import Markup

from odoo import _, api, fields, models
from odoo.tools import format_date, format_time

from . import const

KINDS = [
    ("prepared", "Prepared"),
    ("sent", "Sent"),
    ("stopped", "Stopped"),
    ("ended", "Ended"),
    ("paid", "Settled: paid"),
    ("not_paid", "Settled: not paid"),
    ("write_off", "Written off"),
]
# So many of the latest events are shown.
SHOWN = 100
# Once, should a lost connection have it written twice; and one stop, however many jobs come upon it.
INSERT = """
    INSERT INTO g2p_payment_mpesa_event (batch_id, moment, kind, user_id, reason, number)
    SELECT b.id, %(moment)s, %(kind)s, %(user)s, %(reason)s, new.number
      FROM unnest(%(batches)s::int[], %(numbers)s::int[]) AS new(batch_id, number)
      JOIN g2p_payment_batch b ON b.id = new.batch_id
     WHERE NOT EXISTS (
           SELECT FROM g2p_payment_mpesa_event e
            WHERE e.batch_id = b.id AND e.kind = %(kind)s AND e.moment = %(moment)s)
       AND (%(kind)s <> 'stopped' OR %(kind)s || %(reason)s IS DISTINCT FROM (
           SELECT e.kind || e.reason FROM g2p_payment_mpesa_event e
            WHERE e.batch_id = b.id ORDER BY e.id DESC LIMIT 1))
"""


def now():
    """This moment: naive UTC, with microseconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


class MpesaEvent(models.Model):
    """A moment of a batch's life that people ask for later. Payments have the journal."""

    _name = "g2p.payment.mpesa.event"
    _description = "M-Pesa: Event of a Batch"
    _order = "id"
    _rec_name = "kind"
    _log_access = False

    batch_id = fields.Many2one(
        "g2p.payment.batch", required=True, readonly=True, ondelete="cascade", index=True
    )
    moment = fields.Datetime(required=True, readonly=True)
    kind = fields.Selection(KINDS, required=True, readonly=True)
    user_id = fields.Many2one("res.users", "By", readonly=True, ondelete="restrict")
    reason = fields.Selection(const.REASONS, readonly=True)
    number = fields.Integer("Payments", readonly=True)


class MpesaTimeline(models.AbstractModel):
    _name = "g2p.mpesa.timeline.mixin"
    _description = "Payment Batch: Timeline"

    mpesa_first_paid_at = fields.Datetime("First Paid", readonly=True, copy=False)
    mpesa_last_paid_at = fields.Datetime("Last Paid", readonly=True, copy=False)
    mpesa_timeline = fields.Html(
        "Timeline", compute="_compute_mpesa_timeline", compute_sudo=True, sanitize=False
    )

    def _mpesa_happened(self, kind, moment=None, reason=None, numbers=None):
        """Note an event on these batches, in this transaction.

        :param str kind: a code of ``KINDS``.
        :param datetime moment: naive UTC; for this moment None. The same moment twice is one event.
        :param str reason: why it stopped, a code of ``const.REASONS``.
        :param dict numbers: from a batch's id to the number of payments that it is about.
        """
        numbers = numbers or {}
        values = {
            "moment": moment or now(),
            "kind": kind,
            "user": None if kind in ("stopped", "ended") else self.env.uid,
            "reason": reason,
            "batches": self.ids,
            "numbers": [numbers.get(batch_id) for batch_id in self.ids],
        }
        self.env.cr.execute(INSERT, values)
        self.invalidate_recordset(["mpesa_timeline"])

    @api.depends_context("lang", "tz")
    @api.depends("mpesa_first_paid_at", "mpesa_last_paid_at")
    def _compute_mpesa_timeline(self):
        for batch in self:
            rows = Markup("").join(
                Markup('<li class="mb-1"><span class="me-3">%s</span>%s</li>')
                % (batch._mpesa_when(moment), sentence)
                for moment, sentence in batch._mpesa_moments()
            )
            batch.mpesa_timeline = rows and Markup('<ul class="list-unstyled">%s</ul>') % rows

    def _mpesa_when(self, moment):
        """A moment as Odoo's own date fields show it: to the minute, with the month as a word."""
        zone = self.env.context.get("tz") or self.env.user.tz or "UTC"
        day = format_date(self.env, moment, date_format="medium")
        return f"{day}, {format_time(self.env, moment, tz=zone, time_format='short')}"

    def _mpesa_moments(self):
        """Moments with a sentence each, the earliest first."""
        events = self.env["g2p.payment.mpesa.event"].search(
            [("batch_id", "in", self.ids)], order="id desc", limit=SHOWN
        )
        moments = [(event.moment, self._mpesa_event_sentence(event)) for event in events]
        first, last = self.mpesa_first_paid_at, self.mpesa_last_paid_at
        if first:
            moments.append((first, _("The first payment was paid")))
        if last and last != first:
            moments.append((last, _("The latest payment was paid")))
        return sorted(moments, key=lambda moment: moment[0])

    def _mpesa_event_sentence(self, event):
        values = {"who": event.user_id.name or "", "count": event.number}
        if event.kind == "stopped":
            return _("Sending stopped: %s", self._mpesa_sentence(event.reason))
        if event.kind == "ended":
            return _("Sending ended")
        return {
            "prepared": _("Prepared by %s", event.user_id.name or ""),
            # How many could go out is in the note of the dialogue; more than that were ready.
            "sent": _("Sent by %s", event.user_id.name or ""),
            "paid": _("Settled as paid by %(who)s. Payments: %(count)s", **values),
            "not_paid": _("Settled as not paid by %(who)s. Payments: %(count)s", **values),
            "write_off": _("Written off by %(who)s. Payments: %(count)s", **values),
        }[event.kind]
