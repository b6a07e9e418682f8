import random
from uuid import uuid4

from odoo import api, fields, models

WAITING = ("draft", "pending_validation")


class Entitlement(models.Model):
    _name = "g2p.entitlement"
    _description = "Entitlement"
    _order = "partner_id asc,id desc"
    _rec_names_search = ["code", "partner_id"]

    name = fields.Char(compute="_compute_name")
    code = fields.Char(default=str(uuid4())[7:-8], required=True, readonly=True)
    ern = fields.Char("Entitlement Reference Number", compute="_compute_generate_ern", store=True, copy=False)
    partner_id = fields.Many2one(
        "res.partner", "Registrant", required=True, domain=[("is_registrant", "=", True)]
    )
    company_id = fields.Many2one("res.company", default=lambda self: self.env.company)
    cycle_id = fields.Many2one("g2p.cycle", required=True)
    program_id = fields.Many2one("g2p.program", related="cycle_id.program_id")
    journal_id = fields.Many2one("account.journal", compute="_compute_journal_id", store=True)
    currency_id = fields.Many2one("res.currency", related="journal_id.currency_id")
    initial_amount = fields.Monetary(required=True)
    transfer_fee = fields.Monetary(default=0.0)
    is_cash_entitlement = fields.Boolean("Cash Entitlement", default=False)
    valid_from = fields.Date()
    valid_until = fields.Date(default=fields.Date.today)
    date_approved = fields.Date()
    state = fields.Selection(
        [
            ("draft", "Draft"),
            ("pending_validation", "Pending Validation"),
            ("approved", "Approved"),
            ("trans2FSP", "Transferred to FSP"),
            ("rdpd2ben", "Redeemed/Paid to Beneficiary"),
            ("rejected1", "Rejected: Beneficiary didn't want the entitlement"),
            ("rejected2", "Rejected: Beneficiary account does not exist"),
            ("rejected3", "Rejected: Other reason"),
            ("cancelled", "Cancelled"),
            ("expired", "Expired"),
        ],
        default="draft",
    )
    payment_ids = fields.One2many("g2p.payment", "entitlement_id", "Payments")
    payment_status = fields.Selection(
        [("paid", "Paid"), ("notpaid", "Not Paid")], compute="_compute_payment_status"
    )
    payment_date = fields.Date(compute="_compute_payment_status")

    @api.depends("program_id.name", "code")
    def _compute_name(self):
        for entitlement in self:
            entitlement.name = f"{entitlement.program_id.name or ''} ({entitlement.code})"

    @api.depends("cycle_id.program_id.journal_id")
    def _compute_journal_id(self):
        for entitlement in self:
            entitlement.journal_id = entitlement.cycle_id.program_id.journal_id

    @api.depends("state")
    def _compute_generate_ern(self):
        for entitlement in self:
            if entitlement.ern or entitlement.state != "approved":
                entitlement.ern = entitlement.ern
            else:
                entitlement.ern = str(random.randint(10**9, 10**10 - 1))

    @api.depends("payment_ids.status", "payment_ids.payment_datetime")
    def _compute_payment_status(self):
        for entitlement in self:
            paid = entitlement.payment_ids.filtered(lambda payment: payment.status == "paid")[:1]
            entitlement.payment_status = "paid" if paid else "notpaid"
            entitlement.payment_date = paid.payment_datetime

    def approve_entitlement(self):
        """Approve what waits for it. OpenG2P also checks the program's funds and posts a payment order."""
        waiting = self.filtered(lambda entitlement: entitlement.state in WAITING)
        waiting.write({"state": "approved", "date_approved": fields.Date.today()})
