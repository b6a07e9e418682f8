"""Which line of a statement is about which payment, and what follows from it.

By reference, then by receipt, then by payee with amount and time. All but the last is done in a statement
for all lines at once; the last goes through them in order of time, so that the nearest find each other.
"""

from bisect import insort
from collections import defaultdict
from datetime import timedelta

from psycopg2.extras import execute_values

from .mpesa_statement_covers import MARGIN_HOURS

# A gateway's clock may be so much behind ours.
CLOCKS = timedelta(hours=MARGIN_HOURS)
PAGE = 2000
# Payments of all managers with the same account at the same gateway: a statement shows them all.
ACCOUNT = """
    SELECT m.id FROM g2p_program_payment_manager_mpesa m, g2p_program_payment_manager_mpesa own
     WHERE own.id = %(manager)s
       AND (m.id = own.id
            OR (m.payment_endpoint_url = own.payment_endpoint_url AND m.username = own.username))
"""
BY_KEY = """
    UPDATE g2p_payment_mpesa_statement_line l SET payment_id = p.id, matched_by = %(matched_by)s
      FROM g2p_payment p
     WHERE l.statement_id = %(statement)s AND l.payment_id IS NULL AND l.kind IN %(kinds)s
       AND {column} = {key} AND p.mpesa_manager_id = ANY(%(managers)s)
"""


# The same transaction in another file is about the same payment: else it would be taken for a second one's.
BY_TWIN = """
    UPDATE g2p_payment_mpesa_statement_line l SET payment_id = o.payment_id, matched_by = o.matched_by
      FROM g2p_payment_mpesa_statement_line o
      JOIN g2p_payment_mpesa_statement file ON file.id = o.statement_id AND file.state = 'compared'
     WHERE l.statement_id = %(statement)s AND l.payment_id IS NULL AND l.kind = 'payment'
       AND o.statement_id <> l.statement_id AND o.kind = 'payment' AND o.payment_id IS NOT NULL
       AND file.manager_id = ANY(%(managers)s) AND o.amount = l.amount AND {condition}
"""
TWINS = (
    "o.receipt = l.receipt",
    "o.receipt IS NULL AND l.receipt IS NULL AND o.payee = l.payee AND o.moment = l.moment",
)
# What a line takes back may be of another file, which was compared before it or after it.
BY_LINE = """
    UPDATE g2p_payment_mpesa_statement_line l SET payment_id = o.payment_id, matched_by = o.matched_by
      FROM g2p_payment_mpesa_statement_line o, g2p_payment_mpesa_statement file
     WHERE l.payment_id IS NULL AND l.kind = 'money_in' AND o.kind = 'payment' AND o.payment_id IS NOT NULL
       AND file.manager_id = ANY(%(managers)s) AND file.state = 'compared' AND {condition}
"""
TAKES_BACK = (
    "o.receipt = l.linked AND l.statement_id = %(statement)s AND file.id = o.statement_id",
    "o.receipt = l.linked AND o.statement_id = %(statement)s AND file.id = l.statement_id",
    "o.receipt = l.receipt AND o.statement_id = l.statement_id AND l.statement_id = %(statement)s"
    " AND file.id = l.statement_id",
)


def match(statement):
    """Find the payment of each line. In the caller's transaction.

    :param statement: with rights to all of it.
    """
    cr = statement.env.cr
    statement.env.flush_all()
    values = values_of(statement)
    cr.execute(
        "DELETE FROM g2p_payment_mpesa_statement_line WHERE statement_id = %(statement)s AND kind = 'ours'",
        values,
    )
    cr.execute(
        "UPDATE g2p_payment_mpesa_statement_line SET payment_id = NULL, matched_by = NULL, result = NULL"
        " WHERE statement_id = %(statement)s",
        values,
    )
    told = ("payment", "money_in", "not_completed", "unreadable")
    for matched_by, column, key, kinds in (
        ("reference", "p.mpesa_reference", "l.reference", told),
        ("receipt", "p.mpesa_receipt", "l.receipt", ("payment", "not_completed", "unreadable")),
        ("receipt", "p.mpesa_receipt", "l.linked", ("money_in",)),
    ):
        cr.execute(
            BY_KEY.format(column=column, key=key), {**values, "matched_by": matched_by, "kinds": kinds}
        )
    for condition in TWINS:
        cr.execute(BY_TWIN.format(condition=condition), values)
    _match_by_payee(statement, values)
    for condition in TAKES_BACK:
        cr.execute(BY_LINE.format(condition=condition), values)
    statement.env.invalidate_all()


