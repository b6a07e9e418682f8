"""After it stopped, jobs leave a gateway in peace for a while; a person's word or a proof ends that."""

import json
from datetime import timedelta

from odoo import fields
from odoo.tests import new_test_user, tagged

from ..models import const, place
from .common import SECRET, ProgramCase, click_send


class HoldCase(ProgramCase):
    def hold(self, reason="unreachable"):
        until = fields.Datetime.now() + timedelta(hours=1)
        self.manager.sudo().write({"mpesa_hold_until": until, "mpesa_hold_reason": reason})
        self.env.flush_all()

    def pending(self):
        domain = [("identity_key", "=like", "mpesa-send-%"), ("state", "=", "pending")]
        return self.env["queue.job"].search(domain)

    def run_jobs(self):
        for job in self.pending():
            self.env.flush_all()
            self.manager.with_context(job_uuid=job.uuid)._send_payments_job(self.payments().batch_id, 500)
            self.env.cr.execute("UPDATE queue_job SET state = 'done' WHERE id = %s", [job.id])
        self.env.invalidate_all()

    def sent_for(self):
        """A batch that somebody has sent for, and that has no job, since its gateway is left in peace."""
        self.prepare()
        self.send()
        self.env.cr.execute("UPDATE queue_job SET state = 'done'")
        self.hold()
        self.run_cron()
        self.assertFalse(self.pending())
        self.assert_states(ready=self.PEOPLE)


@tagged("post_install", "-at_install")
class TestClick(HoldCase):
    PEOPLE = 30

    def test_a_click_lifts_the_hold_for_its_jobs(self):
        self.prepare()
        self.hold("float")
        self.assertIn("30 payments are on their way", self.send())
        self.assertFalse(self.manager.mpesa_hold_until)
        self.run_jobs()
        self.assert_states(paid=30)

    def test_and_for_jobs_that_wait_already(self):
        self.prepare()
        self.send()
        self.hold()
        self.assertIn("being sent already", self.send())
        self.run_jobs()
        self.assert_states(paid=30)


@tagged("post_install", "-at_install")
class TestFew(HoldCase):
    PEOPLE = 5

    def test_a_click_for_a_few_lifts_it_too(self):
        self.prepare()
        self.hold()
        self.gateway.fault("login", "500")
        self.send()
        # That of now, and not that of before.
        self.assertLess(self.manager.mpesa_hold_until, fields.Datetime.now() + timedelta(minutes=10))
        self.gateway.clear_faults()
        self.hold()
        click_send(self.payments()[2])
        self.env.invalidate_all()
        self.assertFalse(self.manager.mpesa_hold_until)
        self.assert_states(paid=1, ready=4)


@tagged("post_install", "-at_install")
class TestProof(HoldCase):
    PEOPLE = 30

    def assert_goes_on(self):
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertFalse(self.manager.mpesa_hold_until)
        self.assertEqual(len(self.pending()), 1)
        self.run_jobs()
        self.assert_states(paid=30)

    def test_a_test_of_the_connection_that_went_well(self):
        self.sent_for()
        self.gateway.fault("login", "500")
        self.manager.action_test_connection()
        self.assertTrue(self.manager.mpesa_hold_until)
        self.gateway.clear_faults()
        self.manager.action_test_connection()
        self.assert_goes_on()

    def test_a_changed_set_up(self):
        self.sent_for()
        self.manager.api_timeout = 2
        self.assert_goes_on()

    def test_a_new_password(self):
        self.sent_for()
        self.manager.password = SECRET
        self.assert_goes_on()

    def test_a_float_that_is_enough_again(self):
        self.sent_for()
        self.hold("float")
        self.gateway.settings(float=50)
        self.addCleanup(self.gateway.settings, float=10**9)
        self.run_cron()
        self.manager.action_test_connection()
        self.assertTrue(self.manager.mpesa_hold_until)
        self.gateway.settings(float=10**6)
        self.run_cron()
        self.assert_goes_on()

    def test_other_stops_stay(self):
        self.sent_for()
        self.manager.mode = "live"
        self.run_jobs()
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assert_states(ready=30)
        self.manager.mode = "test"
        self.hold()
        elsewhere = json.dumps(place.here(self.env.cr) | {"uuid": "another"})
        self.env.cr.execute("UPDATE g2p_program_payment_manager_mpesa SET mpesa_place = %s", [elsewhere])
        self.env.invalidate_all()
        self.manager.action_test_connection()
        self.run_cron()
        self.assertFalse(self.pending())
        self.assert_states(ready=30)


@tagged("post_install", "-at_install")
class TestGoOn(HoldCase):
    PEOPLE = 30

    def test_the_pages_say_until_when_and_why_and_go_on(self):
        self.sent_for()
        batch = self.payments().batch_id
        for record in (batch, self.cycle):
            self.assertEqual(record.mpesa_hold_until, self.manager.mpesa_hold_until)
            self.assertEqual(record.mpesa_hold_reason, "unreachable")
        person = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        action = self.cycle.with_user(person).action_mpesa_go_on()
        self.assertIn("1 of 1 batches", action["params"]["message"])
        self.env.invalidate_all()
        self.assertFalse(batch.mpesa_hold_until or self.cycle.mpesa_hold_until)
        # Who has it go on is one who sends, and does not settle.
        events = self.env["g2p.payment.mpesa.event"].search([("kind", "=", "sent")])
        self.assertIn(person, events.user_id)
        self.run_jobs()
        self.assert_states(paid=30)

    def test_it_does_not_say_that_it_goes_on_where_the_mode_is_another_by_now(self):
        self.sent_for()
        self.env.cr.execute("UPDATE g2p_program_payment_manager_mpesa SET mode = 'live'")
        self.env.invalidate_all()
        action = self.cycle.action_mpesa_go_on()
        self.assertIn("0 of 1 batches", action["params"]["message"])
        self.env.invalidate_all()
        self.assertEqual(self.payments().batch_id.mpesa_reason, "mode_changed")
        self.assertFalse(self.pending())

    def test_where_nobody_has_sent_for_anything_it_asks_first(self):
        self.prepare()
        self.hold()
        action = self.payments().batch_id.action_mpesa_go_on()
        self.assertEqual(action["res_model"], "g2p.payment.mpesa.send.wizard")
        self.assert_states(ready=30)

    def test_nothing_is_said_when_it_is_over_or_nothing_waits(self):
        self.prepare()
        self.hold()
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager_mpesa SET mpesa_hold_until = now() - interval '1 day'"
        )
        self.env.invalidate_all()
        self.assertFalse(self.cycle.mpesa_hold_until)
