import re

from odoo import api, fields, models

# Length of an IBAN -> the countries of the IBAN registry (SWIFT, ISO 13616) that have it.
COUNTRIES_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
IBAN_LENGTH = {
    country: length for length, countries in COUNTRIES_BY_LENGTH.items() for country in countries.split()
}


def generate_iban(country_code, bank_code, account_number):
    """Put an IBAN together, the account number padded with zeros.

    :raise KeyError: the country has no IBANs (Kenya, for one)
    :raise ValueError: the parts are longer than the country's IBANs are
    """
    length = IBAN_LENGTH[country_code]
    account_number = re.sub(r"[\W_]", "", account_number).upper()
    bban = bank_code + account_number.zfill(length - 4 - len(bank_code))
    if 4 + len(bban) > length:
        raise ValueError(f"too long for an IBAN of {country_code}")
    # ISO 7064, mod 97-10: letters count as 10 to 35.
    digits = "".join(str(int(character, 36)) for character in f"{bban}{country_code}00")
    return f"{country_code}{98 - int(digits) % 97:02}{bban}"


class ResPartnerBank(models.Model):
    _inherit = "res.partner.bank"

    iban = fields.Char("IBAN", compute="_compute_account_number")

    @api.depends("bank_id.country", "bank_id.bic", "acc_number")
    def _compute_account_number(self):
        """Compute the IBAN, "" without a bank or its country.

        `bic` is read as the national bank code, and one account in a country outside the IBAN registry
        breaks the reading of all of them: both as in OpenG2P.
        """
        for account in self:
            bank = account.bank_id
            account.iban = (
                generate_iban(bank.country.code, bank.bic or "", account.acc_number or "")
                if bank.country
                else ""
            )
