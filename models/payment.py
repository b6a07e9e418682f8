from collections import Counter, defaultdict
from uuid import UUID, uuid4

from odoo import _, api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..gateway import clock
from ..gateway.errors import SECRET, GatewayError
from ..gateway.masking import mask_payee
from . import const, figures
from .account import account_of
from .inside import preparing
from .live_pages import tell_after_commit
from .mpesa_payee import exceeds, registry_text
from .notify import notification

# Payments that one click asks the gateway for, and for how many seconds.
MOST_ASKED = 25
SECONDS_ASKED = 20
# What goes into a move beside the state itself, with its type in the database.
MOVE_COLUMNS = {
    "mpesa_reason": "varchar",
    "mpesa_words": "varchar",
    "mpesa_receipt": "varchar",
    "mpesa_reference": "varchar",
    "account_number": "varchar",
    "mpesa_account": "varchar",
    "mpesa_payee_text": "varchar",
    # For paid: what the gateway has paid, where that is not what was issued.
    "amount_paid": "numeric",
}
# The state of the entitlement e of a payment p, or that its cycle or program is over.
ENTITLEMENT_STATE = f"""(
    SELECT CASE WHEN c.state = 'cancelled' OR program.state = 'ended' THEN '{const.CYCLE_CLOSED}'
                ELSE e.state END
      FROM g2p_cycle c JOIN g2p_program program ON program.id = c.program_id WHERE c.id = p.cycle_id)"""
# What a payment p with its entitlement e must still be when it is claimed, as a text. When it was claimed
# last, too: somebody may have claimed it since, and given it back.
AS_IT_IS = f"""concat_ws(' ', e.partner_id, p.batch_id, p.amount_issued, {ENTITLEMENT_STATE},
    e.initial_amount, p.mpesa_reference, p.mpesa_sent_at, p.account_number)"""
# Columns that a row may have beside, on which it depends whether its payment is moved at all.
MOVE_GUARDS = {
    # Only what this claim holds, or held.
    "claim": "p.mpesa_claim IS NOT DISTINCT FROM v.claim",
    # Only what is as it was looked up, and while no other payment to this payee is on its way. OFFSET has
    # PostgreSQL look for that one payee, rather than join all that is on its way.
    "looked_up": f"""(v.looked_up IS NULL OR v.looked_up = (
            SELECT {AS_IT_IS} FROM g2p_entitlement e WHERE e.id = p.entitlement_id))
        AND NOT EXISTS (SELECT 1 FROM g2p_payment busy WHERE busy.mpesa_state = 'sending'
            AND busy.mpesa_account = v.mpesa_account AND busy.account_number = v.account_number
            OFFSET 0)""",
}
# Payments that block another one for the same entitlement.
NOT_FAILED = ["|", ("status", "=", False), ("status", "!=", "failed")]
NOW = "(clock_timestamp() AT TIME ZONE 'UTC')"


def check_access(records, operation):
    """Raise an AccessError unless the user may do ``operation`` with ``records``; on either series."""
    if hasattr(records, "check_access"):
        records.check_access(operation)
    else:
        records.check_access_rights(operation)
        records.check_access_rule(operation)


def may(model, operation):
    """Whether the user may do ``operation`` with the model at all; on either series."""
    if hasattr(model, "has_access"):
        return model.has_access(operation)
    return model.check_access_rights(operation, raise_exception=False)


def is_uuid(text):
    """Whether a text is a UUID as Python writes it."""
    try:
        return bool(text) and str(UUID(text)) == text
    except ValueError:
        return False


def may_send(env):
    """Whether the user may prepare and send payments."""
    needed = {
        "g2p.program.payment.manager.mpesa": "read",
        "g2p.payment.batch": "write",
        "g2p.payment": "write",
    }
    return all(may(env[model], operation) for model, operation in needed.items())


class TransitionError(UserError):
    """A payment was to go where no arrow leads."""


