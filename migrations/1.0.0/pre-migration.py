"""From OpenG2P's own module of this technical name: its model becomes ours, with all that hangs on it.

Names are changed and nothing is copied, so ids stay, and with them chatter, followers, activities,
attachments, filters and the programs' choice of a manager. Payments are taken over in the other script,
when their columns are there.
"""

import json
import logging

from psycopg2 import sql

_logger = logging.getLogger(__name__)

MODULE = "g2p_payment_simple_mpesa"
OLD, NEW = "g2p.program.payment.manager.simple.mpesa", "g2p.program.payment.manager.mpesa"
OLD_TABLE, NEW_TABLE = OLD.replace(".", "_"), NEW.replace(".", "_")
OLD_TAGS, NEW_TAGS = "g2p_pay_batch_tag_pay_manager_simple_mpesa", "g2p_pay_batch_tag_pay_manager_mpesa"

# Columns in which a model is written by its name, in whatever table.
MODEL_COLUMNS = ("model", "res_model", "model_name", "res_model_name", "model_id", "relation", "resource")

# Of a job j: what it has only once it has begun, by the column. Requeuing takes some of it away and leaves
# the rest; which columns there are depends on the version of queue_job.
BEGAN = {
    "state": "j.state IN ('started', 'failed', 'done')",
    "retry": "j.retry > 0",
    "date_started": "j.date_started IS NOT NULL",
    "date_done": "j.date_done IS NOT NULL",
    "exec_time": "j.exec_time > 0",
    "worker_pid": "j.worker_pid > 0",
    "exc_name": "j.exc_name <> ''",
    "exc_message": "j.exc_message <> ''",
    "exc_info": "j.exc_info <> ''",
    # Cancelling writes one, too.
    "result": "j.result <> '' AND j.state <> 'cancelled'",
}
# Or somebody was told that it failed: by the message's subtype, in whatever language, or by its words.
TOLD = """EXISTS (
    SELECT FROM mail_message m WHERE m.model = 'queue.job' AND m.res_id = j.id
       AND (m.body LIKE '%%Something bad happened%%' OR m.subtype_id IN (
            SELECT res_id FROM ir_model_data WHERE module = 'queue_job' AND name = 'mt_job_failed')))"""

# What the data files of both have, by its XML id. Odoo removes the rest of the old ones after the update.
XML_IDS = {
    "view_payment_manager_simple_mpesa_form": "view_manager_form",
    "view_payment_manager_simple_mpesa_tree": "view_manager_list",
    "payment_manager_simple_mpesa_filter": "view_manager_search",
    "action_payment_manager_simple_mpesa": "action_manager",
    "menu_payment_manager_simple_mpesa": "menu_manager",
    "g2p_program_payment_manager_simple_mpesa_admin": "access_manager_admin",
    "g2p_program_payment_manager_simple_mpesa_program_manager": "access_manager_program_manager",
    "g2p_program_payment_manager_simple_mpesa_program_validator": "access_manager_program_validator",
}


def migrate(cr, version):
    if not table_exists(cr, OLD_TABLE):
        return
    _logger.info("Taking over the managers of version %s", version)
    mark_interrupted_batches(cr)
    cancel_send_jobs(cr)
    rename_in_jobs(cr)
    switch_off_custom_views(cr)
    rename_xml_ids(cr)
    rename_references(cr)
    rename_model(cr)
    rename_tables(cr)
    hide_passwords(cr)
    # It was any text, or none. What is no customer type at all is corrected in the other script.
    written = "nullif(lower(trim(customer_type)), '')"
    cr.execute(f"UPDATE {NEW_TABLE} SET customer_type = coalesce({written}, 'subscriber')")


def table_exists(cr, name):
    cr.execute("SELECT to_regclass(%s)", [name])
    return cr.fetchone()[0] is not None


# Queue jobs


def mark_interrupted_batches(cr):
    """Count the batches of a job as started that may have begun to send.

    Of such a job nobody knows whom it had paid: what it had recorded was rolled back, or, where it ended
    well, its batches are recorded as started already.
    """
    traces = [condition for column, condition in BEGAN.items() if column in columns_of(cr, "queue_job")]
    cr.execute(
        "SELECT args::text FROM queue_job j WHERE model_name = %s AND method_name = '_send_payments'"
        f" AND ({' OR '.join(traces)} OR {TOLD})",
        [OLD],
    )
    mark_as_started(cr, batches_of_jobs(cr), "whose queue job may have begun to send")
    mark_as_started(cr, batches_of_lost_jobs(cr), "whose queue job is there no more")


def columns_of(cr, table):
    cr.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
    return {row[0] for row in cr.fetchall()}


