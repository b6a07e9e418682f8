"""Payments in bulk: what the ORM's ``create`` does, in a few statements, where that is provably the same.

What ``create`` would do is looked up in the registry, for other addons may have changed it. Where one of them
has a part in it that cannot be told from here, the ORM's own way is taken.
"""

import inspect
from uuid import uuid4

from .payment import check_access

# Who defines fields and methods of a payment that are known here.
KNOWN_MODULES = {"base", "g2p_programs", "g2p_payment_simple_mpesa"}
KNOWN_CODE = (
    *("odoo.models", "odoo.orm.", "odoo.api"),
    *(f"odoo.addons.{name}." for name in ("base", "g2p_programs", "g2p_payment_simple_mpesa")),
)
# What ``create`` is made of.
STEPS = (
    *("create", "_create", "_prepare_create_values", "_add_missing_default_values", "default_get"),
    *("_compute_journal_id", "_mpesa_make_ours", "_mpesa_beginnings"),
)
LOGGED = ("id", "create_uid", "create_date", "write_uid", "write_date")
# What differs from payment to payment, with its type in the database; the rest comes from the entitlement.
GIVEN = {
    "name": "varchar",
    "entitlement_id": "int4",
    "batch_id": "int4",
    "account_number": "varchar",
    "mpesa_reason": "varchar",
    "mpesa_reference": "varchar",
    "mpesa_payee_text": "varchar",
}
WRITTEN = (
    *GIVEN,
    *("cycle_id", "amount_issued", "payment_fee", "state", "mpesa_manager_id", "mpesa_state", "journal_id"),
    "mpesa_currency_id",
)


class BulkCreate:
    """Makes the payments of one manager.

    :param manager: the M-Pesa payment manager, with the environment that they are made in.
    """

    def __init__(self, manager):
        self.manager = manager
        self.env = manager.env
        self.payments = self.env["g2p.payment"]
        self._defaults = {}
        self._computed = []
        self.is_same = self._look_up()

    # What create would do

    def _look_up(self):
        """Whether ``create`` does nothing else than what :meth:`insert` does."""
        model = self.payments
        if model._inherits or self._user_defaults() or not all(map(self._is_known_step, STEPS)):
            return False
        names = [name for name in model._fields if name not in (*LOGGED, *WRITTEN)]
        others = [model._fields[name] for name in names]
        for field in others:
            known = set(field._modules) <= KNOWN_MODULES
            if field.default and not known:
                return False
            if field.compute and field.store:
                self._computed.append(field)
        if any(model._fields[name].inverse for name in WRITTEN):
            return False
        if not set(model._fields["journal_id"]._modules) <= KNOWN_MODULES:
            return False
        self._defaults = self._read_defaults([field for field in others if field.default and field.store])
        return True

    def _is_known_step(self, name):
        """Whether all that define a method of payments are known."""
        functions = [vars(parent)[name] for parent in type(self.payments).mro() if name in vars(parent)]
        origins = (
            inspect.unwrap(getattr(function, "__func__", function)).__module__ for function in functions
        )
        return all(origin.startswith(KNOWN_CODE) for origin in origins)

    def _user_defaults(self):
        """Defaults that somebody has set in a form."""
        return self.env["ir.default"].sudo().search_count([("field_id.model", "=", self.payments._name)])

    def _read_defaults(self, others):
        values = self.payments.default_get([field.name for field in others])
        return {
            name: self.payments._fields[name].convert_to_column(value, self.payments)
            for name, value in values.items()
        }

    # Doing it

    def insert(self, rows):
        """Make a ready payment for each of ``rows``, and link it to its batch.

        :param rows: dicts of ``entitlement_id``, ``batch_id``, ``account_number``, ``mpesa_reason`` and
            ``mpesa_payee_text``. The entitlements' journals are their programs'.
        :return: the payments.
        """
        check_access(self.payments, "create")
        ids = self._insert_payments(rows)
        made = self.payments.browse(ids)
        self._link(made, rows)
        for field in self._computed:
            self.env.add_to_compute(field, made)
        with self.env.protecting([self.payments._fields["journal_id"]], made):
            made.modified(self.payments._fields, create=True)
        self._check(made)
        return made

    def _insert_payments(self, rows):
        constants = {
            "state": "issued",
            "mpesa_state": "ready",
            "mpesa_manager_id": self.manager.id,
            "mpesa_currency_id": self.manager.program_currency_id.id or None,
            "create_uid": self.env.uid,
            "write_uid": self.env.uid,
            **self._defaults,
        }
        columns = [
            *GIVEN,
            *("cycle_id", "amount_issued", "payment_fee", "journal_id", "create_date", "write_date"),
            *constants,
        ]
        taken = [
            *(f"v.{name}" for name in GIVEN),
            *("e.cycle_id", "e.initial_amount", "coalesce(e.transfer_fee, 0)", "e.journal_id"),
            *("now() AT TIME ZONE 'UTC'", "now() AT TIME ZONE 'UTC'"),
            *(["%s"] * len(constants)),
        ]
        lists = {name: [row.get(name) or None for row in rows] for name in GIVEN}
        # Its own unique name is what the gateway will know it by, whichever copy of the database sends it.
        lists["name"] = lists["mpesa_reference"] = [str(uuid4()) for _row in rows]
        arrays = ", ".join(f"%s::{kind}[]" for kind in GIVEN.values())
        self.env.cr.execute(
            f"INSERT INTO g2p_payment ({', '.join(columns)}) SELECT {', '.join(taken)}"
            f" FROM unnest({arrays}) AS v({', '.join(GIVEN)})"
            " JOIN g2p_entitlement e ON e.id = v.entitlement_id ORDER BY e.id RETURNING id",
            [*constants.values(), *(lists[name] for name in GIVEN)],
        )
        return [row[0] for row in self.env.cr.fetchall()]

    def _link(self, made, rows):
        batch_ids = sorted({row["batch_id"] for row in rows if row.get("batch_id")})
        if not batch_ids:
            return
        field = self.env["g2p.payment.batch"]._fields["payment_ids"]
        self.env.cr.execute(
            f"INSERT INTO {field.relation} ({field.column1}, {field.column2})"
            " SELECT batch_id, id FROM g2p_payment WHERE id = ANY(%s) AND batch_id IS NOT NULL",
            [made.ids],
        )
        batches = self.env["g2p.payment.batch"].browse(batch_ids)
        batches.invalidate_recordset(["payment_ids"])
        batches.modified(["payment_ids"])

    def _check(self, made):
        """What ``create`` checks at its end, with the same methods."""
        made._validate_fields([*WRITTEN, *self._defaults])
        if made._check_company_auto:
            made._check_company()
        check_access(made, "create")
