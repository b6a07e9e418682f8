"""Pages that are open see payments move: Odoo's bus says which batches and cycles have changed.

A page that hears it reads the figures anew, with the rights of its user. Whoever moves payments pays next to
nothing for it: a thread of its own tells, at most once a second for a batch.
"""

import logging
import re
import threading
import time

import psycopg2
import psycopg2.pool

from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

_logger = logging.getLogger(__name__)

# Seconds between two notes about the same batch, from one process.
EVERY = 1.0
# Until the transaction that has just ended can be seen by everybody.
AT_LEAST = 0.05
NOTE = "g2p_mpesa.changed"
CHANNEL = re.compile(r"g2p_mpesa_(g2p\.payment\.batch|g2p\.cycle)_(\d{1,9})")

_lock = threading.Lock()
# From database and batch: when it was told of last, and whether a thread is about to tell of it.
_told = {}
_waiting = set()


def channel(record):
    """What a page asks to hear of: the name of a batch's or a cycle's channel."""
    return f"g2p_mpesa_{record._name}_{record.id}"


def tell_after_commit(cr, batch_ids):
    """Once this transaction is committed, tell the pages that show these batches, or their cycles."""
    data = cr.postcommit.data
    if "g2p_mpesa.batches" not in data:
        data["g2p_mpesa.batches"] = set()
        cr.postcommit.add(lambda: _tell_soon(cr.dbname, data.pop("g2p_mpesa.batches")))
    data["g2p_mpesa.batches"].update(batch_ids)


def _tell_soon(database, batch_ids):
    now = time.monotonic()
    with _lock:
        new = {batch_id for batch_id in batch_ids if (database, batch_id) not in _waiting}
        _waiting.update((database, batch_id) for batch_id in new)
        last = max((_told.get((database, batch_id), 0) for batch_id in new), default=0)
    if new:
        timer = threading.Timer(max(AT_LEAST, last + EVERY - now), _tell, [database, new])
        timer.daemon = True
        timer.name = "mpesa-live-pages"
        timer.start()


def _tell(database, batch_ids):
    with _lock:
        now = time.monotonic()
        _waiting.difference_update((database, batch_id) for batch_id in batch_ids)
        # What nobody speaks of any more is forgotten.
        for key in [key for key, told in _told.items() if told < now - EVERY]:
            del _told[key]
        _told.update({(database, batch_id): now for batch_id in batch_ids})
    try:
        with Registry(database).cursor() as cr:
            _send(api.Environment(cr, SUPERUSER_ID, {}), batch_ids)
    except (psycopg2.Error, psycopg2.pool.PoolError):
        # Whoever looks at the page sees it a moment later.
        _logger.info("Open pages could not be told that batches have changed", exc_info=True)


def _send(env, batch_ids):
    batches = env["g2p.payment.batch"].browse(batch_ids).exists()
    for record in [*batches, *batches.cycle_id]:
        env["bus.bus"]._sendone(record, NOTE, {"channel": channel(record)})
