"""What each public method of this addon is called with by people who mean no good: the table of test_hostile.

Public is what can be called over RPC. A method without a row fails the test: add its row, with who may
change something by it, and the arguments that no form sends; or give it a name that begins with ``_``.
"""

from dataclasses import dataclass

ADMIN, MANAGER = "administrator", "program manager"
FINANCE = "finance validator"
SENDERS = {ADMIN, MANAGER}
ASKERS = {*SENDERS, FINANCE}
RECONCILERS = {ADMIN, FINANCE}
NOBODY = set()


@dataclass
class Row:
    """One method.

    :param set may: the roles that may change something by it, each within what README.md says.
    :param tuple calls: the arguments of each call, after the ids; what stands in <> is an id of the test's
        records.
    """

    may: frozenset = frozenset()
    calls: tuple = ((),)


def row(may=NOBODY, *calls):
    return Row(frozenset(may), calls or ((),))


# In place of an argument: the id of the test's record of this model.
CYCLE, BATCH, PAYMENT = "<g2p.cycle>", "<g2p.payment.batch>", "<g2p.payment>"
ENTITLEMENT, PROGRAM = "<g2p.entitlement>", "<g2p.program>"
OTHER_MANAGER = "<other manager>"

# A caller's context in which all is said that this addon, queue_job or Odoo might listen to.
CONTEXT = {
    "mpesa_preparing": OTHER_MANAGER,
    "mpesa_job": "forged",
    "job_uuid": "forged",
    "queue_job__no_delay": True,
    "tracking_disable": True,
    "mpesa_show": "again",
    "mpesa_result": "open",
    "mpesa_line": "paid",
    "active_model": "g2p.payment",
    "active_id": PAYMENT,
    "active_ids": [PAYMENT],
    "active_test": False,
    "default_mpesa_state": "paid",
    "default_state": "compared",
    "default_status": "paid",
    "default_secret": "forged",
    "default_mpesa_manager_id": OTHER_MANAGER,
    "default_mpesa_reference": "forged",
}

_FORGED_PAYMENTS = tuple(
    ({**vals, "entitlement_id": ENTITLEMENT, "cycle_id": CYCLE},)
    for vals in (
        {"amount_issued": 100, "mpesa_state": "paid"},
        {"amount_issued": 100, "state": "reconciled", "status": "paid"},
        {"amount_issued": 100, "mpesa_reference": "forged"},
        {"amount_issued": 100, "mpesa_manager_id": OTHER_MANAGER},
        {"amount_issued": 100},
    )
)
_FORGED_OUTCOMES = tuple(
    (vals,)
    for vals in (
        {"status": "paid"},
        {"status": "failed", "state": "sent"},
        {"mpesa_state": "ready"},
        {"mpesa_reference": False},
        {"mpesa_sender_id": 1},
        {"account_number": "254799999999"},
        {"amount_issued": 1000000},
        {"entitlement_id": ENTITLEMENT},
        {"mpesa_attempt_ids": [(5,)]},
    )
)
_FORGED_FIGURES = tuple(
    (vals,)
    for vals in (
        {"mpesa_wanted_by_id": 1},
        {"stats_paid_amount": 5},
        {"mpesa_ready_count": 7},
        {"batch_has_started": False},
        {"mpesa_state": "paid"},
    )
)
_FORGED_SET_UP = tuple(
    (vals,)
    for vals in (
        {"secret": "forged"},
        {"test_passed": True},
        {"password_set_by_id": 1},
        {"mpesa_hold_until": "2036-01-01 00:00:00"},
        {"payment_endpoint_url": "https://forged.example.org/pay"},
        {"username": "forged@example.org"},
        {"payment_endpoint_url": "https://forged.example.org/pay", "password": "********"},
        {"payment_endpoint_url": "http://user:word@forged.example.org/pay", "password": "forged"},
    )
)

