"""The gateway's books, in SQLite: float, deposits, what was answered to which reference, the tokens' secret.

Each change is committed before the method returns, so it outlives the process however that ends. (A loss of
power is not what a sandbox is for: SQLite's `synchronous` is NORMAL.) Amounts are whole shillings.
"""

import fcntl
import secrets
import sqlite3
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .answers import Answer

COMPLETED, PENDING, FAILED = "completed", "pending", "failed"
NAIROBI = timezone(timedelta(hours=3))
NEVER = float("inf")

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    payee TEXT NOT NULL,
    amount INTEGER NOT NULL,
    reference TEXT,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    settle_at REAL,
    settle_to TEXT,
    request_no INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_reference ON entries (reference) WHERE reference IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_due ON entries (settle_at) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS judged (
    reference TEXT PRIMARY KEY,
    payee TEXT NOT NULL,
    amount INTEGER NOT NULL,
    moved INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    name TEXT NOT NULL,
    reason TEXT
) WITHOUT ROWID;
"""


class LedgerInUseError(Exception):
    """Another process has this ledger open."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a deposit asks for. `reference` is None when the form and the headers have none."""

    payee: str
    amount: int
    customer_type: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What was answered to a reference, and whether money moved."""

    payee: str
    amount: int
    moved: bool
    answer: Answer


def moment(seconds):
    """Seconds since 1970 as RFC 3339, in Nairobi's time."""
    return datetime.fromtimestamp(seconds, NAIROBI).isoformat(timespec="milliseconds")


