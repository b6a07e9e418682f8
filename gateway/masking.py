"""Keep secrets and payees out of logs, exceptions and the journal."""

import logging
import re

# Of a text from outside, so much is looked at.
MOST_TEXT = 2000

# JSON web tokens, also when cut short; what follows "Bearer"; what stands under the name of a secret.
_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)*")
_BEARER = re.compile(r"""(\bbearer\s+)[^\s"',;<>]+""", re.IGNORECASE)
_NAMED = re.compile(r"""((?:password|token|secret)["']?\s*[=:]\s*["']?)[^\s"'&,;<>}]+""", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])([\w.+-])[\w.+-]*(@|%40)([\w-]+(?:\.[\w-]+)*)")
_IBAN = re.compile(r"\b([A-Z]{2}\d{2})[A-Z0-9 ]{7,26}([A-Z0-9]{3})\b")
# Nine digits and more are a telephone or account number, also in groups; amounts are shorter.
_NUMBER = re.compile(r"\d(?:[ -]?\d){8,}")
# Control characters, and halves of surrogate pairs: neither PostgreSQL nor UTF-8 takes them.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def mask_payee(value):
    """Show enough of a payee id to recognise it, and no more.

    :param str value: an MSISDN, e-mail address, account number or register id.
    :return: ``2547*****001``, ``a***@example.org``; five characters at least are hidden, of a short value
        two thirds.
    """
    text = str(value or "")
    name, at, domain = text.rpartition("@")
    if at:
        return f"{name[:1]}***@{domain}"
    shown_last = min(3, len(text) // 3)
    shown_first = min(4, max(0, len(text) - shown_last - 5))
    hidden = len(text) - shown_first - shown_last
    return text[:shown_first] + "*" * hidden + text[len(text) - shown_last :]


def clean(text):
    """``text`` without what a database or a screen cannot take."""
    return _UNWRITABLE.sub(" ", text)


def redact(text, secrets=()):
    """Return ``text`` without secrets, tokens, telephone numbers, e-mail addresses and IBANs.

    :param text: anything; made a string of ``MOST_TEXT`` characters at the most, on one line.
    :param secrets: strings to be removed wherever they stand.
    """
    text = str(text)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    text = clean(text[:MOST_TEXT])
    text = _TOKEN.sub("***", text)
    text = _BEARER.sub(r"\1***", text)
    text = _NAMED.sub(r"\1***", text)
    text = _EMAIL.sub(r"\1***\2\3", text)
    text = _IBAN.sub(r"\1***\2", text)
    return _NUMBER.sub(lambda match: mask_payee(match.group()), text)


class RedactingFilter(logging.Filter):
    """Redact every record of the logger that it is added to, exceptions included."""

    def filter(self, record):
        message = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            message = f"{message}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        record.msg, record.args = redact(message), ()
        record.exc_info = record.exc_text = None
        return True
