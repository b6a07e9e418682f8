"""Keep secrets and payees out of logs, exceptions and the journal."""

import logging
import re

# JSON web tokens and what follows "Bearer".
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=[Bb]earer )\S+")
_EMAIL = re.compile(r"([\w.+-])[\w.+-]*(@[\w-]+(?:\.[\w-]+)+)")
_IBAN = re.compile(r"\b([A-Z]{2}\d{2})[A-Z0-9 ]{7,26}([A-Z0-9]{3})\b")
# Nine digits and more are a telephone or account number; amounts are shorter.
_NUMBER = re.compile(r"\d{9,}")


def mask_payee(value):
    """Show enough of a payee id to recognise it, and no more.

    :param str value: an MSISDN, e-mail address, account number or register id.
    :return: ``2547*****001``, ``a***@example.org``; two thirds of a short value are hidden.
    """
    text = str(value or "")
    if "@" in text:
        return _EMAIL.sub(r"\1***\2", text)
    shown_first, shown_last = (4, 3) if len(text) >= 9 else (0, len(text) // 3)
    hidden = len(text) - shown_first - shown_last
    return text[:shown_first] + "*" * hidden + text[len(text) - shown_last :]


def redact(text, secrets=()):
    """Return ``text`` without secrets, tokens, telephone numbers, e-mail addresses and IBANs.

    :param text: anything; made a string, control characters become spaces.
    :param secrets: strings to be removed wherever they stand.
    """
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", str(text))
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    text = _TOKEN.sub("***", text)
    text = _EMAIL.sub(r"\1***\2", text)
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
