"""pytest for an addon that is the repository itself.

Run as a program it is pytest with this plugin. Odoo knows the addon by a link named after it, on the
addons path, and imports it as `odoo.addons.<name>`. pytest would call the same files
`<folder of the repository>.tests.…`: a second copy of each model, unknown to Odoo.
"""

import os
import sys
from pathlib import Path

import _pytest.pathlib
import pytest

ADDON = "g2p_payment_simple_mpesa"
DEV = Path(__file__).resolve().parent
ROOT = DEV.parent


def odoo_name(path):
    """Return the dotted name under which Odoo imports a file of the addon, None for other files."""
    path = Path(os.path.realpath(path))
    if not path.is_relative_to(ROOT) or path.is_relative_to(DEV) or path.is_relative_to(ROOT / ".dev"):
        return None
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("odoo", "addons", ADDON, *(part for part in parts if part != "__init__")))


def patch_names():
    """Let pytest import the addon's files under Odoo's name for them, during collection and after."""
    resolve = _pytest.pathlib.resolve_pkg_root_and_module_name

    def resolve_in_odoo(path, **options):
        name = odoo_name(path)
        # The first of the pair is put on sys.path; this folder is there already.
        return (DEV, name) if name else resolve(path, **options)

    _pytest.pathlib.resolve_pkg_root_and_module_name = resolve_in_odoo


def pytest_configure(config):
    """Patch early: pytest-odoo later puts its own layer around, which keeps names of `odoo.addons`."""
    patch_names()


if __name__ == "__main__":
    own = ["-p", "pytest_addon", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    sys.exit(pytest.main(own + sys.argv[1:]))