class Ledger:
    """The books in one file; `path` None keeps them in memory.

    :raise LedgerInUseError: another process has the file open
    :raise sqlite3.Error: the file cannot be opened or is no ledger
    """

    def __init__(self, path=None, first_float=10_000_000):
        self._lock = self._lock_file(path) if path else None
        self.db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA wal_autocheckpoint = 4000")
        self.db.executescript(SCHEMA)
        self._first_time("secret", secrets.token_hex(32))
        self._first_time("generation", 0)
        self._first_time("float", first_float)
        self._first_time("first_float", first_float)
        self._float = int(self._meta("float"))
        self._next_due = self._find_next_due()

    @staticmethod
    def _lock_file(path):
        """Held until the process ends, in a file of its own: SQLite has its own locks on the ledger."""
        # Open for as long as the process lives.
        handle = open(f"{path}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as ex:
            handle.close()
            raise LedgerInUseError(path) from ex
        return handle

    def close(self):
        """Leave the file as one file, without a journal beside it."""
        self.db.close()
        if self._lock:
            self._lock.close()

    # -- meta ----------------------------------------------------------------------------------------------

    def _first_time(self, name, value):
        self.db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, str(value)))

    def _meta(self, name):
        return self.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]

    def _set_meta(self, name, value):
        self.db.execute("UPDATE meta SET value = ? WHERE name = ?", (str(value), name))

    @property
    def secret(self):
        """What tokens are signed with: bytes."""
        return bytes.fromhex(self._meta("secret"))

    @property
    def generation(self):
        """The generation of tokens that is valid."""
        return int(self._meta("generation"))

    def next_generation(self):
        """Make all tokens so far invalid."""
        generation = self.generation + 1
        self._set_meta("generation", generation)
        return generation

    # -- float ---------------------------------------------------------------------------------------------

    @property
    def float(self):
        """What the agents have left, in shillings."""
        self.settle_due()
        return self._float

    def set_float(self, shillings):
        """Give the agents another float, also for the next reset."""
        with self._transaction():
            self._set_meta("first_float", shillings)
            self._write_float(shillings)

    def _write_float(self, shillings):
        self._set_meta("float", shillings)
        self._float = shillings

    # -- deposits ------------------------------------------------------------------------------------------

    def take(self, agent, order, answer, request_no, *, settle_after=0.0, settle_to=COMPLETED):
        """Move the money of an order and remember the answer to its reference.

        :param agent: user id
        :param settle_after: seconds until it is `settle_to`; pending before that. 0: at once
        """
        now = time.time()
        waits = settle_after > 0
        state = PENDING if waits else settle_to
        due = now + settle_after if waits else None
        # SQLite has an infinity, but a day that never comes is plainer as no day.
        row = (
            str(uuid.uuid4()),
            agent,
            order.payee,
            order.amount,
            order.reference,
            now,
            state,
            None if due == NEVER else due,
            settle_to,
            request_no,
        )
        with self._transaction():
            self.db.execute(
                "INSERT INTO entries (transaction_id, agent, payee, amount, reference, at, state, settle_at,"
                " settle_to, request_no) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._remember(order, answer, moved=True)
            if state != FAILED:
                self._write_float(self._float - order.amount)
        if due is not None:
            self._next_due = min(self._next_due, due)

    def refuse(self, order, answer):
        """Remember the answer to an order that moved no money."""
        if order.reference:
            self._remember(order, answer, moved=False)

    def judged(self, reference):
        """What was last answered to a reference, or None."""
        row = self.db.execute("SELECT * FROM judged WHERE reference = ?", (reference,)).fetchone()
        if row is None:
            return None
        answer = Answer(row["status"], row["body"], row["name"], reason=row["reason"])
        return Judged(row["payee"], row["amount"], bool(row["moved"]), answer)

    def _remember(self, order, answer, *, moved):
        if not order.reference:
            return
        # A gateway without idempotency may refuse a reference that it has paid: what moved money stays.
        self.db.execute(
            "INSERT INTO judged VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (reference) DO UPDATE SET"
            " payee = excluded.payee, amount = excluded.amount, moved = excluded.moved,"
            " status = excluded.status, body = excluded.body, name = excluded.name, reason = excluded.reason"
            " WHERE excluded.moved OR NOT judged.moved",
            (
                order.reference,
                order.payee,
                order.amount,
                moved,
                answer.status,
                answer.body,
                answer.name,
                answer.reason,
            ),
        )

    # -- settling ------------------------------------------------------------------------------------------

    def settle_due(self):
        """Settle the pending deposits whose time has come; what failed goes back into the float."""
        now = time.time()
        if now < self._next_due:
            return
        with self._transaction():
            back = self.db.execute(
                "SELECT coalesce(sum(amount), 0) FROM entries"
                " WHERE state = ? AND settle_at <= ? AND settle_to = ?",
                (PENDING, now, FAILED),
            ).fetchone()[0]
            self.db.execute(
                "UPDATE entries SET state = settle_to WHERE state = ? AND settle_at <= ?", (PENDING, now)
            )
            self._write_float(self._float + back)
        self._next_due = self._find_next_due()

    def _find_next_due(self):
        row = self.db.execute("SELECT min(settle_at) FROM entries WHERE state = 'pending'").fetchone()
        return NEVER if row[0] is None else row[0]

    # -- reading -------------------------------------------------------------------------------------------

    def last_request_no(self):
        """The number of the last request in the books."""
        return self.db.execute("SELECT coalesce(max(request_no), 0) FROM entries").fetchone()[0]

    def find(self, reference):
        """The last deposit with this reference as a row, or None."""
        self.settle_due()
        return self.db.execute(
            "SELECT * FROM entries WHERE reference = ? ORDER BY id DESC LIMIT 1", (reference,)
        ).fetchone()

    def entries(self, since=0, limit=-1):
        """Deposits after entry `since`, oldest first, at most `limit` (-1: all): dicts, as in the JSON."""
        self.settle_due()
        rows = self.db.execute("SELECT * FROM entries WHERE id > ? ORDER BY id LIMIT ?", (since, limit))
        return [self._public(row) for row in rows]

    def newest(self, limit, offset=0, agent=None):
        """Rows, newest first; of one agent if given."""
        self.settle_due()
        return self.db.execute(
            "SELECT * FROM entries WHERE ?1 IS NULL OR agent = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3",
            (agent, limit, offset),
        ).fetchall()

    def paid(self):
        """Shillings that went to each payee and have not come back."""
        self.settle_due()
        rows = self.db.execute(
            "SELECT payee, sum(amount) FROM entries WHERE state != ? GROUP BY payee", (FAILED,)
        )
        return dict(tuple(row) for row in rows)

    def count(self):
        """The number of deposits, those included that have failed since."""
        return self.db.execute("SELECT count(*) FROM entries").fetchone()[0]

    @staticmethod
    def _public(row):
        return {
            "id": row["id"],
            "transaction_id": row["transaction_id"],
            "reference": row["reference"],
            "payee": row["payee"],
            "amount": row["amount"],
            "at": moment(row["at"]),
            "state": row["state"],
            "request_no": row["request_no"],
        }

    # -- the end -------------------------------------------------------------------------------------------

    def reset(self):
        """Empty the books and fill the float up to what it was set to. Tokens stay valid, ids go on."""
        with self._transaction():
            self.db.execute("DELETE FROM entries")
            self.db.execute("DELETE FROM judged")
            self._write_float(int(self._meta("first_float")))
        self._next_due = NEVER

    def _transaction(self):
        return _Transaction(self)


class _Transaction:
    """BEGIN and COMMIT; on an error the float in memory goes back with the rest."""

    __slots__ = ("float", "ledger")

    def __init__(self, ledger):
        self.ledger = ledger
        self.float = ledger._float

    def __enter__(self):
        self.ledger.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.ledger.db.execute("COMMIT")
        else:
            self.ledger.db.execute("ROLLBACK")
            self.ledger._float = self.float
