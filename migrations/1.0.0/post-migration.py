"""From OpenG2P's own module of this technical name: its payments get the state that is known of them.

What is not known becomes a doubt, which a person settles; nothing is ever sent out of one that has no
reference, and none is invented here. A few statements for all payments, however many there are.
"""

import csv
import io
import logging

from markupsafe import Markup

from odoo import SUPERUSER_ID, api
from odoo.exceptions import ValidationError
from odoo.tools import split_every

_logger = logging.getLogger(__name__)

MANAGER = "g2p.program.payment.manager.mpesa"
BATCHES_AT_ONCE = 1000
# What the earlier module named batches by.
UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# Entitlements that are named in a message; the file has them all.
MOST_NAMED = 50
# The columns of that file, and where they come from.
FILE_COLUMNS = {
    "entitlement": "e.code",
    "entitlement id": "e.id",
    "partner id": "e.partner_id",
    "payment": "p.name",
    "payment id": "p.id",
    "batch id": "p.batch_id",
    "issued": "p.amount_issued",
    "paid": "p.amount_paid",
    "paid on": "p.payment_datetime",
    "outcome": "t.mpesa_state",
    "reason": "t.mpesa_reason",
    "duplicate": "t.duplicate",
}


def migrate(cr, version):
    env = api.Environment(cr, SUPERUSER_ID, {})
    sort_payments(env)
    keep_duplicates_back(cr)
    take_payments_over(cr)
    env["g2p.payment"]._mpesa_fill_currencies()
    refresh_batches(env)
    name_batches(env)
    # The earlier module knew no other mode, and sent one payment after the other: its server may lose track
    # of balances otherwise.
    cr.execute("UPDATE g2p_program_payment_manager_mpesa SET mode = 'live', max_connections = 1")
    env.invalidate_all()
    for manager in env[MANAGER].search([]):
        report(manager)
    cr.execute("DROP TABLE mpesa_taken")


# Payments


def sort_payments(env):
    """Into a table of its own: each payment of a program that pays by M-Pesa, its batch and its new state.

    The earlier module records a payment only when the gateway answers with success, and a batch as started
    before it sends. So an issued payment of a started batch may have been paid or not, and "paid" and
    "failed" are somebody's word.
    """
    program = env["g2p.program"]._fields["payment_managers"]
    batch = env["g2p.payment.batch"]._fields["payment_ids"]
    env.cr.execute(
        f"""
        CREATE TEMPORARY TABLE mpesa_taken AS
        WITH paying AS (
            SELECT r.{program.column1} AS program_id, min(m.id) AS manager_id
              FROM {program.relation} r
              JOIN g2p_program_payment_manager w ON w.id = r.{program.column2}
              JOIN g2p_program_payment_manager_mpesa m ON w.manager_ref_id = '{MANAGER},' || m.id
             GROUP BY 1
        ), link AS (
            SELECT id AS payment_id, batch_id FROM g2p_payment WHERE batch_id IS NOT NULL
             UNION
            SELECT {batch.column2}, {batch.column1} FROM {batch.relation}
        ), batch AS (
            SELECT payment_id, min(batch_id) AS batch_id,
                   coalesce(bool_or(batch_has_started OR batch_has_completed), false) AS begun
              FROM link
              JOIN g2p_payment_batch b ON b.id = link.batch_id
             GROUP BY payment_id
        )
        SELECT p.id, p.entitlement_id, paying.manager_id, coalesce(p.batch_id, batch.batch_id) AS batch_id,
               CASE WHEN p.status = 'paid' THEN 'paid'
                    WHEN p.status = 'failed' THEN 'refused'
                    WHEN p.state = 'issued' AND NOT coalesce(batch.begun, false) THEN 'ready'
                    ELSE 'doubt' END AS mpesa_state,
               NULL::varchar AS mpesa_reason,
               false AS duplicate
          FROM g2p_payment p
          JOIN g2p_entitlement e ON e.id = p.entitlement_id
          JOIN g2p_cycle c ON c.id = coalesce(p.cycle_id, e.cycle_id)
          JOIN paying ON paying.program_id = c.program_id
          LEFT JOIN batch ON batch.payment_id = p.id
         WHERE p.mpesa_state IS NULL
        """
    )
    env.cr.execute("UPDATE mpesa_taken SET mpesa_reason = 'stuck_before' WHERE mpesa_state = 'doubt'")
    env.cr.execute("ANALYZE mpesa_taken")


