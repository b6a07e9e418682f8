import math
import re
import unicodedata
from dataclasses import dataclass

from odoo import _, api, fields, models

from ..gateway.simple import MOST_AMOUNT
from . import const, phone

# OpenG2P joins the numbers of a person with commas. Excel's 712345678,0 is one number.
_SEPARATORS = re.compile(r",(?!0{1,2}\s*$)|;")
# One address, and not two, nor one with a name before it.
_EMAIL = re.compile(r"[^\s,;<>@]+@[^\s,;<>@]+")
# Of a text of a registry, so much is shown.
MOST_SHOWN = 120


@dataclass(frozen=True)
class NoPayee:
    """Why somebody cannot be paid: false where a payee is asked for.

    :param str reason: a code of ``const.REASONS``.
    :param text: what stands in the registry, or None.
    """

    reason: str
    text: str | None = None

    def __bool__(self):
        return False


NOTHING = NoPayee("no_payee")


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

    payee_country_ids = fields.Many2many(
        "res.country",
        "g2p_pay_manager_mpesa_country",
        "manager_id",
        "country_id",
        "Countries That Are Paid",
        help="The countries whose mobile numbers this gateway pays, e.g. Kenya and Tanzania. Leave it empty"
        " if it is only the country of the program's company. Payments to other numbers are held back.",
    )
    mpesa_no_country = fields.Boolean(compute="_compute_mpesa_no_country", compute_sudo=True)

    @api.depends("payee_id_type", "payee_country_ids", "program_id.company_id.country_id")
    @api.depends_context("company")
    def _compute_mpesa_no_country(self):
        for manager in self:
            manager.mpesa_no_country = manager.payee_id_type == "phone" and not manager._paid_countries()

    def _mpesa_no_country_sentence(self):
        return _(
            "Nobody can be paid by telephone number: neither this manager nor the company says of which"
            " country the numbers are. Enter the country of the company, or the countries that are paid."
        )

    def _company_country(self):
        return (self.program_id.company_id or self.env.company).country_id

    def _paid_countries(self):
        return self.payee_country_ids or self._company_country()

    def _mpesa_payees(self, partners):
        """The payee ids of people, as they go on the wire.

        :param partners: ``res.partner`` records.
        :return: a dict from partner id to text; whoever has no usable payee id is not in it.
        """
        found = self._mpesa_payees_or_why(partners)
        return {partner_id: payee for partner_id, payee in found.items() if payee}

    def _mpesa_payees_or_why(self, partners):
        """The payee ids of people, or what is wrong with what stands in the registry.

        :param partners: ``res.partner`` records.
        :return: a dict from each partner's id to text, or to a :class:`NoPayee`.
        """
        self.ensure_one()
        source = getattr(self.sudo(), self.PAYEE_SOURCES[self.payee_id_type])
        return {partner.id: source(partner) for partner in partners.sudo()}

    def _payee_from_phone(self, partner):
        """The newest enabled number; the plain phone field where there are no numbers at all.

        Where the newest cannot be used, no older one is paid: it may be somebody else's by now.
        """
        if not self._paid_countries():
            return NoPayee("no_country")
        numbers = partner.phone_number_ids.filtered(lambda number: (number.phone_no or "").strip())
        enabled = numbers.filtered(lambda number: not number.disabled)
        if enabled:
            newest = max(
                enabled, key=lambda number: (number.date_collected or fields.Date.today(), number.id)
            )
            return self._payee_of(newest.phone_no, newest.country_id or partner.country_id)
        disabled = set()
        for number in numbers:
            read = self._read_phone(number.phone_no, number.country_id or partner.country_id)
            disabled |= {read.msisdn, phone.plain(number.phone_no)} - {None}
        for text in filter(str.strip, _SEPARATORS.split(partner.phone or "")):
            if not {self._read_phone(text, partner.country_id).msisdn, phone.plain(text)} & disabled:
                return self._payee_of(text, partner.country_id)
        return NOTHING

    def _payee_of(self, text, country):
        read = self._read_phone(text, country)
        return NoPayee(read.problem, _shown(text)) if read.problem else read.msisdn

    def _read_phone(self, text, country):
        """A :class:`~.phone.Number`; by ``country``, if there is one, where the text has no country code."""
        paid, own = self._paid_countries(), self._company_country()
        # The company's, if it is paid; else, where it can only be one of several, that one.
        by = country or (own if own in paid else paid)
        return phone.read(text, by.mapped("code"), paid.mapped("code"))

    def _payee_from_email(self, partner):
        """As it stands, for gateways compare capitals."""
        text = _trimmed(partner.email)
        return text if text and _EMAIL.fullmatch(text) and _is_clean(text) else _not_usable(text)

    def _payee_from_account(self, partner):
        accounts = (_trimmed(account.acc_number) for account in partner.bank_ids)
        number = next(filter(None, accounts), "")
        return number if number and _is_clean(number) else _not_usable(number)

    def _payee_from_iban(self, partner):
        for account in partner.bank_ids:
            try:
                # Alone: one account without an IBAN breaks the computation of all that are read with it.
                iban = account.with_prefetch([account.id]).iban
            except (KeyError, ValueError):
                continue
            iban = _trimmed(iban).replace(" ", "")
            if iban:
                return iban if _is_clean(iban) else _not_usable(iban)
        return NOTHING

    def _payee_from_reg_id(self, partner):
        today = fields.Date.today()
        for reg_id in partner.reg_ids:
            usable = reg_id.status != "invalid" and (not reg_id.expiry_date or reg_id.expiry_date >= today)
            value = _trimmed(reg_id.value)
            if usable and reg_id.id_type == self.reg_id_type_for_payee_id and value:
                return value if _is_clean(value) else _not_usable(value)
        return NOTHING

    @api.model
    def _whole_shillings(self, amount):
        """``amount`` as an int, or None if it has cents (a column of type numeric, or a float of it)."""
        whole = round(amount) if math.isfinite(amount) else None
        return whole if whole is not None and abs(float(amount) - whole) < 0.005 else None

    def _mpesa_problem(
        self,
        amount,
        payee,
        entitlement_state="approved",
        entitled=None,
        shown_as_paid=False,
        currency_id=None,
    ):
        """What keeps a payment from going out, as a code of ``const.REASONS``, or None.

        :param amount: in the payment's currency.
        :param payee: the payee id, a :class:`NoPayee`, or None.
        :param entitled: what was approved, if it is to be compared.
        :param bool shown_as_paid: whether a statement of the gateway shows that it was paid already.
        :param currency_id: the id of the amount's currency, if it is known.
        """
        self.ensure_one()
        # Also where no limit is set: a float knows no cents any more, and a gateway's own numbers overflow.
        most = self.max_amount or MOST_AMOUNT
        shillings = self._whole_shillings(amount)
        checks = (
            ("shown_as_paid", shown_as_paid),
            (const.CYCLE_CLOSED, entitlement_state == const.CYCLE_CLOSED),
            ("entitlement_closed", entitlement_state in const.CLOSED_ENTITLEMENTS),
            ("other_currency", self._mpesa_is_other_currency(currency_id)),
            ("above_entitlement", entitled is not None and exceeds(amount, entitled)),
            ("not_positive", amount <= 0),
            ("above_maximum", not amount <= most),
            ("not_whole", shillings is None),
            ("below_minimum", shillings is not None and shillings < self.min_amount),
            (getattr(payee, "reason", "no_payee"), not payee),
        )
        return next((code for code, applies in checks if applies), None)


def exceeds(amount, entitled):
    """Whether it is more than what was approved, but for the cents that make a whole shilling of that."""
    return not amount <= (math.ceil(entitled) if math.isfinite(entitled) else 0)


def registry_text(payee):
    """What stands in the registry in place of a payee; None where there is a payee, or nothing."""
    return getattr(payee, "text", None)


def _invisible(character):
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")


def _trimmed(text):
    """Without what stands around it and cannot be seen."""
    begins, ends, text = 0, len(text or ""), text or ""
    while begins < ends and (text[begins].isspace() or _invisible(text[begins])):
        begins += 1
    while ends > begins and (text[ends - 1].isspace() or _invisible(text[ends - 1])):
        ends -= 1
    return text[begins:ends]


def _is_clean(text):
    return not any(map(_invisible, text))


def _not_usable(text):
    return NoPayee("no_payee", _shown(text)) if text else NOTHING


def _shown(text):
    """On one line, and without characters that would change how the rest looks."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _invisible(c) else c for c in text.strip())[:MOST_SHOWN]
