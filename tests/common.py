"""A program, its people and a real gateway process, for every test."""

import socket
import threading
from datetime import date
from pathlib import Path

from odoo.modules.module import get_module_path
from odoo.tests import TransactionCase, new_test_user

from ..models.figures import FIGURES
from . import books
from .harness import load_dev

ROOT = Path(get_module_path("g2p_payment_simple_mpesa")).resolve()
MANAGER = "g2p.program.payment.manager.mpesa"
AGENT, SECRET = "agent@example.org", "sandbox-secret"


def manager_vals(gateway, full=False, **vals):
    """What an administrator types in for the sandbox gateway; ``full`` with status and idempotency."""
    urls = gateway.urls
    more = {"status_endpoint_url": urls["status"], "honours_idempotency_key": True} if full else {}
    return {
        "name": "M-Pesa",
        "auth_endpoint_url": urls["login"],
        "payment_endpoint_url": urls["deposit"],
        "balance_endpoint_url": urls["balance"],
        "username": AGENT,
        "password": SECRET,
        "api_timeout": 1,
        "payee_id_type": "phone",
        "create_batch": True,
        **more,
        **vals,
    }


class WithGateway:
    """To be mixed into a test case: a sandbox gateway as a process of its own on loopback."""

    PROFILE = "bare"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.gateway = load_dev("sandbox.client").SandboxProcess(profile=cls.PROFILE)
        cls.gateway.start()
        cls.addClassCleanup(cls.gateway.stop)


class GatewayProcessCase(WithGateway, TransactionCase):
    """With a gateway that has forgotten the test before."""

    def setUp(self):
        super().setUp()
        self.gateway.reset()


class ProgramCase(GatewayProcessCase):
    """With a program whose payment manager is ours, and an approved cycle of ten people.

    The dispatch's own cursors are proxies of the test's: what needs real ones is in ``test_processes``.
    """

    PEOPLE = 10

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env.user.company_id.country_id = cls.env.ref("base.ke")
        cls.program, cls.manager = make_program(cls.env, manager_vals(cls.gateway, cls.PROFILE == "full"))
        cls.cycle, cls.entitlements = make_cycle(cls.env, cls.program, cls.PEOPLE)
        cls.people = cls.entitlements.partner_id

    def setUp(self):
        super().setUp()
        enter_test_mode(self)

    def prepare(self):
        """Click Prepare; return the cycle's payments in the order of the people."""
        self.notification = self.cycle.prepare_payment()["params"]
        return self.payments()

    def send(self):
        """Click Send; return what the notification says."""
        self.env.flush_all()
        self.notification = click_send(self.cycle)["params"]
        self.env.invalidate_all()
        return self.notification["message"]

    def run_cron(self):
        """What the scheduled job does every five minutes."""
        self.env.flush_all()
        self.env[MANAGER]._cron_mpesa_refresh()
        self.env.invalidate_all()

    def payments(self):
        payments = self.env["g2p.payment"].search([("cycle_id", "=", self.cycle.id)])
        return payments.sorted(lambda payment: (payment.partner_id.id, payment.id))

    def states(self):
        return [payment.mpesa_state for payment in self.payments()]

    def fault(self, number, kind, *args, **kwargs):
        """Order a fault of the gateway for the ``number``-th person."""
        self.gateway.fault(phone(number), kind, *args, **kwargs)

    def assert_agrees(self):
        """The gateway's ledger against the database: what decides."""
        self.env.invalidate_all()
        problems = disagreements(self.payments(), self.gateway.ledger())
        self.assertEqual(problems, [])
        self.assert_figures()

    def assert_figures(self):
        """What was carried forward move by move is what the payments say."""
        batches = self.payments().batch_id
        names = [*FIGURES, "mpesa_state", "batch_has_started", "batch_has_completed"]
        carried = batches.read(names)
        batches._mpesa_refresh_figures()
        self.assertEqual(carried, batches.read(names))

    def assert_states(self, **expected):
        self.env.invalidate_all()
        states = self.states()
        self.assertEqual({state: states.count(state) for state in set(states)}, expected)


