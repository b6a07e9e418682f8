from collections import Counter
from urllib.parse import urlsplit

from odoo import _, api, fields, models

from ..models import const, statement_match
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

        :return: a dict of ``outcomes`` as a list of (words, number, amount), ``total`` (number, amount), of
            which ``short`` is the open difference and ``over`` was paid too much (number, amount),
            ``open`` (number), ``open_rows`` as a list of (state, reason, number, amount) in words,
            ``not_prepared`` (number and amount of approved entitlements without a payment), ``named``
            (payments that may have been paid, at the most ``MOST_NAMED``), ``perhaps_paid`` (their number),
            ``batches``, ``statement``, ``currency``, and what :meth:`_gateways` gives.
        """
        payments = self.env["g2p.payment"]
        own = [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)]
        groups = payments._read_group(
            own,
            ["mpesa_state", "mpesa_reason"],
            ["__count", "amount_issued:sum", "amount_paid:sum"],
        )
        # What was paid is what the gateway has paid.
        groups = [
            (state, reason, count, paid if state == const.PAID else issued)
            for state, reason, count, issued, paid in groups
        ]
        short, short_amount, over, over_amount = cycle.sudo()._mpesa_differences()
        states = self._words("mpesa_state")
        total = _total(groups, states)
        outcomes = [(words, *_total(groups, (state,))) for state, words in states.items()]
        return {
            "outcomes": [row for row in outcomes if row[1]],
            "total": (total[0], total[1] + short_amount - over_amount),
            "short": (short, short_amount),
            "over": (over, over_amount),
            "open": _total(groups, OPEN)[0],
            "open_rows": self._open_rows(groups),
            "not_prepared": cycle.sudo()._mpesa_not_prepared(),
            "perhaps_paid": _total(groups, PERHAPS_PAID)[0],
            "named": self._named(cycle),
            "states": states,
            "batches": self.env["g2p.payment.batch"].search(
                [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)], order="id"
            ),
            "currency": cycle.sudo().mpesa_currency_id,
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
        """By which gateways the cycle was paid, and in which mode each payment was sent.

        :return: a dict of ``gateways`` as a list of (name, host as it is set up now, mode in words, number
            sent in it), ``test_sent`` (how many were sent in test mode), ``test`` (whether some were, or it
            is the mode now where none was sent in a known one), and ``elsewhere``: how many payments were
            sent when it was set up otherwise.
        """
        payments = self.env["g2p.payment"].sudo()
        own = [("cycle_id", "=", cycle.id), ("mpesa_state", "!=", False)]
        own.append(("mpesa_manager_id", "!=", False))
        groups = payments._read_group(
            own, ["mpesa_manager_id", "mpesa_gateway", "mpesa_mode", "mpesa_state"], ["__count"]
        )
        managers = payments.mpesa_manager_id.union(*(manager for manager, *_rest in groups))
        # A payment that is ready was never sent, or given back.
        sent = [group[:3] + group[4:] for group in groups if group[3] != const.READY]
        test_sent = sum(count for _manager, _digest, mode, count in sent if mode == const.TEST)
        is_known = any(mode for _manager, _digest, mode, _count in sent)
        return {
            "gateways": [row for manager in managers for row in self._modes(manager, sent)],
            "test_sent": test_sent,
            "test": bool(test_sent) or (not is_known and const.TEST in managers.mapped("mode")),
            "elsewhere": sum(
                count
                for manager, digest, _mode, count in sent
                if digest and digest != manager._mpesa_gateway()
            ),
        }

    def _modes(self, manager, sent):
        """A row for each mode in which payments were sent by a manager; where none was, for that of now."""
        words = dict(manager._fields["mode"]._description_selection(self.env))
        host = urlsplit(manager.payment_endpoint_url or "").hostname or "-"
        counts = Counter()
        for found, _digest, mode, count in sent:
            if found == manager:
                counts[mode] += count
        rows = sorted(counts.items(), key=lambda row: str(row[0])) or [(manager.mode, 0)]
        return [(manager.name, host, words.get(mode, "-"), count) for mode, count in rows]

    def _statement(self, cycle):
        """What imported statements say of the cycle's payments: a list of (words, number, amount)."""
        lines = self.env["g2p.payment.mpesa.statement.line"]
        found = statement_match.of_cycle(cycle.sudo(), [result for result, _word in RESULTS])
        if not set(found) - {None}:
            return []
        words = {**dict(lines._fields["result"]._description_selection(self.env)), None: _("In no statement")}
        return [(word, *found[result]) for result, word in words.items() if result in found]


def _total(groups, states):
    """Number and amount of the groups (state, reason, number, amount) of these states."""
    found = [(count, amount) for state, _reason, count, amount in groups if state in states]
    return sum(count for count, _amount in found), sum(amount for _count, amount in found)
