"""Secrets that are stored, encrypted with a key that is not in the database. No model.

The key comes from the server: the environment (``G2P_MPESA_SECRET_KEY``), or ``secret_key`` or
``secret_key_file`` in the section ``[g2p_mpesa]`` of Odoo's configuration file; the first that is there. It
is one key, or several with commas between: the first encrypts, each decrypts. A key is what
``cryptography.fernet.Fernet.generate_key()`` gives.
"""

import configparser
import os
import re
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from odoo.tools import config

VARIABLE = "G2P_MPESA_SECRET_KEY"
SECTION, OPTION, FILE_OPTION = "g2p_mpesa", "secret_key", "secret_key_file"

# What a stored secret begins with. One without either was stored as it is.
ENCRYPTED = "{fernet}"
# Before one that is not encrypted and begins with one of these words by itself.
PLAIN = "{plain}"

# Why a secret cannot be read or encrypted.
NO_KEY = "no_key"
OTHER_KEY = "other_key"
BROKEN_KEY = "broken_key"


class SecretError(Exception):
    """A secret cannot be read, or not be encrypted.

    :param str code: ``no_key``: it is encrypted, and the server has no key; ``other_key``: with none of the
        keys of the server; ``broken_key``: what the server is given as a key is none, or cannot be read.
    """

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def keyring():
    """What encrypts and decrypts: a ``MultiFernet``; None where the server has no key.

    :raise SecretError: ``broken_key``. To go on without it would store secrets that anybody can read.
    """
    fernets = _fernets()
    return MultiFernet(fernets) if fernets else None


def seal(text):
    """``text`` as it is stored: encrypted, where the server has a key.

    :raise SecretError: ``broken_key``.
    """
    ring = keyring()
    if ring:
        return ENCRYPTED + ring.encrypt(text.encode()).decode()
    return PLAIN + text if text.startswith((ENCRYPTED, PLAIN)) else text


def unseal(stored):
    """The secret of which ``stored`` is what :func:`seal` gave, or what was stored before there was a key.

    :raise SecretError: it cannot be read.
    """
    if not stored.startswith(ENCRYPTED):
        return stored.removeprefix(PLAIN)
    ring = keyring()
    if not ring:
        raise SecretError(NO_KEY)
    try:
        return ring.decrypt(stored.removeprefix(ENCRYPTED).encode()).decode()
    except InvalidToken:
        raise SecretError(OTHER_KEY) from None


def is_sealed_by_first(stored):
    """Whether ``stored`` is encrypted with the first key of the server.

    :raise SecretError: ``broken_key``.
    """
    fernets = _fernets()
    if not fernets or not stored.startswith(ENCRYPTED):
        return False
    try:
        fernets[0].decrypt(stored.removeprefix(ENCRYPTED).encode())
    except InvalidToken:
        return False
    return True


def _fernets():
    """One for each key of the server, in their order; none where it has no key."""
    text = _configured()
    if text is None:
        return []
    try:
        return [Fernet(key.encode()) for key in re.split(r"[,\s]+", text.strip(", \t\r\n"))]
    except ValueError:
        # In the words of the exception may be the key.
        raise SecretError(BROKEN_KEY) from None


def _configured():
    """What the server is given as its keys; None for nothing."""
    text = os.environ.get(VARIABLE, "")
    if text.strip():
        return text
    options = _options()
    if options.get(OPTION, "").strip():
        return options[OPTION]
    path = options.get(FILE_OPTION, "").strip()
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeError):
        raise SecretError(BROKEN_KEY) from None


def _options():
    """Our section of Odoo's configuration file. From 19.0 on Odoo does not keep the sections of others."""
    if hasattr(config, "misc"):
        return config.misc.get(SECTION, {})
    parser = configparser.RawConfigParser()
    try:
        parser.read([config.get("config") or ""])
    except (configparser.Error, UnicodeError):
        raise SecretError(BROKEN_KEY) from None
    return dict(parser[SECTION]) if parser.has_section(SECTION) else {}
