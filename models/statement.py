import hashlib
from itertools import islice

from psycopg2.extras import execute_values

from odoo import _, api, fields, models
from odoo.exceptions import UserError

from ..gateway.masking import mask_payee
from ..statement.lines import rows_of
from ..statement.sheet import StatementError
from . import statement_facts, statement_match
from .attempt_report import AGGREGATOR
from .inside import without_defaults
from .payment import check_access

# Rows that go to the database at once.
PAGE = 2000
KINDS = [
    ("payment", "Payment"),
    ("money_in", "Money in"),
    ("fee", "Fee"),
    ("not_completed", "Not carried out"),
    ("unreadable", "Not understood"),
    ("ours", "Ours"),
]
WHY = [
    ("amount", "The amount is not understood"),
    ("sign", "Nobody has said whether it was paid out or came in"),
    ("moment", "The date is not understood"),
    ("state", "Whether it was carried out is not understood"),
    ("pending", "It is not carried out yet"),
    ("kind", "What it was for is not understood"),
    ("payee", "The digits of the payee are lost: they were changed by Excel"),
    ("receipt", "The digits of the receipt are lost: they were changed by Excel"),
    ("head", "It stands below other headings"),
    # Of a payment that the file does not show.
    ("unclear_lines", "Lines of the file are not understood, and may be about it"),
    ("account", "Nobody has said that the file is of the account that this gateway pays from"),
    ("period", "The file does not list all from an hour before it was sent until an hour after"),
]
RESULTS = [
    ("twice", "Paid twice"),
    ("differs", "Amount differs"),
    ("not_here", "Paid there, not paid here"),
    ("doubt", "Paid there, in doubt here"),
    ("doubt_only_here", "In doubt here, not there"),
    ("cannot_tell", "This file cannot tell"),
    ("only_here", "Only here"),
    ("only_there", "Only there"),
    ("returned", "Came back"),
    ("under_way", "Paid there, on its way here"),
    ("unreadable", "Not understood"),
    ("not_completed", "Not carried out"),
    ("repeated", "The same line again"),
    ("money_in", "Money in"),
    ("fee", "Fee"),
    ("agreed", "Agreed"),
]
# What nobody has to look into.
FINE = ("agreed", "fee", "money_in", "repeated", "not_completed")


