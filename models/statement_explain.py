"""A line of which nobody knows whom it paid may be about a doubt: until a person has found it out."""

from odoo import _, fields, models
from odoo.exceptions import AccessError, UserError

from . import const, statement_match
from .payment import check_access


class StatementLine(models.Model):
    _inherit = "g2p.payment.mpesa.statement.line"

    explained_at = fields.Datetime("Explained On", readonly=True)
    explained_by_id = fields.Many2one("res.users", readonly=True)
    explained_reason = fields.Char("What It Is", readonly=True)

    def init(self):
        self.env.cr.execute(
            """
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_statement_line_open_idx
                ON g2p_payment_mpesa_statement_line (moment)
                WHERE (payment_id IS NULL OR matched_by = 'masked')
                    AND explained_at IS NULL AND kind IN ('payment', 'unreadable');
            """
        )

    def action_explain(self):
        """The dialogue that asks what these lines are."""
        self._require_explainable()
        return {
            "type": "ir.actions.act_window",
            "name": _("Explain Lines"),
            "res_model": "g2p.payment.mpesa.explain.wizard",
            "views": [(False, "form")],
            "view_mode": "form",
            "target": "new",
            "context": {"default_line_ids": self.ids},
        }

    def _require_explainable(self):
        check_access(self, "read")
        if not self.env.user.has_group(const.FINANCE):
            raise AccessError(_("Lines of a statement are explained by people of the finance group."))
        lines = self.sudo()
        if not lines or any(
            line.statement_id.state != "compared"
            or line.kind not in ("payment", "unreadable")
            or (line.kind == "payment" and line.payment_id and line.matched_by != "masked")
            for line in lines
        ):
            raise UserError(
                _("Explained is what was paid out, or is not understood, and is about no payment here.")
            )

    def _explain(self, reason):
        """Keep what these lines are, by the word of the user. In this transaction.

        :raise AccessError: not a person of the finance group.
        :raise UserError: one of the lines is about a payment, or of a statement that was withdrawn.
        """
        self._require_explainable()
        lines = self.sudo()
        lines.write(
            {
                "explained_at": fields.Datetime.now(),
                "explained_by_id": self.env.uid,
                "explained_reason": reason,
            }
        )
        self.env.flush_all()
        for statement in lines.statement_id:
            rows = lines.filtered(lambda line, statement=statement: line.statement_id == statement)
            statement._message_log(
                body=_(
                    "%(person)s has explained the rows %(rows)s: %(reason)s",
                    person=self.env.user.name,
                    rows=", ".join(map(str, rows.sorted("number").mapped("number"))),
                    reason=reason,
                ),
                author_id=self.env.user.partner_id.id,
            )
            statement_match.judge(statement)
