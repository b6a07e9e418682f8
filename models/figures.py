"""A batch's figures, as SQL: counted from its payments, or carried forward by what a move changes.

Both come from one table, so that they cannot say different things.
"""

from . import const

SENT = frozenset({const.SENDING, const.ACCEPTED, const.PAID, const.REFUSED, const.DOUBT})

# Column of g2p_payment_batch: the states that it is about, and what it adds up of each payment.
FIGURES = {
    "stats_issued_transactions": (SENT | {const.READY}, "1"),
    "stats_issued_amount": (SENT | {const.READY}, "amount_issued"),
    "stats_sent_transactions": (SENT, "1"),
    "stats_sent_amount": (SENT, "amount_issued"),
    "stats_paid_transactions": ({const.PAID}, "1"),
    # The earlier module paid whole shillings of amounts with cents.
    "stats_paid_amount": ({const.PAID}, "amount_paid"),
    # What of it is open, and what was paid too much.
    "mpesa_short_amount": ({const.PAID}, "greatest(amount_issued - amount_paid, 0)"),
    "mpesa_over_amount": ({const.PAID}, "greatest(amount_paid - amount_issued, 0)"),
    "stats_failed_transactions": ({const.REFUSED}, "1"),
    "stats_failed_amount": ({const.REFUSED}, "amount_issued"),
    "mpesa_ready_count": ({const.READY}, "1"),
    "mpesa_under_way_count": ({const.SENDING, const.ACCEPTED}, "1"),
    "mpesa_doubt_count": ({const.DOUBT}, "1"),
    "mpesa_doubt_amount": ({const.DOUBT}, "amount_issued"),
}

# Of a payment p: it was paid, and not as it was issued.
DIFFERS = "p.mpesa_state = 'paid' AND p.amount_paid <> p.amount_issued"

# One moment for all of a statement. A count of what is there does not know when it was paid; a move does.
NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"
PAID_AT = f""",
            mpesa_last_paid_at = {NOW}, mpesa_first_paid_at = CASE
                WHEN coalesce(b.stats_paid_transactions, 0) = 0 THEN {NOW} ELSE b.mpesa_first_paid_at END
"""


def recount():
    """SQL that sets the figures of the batches in ``%(ids)s`` from their payments."""
    sums = [
        f"coalesce(sum({what}) FILTER (WHERE mpesa_state IN ({_quoted(states)})), 0) AS {column}"
        for column, (states, what) in FIGURES.items()
    ]
    counted = {column: f"f.{column}" for column in FIGURES}
    return f"""
        UPDATE g2p_payment_batch b SET {_assignments(counted, "f.started")}
        FROM (
            SELECT wanted.id AS batch_id, {", ".join(sums)},
                coalesce(bool_or(mpesa_first_sent_at IS NOT NULL OR mpesa_state <> 'ready'), false) AS started
            FROM unnest(%(ids)s) AS wanted(id)
            LEFT JOIN g2p_payment p ON p.batch_id = wanted.id AND p.mpesa_state IS NOT NULL
            GROUP BY wanted.id
        ) f
        WHERE b.id = f.batch_id AND (b.mpesa_state IS NOT NULL OR f.stats_issued_transactions > 0)
    """


def carry_forward(target):
    """SQL that adds to the figures what it changes that the rows of ``old`` all go to the state ``target``.

    ``old`` has the columns ``was`` (the state before), ``batch_id``, ``amount_issued`` and ``amount_paid``.
    """
    changes = [f"{_change(states, what, target)} AS {column}" for column, (states, what) in FIGURES.items()]
    new = {column: f"(coalesce(b.{column}, 0) + d.{column})" for column in FIGURES}
    started = "(coalesce(b.batch_has_started, false) OR d.started)"
    return f"""
        UPDATE g2p_payment_batch b SET {_assignments(new, started)}{PAID_AT if target == const.PAID else ""}
        FROM (
            SELECT batch_id, {", ".join(changes)}, {"true" if target in SENT else "false"} AS started
            FROM old WHERE batch_id IS NOT NULL GROUP BY batch_id
        ) d
        WHERE b.id = d.batch_id
    """


def _change(states, what, target):
    before = f"coalesce(sum({what}) FILTER (WHERE was IN ({_quoted(states)})), 0)"
    return f"(coalesce(sum({what}), 0) - {before})" if target in states else f"(-{before})"


def _assignments(values, started):
    doubt, under_way, ready = (values[f"mpesa_{name}_count"] for name in ("doubt", "under_way", "ready"))
    state = f"""CASE WHEN {doubt} > 0 THEN 'doubt' WHEN {under_way} > 0 THEN 'under_way'
        WHEN {ready} = 0 THEN 'done' WHEN {started} THEN 'stopped' ELSE 'ready' END"""
    values = {
        **values,
        "mpesa_state": state,
        "batch_has_started": started,
        "batch_has_completed": f"({ready} = 0 AND {under_way} = 0 AND {doubt} = 0)",
        "stats_datetime": "(clock_timestamp() AT TIME ZONE 'UTC')",
    }
    return ", ".join(f"{column} = {value}" for column, value in values.items())


def _quoted(states):
    return ", ".join(f"'{state}'" for state in sorted(states))