class Payment(models.Model):
    _inherit = "g2p.payment"

    # What became of a payment is not copied.
    state = fields.Selection(copy=False)
    status = fields.Selection(copy=False)
    status_is_final = fields.Boolean(copy=False)
    status_datetime = fields.Datetime(copy=False)
    amount_paid = fields.Monetary(copy=False)
    payment_datetime = fields.Datetime(copy=False)
    # Where money goes, for those who answer for it; others see it masked.
    # Read when it is asked for: 17.0 exports what is in the ORM's cache, whatever group may see it.
    account_number = fields.Char(copy=False, groups=",".join(const.SEE_PAYEES), prefetch=False)
    batch_id = fields.Many2one(copy=False)
    # A journal that is changed later changes no payment that is there.
    currency_id = fields.Many2one(related=None, compute="_compute_currency_id", compute_sudo=True)
    mpesa_currency_id = fields.Many2one(
        "res.currency",
        "Currency When Prepared",
        readonly=True,
        copy=False,
        help="That of the program when the payment was prepared: its journal's, or else its company's.",
    )
    mpesa_manager_id = fields.Many2one(
        "g2p.program.payment.manager.mpesa", "M-Pesa Manager", readonly=True, copy=False, ondelete="restrict"
    )
    mpesa_state = fields.Selection(const.STATES, "Outcome", readonly=True, copy=False)
    mpesa_reason = fields.Selection(const.REASONS, "Reason", readonly=True, copy=False)
    mpesa_words = fields.Char(
        "Note", readonly=True, copy=False, help="The gateway's own words, or those of whoever settled it."
    )
    mpesa_payee_text = fields.Char(
        "In the Registry",
        readonly=True,
        copy=False,
        groups=",".join(const.SEE_PAYEES),
        prefetch=False,
        help="What stands where the payee ID should be, as it was when it was last looked at."
        " Correct it there.",
    )
    mpesa_payee_changed = fields.Boolean(
        "Payee Changed",
        readonly=True,
        copy=False,
        help="The payee ID is another one than when the payment was prepared: the registry has changed.",
    )
    mpesa_reference = fields.Char(
        "Payment Reference",
        readonly=True,
        copy=False,
        help="Fixed when it is prepared, for life: the gateway knows it by that.",
    )
    mpesa_gateway_amount = fields.Monetary(
        "Amount at the Gateway",
        readonly=True,
        copy=False,
        help="What the gateway says that it has paid, where that is not what was issued.",
    )
    mpesa_difference = fields.Monetary(
        "Open Difference",
        compute="_compute_mpesa_difference",
        search="_search_mpesa_difference",
        help="What was issued less what was paid. It stays open: nothing prepares it again.",
    )
    mpesa_receipt = fields.Char("Receipt", readonly=True, copy=False, help="The gateway's transaction id.")
    mpesa_claim = fields.Char("Claim", readonly=True, copy=False, groups="base.group_no_one")
    mpesa_lease_until = fields.Datetime("Lease", readonly=True, copy=False, groups="base.group_no_one")
    mpesa_sender_id = fields.Many2one("res.users", "Sent By", readonly=True, copy=False)
    mpesa_sent_at = fields.Datetime("Sent", readonly=True, copy=False, help="The last time.")
    mpesa_first_sent_at = fields.Datetime("First Sent", readonly=True, copy=False)
    mpesa_gateway = fields.Char(
        "Gateway",
        readonly=True,
        copy=False,
        groups="base.group_no_one",
        help="Where it was sent, as a digest.",
    )
    mpesa_account = fields.Char(
        "Account at the Gateway",
        readonly=True,
        copy=False,
        groups="base.group_no_one",
        help="From which account it was sent, as a digest.",
    )
    mpesa_mode = fields.Selection(
        const.MODES, "Mode", readonly=True, copy=False, help="The gateway's mode when it was first sent."
    )
    mpesa_next_check = fields.Datetime("Next Status Query", readonly=True, copy=False)
    mpesa_checks = fields.Integer("Status Queries", readonly=True, copy=False)
    mpesa_attempt_ids = fields.One2many("g2p.payment.mpesa.attempt", "payment_id", "Attempts", readonly=True)
    mpesa_allowed_again = fields.Boolean(
        "May Be Prepared Again",
        readonly=True,
        copy=False,
        help="It was written off, and somebody of finance allows that its person is prepared again.",
    )
    mpesa_duplicate = fields.Boolean(
        "Prepared Twice",
        readonly=True,
        copy=False,
        help="The earlier module made several payments for this entitlement; this is not the first.",
    )

    mpesa_no_send = fields.Boolean("Not to Be Sent by the User", compute="_compute_mpesa_no_send")
    mpesa_can_ask = fields.Boolean(compute="_compute_mpesa_can_ask", compute_sudo=True)
    mpesa_payee = fields.Char(
        "Payee",
        compute="_compute_mpesa_payee",
        # For those, too, who may not see it as a whole.
        compute_sudo=True,
        help="Masked: enough to tell one from another.",
    )

    # Not written by hand, whatever the role, once the payment was ever claimed.
    FIXED_BY_CLAIM = {
        "name",
        "entitlement_id",
        "cycle_id",
        "batch_id",
        "amount_issued",
        "account_number",
        "journal_id",
    }
    # Not written by hand once it is ours.
    FIXED_BY_PREPARE = {"account_number", "entitlement_id"}
    # Not written by hand at all: they follow from what the gateway said.
    FIXED = {"state", "status", "status_is_final", "status_datetime", "amount_paid", "payment_datetime"}

    def init(self):
        self._mpesa_refuse_unknown_version()
        self._mpesa_fill_accounts()
        self._mpesa_fill_currencies()
        # Partial where a plain one would make the claim a key update, which waits for foreign keys.
        self.env.cr.execute(
            """
            CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_reference_uniq
                ON g2p_payment (mpesa_reference) WHERE mpesa_reference IS NOT NULL;
            CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_one_open_uniq
                ON g2p_payment (entitlement_id)
                WHERE mpesa_state <> 'refused' AND mpesa_duplicate IS NOT true;
            CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_one_to_payee_uniq
                ON g2p_payment (mpesa_account, account_number) WHERE mpesa_state = 'sending';
            -- That of before was of one manager alone.
            DROP INDEX IF EXISTS g2p_payment_mpesa_one_in_flight_uniq;
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_batch_idx
                ON g2p_payment (batch_id, mpesa_state, id);
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_manager_due_idx
                ON g2p_payment (mpesa_manager_id, mpesa_next_check)
                WHERE mpesa_state IN ('accepted', 'doubt');
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_lease_idx
                ON g2p_payment (mpesa_lease_until) WHERE mpesa_state = 'sending';
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_entitlement_idx
                ON g2p_payment (entitlement_id);
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_receipt_idx
                ON g2p_payment (mpesa_receipt) WHERE mpesa_receipt IS NOT NULL;
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_sent_idx
                ON g2p_payment (mpesa_manager_id, mpesa_sent_at) WHERE mpesa_sent_at IS NOT NULL;
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_differs_idx
                ON g2p_payment (cycle_id) WHERE mpesa_state = 'paid' AND amount_paid <> amount_issued;
            CREATE INDEX IF NOT EXISTS g2p_payment_mpesa_cycle_idx
                ON g2p_payment (cycle_id, id);
            CREATE INDEX IF NOT EXISTS g2p_payment_batch_mpesa_cycle_idx
                ON g2p_payment_batch (cycle_id);
            CREATE INDEX IF NOT EXISTS g2p_entitlement_mpesa_cycle_idx
                ON g2p_entitlement (cycle_id, id);
            CREATE OR REPLACE FUNCTION g2p_payment_mpesa_reference_refuse() RETURNS trigger AS $$
            BEGIN
                RAISE EXCEPTION 'A payment keeps its reference: the gateway may know it by that.';
            END
            $$ LANGUAGE plpgsql;
            DROP TRIGGER IF EXISTS g2p_payment_mpesa_reference_for_life ON g2p_payment;
            CREATE TRIGGER g2p_payment_mpesa_reference_for_life
                BEFORE UPDATE OF mpesa_reference ON g2p_payment FOR EACH ROW
                WHEN (OLD.mpesa_reference IS DISTINCT FROM NEW.mpesa_reference
                    AND OLD.mpesa_reference IS NOT NULL)
                EXECUTE FUNCTION g2p_payment_mpesa_reference_refuse();
            """
        )

    def _mpesa_refuse_unknown_version(self):
        """Stop an update from OpenG2P's own module for which Odoo has not run the migration scripts.

        Odoo compares versions, and that module has had several, which say nothing about its tables.
        """
        self.env.cr.execute("SELECT to_regclass('g2p_program_payment_manager_simple_mpesa')")
        if self.env.cr.fetchone()[0]:
            raise UserError(
                _(
                    "The payment managers of OpenG2P's own M-Pesa module are not taken over yet. In the table"
                    " ir_module_module, set latest_version of g2p_payment_simple_mpesa to 17.0.0.0.0, and"
                    " update again. Nothing has been changed."
                )
            )

    def _mpesa_fill_accounts(self):
        """What was on its way when the database was updated is so from its manager's account.

        One of several to the same payee: the others have none, as long as they are on their way.
        """
        self.env.cr.execute("SELECT to_regclass('g2p_program_payment_manager_mpesa')")
        if not self.env.cr.fetchone()[0]:
            return
        self.env.cr.execute(
            "SELECT m.id, m.payment_endpoint_url, m.username FROM g2p_program_payment_manager_mpesa m"
            " WHERE EXISTS (SELECT FROM g2p_payment p WHERE p.mpesa_manager_id = m.id"
            "     AND p.mpesa_state = 'sending' AND p.mpesa_account IS NULL)"
        )
        for manager_id, url, username in self.env.cr.fetchall():
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_account = %(account)s WHERE id IN ("
                " SELECT min(p.id) FROM g2p_payment p WHERE p.mpesa_manager_id = %(manager)s"
                "    AND p.mpesa_state = 'sending' AND p.mpesa_account IS NULL AND NOT EXISTS ("
                "        SELECT FROM g2p_payment o WHERE o.mpesa_state = 'sending'"
                "           AND o.mpesa_account = %(account)s AND o.account_number = p.account_number)"
                "  GROUP BY p.account_number)",
                {"account": account_of(url, username), "manager": manager_id},
            )

    def _mpesa_fill_currencies(self):
        """What was prepared before it was kept is in the currency that its journal has now."""
        self.env.cr.execute(
            """
            UPDATE g2p_payment p
               SET mpesa_currency_id = coalesce(j.currency_id, jo.currency_id, o.currency_id)
              FROM g2p_payment one
              LEFT JOIN g2p_cycle c ON c.id = one.cycle_id
              LEFT JOIN g2p_program g ON g.id = c.program_id
              LEFT JOIN account_journal j ON j.id = coalesce(one.journal_id, g.journal_id)
              LEFT JOIN res_company jo ON jo.id = j.company_id
              LEFT JOIN res_company o ON o.id = g.company_id
             WHERE one.id = p.id AND p.mpesa_state IS NOT NULL AND p.mpesa_currency_id IS NULL
            """
        )

    # The one place where a payment changes its state

    @api.model
    def _mpesa_move(self, sources, target, rows, new_claim=None, confirmed=False):
        """Move payments along one arrow; OpenG2P's own fields and the batches' figures follow at once.

        In this transaction.

        :param sources: the states that the caller expects them in.
        :param str target: the state that they go to.
        :param rows: dicts of ``id`` and the same of ``MOVE_COLUMNS`` and ``MOVE_GUARDS`` each.
        :param new_claim: for ``sending``: ``{"token", "lease_seconds", "user_id", "gateway", "mode"}``. What
            somebody holds at the moment is not waited for.
        :param bool confirmed: for ``paid``: the gateway says that it was carried out, not only taken.
        :return: the set of ids that were moved; the others are in none of ``sources``, or not the claim's.
        :raise TransitionError: no arrow leads from one of ``sources`` to ``target``.
        """
        forbidden = set(sources) - const.SOURCES[target]
        if forbidden:
            raise TransitionError(
                _(
                    "A payment does not go from %(before)s to %(target)s.",
                    before=", ".join(sorted(forbidden)),
                    target=target,
                )
            )
        if not rows:
            return set()
        guard = [name for name in MOVE_GUARDS if name in rows[0]]
        written = [name for name in MOVE_COLUMNS if name in rows[0]]
        columns = ["id", *guard, *written]
        types = {"id": "int4", **dict.fromkeys(MOVE_GUARDS, "varchar"), **MOVE_COLUMNS}
        guards = "".join(f" AND {MOVE_GUARDS[name]}" for name in guard)
        line = "(" + ", ".join(f"%s::{types[name]}" for name in columns) + ")"
        assignments, parameters = self._mpesa_assignments(target, new_claim, confirmed)
        assignments += [f"{name} = v.{name}" for name in written]
        if target == const.PAID and "amount_paid" not in written:
            assignments.append("amount_paid = p.amount_issued")
        self.env.cr.execute(
            f"""
            WITH v({", ".join(columns)}) AS (VALUES {", ".join([line] * len(rows))}),
            old AS (
                SELECT p.id, p.mpesa_state AS was, p.batch_id,
                       p.amount_issued, {"v.amount_paid" if "amount_paid" in written else "p.amount_issued"}
                           AS amount_paid
                  FROM g2p_payment p JOIN v ON v.id = p.id
                 WHERE p.mpesa_state = ANY(%s){guards}
                 ORDER BY p.id FOR NO KEY UPDATE OF p {"SKIP LOCKED" if new_claim else ""}
            ),
            moved AS (
                UPDATE g2p_payment p SET {", ".join(assignments)}
                  FROM v JOIN old ON old.id = v.id
                 WHERE p.id = v.id RETURNING p.id
            ),
            batches AS ({figures.carry_forward(target)})
            SELECT moved.id, old.batch_id FROM moved JOIN old ON old.id = moved.id
            """,
            [
                *(row[name] for row in rows for name in columns),
                list(sources),
                *parameters,
            ],
        )
        rows = self.env.cr.fetchall()
        moved = {payment_id for payment_id, _batch_id in rows}
        tell_after_commit(self.env.cr, {batch_id for _payment_id, batch_id in rows if batch_id})
        self.browse(moved).invalidate_recordset()
        self.env["g2p.payment.batch"].invalidate_model()
        return moved

    def _mpesa_assignments(self, target, new_claim, confirmed):
        """SQL of what follows from the target state alone: a list of assignments, and their parameters."""
        state, status, final = const.IN_OPENG2P[target]
        state = "reconciled" if confirmed and target == const.PAID else state
        assignments = [
            "mpesa_state = %s",
            "state = %s",
            "status = %s",
            "status_is_final = %s",
            f"status_datetime = {NOW}",
            f"write_date = {NOW}",
            "write_uid = %s",
        ]
        parameters = [target, state, status, final, self.env.uid]
        if target == const.PAID:
            assignments.append(f"payment_datetime = {NOW}")
        if target in (const.ACCEPTED, const.DOUBT):
            # What was asked for before, and was sent again, goes on being asked for less and less often.
            assignments.append(f"mpesa_next_check = greatest(p.mpesa_next_check, {NOW})")
        if target == const.SENDING:
            assignments += [
                "mpesa_claim = %s",
                "mpesa_gateway = %s",
                # It says whether real money was meant, and a doubt is sent again for what it was sent for.
                "mpesa_mode = CASE WHEN p.mpesa_state = 'doubt' THEN p.mpesa_mode ELSE %s END",
                # Who sent a doubt the first time stays its sender.
                "mpesa_sender_id = CASE WHEN p.mpesa_state = 'doubt' THEN p.mpesa_sender_id ELSE %s END",
                f"mpesa_sent_at = {NOW}",
                "mpesa_first_sent_at ="
                f" CASE WHEN p.mpesa_state = 'doubt' THEN p.mpesa_first_sent_at ELSE {NOW} END",
                f"mpesa_lease_until = {NOW} + %s * interval '1 second'",
            ]
            parameters += [
                new_claim[name] for name in ("token", "gateway", "mode", "user_id", "lease_seconds")
            ]
        return assignments, parameters

    @api.model
    def _mpesa_require(self, ids, moved, target):
        """Raise a :class:`TransitionError` that names both states, for the payments that were not moved."""
        left = self.browse(set(ids) - set(moved))
        if left:
            left.invalidate_recordset()
            raise TransitionError(
                _(
                    "Payment %(name)s is %(before)s, and does not go to %(target)s.",
                    name=left[0].name,
                    before=left[0].mpesa_state,
                    target=target,
                )
            )

    def _mpesa_paid_on(self, moment):
        """Write when the gateway paid, where its own records are the evidence. In this transaction."""
        self.env.cr.execute(
            "UPDATE g2p_payment SET payment_datetime = %s WHERE id = ANY(%s) AND mpesa_state = 'paid'",
            [moment, self.ids],
        )
        self.invalidate_recordset(["payment_datetime"])

    def _mpesa_tell_taken_after_all(self):
        """The gateway has taken payments that were settled as not paid: only a person can put that right."""
        for payment in self.filtered(lambda p: p.mpesa_state == const.REFUSED):
            payment.batch_id._mpesa_schedule_for_finance(
                _("Paid after all: %s", payment.mpesa_reference),
                _(
                    "The gateway has taken payment %(name)s, which is settled as not paid. It is not prepared"
                    " again. Compare it with the gateway's records.",
                    name=payment.name,
                ),
            )

    @api.depends("mpesa_state", "amount_issued", "amount_paid")
    def _compute_mpesa_difference(self):
        for payment in self:
            is_paid = payment.mpesa_state == const.PAID
            payment.mpesa_difference = payment.amount_issued - payment.amount_paid if is_paid else 0

    @api.model
    def _search_mpesa_difference(self, operator, value):
        # 19.0 has a list in place of one value.
        if operator not in ("!=", "not in") or any(value if hasattr(value, "__iter__") else [value]):
            raise UserError(_("Payments are searched by whether there is an open difference."))
        self.flush_model(["mpesa_state", "amount_issued", "amount_paid"])
        # A constant of ours.
        query = f"SELECT p.id FROM g2p_payment p WHERE {figures.DIFFERS}"
        self.env.cr.execute(query)  # pylint: disable=sql-injection
        return [("id", "in", [row[0] for row in self.env.cr.fetchall()])]

    @api.depends("mpesa_currency_id", "journal_id.currency_id")
    def _compute_currency_id(self):
        for payment in self:
            payment.currency_id = payment.mpesa_currency_id or payment.journal_id.currency_id

    @api.depends("account_number", "mpesa_payee_text")
    def _compute_mpesa_payee(self):
        stored = self.filtered(lambda payment: isinstance(payment.id, int))
        payees = stored._mpesa_whole_payees()
        for payment in self - stored:
            payees[payment.id] = payment.mpesa_payee_text or payment.account_number
        for payment in self:
            payee = payees.get(payment.id)
            payment.mpesa_payee = mask_payee(payee) if payee else False

    def _mpesa_whole_payees(self):
        """From the id of each payment to its whole payee, past the ORM, which would keep it for others."""
        self.flush_recordset(["account_number", "mpesa_payee_text"])
        self.env.cr.execute(
            "SELECT id, coalesce(nullif(mpesa_payee_text, ''), account_number) FROM g2p_payment"
            " WHERE id = ANY(%s)",
            [self.ids],
        )
        return dict(self.env.cr.fetchall())

    @api.depends("name", "partner_id.name", "mpesa_payee", "mpesa_state")
    def _compute_display_name(self):
        """One of ours is called by whom it pays: a reference says nothing to people."""
        ours = self.filtered("mpesa_state")
        for payment in ours:
            person = payment.sudo().partner_id.name or payment.name
            payment.display_name = f"{person} ({payment.mpesa_payee})" if payment.mpesa_payee else person
        return super(Payment, self - ours)._compute_display_name()

    @api.depends("mpesa_manager_id")
    def _compute_mpesa_can_ask(self):
        for payment in self:
            payment.mpesa_can_ask = bool(payment.mpesa_manager_id.status_endpoint_url)

    @api.depends("mpesa_state")
    @api.depends_context("uid")
    def _compute_mpesa_no_send(self):
        may = may_send(self.env)
        for payment in self:
            payment.mpesa_no_send = bool(payment.mpesa_state) and not may

    # What people and other addons may do

    def action_mpesa_refresh_status(self):
        """Ask the gateway now how these payments stand.

        :return: a client action that shows a notification.
        """
        open_payments = self.filtered(lambda p: p.mpesa_state in (const.ACCEPTED, const.DOUBT))
        return open_payments._mpesa_ask_now()

    def _mpesa_ask_now(self):
        check_access(self, "write")
        managers = self.sudo().mpesa_manager_id
        asked, ends = 0, clock.now() + SECONDS_ASKED
        try:
            for manager in managers:
                own = self.filtered(lambda p, manager=manager: p.sudo().mpesa_manager_id == manager)
                asking = manager.with_user(self.env.user).sudo()
                asked += asking._mpesa_refresh_status(own, most=MOST_ASKED, ends=ends)
        except GatewayError as error:
            if error.reason == SECRET:
                # It was not asked.
                raise UserError(error.message) from None
            raise UserError(_("The gateway does not say how payments stand: %s", error.message)) from None
        self.env.invalidate_all()
        if managers and not any(managers.mapped("status_endpoint_url")):
            message = _("This gateway cannot be asked how a payment stands. Look it up in its own records.")
        else:
            message = _(
                "Payments that the gateway was asked for: %(asked)s of %(all)s.", asked=asked, all=len(self)
            )
        gateways = {manager: manager._mpesa_asks_for() for manager in managers}
        elsewhere = self.sudo().filtered(lambda p: p.mpesa_gateway not in gateways[p.mpesa_manager_id])
        if elsewhere:
            message += " " + _(
                "Not asked, because the gateway's addresses were changed since they were sent, and no"
                " administrator has confirmed that it is the same one: %s.",
                len(elsewhere),
            )
        return notification("info", message, then="reload")

    def send_payment(self):
        """Show what would be sent, and ask; upstream's button, which does nothing for other managers."""
        result = super().send_payment()
        ready = self.filtered(lambda p: p.mpesa_state == const.READY)
        if not ready:
            return result
        if not ready.batch_id:
            raise UserError(_("Assign the payment to a batch first."))
        # By its own manager, whichever is the program's now.
        manager = ready.sudo().mpesa_manager_id.with_env(self.env)
        if len(manager) > 1:
            raise UserError(_("These payments are of several managers: send those of one at a time."))
        return manager._ask_to_send_some(ready)

    @api.model_create_multi
    def create(self, vals_list):
        """Whoever makes it: a payment of a program that pays by M-Pesa is ours, and ready."""
        if any(name.startswith("mpesa_") and vals[name] for vals in vals_list for name in vals):
            raise UserError(_("What M-Pesa says of a payment is not given when it is made."))
        # Nor by the caller's context.
        context = {name: value for name, value in self.env.context.items() if not name.startswith("default_")}
        own = self.with_env(self.env(context=context))
        payments = super(Payment, own).create(self._mpesa_make_ours(vals_list))
        if not preparing(self.env):
            payments.filtered("mpesa_state").batch_id._mpesa_refresh_figures()
        return payments.with_env(self.env)

    def _mpesa_make_ours(self, vals_list):
        """Add what a payment of ours begins with to those that are to be paid by a manager of ours."""
        ids = [vals.get("entitlement_id") for vals in vals_list]
        by_id = {
            entitlement.id: entitlement for entitlement in self.env["g2p.entitlement"].browse(ids).sudo()
        }
        by_manager = defaultdict(list)
        for vals in vals_list:
            entitlement = by_id.get(vals.get("entitlement_id"))
            manager = entitlement and self._mpesa_manager_of(entitlement)
            if manager and (vals.get("state", "issued") != "issued" or vals.get("status")):
                raise UserError(_("An M-Pesa payment begins its life ready to be sent."))
            if manager:
                by_manager[manager].append((vals, entitlement))
        ours = {
            id(vals): vals | added
            for manager, pairs in by_manager.items()
            for vals, added in self._mpesa_beginnings(manager, pairs)
        }
        return [ours.get(id(vals), vals) for vals in vals_list]

    def _mpesa_manager_of(self, entitlement):
        """The M-Pesa manager by which an entitlement is paid: the one that prepares, or the program's."""
        program = entitlement.cycle_id.program_id
        manager = self.env["g2p.program.payment.manager.mpesa"].sudo().browse(preparing(self.env)).exists()
        if manager.program_id == program and manager:
            return manager
        manager = program.payment_managers[:1].manager_ref_id
        return manager if manager and manager._name == "g2p.program.payment.manager.mpesa" else None

    def _mpesa_beginnings(self, manager, pairs):
        """Pairs of a payment's values, and what is to be added to them."""
        partners = self.env["res.partner"].union(*(entitlement.partner_id for _vals, entitlement in pairs))
        payees = manager._mpesa_payees_or_why(partners)
        self._mpesa_check_only_one([entitlement.id for _vals, entitlement in pairs])
        references = self._mpesa_references([vals.get("name") for vals, _entitlement in pairs])
        for (vals, entitlement), reference in zip(pairs, references, strict=True):
            payee = vals.get("account_number") or payees.get(entitlement.partner_id.id)
            currency = entitlement.cycle_id.program_id._mpesa_currency()
            yield (
                vals,
                {
                    "mpesa_manager_id": manager.id,
                    "mpesa_state": const.READY,
                    "mpesa_reference": reference,
                    "account_number": payee or False,
                    "mpesa_payee_text": registry_text(payee) or False,
                    "mpesa_currency_id": currency.id,
                    "mpesa_reason": manager._mpesa_problem(
                        vals.get("amount_issued") or 0, payee, currency_id=currency.id
                    )
                    or False,
                },
            )

    def _mpesa_references(self, names):
        """A reference for each new payment: its name where that is unique, as one that Prepare gives is."""
        known = self.sudo().search([("mpesa_reference", "in", [name for name in names if name])])
        times = Counter(names)
        taken = {*known.mapped("mpesa_reference"), *(name for name in names if times[name] > 1)}
        return [name if is_uuid(name) and name not in taken else str(uuid4()) for name in names]

    def _mpesa_check_only_one(self, entitlement_ids):
        """The database keeps it too; this one says it in a sentence."""
        domain = [("entitlement_id", "in", entitlement_ids), *NOT_FAILED]
        other = self.sudo().search(domain, limit=1)
        if other or len(set(entitlement_ids)) < len(entitlement_ids):
            raise ValidationError(_("This entitlement has a payment already: %s", other.name or ""))

    def write(self, vals):
        self._mpesa_check_write(vals)
        batches = self.batch_id
        result = super().write(vals)
        if {"batch_id", "amount_issued"} & set(vals):
            (batches | self.batch_id)._mpesa_refresh_figures()
        return result

    def _mpesa_check_write(self, vals):
        by_hand = set(vals)
        ours = self.filtered("mpesa_state")
        if (by_hand & self.FIXED and ours) or any(name.startswith("mpesa_") for name in by_hand):
            raise UserError(
                _(
                    "The outcome of an M-Pesa payment follows from what the gateway says, and is not written"
                    " by hand. Send it, refresh its status, or settle its doubt."
                )
            )
        if by_hand & self.FIXED_BY_PREPARE and ours:
            raise UserError(
                _("The payee of an M-Pesa payment is found by the person's own data: correct it there.")
            )
        if "amount_issued" in by_hand:
            ours._mpesa_check_amount(vals["amount_issued"])
        if by_hand & self.FIXED_BY_CLAIM and ours._mpesa_was_sent():
            raise UserError(
                _(
                    "This payment has been sent, so its amount, payee and batch stay as they went out. "
                    "If it was refused, prepare payments again: a new one is made."
                )
            )

    def _mpesa_check_amount(self, amount):
        """Nobody pays more than what was approved, but for the cents that make a whole shilling of it."""
        if any(exceeds(amount, payment.entitlement_id.initial_amount) for payment in self.sudo()):
            raise UserError(_("A payment is not larger than its entitlement. Correct the entitlement first."))

    def _mpesa_was_sent(self):
        """Those that went out or may have. Of those that the earlier module sent nobody knows when."""
        return self.sudo().filtered(
            lambda p: p.mpesa_first_sent_at or p.mpesa_state not in (False, const.READY)
        )

    @api.ondelete(at_uninstall=False)
    def _unlink_except_sent(self):
        if self._mpesa_was_sent():
            raise UserError(_("A payment that was ever sent is kept. Nobody can delete it."))

    def unlink(self):
        batches = self.batch_id
        result = super().unlink()
        batches.exists()._mpesa_refresh_figures()
        return result
