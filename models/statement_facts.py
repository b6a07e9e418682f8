"""What compared statements show of payments, as facts: read when a decision rests on it, and never stored.

A line says that money left the account (``payment``) or came back (``money_in``). It is about a payment by
its reference or receipt, which is strong; or by payee, amount and time, which is weak: it may be another
one's. One transaction may stand in several files, and counts once.
"""

from .mpesa_statement_covers import MARGIN_HOURS

STRONG = ("reference", "receipt")
# Weak ones, too; a masked payee is never enough.
KNOWN = (*STRONG, "payee")


def money_out(payments, matched_by):
    """SQL: what left the account for some payments and has not come back; NULL where no line is about them.

    :param str payments: a condition of ``line.payment_id``.
    :param matched_by: by what a line may be about its payment: ``STRONG`` or ``KNOWN``.
    """
    names = ", ".join(f"'{name}'" for name in matched_by)
    return f"""(
        SELECT sum(CASE transaction.kind WHEN 'payment' THEN transaction.amount ELSE -transaction.amount END)
          FROM (SELECT line.kind, max(round(line.amount::numeric, 2)) AS amount
                  FROM g2p_payment_mpesa_statement_line line
                  JOIN g2p_payment_mpesa_statement file ON file.id = line.statement_id
                 WHERE line.payment_id {payments} AND file.state = 'compared'
                   AND line.kind IN ('payment', 'money_in') AND line.matched_by IN ({names})
                 GROUP BY line.payment_id, line.kind, coalesce(
                       line.receipt, concat_ws('|', line.reference, line.payee, line.amount, line.moment))
               ) transaction)"""


def shown_as_paid(payment, matched_by=STRONG):
    """SQL: whether statements show this payment as paid, whatever its own state; what came back is not paid.

    :param str payment: an alias of ``g2p_payment``.
    """
    return f"coalesce({money_out(f'= {payment}.id', matched_by)} > 0, false)"


def entitlement_shown_as_paid(payment):
    """SQL: the same of any payment that was made for the entitlement of this one, by strong facts alone."""
    return (
        f"EXISTS (SELECT FROM g2p_payment there WHERE there.entitlement_id = {payment}.entitlement_id"
        f" AND {shown_as_paid('there')})"
    )


def not_understood(payment):
    """SQL: whether a line names this payment by reference or receipt, and nobody knows what it says.

    :param str payment: an alias of ``g2p_payment``.
    """
    return f"""EXISTS (
        SELECT FROM g2p_payment_mpesa_statement_line line
          JOIN g2p_payment_mpesa_statement file ON file.id = line.statement_id AND file.state = 'compared'
         WHERE line.payment_id = {payment}.id AND line.kind = 'unreadable' AND line.explained_at IS NULL
           AND line.matched_by IN {STRONG})"""


def entitlement_not_understood(payment):
    """SQL: the same of any payment that was made for the entitlement of this one."""
    return (
        f"EXISTS (SELECT FROM g2p_payment there WHERE there.entitlement_id = {payment}.entitlement_id"
        f" AND {not_understood('there')})"
    )


# A payment that was paid or may have been, to the same payee, of the same amount and time, and that no line
# is about: then a line that is about a doubt by payee, amount and time alone may be that one's.
UNSURE = """
    SELECT FROM g2p_payment q
      JOIN g2p_program_payment_manager_mpesa m ON m.id = q.mpesa_manager_id
      JOIN g2p_program_payment_manager_mpesa own ON own.id = p.mpesa_manager_id
     WHERE q.id <> p.id AND q.mpesa_state IN ('paid', 'sending', 'accepted', 'doubt')
       AND q.account_number = p.account_number
       AND round(q.amount_issued, 2) = round(p.amount_issued, 2)
       AND (m.id = own.id
            OR m.payment_endpoint_url = own.payment_endpoint_url AND m.username = own.username)
       AND q.mpesa_sent_at BETWEEN l.moment - s.tolerance_hours * interval '1 hour'
                               AND l.moment + interval '1 hour'
       AND NOT EXISTS (
           SELECT FROM g2p_payment_mpesa_statement_line its
             JOIN g2p_payment_mpesa_statement file ON file.id = its.statement_id AND file.state = 'compared'
            WHERE its.payment_id = q.id AND its.kind = 'payment')
"""
# Lines by which their payments can be settled as paid: each shows all of the amount, that has not come back,
# and nothing besides was paid for the entitlement. What was refused here, or never sent, needs a strong one.
SETTLES = f"""
    SELECT l.id FROM g2p_payment_mpesa_statement_line l
      JOIN g2p_payment_mpesa_statement s ON s.id = l.statement_id AND s.state = 'compared'
      JOIN g2p_payment p ON p.id = l.payment_id
     WHERE {{condition}} AND l.kind = 'payment'
       AND (p.mpesa_state = 'doubt' AND l.matched_by IN {KNOWN}
            OR p.mpesa_state IN ('ready', 'refused') AND l.matched_by IN {STRONG})
       AND (l.matched_by <> 'payee' OR NOT EXISTS ({UNSURE}))
       AND round(l.amount::numeric, 2) = round(p.amount_issued, 2)
       AND round(p.amount_issued, 2) = {
    money_out("IN (SELECT q.id FROM g2p_payment q WHERE q.entitlement_id = p.entitlement_id)", KNOWN)
}
"""


