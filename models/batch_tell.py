"""Whoever sent a batch is told when it has ended, and the finance group what there is to settle.

By a scheduled job and not while money is on its way: a mail server that is slow or a person without an e-mail
address stops nothing.
"""

import logging

from odoo import _, api, fields, models
from odoo.tools import format_date, formatLang, groupby

from .own_cursor import durably

_logger = logging.getLogger(__name__)

# A gateway that can be asked mostly ends a doubt by itself within so many minutes.
PATIENCE_MINUTES = 60
ACTIVITY = "g2p_payment_simple_mpesa.activity_settle"

# Nothing of it is being sent or waits for a job; what the gateway has accepted is waited for, not for ever.
ENDED = f"""
    WITH ended AS (
        SELECT b.id, b.mpesa_tell_id FROM g2p_payment_batch b
         WHERE b.mpesa_tell_id IS NOT NULL AND b.mpesa_wanted_by_id IS NULL AND NOT EXISTS (
               SELECT FROM g2p_payment p WHERE p.batch_id = b.id AND (p.mpesa_state = 'sending'
                   OR (p.mpesa_state = 'accepted' AND p.mpesa_sent_at
                       > (clock_timestamp() AT TIME ZONE 'UTC') - interval '{PATIENCE_MINUTES} minutes')))
         ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE g2p_payment_batch b SET mpesa_tell_id = NULL FROM ended WHERE b.id = ended.id
    RETURNING b.id, ended.mpesa_tell_id
"""
# Doubts that do not end by themselves, by program.
DOUBTS = f"""
    SELECT c.program_id, count(*), sum(p.amount_issued), max(p.batch_id),
           array_agg(DISTINCT p.mpesa_sender_id), min(p.mpesa_sent_at)
      FROM g2p_payment p
      JOIN g2p_payment_batch b ON b.id = p.batch_id
      JOIN g2p_cycle c ON c.id = b.cycle_id
      JOIN g2p_program_payment_manager_mpesa m ON m.id = p.mpesa_manager_id
     WHERE p.mpesa_state = 'doubt' AND (coalesce(m.status_endpoint_url, '') = ''
           OR p.mpesa_sent_at
              < (clock_timestamp() AT TIME ZONE 'UTC') - interval '{PATIENCE_MINUTES} minutes')
     GROUP BY c.program_id
"""


