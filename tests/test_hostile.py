"""People who mean no good: each public method and each restricted field, by each role, over RPC.

What decides is what is in the database and in the ledger afterwards, and what the answer gives away.
"""

import base64
import inspect
import json
import logging
from contextlib import contextmanager

from odoo.service import model as service
from odoo.tests import Form, new_test_user
from odoo.tools import mute_logger

from . import hostile
from .common import MANAGER, SECRET, ProgramCase, manager_vals, phone
from .test_access import HEAD, ROLES, STATEMENT

OURS = "odoo.addons.g2p_payment_simple_mpesa"
NOISE = (
    "odoo.sql_db",
    "odoo.models",
    "odoo.domains",
    "odoo.osv.expression",
    "odoo.http",
    "odoo.service.model",
)
# What is compared before and after.
TABLES = (
    *("g2p_payment", "g2p_payment_batch", "g2p_cycle", "g2p_entitlement", "queue_job"),
    *("g2p_program_payment_manager", "g2p_program_payment_manager_mpesa", "g2p_payment_mpesa_attempt"),
    *("g2p_payment_mpesa_event", "g2p_payment_mpesa_pace", "g2p_payment_mpesa_statement"),
    *("g2p_payment_mpesa_statement_line", "g2p_payment_mpesa_statement_column"),
    *("g2p_payment_mpesa_send_wizard", "g2p_payment_mpesa_settle_wizard"),
)
FINGERPRINT = " UNION ALL ".join(
    f"SELECT '{table}', md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t.id), '')) FROM {table} t"
    for table in TABLES
)


