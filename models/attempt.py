from uuid import uuid4

from odoo import api, fields, models

from . import const
from .inside import job_uuid


class MpesaAttempt(models.Model):
    """The journal: every contact with a gateway, and every decision of a person.

    Nobody has the right to write it, and the database itself refuses to change or delete a row.
    """

    _name = "g2p.payment.mpesa.attempt"
    _description = "M-Pesa Attempt"
    _order = "id desc"
    _rec_name = "kind"

    key = fields.Char(readonly=True, help="Ours, so that a record written twice is one.")
    kind = fields.Selection(
        [
            ("login", "Login"),
            ("payment", "Payment"),
            ("status", "Status query"),
            ("balance", "Balance query"),
            ("lease", "Lease ran out"),
            ("decision", "Decision"),
        ],
        required=True,
        readonly=True,
    )
    manager_id = fields.Many2one(
        "g2p.program.payment.manager.mpesa", "Payment Manager", readonly=True, ondelete="restrict", index=True
    )
    payment_id = fields.Many2one("g2p.payment", readonly=True, ondelete="restrict", index=True)
    batch_id = fields.Many2one("g2p.payment.batch", readonly=True, ondelete="restrict")
    reference = fields.Char(readonly=True)
    payee = fields.Char(readonly=True, help="Masked.")
    amount = fields.Float(readonly=True)
    currency_id = fields.Many2one("res.currency", compute="_compute_currency_id", compute_sudo=True)
    started = fields.Datetime(readonly=True)
    seconds = fields.Float("Duration (s)", digits=(8, 3), readonly=True)
    http_status = fields.Char("HTTP Status", readonly=True)
    outcome = fields.Selection(const.CONTACT_OUTCOMES, readonly=True)
    reason = fields.Char("Reason Code", readonly=True)
    words = fields.Char(
        "Note", readonly=True, help="The gateway's own words, masked, or those of whoever decided."
    )
    user_id = fields.Many2one("res.users", "By", readonly=True, ondelete="restrict")
    job_uuid = fields.Char("Job", readonly=True)
    statement_id = fields.Many2one(
        "g2p.payment.mpesa.statement",
        "By the Statement",
        readonly=True,
        ondelete="restrict",
        index="btree_not_null",
    )

    COLUMNS = (
        "key",
        "kind",
        "manager_id",
        "payment_id",
        "batch_id",
        "reference",
        "payee",
        "amount",
        "started",
        "seconds",
        "http_status",
        "outcome",
        "reason",
        "words",
        "user_id",
        "job_uuid",
        "statement_id",
    )

    def init(self):
        self.env.cr.execute(
            """
            CREATE UNIQUE INDEX IF NOT EXISTS g2p_payment_mpesa_attempt_key_uniq
                ON g2p_payment_mpesa_attempt (key) WHERE key IS NOT NULL;
            CREATE OR REPLACE FUNCTION g2p_payment_mpesa_attempt_refuse() RETURNS trigger AS $$
            BEGIN
                RAISE EXCEPTION 'The journal of payment attempts is append-only.';
            END
            $$ LANGUAGE plpgsql;
            DROP TRIGGER IF EXISTS g2p_payment_mpesa_attempt_append_only ON g2p_payment_mpesa_attempt;
            CREATE TRIGGER g2p_payment_mpesa_attempt_append_only
                BEFORE UPDATE OR DELETE ON g2p_payment_mpesa_attempt
                FOR EACH ROW EXECUTE FUNCTION g2p_payment_mpesa_attempt_refuse();
            DROP TRIGGER IF EXISTS g2p_payment_mpesa_attempt_never_empty ON g2p_payment_mpesa_attempt;
            CREATE TRIGGER g2p_payment_mpesa_attempt_never_empty
                BEFORE TRUNCATE ON g2p_payment_mpesa_attempt
                FOR EACH STATEMENT EXECUTE FUNCTION g2p_payment_mpesa_attempt_refuse();
            """
        )

    @api.depends("payment_id.mpesa_currency_id", "manager_id.gateway_currency_id")
    def _compute_currency_id(self):
        for attempt in self:
            attempt.currency_id = (
                attempt.payment_id.mpesa_currency_id or attempt.manager_id.gateway_currency_id
            )

    @api.model
    def _record(self, rows):
        """Append to the journal, in this environment's transaction.

        :param rows: dicts with some of ``COLUMNS``; a row whose ``key`` stands there already is left out.
        """
        if not rows:
            return
        values = [[row.get(name) for name in self.COLUMNS] for row in rows]
        line = "(" + ", ".join(["%s"] * len(self.COLUMNS)) + ")"
        self.env.cr.execute(
            f"INSERT INTO g2p_payment_mpesa_attempt ({', '.join(self.COLUMNS)})"
            f" VALUES {', '.join([line] * len(values))}"
            " ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING",
            [value for row in values for value in row],
        )

    @api.model
    def _row(self, contact):
        """A row of the journal from the gateway layer's ``Contact``."""
        return {
            "key": str(uuid4()),
            "kind": contact.kind,
            "reference": contact.reference or None,
            "started": contact.started,
            "seconds": contact.seconds,
            "http_status": contact.http_status,
            "outcome": contact.outcome,
            "reason": contact.reason or None,
            "words": contact.words or None,
            "user_id": self.env.uid,
            "job_uuid": job_uuid(self.env),
        }
