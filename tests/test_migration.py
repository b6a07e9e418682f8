"""Coming from OpenG2P's own module of the same technical name."""

import contextlib
import csv
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import psycopg2
from cryptography.fernet import Fernet
from lxml import html

from odoo.exceptions import UserError
from odoo.tests import BaseCase, TransactionCase
from odoo.tools import mute_logger

from .common import MANAGER, ROOT, ProgramCase, click_send, make_cycle, phone
from .earlier import EARLIER, FILL, LOOK, OLD, OLD_TABLE, REMOVE
from .harness import Configuration, environment

MODULE = "g2p_payment_simple_mpesa"
LOGGER = "post-migration"
# With which the server encrypts.
KEY = Fernet.generate_key().decode()


def load_script(stage):
    """A migration script, as Odoo loads it."""
    name = f"{stage}-migration"
    spec = importlib.util.spec_from_file_location(name, ROOT / "migrations" / "1.0.0" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


class EarlierPaymentsCase(ProgramCase):
    """With payments as the earlier module leaves them: nothing of ours is written in them."""

    def old_batch(self, started=None, completed=None, payments=(), **values):
        """A batch; ``payments`` are in its list, as the earlier module sends them."""
        values = {"name": "Old", "cycle_id": self.cycle.id, **values}
        batch = self.env["g2p.payment.batch"].create(values)
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment_batch SET batch_has_started = %s, batch_has_completed = %s WHERE id = %s",
            [started, completed, batch.id],
        )
        for payment in payments:
            self.link(batch, payment)
        return batch

    def link(self, batch, payment):
        self.env.cr.execute(
            "INSERT INTO g2p_payment_g2p_payment_batch_rel (g2p_payment_batch_id, g2p_payment_id)"
            " VALUES (%s, %s)",
            [batch.id, payment.id],
        )

    def old_payment(self, number, batch=None, state="issued", status=None, **columns):
        """A payment for the ``number``-th person, in the batch both ways."""
        values = {
            "name": f"old-{number}",
            "entitlement_id": self.entitlements[number].id,
            "cycle_id": self.cycle.id,
            "batch_id": batch and batch.id,
            "amount_issued": 100,
            "state": state,
            "status": status,
            **columns,
        }
        self.env.cr.execute(
            f"INSERT INTO g2p_payment ({', '.join(values)}) VALUES %s RETURNING id", [tuple(values.values())]
        )
        payment = self.env["g2p.payment"].browse(self.env.cr.fetchone()[0])
        if batch:
            self.link(batch, payment)
        return payment

    def old_paid(self, number, batch=None, amount=100, **columns):
        """A payment that the earlier module has sent."""
        when = "2026-01-05 10:00:00"
        return self.old_payment(
            number, batch, "sent", "paid", amount_paid=amount, payment_datetime=when, **columns
        )

    def update(self):
        """What the script after the update does."""
        self.env.flush_all()
        with mute_logger(LOGGER):
            load_script("post").migrate(self.env.cr, "0.0.0")
        self.env.invalidate_all()

    def words(self):
        """The newest message on the manager's chatter, as text."""
        return html.fromstring(self.manager.message_ids[0].body).text_content()


