"""The states of a payment, the arrows between them, and the reasons, as data."""

READY = "ready"
SENDING = "sending"
ACCEPTED = "accepted"
PAID = "paid"
REFUSED = "refused"
DOUBT = "doubt"

STATES = [
    (READY, "Ready"),
    (SENDING, "Sending"),
    (ACCEPTED, "Accepted"),
    (PAID, "Paid"),
    (REFUSED, "Refused"),
    (DOUBT, "In doubt"),
]

# Whether a gateway is for trying out, or moves real money.
TEST, LIVE = "test", "live"
MODES = [(TEST, "Test"), (LIVE, "Live")]
# Why a batch stops whose payments were sent for in the other mode.
MODE_CHANGED = "mode_changed"
# Why it stops in a database that is not the one that sent until now.
MOVED = "moved"

# Why a payment is held back whose cycle is cancelled, or whose program has ended.
CYCLE_CLOSED = "cycle_closed"

# Why a payment is held back that was ready when it was taken over from the earlier module.
FROM_BEFORE = "from_before"

# Why a payment is held back whose payee ID is another one than was shown to who sends.
PAYEE_CHANGED = "payee_changed"

# Why a payment is held back that a statement names, and nobody knows what the line says.
LINE_UNCLEAR = "line_unclear"

# Why nothing was asked: others who pay from the same account have all of its connections.
BUSY = "connections_busy"

# Where a payment may come from, for each state that it may go to.
SOURCES = {
    READY: {SENDING},
    SENDING: {READY, DOUBT},
    ACCEPTED: {SENDING},
    # From ready and refused by a person alone, with a line of a statement that names the payment.
    PAID: {SENDING, ACCEPTED, DOUBT, READY, REFUSED},
    REFUSED: {SENDING, ACCEPTED, DOUBT, READY},
    DOUBT: {SENDING, ACCEPTED},
}

# The same in OpenG2P's own fields: state, status, whether the status is final.
# A payment that the gateway has confirmed is reconciled.
IN_OPENG2P = {
    READY: ("issued", None, False),
    SENDING: ("sent", None, False),
    ACCEPTED: ("sent", None, False),
    PAID: ("sent", "paid", True),
    REFUSED: ("sent", "failed", True),
    DOUBT: ("sent", None, False),
}

# Minutes after it was sent, after which a gateway that has never seen a payment is not going to see it any
# more, and what it says of a payment is about the last time that it was sent.
GRACE = 10

# Why a payment is where it is: one sentence for each code, the gateway layer's and our own.
REASONS = [
    # What keeps a payment from going out.
    ("no_payee", "This person has no payee ID that can be used"),
    ("phone_unreadable", "This is no telephone number that can be read in one way"),
    ("phone_not_mobile", "This telephone number is not a mobile number"),
    ("phone_other_country", "This telephone number is of a country that this gateway does not pay"),
    ("no_country", "Nobody has said of which country the telephone numbers are"),
    ("not_whole", "The amount is not a whole number of shillings"),
    ("not_positive", "The amount is not above zero"),
    ("below_minimum", "The amount is below the smallest that may be sent"),
    ("above_maximum", "The amount is above the largest that may be sent"),
    ("above_entitlement", "The amount is larger than the entitlement"),
    ("shown_as_paid", "A statement shows that this was paid already"),
    (LINE_UNCLEAR, "A line of a statement names it, and is not understood"),
    ("entitlement_closed", "The entitlement is no longer approved"),
    ("other_currency", "The gateway pays in another currency than the program"),
    (CYCLE_CLOSED, "The cycle is cancelled, or the program has ended"),
    (FROM_BEFORE, "It came with the update, and nobody has confirmed that the earlier module did not pay it"),
    (PAYEE_CHANGED, "The payee ID has changed since it was prepared: click Send to see and send it"),
    ("payee_busy", "Another payment to this payee is on its way"),
    # Because of the payee or the amount.
    ("payee_unknown", "The gateway does not know this payee"),
    ("payee_is_payer", "Payer and payee are the same account"),
    ("payee_kind", "The gateway does not pay this kind of account"),
    ("amount_too_small", "The amount is below what the gateway pays"),
    ("failed_later", "The gateway took the order and could not carry it out"),
    # Because of us.
    ("credentials", "The gateway does not accept user name or password"),
    ("secret", "The stored password cannot be read with the key that this server has"),
    ("float", "The float is too small"),
    ("not_permitted", "The gateway does not permit us to pay"),
    ("setup", "The gateway is not set up rightly"),
    ("tls", "The gateway's certificate cannot be trusted"),
    ("unreachable", "The gateway cannot be reached"),
    ("circuit", "The gateway gave no clear answer several times in a row"),
    (MODE_CHANGED, "The gateway's mode was changed after Send was clicked"),
    (BUSY, "All connections of this account at the gateway are taken at the moment"),
    (MOVED, "This is not the database that sent until now, and no administrator has confirmed it"),
    # Not known.
    ("no_answer", "The request went out, and no whole answer came back"),
    ("not_understood", "The gateway's answer is not understood"),
    ("server_error", "The gateway had an error of its own"),
    ("account_blocked", "An account is blocked, and the gateway does not say whose"),
    ("no_wallet", "A wallet is missing, and the gateway does not say what it had done by then"),
    ("reference_conflict", "The gateway knows this reference with another payee or amount"),
    ("amount_differs", "The gateway has another amount for this reference"),
    ("sender_died", "The sender stopped before it could record the outcome"),
    ("no_news", "The gateway has not said for days how it went"),
    # Not known of payments that an earlier module made.
    ("stuck_before", "The earlier module had begun this batch, and nobody knows whether this was paid"),
    (
        "duplicate_before",
        "The earlier module made another payment for this entitlement, so this one is kept back",
    ),
    # Settled by a person.
    ("written_off", "Written off before it was ever sent"),
    ("settled_paid", "Settled by hand: paid"),
    ("settled_not_paid", "Settled by hand: not paid"),
]

