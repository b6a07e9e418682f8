"""A process of Odoo's that measures: takes orders as lines of JSON, and answers each by a line.

Everything is measured in the process that does the work: wall time by the machine's monotonic clock, so that
several workers can begin at the same moment.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from unittest.mock import patch

sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
sys.path.append(str(Path(__file__).resolve().parent))

from odoo import api, sql_db  # noqa: E402
from odoo.modules.registry import Registry  # noqa: E402
from odoo.service.server import load_server_wide_modules  # noqa: E402
from odoo.tools import config  # noqa: E402

ADMIN = 2
OURS = "g2p.program.payment.manager.mpesa"
STATEMENT = "g2p.payment.mpesa.statement"


class Measure:
    """Wall and CPU time, statements, commits and memory of what is done inside."""

    def __enter__(self):
        self.commits = 0
        self._memory = _memory("VmRSS")
        # Makes the kernel forget the highest memory use so far.
        Path("/proc/self/clear_refs").write_text("5")
        self._statements = sql_db.sql_counter
        self._cpu = _cpu()
        commit = sql_db.Cursor.commit

        def counted(cursor):
            self.commits += 1
            return commit(cursor)

        self._patch = patch.object(sql_db.Cursor, "commit", counted)
        self._patch.start()
        self.begin = time.monotonic()
        return self

    def __exit__(self, *exc_info):
        self.end = time.monotonic()
        self._patch.stop()
        self.cpu = _cpu() - self._cpu
        self.statements = sql_db.sql_counter - self._statements
        self.peak = _memory("VmHWM")

    def figures(self, number):
        return {
            "payments": number,
            "begin": self.begin,
            "end": self.end,
            "seconds": self.end - self.begin,
            "cpu": self.cpu,
            "statements": self.statements,
            "commits": self.commits,
            # Bytes on top of what the process had before.
            "memory": self.peak - self._memory,
            "peak": self.peak,
        }


def _cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


class Worker:
    """Does what it is told on one database."""

    def __init__(self, database):
        self.registry = Registry(database)

    def env(self):
        """An environment on a cursor of its own, to be used in a ``with``."""
        return _Environment(self.registry)

    # Data

    def do_fill(self, people):
        import bench_data

        with self.env() as env:
            env.user.company_id.country_id = env.ref("base.ke")
            currency = env.ref("base.KES")
            currency.active = True
            journal = env["account.journal"].create(
                {"name": "Cash transfers", "code": "CT", "type": "bank", "currency_id": currency.id}
            )
            program = env["g2p.program"].create({"name": "Cash transfers", "journal_id": journal.id})
            return {
                "program": program.id,
                "default_manager": program.payment_managers.manager_ref_id.id,
                "first": bench_data.make_people(env, people),
            }

    def do_manager(self, program, model, vals):
        """A payment manager of a program, in place of what it has."""
        with self.env() as env:
            tag = env["g2p.payment.batch.tag"].create(
                {"name": "Everybody", "order": 1, "domain": "[]", "max_batch_size": 500}
            )
            manager = env[model].create({"program_id": program, "batch_tag_ids": [tag.id], **vals})
            wrapper = env["g2p.program.payment.manager"].create(
                {"program_id": program, "manager_ref_id": f"{model},{manager.id}"}
            )
            env["g2p.program"].browse(program).payment_managers = [(6, 0, wrapper.ids)]
            return {"manager": manager.id}

    def do_default_manager(self, program):
        """Let a program have OpenG2P's default manager make batches."""
        return self.do_manager(
            program, "g2p.program.payment.manager.default", {"name": "Default", "create_batch": True}
        )

    def do_write(self, model, ids, vals):
        with self.env() as env:
            env[model].browse(ids).write(vals)
        return {}

    def do_cycle(self, program, first, people):
        import bench_data

        with self.env() as env:
            cycle = bench_data.make_cycle(env, env["g2p.program"].browse(program), first, people)
            return {"cycle": cycle.id}

    def do_sql(self, query, params=None):
        """Run a statement; gives its rows."""
        with self.env() as env:
            env.cr.execute(query, params)
            rows = env.cr.fetchall() if env.cr.description else []
            return {"rows": [[str(value) for value in row] for row in rows]}

    # What is measured

    def do_prepare(self, cycle, model, manager):
        """As the click and its jobs do it, without the job runner's own time."""
        with self.env() as env:
            cycle = env["g2p.cycle"].browse(cycle)
            manager = env[model].browse(manager)
            with Measure() as measure:
                if hasattr(manager, "_prepare_chunk"):
                    _prepare(env, manager, cycle)
                else:
                    manager._prepare_payments(
                        cycle,
                        cycle.entitlement_ids.filtered(lambda entitlement: entitlement.state == "approved"),
                    )
                env.cr.commit()
            return measure.figures(_payments(env, cycle))

    def do_prepare_loop(self, cycle):
        """A plain loop of the ORM over the same: a payment at a time, and its batch."""
        with self.env() as env:
            cycle = env["g2p.cycle"].browse(cycle)
            with Measure() as measure:
                batch = env["g2p.payment.batch"].create({"name": "Loop", "cycle_id": cycle.id})
                entitlements = cycle.entitlement_ids.filtered(
                    lambda entitlement: entitlement.state == "approved"
                )
                for entitlement in entitlements:
                    payment = env["g2p.payment"].create(
                        {
                            "name": str(entitlement.id),
                            "entitlement_id": entitlement.id,
                            "cycle_id": cycle.id,
                            "amount_issued": entitlement.initial_amount,
                            "payment_fee": entitlement.transfer_fee,
                            "state": "issued",
                            "account_number": entitlement.partner_id.phone,
                        }
                    )
                    batch.payment_ids = [(4, payment.id)]
                    payment.batch_id = batch
                env.flush_all()
                env.cr.commit()
            return measure.figures(_payments(env, cycle))

    def do_batches(self, cycle):
        """The batches of a cycle, in order."""
        with self.env() as env:
            return {"batches": env["g2p.payment.batch"].search([("cycle_id", "=", cycle)], order="id").ids}

    def do_send(self, manager, batches, at, model=OURS, most=None):
        """Send batches, beginning at a moment."""
        with self.env() as env:
            manager = env[model].browse(manager)
            batches = env["g2p.payment.batch"].browse(batches)
            # What a job has read by then, too.
            manager.read()
            _wait_until(at)
            with Measure() as measure:
                if model == OURS:
                    from odoo.addons.g2p_payment_simple_mpesa.models.dispatch import Dispatch

                    number = Dispatch(manager, batches, most=most, by_job=True).run().counts.total()
                else:
                    number = sum(len(batch.payment_ids) for batch in batches)
                    manager._send_payments(batches)
                    env.cr.commit()
            return measure.figures(number)

    def do_send_one_by_one(self, manager, batches):
        """Send batches one after the other, each in a transaction of its own, as jobs do."""
        number = 0
        with Measure() as measure:
            for batch in batches:
                with self.env() as env:
                    batch = env["g2p.payment.batch"].browse(batch)
                    env[OURS].browse(manager)._send_payments_job(batch, batch.mpesa_ready_count)
                # What was sent is not to be seen in the transaction that began before.
                with self.env() as env:
                    number += env["g2p.payment.batch"].browse(batch.id).stats_paid_transactions
        return measure.figures(number)

    def do_profile(self, order):
        """Any other order under Python's own profiler; gives its table."""
        import cProfile
        import io
        import pstats

        profile = cProfile.Profile()
        profile.enable()
        getattr(self, f"do_{order.pop('do')}")(**order)
        profile.disable()
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(70)
        return {"profile": text.getvalue()}

    def do_status(self, manager, cycle):
        """Ask the gateway for all payments of a cycle that are accepted."""
        with self.env() as env:
            manager = env[OURS].browse(manager)
            payments = env["g2p.payment"].search([("cycle_id", "=", cycle), ("mpesa_state", "=", "accepted")])
            with Measure() as measure:
                number = manager._mpesa_refresh_status(payments, most=len(payments))
            return measure.figures(number)

    def do_form(self, model, record):
        """What the server does when the form of a record is opened: its views, and its values."""
        with self.env() as env:
            record = env[model].browse(record)
            views = env[model].get_views([(False, "form")], {"load_filters": True})
            specification = _specification(env, model, views["views"]["form"]["arch"])
            env.invalidate_all()
            with Measure() as measure:
                env[model].get_views([(False, "form")], {"load_filters": True})
                record.web_read(specification)
            return measure.figures(1)

    def do_dialogue(self, manager, cycle):
        """What the server does when Send is clicked on a cycle, before anything is sent."""
        with self.env() as env:
            manager = env[OURS].browse(manager)
            batches = env["g2p.payment.batch"].search([("cycle_id", "=", cycle)])
            with Measure() as measure:
                env["g2p.payment.mpesa.send.wizard"]._open(manager, batches)
            return measure.figures(1)

    def do_statement(self, program, cycle, column):
        """A statement with a line for each payment of a cycle, imported by a form, a click and its jobs.

        :param str column: which of the columns it has beside amount and time: ``reference`` or ``payee``.
        :return: figures of each step.
        """
        with self.env() as env:
            _pretend_paid(env, cycle)
            content, number = _statement(env, cycle, column)
            env.user.write({"group_ids" if "group_ids" in env.user else "groups_id": [_finance(env)]})
        with self.env() as env, Measure() as upload:
            statement = _upload(env, program, content).id
            env.cr.commit()
        steps = {"upload": upload.figures(number)}
        for what in ("compare", "compare_again"):
            with self.env() as env, Measure() as click:
                getattr(env[STATEMENT].browse(statement), f"action_{what}")()
                env.cr.commit()
            steps[what] = click.figures(number)
            if what == "compare":
                steps["longest job"] = max(self._read_by_jobs(statement), key=lambda job: job["seconds"])
        with self.env() as env:
            summary = env[STATEMENT].browse(statement).summary_ids
            return {"steps": steps, "results": {row.result: row.count for row in summary}}

    def _read_by_jobs(self, statement):
        jobs = []
        while True:
            with self.env() as env, Measure() as job:
                own = env[STATEMENT].browse(statement)
                if own.state != "reading":
                    return jobs
                own._read_job(own.line_count)
                env.cr.commit()
            jobs.append(job.figures(1))


