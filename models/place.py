"""Which database this is, as far as its server says: one that was copied or restored is another one.

A copy has the same payments ready as the one that it was made from, and would pay them a second time.
"""

import json

# What each part is asked by, and which function the database role must be allowed to call for it.
PARTS = {
    "uuid": ("(SELECT value FROM ir_config_parameter WHERE key = 'database.uuid')", None),
    "name": ("current_database()::text", None),
    # Another one where it was restored into a new database, whatever that is called.
    "oid": ("(SELECT oid::text FROM pg_database WHERE datname = current_database())", None),
    "system": ("(SELECT system_identifier::text FROM pg_control_system())", "pg_control_system()"),
    # Another one after a restore to an earlier moment, and after a standby took over. That of the last
    # checkpoint may still be the one before.
    "timeline": ("left(pg_walfile_name(pg_current_wal_lsn()), 8)", "pg_walfile_name(pg_lsn)"),
    # Seen by some roles only; a view hides it from the others.
    "folder": ("(SELECT setting FROM pg_settings WHERE name = 'data_directory')", None),
}


def here(cr):
    """Which database this cursor is in: from the names of ``PARTS`` to texts, None for what is not told."""
    needed = [function for _question, function in PARTS.values() if function]
    cr.execute(
        "SELECT f FROM unnest(%s) AS f WHERE has_function_privilege(f, 'execute')"
        " AND has_function_privilege('pg_current_wal_lsn()', 'execute')",
        [needed],
    )
    allowed = {None, *(row[0] for row in cr.fetchall())}
    asked = [question if function in allowed else "NULL" for question, function in PARTS.values()]
    # Only what stands above.
    cr.execute(f"SELECT {', '.join(asked)}")  # pylint: disable=sql-injection
    return dict(zip(PARTS, cr.fetchone(), strict=True))


def differences(stored, now):
    """Which parts of a stored place are not so now.

    What could not be told then is not compared; what can be told no more is another one.

    :param stored: as :func:`as_text` gives it; None or "" where none is stored.
    :param dict now: as :func:`here` gives it.
    :return: a list of names of ``PARTS``.
    """
    then = json.loads(stored or "{}")
    return [name for name in PARTS if then.get(name) and then[name] != now.get(name)]


def as_text(place):
    """A place as it is stored."""
    return json.dumps(place, sort_keys=True)
