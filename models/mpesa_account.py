"""Several managers, programs and companies may pay from the same account at a gateway."""

from contextlib import closing, contextmanager

from odoo import api, fields, models

from .account import account_of
from .lease import lease_seconds
from .own_cursor import OwnCursor
from .share import Share


class MpesaAccount(models.AbstractModel):
    _name = "g2p.mpesa.account.mixin"
    _description = "M-Pesa Payment Manager: Account"

    account_rival_count = fields.Integer(
        "Other Payment Managers of This Account", compute="_compute_account", compute_sudo=True
    )
    account_connections = fields.Integer(
        "Connections of the Account",
        compute="_compute_account",
        compute_sudo=True,
        help="The smallest number that is set on a payment manager of this account, e.g. 4. All jobs and"
        " clicks of all programs that pay from it share them.",
    )

    @api.depends("payment_endpoint_url", "username", "max_connections")
    def _compute_account(self):
        for manager in self:
            others = manager._mpesa_account_managers() - manager._origin
            manager.account_rival_count = len(others)
            manager.account_connections = min([manager.max_connections, *others.mapped("max_connections")])

    def _mpesa_account(self):
        """A digest of the account that this manager pays from: the payment URL and the user name."""
        self.ensure_one()
        return account_of(self.payment_endpoint_url, self.username)

    @contextmanager
    def _mpesa_connection_of_account(self, seconds):
        """Have one of the account's connections for what is asked inside the block.

        :param float seconds: how long to wait for it.
        :return: whether there is one.
        """
        with closing(OwnCursor(self.env)) as own, closing(Share(self, own, lease_seconds(self.env))) as share:
            yield share.acquire(seconds)

    def _mpesa_account_managers(self):
        """All managers that pay from the same account, of whatever company, this one included."""
        account = self._mpesa_account()
        # There are as many as there are programs.
        managers = self.sudo().search([])  # pylint: disable=no-search-all
        return managers.filtered(lambda manager: manager._mpesa_account() == account)
