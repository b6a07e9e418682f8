"""What Send would do, before it does anything: how many, how much, who cannot be paid, what is on its way."""

from dataclasses import dataclass, field

from . import const, statement_facts
from .from_before import unconfirmed
from .mpesa_payee import registry_text
from .own_cursor import durably, own_transaction
from .payment import ENTITLEMENT_STATE

# Ready payments that are looked at anew, those first that something was known against.
MOST_LOOKED_AT = 1000


@dataclass
class Totals:
    """Number and sum of some payments."""

    count: int = 0
    amount: float = 0.0

    def add(self, count, amount):
        self.count += count
        self.amount += amount or 0.0


@dataclass
class Preview:
    """Of the payments of one manager in some batches.

    :param Totals sendable: those that Send takes.
    :param dict held: from the reason that keeps payments back to their totals.
    :param dict states: from each other state to the totals of the payments in it.
    :param list repeated: payees of sendable payments that occur more than once in the cycle.
    """

    sendable: Totals = field(default_factory=Totals)
    held: dict = field(default_factory=dict)
    states: dict = field(default_factory=dict)
    repeated: list = field(default_factory=list)


# Of one manager, in these batches, and of them only these if there are any.
OURS = "batch_id = ANY(%s) AND mpesa_manager_id = %s AND (%s::int4[] IS NULL OR p.id = ANY(%s))"


def preview(manager, batches, payments=None):
    """Look at the payments as they are now, in transactions of our own: a :class:`Preview`.

    :param payments: only these of them; None for all.
    """
    ids = payments.ids if payments else None
    which = [batches.ids, manager.id, ids, ids]
    durably(manager.env, lambda own: look_again(manager.with_env(own), which))
    with own_transaction(manager.env) as own:
        found = count(own, which)
        found.repeated = repeated_payees(own, which)
        return found


def look_again(manager, which):
    """Find out anew what keeps ready payments back: people and amounts may have been corrected since.

    :param which: the parameters of ``OURS``, here as below.
    """
    cr = manager.env.cr
    cr.execute(
        f"""
        SELECT p.id, p.amount_issued, p.mpesa_reason, p.mpesa_payee_text, p.mpesa_currency_id,
               e.partner_id, {ENTITLEMENT_STATE} AS entitlement_state, e.initial_amount,
               {statement_facts.entitlement_shown_as_paid("p")} AS shown_as_paid,
               {unconfirmed("p")} AS unconfirmed
          FROM g2p_payment p JOIN g2p_entitlement e ON e.id = p.entitlement_id
         WHERE {OURS} AND p.mpesa_state = 'ready'
         ORDER BY p.mpesa_reason IS NULL, p.id
         LIMIT %s
        """,
        [*which, MOST_LOOKED_AT],
    )
    rows = cr.dictfetchall()
    partners = manager.env["res.partner"].browse({row["partner_id"] for row in rows})
    payees = manager._mpesa_payees_or_why(partners)
    found = [
        (
            row,
            manager._mpesa_problem(
                row["amount_issued"],
                payees.get(row["partner_id"]),
                row["entitlement_state"],
                row["initial_amount"],
                row["shown_as_paid"],
                row["mpesa_currency_id"],
            )
            or (const.FROM_BEFORE if row["unconfirmed"] else None),
        )
        for row in rows
    ]
    # What the gateway said of one that can go out stays, until it goes out.
    write_reasons(
        cr,
        [
            (row["id"], problem, text)
            for row, problem in found
            for text in [registry_text(payees.get(row["partner_id"]))]
            if (row["mpesa_reason"] != problem and (problem or row["mpesa_reason"] in const.HELD))
            or (problem and row["mpesa_payee_text"] != text)
        ],
    )


def write_reasons(cr, changes):
    """Write a payment's id, what keeps it back, None for nothing, and the registry's text, of each.

    Where it is ready still.

    Nothing was locked while they were looked for: a sender takes locked payments for somebody else's.
    """
    if changes:
        cr.execute(
            "UPDATE g2p_payment p SET mpesa_reason = v.reason, mpesa_payee_text = v.text, mpesa_words = NULL"
            f" FROM (VALUES {', '.join(['(%s, %s::varchar, %s::varchar)'] * len(changes))})"
            " AS v(id, reason, text)"
            " WHERE p.id = v.id AND p.mpesa_state = 'ready'",
            [value for change in changes for value in change],
        )


def count(env, which):
    """A :class:`Preview` without the repeated payees."""
    env.cr.execute(
        "SELECT mpesa_state, mpesa_reason, count(*), sum(amount_issued) FROM g2p_payment p"
        f" WHERE {OURS} AND mpesa_state IS NOT NULL GROUP BY 1, 2",
        which,
    )
    found = Preview()
    for state, reason, number, amount in env.cr.fetchall():
        if state != const.READY:
            totals = found.states.setdefault(state, Totals())
        elif reason in const.HELD:
            totals = found.held.setdefault(reason, Totals())
        else:
            totals = found.sendable
        totals.add(number, float(amount or 0))
    return found


def repeated_payees(env, which):
    """Payees of payments that are to be sent, to whom several payments of the cycle go.

    Also in its other batches: who sends one after the other is to see it, too.
    """
    # In one pass, without a join: of new rows PostgreSQL knows nothing, and would compare each with each.
    batch_ids, manager_id, ids, _ids = which
    env.cr.execute(
        "SELECT account_number FROM g2p_payment p"
        " WHERE cycle_id = ANY(ARRAY(SELECT cycle_id FROM g2p_payment_batch WHERE id = ANY(%s)))"
        " AND mpesa_manager_id = %s AND mpesa_state <> 'refused'"
        " AND account_number IS NOT NULL GROUP BY account_number"
        " HAVING count(*) > 1"
        " AND bool_or(batch_id = ANY(%s) AND (%s::int4[] IS NULL OR p.id = ANY(%s))"
        "     AND mpesa_state = 'ready' AND NOT coalesce(mpesa_reason, '') = ANY(%s))",
        [batch_ids, manager_id, batch_ids, ids, ids, list(const.HELD)],
    )
    return [row[0] for row in env.cr.fetchall()]