def keep_duplicates_back(cr):
    """Of the payments for an entitlement that are not refused, one is its own, and the others are duplicates.

    Its own is a paid one, or else a doubtful one, or else the first. A duplicate that could still be sent
    becomes a doubt. It must not go out by itself. And it is not refused, because that says that no money
    moved, and the earlier module forgot what it had sent when it was interrupted.
    """
    cr.execute(
        """
        UPDATE mpesa_taken t
           SET duplicate = true,
               mpesa_state = CASE mpesa_state WHEN 'ready' THEN 'doubt' ELSE mpesa_state END,
               mpesa_reason = CASE mpesa_state WHEN 'ready' THEN 'duplicate_before' ELSE mpesa_reason END
          FROM (SELECT id, row_number() OVER (
                           PARTITION BY entitlement_id
                           ORDER BY array_position(ARRAY['paid', 'doubt', 'ready'], mpesa_state), id) AS place
                  FROM mpesa_taken WHERE mpesa_state <> 'refused') ranked
         WHERE ranked.id = t.id AND place > 1
        """
    )


def take_payments_over(cr):
    """Write the new state, and make OpenG2P's own fields say the same."""
    cr.execute(
        """
        UPDATE g2p_payment p SET
            mpesa_manager_id = t.manager_id,
            mpesa_state = t.mpesa_state,
            mpesa_reason = CASE WHEN t.mpesa_state = 'ready' THEN 'from_before' ELSE t.mpesa_reason END,
            mpesa_from_before = t.mpesa_state = 'ready',
            mpesa_duplicate = t.duplicate,
            batch_id = t.batch_id,
            state = CASE WHEN t.mpesa_state = 'ready' THEN 'issued'
                         WHEN t.mpesa_state = 'paid' AND p.state = 'reconciled' THEN 'reconciled'
                         ELSE 'sent' END,
            status_is_final = t.mpesa_state IN ('paid', 'refused'),
            status_datetime = CASE WHEN t.mpesa_state = 'ready' THEN p.status_datetime
                                   ELSE coalesce(p.status_datetime, p.payment_datetime, p.write_date) END
          FROM mpesa_taken t
         WHERE p.id = t.id
        """
    )
    _logger.info("%s payments are taken over", cr.rowcount)


def refresh_batches(env):
    env.cr.execute("SELECT DISTINCT batch_id FROM mpesa_taken WHERE batch_id IS NOT NULL ORDER BY batch_id")
    for ids in split_every(BATCHES_AT_ONCE, [row[0] for row in env.cr.fetchall()]):
        env["g2p.payment.batch"].browse(ids)._mpesa_refresh_figures()


def name_batches(env):
    """Batches that are named by a UUID get a name that people can say, as new ones have.

    The UUID stays the reference by which other systems know the batch; where they have another one, it is
    kept in the batch's chatter.
    """
    env.cr.execute(
        """
        WITH unnamed AS (
            SELECT b.id, b.name AS uuid, c.name AS cycle, t.name AS tag,
                   row_number() OVER (PARTITION BY b.cycle_id ORDER BY b.id) + coalesce((
                       SELECT max(substring(other.name FROM ' / ([0-9]{1,9})$')::int)
                         FROM g2p_payment_batch other WHERE other.cycle_id = b.cycle_id), 0) AS number
              FROM g2p_payment_batch b
              JOIN g2p_cycle c ON c.id = b.cycle_id
              LEFT JOIN g2p_payment_batch_tag t ON t.id = b.tag_id
             WHERE b.name ~ %s AND b.id IN (SELECT batch_id FROM mpesa_taken)
        )
        UPDATE g2p_payment_batch b SET
            name = concat_ws(' / ', nullif(unnamed.cycle, ''), nullif(unnamed.tag, ''), unnamed.number),
            external_batch_ref = coalesce(nullif(b.external_batch_ref, ''), unnamed.uuid)
          FROM unnamed
         WHERE unnamed.id = b.id
        RETURNING b.id, unnamed.uuid, b.external_batch_ref <> unnamed.uuid
        """,
        [UUID],
    )
    rows = env.cr.fetchall()
    env["g2p.payment.batch"].invalidate_model(["name", "external_batch_ref"])
    for batch_id, uuid, has_other in rows:
        if has_other:
            batch = env["g2p.payment.batch"].browse(batch_id)
            batch._message_log(body=paragraph("Until now, this batch was named {}.", uuid))
    _logger.info("%s batches have got a name that people can say", len(rows))