def _pretend_paid(env, cycle):
    """Sending is measured elsewhere: one in a thousand is in doubt, the others are paid."""
    env.cr.execute(
        "UPDATE g2p_payment SET mpesa_reference = coalesce(mpesa_reference, gen_random_uuid()::text),"
        " amount_paid = amount_issued,"
        " mpesa_state = CASE WHEN id %% 1000 = 0 THEN 'doubt' ELSE 'paid' END, state = 'sent',"
        " status = CASE WHEN id %% 1000 = 0 THEN NULL ELSE 'paid' END,"
        " mpesa_sent_at = date_trunc('second', now() AT TIME ZONE 'UTC') - interval '5 hours'"
        " + id %% 10000 * interval '1 second' WHERE cycle_id = %s",
        [cycle],
    )
    env.cr.execute("ANALYZE g2p_payment")
    env.invalidate_all()


def _statement(env, cycle, column):
    """The file, and the number of its lines."""
    env.cr.execute(
        "SELECT concat_ws(',', 'TX' || id, mpesa_sent_at + interval '30 seconds', 'Completed',"
        f" amount_issued, {'mpesa_reference' if column == 'reference' else 'account_number'})"
        " FROM g2p_payment WHERE cycle_id = %s ORDER BY id",
        [cycle],
    )
    lines = [row[0] for row in env.cr.fetchall()]
    head = f"Receipt No.,Completion Time,Transaction Status,Amount,{column.capitalize()}"
    return "\n".join([head, *lines]).encode(), len(lines)


