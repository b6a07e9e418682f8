"""A PostgreSQL server of one's own, that can be restarted while others are connected to theirs."""

import configparser
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from .harness import Configuration, LabError, free_port

# A crash of the server, not of the machine: what was committed is kept without waiting for the disk.
OPTIONS = "-c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=100"


class Cluster(Configuration):
    """What ODOO_RC says, but for the database server, which is a new one.

    Its programs are those on the PATH. They do not run as root, and then run as the user ``postgres``.
    """

    def __init__(self):
        super().__init__()
        self._origin = Configuration()
        self._folder = Path(tempfile.mkdtemp(prefix="lab-cluster-"))
        self._owner = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.options |= {"db_host": str(self._folder), "db_port": str(free_port()), "db_user": "odoo"}
        # For Odoo 19 they count more than the file.
        self.environment = {
            "PGHOST": self.options["db_host"],
            "PGPORT": self.options["db_port"],
            "PGUSER": self.options["db_user"],
        }
        self._write_configuration()

    def _write_configuration(self):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self._origin.path)
        parser["options"] = self.options
        # Beside the cluster, whose folder is another user's.
        self.path = f"{self._folder}.conf"
        with open(self.path, "w") as file:
            parser.write(file)

    def start(self):
        """Make it and start it. Gives the object itself."""
        self._run("initdb", "--username=odoo", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        self._pg_ctl("start")
        return self

    def restart(self):
        """Let it crash, and recover, as after a loss of power; whoever is connected is cut off."""
        self._pg_ctl("restart", "-m", "immediate")

    def stop(self):
        """End it, and remove what it made."""
        self._pg_ctl("stop", "-m", "immediate")
        shutil.rmtree(self._folder, ignore_errors=True)
        os.unlink(self.path)

    def copy_database(self, template, database):
        """A new database as ``template`` is at the server of ODOO_RC."""
        with open(Path(f"{self._folder}.dump"), "w+b") as dump:
            os.unlink(dump.name)
            self._call(["pg_dump", "-Fc", "-Z0", *_at(self._origin), template], stdout=dump)
            self._call(["createdb", *_at(self), database])
            dump.seek(0)
            self._call(["pg_restore", "--no-owner", "-e", *_at(self), "-d", database], stdin=dump)

    def _pg_ctl(self, *order):
        options = f"{OPTIONS} -c port={self.options['db_port']} -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "-w", "-l", self._folder / "log", "-o", options, *order)

    def _run(self, program, *arguments):
        self._call([program, "-D", self._folder / "data", *arguments], cwd="/", **self._owner)

    @staticmethod
    def _call(command, **more):
        # To files: a server that goes on would keep a pipe open.
        with tempfile.TemporaryFile("w+") as errors:
            more = {"stdin": subprocess.DEVNULL, "stdout": errors, "stderr": errors} | more
            if subprocess.run(command, check=False, **more).returncode:
                errors.seek(0)
                raise LabError(f"{command[0]}: {errors.read()[-2000:]}")


def _at(configuration):
    names = {"-h": "db_host", "-p": "db_port", "-U": "db_user"}
    return [
        part
        for flag, name in names.items()
        for part in (flag, configuration.options.get(name))
        if configuration.options.get(name) not in (None, "", "False")
    ]