# What people are told


def report(manager):
    """Say on the manager's chatter what was taken over, and what is to be looked into or corrected."""
    repeated = duplicates(manager)
    parts = [
        paragraph("This payment manager was taken over from OpenG2P's own module."),
        payments_taken(manager),
        cents_lost(manager),
        numbers_changed(manager),
        repeated,
        corrections(manager),
    ]
    # Without a duplicate there is no file.
    attachment = duplicates_file(manager) if repeated else manager.env["ir.attachment"]
    manager._message_log(body=Markup().join(parts), attachment_ids=attachment.ids)


def paragraph(text, *values):
    return Markup("<p>{}</p>").format(text.format(*values))


def bullets(lines):
    if not lines:
        return ""
    return Markup("<ul>{}</ul>").format(Markup().join(Markup("<li>{}</li>").format(line) for line in lines))


def payments_taken(manager):
    sentences = {
        "paid": "Paid, as the earlier module recorded it: {0}, of {1} in all.",
        "ready": "Ready: {0}, of {1} in all. When the earlier module was interrupted, it forgot what it had"
        " sent, so these may have been paid. They are not sent before somebody has compared them with the"
        " gateway's statement, and confirms in the dialogue of Send that they were not.",
        "doubt": "In doubt: {0}, of {1} in all. Nobody knows whether they were paid. They have no reference,"
        " so the gateway cannot be asked. The finance group settles them with the gateway's statement at"
        " hand.",
        "refused": "Failed: {0}, of {1} in all.",
    }
    cr = manager.env.cr
    cr.execute(
        "SELECT t.mpesa_state, count(*), sum(p.amount_issued)"
        "  FROM mpesa_taken t JOIN g2p_payment p ON p.id = t.id"
        " WHERE t.manager_id = %s GROUP BY t.mpesa_state",
        [manager.id],
    )
    found = {state: (count, f"{amount:,.2f}") for state, count, amount in cr.fetchall()}
    if not found:
        return paragraph("No payments came with it: the program has none, or pays by another manager now.")
    return bullets([text.format(*found[state]) for state, text in sentences.items() if state in found])


def cents_lost(manager):
    """The earlier module sent whole shillings only, and did not say what it had cut off."""
    cr = manager.env.cr
    cr.execute(
        "SELECT count(*), sum(p.amount_issued - p.amount_paid)"
        "  FROM mpesa_taken t JOIN g2p_payment p ON p.id = t.id"
        " WHERE t.manager_id = %s AND t.mpesa_state = 'paid'"
        "   AND p.amount_paid < p.amount_issued AND p.amount_paid > 0",
        [manager.id],
    )
    count, amount = cr.fetchone()
    if not count:
        return ""
    return paragraph(
        "Payments that were paid without their cents: {}. What was cut off: {:,.2f} in all.", count, amount
    )


def numbers_changed(manager):
    """The earlier module sent a telephone number as it was written."""
    if manager.payee_id_type != "phone":
        return ""
    return paragraph(
        "Telephone numbers go out as digits with the country code from now on, e.g. 254712345678, whatever"
        " way they are written in. The earlier module sent them as they were written."
    )


