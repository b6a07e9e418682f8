"""A comparison can be taken back: other columns, other words, another account. Nothing of it is deleted."""

from odoo import _, fields, models
from odoo.exceptions import AccessError, UserError

from . import const, statement_match
from .payment import check_access

# Payments that were settled as paid with a line of this statement as evidence. What was settled before the
# journal named the statement may have been settled by it.
SETTLED_BY = """
    SELECT DISTINCT a.payment_id, a.user_id FROM g2p_payment_mpesa_attempt a
     WHERE a.kind = 'decision' AND a.outcome = 'paid' AND (a.statement_id = %(id)s OR a.statement_id IS NULL
           AND EXISTS (SELECT FROM g2p_payment_mpesa_statement_line l WHERE l.statement_id = %(id)s
                          AND l.payment_id = a.payment_id AND l.kind = 'payment'))
"""
# Doubts that were settled as not paid after it had been compared, and that were sent in its time.
NOT_PAID_SINCE = """
    SELECT DISTINCT a.payment_id FROM g2p_payment_mpesa_attempt a JOIN g2p_payment p ON p.id = a.payment_id
     WHERE a.kind = 'decision' AND a.outcome = 'not_paid' AND a.manager_id = ANY(%(managers)s)
       AND a.started > %(compared)s AND p.mpesa_sent_at BETWEEN %(first)s AND %(last)s
"""
# Other compared statements with lines about the same entitlements: what follows there follows anew.
NEIGHBOURS = """
    SELECT DISTINCT other.statement_id FROM g2p_payment_mpesa_statement_line own
      JOIN g2p_payment p ON p.id = own.payment_id JOIN g2p_payment q ON q.entitlement_id = p.entitlement_id
      JOIN g2p_payment_mpesa_statement_line other ON other.payment_id = q.id
      JOIN g2p_payment_mpesa_statement s ON s.id = other.statement_id
     WHERE own.statement_id = %(id)s AND other.statement_id <> %(id)s AND s.state = 'compared'
"""


class StatementWithdraw(models.AbstractModel):
    """Taking the comparison of a statement back."""

    _name = "g2p.mpesa.statement.withdraw.mixin"
    _description = "M-Pesa Statement: Withdraw"

    compared_at = fields.Datetime(readonly=True, copy=False)
    withdrawn_by_id = fields.Many2one("res.users", "Withdrawn by", readonly=True, copy=False)
    withdrawn_at = fields.Datetime("Withdrawn On", readonly=True, copy=False)
    withdrawn_reason = fields.Char("Why It Was Withdrawn", readonly=True, copy=False)

    def action_withdraw(self):
        """The dialogue that shows what rests on this comparison, and asks why it is taken back."""
        self.ensure_one()
        self._require_finance()
        return {
            "type": "ir.actions.act_window",
            "name": _("Withdraw the Comparison"),
            "res_model": "g2p.payment.mpesa.withdraw.wizard",
            "views": [(False, "form")],
            "view_mode": "form",
            "target": "new",
            "context": {"default_statement_id": self.id},
        }

    def _require_finance(self):
        check_access(self, "read")
        if not self.env.user.has_group(const.FINANCE):
            raise AccessError(_("A comparison is withdrawn by people of the finance group."))
        if self.state != "compared":
            raise UserError(_("Only a statement that was compared can be withdrawn."))

    def _settled_by_it(self):
        """The payments that were settled as paid by it, and the users who did."""
        self.env.cr.execute(SETTLED_BY, {"id": self.id})
        rows = self.env.cr.fetchall()
        payments = self.env["g2p.payment"].browse(payment_id for payment_id, _user in rows)
        return payments, self.env["res.users"].browse({user_id for _payment, user_id in rows if user_id})

    def _not_paid_since(self):
        """The payments of its time that were settled as not paid while it stood."""
        parameters = {
            "managers": statement_match.values_of(self)["managers"],
            "compared": self.compared_at or self.create_date,
            "first": self.period_from,
            "last": self.period_to,
        }
        self.env.cr.execute(NOT_PAID_SINCE, parameters)
        return self.env["g2p.payment"].browse(row[0] for row in self.env.cr.fetchall())

    def _withdraw(self, reason):
        """Take it back: nothing rests on it from now on. In this transaction.

        :param str reason: why; it is kept.
        :raise UserError: it has settled something, and this person compared it or settled by it.
        """
        self._require_finance()
        own = self.sudo()
        payments, people = own._settled_by_it()
        if payments and self.env.user in people | own.compared_by_id:
            raise UserError(
                _(
                    "Payments were settled by this statement: %s. Somebody else is to withdraw it, who has"
                    " neither compared it nor settled by it.",
                    len(payments),
                )
            )
        own.write(
            {
                "state": "withdrawn",
                "withdrawn_by_id": self.env.uid,
                "withdrawn_at": fields.Datetime.now(),
                "withdrawn_reason": reason,
            }
        )
        own.flush_recordset()
        words = _("%(person)s has withdrawn it: %(why)s", person=self.env.user.name, why=reason)
        own._message_log(body=words)
        own._tell_what_rested_on_it(payments)
        self.env.cr.execute(NEIGHBOURS, {"id": self.id})
        for statement in own.browse(row[0] for row in self.env.cr.fetchall()):
            statement_match.judge(statement)

    def _tell_what_rested_on_it(self, payments):
        """Nobody takes a payment back by itself: finance looks at each that has lost its evidence."""
        for batch in payments.batch_id:
            batch._mpesa_schedule_for_finance(
                _("Look at payments again: %s", self.name),
                _(
                    "Payments of this batch were settled as paid by the statement %(statement)s, which is"
                    " withdrawn: %(count)s. Compare them with the gateway's records.",
                    statement=self.name,
                    count=len(payments.filtered(lambda p, batch=batch: p.batch_id == batch)),
                ),
            )
