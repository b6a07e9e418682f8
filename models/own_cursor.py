"""Short transactions of our own, beside the caller's.

Odoo repeats a request from its start after a serialization error, and rolls back what a failed one wrote.
Neither may happen to a record of money, so claims and outcomes are written here.
"""

import time
from contextlib import contextmanager

import psycopg2
import psycopg2.pool
from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED, TRANSACTION_STATUS_IDLE

from odoo import api

# A caller that holds a row and waits for us is a deadlock that PostgreSQL cannot see; milliseconds.
LOCK_TIMEOUT = 4000
# Seconds before each further try; PostgreSQL may be restarting.
PAUSES = (0.1, 0.3, 1, 2, 4, 8, 15)

# The connection was lost, somebody held a row for too long, or there is no connection to be had. All pass.
PASSING = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.pool.PoolError)


@contextmanager
def own_transaction(env):
    """An environment on a cursor of its own, READ COMMITTED, committed at the end.

    :param env: whose registry, user and context are taken.
    :raise psycopg2.Error: as the statements do; a COMMIT whose connection is lost may have happened.
    """
    with env.registry.cursor() as cr:
        # A test's cursor is inside a transaction already, and keeps its level.
        if cr.connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            cr.connection.set_isolation_level(ISOLATION_LEVEL_READ_COMMITTED)
        cr.execute("SET LOCAL lock_timeout = %s", [LOCK_TIMEOUT])
        own = api.Environment(cr, env.uid, env.context, True)
        yield own
        own.flush_all()


def durably(env, work, pauses=PAUSES):
    """Call ``work(env)`` in a transaction of its own until it is committed.

    ``work`` is repeated after a lost connection, so it must be such that twice is as good as once.

    :raise psycopg2.Error: the last try failed too.
    """
    for pause in pauses:
        try:
            with own_transaction(env) as own:
                return work(own)
        except PASSING:
            time.sleep(pause)
    with own_transaction(env) as own:
        return work(own)