class HostileCase(ProgramCase):
    """With payments in each state, a compared statement, and somebody's dialogue of each kind."""

    PROFILE = "full"
    PEOPLE = 5
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        more = ",base.group_allow_export" if cls.env.ref("base.group_allow_export", False) else ""
        cls.users = {
            role: new_test_user(
                cls.env,
                f"hostile-{role}".replace(" ", "-"),
                groups="base.group_user" + more + (f",{group}" if group else ""),
            )
            for role, group in ROLES.items()
        }
        cls.other = cls.env[MANAGER].create(
            manager_vals(cls.gateway, program_id=cls.program.id, create_batch=False)
        )

    def setUp(self):
        super().setUp()
        self.people[4].phone = False
        self.prepare()
        self.fault(0, "500-not-taken")
        self.fault(1, "refuse")
        self.send()
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours'")
        self.people[4].phone = f"+{phone(4)}"
        self.env.flush_all()
        self.env.invalidate_all()
        self.doubt = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        self.records = self._records()
        self.env.flush_all()
        # From here on, whatever stands in the ledger was paid by an attack.
        self.gateway.reset()

    def _records(self):
        """Records of each model that has methods, by the model's name."""
        self.manager.sudo().action_test_connection()
        action = self.cycle.send_payment()
        send = self.env[action["res_model"]].browse(action["res_id"])
        send.sudo().held_ids = [(0, 0, {"reason": "no_payee", "count": 1, "amount": 100})]
        settle = self.env["g2p.payment.mpesa.settle.wizard"].create(
            {"outcome": "not_paid", "reason": "x", "payment_ids": [(6, 0, self.doubt.ids)]}
        )
        reconcile = self.env["g2p.payment.mpesa.reconciliation"].create(
            {"program_id": self.program.id, "cycle_id": self.cycle.id}
        )
        statement = self._statement()
        withdraw = self.env["g2p.payment.mpesa.withdraw.wizard"].create(
            {"statement_id": statement.id, "reason": "x"}
        )
        explain = self.env["g2p.payment.mpesa.explain.wizard"].create(
            {"line_ids": [(6, 0, statement.line_ids.ids)], "reason": "x"}
        )
        confirm = self.env["g2p.payment.mpesa.confirm.wizard"].create(
            {"manager_id": self.manager.id, "kind": "setup", "is_sure": True}
        )
        known = [
            confirm,
            withdraw,
            explain,
            send,
            send.held_ids,
            settle,
            reconcile,
            statement,
            statement.line_ids,
            statement.summary_ids,
        ]
        known += [self.payments(), self.payments().batch_id, self.cycle, self.manager]
        known.append(self.env["ir.module.module"].search([("name", "=", "g2p_payment_simple_mpesa")]))
        found = {records._name: records for records in known}
        for name in hostile.METHODS:
            if name not in found:
                found[name] = self.env[name].search([], limit=2)
        return found

    def _statement(self):
        moment = self.doubt.mpesa_sent_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        line = f"TX1,{moment},-100.00,{self.doubt.mpesa_reference}"
        with Form(self.env[STATEMENT]) as form:
            form.program_id = self.program
            form.name = "statement"
            form.file = base64.b64encode(f"{HEAD}\n{line}\n".encode())
            form.only_carried_out = True
        form.record.action_compare()
        return form.record

    # Calls

    @contextmanager
    def undone(self):
        """What is done inside is undone."""
        savepoint = self.env.cr.savepoint()
        try:
            yield
        finally:
            self.env.invalidate_all(flush=False)
            savepoint.close(rollback=True)

    def rpc(self, role, model, method, args, context=None):
        """What a caller gets: the answer and the error, as text."""
        args, kwargs = json.loads(json.dumps([args, {"context": context} if context else {}], default=str))
        uid = self.users[role].id
        try:
            with self.registry.cursor() as cr:
                if hasattr(service, "get_public_method"):
                    answer = service.execute_cr(cr, uid, model, method, args, kwargs)
                else:
                    service.check_method_name(method)
                    answer = service.execute_cr(cr, uid, model, method, *args, **kwargs)
            return json.dumps(answer, default=str), ""
        except Exception as error:  # noqa: BLE001
            # Whatever is said, a caller is told; what is done is looked at afterwards.
            return "", f"{error!r} {error}"

    def filled(self, value):
        """The argument with the ids of this test's records in place of their names."""
        if isinstance(value, dict):
            return {name: self.filled(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(part) for part in value]
        ids = {
            hostile.CYCLE: self.cycle.id,
            hostile.BATCH: self.doubt.batch_id.id,
            hostile.PAYMENT: self.doubt.id,
            hostile.ENTITLEMENT: self.entitlements[0].id,
            hostile.PROGRAM: self.program.id,
            hostile.OTHER_MANAGER: self.other.id,
        }
        return ids.get(value, value) if isinstance(value, str) else value

    def fingerprint(self):
        self.env.cr.execute(FINGERPRINT)
        return dict(self.env.cr.fetchall())


class TestMethods(HostileCase):
    def public(self):
        """From the name of each model to the public methods that this addon gives it."""
        found = {}
        for name, model in self.registry.items():
            if model._abstract and not name.startswith("report."):
                continue
            for cls in model.mro():
                if not cls.__module__.startswith(OURS) or cls.__module__.startswith(f"{OURS}.tests"):
                    continue
                for method, function in vars(cls).items():
                    if method.startswith("_") or not inspect.isfunction(function):
                        continue
                    if not getattr(function, "_api_private", False):
                        found.setdefault(name, set()).add(method)
        return found

    def test_each_public_method_has_a_row(self):
        rows = {name: set(methods) for name, methods in hostile.METHODS.items()}
        self.assertEqual(self.public(), rows, "Add it to tests/hostile.py, or let its name begin with _")

    def calls(self, model, method, row):
        """Each call: arguments and context."""
        records, context = self.records[model], self.filled(hostile.CONTEXT)
        one, all_of_them, none = records[-1:].ids, records.ids, [2**31 - 1]
        is_model = getattr(getattr(self.registry[model], method), "_api_model", False) or method == "create"
        for args in row.calls:
            args = self.filled(args)
            if is_model:
                yield args, None
                yield args, context
                continue
            yield [one, *args], context
            yield [all_of_them, *args], None
            yield [none, *args], None

    @mute_logger(*NOISE)
    def test_nothing_is_changed_by_whom_it_is_not_for(self):
        before, wrong = self.fingerprint(), []
        for model, methods in hostile.METHODS.items():
            for method, row in methods.items():
                for role in ROLES:
                    for args, context in self.calls(model, method, row):
                        wrong += self._attack(before, role, model, method, args, context, role in row.may)
                wrong += self._paid(f"{model}.{method}", set(ROLES) <= row.may)
        self.assertEqual(wrong, [])

    def _attack(self, before, role, model, method, args, context, may):
        """What is wrong after a call: a list of sentences."""
        what = f"{role}: {model}.{method}{args!r} {'with a context' if context else ''}"
        with self.undone():
            texts = self.rpc(role, model, method, args, context)
            after = self.fingerprint()
        wrong = [f"{what} tells the password"] if any(SECRET in text for text in texts) else []
        if not may and after != before:
            tables = [table for table in TABLES if before[table] != after[table]]
            wrong.append(f"{what} changes {tables}: {texts}")
        return [*wrong, *(self._paid(what, may) if may else ())]

    def _paid(self, what, may):
        """Whom the gateway has paid since it was last asked, where nobody may, or twice."""
        paid = [entry["payee"] for entry in self.gateway.ledger()["entries"]]
        if paid:
            self.gateway.reset()
        return [f"{what} pays {paid}"] if paid and not (may and len(set(paid)) == len(paid)) else []


class TestFields(HostileCase):
    """What a role may not read is given away by no way of asking, and by no answer that depends on it."""

    def setUp(self):
        super().setUp()
        logging.disable(logging.ERROR)
        self.addCleanup(logging.disable, logging.NOTSET)

    def restricted(self):
        """Field and role for each that may not read it."""
        for name, model in self.registry.items():
            if model._abstract or model._transient or (not name.startswith("g2p.pa") and name != MANAGER):
                continue
            for field in model._fields.values():
                if not field.groups or not field.store:
                    continue
                if OURS.rpartition(".")[2] not in getattr(field, "_modules", ()):
                    continue
                for role, user in self.users.items():
                    if field.groups == "." or not self.is_in(user, field.groups):
                        yield name, field.name, role

    def is_in(self, user, groups):
        """Whether somebody is in one of these groups; for either series."""
        return any(user.has_group(group.strip()) for group in groups.split(","))

    def ways(self, model, field, ids):
        """Ways of asking for a field: method and arguments. Those with another field first fill the cache."""
        name = next(name for name in ("mpesa_payee", "password", "display_name") if name in self.env[model])
        spec = {name: {}, field: {}}
        return [
            ("read", [ids, [field]]),
            ("read", [ids, [name, field]]),
            ("search_read", [[], [name, field]]),
            ("web_read", [ids, spec]),
            ("web_search_read", [[], spec]),
            ("export_data", [ids, [name, field]]),
            ("export_data", [ids, ["display_name", field]]),
            ("export_data", [ids, [field]]),
            ("read_group", [[], [field], [field]]),
            ("web_read_group", [[], [field], [field]]),
            ("formatted_read_group", [[], [field], ["__count"]]),
            ("mapped", [ids, field]),
            ("onchange", [ids, {}, [field], {field: "1"}]),
            ("onchange", [ids, {}, [], spec]),
            ("default_get", [[field]]),
            ("copy_data", [ids]),
            ("name_search", ["", [(field, "!=", False)]]),
            ("load", [["id", field], [["x", "y"]]]),
            ("fetch", [ids, [field]]),
            ("filtered", [ids, field]),
            ("sorted", [ids, field]),
        ]

    def guesses(self, ids, domain):
        """Questions whose answer depends on a guess."""
        return [
            ("search", [domain]),
            ("search_count", [domain]),
            ("search_read", [domain, ["id"]]),
            ("filtered_domain", [ids, domain]),
            ("name_search", ["", domain]),
            ("read_group", [domain, ["id"], []]),
            ("web_search_read", [domain, {"id": {}}]),
        ]

    def answered_guesses(self, role, model, field, ids, value):
        """Questions to which a right guess has another answer than a wrong one: a list of sentences."""
        found = []
        fill = {MANAGER: "password", "g2p.payment": "mpesa_payee"}.get(model, "display_name")
        for first in ([], [(fill, "!=", False)]):
            right, wrong = (
                self.guesses(ids, [("id", "in", ids), *first, (field, "=like", f"{guess}%")])
                for guess in (value[:4], "~~~~")
            )
            for (method, one), (_method, two) in zip(right, wrong, strict=True):
                with self.undone():
                    answers = [self.rpc(role, model, method, args)[0] for args in (one, two)]
                if answers[0] != answers[1]:
                    found.append(f"{role}: {model}.{method} answers guesses of {field}")
        return found

    @staticmethod
    def word(value):
        return str(value) if isinstance(value, str) else ""

    @mute_logger(*NOISE)
    def test_no_way_of_asking_gives_one_away(self):
        wrong, seen = [], set()
        for model, field, role in self.restricted():
            records = self.env[model].sudo().search([(field, "!=", False)], limit=2)
            if not records or not self.word(records[0][field]):
                continue
            value = self.word(records[0][field])
            seen.add((model, field))
            for method, args in self.ways(model, field, records.ids):
                with self.undone():
                    texts = self.rpc(role, model, method, args)
                if any(value in text for text in texts):
                    wrong.append(f"{role}: {model}.{method} tells {field}")
            wrong += self.answered_guesses(role, model, field, records.ids, value)
            for order in (field, f"{field} desc"):
                with self.undone():
                    answer = self.rpc(role, model, "search_read", [[], ["id"], 0, None, order])
                if answer[0] and answer[0] != "[]":
                    wrong.append(f"{role}: {model} is ordered by {field}")
        self.assertLessEqual({(MANAGER, "secret"), ("g2p.payment", "account_number")}, seen)
        self.assertEqual(wrong, [])

    @mute_logger(*NOISE)
    def test_nor_by_way_of_another_model(self):
        for role in ROLES:
            answers = []
            for guess in (f"{SECRET[:4]}%", "~~~~%"):
                with self.undone():
                    domain = [("mpesa_manager_id", "!=", False), ("mpesa_manager_id.secret", "=like", guess)]
                    answers.append(self.rpc(role, "g2p.payment", "search", [domain])[0])
            self.assertEqual(answers[0], answers[1], role)
