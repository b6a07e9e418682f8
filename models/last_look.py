"""What is looked at before a payment goes out: when it is shown, claimed, and sent again."""

from . import const, statement_facts
from .from_before import unconfirmed
from .payment import ENTITLEMENT_STATE

# Of a payment p and its entitlement e.
COLUMNS = f"""p.id, p.batch_id, p.amount_issued, p.mpesa_reference, p.mpesa_reason, p.mpesa_payee_text,
    p.mpesa_currency_id, p.account_number, e.partner_id, e.initial_amount,
    {ENTITLEMENT_STATE} AS entitlement_state,
    {statement_facts.entitlement_shown_as_paid("p")} AS shown_as_paid,
    {statement_facts.entitlement_not_understood("p")} AS is_unclear,
    {unconfirmed("p")} AS unconfirmed"""


def payees_of(manager, rows):
    """From the id of each row's person to the payee ID of now, or why there is none.

    :param rows: with ``COLUMNS``.
    """
    partners = manager.env["res.partner"].browse({row["partner_id"] for row in rows})
    return manager._mpesa_payees_or_why(partners)


def problem_of(manager, row, payee):
    """What keeps a payment from going out to this payee, as a code of ``const.REASONS``, or None.

    :param dict row: with ``COLUMNS``.
    :param payee: as :func:`payees_of` gives it.
    """
    problem = manager._mpesa_problem(
        row["amount_issued"],
        payee,
        row["entitlement_state"],
        row["initial_amount"],
        row["shown_as_paid"],
        row["mpesa_currency_id"],
    )
    if not problem and row["is_unclear"]:
        problem = const.LINE_UNCLEAR
    return problem or (const.FROM_BEFORE if row["unconfirmed"] else None)