class TestPaymentsTakenOver(EarlierPaymentsCase):
    def test_each_gets_the_state_that_is_known_of_it(self):
        cases = [
            # state, status, its batch started, completed: state and reason, and what OpenG2P's fields say.
            (("sent", "paid", True, True), ("paid", False, "sent", "paid", True)),
            (("sent", "paid", True, None), ("paid", False, "sent", "paid", True)),
            (("reconciled", "paid", True, True), ("paid", False, "reconciled", "paid", True)),
            (("issued", "paid", None, None), ("paid", False, "sent", "paid", True)),
            (("issued", None, None, None), ("ready", "from_before", "issued", False, False)),
            (("issued", None, False, False), ("ready", "from_before", "issued", False, False)),
            (("issued", None, True, None), ("doubt", "stuck_before", "sent", False, False)),
            (("issued", None, None, True), ("doubt", "stuck_before", "sent", False, False)),
            (("sent", None, True, None), ("doubt", "stuck_before", "sent", False, False)),
            (("sent", "failed", True, None), ("refused", False, "sent", "failed", True)),
        ]
        payments = [
            self.old_payment(number, self.old_batch(started, completed), state, status)
            for number, ((state, status, started, completed), _after) in enumerate(cases)
        ]
        self.update()
        for payment, (before, after) in zip(payments, cases, strict=True):
            with self.subTest(before):
                found = (
                    payment.mpesa_state,
                    payment.mpesa_reason,
                    payment.state,
                    payment.status,
                    payment.status_is_final,
                )
                self.assertEqual(found, after)
                self.assertEqual(payment.mpesa_manager_id, self.manager)
                self.assertFalse(payment.mpesa_reference)

    def test_without_a_batch_it_is_ready(self):
        payment = self.old_payment(0)
        self.update()
        self.assertEqual((payment.mpesa_state, payment.batch_id.id), ("ready", False))

    def test_the_list_of_a_batch_is_what_was_sent(self):
        in_list, elsewhere = self.old_payment(0), self.old_payment(1, self.old_batch())
        started = self.old_batch(started=True, payments=[in_list, elsewhere])
        unsent = self.old_payment(2)
        waiting = self.old_batch(payments=[unsent])
        self.update()
        self.assertEqual((in_list.mpesa_state, in_list.batch_id), ("doubt", started))
        self.assertEqual(elsewhere.mpesa_state, "doubt")
        self.assertEqual((unsent.mpesa_state, unsent.batch_id), ("ready", waiting))

    def test_when_it_was_paid_stays(self):
        payment = self.old_paid(0, self.old_batch(True, True), amount=99)
        self.update()
        self.assertEqual(str(payment.payment_datetime), "2026-01-05 10:00:00")
        self.assertEqual(payment.status_datetime, payment.payment_datetime)
        self.assertEqual(payment.amount_paid, 99)

    def test_other_programs_are_left_alone(self):
        other = self.env["g2p.program"].create({"name": "By hand", "journal_id": self.program.journal_id.id})
        cycle, entitlements = make_cycle(self.env, other, 1, name="Other")
        self.assertNotEqual(other.payment_managers.manager_ref_id._name, MANAGER)
        payment = self.old_payment(0, cycle_id=cycle.id, entitlement_id=entitlements.id)
        self.update()
        self.assertFalse(payment.mpesa_state)
        self.assertEqual(payment.state, "issued")

    def test_a_wrapper_too_many_or_of_nobody(self):
        """What the database allows, whatever OpenG2P's own rules say."""
        payment = self.old_payment(0)
        self.env.flush_all()
        for manager_id in (self.manager.id, 0):
            self.env.cr.execute(
                "WITH wrapper AS (INSERT INTO g2p_program_payment_manager (program_id, manager_ref_id)"
                " VALUES (%s, %s) RETURNING program_id, id) INSERT INTO"
                " g2p_program_g2p_program_payment_manager_rel SELECT * FROM wrapper",
                [self.program.id, f"{MANAGER},{manager_id}"],
            )
        self.update()
        self.assertEqual((payment.mpesa_state, payment.mpesa_duplicate), ("ready", False))

    def test_a_second_time_changes_nothing(self):
        payment = self.old_payment(0, self.old_batch(started=True))
        self.update()
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_reason = 'no_news' WHERE id = %s", [payment.id])
        self.update()
        self.assertEqual(payment.mpesa_reason, "no_news")

    def test_batches_say_what_their_payments_say(self):
        done, stuck, waiting = self.old_batch(True, True), self.old_batch(True), self.old_batch()
        for number in range(3):
            self.old_paid(number, done)
        self.old_paid(3, stuck)
        self.old_payment(4, stuck)
        self.old_payment(5, waiting)
        self.update()
        names = (
            "mpesa_state",
            "batch_has_started",
            "batch_has_completed",
            "stats_issued_transactions",
            "stats_paid_transactions",
            "stats_paid_amount",
            "mpesa_ready_count",
            "mpesa_doubt_count",
        )
        found = [tuple(batch[name] for name in names) for batch in (done, stuck, waiting)]
        self.assertEqual(
            found,
            [
                ("done", True, True, 3, 3, 300, 0, 0),
                ("doubt", True, False, 2, 1, 100, 0, 1),
                ("ready", False, False, 1, 0, 0, 1, 0),
            ],
        )

    def test_what_was_sent_is_not_changed_by_hand(self):
        paid, doubtful = self.old_paid(0), self.old_payment(1, self.old_batch(started=True))
        self.update()
        for payment in (paid, doubtful):
            with self.assertRaisesRegex(UserError, "has been sent"):
                payment.amount_issued = 1
            with self.assertRaises(UserError):
                payment.unlink()