def mark_as_started(cr, batch_ids, why):
    cr.execute(
        "UPDATE g2p_payment_batch SET batch_has_started = true"
        " WHERE id = ANY(%s) AND batch_has_started IS NOT true RETURNING id",
        [batch_ids],
    )
    marked = [row[0] for row in cr.fetchall()]
    if marked:
        _logger.warning(
            "%s batches, from %s on, %s: nobody knows whom they paid", len(marked), min(marked), why
        )


def batches_of_lost_jobs(cr):
    """Batches of cycles that were sent by a job, by their chatter, which did not end and was deleted.

    Old jobs are deleted by themselves, also failed ones. The chatter has a message for each job that was
    queued, and one for each that ended well.
    """
    cr.execute(
        "SELECT args::text FROM queue_job WHERE model_name = %s AND method_name = '_send_payments'"
        " AND state <> 'done'",
        [OLD],
    )
    there = batches_of_jobs(cr)
    cr.execute(
        """
        WITH told AS (
            SELECT res_id AS cycle_id, max(date) FILTER (WHERE body LIKE '%%Send payments started%%') AS last,
                   count(*) FILTER (WHERE body LIKE '%%Send payments started%%') AS begun,
                   count(*) FILTER (WHERE body LIKE '%%Send payments completed%%') AS ended
              FROM mail_message WHERE model = 'g2p.cycle' AND body LIKE '%%Send payments %%'
             GROUP BY res_id
        )
        SELECT b.id FROM g2p_payment_batch b JOIN told ON told.cycle_id = b.cycle_id
          JOIN g2p_cycle c ON c.id = b.cycle_id
         WHERE told.begun > told.ended AND NOT b.id = ANY(%s)
           AND (b.create_date IS NULL OR b.create_date <= told.last)
           AND EXISTS (SELECT FROM g2p_program_payment_manager w
                        WHERE w.program_id = c.program_id AND w.manager_ref_id LIKE %s)
        """,
        [there, f"{OLD},%"],
    )
    return [row[0] for row in cr.fetchall()]


def cancel_send_jobs(cr):
    """Send nothing by itself after the update: cancel what waits, and free the cycles locked for it."""
    cr.execute(
        "SELECT args::text FROM queue_job WHERE model_name = %s AND method_name = '_send_payments'"
        " AND state NOT IN ('done', 'cancelled')",
        [OLD],
    )
    batch_ids = batches_of_jobs(cr)
    cr.execute(
        """
        UPDATE queue_job j SET state = 'cancelled', date_cancelled = now() AT TIME ZONE 'UTC'
          FROM queue_job send
         WHERE send.model_name = %s AND send.method_name = '_send_payments'
           AND send.state NOT IN ('done', 'cancelled')
           AND (j.id = send.id OR j.graph_uuid = send.graph_uuid AND j.state = 'wait_dependencies')
        """,
        [OLD],
    )
    if cr.rowcount:
        _logger.warning("Cancelled %s queue jobs; what is ready can be sent again by hand.", cr.rowcount)
    cr.execute(
        "UPDATE g2p_cycle SET locked = false, locked_reason = NULL"
        " WHERE locked AND id IN (SELECT cycle_id FROM g2p_payment_batch WHERE id = ANY(%s))",
        [batch_ids],
    )


def batches_of_jobs(cr):
    """The ids of batches in the arguments that were just selected."""
    return [
        batch_id
        for (text,) in cr.fetchall()
        for argument in decode(text)
        if isinstance(argument, dict) and argument.get("model") == "g2p.payment.batch"
        for batch_id in argument["ids"]
    ]


def decode(text):
    """The arguments of a job: text, jsonb, or text in jsonb, by the version of queue_job."""
    arguments = json.loads(text or "[]")
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def rename_in_jobs(cr):
    """A job of a model that is not there breaks the list of jobs. Our settings for jobs come as data."""
    cr.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'queue_job'"
        " AND column_name IN ('name', 'records', 'args', 'func_string', 'channel_method_name')"
    )
    renamed = ", ".join(
        f"{column} = replace({column}::text, %(old)s, %(new)s)::{kind}" for column, kind in cr.fetchall()
    )
    cr.execute(f"UPDATE queue_job SET {renamed} WHERE model_name = %(old)s", {"old": OLD, "new": NEW})
    cr.execute(
        "DELETE FROM queue_job_function f USING ir_model m"
        " WHERE m.id = f.model_id AND m.model = %s RETURNING f.id",
        [OLD],
    )
    functions = [row[0] for row in cr.fetchall()]
    delete_xml_ids(cr, "queue.job.function", functions)


def delete_xml_ids(cr, model, ids):
    cr.execute("DELETE FROM ir_model_data WHERE model = %s AND res_id = ANY(%s)", [model, ids])


# Views and other records of the module


