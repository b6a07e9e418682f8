from odoo import _, api, fields, models
from odoo.exceptions import UserError

from . import const, figures
from .payment import check_access


class PaymentBatch(models.Model):
    _name = "g2p.payment.batch"
    _inherit = [
        "g2p.payment.batch",
        "g2p.mpesa.tell.mixin",
        "g2p.mpesa.timeline.mixin",
        "mail.thread",
        "mail.activity.mixin",
    ]

    # What became of a batch is not copied.
    payment_ids = fields.Many2many(copy=False)
    batch_has_started = fields.Boolean(copy=False)
    batch_has_completed = fields.Boolean(copy=False)
    stats_issued_transactions = fields.Integer(copy=False)
    stats_issued_amount = fields.Float(copy=False)
    stats_sent_transactions = fields.Integer(copy=False)
    stats_sent_amount = fields.Float(copy=False)
    stats_paid_transactions = fields.Integer(copy=False)
    stats_paid_amount = fields.Float(copy=False)
    stats_failed_transactions = fields.Integer(copy=False)
    stats_failed_amount = fields.Float(copy=False)
    mpesa_state = fields.Selection(
        [
            ("ready", "Ready"),
            ("under_way", "Under way"),
            ("stopped", "Not all sent"),
            ("doubt", "In doubt"),
            ("done", "Done"),
        ],
        "Outcome",
        readonly=True,
        copy=False,
    )
    mpesa_reason = fields.Selection(const.REASONS, "Why It Stopped", readonly=True, copy=False)
    mpesa_words = fields.Char("The Gateway's Words", readonly=True, copy=False)
    mpesa_short_amount = fields.Float(
        "Open Difference", readonly=True, copy=False, help="What was issued and not paid, of paid payments."
    )
    mpesa_over_amount = fields.Float("Paid Too Much", readonly=True, copy=False)
    mpesa_ready_count = fields.Integer("Ready", readonly=True, copy=False)
    mpesa_under_way_count = fields.Integer("On Its Way", readonly=True, copy=False)
    mpesa_doubt_count = fields.Integer("In Doubt", readonly=True, copy=False)
    mpesa_doubt_amount = fields.Float("Amount in Doubt", readonly=True, copy=False)

    mpesa_wanted_by_id = fields.Many2one(
        "res.users",
        "To Be Sent For",
        readonly=True,
        copy=False,
        help="Whoever clicked Send; empty once there is nothing left to send, or something must be mended.",
    )

    mpesa_wanted_mode = fields.Selection(
        const.MODES,
        "Mode When Sent For",
        readonly=True,
        copy=False,
        help="The gateway's mode when somebody clicked Send; in another one, what is left does not go out.",
    )

    # They follow from the payments.
    FIXED = {"batch_has_started", "batch_has_completed"}

    def action_mpesa_refresh_status(self):
        """Ask the gateway now for the batch's payments of which it has not said how they went."""
        check_access(self, "read")
        domain = [("batch_id", "in", self.ids), ("mpesa_state", "in", (const.ACCEPTED, const.DOUBT))]
        return self.env["g2p.payment"].search(domain, order="mpesa_next_check, id")._mpesa_ask_now()

    def _mpesa_refresh_figures(self):
        """Count the figures anew, where payments came or went. In this transaction.

        A move carries them forward by itself. The rows are locked first and counted by a second statement,
        which then sees what others have committed in the meantime.
        """
        if not self.ids:
            return
        self.env["g2p.payment"].flush_model()
        self.flush_recordset()
        self.env.cr.execute(
            "SELECT id FROM g2p_payment_batch WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [self.ids]
        )
        self.env.cr.execute(figures.recount(), {"ids": self.ids})
        self.invalidate_recordset()

    @api.model_create_multi
    def create(self, vals_list):
        for vals in vals_list:
            self._mpesa_check_figures({name: value for name, value in vals.items() if value})
        context = {name: value for name, value in self.env.context.items() if not name.startswith("default_")}
        own = self.with_env(self.env(context=context))
        return super(PaymentBatch, own).create(vals_list).with_env(self.env)

    def _mpesa_check_figures(self, vals):
        """Refuse what follows from the payments, whoever writes it."""
        if any(name.startswith(("mpesa_", "stats_")) and name != "stats_datetime" for name in vals):
            raise UserError(_("A batch's figures follow from its payments."))

    def write(self, vals):
        self._mpesa_check_figures(vals)
        if set(vals) & self.FIXED and any(self.mapped("mpesa_state")):
            raise UserError(_("Whether a batch has started or is complete follows from its payments."))
        return super().write(vals)

    def _mpesa_note_stop(self, reason, words):
        """Say on the batches why their rest was not sent, and let the finance group know.

        :param str reason: a code of ``const.REASONS``, or "" when nothing stopped.
        :param str words: the gateway's own, masked.
        """
        stopped = self.filtered("mpesa_ready_count") if reason else self.browse()
        self.env.cr.execute(
            "UPDATE g2p_payment_batch SET"
            " mpesa_reason = CASE WHEN id = ANY(%s) THEN %s END,"
            " mpesa_words = CASE WHEN id = ANY(%s) THEN %s END"
            " WHERE id = ANY(%s) AND (mpesa_reason IS NOT NULL OR id = ANY(%s))",
            [stopped.ids, reason, stopped.ids, words, self.ids, stopped.ids],
        )
        self.invalidate_recordset()
        if stopped:
            stopped._mpesa_happened("stopped", reason=reason)
            stopped[0]._mpesa_call_finance(stopped, reason, words)

    def _mpesa_want(self, user, mode):
        """Remember for whom the batch is being sent, so that a job that fails is made good.

        :param str mode: that of the gateway, as the user has seen it.
        """
        self.env.cr.execute(
            "UPDATE g2p_payment_batch SET mpesa_wanted_by_id = %s, mpesa_wanted_mode = %s WHERE id = ANY(%s)",
            [user.id, mode, self.ids],
        )
        self.invalidate_recordset(["mpesa_wanted_by_id", "mpesa_wanted_mode"])

    def _mpesa_want_no_more(self, stopped):
        """Nobody waits for these any more: nothing is left that can go out, or a person must act first."""
        self.env.cr.execute(
            "UPDATE g2p_payment_batch b SET mpesa_wanted_by_id = NULL"
            " WHERE id = ANY(%s) AND mpesa_wanted_by_id IS NOT NULL AND (%s OR NOT EXISTS ("
            "     SELECT 1 FROM g2p_payment p WHERE p.batch_id = b.id AND p.mpesa_state = 'ready'"
            "     AND (p.mpesa_reason IS NULL OR p.mpesa_reason IN ('unreachable', 'circuit'))))",
            [self.ids, stopped],
        )

    def _mpesa_call_finance(self, stopped, reason, words):
        """Tell the finance group that batches are stopped."""
        summary = _("Payments are stopped: %s", self._mpesa_sentence(reason))
        note = _(
            "Payments that were not sent and stay ready: %(count)s. Batches: %(batches)s. The gateway says: "
            "%(words)s. Once the cause is mended, Send goes on where it stopped.",
            count=sum(stopped.mapped("mpesa_ready_count")),
            batches=len(stopped),
            words=words or "-",
        )
        self._mpesa_call_finance_once(summary, note)

    def _mpesa_call_finance_once(self, summary, note):
        """One open activity of a kind for the finance group and a program, however often it is called."""
        batches = self.search([("program_id", "=", self.program_id.id)])
        if not batches.activity_ids.filtered(lambda activity: activity.summary == summary):
            self._mpesa_schedule_for_finance(summary, note)

    def _mpesa_schedule_for_finance(self, summary, note):
        user = self._mpesa_finance_users()[:1] or self.env.user
        self.with_context(mail_activity_quick_update=True).activity_schedule(
            "mail.mail_activity_data_todo", summary=summary, note=note, user_id=user.id
        )

    def _mpesa_sentence(self, reason):
        return dict(self._fields["mpesa_reason"]._description_selection(self.env)).get(reason, reason)

    def _mpesa_finance_users(self):
        """The people of the finance group of the batch's company, or else the administrators."""
        company = self.program_id.company_id or self.env.company
        domain = [("share", "=", False), ("company_ids", "in", company.ids)]
        users = self.env["res.users"].sudo().search(domain, order="id")
        finance = users.filtered(lambda user: user.has_group(const.FINANCE))
        return finance or users.filtered(lambda user: user.has_group(const.ADMIN))