def values_of(statement):
    """Parameters of its statements: its id, and the ids of the managers with the same account."""
    cr = statement.env.cr
    cr.execute(ACCOUNT, {"manager": statement.manager_id.id})
    managers = [row[0] for row in cr.fetchall()]
    return {"statement": statement.id, "managers": managers}


# By payee, amount and time


def _match_by_payee(statement, values):
    cr = statement.env.cr
    cr.execute(
        """
        SELECT id, payee, amount, moment FROM (
            SELECT *, row_number() OVER (PARTITION BY receipt, amount ORDER BY id) AS n
              FROM g2p_payment_mpesa_statement_line
             WHERE statement_id = %(statement)s AND kind = 'payment'
        ) l
         WHERE payment_id IS NULL AND payee IS NOT NULL AND moment IS NOT NULL AND (n = 1 OR receipt IS NULL)
         ORDER BY moment, id
        """,
        values,
    )
    lines = cr.fetchall()
    if not lines:
        return
    after = timedelta(hours=statement.tolerance_hours)
    payments = Payments(cr, {**values, "first": lines[0][3] - after, "last": lines[-1][3] + CLOCKS}, after)
    found = payments.take_all(lines)
    execute_values(
        cr._obj,
        "UPDATE g2p_payment_mpesa_statement_line l SET payment_id = v.payment_id, matched_by = v.matched_by"
        " FROM (VALUES %s) AS v(id, payment_id, matched_by) WHERE l.id = v.id",
        found,
        page_size=PAGE,
    )