class TestOtherVersion(TransactionCase):
    def test_an_update_without_the_scripts_is_refused(self):
        """Odoo runs none where OpenG2P's module has this one's version, or a higher one."""
        self.env.cr.execute(f"CREATE TABLE {OLD_TABLE} ()")
        with self.assertRaisesRegex(UserError, "latest_version .* 17.0.0.0.0"):
            self.env["g2p.payment"].init()


class TestDuplicates(EarlierPaymentsCase):
    def states_of(self, *payments):
        return [(payment.mpesa_state, payment.mpesa_reason, payment.mpesa_duplicate) for payment in payments]

    def test_paid_and_prepared_again(self):
        later, paid = self.old_payment(0, self.old_batch()), self.old_paid(0, self.old_batch(True, True))
        self.update()
        self.assertEqual(
            self.states_of(paid, later),
            [("paid", False, False), ("doubt", "duplicate_before", True)],
        )
        self.assertEqual((later.state, later.status), ("sent", False))

    def test_prepared_twice_and_never_sent(self):
        first, second, third = (self.old_payment(0, self.old_batch()) for _ in range(3))
        self.update()
        self.assertEqual(
            self.states_of(first, second, third),
            [("ready", "from_before", False), *[("doubt", "duplicate_before", True)] * 2],
        )

    def test_stuck_and_prepared_again(self):
        stuck, later = (
            self.old_payment(0, self.old_batch(started=True)),
            self.old_payment(0, self.old_batch()),
        )
        self.update()
        self.assertEqual(
            self.states_of(stuck, later),
            [("doubt", "stuck_before", False), ("doubt", "duplicate_before", True)],
        )

    def test_paid_twice_stays_paid_twice(self):
        first, second = (self.old_paid(0, self.old_batch(True, True)) for _ in range(2))
        self.update()
        self.assertEqual(self.states_of(first, second), [("paid", False, False), ("paid", False, True)])

    def test_failed_and_prepared_again_is_no_duplicate(self):
        failed, second = self.old_payment(0, status="failed"), self.old_payment(0, self.old_batch())
        self.update()
        self.assertEqual(
            self.states_of(failed, second),
            [("refused", False, False), ("ready", "from_before", False)],
        )

    def test_no_further_payment_can_be_made(self):
        for _ in range(2):
            self.old_payment(0, self.old_batch())
        self.update()
        self.prepare()
        self.assertEqual(len(self.entitlements[0].payment_ids), 2)
        refused = self.assertRaises(psycopg2.errors.UniqueViolation)
        with refused, mute_logger("odoo.sql_db"), self.env.cr.savepoint():
            self.old_payment(0, mpesa_state="ready")

    def test_they_are_named_on_the_chatter_and_in_the_log(self):
        self.old_paid(0), self.old_paid(0), self.old_paid(1), self.old_payment(1)
        self.env.flush_all()
        with self.assertLogs(LOGGER, "WARNING") as log:
            load_script("post").migrate(self.env.cr, "0.0.0")
        self.assertIn(str(self.entitlements[:2].ids), log.output[0])
        words = self.words()
        self.assertIn(
            "Entitlements that were prepared more than once: 2. Paid more than once of these: 1", words
        )
        self.assertIn("100.00 too much", words)
        for entitlement in self.entitlements[:2]:
            self.assertIn(entitlement.code, words)
        self.assertIn("kept back", words)

    def test_all_of_them_are_in_a_file(self):
        for number in range(3):
            self.old_paid(number), self.old_payment(number)
        self.old_paid(3)
        script = load_script("post")
        script.MOST_NAMED = 2
        self.env.flush_all()
        with mute_logger(LOGGER):
            script.migrate(self.env.cr, "0.0.0")
        self.assertIn("and 1 more, in the file", self.words())
        file = self.manager.message_ids[0].attachment_ids
        rows = list(csv.DictReader(io.StringIO(file.raw.decode())))
        self.assertEqual({int(row["entitlement id"]) for row in rows}, set(self.entitlements[:3].ids))
        self.assertEqual([row["outcome"] for row in rows], ["paid", "doubt"] * 3)


