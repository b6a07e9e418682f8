"""A gateway's statement as a CSV file: what its columns mean, and what its rows say. Pure Python.

Every operator has headings, dates and amounts of its own. What can be guessed is guessed, a person may
correct it, and what cannot be read is listed.
"""

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

import pytz

from ..gateway.masking import clean

DELIMITERS = (",", ";", "\t", "|")
# Account holder, short code, period: so many rows may stand above the head.
MOST_ABOVE_HEAD = 40
SAMPLES = 200
# Of a text from outside so much is kept.
MOST_TEXT = 200

# What a column may mean, and the headings that are known for it, without case, spaces and points.
# Those of M-PESA's organisation statement, of the Simple M-Pesa gateway, and of common exports.
HEADINGS = {
    "reference": (
        "reference ourreference paymentreference clientreference externalreference merchantreference "
        "originatorconversationid originatorconversation idempotencykey"
    ),
    "receipt": (
        "receiptno receipt receiptnumber mpesareceipt mpesareceiptno transactionid transactionreceipt "
        "transid txnid transactionno transactionnumber confirmationcode"
    ),
    "payee": (
        "payee accountno msisdn phone phonenumber mobilenumber otherpartyinfo recipient receiver "
        "creditparty partyb beneficiary customer to"
    ),
    "amount": "amount value transactionamount amountpaid",
    "paid_out": "withdrawn paidout debit debitamount debitedamount moneyout",
    "paid_in": "paidin credit creditamount creditedamount deposited moneyin",
    "moment": (
        "completiontime completedat completed date time datetime transactiondate transactiontime createdat "
        "paid paidat finalisedtime timestamp valuedate"
    ),
    "status": "transactionstatus status state result",
    "kind": "reasontype transactiontype type details description narration",
    "linked": "linkedtransactionid linkedtransaction originaltransactionid reversalof",
}
_MEANING = {heading: meaning for meaning, text in HEADINGS.items() for heading in text.split()}

# What a row says of itself, in English, French, Portuguese and Swahili; without case and accents. Another
# word, or one that says that it is not over, is not understood: it does not say whether money moved.
CARRIED_OUT = {
    *(
        "completed",
        "complete",
        "success",
        "successful",
        "succeeded",
        "paid",
        "settled",
        "processed",
        "posted",
    ),
    *("transaction successful", "transaction completed", "completed successfully"),
    *("reussi", "reussie", "effectue", "effectuee", "termine", "terminee", "paye", "payee", "succes"),
    *("concluida", "concluido", "efectuada", "efetuada", "efectuado", "efetuado", "pago", "paga", "sucesso"),
    *("imekamilika", "imefanikiwa", "imelipwa", "yamelipwa", "umekamilika", "yamekamilika"),
}
NOT_CARRIED_OUT = {
    *("failed", "failure", "cancelled", "canceled", "declined", "rejected", "expired", "not completed"),
    *("transaction failed", "unsuccessful", "error", "aborted"),
    *("echoue", "echouee", "echec", "annule", "annulee", "refuse", "refusee", "rejete", "rejetee", "expiree"),
    *("falhada", "falhado", "falhou", "cancelada", "cancelado", "recusada", "recusado", "rejeitada"),
    *("rejeitado", "anulada", "anulado", "expirada", "expirado"),
    *("imeshindwa", "imeghairiwa", "imekataliwa", "imefutwa", "imeshindikana"),
}
_FEE = re.compile(r"\b(charges?|fees?|commission|tariff|excise)\b", re.IGNORECASE)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s,;<>]+@[^\s,;<>]+")
# Digits, some of which may be masked.
_NUMBER = re.compile(r"\+?\d[\d*xX]{5,}\d|\+?[\d*xX]{0,12}\d{3}\b")
_DATE = re.compile(
    r"(\d{1,4})[-/. ](\d{1,2})[-/. ](\d{1,4})"
    r"(?:[T, ]+(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:[.,]\d+)?)?\s*([AaPp])?\.?(?:[Mm]\.?)?)?$"
)


class StatementError(Exception):
    """The file cannot be read as a statement; the text is a code: ``empty``, ``binary``."""


@dataclass(frozen=True)
class Format:
    """How a file is to be read.

    :param str delimiter: one character.
    :param int head: number of the row with the headings, from 1.
    :param str decimal: ``.`` or ``,``.
    :param str order: ``ymd``, ``dmy`` or ``mdy``.
    :param str zone: the time zone of times without an offset.
    :param dict columns: from a meaning to the position of its column, from 0.
    """

    delimiter: str
    head: int
    decimal: str
    order: str
    zone: str
    columns: dict