class Payments:
    """The payments of a time, by payee and amount, each to be taken once.

    What is recorded as paid, or is on its way, has its lines first, and a doubt only what is left: else the
    line of a payment that was paid late would settle a doubt to the same payee that was not paid.

    :param values: ``managers``, ``statement``, ``first`` and ``last`` moment of sending.
    :param after: how long after it was sent a payment may be carried out.
    """

    TURNS = ("paid", "under_way", "doubt", "other")

    def __init__(self, cr, values, after):
        self.after = after
        self.free = {turn: defaultdict(list) for turn in self.TURNS}
        self.taken = defaultdict(list)
        # The same by the end of the payee, for payees that are masked.
        self.by_end = {turn: defaultdict(list) for turn in self.TURNS}
        cr.execute(
            """
            SELECT p.id, p.account_number, round(p.amount_issued, 2), p.mpesa_sent_at,
                   CASE WHEN p.mpesa_state IN ('paid', 'doubt') THEN p.mpesa_state
                        WHEN p.mpesa_state IN ('sending', 'accepted') THEN 'under_way'
                        ELSE 'other' END AS turn,
                   EXISTS (SELECT FROM g2p_payment_mpesa_statement_line l
                             JOIN g2p_payment_mpesa_statement s ON s.id = l.statement_id
                            WHERE l.payment_id = p.id AND l.kind = 'payment'
                              AND s.state <> 'withdrawn') AS taken
              FROM g2p_payment p
             WHERE p.mpesa_manager_id = ANY(%(managers)s) AND p.account_number IS NOT NULL
               AND p.mpesa_sent_at BETWEEN %(first)s AND %(last)s
             ORDER BY p.mpesa_sent_at, p.id
            """,
            values,
        )
        for payment_id, payee, amount, sent, turn, taken in cr.fetchall():
            key = (payee.lower(), float(amount))
            (self.taken if taken else self.free[turn])[key].append((sent, payment_id))
            if not taken:
                self.by_end[turn][payee[-3:], float(amount)].append((sent, payment_id, payee))

    def take_all(self, lines):
        """Find the payments of lines.

        :param lines: tuples of a line's id, payee, amount and moment, in the order of time.
        :return: a list of line id, payment id, and how it was found.
        """
        found, left = [], lines
        for turn in self.TURNS:
            hits = {line[0]: self._take(turn, *line[1:]) for line in left}
            found += [(line_id, *hit) for line_id, hit in hits.items() if hit]
            left = [line for line in left if not hits[line[0]]]
        # A second line to a payee to whom nothing else was sent is about the same payment: that is how it
        # shows that it was paid twice.
        again = ((line[0], self._nearest(self.taken[line[1].lower(), line[2]], line[3])) for line in left)
        return found + [(line_id, hit[1], "payee") for line_id, hit in again if hit]

    def _take(self, turn, payee, amount, moment):
        if "*" in payee:
            return self._take_masked(turn, payee, amount, moment)
        key = (payee.lower(), amount)
        hit = self._nearest(self.free[turn][key], moment)
        if hit:
            self.free[turn][key].remove(hit)
            insort(self.taken[key], hit)
        return hit and (hit[1], "payee")

    def _take_masked(self, turn, payee, amount, moment):
        free = self.free[turn]
        fitting = [
            row
            for row in self.by_end[turn][payee[-3:], amount]
            if len(row[2]) == len(payee) and all(a in ("*", b) for a, b in zip(payee, row[2], strict=True))
        ]
        hit = self._nearest([row for row in fitting if row[:2] in free[row[2].lower(), amount]], moment)
        if hit:
            free[hit[2].lower(), amount].remove(hit[:2])
        return hit and (hit[1], "masked")

    def _nearest(self, rows, moment):
        near = [row for row in rows if -CLOCKS <= moment - row[0] <= self.after]
        return min(near, key=lambda row: abs(moment - row[0]), default=None)


# What follows

# What compared statements of the same account show of each payment, each transaction once.
EVIDENCE = """
    WITH concerned AS (
        -- Of years of statements, what is about the same entitlements.
        SELECT DISTINCT q.id FROM g2p_payment_mpesa_statement_line l
          JOIN g2p_payment p ON p.id = l.payment_id JOIN g2p_payment q ON q.entitlement_id = p.entitlement_id
         WHERE l.statement_id = %(statement)s
    ),
    chosen AS (
        SELECT l.* FROM g2p_payment_mpesa_statement_line l WHERE l.statement_id = %(statement)s
        UNION ALL
        SELECT l.* FROM concerned c JOIN g2p_payment_mpesa_statement_line l ON l.payment_id = c.id
         WHERE l.statement_id <> %(statement)s
    ),
    account AS (
        SELECT l.id, l.statement_id, l.payment_id, l.kind, l.receipt, l.amount, l.payee, l.reference,
               -- One transaction, in whatever file it stands.
               coalesce(l.receipt, concat_ws('|', l.reference, l.payee, l.amount, l.moment)) AS mark
          FROM chosen l JOIN g2p_payment_mpesa_statement s ON s.id = l.statement_id
         WHERE s.manager_id = ANY(%(managers)s) AND s.state = 'compared' AND l.kind IN ('payment', 'money_in')
    ),
    repeated AS (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY receipt, amount, payee, reference ORDER BY id) AS n
              FROM account WHERE statement_id = %(statement)s AND kind = 'payment' AND receipt IS NOT NULL
        ) numbered WHERE n > 1
    ),
    -- Other files show the same transaction again; what they show beside it counts.
    evidence AS (
        SELECT a.payment_id, a.kind, a.amount FROM account a
         WHERE a.statement_id = %(statement)s AND a.payment_id IS NOT NULL
           AND NOT EXISTS (SELECT FROM repeated r WHERE r.id = a.id)
        UNION ALL
        SELECT a.payment_id, a.kind, max(a.amount) FROM account a
         WHERE a.statement_id <> %(statement)s AND a.payment_id IS NOT NULL
           AND NOT EXISTS (SELECT FROM account o WHERE o.statement_id = %(statement)s AND o.mark = a.mark)
         GROUP BY a.payment_id, a.kind, a.mark
    )
"""
# Of a line l that shows its payment p once: what follows from how that stands here.
AS_IT_STANDS = """CASE
            WHEN round(l.amount::numeric, 2) <> round(CASE
                WHEN p.mpesa_state = 'paid' THEN p.amount_paid ELSE p.amount_issued END, 2) THEN 'differs'
            WHEN p.mpesa_state = 'paid' THEN 'agreed'
            WHEN p.mpesa_state = 'doubt' THEN 'doubt'
            WHEN p.mpesa_state IN ('sending', 'accepted') THEN 'under_way'
            ELSE 'not_here' END"""
