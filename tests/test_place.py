"""A database that was copied or restored sends nothing until an administrator has confirmed it."""

import contextlib
import json
from unittest.mock import patch

from odoo.exceptions import AccessError, UserError
from odoo.tests import BaseCase, new_test_user, tagged

from ..models import const, place
from ..models.claims import Claims
from .common import MANAGER, ProgramCase
from .harness import Lab, load_dev

SENTENCE = "is not the database that M-Pesa sent from"


class TestPlace(ProgramCase):
    PEOPLE = 3
    PROFILE = "full"

    def stored(self):
        self.env.cr.execute("SELECT mpesa_place FROM g2p_program_payment_manager_mpesa")
        return json.loads(self.env.cr.fetchone()[0])

    def move(self, **parts):
        """As if it had been sent from elsewhere until now."""
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager_mpesa SET mpesa_place = %s",
            [json.dumps(place.here(self.env.cr) | parts)],
        )
        self.env.invalidate_all()

    def confirm(self, sure=True):
        action = self.manager.action_confirm_place()
        wizard = self.env[action["res_model"]].browse(action["res_id"])
        wizard.is_sure = sure
        wizard.action_confirm()
        return wizard

    def test_it_is_kept_when_the_manager_is_set_up(self):
        found = self.stored()
        self.assertEqual(found, place.here(self.env.cr))
        self.assertTrue(all(found[name] for name in ("uuid", "name", "oid", "system", "timeline")), found)
        self.assertFalse(self.manager.mpesa_has_moved)

    def test_what_was_set_up_before_goes_on_where_it_is_updated(self):
        self.env.cr.execute("UPDATE g2p_program_payment_manager_mpesa SET mpesa_place = NULL")
        self.manager.init()
        self.assertEqual(self.stored(), place.here(self.env.cr))

    def test_each_part_that_is_another_one_counts(self):
        for name in place.PARTS:
            with self.subTest(name):
                now = dict.fromkeys(place.PARTS, "x")
                stored = place.as_text(now | {name: "y"})
                self.assertEqual(place.differences(stored, now), [name])
                # What could be told, and is told no more.
                self.assertEqual(place.differences(place.as_text(now), now | {name: None}), [name])
                # What could not be told then.
                self.assertEqual(place.differences(place.as_text(now | {name: None}), now), [])

    def test_what_the_role_may_not_ask_is_not_told(self):
        refused = ("pg_read_file('PG_VERSION')", "pg_read_file(text)")
        with patch.dict(place.PARTS, system=refused):
            found = place.here(self.env.cr)
        self.assertIsNone(found["system"])
        self.assertTrue(found["oid"] and found["timeline"])

    def test_nobody_who_clicks_sends_anything(self):
        self.prepare()
        self.move(oid="1")
        for record in (self.cycle, self.payments().batch_id, self.payments()[0]):
            with self.assertRaisesRegex(UserError, SENTENCE):
                record.send_payment()
        with self.assertRaisesRegex(UserError, SENTENCE):
            self.manager._mpesa_send(self.payments().batch_id)
        self.assertNotIn("/api/login", str(self.gateway.requests()["paths"]))
        self.assert_states(ready=3)

    def test_neither_does_a_job_nor_what_would_queue_one(self):
        batch = self.prepare().batch_id
        self.env.flush_all()
        batch._mpesa_want(self.env.user, "test")
        self.move(system="1")
        self.assertEqual(self.manager._send_payments_job(batch, 500), const.MOVED)
        self.env.invalidate_all()
        self.assertFalse(batch.mpesa_wanted_by_id)
        self.assertEqual(batch.mpesa_reason, const.MOVED)
        self.assertTrue(batch.activity_ids.filtered(lambda activity: "database" in activity.summary))
        batch._mpesa_want(self.env.user, "test")
        before = self.env["queue.job"].search_count([])
        self.run_cron()
        self.assertEqual(self.env["queue.job"].search_count([]), before)
        self.assertFalse(batch.mpesa_wanted_by_id)
        self.assertEqual(self.gateway.ledger()["count"], 0)

    def test_a_sender_that_has_lost_its_connection_looks_where_it_is(self):
        """A standby that took over may lack the claims of what is on its way."""
        self.prepare()
        self.env.flush_all()
        claims = Claims(self.manager, self.payments().batch_id.ids, None, lease_seconds=60)
        self.addCleanup(claims.close)
        self.assertEqual(len(claims.record_and_claim([], [], 1, lambda token: None)[1]), 1)
        self.move(timeline="00000000")
        claims._known_place = None
        self.assertEqual(claims.record_and_claim([], [], 1, lambda token: None)[1], [])
        self.assertTrue(claims.has_moved and claims.at_end)

    def test_a_doubt_does_not_go_out_again(self):
        self.fault(0, "drop-not-taken", count=1)
        self.prepare()
        self.send()
        self.assert_states(accepted=2, doubt=1)
        self.move(uuid="another")
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_next_check = '2020-01-01',"
            " mpesa_sent_at = mpesa_sent_at - interval '1 hour'"
        )
        self.gateway.clear_faults()
        self.run_cron()
        # To ask is to read: what the gateway has decided counts.
        self.assert_states(paid=2, doubt=1)
        self.assertEqual(self.gateway.ledger()["count"], 2)

    def test_an_administrator_confirms_and_somebody_clicks_again(self):
        self.prepare()
        self.send()
        self.env.cr.execute("DELETE FROM mail_activity")
        self.move(name="production")
        self.assertTrue(self.manager.mpesa_has_moved)
        with self.assertRaisesRegex(UserError, "tick the box"):
            self.confirm(sure=False)
        batch = self.payments().batch_id
        batch._mpesa_want(self.env.user, "test")
        self.assertEqual(self.confirm().what, "the database's name")
        self.env.invalidate_all()
        self.assertFalse(self.manager.mpesa_has_moved)
        self.assertFalse(batch.mpesa_wanted_by_id)
        self.assertIn("sends from this database", self.manager.message_ids[0].body)
        self.assertIn("another database", batch.activity_ids.summary)
        self.send()

    def test_nobody_else_confirms(self):
        self.move(name="production")
        for group in (const.PROGRAM_MANAGER, const.FINANCE):
            user = new_test_user(self.env, group[-9:], groups=f"base.group_user,{group}")
            with self.assertRaises(AccessError):
                self.manager.with_user(user).action_confirm_place()
        self.assertTrue(self.manager.mpesa_has_moved)


