"""The gateway's ledger against the database: what decides. Needs nothing but Python.

A payment is a dict with `id`, `payee`, `amount`, `state`, `reference`, of whatever else besides.
"""

from collections import Counter, defaultdict

# The arrows of the README, written out once more on purpose: a wrong one in the addon is found here.
ARROWS = {
    ("ready", "sending"),
    ("sending", "ready"),
    ("sending", "accepted"),
    ("sending", "paid"),
    ("sending", "refused"),
    ("sending", "doubt"),
    ("accepted", "paid"),
    ("accepted", "refused"),
    ("accepted", "doubt"),
    ("doubt", "paid"),
    ("doubt", "refused"),
    ("ready", "refused"),
    # By a line of a statement that names the payment.
    ("ready", "paid"),
    ("refused", "paid"),
}
# Only where the gateway honours the reference.
AGAIN = ("doubt", "sending")
OPEN = ("sending", "accepted", "doubt")
# Outcomes in the journal after which nobody may send again without asking.
PERHAPS_PAID = ("taken", "unclear", "doubt")


def disagreements(payments, ledger):
    """Where the gateway's ledger and the database contradict each other.

    :param payments: all that there are for these payees.
    :param dict ledger: the sandbox gateway's.
    :return: a list of sentences; empty if they agree.
    """
    return [*_by_payee(payments, ledger["paid"]), *_by_reference(payments, ledger["entries"])]


def _by_payee(payments, paid):
    own = defaultdict(Counter)
    for payment in payments:
        if payment["payee"]:
            own[payment["payee"]][payment["state"]] += payment["amount"]
    for payee in sorted({*own, *paid}):
        certain, unknown = own[payee]["paid"], sum(own[payee][state] for state in OPEN)
        in_ledger = paid.get(payee, 0)
        if in_ledger < certain:
            yield f"{payee}: recorded as paid {certain:g}, in the ledger {in_ledger:g}"
        if in_ledger > certain + unknown:
            yield f"{payee}: in the ledger {in_ledger:g}, recorded as paid {certain:g}, unknown {unknown:g}"


def _by_reference(payments, entries):
    """The same, one by one, where the gateway was told our references."""
    moved = Counter(entry["reference"] for entry in entries if entry["state"] != "failed")
    by_reference = {payment["reference"]: payment for payment in payments if payment["reference"]}
    for reference, count in moved.items():
        if reference is None:
            continue
        state = by_reference.get(reference, {}).get("state", "nowhere")
        if count > 1:
            yield f"{reference}: {count} times in the ledger"
        if state in ("ready", "refused", "nowhere"):
            yield f"{reference}: in the ledger, and {state} in the database"
    if None not in moved:
        for payment in payments:
            if payment["state"] == "paid" and moved and not moved[payment["reference"]]:
                yield f"{payment['reference']}: paid in the database, and not in the ledger"


def wrong_moves(moves, again=False):
    """Which changes of payments go where no arrow leads, or give a payment another reference.

    :param moves: dicts of ``payment_id``, ``old``, ``new``, ``old_reference``, ``new_reference``.
    :param bool again: the gateway honours the reference.
    """
    arrows = ARROWS | {AGAIN} if again else ARROWS
    for move in moves:
        old, new = move["old"], move["new"]
        if old != new and (old, new) not in arrows:
            yield f"payment {move['payment_id']} went from {old} to {new}"
        if move["old_reference"] and move["old_reference"] != move["new_reference"]:
            yield f"payment {move['payment_id']} has a new reference"


def wrong_journal(payments, attempts, again=False):
    """Where the journal does not bear out what the payments say.

    :param attempts: dicts of ``payment_id``, ``kind``, ``outcome``, ``reference``, in the order of time.
    """
    of_payment = defaultdict(list)
    for attempt in attempts:
        of_payment[attempt["payment_id"]].append(attempt)
    for payment in payments:
        own = of_payment[payment["id"]]
        yield from (f"payment {payment['id']}: {words}" for words in _journal_of(payment, own, again))


def _journal_of(payment, attempts, again):
    outcomes = {attempt["outcome"] for attempt in attempts}
    by_person = any(attempt["kind"] == "decision" for attempt in attempts)
    state = payment["state"]
    if {attempt["reference"] for attempt in attempts if attempt["reference"]} - {payment["reference"]}:
        yield "another reference in the journal"
    if state == "paid" and not (outcomes & {"taken", "completed"} or by_person):
        yield "paid, and the journal does not say why"
    if state == "refused" and not (outcomes & {"refused", "failed"} or by_person):
        yield "refused, and the journal does not say why"
    if state == "ready" and outcomes & set(PERHAPS_PAID):
        yield "ready, and the journal says that it may have been paid"
    sent = [attempt["outcome"] for attempt in attempts if attempt["kind"] in ("payment", "lease")]
    perhaps = next((place for place, outcome in enumerate(sent) if outcome in PERHAPS_PAID), len(sent))
    later = [outcome for outcome in sent[perhaps + 1 :] if outcome != "doubt"]
    if later and not again:
        yield "sent again after it may have been paid"


def wrong_figures(batches):
    """Where a batch's figures are not the sum over its payments.

    :param batches: dicts of ``id``, ``stored`` and ``counted``: dicts with the same keys.
    """
    for batch in batches:
        for name, counted in batch["counted"].items():
            if batch["stored"][name] != counted:
                yield f"batch {batch['id']}: {name} is {batch['stored'][name]}, and should be {counted}"
