"""Short transactions of our own, beside the caller's.

Odoo repeats a request from its start after a serialization error, and rolls back what a failed one wrote.
Neither may happen to a record of money, so claims and outcomes are written here.
"""

import time
from contextlib import contextmanager, suppress

import psycopg2
import psycopg2.pool
from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED, TRANSACTION_STATUS_IDLE

from odoo import api
from odoo.sql_db import Cursor

# A caller that holds a row and waits for us is a deadlock that PostgreSQL cannot see; milliseconds.
LOCK_TIMEOUT = 4000
# What of the caller's context counts here. Whatever else somebody writes into it does nothing to the books.
KEPT = ("lang", "tz", "allowed_company_ids", "mpesa_job", "mpesa_preparing")
# Seconds before each further try; PostgreSQL may be restarting.
PAUSES = (0.1, 0.3, 1, 2, 4, 8, 15)

# A claim that is committed is there after a crash, too, whatever the server is set up to do for others. What
# is stronger stays: there a standby has applied it.
KEEP_WHAT_IS_COMMITTED = """
    SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
"""

# The connection was lost, somebody held a row for too long, or there is no connection to be had. All pass.
PASSING = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.pool.PoolError)


class OwnCursor:
    """A cursor of our own, kept over many short transactions: to open one costs more than to use it.

    For one thread. Its transactions are READ COMMITTED.

    :param env: whose registry, user, language and time zone are taken.
    """

    def __init__(self, env):
        self._env = env
        self._own = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    @contextmanager
    def transaction(self):
        """An environment whose transaction is committed at the end.

        :raise psycopg2.Error: as the statements do; a COMMIT whose connection is lost may have happened.
        """
        with _lost_connections_are_operational():
            own = self._own or self._open()
            try:
                yield own
                own.flush_all()
                own.cr.commit()
            except BaseException:
                self.close()
                raise
        if not isinstance(own.cr, Cursor):
            # A test's cursor, of which only the innermost may be used.
            self.close()

    def durably(self, work, pauses=PAUSES):
        """Call ``work(env)`` in a transaction until it is committed.

        ``work`` is repeated after a lost connection, so it must be such that twice is as good as once.

        :raise psycopg2.Error: the last try failed too.
        """
        for pause in pauses:
            try:
                with self.transaction() as own:
                    return work(own)
            except PASSING:
                time.sleep(pause)
        with self.transaction() as own:
            return work(own)

    def close(self):
        """Roll back what is open, and give the connection back."""
        own, self._own = self._own, None
        # That the connection is lost is said by what it was used for, not here: that may be committed.
        if own:
            with suppress(psycopg2.Error):
                own.cr.close()

    def _open(self):
        cr = self._env.registry.cursor()
        context = {name: self._env.context[name] for name in KEPT if name in self._env.context}
        self._own = api.Environment(cr, self._env.uid, context, True)
        # A test's cursor is inside a transaction already, and keeps its level.
        if cr.connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            cr.connection.set_isolation_level(ISOLATION_LEVEL_READ_COMMITTED)
        try:
            # For the connection, until it is given back. All that is done here finds its rows by an index,
            # whatever PostgreSQL believes of a table that was filled a moment ago.
            cr.execute("SET lock_timeout = %s; SET enable_seqscan = off; SET jit = off", [LOCK_TIMEOUT])
            cr.execute(KEEP_WHAT_IS_COMMITTED)
            if isinstance(cr, Cursor):
                self._own.cr.commit()
        except BaseException:
            self.close()
            raise
        return self._own


@contextmanager
def _lost_connections_are_operational():
    """When a kept connection is reset or rolled back, psycopg2 has no class of its own for its loss."""
    try:
        yield
    except psycopg2.DatabaseError as error:
        if type(error) is not psycopg2.DatabaseError:
            raise
        raise psycopg2.OperationalError(*error.args) from error


@contextmanager
def own_transaction(env):
    """An environment on a cursor of its own, READ COMMITTED, committed at the end.

    :param env: whose registry, user, language and time zone are taken.
    :raise psycopg2.Error: as the statements do; a COMMIT whose connection is lost may have happened.
    """
    with OwnCursor(env) as cursor, cursor.transaction() as own:
        yield own


def durably(env, work, pauses=PAUSES):
    """Call ``work(env)`` in a transaction of its own until it is committed, as :meth:`OwnCursor.durably`."""
    with OwnCursor(env) as cursor:
        return cursor.durably(work, pauses)
