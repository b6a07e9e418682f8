"""What Send would do, before it does anything: how many, how much, who cannot be paid, what is on its way."""

from dataclasses import dataclass, field

from . import const
from .last_look import COLUMNS, payees_of, problem_of
from .mpesa_payee import registry_text
from .own_cursor import durably, own_transaction

# Ready payments that are looked at anew, those first that something was known against.
MOST_LOOKED_AT = 5000


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
    :param list repeated: payees of sendable payments that occur more than once in the cycle, each as a list
        of how it is written.
    :param int changed: how many sendable payments have another payee than when they were prepared.
    :param str shown: which payments, to whom and how much, each as a digest, with spaces between.
    """

    sendable: Totals = field(default_factory=Totals)
    held: dict = field(default_factory=dict)
    states: dict = field(default_factory=dict)
    repeated: list = field(default_factory=list)
    changed: int = 0
    shown: str = ""


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
        rows = _what_goes(own, which)
        found.changed = sum(changed for _what, changed in rows)
        found.shown = " ".join(what for what, _changed in rows)
        return found


def _what_goes(env, which):
    """A text for each payment that Send takes, of its id, payee and amount; and whether the payee changed."""
    # Compared by Python: of new rows PostgreSQL knows nothing, and would compare each with each.
    env.cr.execute(
        "SELECT hashtextextended(concat_ws(' ', p.id, p.account_number, p.amount_issued), 0)::text,"
        f" coalesce(p.mpesa_payee_changed, FALSE) FROM g2p_payment p WHERE {OURS}"
        " AND p.mpesa_state = 'ready' AND NOT coalesce(p.mpesa_reason, '') = ANY(%s)",
        [*which, list(const.HELD)],
    )
    return env.cr.fetchall()


def look_again(manager, which):
    """Find out anew what keeps ready payments back: people and amounts may have been corrected since.

    :param which: the parameters of ``OURS``, here as below.
    """
    cr = manager.env.cr
    cr.execute(
        f"""
        SELECT {COLUMNS}
          FROM g2p_payment p JOIN g2p_entitlement e ON e.id = p.entitlement_id
         WHERE {OURS} AND p.mpesa_state = 'ready'
         ORDER BY p.mpesa_reason IS NULL AND p.account_number IS NOT NULL, p.id
         LIMIT %s
        """,
        [*which, MOST_LOOKED_AT],
    )
    rows = cr.dictfetchall()
    payees = payees_of(manager, rows)
    changes = (_change(manager, row, payees.get(row["partner_id"])) for row in rows)
    write_changes(cr, [change for change in changes if change])


def _change(manager, row, payee):
    """What is to be written of a payment, for :func:`write_changes`; None where all stands there."""
    problem = problem_of(manager, row, payee)
    # What the gateway said of one that can go out stays, until it goes out.
    reason = problem if problem or row["mpesa_reason"] in const.HELD else row["mpesa_reason"]
    new = (reason, registry_text(payee), payee or None)
    if new == (row["mpesa_reason"], row["mpesa_payee_text"], row["account_number"]):
        return None
    return row["id"], *new


def write_changes(cr, changes):
    """Write a payment's id, what keeps it back, None for nothing, the registry's text, and its payee.

    Where it is ready still. That its payee is another one than when it was prepared stays noted on it.

    Nothing was locked while they were looked for: a sender takes locked payments for somebody else's.
    """
    if changes:
        line = "(%s, %s::varchar, %s::varchar, %s::varchar)"
        cr.execute(
            "UPDATE g2p_payment p SET mpesa_reason = v.reason, mpesa_payee_text = v.text,"
            "   account_number = v.payee,"
            "   mpesa_words = CASE WHEN p.mpesa_reason IS NOT DISTINCT FROM v.reason THEN p.mpesa_words END,"
            "   mpesa_payee_changed = coalesce(p.mpesa_payee_changed, FALSE)"
            "       OR coalesce(p.account_number <> v.payee, FALSE)"
            f" FROM (VALUES {', '.join([line] * len(changes))}) AS v(id, reason, text, payee)"
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
        "SELECT array_agg(DISTINCT account_number) FROM g2p_payment p"
        " WHERE cycle_id = ANY(ARRAY(SELECT cycle_id FROM g2p_payment_batch WHERE id = ANY(%s)))"
        " AND mpesa_manager_id = %s AND mpesa_state <> 'refused'"
        # An e-mail address goes out as it is written; capitals make nobody another person.
        " AND account_number IS NOT NULL GROUP BY lower(account_number)"
        " HAVING count(*) > 1"
        " AND bool_or(batch_id = ANY(%s) AND (%s::int4[] IS NULL OR p.id = ANY(%s))"
        "     AND mpesa_state = 'ready' AND NOT coalesce(mpesa_reason, '') = ANY(%s))",
        [batch_ids, manager_id, batch_ids, ids, ids, list(const.HELD)],
    )
    return [payees for (payees,) in env.cr.fetchall()]
