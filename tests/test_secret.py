"""Secrets are encrypted with a key that is not in the database, and nobody is shown one."""

import logging
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

from cryptography.fernet import Fernet

from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.modules.neutralize import get_neutralization_queries
from odoo.tests import tagged

from ..models import secret
from ..models.payment_manager_mpesa import PASSWORD_SHOWN
from .common import MANAGER, SECRET, ProgramCase, click_send

ONE, TWO = Fernet.generate_key().decode(), Fernet.generate_key().decode()


class KeyCase(ProgramCase):
    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.give_keys()

    def give_keys(self, *keys):
        """What the server is given from now on."""
        patcher = patch.dict(os.environ, {secret.VARIABLE: ",".join(keys)})
        patcher.start()
        self.addCleanup(patcher.stop)
        self.env.invalidate_all()

    def stored(self):
        """What a copy of the database gives away."""
        self.env.flush_all()
        self.env.cr.execute(f"SELECT secret FROM {self.manager._table} WHERE id = %s", [self.manager.id])
        return self.env.cr.fetchone()[0]

    def logins(self):
        return sum(self.gateway.requests()["paths"].get("/api/login/agent", {}).values())

    def encrypted(self, *keys):
        """The manager's password, entered on a server with these keys."""
        self.give_keys(*keys)
        self.manager.password = SECRET


