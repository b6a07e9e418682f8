import hashlib
import math
from urllib.parse import urlsplit

from odoo import _, api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..gateway import addresses
from ..gateway.simple import Settings, SimpleMpesa
from . import const
from .inside import with_tracking
from .notify import notification
from .payment import check_access
from .secret import SecretError
from .server_config import allows_private_addresses

# What is shown, and may be written back unchanged, in place of a stored password.
PASSWORD_SHOWN = "********"

# Contacts that the form shows.
RECENT = 20

URL_FIELDS = ("auth_endpoint_url", "payment_endpoint_url", "status_endpoint_url", "balance_endpoint_url")


class MpesaPaymentManager(models.Model):
    """How a program pays through one M-Pesa gateway: the set-up. What it does is in the files beside."""

    _name = "g2p.program.payment.manager.mpesa"
    _inherit = [
        "g2p.mpesa.account.mixin",
        "g2p.mpesa.connection.mixin",
        "g2p.mpesa.currency.mixin",
        "g2p.mpesa.digest.mixin",
        "g2p.mpesa.hold.mixin",
        "g2p.mpesa.payee.mixin",
        "g2p.mpesa.place.mixin",
        "g2p.mpesa.prepare.mixin",
        "g2p.mpesa.secret.mixin",
        "g2p.mpesa.send.mixin",
        "g2p.mpesa.setup.mixin",
        "g2p.mpesa.status.mixin",
        "g2p.program.payment.manager.default",
        "mail.thread",
        "mail.activity.mixin",
    ]
    _description = "M-Pesa Payment Manager"

    name = fields.Char(help="What you call this gateway, e.g. M-Pesa Kenya, cash transfers.")
    program_id = fields.Many2one(help="The program that pays through this gateway, e.g. Cash transfers.")
    mode = fields.Selection(
        const.MODES,
        required=True,
        default=const.TEST,
        tracking=True,
        copy=False,
        help="Test: the addresses are those of a sandbox, e.g. https://sandbox.example.org, where no money"
        " moves. Live: real money. It is for people: what the addresses really lead to, only the gateway's"
        " operator can tell.",
    )
    auth_endpoint_url = fields.Char(
        "Login URL",
        required=True,
        tracking=True,
        help="Where user name and password are exchanged for a token, e.g. "
        "https://gateway.example.org/api/login/agent",
    )
    payment_endpoint_url = fields.Char(
        "Payment URL",
        required=True,
        tracking=True,
        help="Where a payment is ordered, e.g. https://gateway.example.org/api/transaction/deposit",
    )
    status_endpoint_url = fields.Char(
        "Status URL",
        tracking=True,
        help="Where the gateway says how a payment stands, by our reference. Leave it empty if the gateway "
        "has none: a payment then counts as paid once the gateway has taken it. E.g. "
        "https://gateway.example.org/api/transaction/status",
    )
    balance_endpoint_url = fields.Char(
        "Balance URL",
        tracking=True,
        help="Where the gateway says how much float is left, e.g. "
        "https://gateway.example.org/api/account/balance. Leave it empty if the gateway has none.",
    )
    api_timeout = fields.Integer(
        "Time-out (seconds)",
        default=10,
        help="How long to wait for the gateway's answer, 1 to 120 seconds, e.g. 10. "
        "A payment without an answer in time is in doubt: so rather long than short.",
    )
    username = fields.Char(
        "User Name",
        required=True,
        tracking=True,
        help="The agent's e-mail address at the gateway, e.g. agent@example.org.",
    )
    password = fields.Char(
        compute="_compute_password",
        inverse="_inverse_password",
        required=True,
        copy=False,
        help="The agent's password at the gateway, as its operator gave it, e.g. Blue-Lamp-47. Whoever types"
        " a new one replaces it; it can never be read again, by nobody.",
    )
    password_set_at = fields.Datetime("Password Set On", readonly=True, copy=False)
    password_set_by_id = fields.Many2one("res.users", readonly=True, copy=False)
    _mpesa_secrets = ("secret",)
    secret = fields.Char("Stored Password", groups=fields.NO_ACCESS, copy=False, prefetch=False)
    customer_type = fields.Selection(
        [("subscriber", "Subscriber"), ("agent", "Agent"), ("merchant", "Merchant")],
        default="subscriber",
        required=True,
        help="The kind of account that is paid, e.g. Subscriber for a person with a mobile wallet.",
    )
    payee_id_type = fields.Selection(
        [
            ("phone", "Phone number"),
            ("email", "E-mail address"),
            ("bank_acc_no", "Bank account number"),
            ("bank_acc_iban", "IBAN"),
            ("reg_id", "Registered ID"),
        ],
        "Payee ID",
        required=True,
        default="phone",
        tracking=True,
        help="Which of a person's data the gateway knows the person by, e.g. the phone number 0712 345 678,"
        " which goes out as 254712345678.",
    )
    reg_id_type_for_payee_id = fields.Many2one(
        "g2p.id.type",
        "ID Type of the Payee ID",
        help="Which registered ID is the payee ID, e.g. Wallet Number.",
    )
    honours_idempotency_key = fields.Boolean(
        "Honours the Idempotency Key",
        tracking=True,
        help="Only where the gateway's operator has confirmed it: a repeat of a payment with the same "
        "reference moves no money. Then a payment in doubt that the gateway has never seen is sent again, "
        "e.g. one whose connection broke.",
    )
    key_hours = fields.Integer(
        "Hours the Keys Are Kept",
        default=24,
        tracking=True,
        help="For how many hours the gateway remembers the key of a payment, by its operator's word, e.g. 24."
        " After that a payment in doubt is not sent again; 0: never.",
    )
    min_amount = fields.Integer(
        "Smallest Amount", default=10, help="The smallest amount of one payment, in shillings, e.g. 10."
    )
    max_amount = fields.Integer(
        "Largest Amount",
        default=0,
        help="The largest amount of one payment, in shillings, e.g. 150,000; 0 for no limit.",
    )
    max_connections = fields.Integer(
        "Connections",
        default=4,
        help="How many requests are on their way at once to the account at the gateway (Payment URL and"
        " user name), each over a connection of its own, over all jobs, clicks, servers and programs"
        " together, e.g. 4. 1 for the reference server, which loses track of balances otherwise. Where"
        " several payment managers use the same account, the smallest number counts for all.",
    )
    confirm_above = fields.Monetary(
        "Type the Amount Above",
        currency_field="gateway_currency_id",
        default=0,
        tracking=True,
        help="In live mode, whoever sends more than this at once types the amount to confirm it, e.g."
        " 100,000. 0: always.",
    )
    max_requests_per_second = fields.Float(
        "Requests a Second",
        default=0,
        digits=(8, 2),
        help="How many requests for payments and their status go to the gateway in a second, over all jobs"
        " and servers together, e.g. 20; 0 for no limit. Where several payment managers use the same account"
        " at the gateway, the smallest limit counts for all.",
    )
    create_batch = fields.Boolean(
        default=True,
        help="Put payments into batches when they are prepared, e.g. 1,200 payments into three batches of 500"
        " at most. Otherwise they are sent only once somebody has assigned them to a batch.",
    )
    batch_tag_ids = fields.Many2many(
        "g2p.payment.batch.tag",
        "g2p_pay_batch_tag_pay_manager_mpesa",
        help="Which payments go together, in this order, and how many at most, e.g. Nairobi, 500. The last"
        " one takes all that are left: its domain is [].",
    )
    is_in_use = fields.Boolean("The Program's Payment Manager", compute="_compute_is_in_use")
    rival_name = fields.Char("The Program Pays By", compute="_compute_is_in_use")
    recent_attempt_ids = fields.Many2many(
        "g2p.payment.mpesa.attempt",
        string="Last Contacts",
        compute="_compute_recent_attempt_ids",
        # Those who may read the journal and the manager.
        groups=f"{const.ADMIN},{const.PROGRAM_MANAGER}",
    )
    prepare_count = fields.Integer(
        readonly=True,
        copy=False,
        help="Counts preparations. Whoever prepares writes it first: of two at once, one comes second.",
    )

    @api.onchange("create_batch", "program_id")
    def on_change_create_batch(self):
        """OpenG2P makes a tag that is named after the program: so not before there is one, and only once."""
        if self.create_batch and (not self.program_id or self.batch_tag_ids):
            return
        super().on_change_create_batch()

    @api.depends()
    def _compute_password(self):
        for manager in self:
            manager.password = PASSWORD_SHOWN if manager._origin._mpesa_stored("secret") else False

    def _inverse_password(self):
        for manager in self:
            if manager.password and manager.password != PASSWORD_SHOWN:
                manager._mpesa_keep_secret("secret", manager.password)
                manager.sudo().write(
                    {
                        "password_set_at": fields.Datetime.now(),
                        "password_set_by_id": self.env.uid,
                    }
                )
            manager.invalidate_recordset(["password"])

    @api.depends("program_id.payment_managers.manager_ref_id")
    def _compute_is_in_use(self):
        for manager in self:
            chosen = [
                ref for ref in manager.program_id.sudo().payment_managers.mapped("manager_ref_id") if ref
            ]
            ours = [ref for ref in chosen if ref._name == self._name and ref.id == manager._origin.id]
            manager.is_in_use = bool(ours)
            manager.rival_name = ", ".join(ref.display_name for ref in chosen if ref not in ours)

    def _compute_recent_attempt_ids(self):
        journal = self.env["g2p.payment.mpesa.attempt"]
        for manager in self:
            manager.recent_attempt_ids = journal.search(
                [("manager_id", "=", manager._origin.id)], order="id desc", limit=RECENT
            )

    def action_use_for_program(self):
        """Make this the payment manager of its program, in place of whichever it has.

        :raise ValidationError: payments are ready to be sent by the one that it has.
        """
        self.ensure_one()
        check_access(self, "write")
        wrappers = self.env["g2p.program.payment.manager"]
        reference = f"{self._name},{self.id}"
        wrapper = wrappers.search(
            [("program_id", "=", self.program_id.id), ("manager_ref_id", "=", reference)], limit=1
        ) or wrappers.create({"program_id": self.program_id.id, "manager_ref_id": reference})
        before = self.rival_name
        self.program_id.payment_managers = [fields.Command.set(wrapper.ids)]
        self._message_log(
            body=_(
                "%(program)s pays by this gateway from now on, and no more by %(before)s.",
                program=self.program_id.name,
                before=before or "-",
            )
        )
        message = _("%s pays by this gateway from now on.", self.program_id.name)
        return notification("success", message)

    def action_confirm_place(self):
        """Ask an administrator whether payments are sent from this database from now on."""
        self.ensure_one()
        return self.env["g2p.payment.mpesa.confirm.wizard"]._open(self, "place")

    def action_confirm_setup(self):
        """Ask an administrator whether the gateway knows what was sent with the addresses of before."""
        self.ensure_one()
        return self.env["g2p.payment.mpesa.confirm.wizard"]._open(self, "setup")

    def action_open_journal(self):
        """All contacts with this gateway, and what people decided."""
        self.ensure_one()
        action = self.env["ir.actions.actions"]._for_xml_id("g2p_payment_simple_mpesa.action_attempt")
        return {**action, "domain": [("manager_id", "=", self.id)]}

    def _mpesa_grace(self):
        """Minutes within which the gateway may still carry out what it was sent.

        Two exchanges, should the token have expired; each takes three times the time-out at the most.
        """
        self.ensure_one()
        return max(const.GRACE, math.ceil(6 * self.api_timeout / 60))

    def action_open_payments(self):
        """All payments of this manager."""
        self.ensure_one()
        action = self.env["ir.actions.actions"]._for_xml_id("g2p_programs.action_payment")
        return {**action, "domain": [("mpesa_manager_id", "=", self.id)], "context": {"create": False}}

    @api.model_create_multi
    def create(self, vals_list):
        managers, own = self.browse(), with_tracking(self._without_fixed_defaults())
        for vals in vals_list:
            self._check_fixed(vals)
            # OpenG2P's own create takes one record at a time.
            managers += super(MpesaPaymentManager, own).create(vals).with_env(self.env)
        if any(not manager._mpesa_stored("secret") for manager in managers):
            raise ValidationError(_("An M-Pesa payment manager needs a password."))
        managers._mpesa_take_place()
        return managers

    def write(self, vals):
        self._check_fixed(vals)
        self._mpesa_check_who_changes(vals)
        self._check_password_is_given_again(vals)
        changed = self._mpesa_changed_addresses(vals)
        if {"password", "username", *URL_FIELDS} & set(vals):
            vals = {**vals, "tested_at": False}
        by_hand = set(vals) - self._fixed()
        result = super(MpesaPaymentManager, with_tracking(self)).write(vals)
        changed._mpesa_note_change()
        if by_hand:
            # Somebody has mended it.
            self._mpesa_end_hold()
        return result

    def _fixed(self):
        """The fields that follow from what was done, and are written by nobody's hand."""
        return {
            name
            for name, field in self._fields.items()
            if field.store and field.readonly and not field.copy and name != "id"
        } | set(self._mpesa_secrets)

    def _check_fixed(self, vals):
        if not self.env.su and self._fixed() & {name for name in vals if vals[name]}:
            raise UserError(_("What was tested, sent or prepared follows from what was done."))

    def _without_fixed_defaults(self):
        given = {f"default_{name}" for name in self._fixed()}
        context = {name: value for name, value in self.env.context.items() if name not in given}
        return self.with_env(self.env(context=context))

    def _check_password_is_given_again(self, vals):
        """A stored password goes to no other server than the one that it was given for.

        Who may set a gateway up could otherwise have it sent to a server of their own, and read it there.
        """
        if vals.get("password") and vals["password"] != PASSWORD_SHOWN:
            return
        for manager in self:
            moved = [
                name
                for name in URL_FIELDS
                if vals.get(name)
                and _origin(vals[name]) != _origin(manager[name] or manager.auth_endpoint_url)
            ]
            if moved or ("username" in vals and vals["username"] != manager.username):
                raise ValidationError(
                    _("Another server, or another user: enter the password again, for it is sent there.")
                )

    @api.constrains(*URL_FIELDS)
    def _check_urls(self):
        for manager in self:
            for name in URL_FIELDS:
                if manager[name]:
                    manager._check_url(name)

    def _check_url(self, name):
        """Refuse an address to which neither a password nor an order for money may be sent."""
        problem = url_problem(self[name])
        if problem:
            raise ValidationError(
                _(
                    "%(field)s: %(problem)s",
                    field=self._fields[name]._description_string(self.env),
                    problem=self._url_sentences()[problem],
                )
            )

    def _mpesa_url_problems(self, written_only=False):
        """A sentence for each address that is refused: what was written before there were rules, too.

        :param bool written_only: only where the address itself is wrong; what it leads to is compared when
            the connection is made.
        """
        self.ensure_one()
        names = self._fields
        return [
            _(
                "%(field)s: %(problem)s.",
                field=names[name]._description_string(self.env),
                problem=self._url_sentences()[problem],
            )
            for name in URL_FIELDS
            if self[name]
            and (problem := url_problem(self[name]))
            and not (written_only and problem in (addresses.NEVER, addresses.PRIVATE))
        ]

    def _url_sentences(self):
        return {
            "relative": _("write the whole address, beginning with https://"),
            "credentials": _("leave user name and password out of the address"),
            "insecure": _("http is only possible on this machine or a private network; use https"),
            "never": _(
                "an address of this kind is never asked, for it leads to this server's own surroundings"
            ),
            "private": _(
                "an address on this machine or in a private network is asked only where the server's"
                " configuration allows it: allow_private_addresses = True, below [g2p_mpesa]"
            ),
        }

    @api.constrains(
        "api_timeout",
        "max_connections",
        "max_requests_per_second",
        "min_amount",
        "max_amount",
        "confirm_above",
    )
    def _check_numbers(self):
        for manager in self:
            if not 1 <= manager.api_timeout <= 120:
                raise ValidationError(_("The time-out is 1 to 120 seconds."))
            if not 1 <= manager.max_connections <= 64:
                raise ValidationError(_("There are 1 to 64 connections."))
            if manager.confirm_above < 0:
                raise ValidationError(_("The amount above which one is typed is not below zero."))
            if manager.max_requests_per_second < 0:
                raise ValidationError(_("The requests a second are not below zero."))
            if manager.min_amount < 0 or manager.max_amount < 0:
                raise ValidationError(_("The smallest and the largest amount are not below zero."))
            if manager.max_amount and manager.max_amount < manager.min_amount:
                raise ValidationError(_("The largest amount is not below the smallest."))

    @api.constrains("payee_id_type", "reg_id_type_for_payee_id")
    def _check_reg_id_type(self):
        for manager in self:
            if manager.payee_id_type == "reg_id" and not manager.reg_id_type_for_payee_id:
                raise ValidationError(_("Say which registered ID is the payee id."))

    def _mpesa_gateway(self):
        """A digest of where this manager sends and asks, and as whom."""
        self.ensure_one()
        names = ("payment_endpoint_url", "status_endpoint_url", "username")
        parts = [self[name] or "" for name in names]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _mpesa_client(self, record):
        """A client for this manager's gateway.

        :param record: called with each :class:`~..gateway.simple.Contact`.
        """
        self.ensure_one()
        manager = self.sudo()
        password, problem = manager._mpesa_password()
        settings = Settings(
            auth_url=manager.auth_endpoint_url,
            payment_url=manager.payment_endpoint_url,
            status_url=manager.status_endpoint_url or "",
            balance_url=manager.balance_endpoint_url or "",
            username=manager.username or "",
            password=password,
            password_problem=problem,
            url_problem=" ".join(manager._mpesa_url_problems(written_only=True)),
            customer_type=manager.customer_type,
            timeout=manager.api_timeout,
            connections=manager.max_connections,
            sends_reference=bool(manager.status_endpoint_url or manager.honours_idempotency_key),
            allow_private=allows_private_addresses(),
        )
        return SimpleMpesa(settings, record)

    def _mpesa_password(self):
        """The password, and why it cannot be read: one of them is ""."""
        try:
            return self._mpesa_secret("secret"), ""
        except SecretError as error:
            return "", self._mpesa_secret_sentence(error)


def url_problem(url):
    """What is wrong with a gateway's address, by the code of a sentence for it; None where nothing is.

    A name is looked up when it is asked: what it leads to then is compared once more.
    """
    try:
        parts = urlsplit(url.strip())
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "relative"
    if parts.scheme not in ("http", "https") or not host or url != url.strip():
        return "relative"
    if parts.username is not None or parts.password is not None:
        return "credentials"
    kind = _kind_of_host(host)
    if kind == addresses.NEVER or (kind == addresses.PRIVATE and not allows_private_addresses()):
        return kind
    if parts.scheme == "http" and kind != addresses.PRIVATE:
        return "insecure"
    return None


def _origin(url):
    """Scheme, host and port of an address; None of one that is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None


def _kind_of_host(host):
    if host == "localhost":
        return addresses.PRIVATE
    try:
        return addresses.kind_of(host)
    except ValueError:
        return ""
