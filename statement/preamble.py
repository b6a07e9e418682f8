"""What stands above the headings of a statement: of which account it is, and of which time."""

import re
from datetime import timedelta

from . import cells, sheet
from .words import plain

# The words before the number of an account, in the four languages.
ACCOUNT = frozenset(
    (
        *("short code", "shortcode", "organization short code", "organisation short code", "account"),
        *("account number", "account no", "till", "till number", "paybill", "paybill number", "agent number"),
        *(
            "business number",
            "merchant code",
            "wallet",
            "wallet number",
            "msisdn",
            "compte",
            "numero de compte",
        ),
        *("code marchand", "numero marchand", "conta", "numero da conta", "numero de conta", "codigo"),
        *("codigo curto", "codigo do agente", "akaunti", "namba ya akaunti", "namba ya wakala"),
    )
)
PERIOD = frozenset(
    (
        *("time period", "period", "statement period", "date range", "from", "for the period", "periode"),
        *("periode du releve", "du", "periodo", "periodo do extrato", "de", "kipindi", "kuanzia"),
    )
)
_DAY = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2} [^\W\d_]{3,} \d{4})"
    r"(?P<clock>[ T]\d{1,2}:\d{2}(?::\d{2})?)?"
)


def _pairs(rows):
    """What a row says, as its first words and the text behind them."""
    for row in rows:
        texts = [sheet.shown(cell).strip() for cell in row if cell != ""]
        if texts:
            words, _sign, behind = texts[0].partition(":")
            yield plain(words), " ".join(filter(None, (behind.strip(), *texts[1:])))


def account_of(rows):
    """The number of the account as it stands above the headings; None where it does not.

    :param rows: the rows above the headings, as lists of cells.
    """
    return next((text for words, text in _pairs(rows) if words in ACCOUNT and text), None)


def period_of(rows, order, zone):
    """From when to when a file is, by its own word, naive UTC: a pair; None where it does not say.

    :param order: and ``zone``, as for :func:`cells.moment_of`.
    """
    for words, text in _pairs(rows):
        days = list(_DAY.finditer(text)) if words in PERIOD else []
        if len(days) != 2:
            continue
        first, last = (cells.moment_of(day.group(), order, zone) for day in days)
        if first and last:
            # A day without a time is meant as a whole.
            return first, last if days[1]["clock"] else last + timedelta(days=1, seconds=-1)
    return None