class Statement(models.Model):
    """A gateway's statement, compared with what this database holds. It changes no payment."""

    _name = "g2p.payment.mpesa.statement"
    _description = "M-Pesa Statement"
    _inherit = [
        "mail.thread",
        "mail.activity.mixin",
        "g2p.mpesa.statement.covers.mixin",
        "g2p.mpesa.statement.read.mixin",
        "g2p.mpesa.statement.withdraw.mixin",
    ]
    _order = "id desc"

    name = fields.Char(required=True, default=lambda self: _("New statement"))
    program_id = fields.Many2one(
        "g2p.program", required=True, ondelete="restrict", help="Whose gateway account the statement is of."
    )
    manager_id = fields.Many2one(
        "g2p.program.payment.manager.mpesa",
        "Payment Manager",
        compute="_compute_manager_id",
        store=True,
        compute_sudo=True,
        ondelete="restrict",
    )
    line_ids = fields.One2many("g2p.payment.mpesa.statement.line", "statement_id", "Lines", readonly=True)
    state = fields.Selection(
        [
            ("draft", "To be compared"),
            ("reading", "Being read"),
            ("compared", "Compared"),
            ("withdrawn", "Withdrawn"),
        ],
        default="draft",
        readonly=True,
        copy=False,
    )
    period_from = fields.Datetime("From", readonly=True, copy=False)
    period_to = fields.Datetime("To", readonly=True, copy=False)
    compared_by_id = fields.Many2one("res.users", "Compared by", readonly=True, copy=False)
    # Stored, so that sums of lines can be read with it.
    currency_id = fields.Many2one(
        "res.currency", compute="_compute_currency_id", store=True, compute_sudo=True
    )
    line_count = fields.Integer("Lines in the File", readonly=True, copy=False)
    agreed_count = fields.Integer("Lines That Agree", compute="_compute_counts")
    twice_count = fields.Integer("Paid Twice", compute="_compute_counts")
    doubt_count = fields.Integer("To Be Settled", compute="_compute_counts")
    open_count = fields.Integer("To Be Looked Into", compute="_compute_counts")
    # As things stand now, and not as they stood when it was compared.
    settle_count = fields.Integer("Can Be Settled as Paid", compute="_compute_settle_count")
    excess = fields.Monetary(
        "Paid Too Much",
        readonly=True,
        copy=False,
        help="What people who were paid twice got beyond what they were to get, less what came back.",
    )
    summary_ids = fields.One2many("g2p.payment.mpesa.statement.summary", "statement_id", "Result")

    # What follows from the file, and is written by the comparison alone.
    FOLLOWS = {
        "state",
        "digest",
        "period_from",
        "period_to",
        "compared_by_id",
        "compared_at",
        "withdrawn_by_id",
        "withdrawn_at",
        "withdrawn_reason",
        "excess",
        "line_count",
        "manager_id",
    }

    @api.depends("program_id")
    def _compute_manager_id(self):
        for statement in self:
            statement.manager_id = statement.program_id._mpesa_manager()

    @api.depends("program_id")
    def _compute_currency_id(self):
        for statement in self:
            program = statement.program_id
            statement.currency_id = program._mpesa_manager().gateway_currency_id or program._mpesa_currency()

    @api.depends("line_ids.payment_id.mpesa_state", "line_ids.matched_by")
    def _compute_settle_count(self):
        for statement in self:
            statement.settle_count = len(statement_facts.settling_lines_of(statement._origin))

    @api.depends("line_ids.result")
    def _compute_counts(self):
        groups = self.env["g2p.payment.mpesa.statement.line"]._read_group(
            [("statement_id", "in", self.ids)], ["statement_id", "result"], ["__count"]
        )
        counts = {(statement.id, result): count for statement, result, count in groups}
        for statement in self:
            for result in ("agreed", "twice", "doubt"):
                statement[f"{result}_count"] = counts.get((statement.id, result), 0)
            statement.open_count = sum(
                count for (own, result), count in counts.items() if own == statement.id and result not in FINE
            )

    # Compare

    def action_compare(self):
        """Read the file and compare each line with the payments.

        :raise UserError: the columns do not say what was paid, or the file was imported before.
        """
        self.ensure_one()
        if self.state != "draft":
            raise UserError(_("This statement has been compared already."))
        own = self.sudo()
        own._check_said()
        if next(own._rows(), None) is None:
            raise UserError(_("There is no line below the headings."))
        own._keep_once()
        if own._is_long():
            own._read_by_jobs()
            return
        own._drop_lines()
        own.line_count = own._insert_all(own._rows())
        own._conclude()

    def _conclude(self):
        """Match and judge what was read."""
        # Of rows that are new PostgreSQL knows nothing, and would compare each with each.
        self.env.cr.execute("ANALYZE g2p_payment_mpesa_statement_line")
        self._close()
        statement_match.match(self)
        statement_match.judge(self)
        self._note()

    def action_compare_again(self):
        """What was settled or found out in the meantime is taken into account; the lines stay as they are."""
        self.ensure_one()
        if self.state == "compared":
            statement_match.match(self.sudo())
            statement_match.judge(self.sudo())

    def _keep_once(self):
        self.digest = hashlib.sha256(self._content()).hexdigest()
        twin = self.search(
            [
                ("digest", "=", self.digest),
                ("manager_id", "=", self.manager_id.id),
                ("id", "!=", self.id),
                ("state", "!=", "withdrawn"),
            ],
            limit=1,
        )
        if twin:
            raise UserError(_("This file was imported before: %s.", twin.name))
        if not self.manager_id:
            raise UserError(_("This program has no payments by M-Pesa."))

    def _rows(self):
        """What the lines of the file say, one after the other."""
        try:
            yield from rows_of(self._content(), self._layout())
        except StatementError as error:
            raise UserError(self._why_not_read(error)) from None

    def _drop_lines(self):
        self.env.flush_all()
        self.env.cr.execute("DELETE FROM g2p_payment_mpesa_statement_line WHERE statement_id = %s", [self.id])
        self.env["g2p.payment.mpesa.statement.line"].invalidate_model()

    def _insert_all(self, rows):
        """Insert what an iterator gives, a page at a time; gives the number of rows."""
        count = 0
        while page := list(islice(rows, PAGE)):
            self._insert(page)
            count += len(page)
        return count

    def _insert(self, rows):
        names = (
            *("number", "kind", "why", "reference", "receipt", "linked", "payee", "amount", "moment"),
            "words",
        )
        execute_values(
            self.env.cr._obj,
            f"INSERT INTO g2p_payment_mpesa_statement_line (statement_id, {', '.join(names)}) VALUES %s",
            [(self.id, *(row[name] for name in names)) for row in rows],
            page_size=PAGE,
        )
        self.env["g2p.payment.mpesa.statement.line"].invalidate_model()

    def _close(self):
        self.env.cr.execute(
            "SELECT min(moment), max(moment) FROM g2p_payment_mpesa_statement_line WHERE statement_id = %s",
            [self.id],
        )
        first, last = self._period(*self.env.cr.fetchone())
        self.write(
            {
                "state": "compared",
                "period_from": first,
                "period_to": last,
                "compared_by_id": self.env.uid,
                "compared_at": fields.Datetime.now(),
            }
        )
        self.env.flush_all()

    def _note(self):
        self.invalidate_recordset()
        self._message_log(body=self._result_sentence())

    def _result_sentence(self):
        return _(
            "Lines compared: %(lines)s. Agreed: %(agreed)s; paid twice: %(twice)s; to be looked into:"
            " %(open)s.",
            lines=self.line_count,
            agreed=self.agreed_count,
            twice=self.twice_count,
            open=self.open_count,
        )

    # What a person does with the result

    def action_settle(self):
        """The dialogue by which doubts that the statement shows as paid are settled, with it as evidence."""
        self.ensure_one()
        check_access(self, "read")
        return self._open_lines_in_settle(statement_facts.settling_lines_of(self))

    @api.model
    def _open_lines_in_settle(self, lines):
        if not lines:
            raise UserError(_("There is nothing here that can be settled as paid by this statement."))
        return {
            "type": "ir.actions.act_window",
            "name": _("Settle as Paid"),
            "res_model": "g2p.payment.mpesa.settle.wizard",
            "views": [(False, "form")],
            "view_mode": "form",
            "target": "new",
            "context": {"active_model": lines._name, "active_ids": lines.ids},
        }

    def action_open_lines(self):
        """The lines; with ``mpesa_result`` in the context of that result, with ``open`` all that matter."""
        self.ensure_one()
        result = self.env.context.get("mpesa_result")
        domain = [("statement_id", "=", self.id)]
        if result == "open":
            domain.append(("result", "not in", FINE))
        elif result:
            domain.append(("result", "=", result))
        return {
            "type": "ir.actions.act_window",
            "name": self.name,
            "res_model": "g2p.payment.mpesa.statement.line",
            "views": [(False, "list"), (False, "form")],
            "view_mode": "list,form",
            "domain": domain,
        }

    # Hands

    @api.model_create_multi
    def create(self, vals_list):
        for vals in vals_list:
            self._check_hands(vals)
        return super(Statement, without_defaults(self)).create(vals_list).with_env(self.env)

    def write(self, vals):
        self._check_hands(vals)
        if not self.env.su and any(statement.state != "draft" for statement in self):
            raise UserError(_("A statement that was compared is kept as it is."))
        return super().write(vals)

    def _check_hands(self, vals):
        if not self.env.su and self.FOLLOWS & {name for name in vals if vals[name]} - {"manager_id"}:
            raise UserError(_("What a statement shows follows from its file."))

    @api.ondelete(at_uninstall=False)
    def _unlink_except_compared(self):
        if any(statement.state != "draft" for statement in self):
            raise UserError(_("A statement that was compared is kept."))


