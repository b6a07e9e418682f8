from odoo import fields, models

from . import const

# Upper ends, in seconds, of the classes of duration; the last class has none.
DURATIONS = (0.1, 0.3, 1, 3, 10, 30)
# How a field is added up, in the words of either series.
AGGREGATOR = "aggregator" if hasattr(fields.Field, "aggregator") else "group_operator"


class MpesaAttemptReport(models.Model):
    """The journal, with what contacts are counted by: kind, outcome, duration, hour."""

    _name = "g2p.payment.mpesa.attempt.report"
    _description = "M-Pesa Journal Analysis"
    _auto = False
    _order = "id desc"
    _rec_name = "attempt_id"

    attempt_id = fields.Many2one("g2p.payment.mpesa.attempt", readonly=True)
    manager_id = fields.Many2one("g2p.program.payment.manager.mpesa", "Payment Manager", readonly=True)
    program_id = fields.Many2one("g2p.program", readonly=True)
    cycle_id = fields.Many2one("g2p.cycle", readonly=True)
    batch_id = fields.Many2one("g2p.payment.batch", "Payment Batch", readonly=True)
    payment_id = fields.Many2one("g2p.payment", readonly=True)
    company_id = fields.Many2one("res.company", readonly=True)
    user_id = fields.Many2one("res.users", "By", readonly=True)
    kind = fields.Selection(selection="_selection_kind", readonly=True)
    outcome = fields.Selection(const.CONTACT_OUTCOMES, readonly=True)
    http_status = fields.Char("HTTP Status", readonly=True)
    started = fields.Datetime(readonly=True)
    duration = fields.Selection(
        [
            ("0", "under 0.1 s"),
            ("1", "0.1 to 0.3 s"),
            ("2", "0.3 to 1 s"),
            ("3", "1 to 3 s"),
            ("4", "3 to 10 s"),
            ("5", "10 to 30 s"),
            ("6", "over 30 s"),
        ],
        readonly=True,
    )
    # Two fields, for a field is added up in one way.
    seconds = fields.Float("Average Duration (s)", digits=(8, 3), readonly=True, **{AGGREGATOR: "avg"})
    longest = fields.Float("Longest Duration (s)", digits=(8, 3), readonly=True, **{AGGREGATOR: "max"})

    _depends = {
        "g2p.payment.mpesa.attempt": [
            "manager_id",
            "batch_id",
            "payment_id",
            "user_id",
            "kind",
            "outcome",
            "http_status",
            "started",
            "seconds",
        ],
        "g2p.program.payment.manager.mpesa": ["program_id"],
        "g2p.program": ["company_id"],
        "g2p.payment": ["cycle_id"],
    }

    def _selection_kind(self):
        return self.env["g2p.payment.mpesa.attempt"]._fields["kind"]._description_selection(self.env)

    @property
    def _table_query(self):
        classes = " ".join(f"WHEN a.seconds < {end} THEN '{n}'" for n, end in enumerate(DURATIONS))
        return f"""
            SELECT a.id, a.id AS attempt_id, a.manager_id, m.program_id, p.cycle_id, a.batch_id, a.payment_id,
                   g.company_id, a.user_id, a.kind, a.outcome, a.http_status, a.started,
                   CASE WHEN a.seconds IS NULL THEN NULL {classes} ELSE '{len(DURATIONS)}' END AS duration,
                   a.seconds, a.seconds AS longest
              FROM g2p_payment_mpesa_attempt a
              LEFT JOIN g2p_program_payment_manager_mpesa m ON m.id = a.manager_id
              LEFT JOIN g2p_program g ON g.id = m.program_id
              LEFT JOIN g2p_payment p ON p.id = a.payment_id
        """