# How a contact with the gateway, or a decision, ended, for the journal: the gateway layer's words and ours.
CONTACT_OUTCOMES = [
    ("taken", "Order taken"),
    ("answered", "Answered"),
    ("completed", "The gateway has paid"),
    ("pending", "The gateway has not paid yet"),
    ("failed", "The gateway could not pay"),
    ("unknown", "The gateway has never seen it"),
    ("refused", "Refused"),
    ("our_fault", "Refused for a fault of ours"),
    ("unreachable", "Not reached"),
    ("unclear", "No clear answer"),
    ("doubt", "In doubt"),
    ("paid", "Settled: paid"),
    ("not_paid", "Settled: not paid"),
    ("write_off", "Written off"),
    ("allow_again", "Allowed to be prepared again"),
    ("not_paid_before", "Confirmed: not paid by the earlier module"),
]

# Of a ready payment: it is not sent while this is so. The other reasons are why it came back.
HELD = {
    "no_payee",
    "phone_unreadable",
    "phone_not_mobile",
    "phone_other_country",
    "no_country",
    "not_whole",
    "not_positive",
    "below_minimum",
    "above_maximum",
    "above_entitlement",
    "entitlement_closed",
    "other_currency",
    CYCLE_CLOSED,
    "shown_as_paid",
    LINE_UNCLEAR,
    FROM_BEFORE,
    PAYEE_CHANGED,
}

# What is to be done before the person of a refused payment is prepared again: nothing, for what was wrong
# passes by itself; or something is corrected, or looked at, first. What has no reason here is looked at
# first, too, and what was written off is not prepared again.
AGAIN = "again"
CORRECT = "correct"
REFUSED_FOR = {
    "failed_later": AGAIN,
    "payee_unknown": CORRECT,
    "payee_is_payer": CORRECT,
    "payee_kind": CORRECT,
    "amount_too_small": CORRECT,
    # Somebody has said why.
    "settled_not_paid": CORRECT,
    "written_off": None,
}

# An entitlement in one of these states is not to be paid any more.
CLOSED_ENTITLEMENTS = {
    "draft",
    "pending_validation",
    "rejected1",
    "rejected2",
    "rejected3",
    "cancelled",
    "expired",
}

ADMIN = "g2p_registry_base.group_g2p_admin"
FINANCE = "g2p_programs.g2p_finance_validator"
PROGRAM_MANAGER = "g2p_programs.g2p_program_manager"
PROGRAM_VALIDATOR = "g2p_programs.g2p_program_validator"
# Who sees the payee of a payment as a whole, and not only masked.
SEE_PAYEES = (ADMIN, PROGRAM_MANAGER, PROGRAM_VALIDATOR, FINANCE)