class StatementLine(models.Model):
    """One row of a statement, or a payment that the statement does not show."""

    _name = "g2p.payment.mpesa.statement.line"
    _description = "Line of an M-Pesa Statement"
    _order = "statement_id desc, number, id"
    _rec_name = "number"
    _log_access = False

    statement_id = fields.Many2one(
        "g2p.payment.mpesa.statement", required=True, readonly=True, ondelete="cascade", index=True
    )
    # No sum of numbers of rows stands beside a group.
    number = fields.Integer("Row", readonly=True, **{AGGREGATOR: None})
    kind = fields.Selection(KINDS, readonly=True)
    why = fields.Selection(WHY, "Why It Is Not Known", readonly=True)
    reference = fields.Char(readonly=True)
    receipt = fields.Char(readonly=True, index="btree_not_null")
    linked = fields.Char("Takes Back", readonly=True)
    payee = fields.Char(readonly=True)
    payee_masked = fields.Char("Masked Payee", compute="_compute_payee_masked")
    amount = fields.Monetary("Amount There", readonly=True)
    moment = fields.Datetime("When", readonly=True)
    words = fields.Char(readonly=True)
    payment_id = fields.Many2one("g2p.payment", readonly=True, ondelete="restrict", index=True)
    matched_by = fields.Selection(
        [
            ("reference", "Reference"),
            ("receipt", "Receipt"),
            ("payee", "Payee, amount and time"),
            ("masked", "Masked payee, amount and time"),
        ],
        readonly=True,
    )
    result = fields.Selection(RESULTS, readonly=True, index=True)
    partner_id = fields.Many2one(related="payment_id.partner_id", string="Beneficiary")
    currency_id = fields.Many2one(related="statement_id.currency_id")
    amount_here = fields.Monetary("Amount Here", related="payment_id.amount_issued")
    mpesa_state = fields.Selection(related="payment_id.mpesa_state", string="Outcome Here")

    can_settle = fields.Boolean(compute="_compute_can_settle")

    @api.depends("payment_id.mpesa_state", "matched_by")
    def _compute_can_settle(self):
        able = statement_facts.lines_that_settle(self)
        for line in self:
            line.can_settle = line in able

    @api.depends("payee")
    def _compute_payee_masked(self):
        for line in self:
            line.payee_masked = mask_payee(line.payee) if line.payee else False

    def action_settle(self):
        """Settle the payments of these lines as paid, where a line is evidence enough for it."""
        check_access(self, "read")
        lines = statement_facts.lines_that_settle(self)
        return self.env["g2p.payment.mpesa.statement"]._open_lines_in_settle(lines)