def decode(content):
    """The text of a file in UTF-8, UTF-16 (with its mark) or the old code page of Western Europe.

    :raise StatementError: it is no text.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    # Excel and PDF files, which people have at hand as well.
    if content[:2] == b"PK" or content[:4] in (b"%PDF", b"\xd0\xcf\x11\xe0") or b"\0" in content[:1000]:
        raise StatementError("binary")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def guess_delimiter(text):
    """The character that parts the first lines into the most columns, most often."""
    lines = [line for line in text[:20000].splitlines()[:MOST_ABOVE_HEAD] if line.strip()]
    return max(DELIMITERS, key=lambda delimiter: sum(line.count(delimiter) for line in lines))


def guess_meaning(heading):
    """What a column with this heading means, or ``ignore``."""
    return _MEANING.get(re.sub(r"[^a-z]", "", heading.lower()), "ignore")


def table(text, delimiter):
    """Yield the rows, as lists of texts."""
    for row in csv.reader(io.StringIO(text), delimiter=delimiter):
        yield [clean(cell).strip()[:MOST_TEXT] for cell in row]


def find_head(rows):
    """The number, from 1, of the row with the most known headings.

    :param rows: the first rows.
    """
    known = [sum(guess_meaning(cell) != "ignore" for cell in row) for row in rows]
    return known.index(max(known)) + 1 if known else 1


def guess_decimal(samples):
    """``,`` where amounts such as 1.000,50 or 100,5 say so, else ``.``."""
    for text in samples:
        mark = re.search(r"([.,])\d{1,2}\D*$", text)
        if mark and (mark.group(1) == "," or "," in text):
            return mark.group(1)
    return "."


def guess_order(samples):
    """The order of year, month and day in dates; day first where they do not say."""
    for text in samples:
        found = _DATE.match(text)
        if found and len(found.group(1)) == 4:
            return "ymd"
        if found and int(found.group(2)) > 12:
            return "mdy"
    return "dmy"


def amount_of(text, decimal):
    """The amount in a cell: a Decimal, negative also in brackets; None if it is empty or none."""
    kept = re.sub(r"[^\d.,()-]", "", text)
    negative = kept.startswith(("-", "(")) or kept.endswith("-")
    digits = kept.strip("-()").replace("," if decimal == "." else ".", "").replace(",", ".")
    try:
        value = Decimal(digits)
    except InvalidOperation:
        return None
    return -value if negative else value


def moment_of(text, order, zone):
    """The moment in a cell, naive UTC; None if it is empty or none.

    :param str zone: of a time without an offset.
    """
    if re.fullmatch(r"\d{14}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:8]} {text[8:10]}:{text[10:12]}:{text[12:]}"
    try:
        if re.search(r"\d[T ]\d.*(Z|[+-]\d\d:?\d\d)$", text):
            return _with_offset(text)
        found = _DATE.match(text)
        local = _local(found, order if len(found.group(1)) < 4 else "ymd") if found else None
        return local and pytz.timezone(zone).localize(local).astimezone(pytz.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _with_offset(text):
    # Fractions of any length, and Z, which Python 3.10 does not take.
    whole = re.sub(r"\.\d+", "", text.replace("Z", "+00:00"))
    moment = datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", whole))
    return moment.astimezone(pytz.utc).replace(tzinfo=None)


def _local(found, order):
    date = dict(zip(order, map(int, found.groups()[:3]), strict=True))
    hour, minute, second = (int(part or 0) for part in found.groups()[3:6])
    half = (found.group(7) or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    year = date["y"] + (2000 if date["y"] < 100 else 0)
    return datetime(year, date["m"], date["d"]) + timedelta(hours=hour, minutes=minute, seconds=second)


def payee_of(text):
    """The payee id in a cell such as ``254700000001 - A NAME``: digits, some maybe ``*``, or an address."""
    address = _EMAIL.search(text)
    if address:
        return address.group().lower()
    found = _NUMBER.search(text.replace(" ", "")) if text else None
    return re.sub("[xX]", "*", found.group()).lstrip("+") if found else text


def reference_of(text):
    """Our reference, also where other words stand around it."""
    found = _UUID.search(text)
    return found.group().lower() if found else text


def rows_of(text, layout):
    """Yield what each row says.

    :param Format layout: how to read it.
    :return: dicts of ``number`` (of the row, from 1), ``kind`` (``payment``, ``money_in``, ``fee``,
        ``not_completed`` or ``unreadable``), ``reference``, ``receipt``, ``linked``, ``payee``, ``amount``,
        ``moment`` (naive UTC), ``words``.
    """
    for number, cells in enumerate(table(text, layout.delimiter), 1):
        if number > layout.head and any(cells):
            yield _row_of(number, cells, layout)


def _row_of(number, cells, layout):
    def cell(meaning):
        position = layout.columns.get(meaning)
        return cells[position] if position is not None and position < len(cells) else ""

    moment = moment_of(cell("moment"), layout.order, layout.zone)
    amount, money_in = _amount(cell, layout.decimal)
    if amount is None or (moment is None and "moment" in layout.columns):
        kind = "unreadable"
    elif "status" in layout.columns and _plain(cell("status")) in NOT_CARRIED_OUT:
        kind = "not_completed"
    elif "status" in layout.columns and _plain(cell("status")) not in CARRIED_OUT:
        kind = "unreadable"
    elif _FEE.search(cell("kind")):
        kind = "fee"
    else:
        kind = "money_in" if money_in else "payment"
    return {
        "number": number,
        "kind": kind,
        "reference": reference_of(cell("reference")) or None,
        "receipt": cell("receipt") or None,
        "linked": cell("linked") or None,
        "payee": payee_of(cell("payee")) or None,
        "amount": amount,
        "moment": moment,
        "words": " · ".join(filter(None, (cell("kind"), cell("status")))) or None,
    }


def _plain(word):
    """Without case, accents and the points around it."""
    apart = unicodedata.normalize("NFKD", word.strip().strip(".!").lower())
    return " ".join("".join(letter for letter in apart if not unicodedata.combining(letter)).split())


def _amount(cell, decimal):
    """The amount without its sign, and whether it came in."""
    paid_in = amount_of(cell("paid_in"), decimal)
    amounts = (amount_of(cell(name), decimal) for name in ("paid_out", "amount"))
    paid_out = next((amount for amount in amounts if amount), None)
    if paid_out:
        return abs(paid_out), False
    if paid_in:
        return abs(paid_in), True
    return None, False