def user_elsewhere(env, group):
    """Somebody of this group, in another company."""
    company = env["res.company"].create({"name": "Elsewhere"})
    return new_test_user(
        env,
        "elsewhere",
        groups=f"base.group_user,{group}",
        company_id=company.id,
        company_ids=[(6, 0, company.ids)],
    )


class Listener:
    """Listens on a free port of loopback, and has ``serve`` called with each connection, one by one."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        # close() alone does not wake a thread that accepts.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _accept(self):
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            self.serve(connection)


def click_send(record):
    """Click Send on a cycle or a batch, and then in the dialogue, as the record's user.

    :return: the client action that shows what was done.
    """
    action = record.send_payment()
    while action["type"] == "ir.actions.act_window":
        wizard = record.env[action["res_model"]].browse(action["res_id"])
        if wizard.must_type:
            wizard.typed_amount = f"{wizard.amount:,.0f}"
        action = wizard.action_send()
    return action


def enter_test_mode(case):
    """New cursors are proxies of the test's own, on either series. With a web server they are already."""
    if getattr(type(case), "_registry_patched", False) or getattr(case.registry, "test_cr", None):
        return
    if hasattr(case, "registry_enter_test_mode"):
        case.registry_enter_test_mode()
    else:
        case.registry.enter_test_mode(case.cr)
        case.addCleanup(case.registry.leave_test_mode)


def phone(number):
    """The MSISDN of the ``number``-th person."""
    return f"2547{number:08d}"


def make_program(env, vals):
    """A program that pays by our manager in Kenyan shillings; returns both."""
    currency = env.ref("base.KES")
    currency.active = True
    journal = env["account.journal"].create(
        {"name": "Cash transfers", "code": "CT", "type": "bank", "currency_id": currency.id}
    )
    program = env["g2p.program"].create({"name": "Cash transfers", "journal_id": journal.id})
    manager = env[MANAGER].create({"program_id": program.id, "batch_tag_ids": [tag(env).id], **vals})
    use_manager(program, manager)
    return program, manager


def use_manager(program, manager):
    """Make ``manager`` the one by which ``program`` pays."""
    wrapper = program.env["g2p.program.payment.manager"].create(
        {"program_id": program.id, "manager_ref_id": f"{manager._name},{manager.id}"}
    )
    program.payment_managers = [(6, 0, wrapper.ids)]


def tag(env, size=500, order=1, domain="[]"):
    return env["g2p.payment.batch.tag"].create(
        {"name": "Everybody", "order": order, "domain": domain, "max_batch_size": size}
    )


def make_cycle(env, program, people, amount=100, name="Cycle 1"):
    """An approved cycle with an approved entitlement for each of ``people`` new registrants."""
    cycle = env["g2p.cycle"].create(
        {
            "name": name,
            "program_id": program.id,
            "start_date": date(2026, 1, 1),
            "end_date": date(2026, 1, 31),
            "state": "approved",
        }
    )
    partners = env["res.partner"].create(
        [
            {"name": f"Person {number}", "is_registrant": True, "phone": f"+{phone(number)}"}
            for number in range(people)
        ]
    )
    entitlements = env["g2p.entitlement"].create(
        [
            {
                "cycle_id": cycle.id,
                "partner_id": partner.id,
                "initial_amount": amount,
                "state": "approved",
                "is_cash_entitlement": True,
            }
            for partner in partners
        ]
    )
    return cycle, entitlements.sorted(lambda entitlement: entitlement.partner_id.id)


def disagreements(payments, ledger):
    """Where the gateway's ledger and the database contradict each other.

    :param payments: ``g2p.payment`` records, all that there are for these payees.
    :param dict ledger: the sandbox gateway's.
    :return: a list of sentences; empty if they agree.
    """
    return books.disagreements(
        [
            {
                "payee": payment.account_number,
                "amount": payment.amount_issued,
                "state": payment.mpesa_state,
                "reference": payment.mpesa_reference,
            }
            for payment in payments
        ],
        ledger,
    )
