from odoo import api, models

from ..models import const
from ..models.statement import RESULTS


class Signoff(models.AbstractModel):
    """What a finance officer signs when a cycle is closed: totals, and what is open. No payee is on it."""

    _name = "report.g2p_payment_simple_mpesa.signoff"
    _description = "M-Pesa Sign-off of a Cycle"

    @api.model
    def _get_report_values(self, docids, data=None):
        cycles = self.env["g2p.cycle"].browse(docids)
        return {
            "doc_ids": docids,
            "doc_model": "g2p.cycle",
            "docs": cycles,
            "figures": {cycle.id: self._figures(cycle) for cycle in cycles},
            "states": dict(self.env["g2p.payment"]._fields["mpesa_state"]._description_selection(self.env)),
        }

    def _figures(self, cycle):
        """The tables of a cycle: ``outcomes``, ``held_back`` and ``statement`` as lists of (words, number,
        amount), ``batches``, ``total`` (number, amount), ``currency``, ``open`` (number)."""
        payments = self.env["g2p.payment"]
        own = [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)]
        measures = ["__count", "amount_issued:sum"]
        groups = payments._read_group(own, ["mpesa_state"], measures)
        by_state = {state: (count, amount) for state, count, amount in groups}
        states = dict(payments._fields["mpesa_state"]._description_selection(self.env))
        reasons = dict(payments._fields["mpesa_reason"]._description_selection(self.env))
        held_back = payments._read_group(
            [*own, ("mpesa_state", "=", const.READY)], ["mpesa_reason"], measures
        )
        journal = cycle.sudo().program_id.journal_id
        return {
            "outcomes": [(states[state], *by_state[state]) for state in states if state in by_state],
            "total": (sum(row[1] for row in groups), sum(row[2] for row in groups)),
            "held_back": [(reasons.get(reason, ""), count, amount) for reason, count, amount in held_back],
            "batches": self.env["g2p.payment.batch"].search(
                [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)], order="id"
            ),
            "currency": journal.currency_id or journal.company_id.currency_id,
            "open": sum(
                count for state, count, _amount in groups if state not in (const.PAID, const.REFUSED)
            ),
            "statement": self._statement(cycle),
        }

    def _statement(self, cycle):
        """What imported statements say of the cycle's payments."""
        lines = self.env["g2p.payment.mpesa.statement.line"].sudo()
        groups = dict(
            lines._read_group(
                [("payment_id.cycle_id", "=", cycle.id), ("result", "not in", (False, "repeated"))],
                ["result"],
                ["payment_id:count_distinct"],
            )
        )
        words = dict(lines._fields["result"]._description_selection(self.env))
        return [(words[result], groups[result]) for result, _word in RESULTS if result in groups]