JUDGE = f"""
    {EVIDENCE},
    paid AS (
        SELECT p.entitlement_id, count(*) FILTER (WHERE e.kind = 'payment') AS times,
               count(*) FILTER (WHERE e.kind = 'money_in') AS back
          FROM evidence e JOIN g2p_payment p ON p.id = e.payment_id GROUP BY p.entitlement_id
    ),
    judged AS (
        SELECT l.id, CASE
            WHEN l.kind IN ('unreadable', 'fee', 'not_completed') THEN l.kind
            WHEN l.kind = 'money_in' THEN CASE WHEN l.payment_id IS NULL THEN 'money_in' ELSE 'returned' END
            WHEN EXISTS (SELECT FROM repeated r WHERE r.id = l.id) THEN 'repeated'
            WHEN p.id IS NULL THEN 'only_there'
            WHEN paid.times > 1 THEN 'twice'
            WHEN paid.back > 0 THEN 'returned'
            ELSE {AS_IT_STANDS} END AS result
          FROM g2p_payment_mpesa_statement_line l
          LEFT JOIN g2p_payment p ON p.id = l.payment_id
          LEFT JOIN paid ON paid.entitlement_id = p.entitlement_id
         WHERE l.statement_id = %(statement)s AND l.kind <> 'ours'
    )
    UPDATE g2p_payment_mpesa_statement_line l SET result = judged.result FROM judged WHERE l.id = judged.id
"""
# Of each entitlement that was paid twice, what was paid beyond it and has not come back.
EXCESS = f"""
    {EVIDENCE},
    too_much AS (
        SELECT p.entitlement_id, max(p.amount_issued) AS due,
               coalesce(sum(e.amount) FILTER (WHERE e.kind = 'payment'), 0) AS paid,
               coalesce(sum(e.amount) FILTER (WHERE e.kind = 'money_in'), 0) AS back
          FROM evidence e JOIN g2p_payment p ON p.id = e.payment_id
         WHERE p.entitlement_id IN (
               SELECT twice.entitlement_id FROM g2p_payment_mpesa_statement_line l
                 JOIN g2p_payment twice ON twice.id = l.payment_id
                WHERE l.statement_id = %(statement)s AND l.result = 'twice')
         GROUP BY p.entitlement_id
    )
    SELECT coalesce(sum(greatest(paid - back - due, 0)), 0) FROM too_much
"""
# A payment that a file does not show was not paid only if the file can tell: each of its lines is understood,
# it is of the gateway's account, and it lists all of the time around the payment.
ONLY_HERE = f"""
    INSERT INTO g2p_payment_mpesa_statement_line (statement_id, kind, payment_id, why, result)
    SELECT s.id, 'ours', p.id, reason.why, CASE
           WHEN reason.why IS NOT NULL THEN 'cannot_tell'
           WHEN p.mpesa_state = 'paid' THEN 'only_here' ELSE 'doubt_only_here' END
      FROM g2p_payment_mpesa_statement s
      JOIN g2p_payment p ON p.mpesa_sent_at BETWEEN s.period_from AND s.period_to
      CROSS JOIN LATERAL (SELECT CASE
           WHEN EXISTS (SELECT FROM g2p_payment_mpesa_statement_line l
                         WHERE l.statement_id = s.id AND l.kind = 'unreadable'
                           AND l.explained_at IS NULL) THEN 'unclear_lines'
           WHEN s.account_is_ours IS NOT TRUE THEN 'account'
           WHEN s.period_from > coalesce(p.mpesa_first_sent_at, p.mpesa_sent_at)
                                - interval '{MARGIN_HOURS} hours'
             OR s.period_to < p.mpesa_sent_at + interval '{MARGIN_HOURS} hours' THEN 'period' END AS why
           ) reason
     WHERE s.id = %(statement)s AND p.mpesa_manager_id = ANY(%(managers)s)
       AND p.mpesa_state IN ('paid', 'doubt') AND NOT EXISTS (
           SELECT FROM g2p_payment_mpesa_statement_line l
            WHERE l.payment_id = p.id AND l.kind IN ('payment', 'money_in'))
     ORDER BY p.id
"""
# Each payment of a cycle once, by the worst that compared statements say of it, as it stands now; a line
# that shows it counts for more than a file that does not.
OF_CYCLE = f"""
    SELECT said.result, count(*), sum(p.amount_issued)
      FROM g2p_payment p LEFT JOIN LATERAL (
           SELECT CASE
                  WHEN l.result IN ('agreed', 'differs', 'doubt', 'under_way', 'not_here') THEN {AS_IT_STANDS}
                  WHEN l.result = 'doubt_only_here' AND p.mpesa_state = 'paid' THEN 'only_here'
                  ELSE l.result END AS result
             FROM g2p_payment_mpesa_statement_line l
             JOIN g2p_payment_mpesa_statement s ON s.id = l.statement_id AND s.state = 'compared'
            WHERE l.payment_id = p.id AND l.result IS NOT NULL AND l.result <> 'repeated'
              AND (l.kind <> 'ours' OR p.mpesa_state IN ('paid', 'doubt'))
            ORDER BY l.kind = 'ours', array_position(%(results)s::varchar[], l.result), l.id LIMIT 1
           ) said ON true
     WHERE p.cycle_id = %(cycle)s
       AND (said.result IS NOT NULL OR p.mpesa_state IN ('paid', 'doubt', 'accepted', 'sending'))
     GROUP BY said.result
"""