class TestMoneyAfterwards(EarlierPaymentsCase):
    """With a gateway that can be asked, and that honours a reference: nothing goes out that must not."""

    PROFILE = "full"

    def test_only_what_is_ready_goes_out(self):
        self.old_payment(0, self.old_batch(started=True))
        self.old_paid(1, self.old_batch(True, True))
        self.old_payment(1, self.old_batch())
        self.old_payment(2, self.old_batch())
        self.old_payment(2, self.old_batch())
        self.update()
        self.send()
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.payments()._mpesa_confirm_not_paid_before(self.env.user)
        self.send()
        self.send()
        self.assertEqual(self.gateway.ledger()["paid"], {phone(2): 100})

    def test_a_doubt_without_a_reference_is_neither_asked_for_nor_sent_again(self):
        payments = self.old_payment(0, self.old_batch(started=True))
        payments |= self.old_paid(1, self.old_batch(True, True))
        payments |= self.old_payment(1, self.old_batch())
        self.update()
        # Long ago, so that it would be its turn.
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_next_check = '2020-01-01', mpesa_sent_at = '2020-01-01'"
            " WHERE id = ANY(%s)",
            [payments.ids],
        )
        self.run_cron()
        doubts = payments.filtered(lambda payment: payment.mpesa_state == "doubt")
        doubts.action_mpesa_refresh_status()
        self.env.flush_all()
        click_send(self.cycle)
        self.env.invalidate_all()
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assertNotIn("/api/transaction/status", self.gateway.requests()["paths"])
        self.assertEqual(doubts.mapped("mpesa_state"), ["doubt", "doubt"])
        self.assertFalse(any(payments.mapped("mpesa_reference")))

    def test_what_is_settled_as_not_paid_is_prepared_anew(self):
        stuck = self.old_payment(0, self.old_batch(started=True))
        self.update()
        self.env["g2p.payment"]._mpesa_move(["doubt"], "refused", [{"id": stuck.id}])
        self.prepare()
        self.assertEqual(sorted(self.entitlements[0].payment_ids.mapped("mpesa_state")), ["ready", "refused"])


class TestBatchNames(EarlierPaymentsCase):
    UUID = "9b2d7a52-6f0e-4f39-9c4e-1f6f3f5a7c11"

    def test_a_uuid_becomes_a_name_that_people_can_say(self):
        cases = [{"name": self.UUID, "tag_id": self.manager.batch_tag_ids.id}, {"name": self.UUID}]
        batches = [self.old_batch(**case) for case in cases]
        for number, batch in enumerate(batches):
            self.old_payment(number, batch)
        self.update()
        # The earlier module gave one UUID to many.
        self.assertEqual([batch.name for batch in batches], ["Cycle 1 / Everybody / 1", "Cycle 1 / 2"])
        self.assertEqual({batch.external_batch_ref for batch in batches}, {self.UUID})
        self.assertEqual(self.manager._next_batch_number(self.cycle), 3)

    def test_a_reference_of_another_system_stays(self):
        batch = self.old_batch(name=self.UUID, external_batch_ref="BANK-7")
        self.old_payment(0, batch)
        self.update()
        self.assertEqual((batch.name, batch.external_batch_ref), ("Cycle 1 / 1", "BANK-7"))
        self.assertIn(self.UUID, batch.message_ids[0].body)

    def test_a_name_that_somebody_gave_stays(self):
        mine, others = self.old_batch(name="January"), self.old_batch(name=self.UUID)
        self.old_payment(0, mine)
        self.update()
        # Without a payment of ours it is not ours to name.
        self.assertEqual((mine.name, others.name), ("January", self.UUID))


