from collections import Counter, namedtuple
from datetime import timedelta
from uuid import uuid4

from odoo import _, api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import formatLang

from ..gateway.masking import mask_payee
from ..models import const, statement_facts, statement_match
from ..models.own_cursor import durably
from ..models.payment import NOT_FAILED, check_access

# What shows that a payment was paid: the receipt (or None), when, where that is written, in which statement.
Evidence = namedtuple("Evidence", "receipt paid_on note statement_id", defaults=(None,))


class SettleWizard(models.TransientModel):
    """A person of the finance group ends doubts, or writes off what was never sent."""

    _name = "g2p.payment.mpesa.settle.wizard"
    _description = "Settle M-Pesa Payments"

    payment_ids = fields.Many2many("g2p.payment", string="Payments", readonly=True)
    line_ids = fields.Many2many(
        "g2p.payment.mpesa.statement.line",
        "g2p_payment_mpesa_settle_line_rel",
        string="Lines of the Statement",
        readonly=True,
        help="The evidence, one line for each payment.",
    )
    attempt_ids = fields.Many2many(
        "g2p.payment.mpesa.attempt", string="What Was Tried", compute="_compute_attempt_ids"
    )
    fact_ids = fields.Many2many(
        "g2p.payment.mpesa.statement.line",
        string="What Statements Show",
        compute="_compute_fact_ids",
        help="Lines about these payments, and those that may be: nobody knows whom they paid.",
    )
    count = fields.Integer("Number", compute="_compute_totals")
    amount = fields.Monetary("Total", compute="_compute_totals")
    currency_id = fields.Many2one("res.currency", compute="_compute_totals")
    outcome = fields.Selection(
        [
            ("paid", "Paid: the gateway's records show it"),
            ("not_paid", "Not paid: the gateway's records show that it is not"),
            ("write_off", "Write off: was never sent, and shall not be"),
            ("allow_again", "Allow: was written off, and may be prepared again"),
        ],
        required=True,
    )
    receipt = fields.Char(help="The gateway's transaction id, as on its statement.")
    paid_amount = fields.Monetary(
        "Amount Paid",
        compute="_compute_paid_amount",
        store=True,
        readonly=False,
        help="What the gateway has paid, as on its statement, e.g. 90 of 100. The difference stays open.",
    )
    differs = fields.Boolean(compute="_compute_differs")
    paid_on = fields.Datetime(help="When the gateway paid, as on its statement.")
    reason = fields.Char(help="How you know. It is kept in the journal.")
    key = fields.Char(default=lambda self: str(uuid4()), readonly=True)

    @api.model
    def default_get(self, fields_list):
        values = super().default_get(fields_list)
        if self.env.context.get("active_model") == "g2p.payment" and "payment_ids" in fields_list:
            values["payment_ids"] = [fields.Command.set(self.env.context.get("active_ids", []))]
        if self.env.context.get("active_model") == "g2p.payment.mpesa.statement.line":
            lines = self.env["g2p.payment.mpesa.statement.line"].browse(
                self.env.context.get("active_ids", [])
            )
            values["line_ids"] = [fields.Command.set(lines.ids)]
            values["payment_ids"] = [fields.Command.set(lines.payment_id.ids)]
            values["outcome"] = "paid"
        return values

    @api.model_create_multi
    def create(self, vals_list):
        # Of one's own: by another one's, a decision would count as written down already.
        return super().create([{**vals, "key": str(uuid4())} for vals in vals_list])

    def write(self, vals):
        return super().write({name: value for name, value in vals.items() if name != "key"})

    @api.depends("payment_ids")
    def _compute_attempt_ids(self):
        for wizard in self:
            wizard.attempt_ids = wizard.payment_ids.mpesa_attempt_ids

    @api.depends("payment_ids")
    def _compute_fact_ids(self):
        for wizard in self:
            about = [
                ("payment_id", "in", wizard.payment_ids.ids),
                ("kind", "!=", "ours"),
                ("statement_id.state", "=", "compared"),
            ]
            near = statement_facts.unexplained_near(wizard.payment_ids.sudo())
            lines = self.env["g2p.payment.mpesa.statement.line"].sudo()
            wizard.fact_ids = lines.search(about) | lines.union(*near.values())

    @api.depends("payment_ids")
    def _compute_totals(self):
        for wizard in self:
            wizard.count = len(wizard.payment_ids)
            wizard.amount = sum(wizard.payment_ids.mapped("amount_issued"))
            wizard.currency_id = wizard.payment_ids[:1].currency_id

    @api.depends("payment_ids")
    def _compute_paid_amount(self):
        for wizard in self:
            payment = wizard.payment_ids[:1]
            wizard.paid_amount = payment.mpesa_gateway_amount or payment.amount_issued

    @api.depends("payment_ids", "paid_amount", "outcome", "line_ids")
    def _compute_differs(self):
        for wizard in self:
            issued = wizard.payment_ids[:1].amount_issued
            wizard.differs = wizard._gives_amount() and abs(issued - wizard.paid_amount) >= 0.005

    def _gives_amount(self):
        """Whether the person says how much was paid; a line of a statement shows the whole amount."""
        return self.outcome == "paid" and not self.line_ids

    def action_settle(self):
        """Settle all of the payments, or none.

        :raise AccessError: not a person of the finance group.
        :raise UserError: the person sent one of them, or one is not in the state for it.
        """
        self.ensure_one()
        self._check_person()
        self._check_evidence()
        durably(self.env, self._settle)
        self.env.invalidate_all()
        return {"type": "ir.actions.act_window_close"}

    def _check_person(self):
        if not self.env.user.has_group(const.FINANCE):
            raise AccessError(_("Payments are settled by people of the finance group."))
        check_access(self.payment_ids, "write")
        payments = self.payment_ids.sudo()
        sent = payments.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "payment")
        if self.env.user in payments.mpesa_sender_id | sent.user_id or self._has_sent(payments.batch_id):
            raise UserError(
                _(
                    "You have sent one of these payments, or its batch, yourself. Somebody else must settle"
                    " it, or write it off."
                )
            )
        never_sent = payments.filtered(lambda payment: payment.mpesa_state == const.READY)
        if self.outcome in ("write_off", "allow_again") or never_sent:
            self._check_no_part_in(payments)
        if self.outcome in ("write_off", "allow_again"):
            return
        if not all(payment.mpesa_sender_id for payment in payments - never_sent) and self._may_send():
            raise UserError(
                _(
                    "Nobody knows who sent one of these payments by the earlier module, and it may have been"
                    " you. Somebody who may not send payments must settle it."
                )
            )

    def _has_sent(self, batches):
        """Whether the user has ever clicked Send for one of them, whoever's jobs then sent it."""
        domain = [
            ("batch_id", "in", batches.ids),
            ("kind", "=", "sent"),
            ("user_id", "=", self.env.uid),
        ]
        return bool(self.env["g2p.payment.mpesa.event"].sudo().search_count(domain, limit=1))

    def _check_no_part_in(self, payments):
        """What was never sent has no sender; but somebody prepared it."""
        if self.env.user in payments.create_uid:
            raise UserError(
                _(
                    "You have prepared one of these payments yourself. Somebody else must write it off, or"
                    " settle it."
                )
            )

    def _may_send(self):
        return any(self.env.user.has_group(group) for group in (const.ADMIN, const.PROGRAM_MANAGER))

    def _evidence(self):
        """From the id of each payment that is paid to its :class:`Evidence`."""
        if self.outcome != "paid":
            return {}
        if not self.line_ids:
            return {payment.id: Evidence(self.receipt, self.paid_on, "") for payment in self.payment_ids}
        return {
            line.payment_id.id: Evidence(
                line.receipt or None,
                line.moment,
                _("Statement %(name)s, row %(row)s", name=line.statement_id.name, row=line.number),
                line.statement_id.id,
            )
            for line in self.line_ids
        }

    def _check_evidence(self):
        if self.line_ids:
            self._check_lines()
            return
        if self.outcome == "paid" and not (self.receipt and self.paid_on):
            raise ValidationError(_("Give the receipt and the day on which it was paid."))
        if self.outcome == "paid":
            self._check_receipts()
        if self.outcome == "not_paid":
            self._check_patience()
        if self.outcome in ("not_paid", "write_off"):
            self._check_no_statement()
        if self.outcome == "allow_again":
            self._check_written_off()
        if self.outcome == "paid" and len(self.payment_ids) > 1:
            raise ValidationError(_("A receipt is for one payment: settle paid ones one by one."))
        self._check_amount()
        if self.outcome != "paid" and not self.reason:
            raise ValidationError(_("Give a reason."))

    def _check_amount(self):
        if self.outcome == "paid" and not 0 < self.paid_amount < float("inf"):
            raise ValidationError(_("Give the amount that the gateway has paid."))
        if self.differs and not self.reason:
            raise ValidationError(_("Another amount than was issued was paid: give a reason."))

    def _check_lines(self):
        """A statement settles what it shows as paid, each by a line of its own."""
        lines = self.line_ids.sudo()
        if self.outcome != "paid" or statement_facts.lines_that_settle(lines) != lines.sorted():
            raise UserError(
                _(
                    "A line of a statement settles as paid, and nothing else: a doubt by reference, receipt"
                    " or payee; what was refused or never sent by reference or receipt alone. It must show"
                    " the whole amount, nothing of it may have come back, and nothing else may have been"
                    " paid for the entitlement."
                )
            )
        self._check_not_prepared_again()
        if len(self.line_ids) != len(self.payment_ids) or self.line_ids.payment_id != self.payment_ids:
            raise UserError(_("Each payment needs a line of the statement of its own."))
        if not all(line.moment for line in self.line_ids):
            raise ValidationError(_("Give the receipt and the day on which it was paid."))
        self._check_receipts()

    def _check_not_prepared_again(self):
        """What was paid is one payment: the one that was prepared in its place ends first."""
        payments = self.payment_ids.sudo()
        other = payments.search(
            [
                ("entitlement_id", "in", payments.entitlement_id.ids),
                ("id", "not in", payments.ids),
                *NOT_FAILED,
            ],
            limit=1,
        )
        if other:
            raise UserError(
                _(
                    "Another payment was prepared for the same entitlement: %s. Write it off, or settle it,"
                    " first.",
                    other.display_name,
                )
            )

    def _check_receipts(self):
        payments, evidence = self.payment_ids.sudo(), self._evidence()
        receipts = [proof.receipt for proof in evidence.values() if proof.receipt]
        same = [
            ("mpesa_receipt", "in", receipts),
            ("mpesa_manager_id", "in", payments.mpesa_manager_id.ids),
            ("id", "not in", payments.ids),
        ]
        other = payments.search(same, limit=1)
        if other or (self.line_ids and len(set(receipts)) < len(receipts)):
            raise ValidationError(
                _("This receipt is that of another payment: %s.", other.name or receipts[0])
            )
        for payment in payments:
            self._check_moment(payment, evidence[payment.id].paid_on)

    def _check_moment(self, payment, paid_on):
        # What was sent again may have been paid the first time.
        sent = payment.mpesa_first_sent_at or paid_on
        # A day for clocks and time zones.
        if not sent - timedelta(days=1) <= paid_on <= fields.Datetime.now() + timedelta(days=1):
            raise ValidationError(_("It can only have been paid between when it was sent and today."))

    def _check_written_off(self):
        if any(payment.mpesa_reason != "written_off" for payment in self.payment_ids):
            raise UserError(_("Only what was written off is allowed to be prepared again."))

    def _check_patience(self):
        """What is on its way may still arrive."""
        now = fields.Datetime.now()
        for payment in self.payment_ids.sudo().filtered("mpesa_sent_at"):
            minutes = payment.mpesa_manager_id._mpesa_grace()
            if payment.mpesa_sent_at > now - timedelta(minutes=minutes):
                raise UserError(
                    _("Wait until %s minutes after it was sent: the gateway may still carry it out.", minutes)
                )

    def _check_no_statement(self):
        """What a statement shows as paid is not to be prepared again."""
        shown = statement_facts.payments_shown_as_paid(self.payment_ids.sudo())
        if shown:
            lines = self.env["g2p.payment.mpesa.statement.line"].sudo()
            line = lines.search([("payment_id", "=", shown[0].id), ("kind", "=", "payment")], limit=1)
            raise UserError(
                _(
                    "The statement %(statement)s shows that this was paid: %(payment)s. Settle it as paid, by"
                    " the statement.",
                    statement=line.statement_id.name,
                    payment=shown[0].display_name,
                )
            )

        unclear = statement_facts.payments_not_understood(self.payment_ids.sudo())
        if unclear:
            raise UserError(
                _(
                    "A line of a statement names this payment, and is not understood: %s. Find out what it"
                    " says, or withdraw that comparison, first.",
                    unclear[0].display_name,
                )
            )

        if self.outcome == "not_paid":
            self._check_unexplained()

    def _check_unexplained(self):
        """A line of that amount and time may be the one, by whatever it names its payee."""
        found = statement_facts.unexplained_near(self.payment_ids.sudo())
        for payment, line in found.items():
            raise UserError(
                _(
                    "Row %(row)s of the statement %(statement)s may be about %(payment)s: it has the same"
                    " amount, at that time, and is about no other payment. Find out whom it paid, and explain"
                    " that line, first.",
                    row=line.number,
                    statement=line.statement_id.name,
                    payment=payment.display_name,
                )
            )

    def _statements(self, own, payments):
        """The statements of which the results follow from how these payments stand."""
        lines = own["g2p.payment.mpesa.statement.line"].search(
            [("payment_id", "in", payments.ids), ("result", "!=", False)]
        )
        return lines.statement_id

    def _settle(self, own):
        payments = own["g2p.payment"].browse(self.payment_ids.ids)
        journal = own["g2p.payment.mpesa.attempt"]
        # Written already, and only the connection was lost.
        if journal.search_count([("key", "=", f"{self.key}-{payments[:1].id}")], limit=1):
            return
        if self.outcome == "allow_again":
            self._allow_again(payments)
            journal._record([self._journal_row(own, payment, None) for payment in payments])
            self._tell(payments)
            return
        statements = self._statements(own, payments)
        sources, target = {
            "paid": (self._sources_of_paid(), const.PAID),
            "not_paid": ([const.DOUBT], const.REFUSED),
            "write_off": ([const.READY], const.REFUSED),
        }[self.outcome]
        moved = payments._mpesa_move(sources, target, self._rows(payments), confirmed=True)
        payments._mpesa_require(payments.ids, moved, target)
        evidence = self._evidence()
        for payment_id, proof in evidence.items():
            payments.browse(payment_id)._mpesa_paid_on(proof.paid_on)
        journal._record([self._journal_row(own, payment, evidence.get(payment.id)) for payment in payments])
        self._tell(payments)
        counts = Counter(payment.batch_id.id for payment in payments)
        payments.batch_id._mpesa_happened(self.outcome, numbers=counts)
        for statement in statements:
            statement_match.judge(statement)

    def _allow_again(self, payments):
        """It stays refused; a further Prepare makes another payment for its entitlement."""
        payments.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_allowed_again = true"
            " WHERE id = ANY(%s) AND mpesa_state = 'refused' AND mpesa_reason = 'written_off'",
            [payments.ids],
        )
        payments.invalidate_recordset()

    def _sources_of_paid(self):
        """A line of a statement, which was looked at, may show as paid what was refused or never sent."""
        return [const.DOUBT, const.READY, const.REFUSED] if self.line_ids else [const.DOUBT]

    def _rows(self, payments):
        reason = {"paid": "settled_paid", "not_paid": "settled_not_paid", "write_off": "written_off"}
        evidence = self._evidence()
        nothing = Evidence(None, None, "")
        return [
            {
                "id": payment.id,
                "mpesa_reason": reason[self.outcome],
                "mpesa_words": self.reason or evidence.get(payment.id, nothing).note or None,
                "mpesa_receipt": evidence.get(payment.id, nothing).receipt,
                **({"amount_paid": self._amount_paid(payment)} if self.outcome == "paid" else {}),
            }
            for payment in payments
        ]

    def _amount_paid(self, payment):
        return self.paid_amount if self._gives_amount() and self.differs else payment.amount_issued

    def _journal_row(self, own, payment, proof):
        words = (proof.receipt, fields.Datetime.to_string(proof.paid_on), proof.note) if proof else ()
        if self.differs:
            words = (*words, self._difference_in_words(payment))
        return {
            "key": f"{self.key}-{payment.id}",
            "kind": "decision",
            "manager_id": payment.mpesa_manager_id.id,
            "payment_id": payment.id,
            "batch_id": payment.batch_id.id or None,
            "reference": payment.mpesa_reference or None,
            "payee": mask_payee(payment.account_number),
            "amount": self._amount_paid(payment),
            "started": own.cr.now(),
            "outcome": self.outcome,
            "words": " ".join(filter(None, (*words, self.reason))),
            "user_id": self.env.uid,
            "statement_id": (proof and proof.statement_id) or None,
        }

    def _difference_in_words(self, payment):
        return _(
            "Paid: %(paid)s of %(issued)s.",
            paid=formatLang(self.env, self.paid_amount, currency_obj=payment.currency_id),
            issued=formatLang(self.env, payment.amount_issued, currency_obj=payment.currency_id),
        )

    def _tell(self, payments):
        outcome = dict(self._fields["outcome"]._description_selection(self.env))[self.outcome]
        for batch in payments.batch_id:
            own = payments.filtered(lambda payment, batch=batch: payment.batch_id == batch)
            body = _(
                "%(person)s has settled payments: %(count)s. %(outcome)s. %(reason)s",
                count=len(own),
                person=self.env.user.name,
                outcome=outcome,
                reason=self.reason or self.receipt or ", ".join(self.line_ids.statement_id.mapped("name")),
            )
            if self.differs:
                body += " " + self._difference_in_words(own[:1])
            batch._message_log(body=body)
