"""Test Connection: what is wrong with a gateway's set-up, in one sentence. No money moves."""

from urllib.parse import urlsplit
from uuid import uuid4

from odoo import _, fields, models
from odoo.tools import formatLang

from ..gateway import certificate, errors
from .notify import notification
from .own_cursor import durably
from .payment import check_access
from .server_config import allows_private_addresses

# Seconds that a test waits for one of the account's connections.
SECONDS_FOR_TEST = 5


class MpesaConnection(models.AbstractModel):
    _name = "g2p.mpesa.connection.mixin"
    _description = "M-Pesa Payment Manager: Connection"

    tested_at = fields.Datetime("Tested On", readonly=True, copy=False)
    tested_by_id = fields.Many2one("res.users", readonly=True, copy=False)
    test_passed = fields.Boolean(readonly=True, copy=False)
    test_result = fields.Char("Result of the Test", readonly=True, copy=False)
    test_warning = fields.Char("Warning of the Test", readonly=True, copy=False)

    def action_test_connection(self):
        """Log in, and ask for what can be asked without moving money.

        :return: a client action that shows a notification: one sentence.
        """
        self.ensure_one()
        check_access(self, "write")
        passed, sentence, balance = self._try_connection()
        warning = self._server_may_forget()
        self.sudo().write(
            {
                "tested_at": fields.Datetime.now(),
                "tested_by_id": self.env.uid,
                "test_passed": passed,
                "test_result": sentence,
                "test_warning": warning,
            }
        )
        if passed and self._mpesa_has_proved(balance):
            self._mpesa_end_hold()
        # The form keeps the sentence; that of the last test would stand beside that of the next.
        kind = "danger" if not passed else "warning" if warning else "success"
        return notification(kind, f"{sentence} {warning}".strip(), sticky=False)

    def _server_may_forget(self):
        """What keeps the database server from its word that what is committed stays; "" for nothing.

        A claim that is lost with the power goes out a second time.
        """
        names = ("fsync", "full_page_writes")
        self.env.cr.execute(
            "SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting = 'off' ORDER BY name", [[*names]]
        )
        found = [row[0] for row in self.env.cr.fetchall()]
        if not found:
            return ""
        return _(
            "Do not pay with this database server: these settings of it are off: %s. When its machine fails,"
            " it may forget that payments were sent, and they would be sent again.",
            ", ".join(found),
        )

    def _try_connection(self):
        """Whether all went well, the sentence that says what, and the float if it is known.

        Each contact is journalled.
        """
        journal = self.env["g2p.payment.mpesa.attempt"]
        rows = []
        balance = None
        name = "auth_endpoint_url"
        try:
            with (
                self._mpesa_connection_of_account(SECONDS_FOR_TEST) as is_there,
                self._mpesa_client(lambda contact: rows.append(journal._row(contact))) as client,
            ):
                if not is_there:
                    return False, self._connection_busy(), None
                client.log_in()
                if self.balance_endpoint_url:
                    name = "balance_endpoint_url"
                    balance = client.balance()
                if self.status_endpoint_url:
                    name = "status_endpoint_url"
                    # One that it has never seen.
                    client.status(str(uuid4()))
        except errors.GatewayError as error:
            return False, self._connection_problem(name, error), None
        finally:
            rows = [row | {"manager_id": self.id} for row in rows]
            durably(self.env, lambda own: own[journal._name]._record(rows))
        works = self._connection_works(balance)
        if self.currency_differs:
            return False, f"{works} {self._mpesa_currency_sentence()}", balance
        if self.mpesa_no_country:
            return False, f"{works} {self._mpesa_no_country_sentence()}", balance
        return True, works, balance

    def _connection_busy(self):
        return _(
            "Nothing was asked: all connections of this account at the gateway are taken at the moment. Try"
            " again in a minute."
        )

    def _connection_works(self, balance):
        if balance is None:
            return _("The gateway accepts user name and password. No money was moved.")
        return _(
            "The gateway accepts user name and password, and the float is %s. No money was moved.",
            formatLang(self.env, balance, currency_obj=self.gateway_currency_id),
        )

    def _connection_problem(self, name, error):
        """What is wrong with the address in the field ``name``, and what to look at."""
        parts = urlsplit(self[name])
        words = {
            "field": self._fields[name]._description_string(self.env),
            "host": parts.hostname,
            "port": parts.port or (443 if parts.scheme == "https" else 80),
            "path": parts.path or "/",
            "seconds": self.api_timeout,
            "status": error.http_status,
            "words": error.message,
        }
        sentence = self._problem_by_reason(words, error) or self._problem_by_cause(words, error)
        return sentence or _(
            "%(field)s: %(host)s does not answer as it should. Its answer: %(words)s", **words
        )

    def _problem_by_reason(self, words, error):
        if error.reason == errors.SECRET or error.cause == errors.REFUSED_URL:
            return error.message
        if error.reason == errors.TLS:
            return self._certificate_problem(words, error)
        if error.reason == errors.CREDENTIALS:
            return _(
                "%(host)s does not accept user name and password. Its answer: %(words)s. Enter both again.",
                **words,
            )
        if error.reason == errors.NOT_PERMITTED:
            return _("%(host)s does not permit this user to do that. It says: %(words)s", **words)
        return None

    def _problem_by_cause(self, words, error):
        if error.http_status and error.http_status >= 500:
            return _(
                "%(field)s: %(host)s has an error of its own (HTTP %(status)s). Try again later, or ask its"
                " operator.",
                **words,
            )
        sentences = {
            errors.UNKNOWN_NAME: _(
                "%(field)s: there is no server named %(host)s. Look for a typing error in the address.",
                **words,
            ),
            errors.CONNECTION_REFUSED: _(
                "%(field)s: %(host)s refuses the connection at port %(port)s. The gateway is not running, or"
                " the port is wrong.",
                **words,
            ),
            errors.TIMED_OUT: _(
                "%(field)s: no answer from %(host)s within %(seconds)s seconds. The gateway is down, or a"
                " firewall is in between.",
                **words,
            ),
            errors.FORBIDDEN_ADDRESS: _(
                "%(field)s: %(host)s is not asked, because its address is of a kind that is never asked:"
                " it leads to this server's own surroundings, and not to a gateway.",
                **words,
            ),
            errors.PRIVATE_ADDRESS: _(
                "%(field)s: %(host)s is not asked, because its address is on this machine or in a private"
                " network. If the gateway is really there, the server's administrator allows it in the"
                " server's configuration: allow_private_addresses = True, below [g2p_mpesa].",
                **words,
            ),
            errors.NO_PAGE: _(
                "%(field)s: %(host)s answers, and there is nothing at %(path)s (HTTP %(status)s). Look for a"
                " typing error in the path.",
                **words,
            ),
            errors.NOT_JSON: _(
                "%(field)s: the answer of %(host)s is not JSON (HTTP %(status)s). This may be a web page, and"
                " not a gateway.",
                **words,
            ),
            errors.OTHER_PROTOCOL: _(
                "%(field)s: %(host)s answers with JSON, and not as a Simple M-Pesa gateway does"
                " (HTTP %(status)s).",
                **words,
            ),
        }
        return sentences.get(error.cause)

    def _certificate_problem(self, words, error):
        if error.cause == errors.NO_TLS:
            return _(
                "%(field)s: %(host)s does not speak TLS (https) at port %(port)s. Look at the port.", **words
            )
        # The gateway layer puts a sentence of its own before what is wrong.
        words = {**words, "problem": error.message.partition(": ")[2] or error.message}
        shown = certificate.fetch(words["host"], words["port"], self.api_timeout, allows_private_addresses())
        if not shown:
            return _("%(field)s: the certificate of %(host)s is not trusted: %(problem)s.", **words)
        return _(
            "%(field)s: the certificate of %(host)s is not trusted: %(problem)s. It is issued to %(subject)s"
            " by %(issuer)s, and ends on %(ends)s.",
            **words,
            **shown._asdict(),
        )