class TestSecret(KeyCase):
    def test_without_a_key_it_is_stored_as_it_is_and_the_form_says_so(self):
        self.assertEqual(self.stored(), SECRET)
        self.assertEqual(self.manager.secret_notice, "plain")
        self.assertEqual(self.manager._mpesa_secret("secret"), SECRET)

    def test_with_a_key_the_database_does_not_have_it(self):
        self.encrypted(ONE)
        self.assertTrue(self.stored().startswith(secret.ENCRYPTED))
        self.assertNotIn(SECRET, self.stored())
        self.assertFalse(self.manager.secret_notice)
        self.assertEqual(self.manager.password, PASSWORD_SHOWN)
        self.prepare()
        self.send()
        self.assert_states(paid=3)

    def test_what_was_stored_before_is_encrypted_by_the_scheduled_job(self):
        self.give_keys(ONE)
        self.assertEqual(self.manager.secret_notice, "waits")
        self.run_cron()
        self.assertTrue(self.stored().startswith(secret.ENCRYPTED))
        self.assertEqual(self.manager._mpesa_secret("secret"), SECRET)
        before = self.stored()
        self.run_cron()
        self.assertEqual(self.stored(), before)

    def test_what_was_stored_before_is_encrypted_by_an_update(self):
        from odoo.tools import convert_file

        self.give_keys(ONE)
        convert_file(self.env, "g2p_payment_simple_mpesa", "data/secret.xml", {}, "update")
        self.assertTrue(self.stored().startswith(secret.ENCRYPTED))

    def test_a_new_key_takes_the_place_of_the_earlier_one(self):
        self.encrypted(ONE)
        self.give_keys(TWO, ONE)
        self.assertEqual(self.manager.secret_notice, "waits")
        self.assertEqual(self.manager._mpesa_secret("secret"), SECRET)
        self.run_cron()
        self.give_keys(TWO)
        self.assertFalse(self.manager.secret_notice)
        self.assertEqual(self.manager._mpesa_secret("secret"), SECRET)
        self.give_keys(ONE)
        self.assertEqual(self.manager.secret_notice, secret.OTHER_KEY)

    def test_a_password_that_looks_like_an_encrypted_one(self):
        for password in (f"{secret.ENCRYPTED}x", f"{secret.PLAIN}x", "pässwörd ☂"):
            for keys in ((), (ONE,)):
                self.encrypted(*keys)
                self.manager.password = password
                self.assertEqual(self.manager._mpesa_secret("secret"), password)

    def test_where_the_key_comes_from(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "key"
            file.write_text(f"{ONE}\n{TWO}\n")
            conf = Path(folder) / "odoo.conf"
            for lines, key in (
                (f"secret_key = {TWO},{ONE}\nsecret_key_file = /nowhere", TWO),
                (f"secret_key_file = {file}", ONE),
            ):
                conf.write_text(f"[options]\n[g2p_mpesa]\n{lines}\n")
                self._with_configuration(conf)
                self.manager.password = SECRET
                token = self.stored().removeprefix(secret.ENCRYPTED)
                self.assertEqual(Fernet(key.encode()).decrypt(token.encode()).decode(), SECRET)
            conf.write_text("[g2p_mpesa]\nsecret_key_file = /nowhere\n")
            self._with_configuration(conf)
            with self.assertRaisesRegex(UserError, "is no key"):
                self.manager.password = SECRET

    def _with_configuration(self, path):
        import configparser

        if hasattr(secret.config, "misc"):
            parser = configparser.RawConfigParser()
            parser.read(path)
            patcher = patch.dict(secret.config.misc, {secret.SECTION: dict(parser[secret.SECTION])})
        else:
            patcher = patch.dict(secret.config.options, {"config": str(path)})
        patcher.start()
        self.addCleanup(patcher.stop)
        self.env.invalidate_all()


class TestCopies(KeyCase):
    def test_a_neutralized_copy_has_no_password_encrypted_or_not(self):
        for keys in ((), (ONE,)):
            self.encrypted(*keys)
            for query in get_neutralization_queries(["g2p_payment_simple_mpesa"]):
                self.env.cr.execute(query)
            self.env.invalidate_all()
            self.assertFalse(self.stored())
            self.assertFalse(self.manager.secret_notice)
            self.run_cron()
            self.assertFalse(self.stored())

    def test_neither_a_copy_of_a_manager_nor_an_export_has_it(self):
        self.encrypted(ONE)
        with self.assertRaises(ValidationError):
            self.manager.copy()
        [row] = self.manager.export_data(["name", "password"])["datas"]
        self.assertEqual(row[1], PASSWORD_SHOWN)
        with self.assertRaises(AccessError):
            self.manager.with_user(self.env.ref("base.user_admin")).export_data(["secret"])


class TestWithoutItsKey(KeyCase):
    """A restored database, a server without the key, a key with a typing error: nothing goes on."""

    PROFILE = "full"

    def each(self):
        """For each way in which the key is not there: the word of its sentence."""
        self.encrypted(ONE)
        for keys, words in (
            ((), "this server has no key"),
            ((TWO,), "a key that this server does not have"),
            (("not a key",), "is no key"),
        ):
            self.give_keys(*keys)
            with self.subTest(words):
                yield words

    def test_nothing_is_sent_and_nobody_logs_in(self):
        self.prepare()
        for words in self.each():
            self.gateway.reset()
            self.send()
            self.assert_states(ready=3)
            self.assertEqual(self.logins(), 0)
            self.assertEqual(self.payments().batch_id.mpesa_reason, "secret")
            self.assertIn(words, self.payments().batch_id.mpesa_words)

    def test_test_connection_says_it(self):
        for words in self.each():
            self.manager.action_test_connection()
            self.assertFalse(self.manager.test_passed)
            self.assertIn(words, self.manager.test_result)
            self.assertEqual(self.logins(), 0)

    def test_refresh_status_says_it(self):
        self.prepare()
        self.fault(1, "500-taken")
        self.send()
        for words in self.each():
            before = self.logins()
            with self.assertRaisesRegex(UserError, words):
                self.payments().action_mpesa_refresh_status()
            self.run_cron()
            self.assertEqual(self.logins(), before)

    def test_the_form_says_it(self):
        codes = [self.manager.secret_notice for _words in self.each()]
        self.assertEqual(codes, [secret.NO_KEY, secret.OTHER_KEY, secret.BROKEN_KEY])

    def test_it_is_read_again_once_the_key_is_back_or_the_password_is_entered(self):
        self.encrypted(ONE)
        before = self.stored()
        self.give_keys(TWO)
        self.run_cron()
        self.assertEqual(self.stored(), before)
        self.manager.password = SECRET
        self.assertFalse(self.manager.secret_notice)
        self.prepare()
        self.send()
        self.assert_states(accepted=3)

    def test_a_key_that_is_none_stores_nothing(self):
        self.encrypted(ONE)
        before = self.stored()
        self.give_keys("not a key")
        with self.assertRaisesRegex(UserError, "is no key"):
            self.manager.password = "another"
        self.run_cron()
        self.assertEqual(self.stored(), before)


class Listening(logging.Handler):
    """Keeps all that is logged."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.texts = []

    def emit(self, record):
        self.texts.append(self.format(record))


@tagged("-at_install", "post_install")
class TestNowhere(KeyCase):
    """No password, token or key in anything that is written, besides where the password is stored."""

    PROFILE = "full"

    def setUp(self):
        super().setUp()
        self.log = Listening()
        root = logging.getLogger()
        level = root.level
        root.addHandler(self.log)
        root.setLevel(logging.INFO)
        self.addCleanup(root.setLevel, level)
        self.addCleanup(root.removeHandler, self.log)

    def live(self):
        """All that a manager's life has in it, with what goes wrong."""
        self.manager.action_test_connection()
        self.prepare()
        for number, fault in enumerate(("500-taken", "refuse", "html-503-taken")):
            self.fault(number, fault)
        self.send()
        self.payments().action_mpesa_refresh_status()
        self.manager.copy({"password": SECRET})
        self.manager.password = "wrong-password"
        self.manager.action_test_connection()
        self.manager.with_delay()._refresh_status_job()
        click_send(self.cycle)
        self.run_cron()
        self.manager.password = SECRET

    def written(self):
        """Every text in the database, with the names of table and column; and the log."""
        self.env.flush_all()
        self.env.cr.execute(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
            " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            " AND data_type IN ('text', 'character varying', 'jsonb', 'bytea')"
            " AND table_name !~ '^(ir_model|ir_ui|ir_act|res_country|res_currency|ir_module|res_lang)'"
        )
        for table, column in self.env.cr.fetchall():
            self.env.cr.execute(f'SELECT "{column}"::text FROM "{table}" WHERE "{column}" IS NOT NULL')
            yield f"{table}.{column}", "\n".join(row[0] for row in self.env.cr.fetchall())
        yield "the log", "\n".join(self.log.texts)

    def test_with_a_key_it_is_nowhere(self):
        self.encrypted(ONE)
        self.live()
        forbidden = (SECRET, "wrong-password", ONE, "eyJ")
        found = {(where, word) for where, text in self.written() for word in forbidden if word in text}
        self.assertEqual(found, set())

    def test_without_a_key_it_is_where_it_is_stored_and_nowhere_else(self):
        self.live()
        found = {where for where, text in self.written() for word in (SECRET, "eyJ") if word in text}
        self.assertEqual(found, {f"{self.manager._table}.secret"})

    def test_what_fails_on_storing_does_not_log_it(self):
        """Two who enter a password at once: PostgreSQL refuses one, and Odoo logs statements that fail."""
        self.env.cr.execute(
            "CREATE FUNCTION refuse_secret() RETURNS trigger AS"
            " $$ BEGIN RAISE EXCEPTION 'busy'; END $$ LANGUAGE plpgsql;"
            f"CREATE TRIGGER refuse_secret BEFORE UPDATE OF secret ON {self.manager._table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_secret()"
        )
        with self.assertRaisesRegex(Exception, "busy") as caught, self.env.cr.savepoint():
            self.manager.password = "another-secret"
            self.env.flush_all()
        self.assertNotIn("another-secret", str(caught.exception))
        self.assertNotIn("another-secret", "\n".join(self.log.texts))

    def test_an_answer_to_characters_that_cannot_be_stored(self):
        self.give_keys(ONE)
        with self.assertRaises(UserError) as caught:
            self.env[MANAGER].browse(self.manager.id).password = "another\udc80"
        self.assertNotIn("another", repr(caught.exception))