class TestReport(EarlierPaymentsCase):
    def test_it_needs_no_email_address(self):
        self.env.ref("base.partner_root").email = False
        self.env.company.email = False
        self.old_payment(0, self.old_batch(started=True))
        self.update()
        self.assertIn("In doubt: 1, of 100.00 in all", self.words())

    def test_it_counts_what_was_taken_over(self):
        for number in range(3):
            self.old_paid(number, amount=99, amount_issued=99.75)
        self.old_payment(3)
        self.old_payment(4, status="failed")
        self.update()
        for sentence in (
            "Paid, as the earlier module recorded it: 3, of 299.25 in all",
            "Ready: 1, of 100.00 in all",
            "Failed: 1, of 100.00 in all",
            "paid without their cents: 3. What was cut off: 2.25 in all",
        ):
            self.assertIn(sentence, self.words())
        self.assertFalse(self.manager.message_ids[0].attachment_ids)

    def test_settings_that_were_possible_before(self):
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager_mpesa SET auth_endpoint_url = 'http://gateway.example.org/login',"
            " api_timeout = 300, payee_id_type = 'reg_id', reg_id_type_for_payee_id = NULL, secret = NULL"
        )
        self.env.invalidate_all()
        self.update()
        for sentence in (
            "http is only possible on this machine or a private network",
            "The time-out was 300 seconds, which is not possible. It is 120 seconds now.",
            "Say which registered ID is the payee id.",
            "There is no password.",
        ):
            self.assertIn(sentence, self.words())
        self.assertEqual(self.manager.auth_endpoint_url, "http://gateway.example.org/login")
        self.assertEqual(self.manager.api_timeout, 120)

    def test_no_timeout_at_all(self):
        self.env.flush_all()
        self.env.cr.execute("UPDATE g2p_program_payment_manager_mpesa SET api_timeout = NULL")
        self.env.invalidate_all()
        self.update()
        self.assertEqual(self.manager.api_timeout, 10)

    def test_nothing_to_say(self):
        self.update()
        self.assertNotIn("settings", self.words())
        self.assertIn("No payments came with it", self.words())


class TestWhichModule(BaseCase):
    @unittest.skipUnless("G2P_DEV_DIR" in os.environ, "needs the folder that dev/test makes")
    def test_it_is_this_one_and_not_another_of_the_same_name(self):
        """OpenG2P's repository holds a module of this name, and may stand on the addons path as it is."""
        self.assertEqual(ROOT, Path(os.environ["G2P_DEV_DIR"]).resolve().parent)


class TracesCase(EarlierPaymentsCase):
    """With jobs as the earlier module queued them."""

    PEOPLE = 1

    def old_job(self, state="pending", **columns):
        """A job for a new batch of one payment: its id, and the payment."""
        payment = self.old_payment(0, self.old_batch())
        batches = {"_type": "odoo_recordset", "model": "g2p.payment.batch", "ids": payment.batch_id.ids}
        values = {
            "uuid": str(uuid4()),
            "state": state,
            "model_name": OLD,
            "method_name": "_send_payments",
            "args": json.dumps([batches]),
            **columns,
        }
        self.env.cr.execute(
            f"INSERT INTO queue_job ({', '.join(values)}) VALUES %s RETURNING id", [tuple(values.values())]
        )
        return self.env.cr.fetchone()[0], payment

    def has_begun(self, payment):
        with mute_logger("pre-migration"):
            load_script("pre").mark_interrupted_batches(self.env.cr)
        self.env.invalidate_all()
        return payment.batch_id.batch_has_started


class TestTraces(TracesCase):
    """Whatever says that a send job of the earlier module had begun makes doubts of its payments."""

    def test_one_that_was_only_queued_has_not_begun(self):
        for vals in (
            {},
            {"state": "wait_dependencies"},
            {"state": "enqueued", "date_enqueued": "2026-01-05"},
            {"state": "cancelled", "result": "Cancelled by Somebody", "date_cancelled": "2026-01-05"},
        ):
            with self.subTest(vals):
                _job, payment = self.old_job(**vals)
                self.assertFalse(self.has_begun(payment))

    def test_each_trace_of_a_start(self):
        for vals in (
            {"state": "started"},
            {"state": "failed"},
            # Set to done by hand, after it had failed.
            {"state": "done"},
            {"state": "cancelled", "exc_info": "Traceback"},
            # Requeued by hand: these are left.
            {"exc_info": "Traceback"},
            {"exc_name": "OSError"},
            {"exc_message": "gone"},
            {"result": "Manually set to done by Somebody"},
            {"retry": 1},
            {"date_started": "2026-01-05"},
            {"date_done": "2026-01-05"},
            {"exec_time": 3.5},
            {"worker_pid": 77},
        ):
            with self.subTest(vals):
                _job, payment = self.old_job(**vals)
                self.assertTrue(self.has_begun(payment))

    def test_a_message_that_it_failed(self):
        failed = self.env.ref("queue_job.mt_job_failed").id
        for body, subtype in (("<p>Something bad happened during …</p>", None), ("<p>Jambo</p>", failed)):
            with self.subTest(body):
                job, payment = self.old_job()
                self.env.cr.execute(
                    "INSERT INTO mail_message (model, res_id, body, subtype_id, message_type)"
                    " VALUES ('queue.job', %s, %s, %s, 'comment')",
                    [job, body, subtype],
                )
                self.assertTrue(self.has_begun(payment))


