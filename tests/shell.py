"""A script in Odoo's own shell, on a copy of a database: for what changes which addons are installed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .common import ROOT
from .harness import Configuration, environment


def run_on_copy(case, kind, script, **variables):
    """Run ``script`` with ``env`` in it; the copy goes with the tests of ``case``.

    :param case: a class of tests.
    :param str kind: a word for the database's name.
    :param variables: of the process's environment.
    :return: what the script has printed as JSON, an object in one line; and a connection to the copy.
    """
    configuration = Configuration()
    folder = tempfile.mkdtemp(prefix=f"{kind}-")
    case.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
    database = configuration.new_name(kind)
    case.addClassCleanup(configuration.drop, database)
    configuration.copy_database(os.environ["G2P_TEMPLATE_DB"], database)
    process = subprocess.run(
        [
            *(sys.executable, ROOT / "dev" / "odoo", "shell", "-c", configuration.path, "-d", database),
            *("-D", Path(folder) / "data", "--no-http"),
        ],
        input=script,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise AssertionError(process.stderr[-4000:])
    connection = configuration.connect(database)
    case.addClassCleanup(connection.close)
    return json.loads([line for line in process.stdout.splitlines() if line.startswith("{")][-1]), connection
