"""Who may change where a gateway is, and what its answers are about after such a change."""

from odoo import _, api, fields, models
from odoo.exceptions import AccessError

from . import const

# Where the gateway is, and as whom it is asked.
ADDRESSES = (
    "auth_endpoint_url",
    "payment_endpoint_url",
    "status_endpoint_url",
    "balance_endpoint_url",
    "username",
)
# What is known of repeats: whoever says that they are safe decides what is sent again.
REPEATS = ("honours_idempotency_key", "key_hours")


class MpesaSetup(models.AbstractModel):
    _name = "g2p.mpesa.setup.mixin"
    _description = "M-Pesa Payment Manager: Changes of the Set-up"

    addresses_open = fields.Boolean(
        "Program Managers May Change the Addresses",
        copy=False,
        tracking=True,
        groups=const.ADMIN,
        help="Otherwise only administrators change the URLs and the user name. Whoever changes the Status URL"
        " decides whose word counts for paid and not paid, e.g. a server of their own.",
    )
    may_change_addresses = fields.Boolean(compute="_compute_may_change_addresses")
    setup_changed_by_id = fields.Many2one(
        "res.users",
        "Addresses Changed By",
        readonly=True,
        copy=False,
        help="Who changed them without being an administrator; empty once an administrator has confirmed.",
    )
    # The digest of a set-up, and those of earlier ones that an administrator knows as the same gateway.
    setup_same_as = fields.Char("Earlier Set-ups", readonly=True, copy=False, groups=const.ADMIN)
    not_asked_count = fields.Integer(
        "Payments That Are Not Asked For", compute="_compute_not_asked_count", compute_sudo=True
    )

    @api.depends("addresses_open")
    @api.depends_context("uid")
    def _compute_may_change_addresses(self):
        for manager in self:
            manager.may_change_addresses = manager._mpesa_may_change_addresses()

    def _mpesa_may_change_addresses(self):
        return self.env.su or self.env.user.has_group(const.ADMIN) or bool(self.sudo().addresses_open)

    @api.depends("status_endpoint_url", "payment_endpoint_url", "username", "setup_changed_by_id")
    def _compute_not_asked_count(self):
        for manager in self:
            asked = manager._mpesa_asks_for()
            groups = manager._mpesa_open_by_gateway() if manager.status_endpoint_url else {}
            manager.not_asked_count = sum(count for gateway, count in groups.items() if gateway not in asked)

    def _mpesa_asks_for(self):
        """Digests of the set-ups whose payments the gateway of now is asked for, and believed about.

        None after somebody else than an administrator has changed it: it may be a server of theirs.
        """
        self.ensure_one()
        manager = self.sudo()
        if manager.setup_changed_by_id:
            return []
        gateway = manager._mpesa_gateway()
        same = (manager.setup_same_as or "").split()
        return same if same[:1] == [gateway] else [gateway]

    def _mpesa_open_by_gateway(self):
        """From the digest that payments went out with to how many are accepted or in doubt."""
        self.env.cr.execute(
            "SELECT mpesa_gateway, count(*) FROM g2p_payment WHERE mpesa_manager_id = %s"
            " AND mpesa_state IN ('accepted', 'doubt') AND mpesa_reference IS NOT NULL GROUP BY 1",
            [self._origin.id or None],
        )
        return dict(self.env.cr.fetchall())

    def _mpesa_changed_addresses(self, vals):
        """Those whose gateway is another one with ``vals``."""
        return self._mpesa_changed(vals, ADDRESSES)

    def _mpesa_changed(self, vals, names):
        names = [name for name in names if name in vals]
        return self.filtered(lambda m: any((m[name] or "") != (vals[name] or "") for name in names))

    def _mpesa_check_who_changes(self, vals):
        for manager in self._mpesa_changed(vals, (*ADDRESSES, *REPEATS)):
            if not manager._mpesa_may_change_addresses():
                raise AccessError(
                    _(
                        "Only an administrator changes the addresses and the user name of a gateway, and what"
                        " is known of repeats: whoever does decides whose word counts for paid, and what is"
                        " sent again. An administrator can allow it to program managers, on the payment"
                        " manager."
                    )
                )

    def _mpesa_note_change(self):
        """After the addresses were changed: who is believed, and who is told."""
        is_admin = self.env.su or self.env.user.has_group(const.ADMIN)
        for manager in self:
            if not is_admin:
                manager.sudo().write({"setup_changed_by_id": self.env.uid})
            manager._mpesa_tell_of_confirmation(
                _("The gateway's addresses were changed"),
                _(
                    "%(person)s has changed the addresses or the user name of %(name)s. Payments that went"
                    " out before and are open: %(count)s. The gateway is not asked for them until an"
                    " administrator confirms that it is the same one.",
                    person=self.env.user.name,
                    name=manager.sudo().name,
                    count=manager.not_asked_count,
                ),
            )

    def _mpesa_confirm_setup(self):
        """The gateway of now knows all open payments, whatever the addresses were when they went out."""
        self.ensure_one()
        gateway = self._mpesa_gateway()
        others = sorted(name for name in self._mpesa_open_by_gateway() if name and name != gateway)
        self.sudo().write({"setup_changed_by_id": False, "setup_same_as": " ".join([gateway, *others])})
        self._mpesa_tell_of_confirmation(
            _("The gateway's new addresses are confirmed"),
            _(
                "%(person)s has confirmed that %(name)s is the same gateway as before. It is asked for what"
                " went out with the addresses of before, and its answers count.",
                person=self.env.user.name,
                name=self.name,
            ),
        )
