"""Telephone numbers as people write them in a registry, read for one purpose: which wallet is paid.

Only what can be read in one way is read. Where a digit is missing, too many or not certain, nobody can know
whose number it is, and somebody else's would be paid. No ORM here.
"""

import re
import unicodedata
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneNumberType

UNREADABLE, NOT_MOBILE, OTHER_COUNTRY = "phone_unreadable", "phone_not_mobile", "phone_other_country"
# Numbers that have a wallet. In some countries, a number does not say whether it is a mobile one.
MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
# What people write before a number, and around it.
_LABEL = re.compile(r"(?:tel|telephone|phone|mobile|mob|cell|ph)\b\s*[.:]*\s*", re.IGNORECASE)
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"
# A remark in brackets, before or after the number. One with digits in it may be a second number.
_REMARK = r"[(\[{][^()\[\]{}\d+]*[^\W\d_][^()\[\]{}\d+]*[)\]}]"
_REMARKS = re.compile(rf"^\s*{_REMARK}|{_REMARK}\s*$")
# A column of numbers that became fractions in a spreadsheet.
_FRACTION = re.compile(r"^(\+?[\d ]{7,})[.,]0{1,2}$")
# Full-width signs; digits are known by their kind.
_WIDE = {"\uff0b": "+", "\uff08": "(", "\uff09": ")", "\uff0e": ".", "\uff0f": "/", "\uff0d": "-"}
_BETWEEN = re.compile(r"[\s./()\[\]\u00b7\u2022]")
_NUMBER = re.compile(r"\+?[0-9]{4,20}")
# Before a country code: 00 nearly everywhere, 011 in North America, 000 in East Africa.
_ABROAD = ("000", "00", "011")
# Zeros that people leave between country code and number.
_MOST_ZEROS = 2


@dataclass(frozen=True)
class Number:
    """What a text says.

    :param msisdn: digits with country code and without a plus, None where nobody can know.
    :param problem: why it is not paid: one of this module's codes, or None.
    """

    msisdn: str | None
    problem: str | None


NOBODY_KNOWS = Number(None, UNREADABLE)


def plain(text):
    """``text`` with ASCII digits, and without what cannot be seen or only stands around a number.

    :return: digits, perhaps after a plus; or None where something else is in it.
    """
    text = "".join(filter(None, map(_plain_character, text))).strip().strip(_QUOTES)
    text = _REMARKS.sub("", text).strip()
    text = _LABEL.sub("", text, count=1) if _LABEL.match(text) else text
    fraction = _FRACTION.match(text)
    text = _BETWEEN.sub("", fraction.group(1) if fraction else text).replace("-", "")
    return text if _NUMBER.fullmatch(text) else None


def _plain_character(character):
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Cf":
        return None
    if category == "Pd" or character == "\u2212":
        return "-"
    return _WIDE.get(character, character)


def read(text, regions, paid):
    """Read a number.

    :param text: as it stands in the registry.
    :param regions: ISO codes of the countries by which it is read where it has no country code.
    :param paid: the ISO codes of the countries whose numbers are paid.
    :return: a :class:`Number`.
    """
    digits = plain(text or "")
    if not digits:
        return NOBODY_KNOWS
    if digits.startswith("+"):
        found = _international(digits[1:])
    else:
        found = [number for region in regions for number in _parse(digits, region)]
        # 011 also begins Kenyan numbers: read as one of the country itself wherever it is one.
        for prefix in () if found else _ABROAD:
            found += _international(digits[len(prefix) :]) if digits.startswith(prefix) else []
        # With country code and without a plus. Of another country, only where it can be nothing else.
        if not digits.startswith("0") and (not found or digits.startswith(_calling_codes(paid))):
            found += [n for n in _international(digits) if not found or _region(n) in paid]
    # In two ways: whose number it is, nobody can know.
    return _judge(found[0], paid) if len({_msisdn(number) for number in found}) == 1 else NOBODY_KNOWS


def _judge(number, paid):
    kind = phonenumbers.number_type(number)
    region = _region(number)
    # Those that belong to no country, such as free ones, have the region 001.
    if region not in paid and region != "001":
        return Number(_msisdn(number), OTHER_COUNTRY)
    if kind not in MOBILE or region == "001":
        return Number(_msisdn(number), NOT_MOBILE)
    return Number(_msisdn(number), None)


def _international(digits):
    """The number that begins with its country code, in a list, without zeros that it does not have."""
    found = _parse(f"+{digits}", None)
    for length in () if found else (1, 2, 3):
        code, rest = digits[:length], digits[length:]
        zeros = len(rest) - len(rest.lstrip("0"))
        is_code = code[:1] not in ("", "0") and int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE
        if is_code and 0 < zeros <= _MOST_ZEROS:
            for leave_out in range(1, zeros + 1):
                found = found or _parse(f"+{code}{rest[leave_out:]}", None)
    return found


def _parse(text, region):
    """A list with the number, empty if there is no such number."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return []
    return [number] if phonenumbers.is_valid_number(number) else []


def _calling_codes(paid):
    return tuple(str(phonenumbers.country_code_for_region(code)) for code in paid)


def _region(number):
    return phonenumbers.region_code_for_number(number)


def _msisdn(number):
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).lstrip("+")
