from odoo import SUPERUSER_ID, _, models
from odoo.exceptions import AccessError
from odoo.tools import config

from odoo.addons.queue_job.exception import RetryableJobError

from ..gateway.errors import GatewayError
from . import const, timeline
from .dispatch import Dispatch
from .inside import delayed, in_job, job_uuid
from .notify import notification
from .own_cursor import durably
from .payment import check_access

# A web request sends at most so many payments, and begins none after so many seconds.
MOST_IN_REQUEST = 25
SECONDS_IN_REQUEST = 20
# Seconds that a dialogue waits for a connection, to show the float.
SECONDS_FOR_FLOAT = 2
# Payments for one queue job.
CHUNK = 500
# States of a job that is to run, or runs.
ALIVE = ("wait_dependencies", "pending", "enqueued", "started")
# Batches whose jobs one request, or one job, queues; each takes some milliseconds.
MOST_QUEUED = 200
# Seconds before Odoo would kill its worker at which a job begins nothing more.
JOB_MARGIN = 60
# Seconds after which a job comes again for which there was no connection.
BUSY_SECONDS = 5


class MpesaSend(models.AbstractModel):
    """From payments in batches to the gateway: who sends, now or later, and what people are told."""

    _name = "g2p.mpesa.send.mixin"
    _description = "M-Pesa Payment Manager: Send"

    def send_payments(self, batches):
        """Show what would be sent, and ask. A button's method: programs call ``_mpesa_send``.

        :return: a client action: a dialogue, or a notification that there is nothing to ask about.
        :raise AccessError: the user may not write payments.
        """
        self._require_sender(batches)
        self._mpesa_require_same_place()
        if not batches:
            return notification("warning", _("There are no payment batches to send."))
        return self.env["g2p.payment.mpesa.send.wizard"]._open(self, batches)

    def _mpesa_send(self, batches):
        """Send the ready payments of ``batches``, without a question: a handful at once, more by jobs.

        :return: a client action that shows a notification.
        :raise AccessError: the user may not write payments.
        """
        return self._tell_of_other_managers(batches, self._send_own(batches))

    def _send_own(self, batches):
        self._require_sender(batches)
        self._mpesa_require_same_place()
        if not batches:
            return notification("warning", _("There are no payment batches to send."))
        # Jobs would leave the gateway in peace still, whatever this person is told.
        self._mpesa_lift_hold()
        on_their_way = self._on_their_way()
        ready = self._ready_counts(batches)
        self._want_again(batches.filtered(lambda batch: batch.id in ready and batch.id in on_their_way))
        if ready and on_their_way.issuperset(ready):
            return notification("info", _("These payments are being sent already."))
        sendable = self._ready_counts(batches, [("mpesa_reason", "not in", list(const.HELD))])
        number = sum(count for batch_id, count in sendable.items() if batch_id not in on_their_way)
        if number > MOST_IN_REQUEST:
            return self._send_by_jobs(batches, ready, number)
        # Its job sends them.
        batches = batches.filtered(lambda batch: batch.id not in on_their_way)
        self._note_sent(batches.browse(ready) & batches)
        result = Dispatch(self, batches, seconds=SECONDS_IN_REQUEST).run()
        self.env.invalidate_all()
        action = self._outcome_notification(batches, result)
        if result.unfinished:
            # The caller's transaction is older than what has been written since.
            durably(self.env, lambda own: self.with_env(own)._send_the_rest_by_jobs(batches.with_env(own)))
            action["params"]["message"] += " " + _("The rest is sent in the background.")
        return action

    def _send_payments(self, batches):
        """Send the ready payments of ``batches`` now, however many.

        :return: a client action that shows a notification.
        """
        self._require_sender(batches)
        self._mpesa_require_same_place()
        if not batches:
            return notification("warning", _("There are no payment batches to send."))
        self._mpesa_lift_hold()
        self._note_sent(batches)
        result = Dispatch(self, batches).run()
        self.env.invalidate_all()
        return self._outcome_notification(batches, result)

    def _ask_to_send_some(self, payments):
        """The dialogue about these ready payments alone; the rest of their batches waits."""
        self._require_sender(payments.batch_id)
        self._mpesa_require_same_place()
        return self.env["g2p.payment.mpesa.send.wizard"]._open(self, payments.batch_id, payments)

    def _send_some(self, payments):
        """Send these ready payments now, a handful; the rest of their batches waits."""
        self._require_sender(payments.batch_id)
        self._mpesa_require_same_place()
        self._mpesa_lift_hold()
        self._note_sent(payments.batch_id)
        result = Dispatch(self, payments.batch_id, seconds=SECONDS_IN_REQUEST, payments=payments).run()
        self.env.invalidate_all()
        return self._outcome_notification(payments.batch_id, result)

    def _send_payments_job(self, batch, most):
        """Queue job: send at most ``most`` of the ready payments of ``batch``.

        It ends before Odoo would kill its worker, and leaves the rest to another job.

        :return: what was done, as the job's result.
        """
        self = in_job(self)
        batch = batch.with_env(self.env)
        self._require_sender(batch)
        if durably(self.env, lambda own: self.with_env(own)._mpesa_moved()):
            durably(self.env, lambda own: self._mpesa_stop_for_place(batch.with_env(own)))
            return const.MOVED
        if self._mpesa_job_is_of_before():
            return "Queued before the database was confirmed: Send is to be clicked again"
        if self._is_in_another_mode(batch):
            durably(self.env, lambda own: self._stop_for_mode(batch.with_env(own)))
            return const.MODE_CHANGED
        # Read now: after it the job's own cursor may be lost.
        cycle_ids = batch.cycle_id.ids
        limit = config["limit_time_real"]
        # Two exchanges, should the token have expired; each takes three times the time-out at the most.
        margin = max(JOB_MARGIN, 6 * self.api_timeout)
        seconds = limit - margin if limit > margin else None
        left = 0
        try:
            result = Dispatch(self, batch, seconds, most, by_job=True).run()
            if result.busy:
                # It still locks the cycle.
                left = most
                raise RetryableJobError(
                    "All connections of this account are taken", seconds=BUSY_SECONDS, ignore_retry=True
                )
            left = most - result.counts.total() if result.unfinished else 0
        finally:
            # The rest's job is not to be seen yet.
            if left <= 0:
                durably(self.env, lambda own: own["g2p.cycle"].browse(cycle_ids)._mpesa_unlock())
        if left > 0:
            key = f"mpesa-send-{batch.id}-after-{job_uuid(self.env)}"
            delayed(self, identity_key=key)._send_payments_job(batch, left)
        return f"{dict(result.counts)} {result.stopped}".strip()

    # The float

    def _mpesa_balance(self):
        """The float as the gateway has it. Recorded in the journal.

        :return: the float, or None where the gateway does not say; and why it does not, a code of
            ``const.REASONS``, or "".
        """
        if not self.balance_endpoint_url:
            return None, ""
        journal = self.env["g2p.payment.mpesa.attempt"]
        rows = []
        try:
            with (
                self._mpesa_connection_of_account(SECONDS_FOR_FLOAT) as is_there,
                self._mpesa_client(lambda contact: rows.append(journal._row(contact))) as client,
            ):
                return (client.balance(), "") if is_there else (None, const.BUSY)
        except GatewayError as error:
            return None, error.reason
        finally:
            rows = [row | {"manager_id": self.id} for row in rows]
            durably(self.env, lambda own: own[journal._name]._record(rows))

    # By jobs

    def _note_sent(self, batches):
        """Write who sends, before anything is sent."""
        if not batches:
            return
        moment = timeline.now()
        durably(self.env, lambda own: batches.with_env(own)._mpesa_happened("sent", moment))

    def _send_by_jobs(self, batches, ready, number=None):
        """Queue the chunks of each batch that is not on its way already, and lock the cycles.

        :param dict ready: from batch id to the number of ready payments.
        :param int number: how many a person sends now; None where they have been sent for.
        """
        on_their_way = self._on_their_way()
        waiting = batches.filtered(lambda batch: batch.id in ready and batch.id not in on_their_way)
        if not waiting:
            return notification("info", _("These payments are being sent already."))
        waiting._mpesa_want(self.env.user, self.mode)
        waiting.cycle_id._mpesa_lock(_("Payments are being sent."))
        for batch in waiting[:MOST_QUEUED]:
            self._queue_batch(batch, ready[batch.id])
        if waiting[MOST_QUEUED:]:
            self._queue_queuing()
        if number is not None:
            waiting._mpesa_happened("sent")
        return notification("success", _("%s payments are on their way, in the background.", number))

    def _want_again(self, batches):
        """Have the jobs that are there still, of a click in another mode, go on for this one."""
        others = batches.filtered(self._is_in_another_mode)
        # Such a job may be writing to them.
        if others:
            self._note_sent(others)
            durably(self.env, lambda own: others.with_env(own)._mpesa_want(self.env.user, self.mode))

    def _is_in_another_mode(self, batch):
        """Whether Send was clicked for it in the other mode: what is for trying out never goes out live."""
        return batch.mpesa_wanted_mode not in (False, self.mode)

    def _stop_for_mode(self, batches):
        """Leave the rest of these to somebody who clicks Send in the mode of now. In this transaction."""
        batches._mpesa_note_stop(const.MODE_CHANGED, "")
        batches._mpesa_want_no_more(stopped=True)
        batches.cycle_id._mpesa_unlock()

    def _send_the_rest_by_jobs(self, batches):
        self._send_by_jobs(batches, self._ready_counts(batches))

    def _queue_batch(self, batch, count):
        """One job for each chunk of a batch that has none."""
        description = _("Send payments of %s", batch.name)
        for number in range(-(-count // CHUNK)):
            job = delayed(self, identity_key=f"mpesa-send-{batch.id}-{number}", description=description)
            job._send_payments_job(batch, CHUNK)

    def _queue_queuing(self):
        """Have the batches of which nobody waits for a job to be queued queued by a job."""
        key = f"mpesa-queue-{self.id}-after-{job_uuid(self.env)}"
        job = delayed(self, identity_key=key, priority=5, description=_("Queue batches to be sent"))
        job._queue_job()

    def _queue_job(self):
        """Queue job: queue the next batches that were sent for, and leave the rest to another one."""
        own = in_job(self)
        if own.sudo()._queue_wanted():
            own._queue_queuing()

    def _on_their_way(self):
        """The ids of batches that a job sends, or is to send."""
        domain = [("state", "in", ALIVE), ("identity_key", "=like", "mpesa-send-%")]
        groups = self.env["queue.job"].sudo()._read_group(domain, ["identity_key"])
        return {int(key.split("-")[2]) for (key,) in groups}

    def _alive_jobs(self, domain):
        return self.env["queue.job"].sudo().search([("state", "in", ALIVE), *domain])

    def _mpesa_sweep(self):
        """Scheduled: queue again what was to be sent and has no job, because it failed or stopped."""
        self.ensure_one()
        if self._mpesa_moved():
            self._mpesa_stop_for_place(self._mpesa_wanted())
            return
        if not self._mpesa_is_held():
            self._queue_wanted()

    def _queue_wanted(self):
        """Queue batches that were sent for and have no job, a good many.

        :return: whether there are more.
        """
        if self._mpesa_moved():
            return False
        wanted = self._mpesa_wanted()
        ready, on_their_way = self._ready_counts(wanted), self._on_their_way()
        waiting = wanted.filtered(lambda batch: batch.id in ready and batch.id not in on_their_way)
        for batch in waiting[:MOST_QUEUED]:
            sender = batch.mpesa_wanted_by_id
            if self._is_in_another_mode(batch):
                self._stop_for_mode(batch)
            elif self._may_still_send(batch, sender):
                self.with_user(sender)._queue_batch(batch, ready[batch.id])
                batch.cycle_id._mpesa_lock(_("Payments are being sent."))
            else:
                # Its job would fail, again and again.
                batch._mpesa_want_no_more(stopped=True)
                self._tell_of_sender(batch, sender)
        return bool(waiting[MOST_QUEUED:])

    def _mpesa_wanted(self):
        """Batches that were sent for, in which something of ours is ready."""
        wanted = self.env["g2p.payment.batch"].search(
            [("mpesa_wanted_by_id", "!=", False), ("mpesa_ready_count", ">", 0)]
        )
        ready = self._ready_counts(wanted)
        return wanted.filtered(lambda batch: batch.id in ready)

    def _may_still_send(self, batch, sender):
        try:
            self.with_user(sender)._require_sender(batch.with_user(sender))
        except AccessError:
            return False
        return sender.active or sender.id == SUPERUSER_ID

    def _tell_of_sender(self, batch, sender):
        batch._mpesa_call_finance_once(
            _("Nobody sends this batch"),
            _("%s has sent for it, and may not send payments any more. Somebody else is to.", sender.name),
        )

    def _require_sender(self, batches):
        self.ensure_one()
        check_access(self, "read")
        check_access(batches, "write")
        check_access(self.env["g2p.payment"], "write")
        batches.sudo().cycle_id.program_id.with_env(self.env)._mpesa_check_access()

    def _ready_counts(self, batches, domain=()):
        """From the id of each of these batches in which something of ours is ready to how many payments.

        :param domain: only those of them.
        """
        groups = self.env["g2p.payment"]._read_group(
            [
                ("batch_id", "in", batches.ids),
                ("mpesa_state", "=", const.READY),
                ("mpesa_manager_id", "=", self.id),
                *domain,
            ],
            ["batch_id"],
            ["__count"],
        )
        return {batch.id: count for batch, count in groups}

    # What people are told

    def _tell_of_other_managers(self, batches, action):
        """Add to a notification how many payments another manager has prepared, and what to do about them."""
        cycle_ids, batch_ids = batches.cycle_id.ids, batches.ids
        # Money has moved by now, so a connection that is lost shall make nobody click again.
        words = durably(self.env, lambda own: self.with_env(own)._mpesa_words_of_others(cycle_ids, batch_ids))
        if words and "message" in action.get("params", ()):
            message = f"{action['params']['message']} {words}"
            action["params"].update(message=message, type="warning", sticky=True)
        return action

    def _outcome_notification(self, batches, result):
        # The caller's transaction sees what there was before it was sent.
        return durably(
            self.env, lambda own: self.with_env(own)._describe_outcome(batches.with_env(own), result)
        )

    def _describe_outcome(self, batches, result):
        totals = self._totals(batches)
        sent = result.counts.get(const.PAID, 0) + result.counts.get(const.ACCEPTED, 0)
        refused, doubt = result.counts.get(const.REFUSED, 0), result.counts.get(const.DOUBT, 0)
        ready = totals.get(const.READY, 0)
        earlier = sum(totals.values()) - ready - sent - refused - doubt
        parts = [
            _("%s sent now", sent),
            *([_("%s refused", refused)] if refused else []),
            *([_("%s in doubt", doubt)] if doubt else []),
            *([_("%s not sent", ready) + self._why_not_sent(batches, result)] if ready else []),
            *([_("%s sent before", earlier) + self._how_it_stands(totals, result)] if earlier else []),
        ]
        message = _(
            "Payments: %(all)s, of which %(parts)s.", all=sum(totals.values()), parts="; ".join(parts)
        )
        kind = "success" if not (refused or doubt or ready) else "warning"
        return notification(kind, message)

    def _totals(self, batches):
        groups = self.env["g2p.payment"]._read_group(
            [("batch_id", "in", batches.ids), ("mpesa_manager_id", "=", self.id)],
            ["mpesa_state"],
            ["__count"],
        )
        return dict(groups)

    def _why_not_sent(self, batches, result):
        if result.busy:
            return f" ({batches._mpesa_sentence(const.BUSY)})"
        if result.stopped:
            reason = batches._mpesa_sentence(result.stopped)
            return f" ({reason}: {result.words})" if result.words else f" ({reason})"
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
        reasons = [f"{batches._mpesa_sentence(reason)}: {count}" for reason, count in groups]
        return f" ({', '.join(reasons)})" if reasons else ""

    def _how_it_stands(self, totals, result):
        """What became of earlier payments: nobody shall think that nothing was paid."""
        earlier = {state: totals.get(state, 0) - result.counts.get(state, 0) for state in totals}
        labels = dict(self.env["g2p.payment"]._fields["mpesa_state"]._description_selection(self.env))
        parts = [
            f"{labels[state]}: {count}"
            for state, count in earlier.items()
            if count > 0 and state != const.READY
        ]
        return f" ({', '.join(parts)})" if parts else ""