class StatementSummary(models.Model):
    """How many lines, and how much, came to each result."""

    _name = "g2p.payment.mpesa.statement.summary"
    _description = "Result of an M-Pesa Statement"
    _auto = False
    _order = "place"
    _rec_name = "result"

    statement_id = fields.Many2one("g2p.payment.mpesa.statement", readonly=True)
    result = fields.Selection(RESULTS, readonly=True)
    place = fields.Integer(readonly=True)
    count = fields.Integer("Lines", readonly=True)
    amount = fields.Monetary(readonly=True)
    currency_id = fields.Many2one(related="statement_id.currency_id")

    _depends = {"g2p.payment.mpesa.statement.line": ["statement_id", "result", "amount", "payment_id"]}

    @property
    def _table_query(self):
        places = " ".join(f"WHEN '{result}' THEN {place}" for place, (result, _label) in enumerate(RESULTS))
        return f"""
            SELECT min(l.id) AS id, l.statement_id, l.result, CASE l.result {places} END AS place,
                   count(*) AS count, sum(coalesce(l.amount, p.amount_issued)) AS amount
              FROM g2p_payment_mpesa_statement_line l LEFT JOIN g2p_payment p ON p.id = l.payment_id
             WHERE l.result IS NOT NULL GROUP BY l.statement_id, l.result
        """

    def action_open_lines(self):
        """The lines of this result."""
        self.ensure_one()
        return self.statement_id.with_context(mpesa_result=self.result).action_open_lines()
