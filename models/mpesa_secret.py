"""The secrets of a manager: stored so that a copy of the database alone gives none of them away."""

import logging

from psycopg2 import sql

from odoo import _, api, fields, models
from odoo.exceptions import UserError

from . import secret
from .own_cursor import durably

_logger = logging.getLogger(__name__)


class MpesaSecret(models.AbstractModel):
    """To be inherited by a manager, whose protocol names its fields in ``_mpesa_secrets``."""

    _name = "g2p.mpesa.secret.mixin"
    _description = "M-Pesa Payment Manager: Secrets"

    # Columns that hold what :func:`secret.seal` gives. Each is a Char that nobody has access to.
    _mpesa_secrets = ()

    secret_notice = fields.Selection(
        [
            ("plain", "Not encrypted: the server has no key"),
            ("waits", "Not encrypted yet, or not with the first key"),
            (secret.NO_KEY, "Cannot be read: the server has no key"),
            (secret.OTHER_KEY, "Cannot be read: the server has another key"),
            (secret.BROKEN_KEY, "Cannot be read: the server's key is not usable"),
        ],
        "Stored Secrets",
        compute="_compute_secret_notice",
        help="How the password is stored, and whether this server can read it, e.g. not encrypted.",
    )

    @api.depends()
    def _compute_secret_notice(self):
        for manager in self:
            notices = [_notice(manager._mpesa_stored(name)) for name in self._mpesa_secrets]
            order = [code for code, _label in self._fields["secret_notice"].selection]
            manager.secret_notice = max(filter(None, notices), key=order.index, default=False)

    def _mpesa_secret(self, name):
        """The secret in the column ``name``, "" for none.

        :raise SecretError: it cannot be read.
        """
        return secret.unseal(self._mpesa_stored(name))

    def _mpesa_stored(self, name):
        """What the column ``name`` has, "" for nothing.

        Not by the ORM: what is in its cache is given to whoever asks for it in the same request.
        """
        if not self.id:
            return ""
        self.ensure_one()
        columns = {"table": sql.Identifier(self._table), "column": sql.Identifier(name)}
        query = sql.SQL("SELECT {column} FROM {table} WHERE id = %s").format(**columns)
        self.env.cr.execute(query, [self.id])
        return (self.env.cr.fetchone() or [""])[0] or ""

    def _mpesa_keep_secret(self, name, text):
        """Store a secret in the column ``name``; in the caller's transaction.

        :raise UserError: the server's key cannot be used. It is not stored without one then.
        """
        self.ensure_one()
        try:
            stored = secret.seal(text)
        except secret.SecretError as error:
            raise UserError(self._mpesa_secret_sentence(error)) from None
        except UnicodeError:
            # It has the password among its arguments.
            raise UserError(_("This password has characters that no gateway takes.")) from None
        self.flush_recordset()
        # Not by the ORM: what fails there is logged with its values, and two may write at once.
        self.env.cr.execute(
            sql.SQL("UPDATE {} SET {} = %s WHERE id = %s").format(
                sql.Identifier(self._table), sql.Identifier(name)
            ),
            [stored, self.id],
            log_exceptions=False,
        )
        self.invalidate_recordset([name, "secret_notice"])

    def _mpesa_secret_sentence(self, error):
        """What is wrong, and what to do, in one sentence for people."""
        sentences = {
            secret.NO_KEY: _(
                "The stored password cannot be read, because it is encrypted and this server has no key. Have"
                " the administrator of the server give it the key, or enter the password again."
            ),
            secret.OTHER_KEY: _(
                "The stored password cannot be read, because it is encrypted with a key that this server does"
                " not have. Have the administrator of the server give it that key, or enter the password"
                " again."
            ),
            secret.BROKEN_KEY: _(
                "The password can be neither read nor stored, because what this server is given as its secret"
                " key is no key. Have the administrator of the server correct it."
            ),
        }
        return sentences[error.code]

    @api.model
    def _mpesa_renew_secrets(self):
        """Encrypt with the server's first key what is not, on update and by the scheduled job.

        What cannot be read stays as it is. To change keys: the new one first, the earlier one behind it.
        """
        try:
            if secret.keyring():
                self._mpesa_seal_again()
        except secret.SecretError:
            _logger.error("Secrets are not encrypted: the key that this server is given is not one")

    def _mpesa_seal_again(self):
        for name in self._mpesa_secrets:
            names = {"table": sql.Identifier(self._table), "column": sql.Identifier(name)}
            query = sql.SQL("SELECT id, {column} FROM {table} WHERE {column} <> ''").format(**names)
            self.env.cr.execute(query)  # pylint: disable=sql-injection
            pairs = self.env.cr.fetchall()
            # Whoever has entered another one meanwhile has the last word.
            query = sql.SQL("UPDATE {table} SET {column} = %s WHERE id = %s AND {column} = %s").format(
                **names
            )
            for manager_id, stored in pairs:
                sealed = _sealed_again(stored)
                if sealed:
                    self.env.cr.execute(query, [sealed, manager_id, stored], log_exceptions=False)
            self.invalidate_model([name, "secret_notice"])

    @api.model
    def _mpesa_renew_secrets_durably(self):
        durably(self.env, lambda own: own[self._name]._mpesa_renew_secrets())


def _notice(stored):
    """What is to be said of a stored secret: a value of ``secret_notice``, or None."""
    try:
        if not stored:
            return None
        secret.unseal(stored)
        if secret.is_sealed_by_first(stored):
            return None
        return "waits" if secret.keyring() else "plain"
    except secret.SecretError as error:
        return error.code


def _sealed_again(stored):
    """``stored`` as it is encrypted with the first key; None where it is so, or cannot be read."""
    if secret.is_sealed_by_first(stored):
        return None
    try:
        return secret.seal(secret.unseal(stored))
    except secret.SecretError:
        return None
