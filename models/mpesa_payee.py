import math
import re

import phonenumbers

from odoo import api, fields, models
from odoo.tools import email_normalize

from ..gateway.simple import MOST_AMOUNT
from . import const

# OpenG2P joins the numbers of a person with commas.
_SEPARATORS = re.compile(r"[,;/]")


class MpesaPayee(models.AbstractModel):
    """Whom a payment goes to, and what keeps it from going out."""

    _name = "g2p.mpesa.payee.mixin"
    _description = "M-Pesa Payment Manager: Payee"

    # From `payee_id_type` to the method that finds it.
    PAYEE_SOURCES = {
        "phone": "_payee_from_phone",
        "email": "_payee_from_email",
        "bank_acc_no": "_payee_from_account",
        "bank_acc_iban": "_payee_from_iban",
        "reg_id": "_payee_from_reg_id",
    }

    def _mpesa_payees(self, partners):
        """The payee ids of people, as they go on the wire.

        :param partners: ``res.partner`` records.
        :return: a dict from partner id to text; whoever has no usable payee id is not in it.
        """
        self.ensure_one()
        source = getattr(self, self.PAYEE_SOURCES[self.payee_id_type])
        found = ((partner.id, source(partner)) for partner in partners.sudo())
        return {partner_id: payee for partner_id, payee in found if payee}

    def _payee_from_phone(self, partner):
        """The newest enabled number that is one; the plain phone field where there is none at all."""
        numbers = partner.phone_number_ids
        enabled = numbers.filtered(lambda number: not number.disabled)
        newest = enabled.sorted(lambda number: (number.date_collected or fields.Date.today(), number.id))
        for number in reversed(newest):
            msisdn = self._msisdn(number.phone_no, number.country_id or partner.country_id)
            if msisdn:
                return msisdn
        if enabled:
            return None
        disabled = {self._msisdn(n.phone_no, n.country_id or partner.country_id) for n in numbers}
        plain = (self._msisdn(text, partner.country_id) for text in _SEPARATORS.split(partner.phone or ""))
        return next((msisdn for msisdn in plain if msisdn and msisdn not in disabled), None)

    def _msisdn(self, text, country):
        """Digits with country code and without a plus, or None if it is no telephone number."""
        region = (country or self.program_id.company_id.country_id or self.env.company.country_id).code
        try:
            number = phonenumbers.parse(text or "", region or None)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(number):
            return None
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).lstrip("+")

    def _payee_from_email(self, partner):
        return email_normalize(partner.email or "") or None

    def _payee_from_account(self, partner):
        accounts = (account.acc_number for account in partner.bank_ids)
        return next((number.strip() for number in accounts if number and number.strip()), None)

    def _payee_from_iban(self, partner):
        for account in partner.bank_ids:
            try:
                # Alone: one account without an IBAN breaks the computation of all that are read with it.
                iban = account.with_prefetch([account.id]).iban
            except (KeyError, ValueError):
                continue
            if iban:
                return iban.replace(" ", "")
        return None

    def _payee_from_reg_id(self, partner):
        today = fields.Date.today()
        for reg_id in partner.reg_ids:
            usable = reg_id.status != "invalid" and (not reg_id.expiry_date or reg_id.expiry_date >= today)
            if usable and reg_id.id_type == self.reg_id_type_for_payee_id and (reg_id.value or "").strip():
                return reg_id.value.strip()
        return None

    @api.model
    def _whole_shillings(self, amount):
        """``amount`` as an int, or None if it has cents (a column of type numeric, or a float of it)."""
        whole = round(amount) if math.isfinite(amount) else None
        return whole if whole is not None and abs(float(amount) - whole) < 0.005 else None

    def _mpesa_problem(self, amount, payee, entitlement_state="approved", entitled=None, shown_as_paid=False):
        """What keeps a payment from going out, as a code of ``const.REASONS``, or None.

        :param amount: in the program's currency.
        :param payee: the payee id, or None.
        :param entitled: what was approved, if it is to be compared.
        :param bool shown_as_paid: whether a statement of the gateway shows that it was paid already.
        """
        self.ensure_one()
        # Also where no limit is set: a float knows no cents any more, and a gateway's own numbers overflow.
        most = self.max_amount or MOST_AMOUNT
        shillings = self._whole_shillings(amount)
        checks = (
            ("shown_as_paid", shown_as_paid),
            ("entitlement_closed", entitlement_state in const.CLOSED_ENTITLEMENTS),
            ("above_entitlement", entitled is not None and exceeds(amount, entitled)),
            ("not_positive", amount <= 0),
            ("above_maximum", not amount <= most),
            ("not_whole", shillings is None),
            ("below_minimum", shillings is not None and shillings < self.min_amount),
            ("no_payee", not payee),
        )
        return next((code for code, applies in checks if applies), None)


def exceeds(amount, entitled):
    """Whether it is more than what was approved, but for the cents that make a whole shilling of that."""
    return not amount <= (math.ceil(entitled) if math.isfinite(entitled) else 0)
