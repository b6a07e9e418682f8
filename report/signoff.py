from urllib.parse import urlsplit

from odoo import api, fields, models

from ..models import const
from ..models.statement import RESULTS

# What is not closed, in the order in which it is looked into.
OPEN = (const.DOUBT, const.ACCEPTED, const.SENDING, const.READY)
# Of these somebody may have been paid: they are named one by one, up to so many.
PERHAPS_PAID = (const.DOUBT, const.ACCEPTED, const.SENDING)
MOST_NAMED = 50


class Signoff(models.AbstractModel):
    """What a finance officer signs when a cycle is closed: totals, and what is open.

    Whose payment is open is named; telephone numbers and accounts are not on it.
    """

    _name = "report.g2p_payment_simple_mpesa.signoff"
    _description = "M-Pesa Sign-off of a Cycle"

    @api.model
    def _get_report_values(self, docids, data=None):
        cycles = self.env["g2p.cycle"].browse(docids)
        cycles.sudo().program_id.with_env(self.env)._mpesa_check_access()
        return {
            "doc_ids": docids,
            "doc_model": "g2p.cycle",
            "docs": cycles,
            "figures": {cycle.id: self._figures(cycle) for cycle in cycles},
            "printed": fields.Datetime.now(),
            "printed_by": self.env.user.name,
            "zone": self.env.context.get("tz") or self.env.user.tz or "UTC",
        }

    def _figures(self, cycle):
        """The tables of a cycle.

        :return: a dict of ``outcomes`` as a list of (words, number, amount), ``total`` (number, amount),
            ``open`` (number), ``open_rows`` as a list of (state, reason, number, amount) in words, ``named``
            (payments that may have been paid, at the most ``MOST_NAMED``), ``perhaps_paid`` (their number),
            ``batches``, ``statement``, ``currency``, and what :meth:`_gateways` gives.
        """
        payments = self.env["g2p.payment"]
        own = [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)]
        groups = payments._read_group(own, ["mpesa_state", "mpesa_reason"], ["__count", "amount_issued:sum"])
        states = self._words("mpesa_state")
        outcomes = [(words, *_total(groups, (state,))) for state, words in states.items()]
        return {
            "outcomes": [row for row in outcomes if row[1]],
            "total": _total(groups, states),
            "open": _total(groups, OPEN)[0],
            "open_rows": self._open_rows(groups),
            "perhaps_paid": _total(groups, PERHAPS_PAID)[0],
            "named": self._named(cycle),
            "states": states,
            "batches": self.env["g2p.payment.batch"].search(
                [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)], order="id"
            ),
            "currency": cycle.sudo().program_id._mpesa_currency(),
            "statement": self._statement(cycle),
            **self._gateways(cycle),
        }

    def _words(self, name):
        return dict(self.env["g2p.payment"]._fields[name]._description_selection(self.env))

    def _open_rows(self, groups):
        states, reasons = self._words("mpesa_state"), self._words("mpesa_reason")
        return [
            (states[state], reasons.get(reason, ""), count, amount)
            for state in OPEN
            for found, reason, count, amount in groups
            if found == state
        ]

    def _named(self, cycle):
        payments = self.env["g2p.payment"].search(
            [("cycle_id", "=", cycle.id), ("mpesa_state", "in", PERHAPS_PAID)], limit=MOST_NAMED + 1
        )
        if len(payments) > MOST_NAMED:
            return payments.browse()
        return payments.sorted(lambda payment: (PERHAPS_PAID.index(payment.mpesa_state), payment.id))

    def _gateways(self, cycle):
        """By which gateways the cycle was paid, as they are set up now.

        :return: a dict of ``gateways`` as a list of (name, host, mode in words), ``test`` (whether one is in
            test mode), and ``elsewhere``: how many payments were sent when it was set up otherwise.
        """
        payments = self.env["g2p.payment"].sudo()
        own = [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)]
        own.append(("mpesa_manager_id", "!=", False))
        managers = payments._read_group(own, ["mpesa_manager_id", "mpesa_gateway"], ["__count"])
        modes = dict(cycle._fields["mpesa_mode"]._description_selection(self.env))
        gateways = {
            manager: (
                manager.name,
                urlsplit(manager.payment_endpoint_url or "").hostname or "-",
                modes.get(manager.mode, "-"),
            )
            for manager, _digest, _count in managers
        }
        return {
            "gateways": list(gateways.values()),
            "test": any(manager.mode == "test" for manager in gateways),
            "elsewhere": sum(
                count for manager, digest, count in managers if digest and digest != manager._mpesa_gateway()
            ),
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


def _total(groups, states):
    """Number and amount of the groups (state, reason, number, amount) of these states."""
    found = [(count, amount) for state, _reason, count, amount in groups if state in states]
    return sum(count for count, _amount in found), sum(amount for _count, amount in found)
