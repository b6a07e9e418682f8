"""What only the server's own configuration may say: who can write to the database cannot change it."""

import configparser
import os

from odoo.tools import config

from .secret import SECTION

OPTION, VARIABLE = "allow_private_addresses", "G2P_MPESA_ALLOW_PRIVATE_ADDRESSES"
YES = ("1", "true", "yes", "on")


def allows_private_addresses():
    """Whether a gateway may be on this machine or in a private network.

    In the configuration file: ``allow_private_addresses = True`` below ``[g2p_mpesa]``; or in the server's
    environment: ``G2P_MPESA_ALLOW_PRIVATE_ADDRESSES=1``.
    """
    told = os.environ.get(VARIABLE) or _in_file()
    return str(told).strip().lower() in YES


def _in_file():
    # From 19.0 on Odoo does not keep the sections of others.
    if hasattr(config, "misc"):
        return config.misc.get(SECTION, {}).get(OPTION, "")
    parser = configparser.RawConfigParser()
    try:
        parser.read([config.get("config") or ""])
    except (configparser.Error, UnicodeError):
        return ""
    return parser.get(SECTION, OPTION, fallback="")