class MpesaTell(models.AbstractModel):
    _name = "g2p.mpesa.tell.mixin"
    _description = "Payment Batch: Who Is Told"

    mpesa_tell_id = fields.Many2one(
        "res.users",
        "Told at the End",
        readonly=True,
        copy=False,
        help="Who sent the batch last, and has not been told yet how it ended.",
    )

    def _mpesa_promise(self, user):
        """Remember who is to be told when these batches have ended. In this transaction."""
        self.env.cr.execute(
            "UPDATE g2p_payment_batch SET mpesa_tell_id = %s WHERE id = ANY(%s)", [user.id, self.ids]
        )
        self.invalidate_recordset(["mpesa_tell_id"])

    @api.model
    def _cron_mpesa_tell(self):
        """Scheduled: tell who sent what how it ended, and the finance group what is to be settled."""
        for step in (self._mpesa_tell_ended, self._mpesa_watch_doubts):
            try:
                # One after the other, each in a transaction of its own.
                durably(self.env, lambda own, step=step: step.__func__(self.with_env(own)))
            except Exception:
                # The edge of the job: what is wrong with a message keeps nobody from the other ones.
                _logger.exception("People could not be told how payments stand")

    def _mpesa_tell_ended(self):
        self.env.flush_all()
        self.env.cr.execute(ENDED)
        rows = sorted(self.env.cr.fetchall(), key=lambda row: (row[1], row[0]))
        self.invalidate_model(["mpesa_tell_id"])
        self.browse([row[0] for row in rows])._mpesa_happened("ended")
        for user_id, group in groupby(rows, key=lambda row: row[1]):
            user = self.env["res.users"].browse(user_id)
            batches = self.browse([row[0] for row in group]).with_context(lang=user.lang)
            for cycle in batches.cycle_id:
                own = batches.filtered(lambda batch, cycle=cycle: batch.cycle_id == cycle)
                own._mpesa_tell_user(user)

    def _mpesa_tell_user(self, user):
        """One message for batches of a cycle that ended together: inbox or e-mail, screen, and chatter."""
        subject = _("M-Pesa: %s has ended", self.cycle_id.name)
        lines = [f"{batch.name}: {batch._mpesa_how_it_ended()}" for batch in self]
        for batch, line in zip(self, lines, strict=True):
            batch._message_log(body=line, author_id=self._mpesa_robot().id)
        if user.active:
            self[0].with_context(mail_notify_force_send=False).message_notify(
                partner_ids=user.partner_id.ids,
                subject=subject,
                body="\n".join(lines),
                author_id=self._mpesa_robot().id,
                email_from=self._mpesa_email_from(),
            )
            self._mpesa_show(user, subject, "\n".join(lines))

    def _mpesa_show(self, user, title, message):
        """On the person's screen, if there is one open now."""
        warn = any(batch.mpesa_state != "done" for batch in self)
        values = {"title": title, "message": message, "type": "warning" if warn else "info", "sticky": warn}
        self.env["bus.bus"]._sendone(user.partner_id, "simple_notification", values)

    def _mpesa_how_it_ended(self):
        self.ensure_one()
        parts = [
            _("%s paid", self.stats_paid_transactions),
            *([_("%s refused", self.stats_failed_transactions)] if self.stats_failed_transactions else []),
            *([_("%s in doubt", self.mpesa_doubt_count)] if self.mpesa_doubt_count else []),
            *([_("%s on their way", self.mpesa_under_way_count)] if self.mpesa_under_way_count else []),
            *([_("%s not sent", self.mpesa_ready_count)] if self.mpesa_ready_count else []),
        ]
        why = f" ({self._mpesa_sentence(self.mpesa_reason)})" if self.mpesa_reason else ""
        return ", ".join(parts) + why

    def _mpesa_robot(self):
        return self.env.ref("base.partner_root")

    def _mpesa_email_from(self):
        company = self.cycle_id.program_id[:1].company_id or self.env.company
        return company.email_formatted or self._mpesa_robot().email_formatted

    # What there is to settle

    def _mpesa_watch_doubts(self):
        """One open activity for each program with doubts that need a person; none where all are settled."""
        self.env.flush_all()
        # Of two at once, one comes later.
        self.env.cr.execute("SELECT pg_try_advisory_xact_lock(hashtext('g2p_payment_mpesa_watch_doubts'))")
        if not self.env.cr.fetchone()[0]:
            return
        self.env.cr.execute(DOUBTS)
        doubts = {row[0]: row[1:] for row in self.env.cr.fetchall()}
        activities = self.env["mail.activity"].search(
            [("activity_type_id", "=", self.env.ref(ACTIVITY).id), ("res_model", "=", self._name)]
        )
        for activity in activities:
            program = self.browse(activity.res_id).program_id
            if doubts.pop(program.id, None) is None and not self._mpesa_any_doubt(program):
                activity.unlink()
        for program_id, found in doubts.items():
            self._mpesa_ask_to_settle(self.env["g2p.program"].browse(program_id), *found)

    def _mpesa_any_doubt(self, program):
        return self.search_count([("program_id", "=", program.id), ("mpesa_doubt_count", ">", 0)], limit=1)

    def _mpesa_ask_to_settle(self, program, count, amount, batch_id, sender_ids, oldest):
        batch = self.browse(batch_id)
        finance = batch._mpesa_finance_users()
        # Who sent may not settle.
        others = finance.filtered(lambda person: person.id not in sender_ids)
        user = others[:1] or finance[:1] or self.env.user
        batch = batch.with_context(lang=user.lang)
        batch.with_context(mail_activity_quick_update=True).activity_schedule(
            ACTIVITY,
            date_deadline=fields.Date.today(),
            summary=batch._mpesa_settle_summary(count, program),
            note=batch._mpesa_settle_note(amount, batch.mpesa_currency_id, oldest),
            user_id=user.id,
        )

    def _mpesa_settle_summary(self, count, program):
        return _("Payments of %(program)s in doubt: %(count)s", count=count, program=program.name)

    def _mpesa_settle_note(self, amount, currency, oldest):
        return _(
            "In all %(amount)s; the oldest was sent on %(day)s. Compare them with the gateway's statement,"
            " and settle them: Accounting, Payments, filter In Doubt.",
            amount=formatLang(self.env, amount, currency_obj=currency),
            day=format_date(self.env, oldest) if oldest else "-",
        )
