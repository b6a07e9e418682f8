"""The rows of a file: CSV in any common encoding, or an Excel workbook. Pure Python.

A cell is a text, or in a workbook a :class:`~decimal.Decimal` or a :class:`~datetime.datetime`.
"""

import csv
import io
import re
import zipfile
import zlib
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice

import chardet
from openpyxl import load_workbook

from ..gateway.masking import clean
from .words import guess_meaning

DELIMITERS = (",", ";", "\t", "|")
# Account holder, short code, period: so many rows may stand above the head.
MOST_ABOVE_HEAD = 40
# Of a text from outside so much is kept.
MOST_TEXT = 200
# Bounds of a workbook, which may be made to unpack without end.
MOST_SHEETS = 30
MOST_COLUMNS = 200
MOST_ROWS = 1_048_576
MOST_UNPACKED = 512 * 1024**2
MOST_STRINGS = 128 * 1024**2
# Of so many known headings a sheet is taken for a table of the statement.
LEAST_KNOWN = 2
# Whatever a broken file makes of the library.
READING = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, OSError, SyntaxError)
# An empty sheet may say that it has a million rows.
MOST_EMPTY = 2000
# Of what chardet finds, what the four languages are written in; it takes a short text for others, too.
ENCODINGS = {"utf-16le", "utf-16be", "macroman", "iso-8859-15", "ibm850", "windows-1252", "iso-8859-1"}
_FORMULA = re.compile(r'^="(.*)"$|^=?\'(.*)$')


class StatementError(Exception):
    """The file cannot be read as a statement; the text is a code: ``binary``, ``large`` or ``broken``."""


def is_workbook(content):
    """Whether a file is an Excel workbook (.xlsx)."""
    return content[:4] == b"PK\x03\x04"


def decode(content):
    """The text of a file in UTF-8, UTF-16, or the code page that its letters tell of.

    :raise StatementError: it is no text.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    if content[:4] in (b"%PDF", b"\xd0\xcf\x11\xe0") or content[:2] == b"PK":
        raise StatementError("binary")
    head = content[:2000]
    if head.count(0) > len(head) // 4:
        return content.decode("utf-16-be" if head[:1] == b"\0" else "utf-16-le", "replace")
    if b"\0" in head:
        raise StatementError("binary")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        found = (chardet.detect(content[:100_000])["encoding"] or "").lower()
        # The letters of the old code page of Western Europe are all of ISO 8859-1, and its signs.
        encoding = found if found in ENCODINGS and found != "iso-8859-1" else "cp1252"
        return content.decode(encoding, "replace")


def guess_delimiter(text):
    """The character that parts the first lines into the most columns, most often."""
    lines = [line for line in text[:20000].splitlines()[:MOST_ABOVE_HEAD] if line.strip()]
    if lines and (told := re.fullmatch(r"sep=(.)", lines[0].strip(), re.IGNORECASE)):
        return told.group(1) if told.group(1) in DELIMITERS else ","
    return max(DELIMITERS, key=lambda delimiter: _parts(lines, delimiter))


def _parts(lines, delimiter):
    # Known headings count for more than commas in amounts.
    rows = list(csv.reader(lines, delimiter=delimiter))
    known = max((sum(guess_meaning(cell) != "ignore" for cell in row) for row in rows), default=0)
    return known, sum(len(row) - 1 for row in rows)


def table(content, delimiter):
    """Yield the rows of a file, as lists of cells.

    :param bytes content: the file.
    :param str delimiter: of a CSV file.
    :raise StatementError: it is no CSV file and no workbook, or too large.
    """
    if is_workbook(content):
        return _sheet(content)
    reader = csv.reader(io.StringIO(decode(content)), delimiter=delimiter)
    return ([_text(cell) for cell in row] for row in reader)


def _text(cell):
    text = clean(cell).strip()[:MOST_TEXT]
    # So Excel is kept from taking a number for one; a bare apostrophe stays where a name begins with it.
    if text[:1] in "='" and (found := _FORMULA.match(text)):
        return (found.group(1) or found.group(2) or "").strip()
    return text


# Workbooks


def _sheet(content):
    """Its rows, one sheet after the other: the lines of a long statement may go on in the next.

    A sheet with other headings says so by them. Hidden ones may have lines as well as others.
    """
    try:
        _check_bounds(content)
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        if len(book.worksheets) > MOST_SHEETS:
            raise StatementError("large")
        tables = [sheet for sheet in book.worksheets if _known(_rows(sheet)) >= LEAST_KNOWN]
    except READING as error:
        raise StatementError("broken") from error
    return _whole(tables or book.worksheets[:1])


def _whole(sheets):
    try:
        for sheet in sheets:
            yield from _rows(sheet)
    except READING as error:
        raise StatementError("broken") from error


def _check_bounds(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > MOST_UNPACKED or len(parts) > 1000:
            raise StatementError("large")
        for part in parts:
            if "sharedStrings" in part.filename and part.file_size > MOST_STRINGS:
                raise StatementError("large")
            if part.filename.endswith((".xml", ".rels")):
                with archive.open(part) as opened:
                    # A workbook has none; entities are how a small file becomes a large one.
                    if b"<!DOCTYPE" in opened.read(2000).upper():
                        raise StatementError("broken")


def _known(rows):
    first = islice(rows, MOST_ABOVE_HEAD)
    return max((sum(guess_meaning(str(cell)) != "ignore" for cell in row) for row in first), default=0)


def _rows(sheet):
    # What a file says of its own size is not to be believed.
    sheet.reset_dimensions()
    empty = 0
    for values in sheet.iter_rows(max_row=MOST_ROWS, max_col=MOST_COLUMNS, values_only=True):
        row = [_cell(value) for value in values]
        # The library fills each row up to the bound.
        while row and row[-1] == "":
            row.pop()
        empty = 0 if row else empty + 1
        if empty > MOST_EMPTY:
            return
        yield row


def _cell(value):
    if value is None:
        return ""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if value == value else ""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, time):
        return value.strftime("%H:%M:%S")
    return str(value)[:MOST_TEXT]


def shown(cell):
    """A cell as a person reads it."""
    if isinstance(cell, Decimal):
        return format(cell.quantize(Decimal(1)) if cell == cell.to_integral_value() else cell, "f")
    return str(cell)


def find_head(rows):
    """The number, from 1, of the first row with about as many known headings as any.

    :param rows: the first rows.
    """
    known = [sum(guess_meaning(shown(cell)) != "ignore" for cell in row) for row in rows]
    enough = max(known, default=0) * 0.6
    return next((number for number, count in enumerate(known, 1) if count and count >= enough), 1)