@tagged("post_install", "-at_install")
class TestCopy(BaseCase):
    """A copy of the database, on a server of its own, beside the one that sends."""

    def test_a_copied_database_sends_nothing_until_it_is_confirmed(self):
        rpc_error = load_dev("demo_rpc").RpcError
        with Lab() as lab:
            first = lab.server()
            cycle = lab.cycle(first, 40)
            first.prepare(cycle)
            # They wait for a job runner: in the copy there is one.
            self.assertIn("on their way", first.send(cycle)["message"])
            first.stop()
            lab.wait_for_backends()
            original, lab.database = lab.database, lab.configuration.new_name("copy")
            try:
                lab.configuration.copy_database(original, lab.database)
                copy = lab.server(jobs=2)
                lab.wait_for_jobs()
                lab.cron(copy)
                lab.wait_for_jobs()
                with self.assertRaisesRegex(rpc_error, SENTENCE):
                    copy.send(cycle)
                self.assertEqual(lab.states(cycle), {"ready": 40})
                self.assertEqual(lab.gateway.ledger()["count"], 0)
                admin = copy.session("admin")
                action = admin.call(MANAGER, "action_confirm_place", [lab.ids["manager"]])
                wizard = [action["res_id"]]
                admin.call(action["res_model"], "write", wizard, {"is_sure": True})
                admin.call(action["res_model"], "action_confirm", wizard)
                lab.cron(copy)
                lab.wait_for_jobs()
                self.assertEqual(lab.gateway.ledger()["count"], 0)
                copy.send(cycle)
                lab.wait_for_jobs()
                self.assertEqual(lab.states(cycle), {"paid": 40})
                self.assertEqual(lab.problems(cycle), [])
                copy.stop()
            finally:
                with contextlib.suppress(Exception):
                    lab.configuration.drop(lab.database)
                lab.database = original
