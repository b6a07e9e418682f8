"""The kinds of manager, for `g2p.program.get_manager`."""

MANAGER_ELIGIBILITY = 1
MANAGER_CYCLE = 2
MANAGER_PROGRAM = 3
MANAGER_ENTITLEMENT = 4
MANAGER_DEDUPLICATION = 5
MANAGER_NOTIFICATION = 6
MANAGER_PAYMENT = 7

# Field of the program -> {model of the wrapper: model of the implementation that a new program gets}.
# OpenG2P makes managers of other kinds too; the stand-in has only this one.
MANAGER_MODELS = {
    "payment_managers": {
        "g2p.program.payment.manager": "g2p.program.payment.manager.default",
    },
}