def switch_off_custom_views(cr):
    """Somebody's own changes to the old views may not fit the new ones: keep them, switched off."""
    cr.execute(
        """
        UPDATE ir_ui_view v SET active = false
          FROM ir_model_data parent
         WHERE parent.module = %s AND parent.model = 'ir.ui.view' AND parent.res_id = v.inherit_id
           AND v.active AND NOT EXISTS (
               SELECT 1 FROM ir_model_data own JOIN ir_module_module m ON m.name = own.module
                WHERE own.model = 'ir.ui.view' AND own.res_id = v.id)
        RETURNING v.id, v.name
        """,
        [MODULE],
    )
    for view_id, name in cr.fetchall():
        _logger.warning("View %s (%s) changes a view of the earlier module: switched off.", view_id, name)


def rename_xml_ids(cr):
    for old, new in XML_IDS.items():
        cr.execute("UPDATE ir_model_data SET name = %s WHERE module = %s AND name = %s", [new, MODULE, old])
    # Of a model that was there once and is gone, Odoo leaves some names behind.
    cr.execute(
        "DELETE FROM ir_model_data WHERE strpos(name, %(new)s) > 0 AND model LIKE 'ir.model%%'"
        " AND NOT EXISTS (SELECT 1 FROM ir_model WHERE model = %(model)s)",
        {"new": NEW_TABLE, "model": NEW},
    )
    cr.execute(
        "UPDATE ir_model_data SET name = replace(name, %(old)s, %(new)s)"
        " WHERE strpos(name, %(old)s) > 0 AND model LIKE 'ir.model%%' AND model <> 'ir.model.access'",
        {"old": OLD_TABLE, "new": NEW_TABLE},
    )


# The model


def rename_references(cr):
    """Values such as "model,id" of any reference field, among them the programs' choice of a manager."""
    cr.execute(
        "SELECT replace(model, '.', '_'), name FROM ir_model_fields WHERE ttype = 'reference' AND store"
    )
    wanted = {*cr.fetchall(), ("ir_property", "value_reference"), ("ir_property", "res_id")}
    for table, column in text_columns(cr):
        if (table, column) in wanted:
            cr.execute(
                sql.SQL("UPDATE {0} SET {1} = %s || substr({1}, %s) WHERE {1} LIKE %s").format(
                    sql.Identifier(table), sql.Identifier(column)
                ),
                [NEW, len(OLD) + 1, f"{OLD},%"],
            )


def rename_model(cr):
    for table, column in text_columns(cr):
        if column in MODEL_COLUMNS:
            cr.execute(
                sql.SQL("UPDATE {0} SET {1} = %s WHERE {1} = %s").format(
                    sql.Identifier(table), sql.Identifier(column)
                ),
                [NEW, OLD],
            )


def text_columns(cr):
    """Pairs of table and column."""
    cr.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema = current_schema AND table_type = 'BASE TABLE'"
        " AND data_type IN ('character varying', 'text')"
    )
    return cr.fetchall()


def rename_tables(cr):
    for table in (OLD_TABLE, OLD_TAGS):
        drop_foreign_keys(cr, table)
    rename_column(cr, OLD_TAGS, f"{OLD_TABLE}_id", f"{NEW_TABLE}_id")
    for old, new in ((OLD_TABLE, NEW_TABLE), (OLD_TAGS, NEW_TAGS)):
        rename(cr, "TABLE", old, new)
        rename(cr, "INDEX", f"{old}_pkey", f"{new}_pkey")
    rename(cr, "SEQUENCE", f"{OLD_TABLE}_id_seq", f"{NEW_TABLE}_id_seq")
    cr.execute("UPDATE ir_model_relation SET name = %s WHERE name = %s", [NEW_TAGS, OLD_TAGS])


def drop_foreign_keys(cr, table):
    """Odoo makes those that it wants again, under the table's new name."""
    cr.execute("SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass", [table])
    names = [row[0] for row in cr.fetchall()]
    for name in names:
        cr.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.Identifier(table), sql.Identifier(name))
        )
    cr.execute("DELETE FROM ir_model_constraint WHERE name = ANY(%s) RETURNING id", [names])
    delete_xml_ids(cr, "ir.model.constraint", [row[0] for row in cr.fetchall()])


def rename(cr, kind, old, new):
    if table_exists(cr, old):
        statement = sql.SQL(f"ALTER {kind} {{}} RENAME TO {{}}")
        cr.execute(statement.format(sql.Identifier(old), sql.Identifier(new)))


def rename_column(cr, table, old, new):
    cr.execute(
        sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
            sql.Identifier(table), sql.Identifier(old), sql.Identifier(new)
        )
    )


def hide_passwords(cr):
    """The password goes to the field that nobody can read."""
    rename_column(cr, NEW_TABLE, "password", "secret")
    cr.execute(f"ALTER TABLE {NEW_TABLE} ALTER COLUMN secret DROP NOT NULL")
