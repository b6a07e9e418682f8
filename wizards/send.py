import re
from urllib.parse import urlsplit

from odoo import _, api, fields, models
from odoo.exceptions import UserError
from odoo.tools import formatLang

from ..models import const
from ..models.inside import without_defaults
from ..models.own_cursor import durably
from ..models.payment import check_access
from ..models.reconciliation import HeldBack, file_name
from ..models.send_preview import preview, repeated_payees

# Batches that are told, each, that they are sent.
MOST_NOTED = 50
# Payees whose rows are shown at once.
MOST_SHOWN = 1000
# What people write between the digits of an amount, by the language's habit.
_SPACES = re.compile(r"[\s\u00a0\u202f']")


class SendWizard(models.TransientModel):
    """What is to be sent, before it is: a person looks at it, and decides."""

    _name = "g2p.payment.mpesa.send.wizard"
    _description = "Send M-Pesa Payments"

    manager_id = fields.Many2one("g2p.program.payment.manager.mpesa", readonly=True, required=True)
    batch_ids = fields.Many2many("g2p.payment.batch", readonly=True)
    payment_ids = fields.Many2many("g2p.payment", readonly=True, help="Only these; empty for all.")
    # Only what is in the gateway's currency is sent.
    currency_id = fields.Many2one(related="manager_id.gateway_currency_id")
    currency_differs = fields.Boolean(related="manager_id.currency_differs")
    program_currency_id = fields.Many2one(related="manager_id.program_currency_id")
    mode = fields.Selection(related="manager_id.mode")
    no_country = fields.Boolean(related="manager_id.mpesa_no_country")
    gateway = fields.Char(compute="_compute_gateway")
    count = fields.Integer("Payments", readonly=True)
    amount = fields.Monetary("To Be Sent", readonly=True)
    balance_known = fields.Boolean(readonly=True)
    balance = fields.Monetary("Float", readonly=True)
    balance_after = fields.Monetary("Float Afterwards", compute="_compute_balance_after")
    balance_reason = fields.Selection(const.REASONS, "Why the Float Is Not Known", readonly=True)
    has_balance_url = fields.Boolean(compute="_compute_gateway")
    held_ids = fields.One2many(
        "g2p.payment.mpesa.send.held", "wizard_id", "Why They Cannot Be Paid", readonly=True
    )
    held_count = fields.Integer("Cannot Be Paid", readonly=True)
    repeated_count = fields.Integer("Payees That Occur More Than Once", readonly=True)
    not_prepared_count = fields.Integer("Not Prepared", readonly=True)
    under_way_count = fields.Integer("On Their Way", readonly=True)
    doubt_count = fields.Integer("In Doubt", readonly=True)
    paid_count = fields.Integer("Paid Already", readonly=True)
    refused_count = fields.Integer("Refused", readonly=True)
    has_grown = fields.Boolean(readonly=True)
    others = fields.Char("Of Other Managers", readonly=True)
    changed_count = fields.Integer("Payees Changed Since They Were Prepared", readonly=True)
    shown = fields.Char(readonly=True, help="To which gateway and in which mode, as a digest.")
    shown_payments = fields.Text(
        readonly=True, prefetch=False, help="Which payments, to whom and how much, as digests."
    )
    has_moved = fields.Boolean(readonly=True)
    must_type = fields.Boolean(compute="_compute_must_type")
    typed_amount = fields.Char("Type the Amount", help="The whole sum that is to be sent, e.g. 65,750.")

    @api.depends("manager_id")
    def _compute_gateway(self):
        for wizard in self:
            host = urlsplit(wizard.manager_id.payment_endpoint_url or "").hostname or "-"
            wizard.gateway = f"{wizard.manager_id.name} ({host})"
            wizard.has_balance_url = bool(wizard.manager_id.balance_endpoint_url)

    @api.depends("amount", "balance")
    def _compute_balance_after(self):
        for wizard in self:
            wizard.balance_after = wizard.balance - wizard.amount

    @api.depends("amount", "count", "manager_id.mode", "manager_id.confirm_above")
    def _compute_must_type(self):
        for wizard in self:
            manager = wizard.manager_id
            wizard.must_type = (
                manager.mode == "live" and wizard.count > 0 and wizard.amount > manager.confirm_above
            )

    @api.model
    def _open(self, manager, batches, payments=None):
        """A dialogue about the ready payments of ``manager`` in ``batches``.

        :param payments: only these of them; None for all.
        """
        found = preview(manager, batches, payments)
        balance, reason = manager._mpesa_balance() if found.sendable.count else (None, "")
        # By nobody else: what it shows is what is there.
        wizard = (
            without_defaults(self)
            .sudo()
            .create(
                {
                    "manager_id": manager.id,
                    "shown": self._where(manager),
                    "batch_ids": [fields.Command.set(batches.ids)],
                    "payment_ids": [fields.Command.set(payments.ids if payments else [])],
                    "balance_known": balance is not None,
                    "balance": balance or 0,
                    "balance_reason": reason,
                    "not_prepared_count": batches.cycle_id.sudo()._mpesa_not_prepared()[0],
                    "others": self._others(manager, batches),
                    **self._counts(found),
                }
            )
        )
        return wizard.with_env(self.env)._action()

    @api.model
    def _others(self, manager, batches):
        cycle_ids, batch_ids = batches.cycle_id.ids, batches.ids
        return durably(
            manager.env, lambda own: manager.with_env(own)._mpesa_words_of_others(cycle_ids, batch_ids)
        )

    @api.model_create_multi
    def create(self, vals_list):
        self._check_hands({name for vals in vals_list for name in vals})
        return super().create(vals_list)

    def write(self, vals):
        self._check_hands(set(vals) - {"typed_amount"})
        return super().write(vals)

    def _check_hands(self, names):
        if names and not self.env.su:
            raise UserError(_("What this dialogue shows is not written by hand. Click Send again."))

    @api.model
    def _counts(self, found):
        states = {state: totals.count for state, totals in found.states.items()}
        return {
            "count": found.sendable.count,
            "amount": found.sendable.amount,
            "repeated_count": len(found.repeated),
            "changed_count": found.changed,
            "shown_payments": found.shown,
            "held_count": sum(totals.count for totals in found.held.values()),
            "held_ids": [
                fields.Command.clear(),
                *(
                    fields.Command.create({"reason": reason, "count": totals.count, "amount": totals.amount})
                    for reason, totals in sorted(found.held.items(), key=lambda pair: -pair[1].count)
                ),
            ],
            "under_way_count": states.get(const.SENDING, 0) + states.get(const.ACCEPTED, 0),
            "doubt_count": states.get(const.DOUBT, 0),
            "paid_count": states.get(const.PAID, 0),
            "refused_count": states.get(const.REFUSED, 0),
        }

    def _action(self):
        return {
            "type": "ir.actions.act_window",
            "name": _("Send Payments"),
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
        }

    def action_send(self):
        """Send what was shown. What does not go out stays ready.

        :return: a client action: a notification, or the dialogue again if there is more than was shown, or
            the gateway or its mode is another.
        :raise UserError: the amount is to be typed, and another one was.
        """
        self.ensure_one()
        # One's own dialogue: who sends has seen it.
        check_access(self, "write")
        if self._has_moved() or self._has_grown():
            return self._action()
        self._check_typed_amount()
        self._note()
        if self.payment_ids:
            return self.manager_id._send_some(self.payment_ids)
        return self.manager_id._mpesa_send(self.batch_ids)

    @api.model
    def _where(self, manager):
        return f"{manager.mode} {manager._mpesa_gateway()}"

    def _has_moved(self):
        """Whether it would go elsewhere than was shown, or for real money; then that is shown first."""
        where = self._where(self.manager_id)
        if where == self.shown:
            return False
        balance, reason = self.manager_id._mpesa_balance()
        self.sudo().write(
            {
                "shown": where,
                "has_moved": True,
                "typed_amount": False,
                "balance_known": balance is not None,
                "balance": balance or 0,
                "balance_reason": reason,
            }
        )
        return True

    def _has_grown(self):
        """Whether something else would go out than was shown: more, to another payee, another amount.

        Then that is shown first. People and amounts may have been corrected since.
        """
        found = preview(self.manager_id, self.batch_ids, self.payment_ids)
        seen = set((self.sudo().shown_payments or "").split())
        if seen.issuperset(found.shown.split()):
            return False
        self.sudo().write({**self._counts(found), "has_grown": True, "typed_amount": False})
        return True

    def _note(self):
        """Keep on the batches, or on the cycle where they are many, who sends what they were shown."""
        mode = dict(self.manager_id._fields["mode"]._description_selection(self.env))[self.manager_id.mode]
        body = _(
            "%(person)s sends %(amount)s by %(gateway)s. Payments: %(count)s.",
            person=self.env.user.name,
            count=self.count,
            amount=formatLang(self.env, self.amount, currency_obj=self.currency_id),
            gateway=f"{self.gateway}, {mode}",
        )
        batches = self.batch_ids
        records = batches if len(batches) <= MOST_NOTED else batches.cycle_id
        # It stays, whatever becomes of this request.
        author = self.env.user.partner_id.id

        def note(own):
            for record in own[records._name].sudo().browse(records.ids):
                record._message_log(body=body, author_id=author)

        if self.count:
            durably(self.env, note)

    def _check_typed_amount(self):
        if self.must_type and self.amount not in amounts_in(self.typed_amount or ""):
            raise UserError(
                _(
                    "Type the amount that is to be sent, to confirm it: %s",
                    formatLang(self.env, self.amount, currency_obj=self.currency_id),
                )
            )

    # One click from each number to the rows

    def action_open_repeated(self):
        """The payments, in the whole cycle, of payees that occur more than once."""
        ids = self.payment_ids.ids or None
        which = [self.batch_ids.ids, self.manager_id.id, ids, ids]
        payees = [text for texts in repeated_payees(self.env, which)[:MOST_SHOWN] for text in texts]
        return self._open_payments(
            _("Payees That Occur More Than Once"),
            [("account_number", "in", payees), ("mpesa_state", "!=", const.REFUSED)],
            batches=self.batch_ids.cycle_id.payment_batch_ids,
        )

    def action_open_changed(self):
        """The payments whose payee is another one than when they were prepared."""
        return self._open_payments(
            _("Payees Changed Since They Were Prepared"),
            [("mpesa_state", "=", const.READY), ("mpesa_payee_changed", "=", True)],
        )

    def action_open_under_way(self):
        """The payments that the gateway has, and has not said how they went."""
        states = (const.SENDING, const.ACCEPTED)
        return self._open_payments(_("On Their Way"), [("mpesa_state", "in", states)])

    def action_open_doubt(self):
        """The payments in doubt."""
        return self._open_payments(_("In Doubt"), [("mpesa_state", "=", const.DOUBT)])

    def action_open_refused(self):
        """The payments that were refused."""
        return self._open_payments(_("Refused"), [("mpesa_state", "=", const.REFUSED)])

    def action_export_held(self):
        """Download who cannot be paid, and why."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_url",
            "url": f"/g2p_mpesa/held/{self.id}/csv",
            "target": "self",
        }

    def _held_back(self):
        """Who cannot be paid, as a :class:`HeldBack`, noted in the chatter of the cycles.

        :raise AccessError: who may not send, or another's dialogue.
        """
        self.ensure_one()
        check_access(self, "write")
        user = self.env.user
        # As in the list of payments.
        masked = not (user.has_group(const.FINANCE) or user.has_group(const.ADMIN))
        for cycle in self.batch_ids.cycle_id.sudo():
            cycle._message_log(
                body=_("%s has exported who cannot be paid.", user.name), author_id=user.partner_id.id
            )
        head = [_("Beneficiary"), _("Payee"), _("Amount"), _("Currency"), _("Reason")]
        return HeldBack(self, head, masked)

    def _held_file_name(self, ending):
        what = _("Cannot Be Paid")
        return file_name(self, f"{self.manager_id.program_id.name} - {what}", ending)

    def _open_payments(self, name, domain, batches=None):
        self.ensure_one()
        return (batches or self.batch_ids)._mpesa_payments_action(
            name, [*domain, ("mpesa_manager_id", "=", self.manager_id.id)]
        )


class SendHeld(models.TransientModel):
    """Why some of the payments cannot be paid: a line for each reason."""

    _name = "g2p.payment.mpesa.send.held"
    _description = "Payments That Cannot Be Sent"

    wizard_id = fields.Many2one("g2p.payment.mpesa.send.wizard", required=True, ondelete="cascade")
    currency_id = fields.Many2one("res.currency", compute="_compute_currency_id")
    reason = fields.Selection(const.REASONS, readonly=True)
    count = fields.Integer("Payments", readonly=True)
    amount = fields.Monetary(readonly=True)

    @api.depends("reason", "wizard_id.currency_id")
    def _compute_currency_id(self):
        for held in self:
            is_other = held.reason == "other_currency"
            wizard = held.wizard_id
            held.currency_id = wizard.program_currency_id if is_other else wizard.currency_id

    def action_open(self):
        """The payments that are held back for this reason."""
        self.ensure_one()
        return self.wizard_id._open_payments(
            self.wizard_id.batch_ids._mpesa_sentence(self.reason),
            [("mpesa_state", "=", const.READY), ("mpesa_reason", "=", self.reason)],
        )


def amounts_in(text):
    """What a typed amount may mean: with a comma or a point for the thousands, or for the cents."""
    plain = _SPACES.sub("", text)
    found = set()
    for thousands, cents in ((",", "."), (".", ",")):
        candidate = plain.replace(thousands, "").replace(cents, ".")
        if re.fullmatch(r"\d+(\.\d{1,2})?", candidate):
            found.add(float(candidate))
    return found
