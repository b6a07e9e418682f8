from odoo import _, models

from . import const
from .dispatch import Dispatch

# A web request sends at most so many payments, and begins none after so many seconds.
MOST_IN_REQUEST = 25
SECONDS_IN_REQUEST = 20
# Payments for one queue job.
CHUNK = 500


class MpesaSend(models.Model):
    """From payments in batches to the gateway: who sends, now or later, and what people are told."""

    _inherit = "g2p.program.payment.manager.mpesa"

    def send_payments(self, batches):
        """Send the ready payments of ``batches``: a handful at once, more by jobs.

        :return: a client action that shows a notification.
        :raise AccessError: the user may not write payment batches.
        """
        self._require_sender(batches)
        ready = self._ready_counts(batches)
        if sum(ready.values()) <= MOST_IN_REQUEST:
            return self._send_payments(batches, seconds=SECONDS_IN_REQUEST)
        queued = sum(self._queue_batch(batches.browse(batch_id), count) for batch_id, count in ready.items())
        if not queued:
            return self._notification("info", _("These payments are being sent already."), batches)
        return self._notification(
            "success", _("%s payments are on their way, in the background.", sum(ready.values())), batches
        )

    def _send_payments(self, batches, seconds=None, most=None):
        """Send the ready payments of ``batches`` now.

        :param float seconds: begin no further payment after this long.
        :param int most: begin no more payments than this.
        :return: a client action that shows a notification.
        """
        self._require_sender(batches)
        if not batches:
            return self._notification("warning", _("There are no payment batches to send."), batches)
        result = Dispatch(self, batches, seconds, most).run()
        self.env.invalidate_all()
        return self._outcome_notification(batches, result)

    def _require_sender(self, batches):
        self.ensure_one()
        for records, operation in ((self, "read"), (batches, "write"), (self.env["g2p.payment"], "write")):
            if hasattr(records, "check_access"):
                records.check_access(operation)
            else:
                records.check_access_rights(operation)
                records.check_access_rule(operation)

    def _ready_counts(self, batches):
        groups = self.env["g2p.payment"]._read_group(
            [
                ("batch_id", "in", batches.ids),
                ("mpesa_state", "=", const.READY),
                ("mpesa_manager_id", "=", self.id),
            ],
            ["batch_id"],
            ["__count"],
        )
        return {batch.id: count for batch, count in groups}

    def _queue_batch(self, batch, count):
        """One job for each chunk; a job that stands in the queue already is not queued again.

        :return: how many jobs are new.
        """
        new = 0
        for number in range(-(-count // CHUNK)):
            key = f"mpesa-send-{batch.id}-{number}"
            waiting = self.env["queue.job"].sudo().search_count(
                [("identity_key", "=", key), ("state", "in", ("pending", "enqueued", "started", "wait_dependencies"))],
                limit=1,
            )
            if not waiting:
                self.with_delay(identity_key=key, description=_("Send %s", batch.name))._send_payments(
                    batch, most=CHUNK
                )
                new += 1
        return new

    # What people are told

    def _outcome_notification(self, batches, result):
        totals = self._totals(batches)
        sent = result.counts.get(const.PAID, 0) + result.counts.get(const.ACCEPTED, 0)
        refused, doubt = result.counts.get(const.REFUSED, 0), result.counts.get(const.DOUBT, 0)
        ready = totals.get(const.READY, 0)
        earlier = sum(totals.values()) - ready - sent - refused - doubt
        lines = [
            _("Of %(all)s payments:", all=sum(totals.values())),
            _("%s sent now", sent),
            _("%s refused", refused),
            _("%s in doubt", doubt),
            _("%s not sent", ready) + self._why_not_sent(batches, result),
        ]
        if earlier:
            lines.append(_("%s sent before", earlier) + self._how_it_stands(totals, result))
        kind = "success" if not (refused or doubt or ready) else "warning"
        return self._notification(kind, "\n".join(lines), batches)

    def _totals(self, batches):
        groups = self.env["g2p.payment"]._read_group(
            [("batch_id", "in", batches.ids), ("mpesa_manager_id", "=", self.id)], ["mpesa_state"], ["__count"]
        )
        return dict(groups)

    def _why_not_sent(self, batches, result):
        if result.stopped:
            return f": {batches._mpesa_sentence(result.stopped)}. {result.words}".rstrip()
        groups = self.env["g2p.payment"]._read_group(
            [
                ("batch_id", "in", batches.ids),
                ("mpesa_manager_id", "=", self.id),
                ("mpesa_state", "=", const.READY),
                ("mpesa_reason", "!=", False),
            ],
            ["mpesa_reason"],
            ["__count"],
        )
        reasons = [f"{batches._mpesa_sentence(reason)} ({count})" for reason, count in groups]
        return ": " + ", ".join(reasons) if reasons else ""

    def _how_it_stands(self, totals, result):
        """What became of earlier payments: nobody shall think that nothing was paid."""
        earlier = {state: totals.get(state, 0) - result.counts.get(state, 0) for state in totals}
        labels = dict(self.env["g2p.payment"]._fields["mpesa_state"]._description_selection(self.env))
        parts = [
            f"{labels[state]} {count}" for state, count in earlier.items() if count > 0 and state != const.READY
        ]
        return f" ({', '.join(parts)})" if parts else ""

    def _notification(self, kind, message, batches):
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "title": _("Payment"),
                "message": message,
                "sticky": kind != "success",
                "type": kind,
                "next": {"type": "ir.actions.act_window_close"},
            },
        }