def _finance(env):
    return (4, env.ref("g2p_programs.g2p_finance_validator").id)


def _upload(env, program, content):
    import base64

    from odoo.tests import Form

    with Form(env[STATEMENT].with_context(tz="UTC")) as form:
        form.program_id = env["g2p.program"].browse(program)
        form.name = "statement"
        form.file = base64.b64encode(content)
        form.zone = "UTC"
    return form.record


def _specification(env, model, arch):
    """The fields that a form reads, as the web client asks for them."""
    from lxml import etree

    specification = {}
    for node in etree.fromstring(arch).xpath("//field[not(ancestor::field)]"):
        field = env[model]._fields[node.get("name")]
        if field.type in ("one2many", "many2many"):
            children = node.xpath(".//field[@name]")
            names = {
                child.get("name")
                for child in children
                if child.get("name") in env[field.comodel_name]._fields
            }
            inner = {name: {} for name in names}
            for name in names:
                if env[field.comodel_name]._fields[name].type == "many2one":
                    inner[name] = {"fields": {"display_name": {}}}
            specification[field.name] = {"fields": inner, "limit": 40, "order": ""}
        elif field.type == "many2one":
            specification[field.name] = {"fields": {"display_name": {}}}
        else:
            specification[field.name] = {}
    return specification


def _prepare(env, manager, cycle):
    """As one job after the other does it."""
    from odoo.addons.g2p_payment_simple_mpesa.models.mpesa_prepare import START

    place = START
    while place:
        _payments, _batches, place = manager._prepare_chunk(cycle, place)
        env.cr.commit()
        env.invalidate_all()


def _payments(env, cycle):
    return env["g2p.payment"].search_count([("cycle_id", "=", cycle.id)])


def _wait_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


class _Environment:
    def __init__(self, registry):
        self._registry = registry

    def __enter__(self):
        self._cr = self._registry.cursor()
        return api.Environment(self._cr, ADMIN, {"lang": "en_US"})

    def __exit__(self, exc_type, *exc_info):
        if exc_type is None:
            self._cr.commit()
        self._cr.close()


def main():
    """Take orders until standard input ends."""
    database, rc = sys.argv[1:3]
    config.parse_config(
        ["-c", rc, "-d", database, "--no-http", "--log-level", os.environ.get("LOG", "error")]
    )
    load_server_wide_modules()
    worker = Worker(database)
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(worker, f"do_{order.pop('do')}")(**order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