def duplicates(manager):
    """The entitlements that were paid or prepared more than once: how many, and the first of them."""
    cr = manager.env.cr
    cr.execute(
        """
        SELECT t.entitlement_id, count(*) FILTER (WHERE t.mpesa_state = 'paid'),
               coalesce(sum(p.amount_paid) FILTER (WHERE t.mpesa_state = 'paid' AND t.duplicate), 0)
          FROM mpesa_taken t
          JOIN g2p_payment p ON p.id = t.id
         WHERE t.manager_id = %s
         GROUP BY t.entitlement_id
        HAVING bool_or(t.duplicate)
         ORDER BY t.entitlement_id
        """,
        [manager.id],
    )
    rows = cr.fetchall()
    if not rows:
        return ""
    ids = [row[0] for row in rows]
    paid_twice = sum(row[1] > 1 for row in rows)
    too_much = sum(row[2] for row in rows)
    _logger.warning(
        "Manager %s: the earlier module prepared %s entitlements more than once and paid %s of them more than"
        " once, %s too much; the first are %s. The list is on the manager's chatter.",
        manager.id,
        len(ids),
        paid_twice,
        too_much,
        ids[:MOST_NAMED],
    )
    more = len(ids) - MOST_NAMED
    lines = duplicate_lines(cr, ids[:MOST_NAMED]) + ([f"and {more} more, in the file"] if more > 0 else [])
    text = (
        "Entitlements that were prepared more than once: {}. Paid more than once of these: {}, {:,.2f} too"
        " much. What was not sent of them is kept back as a doubt: see what the gateway's statement says, and"
        " settle it as paid or not paid."
    )
    return paragraph(text, len(ids), paid_twice, too_much) + bullets(lines)


def duplicate_lines(cr, entitlement_ids):
    cr.execute(
        """
        SELECT e.code, e.id, string_agg(format('%%s %%s: %%s', p.name, round(p.amount_issued, 2),
                    CASE WHEN t.mpesa_reason = 'duplicate_before' THEN 'kept back' ELSE t.mpesa_state END),
                    '; ' ORDER BY t.duplicate, t.id)
          FROM mpesa_taken t
          JOIN g2p_payment p ON p.id = t.id
          JOIN g2p_entitlement e ON e.id = t.entitlement_id
         WHERE t.entitlement_id = ANY(%s) AND t.mpesa_state <> 'refused'
         GROUP BY e.id
         ORDER BY e.id
        """,
        [entitlement_ids],
    )
    return [f"{code} ({entitlement_id}): {payments}" for code, entitlement_id, payments in cr.fetchall()]


def duplicates_file(manager):
    cr = manager.env.cr
    cr.execute(
        f"""
        SELECT {", ".join(FILE_COLUMNS.values())}
          FROM mpesa_taken t
          JOIN g2p_payment p ON p.id = t.id
          JOIN g2p_entitlement e ON e.id = t.entitlement_id
         WHERE t.mpesa_state <> 'refused' AND t.manager_id = %s
           AND t.entitlement_id IN (SELECT entitlement_id FROM mpesa_taken WHERE duplicate)
         ORDER BY e.id, t.duplicate, p.id
        """,
        [manager.id],
    )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(FILE_COLUMNS)
    writer.writerows(cr.fetchall())
    return manager.env["ir.attachment"].create(
        {
            "name": "entitlements paid or prepared more than once.csv",
            "raw": text.getvalue().encode(),
            "mimetype": "text/csv",
            "res_model": manager._name,
            "res_id": manager.id,
        }
    )


def corrections(manager):
    """What an administrator must correct: the earlier module had no rules for its settings."""
    corrected = [corrected_timeout(manager), corrected_customer_type(manager)]
    lines = list(filter(None, [*corrected, *broken_rules(manager)]))
    if not manager.secret:
        lines.append("There is no password.")
    if not lines:
        return ""
    for line in lines:
        _logger.warning("Manager %s: %s", manager.id, line)
    return paragraph("Please look at these settings:") + bullets(lines)


def corrected_timeout(manager):
    """Mend a time-out that cannot be used: none at all, or one that would hold everybody up."""
    before = manager.api_timeout
    after = min(before, 120) if before > 0 else 10
    if after == before:
        return None
    manager.api_timeout = after
    return f"The time-out was {before} seconds, which is not possible. It is {after} seconds now."


def corrected_customer_type(manager):
    """A word that no gateway knows would have each payment refused; people are paid as subscribers."""
    before = manager.customer_type
    if before in dict(manager._fields["customer_type"].selection):
        return None
    manager.customer_type = "subscriber"
    return f"The customer type was {before}, which there is not. It is subscriber now."


def broken_rules(manager):
    """The sentences of the rules; all addresses that are refused, and not the first alone."""
    for sentence in manager._mpesa_url_problems():
        yield f"{sentence} Nothing is sent or asked before this is corrected."
    for check in manager._constraint_methods:
        if check.__name__ == "_check_urls":
            continue
        try:
            check(manager)
        except ValidationError as error:
            yield str(error)