def lines_that_settle(lines):
    """Those of the lines by which their payments can be settled as paid, as things stand now.

    :param lines: ``g2p.payment.mpesa.statement.line`` records.
    """
    return _those(lines, "l.id = ANY(%s)", lines.ids)


def settling_lines_of(statement):
    """All lines of a statement by which payments can be settled as paid, as things stand now."""
    return _those(statement.env["g2p.payment.mpesa.statement.line"], "l.statement_id = %s", statement.id)


def _those(lines, condition, value):
    lines.env.flush_all()
    lines.env.cr.execute(SETTLES.format(condition=condition), [value or None])
    return lines.browse(row[0] for row in lines.env.cr.fetchall()).sorted()


def payments_not_understood(payments):
    """Those of the payments that a line names by reference or receipt, and it is not known what it says."""
    payments.env.flush_all()
    payments.env.cr.execute(
        f"SELECT p.id FROM g2p_payment p WHERE p.id = ANY(%s) AND {not_understood('p')}", [payments.ids]
    )
    return payments.browse(row[0] for row in payments.env.cr.fetchall())


# Lines of the same account that were paid out, or are not understood, that nobody has explained, and that may
# be about a payment: of its amount, near its time, and not to somebody else's number. A masked payee may be
# anybody of several.
NEAR = f"""
    SELECT p.id, min(l.id) FROM g2p_payment p
      JOIN g2p_program_payment_manager_mpesa own ON own.id = p.mpesa_manager_id
      JOIN g2p_payment_mpesa_statement_line l
        ON (l.payment_id IS NULL OR l.matched_by = 'masked')
       AND l.explained_at IS NULL AND l.kind IN ('payment', 'unreadable')
       AND round(l.amount::numeric, 2) = round(p.amount_issued, 2)
       AND l.moment >= coalesce(p.mpesa_first_sent_at, p.mpesa_sent_at) - interval '{MARGIN_HOURS} hours'
      JOIN g2p_payment_mpesa_statement s ON s.id = l.statement_id AND s.state = 'compared'
       AND l.moment <= p.mpesa_sent_at + greatest(s.tolerance_hours, {MARGIN_HOURS}) * interval '1 hour'
      JOIN g2p_program_payment_manager_mpesa m ON m.id = s.manager_id
     WHERE p.id = ANY(%s)
       AND (m.id = own.id
            OR m.payment_endpoint_url = own.payment_endpoint_url AND m.username = own.username)
       AND NOT (coalesce(l.payee, '') ~ '^[0-9]{{7,}}$' AND coalesce(p.account_number, '') ~ '^[0-9]{{7,}}$'
                AND right(l.payee, 9) <> right(p.account_number, 9))
     GROUP BY p.id
"""


def unexplained_near(payments):
    """From each of the payments that an unexplained line may be about to that line.

    :param payments: ``g2p.payment`` records.
    """
    payments.env.flush_all()
    payments.env.cr.execute(NEAR, [payments.ids])
    lines = payments.env["g2p.payment.mpesa.statement.line"]
    return {payments.browse(payment): lines.browse(line) for payment, line in payments.env.cr.fetchall()}


def payments_shown_as_paid(payments, matched_by=KNOWN):
    """Those of the payments that statements show as paid, as things stand now.

    :param payments: ``g2p.payment`` records.
    """
    payments.env.flush_all()
    payments.env.cr.execute(
        f"SELECT p.id FROM g2p_payment p WHERE p.id = ANY(%s) AND {shown_as_paid('p', matched_by)}",
        [payments.ids],
    )
    return payments.browse(row[0] for row in payments.env.cr.fetchall())