METHODS = {
    "g2p.payment": {
        "init": row(),
        "create": row(NOBODY, *_FORGED_PAYMENTS),
        "write": row(NOBODY, *_FORGED_OUTCOMES),
        # What was never sent.
        "unlink": row({ADMIN}),
        "send_payment": row(SENDERS),
        "action_mpesa_refresh_status": row(ASKERS),
    },
    "g2p.payment.batch": {
        "create": row(
            NOBODY, *(({**vals[0], "name": "x", "cycle_id": CYCLE},) for vals in _FORGED_FIGURES[:3])
        ),
        "write": row(NOBODY, *_FORGED_FIGURES),
        "action_mpesa_refresh_status": row(ASKERS),
        "action_mpesa_show": row(),
        "action_mpesa_journal": row(),
        "action_mpesa_prepare_again": row(SENDERS),
        "action_mpesa_gateway": row(),
        "action_mpesa_go_on": row(SENDERS),
    },
    "g2p.cycle": {
        "action_mpesa_show": row(),
        "action_mpesa_journal": row(),
        "action_mpesa_prepare_again": row(SENDERS),
        "action_mpesa_gateway": row(),
        "action_mpesa_go_on": row(SENDERS),
    },
    "g2p.program": {
        "action_mpesa_prepare": row(NOBODY),
        "action_mpesa_send": row(NOBODY),
        "action_mpesa_progress": row(NOBODY),
    },
    "g2p.program.payment.manager.mpesa": {
        "action_test_connection": row(SENDERS),
        "action_use_for_program": row(SENDERS),
        "action_confirm_place": row(),
        "action_confirm_setup": row(),
        "action_open_journal": row(),
        "action_open_payments": row(),
        "init": row(),
        "on_change_create_batch": row(),
        "prepare_payments": row(NOBODY, (CYCLE, [ENTITLEMENT]), ([CYCLE], None), (None, None)),
        "mark_job_as_done": row(NOBODY, (CYCLE, "forged"), ([CYCLE], "forged")),
        "send_payments": row(NOBODY, (BATCH,), ([BATCH],), (None,)),
        "create": row(
            NOBODY, *(({"name": "x", "program_id": PROGRAM, **vals[0]},) for vals in _FORGED_SET_UP)
        ),
        "write": row(NOBODY, *_FORGED_SET_UP),
    },
    "g2p.payment.mpesa.attempt": {"init": row()},
    "g2p.payment.mpesa.pace": {"init": row()},
    "g2p.payment.mpesa.sender": {"init": row()},
    "g2p.payment.mpesa.report": {"action_open_payment": row()},
    "g2p.payment.mpesa.statement": {
        "action_compare": row(),
        "action_compare_again": row(RECONCILERS),
        "action_settle": row(),
        "action_open_lines": row(),
        "action_withdraw": row(),
        "action_look_again": row(),
        "action_begin_again": row(),
        "create": row(
            NOBODY, ({"name": "x", "program_id": PROGRAM, "state": "compared"},), ({"line_count": 3},)
        ),
        "write": row(
            NOBODY, ({"state": "draft"},), ({"file": "eA=="},), ({"digest": "x"},), ({"excess": 9},)
        ),
    },
    "g2p.payment.mpesa.statement.line": {"init": row(), "action_settle": row(), "action_explain": row()},
    "g2p.payment.mpesa.statement.summary": {"action_open_lines": row()},
    "g2p.payment.mpesa.send.wizard": {
        "create": row(NOBODY, ({"manager_id": OTHER_MANAGER, "count": 9},), ({},)),
        "write": row(
            NOBODY, ({"count": 1000, "amount": 1000},), ({"shown": "x"},), ({"payment_ids": [(5,)]},)
        ),
        "action_send": row(),
        "action_open_repeated": row(),
        "action_open_changed": row(),
        "action_confirm_before": row(),
        "action_open_under_way": row(),
        "action_open_doubt": row(),
        "action_open_refused": row(),
        "action_export_held": row(),
    },
    "g2p.payment.mpesa.send.held": {"action_open": row()},
    "g2p.payment.mpesa.settle.wizard": {
        "default_get": row(NOBODY, (["payment_ids", "line_ids", "outcome"],)),
        "create": row({FINANCE}, ({"outcome": "paid", "payment_ids": [(6, 0, [PAYMENT])], "key": "x"},)),
        "write": row(NOBODY, ({"payment_ids": [(6, 0, [PAYMENT])]},), ({"key": "x"},)),
        "action_settle": row(),
    },
    "g2p.payment.mpesa.confirm.wizard": {"action_confirm": row()},
    "g2p.payment.mpesa.withdraw.wizard": {"action_withdraw": row()},
    "g2p.payment.mpesa.explain.wizard": {"action_explain": row()},
    "g2p.payment.mpesa.reconciliation": {
        "default_get": row(NOBODY, (["cycle_id", "program_id"],)),
        "action_export_csv": row(),
        "action_export_xlsx": row(),
        "action_print_signoff": row(),
        "action_open_payments": row(),
    },
    "ir.module.module": {"button_uninstall": row()},
}
