"""What became of the people: a table, and the gateway's ledger against the database."""

import importlib.util
from pathlib import Path

from demo_screen import money, table

ROOT = Path(__file__).resolve().parent.parent
# Up to so many people are shown one by one.
EVERYBODY = 50
FIELDS = {
    "entitlement": "entitlement_id",
    "payee": "account_number",
    "amount": "amount_issued",
    "state": "mpesa_state",
    "reason": "mpesa_reason",
    "reference": "mpesa_reference",
}


def load(path):
    """A file of the addon that needs no Odoo, without its package, which does."""
    spec = importlib.util.spec_from_file_location(f"addon_{Path(path).stem}", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


books = load("tests/books.py")
masking = load("gateway/masking.py")


class Words:
    """The addon's own words for states and reasons."""

    def __init__(self, session):
        described = session.call("g2p.payment", "fields_get", ["mpesa_state", "mpesa_reason"], ["selection"])
        self.state = dict(described["mpesa_state"]["selection"])
        self._reasons = dict(described["mpesa_reason"]["selection"])

    def reason(self, code):
        """A sentence, or "" for none."""
        return self._reasons.get(code, code) or ""


def read_payments(session, cycle):
    """The payments of a cycle: dicts with ``id`` and the keys of ``FIELDS``; what is empty is None."""
    found = session.read_all("g2p.payment", [("cycle_id", "=", cycle)], list(FIELDS.values()))
    return [_payment(values) for values in found]


def _payment(values):
    payment = {name: values[field] or None for name, field in FIELDS.items()}
    return payment | {"id": values["id"], "entitlement": payment["entitlement"][0]}


def people_table(people, after_send, now, words):
    """Lines: everybody, or, of many, those with something special.

    :param people: people by the id of their entitlement.
    :param after_send: the payments as Send left them.
    :param now: the payments as they are.
    :param words: a :class:`Words`.
    """
    before = {payment["id"]: payment for payment in after_send}
    shown = [(people[payment["entitlement"]], before[payment["id"]], payment) for payment in now]
    if len(shown) > EVERYBODY:
        shown = [line for line in shown if line[0].note or line[1]["reason"] or line[2]["reason"]]
    rows = [_line(*line, words) for line in sorted(shown, key=lambda line: line[0].number)[:EVERYBODY]]
    head = ["No.", "Person", "Payee", "Amount", "After Send", "Now", "Reason"]
    lines = table(head, rows, right=(0, 3))
    left = len(now) - len(rows)
    return [*lines, f"… and {left:,} others"] if left else lines


def _line(person, before, after, words):
    was, state = words.state[before["state"]], words.state[after["state"]]
    return [
        str(person.number),
        person.name,
        masking.mask_payee(after["payee"]) or "-",
        money(after["amount"]),
        was,
        state if state != was else "",
        _reason(person, before, after, words),
    ]


def _reason(person, before, after, words):
    if after["reason"]:
        return words.reason(after["reason"])
    if before["reason"]:
        return f"First: {words.reason(before['reason'])}"
    return f"({person.note})" if person.note else ""


def agreement(now, ledger, words):
    """Lines with the sums of the ledger and of the database, and in what they disagree.

    :param now: the payments as they are.
    :param dict ledger: the sandbox gateway's.
    :param words: a :class:`Words`.
    :return: the lines, and whether the two agree.
    """
    amounts = {}
    for payment in now:
        amounts.setdefault(payment["state"], []).append(payment["amount"])
    rows = [["The gateway's ledger", f"{ledger['count']:,}", money(ledger["total"])]]
    rows += [
        [f"The database: {label.lower()}", f"{len(amounts[state]):,}", money(sum(amounts[state]))]
        for state, label in words.state.items()
        if state in amounts
    ]
    problems = books.disagreements(now, ledger)
    unknown = sum(len(amounts.get(state, ())) for state in books.OPEN)
    lines = [*table(["", "Payments", "KES"], rows, right=(1, 2)), "", *_verdict(problems, unknown)]
    return lines, not problems


def _verdict(problems, unknown):
    if problems:
        return ["Ledger and database DISAGREE:", *(f"  {masking.redact(problem)}" for problem in problems)]
    if unknown:
        return [f"Ledger and database agree. Not known yet, and not sent again: {unknown:,}."]
    return ["Ledger and database agree, payee by payee."]