class TestLostJobs(TracesCase):
    """A job that was deleted, as old ones are by themselves."""

    def setUp(self):
        super().setUp()
        wrapper = self.program.payment_managers
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager SET manager_ref_id = %s WHERE id = ANY(%s)",
            [f"{OLD},{self.manager.id}", wrapper.ids],
        )
        self.env.cr.execute("UPDATE g2p_payment_batch SET create_date = '2026-01-01'")

    def tell(self, what, when="2036-01-05"):
        self.env.cr.execute(
            "INSERT INTO mail_message (model, res_id, body, message_type, date)"
            " VALUES ('g2p.cycle', %s, %s, 'comment', %s)",
            [self.cycle.id, f"<p>Send payments {what}</p>", when],
        )

    def test_it_had_not_ended(self):
        payment = self.old_payment(0, self.old_batch())
        self.assertFalse(self.has_begun(payment))
        self.tell("started for 60 batches.")
        self.assertTrue(self.has_begun(payment))

    def test_it_had_ended(self):
        self.tell("started for 60 batches.")
        self.tell("completed.")
        self.assertFalse(self.has_begun(self.old_payment(0, self.old_batch())))

    def test_it_is_there_still_and_has_not_begun(self):
        _job, payment = self.old_job()
        self.tell("started for 60 batches.")
        self.assertFalse(self.has_begun(payment))

    def test_what_was_prepared_later_was_not_its(self):
        self.tell("started for 60 batches.", "2020-01-05")
        self.assertFalse(self.has_begun(self.old_payment(0, self.old_batch())))

    def test_another_program_is_left_alone(self):
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager SET manager_ref_id = 'g2p.program.payment.manager.default,1'"
        )
        self.tell("started for 60 batches.")
        self.assertFalse(self.has_begun(self.old_payment(0, self.old_batch())))


