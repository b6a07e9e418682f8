"""What one cell of a statement says: an amount, a moment, a payee. None where it is not understood.

Dates and marks are told apart by a whole column, so each has a function that looks at samples of it.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import pytz
from babel.dates import get_month_names
from openpyxl.utils.datetime import from_excel

from .sheet import shown
from .words import plain

LANGUAGES = ("en", "fr", "pt", "sw")
ORDERS = ("ymd", "dmy", "mdy")
# Days since 1899 that Excel writes for a date: from 1982 to 2118.
SERIALS = (30_000, 80_000)
_SPACES = re.compile(r"[\s\u00a0\u2009\u202f'\u2019]")
# A currency may stand on either side, "/=" behind; DR and CR are signs of a kind.
_AMOUNT = re.compile(
    r"(?P<open>\()?(?P<before>[-+])?(?:[^\W\d_]{1,4}\.?|[$\u20ac\u00a3])?(?P<inner>[-+])?"
    r"(?P<digits>\d[\d.,]*|[.,]\d+)"
    r"(?:/[=-])?(?P<after>[-+])?(?P<unit>[^\W\d_]{1,3}\.?)?(?P<last>[-+])?(?P<close>\))?"
)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s,;<>]+@[^\s,;<>]+")
# Digits, some of which may be masked.
_NUMBER = re.compile(r"\+?\d[\d*xX]{5,}\d|\+?[\d*xX]{0,12}\d{3}\b")
# What Excel leaves of a long number.
_LOST = re.compile(r"\d(?:[.,]\d+)?E\+?\d+", re.IGNORECASE)
_CLOCK = (
    r"(?:(?:T|,|\s|\bat\b|\ba\b|\bas\b|\bsaa\b|-)+"
    r"(?P<hour>\d{1,2})[:.h](?P<minute>\d{2})(?:[:.](?P<second>\d{2})(?:[.,]\d+)?)?\s*"
    r"(?:(?P<half>[ap])\.?\s?m?\.?)?)?\s*$"
)
_NUMERIC = re.compile(r"(\d{1,4})[-/. ](\d{1,2})[-/. ](\d{1,4})" + _CLOCK, re.IGNORECASE)
_DAY_FIRST = re.compile(
    r"(?:[a-z]+\.?,?\s+)?(?P<day>\d{1,2})(?:st|nd|rd|th|er)?[\s/.-]*(?:de\s+)?(?P<month>[a-z]{3,})\.?"
    r"[\s/.,-]*(?:de\s+)?(?P<year>\d{4}|\d{2})" + _CLOCK,
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    r"(?:[a-z]+\.?,?\s+)?(?P<month>[a-z]{3,})\.?\s*(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4})"
    + _CLOCK,
    re.IGNORECASE,
)


# Amounts


def guess_decimal(samples):
    """The decimal mark of a column: ``.`` or ``,``.

    Three digits behind a single mark are thousands, unless other amounts of the column say otherwise: no
    currency that is paid here has thousandths.
    """
    weak = None
    for text in samples:
        digits = _SPACES.sub("", text if isinstance(text, str) else "")
        marks = re.findall(r"[.,]", digits)
        if not marks:
            continue
        if len(set(marks)) == 2:
            return marks[-1]
        if len(marks) > 1:
            return _other(marks[0])
        behind = re.search(r"[.,](\d*)", digits).group(1)
        if len(behind) != 3:
            return marks[0]
        weak = weak or _other(marks[0])
    return weak or "."


def _other(mark):
    return "," if mark == "." else "."


def amount_of(cell, decimal):
    """The amount in a cell: a Decimal with its sign, also from brackets, DR and CR; None if it is none.

    :param cell: a text, or a Decimal of a workbook.
    :param str decimal: the column's decimal mark.
    """
    if isinstance(cell, Decimal):
        return cell
    found = _AMOUNT.fullmatch(_SPACES.sub("", cell.replace("\u2212", "-"))) if isinstance(cell, str) else None
    if not found or bool(found["open"]) != bool(found["close"]):
        return None
    value = _digits(found["digits"], decimal)
    if value is None:
        return None
    signs = [found[name] for name in ("before", "inner", "after", "last")]
    is_negative = "-" in signs or bool(found["open"]) or (found["unit"] or "").upper() in ("DR", "D")
    return -value if is_negative else value


def _digits(text, decimal):
    thousands = _other(decimal)
    whole, _mark, behind = text.partition(decimal)
    if thousands in behind or decimal in behind:
        return None
    groups = whole.split(thousands)
    if len(groups) > 1 and (not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:])):
        return None
    # 1.500, where the other amounts of the column have a point before their cents: nobody can know.
    if len(behind) == 3 and len(whole) <= 3:
        return None
    try:
        return Decimal(f"{''.join(groups) or 0}.{behind or 0}")
    except InvalidOperation:
        return None


# Moments


@lru_cache
def _months():
    """From the names of months, long and short, in the four languages to their numbers."""
    found = {}
    for language in LANGUAGES:
        for width in ("wide", "abbreviated"):
            names = get_month_names(width, locale=language)
            found.update({plain(name).replace(" ", ""): number for number, name in names.items()})
    return found


@lru_cache(1000)
def _month_of(word):
    """The number of a month by its name or the beginning of it; None if it may be several."""
    known = _months()
    if word in known:
        return known[word]
    fitting = {number for name, number in known.items() if name.startswith(word)}
    return fitting.pop() if len(fitting) == 1 else None


def guess_order(samples):
    """The order of year, month and day in a column of dates: one of ``ORDERS``; None if it cannot be told.

    Where no date needs it, because months have names, it is ``ymd``.
    """
    needed, orders = False, set()
    for text in samples:
        found = _NUMERIC.match(text.strip()) if isinstance(text, str) else None
        if not found:
            continue
        first, second = int(found.group(1)), int(found.group(2))
        if len(found.group(1)) == 4:
            orders.add("ymd")
        elif first > 12:
            orders.add("dmy")
        elif second > 12:
            orders.add("mdy")
        else:
            needed = True
    orders -= {"ymd"} if len(orders) > 1 else set()
    if len(orders) == 1 and not (needed and orders == {"ymd"}):
        return orders.pop()
    return None if needed or orders else "ymd"


def moment_of(cell, order, zone, clock=""):
    """The moment in a cell, naive UTC; None if it is none, or its day and month cannot be told apart.

    :param cell: a text, a Decimal (of Excel's days) or a datetime of a workbook.
    :param order: one of ``ORDERS``, or nothing where it is not known.
    :param str zone: of a time without an offset.
    :param clock: the cell of a column of its own for the time of the day.
    """
    try:
        local = _local_of(cell, order, clock)
        if local is None or local.tzinfo:
            return local and local.astimezone(pytz.utc).replace(tzinfo=None)
        return pytz.timezone(zone).localize(local).astimezone(pytz.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _local_of(cell, order, clock):
    if isinstance(cell, datetime):
        return _with_clock(cell, clock)
    text = shown(cell).strip()
    if re.fullmatch(r"\d{5}(\.\d+)?", text) and SERIALS[0] <= float(text) <= SERIALS[1]:
        return _with_clock(from_excel(float(text)).replace(microsecond=0), clock)
    if re.fullmatch(r"\d{14}", text):
        return datetime.strptime(text, "%Y%m%d%H%M%S")
    if re.search(r"\d[T ]\d.*(Z|[+-]\d\d:?\d\d)$", text):
        # Fractions of any length, and Z, which Python 3.10 does not take.
        whole = re.sub(r"\.\d+", "", text.replace("Z", "+00:00"))
        return datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", whole))
    if re.fullmatch(r"\d{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return _parse(f"{text} {shown(clock)}".strip() if clock else text, order)


def _with_clock(day, clock):
    found = re.match(r"(?P<x>)" + _CLOCK, f" {shown(clock)}") if clock else None
    return day + _time_of(found) if found and found["hour"] else day


def _parse(text, order):
    if found := _NUMERIC.match(text):
        parts = found.groups()[:3]
        order = "ymd" if len(parts[0]) == 4 else order
        if not order:
            # The only way to read this one.
            order = "dmy" if int(parts[0]) > 12 else "mdy" if int(parts[1]) > 12 else None
        if not order or (order == "ymd" and len(parts[0]) != 4):
            return None
        date = dict(zip(order, map(int, parts), strict=True))
    else:
        bare = _without_accents(text)
        found = _DAY_FIRST.match(bare) or _MONTH_FIRST.match(bare)
        month = found and _month_of(found["month"].casefold())
        if not month:
            return None
        date = {"d": int(found["day"]), "m": month, "y": int(found["year"])}
    year = date["y"] + (2000 if date["y"] < 100 else 0)
    return datetime(year, date["m"], date["d"]) + _time_of(found)


def _without_accents(text):
    # As plain() does, but with the signs that part a date.
    return re.sub(r"[^\x00-\x7f]+", lambda part: plain(part.group()), text)


def _time_of(found):
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    half = (found["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return timedelta(hours=hour, minutes=minute, seconds=second)


# Whom, and by which number


def is_lost(cell):
    """Whether Excel has left only the beginning of a long number, as in ``2.54712E+11``."""
    return isinstance(cell, str) and bool(_LOST.fullmatch(cell.strip()))


def payee_of(cell):
    """The payee id in a cell such as ``254700000001 - A NAME``: digits, some maybe ``*``, or an address.

    None where there is none, or its digits are lost.
    """
    text = re.sub(r"(\d)\.0+$", r"\1", shown(cell).strip())
    if not text or is_lost(text):
        return None
    if address := _EMAIL.search(text):
        return address.group().lower()
    # One sign between digits; a name may begin behind more of them.
    found = _NUMBER.search(re.sub(r"(?<=\d)[ -](?=[\d*])", "", re.sub(r"[()]", "", text)))
    return re.sub("[xX]", "*", found.group()).lstrip("+") if found else text


def text_of(cell):
    """A reference, a receipt or a word; None where there is none, or its digits are lost."""
    return None if is_lost(cell) else re.sub(r"^(\d+)\.0+$", r"\1", shown(cell).strip()) or None


def reference_of(cell):
    """Our reference, also where other words stand around it; None where there is none."""
    text = text_of(cell)
    found = _UUID.search(text or "")
    return found.group().lower() if found else text
