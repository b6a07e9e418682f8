"""Of which account and which time a statement is: what it cannot tell follows from that."""

from datetime import timedelta

from odoo import api, fields, models

from ..statement import preamble

# On both sides of the time of a payment: for clocks, and for what the gateway carries out later.
MARGIN_HOURS = 1


class StatementCovers(models.AbstractModel):
    _name = "g2p.mpesa.statement.covers.mixin"
    _description = "M-Pesa Statement: Account and Time"

    account = fields.Char(
        "Account in the File",
        help="As it stands in the file, e.g. the short code 600997. Empty if it says none.",
    )
    account_is_ours = fields.Boolean(
        "It Is of the Account That This Gateway Pays From",
        help="Otherwise what is not in the file may have been paid from another account. Kept for the account"
        " that the file names.",
    )
    covers_from = fields.Datetime(
        "Lists All From", help="By the file's own word, or yours. Empty: from the first of its lines."
    )
    covers_to = fields.Datetime(
        "Lists All Until", help="By the file's own word, or yours. Empty: until the last of its lines."
    )

    def _read_above(self, rows):
        """Take account and time from what stands above the headings.

        :param rows: lists of cells.
        """
        self.account = preamble.account_of(rows)
        self._onchange_account()
        period = preamble.period_of(rows, self.date_order or None, self.zone)
        self.covers_from, self.covers_to = period or (False, False)

    @api.onchange("account")
    def _onchange_account(self):
        """What somebody has said of an account holds for the next file of it."""
        same = [("account", "=", self.account), ("account_is_ours", "=", True)]
        self.account_is_ours = bool(self.account and self._earlier().filtered_domain(same))

    def _period(self, first, last):
        """From when to when the file lists all: never later than now.

        :param datetime first: and ``last``, of its lines; None where there is none.
        """
        now = fields.Datetime.now()
        begin, end = self.covers_from or first, self.covers_to or last
        return begin, end and min(end, now + timedelta(minutes=1))