@unittest.skipUnless(
    {"ODOO_RC", "G2P_TEMPLATE_DB"} <= set(os.environ), "needs the databases that dev/test makes"
)
class TestWholeUpdate(BaseCase):
    """On a copy of a database, with Odoo's own update; looked at by SQL."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.configuration = Configuration()
        cls.folder = Path(tempfile.mkdtemp(prefix="migration-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.database = cls.configuration.new_name("migration")
        cls.addClassCleanup(cls.configuration.drop, cls.database)
        cls.configuration.copy_database(os.environ["G2P_TEMPLATE_DB"], cls.database)
        cls.connection = cls.configuration.connect(cls.database)
        cls.addClassCleanup(cls.connection.close)
        earlier = cls.write_earlier_module()
        cls.odoo("shell", script=REMOVE)
        cls.odoo("-i", MODULE, "--stop-after-init", file=earlier)
        cls.before = cls.answer(cls.odoo("shell", script=FILL, file=earlier))
        cls.log = cls.odoo("-u", MODULE, "--stop-after-init").stderr
        cls.after = cls.answer(cls.odoo("shell", script=LOOK))

    @classmethod
    def write_earlier_module(cls):
        """Give a configuration by which the earlier module is in this one's place."""
        series = cls.query(
            "SELECT split_part(latest_version, '.', 1)::int FROM ir_module_module WHERE name = 'base'"
        )
        listed = "list" if series[0][0] > 17 else "tree"
        for name, text in EARLIER.items():
            if not name.endswith(".py"):
                text = text.replace("{model}", OLD).replace("{table}", OLD_TABLE).replace("{list}", listed)
            path = cls.folder / MODULE / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(dedent(text).strip() + "\n")
        folders = [folder.strip() for folder in cls.configuration.options["addons_path"].split(",")]
        path = ",".join([str(cls.folder), *(str(cls.without_module(Path(folder))) for folder in folders)])
        # In a file: a command such as the shell looks for modules before it reads its options.
        file = cls.folder / "odoo.conf"
        text = Path(cls.configuration.path).read_text()
        file.write_text(re.sub(r"(?m)^addons_path *=.*$", f"addons_path = {path}", text))
        return file

    @classmethod
    def without_module(cls, folder):
        """The folder; where it holds a module of this name beside others, one with the others alone."""
        if not (folder / MODULE).exists():
            return folder
        others = Path(tempfile.mkdtemp(prefix="others-", dir=cls.folder))
        for path in folder.iterdir():
            if path.name != MODULE and (path / "__manifest__.py").exists():
                (others / path.name).symlink_to(path)
        return others

    @classmethod
    def odoo(cls, *arguments, script="", file=None, check=True):
        """Run Odoo, or its shell with ``script``, and wait until it ends.

        :param file: its configuration.
        """
        file = file or cls.configuration.path
        command, more = (["shell"], arguments[1:]) if arguments[0] == "shell" else ([], arguments)
        process = subprocess.run(
            [
                *(sys.executable, ROOT / "dev" / "odoo", *command, "-c", file, "-d", cls.database),
                *("-D", cls.folder / "data", "--no-http", *more),
            ],
            input=script,
            env=environment(ODOO_RC=str(file), G2P_MPESA_SECRET_KEY=KEY),
            capture_output=True,
            text=True,
            check=False,
        )
        if check and process.returncode:
            raise AssertionError(f"{arguments}\n{process.stderr[-4000:]}")
        return process

    @staticmethod
    def answer(process):
        return json.loads([line for line in process.stdout.splitlines() if line.startswith("{")][-1])

    @classmethod
    def query(cls, statement, *values):
        with cls.connection.cursor() as cr:
            cr.execute(statement, values or None)
            return cr.fetchall()

    def one(self, statement, *values):
        rows = self.query(statement, *values)
        self.assertEqual(len(rows), 1, statement)
        return rows[0]

    def test_the_settings_are_kept(self):
        row = self.one(
            "SELECT id, program_id, payee_id_type, auth_endpoint_url, payment_endpoint_url, api_timeout,"
            " username, secret, customer_type, create_batch FROM g2p_program_payment_manager_mpesa"
        )
        gateway = "https://gateway.example.org"
        # The server has a key, and the earlier module stored the password as it is.
        token = row[7].removeprefix("{fernet}")
        self.assertNotEqual(token, row[7])
        password = Fernet(KEY.encode()).decrypt(token.encode()).decode()
        self.assertEqual(
            (*row[:7], password, *row[8:]),
            (
                *(self.before["manager"], self.before["program"], "email", f"{gateway}/login"),
                *(f"{gateway}/deposit", 33, "agent@example.org", "clear-text", "subscriber", True),
            ),
        )
        self.assertEqual(self.after["password"], "********")
        self.assertEqual(self.after["tags"], ["All"])

    def test_a_customer_type_that_there_is_not_is_corrected_and_told(self):
        self.assertTrue(any("The customer type was dealer" in body for body in self.after["messages"]))

    def test_the_program_still_pays_by_it(self):
        self.assertEqual(
            self.after["of the program"], [f"{MANAGER}({self.before['manager']},)", "M-Pesa of before"]
        )

    def test_what_hangs_on_it_is_kept(self):
        manager = self.before["manager"]
        self.assertTrue(any("Checked with the bank" in body for body in self.after["messages"]))
        self.assertEqual(self.after["activities"], ["Renew the contract"])
        for table, condition in {
            "mail_followers": f"res_model = '{MANAGER}' AND partner_id = {self.before['partner']}",
            "ir_attachment": f"res_model = '{MANAGER}' AND res_id = {manager} AND name = 'contract.txt'",
            "ir_filters": f"model_id = '{MANAGER}' AND action_id = {self.before['action']}",
            "ir_model_data": f"model = '{MANAGER}' AND module = '__export__' AND res_id = {manager}",
        }.items():
            self.one(f"SELECT id FROM {table} WHERE {condition}")

    def test_nothing_of_the_earlier_one_is_left(self):
        columns = self.query(
            "SELECT table_name, column_name FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            " AND data_type IN ('character varying', 'text', 'jsonb')"
        )
        left = [
            (table, column, value)
            for table, column in columns
            for (value,) in self.query(
                f'SELECT "{column}"::text FROM "{table}" WHERE "{column}"::text ~ %s',
                r"simple\.mpesa|manager_simple_mpesa",
            )
            # A message's own id is what others answer to.
            if (table, column) != ("mail_message", "message_id")
        ]
        self.assertEqual(left, [])
        names = self.query(
            "SELECT relname FROM pg_class WHERE relname LIKE '%simple_mpesa%'"
            " UNION SELECT conname FROM pg_constraint WHERE conname LIKE '%simple_mpesa%'"
        )
        self.assertEqual(names, [])
        self.assertFalse(
            self.query(
                "SELECT 1 FROM information_schema.columns"
                " WHERE table_name = 'g2p_program_payment_manager_mpesa' AND column_name = 'password'"
            )
        )

    def test_no_record_of_the_module_is_an_orphan(self):
        for model, table in {
            "ir.model": "ir_model",
            "ir.model.fields": "ir_model_fields",
            "ir.model.access": "ir_model_access",
            "ir.ui.view": "ir_ui_view",
            "ir.ui.menu": "ir_ui_menu",
            "ir.actions.act_window": "ir_act_window",
            "ir.actions.act_window.view": "ir_act_window_view",
        }.items():
            orphans = self.query(
                f"SELECT d.name FROM ir_model_data d LEFT JOIN {table} t ON t.id = d.res_id"
                " WHERE d.module = %s AND d.model = %s AND t.id IS NULL",
                MODULE,
                model,
            )
            self.assertEqual(orphans, [], model)
        nameless = self.query(
            "SELECT v.name FROM ir_ui_view v WHERE v.model = %s AND v.id <> %s AND NOT EXISTS"
            " (SELECT 1 FROM ir_model_data d WHERE d.model = 'ir.ui.view' AND d.res_id = v.id)",
            MANAGER,
            self.before["view"],
        )
        self.assertEqual(nameless, [])
        rights = self.one(
            "SELECT count(*) FROM ir_model_access a JOIN ir_model m ON m.id = a.model_id WHERE m.model = %s",
            MANAGER,
        )
        self.assertEqual(rights, (3,))

    def test_the_schema_is_that_of_a_new_installation(self):
        def shape(connection):
            with connection.cursor() as cr:
                cr.execute(
                    "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
                    " WHERE table_name ~ 'payment_manager_mpesa|pay_manager_mpesa' ORDER BY 1, 2"
                )
                columns = cr.fetchall()
                cr.execute(
                    "SELECT relname, contype, pg_get_constraintdef(c.oid) FROM pg_constraint c"
                    " JOIN pg_class t ON t.oid = conrelid"
                    " WHERE relname ~ 'payment_manager_mpesa|pay_manager_mpesa' ORDER BY 1, 2, 3"
                )
                return columns, cr.fetchall()

        template = self.configuration.new_name("shape")
        self.addCleanup(self.configuration.drop, template)
        self.configuration.copy_database(os.environ["G2P_TEMPLATE_DB"], template)
        with contextlib.closing(self.configuration.connect(template)) as connection:
            self.assertEqual(shape(self.connection), shape(connection))

    def test_somebodys_own_view_is_switched_off(self):
        self.assertEqual(
            self.one("SELECT active FROM ir_ui_view WHERE id = %s", self.before["view"]), (False,)
        )
        self.assertIn("switched off", self.log)
        self.assertNotIn("earlier", self.after["form"])

    def test_payments_and_jobs(self):
        rows = self.query("SELECT id, mpesa_state, mpesa_reason, mpesa_reference FROM g2p_payment")
        found = {payment_id: tuple(row) for payment_id, *row in rows}
        self.assertEqual(
            {name: found[payment_id] for name, payment_id in self.before["ids"].items()},
            {
                "paid": ("paid", None, None),
                "stuck": ("doubt", "stuck_before", None),
                "unsent": ("ready", "from_before", None),
                "again": ("doubt", "duplicate_before", None),
                "died": ("doubt", "stuck_before", None),
                "queued": ("ready", "from_before", None),
                "requeued": ("doubt", "stuck_before", None),
            },
        )
        jobs = self.query("SELECT DISTINCT state FROM queue_job WHERE model_name = %s", MANAGER)
        self.assertEqual(jobs, [("cancelled",)])
        self.assertEqual(
            self.one("SELECT locked FROM g2p_cycle WHERE id = %s", self.before["cycle"]), (False,)
        )