def of_cycle(cycle, results):
    """What compared statements say of a cycle's payments, each of them counted once.

    :param list results: the codes of results, those first that matter most.
    :return: a dict from each result that occurs to a number and an amount; None is of payments that were
        paid, or may have been, and that no statement shows or misses.
    """
    cycle.env.flush_all()
    cycle.env.cr.execute(OF_CYCLE, {"cycle": cycle.id, "results": results})
    return {result: (count, amount) for result, count, amount in cycle.env.cr.fetchall()}


def judge(statement):
    """Say what follows for each line, and list the payments that it does not show. Changes no payment."""
    cr = statement.env.cr
    statement.env.flush_all()
    values = values_of(statement)
    cr.execute(JUDGE, values)
    _write_excess(cr, values)
    cr.execute(
        "DELETE FROM g2p_payment_mpesa_statement_line WHERE statement_id = %(statement)s AND kind = 'ours'",
        values,
    )
    cr.execute(ONLY_HERE, values)
    statement.env.invalidate_all()


def _write_excess(cr, values):
    cr.execute(
        "SELECT FROM g2p_payment_mpesa_statement_line"
        " WHERE statement_id = %(statement)s AND result = 'twice' LIMIT 1",
        values,
    )
    excess = 0
    # Mostly nobody was, and what all statements show need not be gone through once more.
    if cr.rowcount:
        cr.execute(EXCESS, values)
        excess = cr.fetchone()[0]
    cr.execute(
        "UPDATE g2p_payment_mpesa_statement SET excess = %(excess)s"
        " WHERE id = %(statement)s AND excess IS DISTINCT FROM %(excess)s",
        {**values, "excess": excess},
    )
