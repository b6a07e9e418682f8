"""What each row of a statement says."""

import re
from collections import Counter
from dataclasses import dataclass, field

from . import cells, sheet, words

# Cells of a row above the headings.
MOST_ABOVE = 4
_DIGIT = re.compile(r"\d")
# Why a line is unclear.
WHY = ("amount", "sign", "moment", "state", "pending", "kind", "payee", "receipt", "head")
# What the sign of an amount says: each was paid out; what has a minus was; what has none was.
SIGNS = ("all", "minus", "plus")
# What a word may mean that nobody knows, beside ``words.STATES`` and ``words.KINDS``.
STATE, KIND = "state", "kind"


@dataclass(frozen=True)
class Format:
    """How a file is to be read.

    :param str delimiter: one character, of a CSV file.
    :param int head: number of the row with the headings, from 1.
    :param str decimal: ``.`` or ``,``.
    :param order: one of ``cells.ORDERS``; None where the file does not need one.
    :param str zone: the time zone of times without an offset.
    :param dict columns: from a meaning to the position of its column, from 0.
    :param sign: one of ``SIGNS``; None where nobody has said.
    :param dict known: from ``STATE`` or ``KIND`` and a plain word to what somebody has said that it means.
    """

    delimiter: str
    head: int
    decimal: str
    order: str | None
    zone: str
    columns: dict
    sign: str | None = "all"
    known: dict = field(default_factory=dict)


def rows_of(content, layout):
    """Yield what each line says; headings that come again, totals and remarks are no lines.

    :param bytes content: the file.
    :param Format layout: how to read it.
    :return: dicts of ``number`` (of the row, from 1), ``kind`` (``payment``, ``money_in``, ``fee``,
        ``not_completed`` or ``unreadable``), ``why`` (one of ``WHY``, of an unreadable one), ``reference``,
        ``receipt``, ``linked``, ``payee``, ``amount``, ``moment`` (naive UTC), ``words``.
    :raise sheet.StatementError: as :func:`sheet.table`.
    """
    head, above, is_lost, first = (), set(), False, None
    for number, row in enumerate(sheet.table(content, layout.delimiter), 1):
        if number <= layout.head:
            head = _as_head(row)
            above.add(head)
        if number <= layout.head or not any(row) or _stands_above(row, above, head):
            continue
        if _is_head(row):
            # Another table begins. Of one with other columns nobody has said what they mean.
            is_lost = _as_head(row) != head
            continue
        line = _Row(row, layout)
        if line.is_remark():
            continue
        out = line.out()
        first = first or out
        # All were to have the same sign; nobody has said what the other one says.
        differs = layout.sign == "all" and out and (out < 0) != (first < 0)
        yield line.says(number, "head" if is_lost else "sign" if differs else None)


def _stands_above(row, above, head):
    """Whether it is one of the rows above the headings, which may come again on each page."""
    # Few lines have so many empty cells; to compare each with each would take as long as to read it.
    return sum(bool(cell) for cell in row) <= MOST_ABOVE and _as_head(row) != head and _as_head(row) in above


def _as_head(row):
    return tuple(words.plain(sheet.shown(cell)) for cell in row)


def _is_head(row):
    if sum(isinstance(cell, str) and cell != "" and not _DIGIT.search(cell) for cell in row) < 3:
        return False
    known = sum(words.guess_meaning(sheet.shown(cell)) != "ignore" for cell in row)
    return known >= 3 and known * 2 >= sum(bool(cell) for cell in row)


def words_of(rows, columns):
    """The words of states and kinds that are not known, with how often they stand there.

    :param rows: lists of cells.
    :param dict columns: as of :class:`Format`.
    :return: a Counter of pairs of ``STATE`` or ``KIND`` and a plain word.
    """
    found = Counter()
    for row in rows:
        line = _Row(row, Format("", 0, ".", None, "UTC", columns))
        if line.is_remark() or _is_head(row):
            continue
        state, kind = line.cell("status"), line.cell("kind")
        if state and not words.state_of(state):
            found[STATE, words.plain(state)] += 1
        if kind and not words.kind_of(kind):
            found[KIND, words.kind_word(kind)] += 1
    return found


def signs_of(rows, layout):
    """Whether there are amounts below nought, and above it, in the column of what was paid out."""
    amounts = [_Row(row, layout).out() for row in rows if not _is_head(row)]
    return any(amount and amount < 0 for amount in amounts), any(amount and amount > 0 for amount in amounts)


class _Row:
    def __init__(self, row, layout):
        self.row, self.layout = row, layout

    def raw(self, meaning):
        position = self.layout.columns.get(meaning)
        return self.row[position] if position is not None and position < len(self.row) else ""

    def cell(self, meaning):
        return sheet.shown(self.raw(meaning)).strip()

    def is_remark(self):
        """A total, a balance, who printed it and when: not a line."""
        if any(self.raw(name) for name in ("moment", "reference", "payee")):
            return False
        first = next((sheet.shown(cell) for cell in self.row if cell), "")
        return words.plain(first).split(" ")[0] in words.TOTALS

    def out(self):
        """The signed amount in the column of what was paid out; None where there is none."""
        decimal = self.layout.decimal
        return cells.amount_of(self.raw("paid_out"), decimal) or cells.amount_of(self.raw("amount"), decimal)

    def says(self, number, why):
        """What the line says, as of :func:`rows_of`."""
        moment = cells.moment_of(self.raw("moment"), self.layout.order, self.layout.zone, self.raw("clock"))
        amount, is_in, unclear = self._amount()
        why = why or unclear or (None if moment or "moment" not in self.layout.columns else "moment")
        kind, why = self._kind(why, is_in)
        return {
            "number": number,
            "kind": kind,
            "why": why,
            "reference": cells.reference_of(self.raw("reference")),
            "receipt": cells.text_of(self.raw("receipt")),
            "linked": cells.text_of(self.raw("linked")),
            "payee": cells.payee_of(self.raw("payee")),
            "amount": amount,
            "moment": moment,
            "words": " · ".join(filter(None, map(self.cell, ("kind", "status", "name")))) or None,
        }

    def _amount(self):
        """The amount without its sign, whether it came in, and why it is not known."""
        amount, paid_in = self.out(), cells.amount_of(self.raw("paid_in"), self.layout.decimal)
        if amount:
            if not self.layout.sign:
                return abs(amount), False, "sign"
            is_in = self.layout.sign != "all" and (amount > 0) == (self.layout.sign == "minus")
            return abs(amount), is_in, None
        if paid_in:
            return abs(paid_in), True, None
        return None, False, "amount"

    def _kind(self, why, is_in):
        """What kind of line it is, and why it is unclear, if it is."""
        state = self._known(STATE, self.cell("status"), words.state_of, words.plain)
        if state in (words.FAILED, words.REVERSED):
            return "not_completed", None
        if "status" in self.layout.columns and state != words.CARRIED_OUT:
            return "unreadable", why or ("pending" if state == words.PENDING else "state")
        text = self.cell("kind")
        kind = self._known(KIND, text, words.kind_of, words.kind_word)
        if kind == words.FEE and why != "head":
            return "fee", None
        for meaning in ("payee", "receipt"):
            # By our reference it is known whose it is.
            is_needed = meaning != "payee" or not self.cell("reference")
            if is_needed and cells.is_lost(self.raw(meaning)):
                why = why or meaning
        why = why or ("kind" if text and not kind else None)
        return ("unreadable", why) if why else ("money_in" if is_in else "payment", None)

    def _known(self, name, text, meaning_of, word_of):
        return self.layout.known.get((name, word_of(text))) or meaning_of(text) if text else None
