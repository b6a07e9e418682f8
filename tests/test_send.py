from datetime import timedelta
from unittest.mock import patch

import psycopg2

from odoo import fields
from odoo.exceptions import AccessError
from odoo.tests import new_test_user
from odoo.tools import config, mute_logger

from ..models import claims, const, mpesa_send
from ..models.claims import Claims
from .common import ProgramCase, click_send, phone


class TestStop(ProgramCase):
    """It is us, or the gateway: the rest is not tried."""

    def reason(self):
        batch = self.payments().batch_id
        batch.invalidate_recordset()
        return batch.mpesa_reason

    def test_an_empty_float_stops_the_batch_and_calls_finance(self):
        self.manager.balance_endpoint_url = False
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        self.prepare()
        self.gateway.settings(float=350)
        message = self.send()
        self.assert_states(paid=3, ready=7)
        self.assertEqual(self.reason(), "float")
        activity = self.payments().batch_id.activity_ids
        self.assertEqual(activity.user_id, finance)
        self.assertIn("account balance not enough", activity.note)
        self.assertIn("float", message)
        self.send()
        self.assertEqual(len(self.payments().batch_id.activity_ids), 1)
        self.gateway.settings(float=100000)
        self.send()
        self.assert_states(paid=10)
        self.assertFalse(self.reason())
        self.assert_agrees()

    def test_a_wrong_payment_address_stops_and_nobody_is_in_doubt(self):
        self.manager.payment_endpoint_url = self.gateway.url + "/nowhere"
        self.prepare()
        self.send()
        self.assert_states(ready=10)
        self.assertEqual(self.reason(), "setup")

    def test_a_gateway_that_is_away_at_the_start_stops_at_once(self):
        self.prepare()
        self.gateway.kill()
        self.addCleanup(lambda: self.gateway.running or self.gateway.restart())
        self.send()
        self.assert_states(ready=10)
        self.assertEqual(self.reason(), "unreachable")
        self.gateway.restart()
        self.send()
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_a_gateway_that_talks_nonsense_leaves_few_in_doubt(self):
        self.manager.max_connections = 1
        self.prepare()
        self.gateway.fault("*", "html-503-taken")
        self.send()
        self.assert_states(doubt=3, ready=7)
        self.assertEqual(self.reason(), "circuit")
        self.assert_agrees()

    def test_doubts_between_answers_do_not_stop(self):
        self.manager.max_connections = 1
        self.prepare()
        for number in (1, 2, 4, 5, 7, 8):
            self.fault(number, "reset-taken")
        self.send()
        self.assert_states(doubt=6, paid=4)
        self.assert_agrees()

    def test_an_expired_token_is_renewed_and_nothing_is_paid_twice(self):
        self.prepare()
        self.fault(4, "token-expired")
        self.send()
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_one_login_serves_the_batch(self):
        self.manager.balance_endpoint_url = False
        self.prepare()
        self.send()
        logins = self.env["g2p.payment.mpesa.attempt"].search_count([("kind", "=", "login")])
        self.assertEqual(logins, 1)

    def test_a_closed_entitlement_is_not_paid(self):
        self.prepare()
        self.entitlements[2].state = "cancelled"
        self.send()
        self.assert_states(paid=9, ready=1)
        self.assertEqual(self.payments()[2].mpesa_reason, "entitlement_closed")
        self.assertNotIn(phone(2), self.gateway.ledger()["paid"])

    def test_two_people_with_one_phone_are_paid_one_after_the_other(self):
        for person in self.people[:5]:
            person.phone = f"+{phone(0)}"
        self.prepare()
        self.send()
        self.assert_states(paid=10)
        self.assertEqual(self.gateway.requests()["in_flight"]["largest_to_one_payee"], 1)
        self.assert_agrees()

    def test_payments_of_another_manager_are_left_alone(self):
        self.prepare()
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = NULL, mpesa_manager_id = NULL WHERE id = %s",
            [self.payments()[0].id],
        )
        self.env.invalidate_all()
        self.send()
        self.assertEqual(self.payments()[0].state, "issued")
        self.assertEqual(self.gateway.ledger()["count"], 9)

    def test_the_upstream_button_sends_one_payment(self):
        self.prepare()
        self.env.flush_all()
        click_send(self.payments()[3])
        self.assert_states(paid=1, ready=9)
        self.assertEqual(self.payments()[3].mpesa_state, "paid")


class TestOldLook(ProgramCase):
    """A sender looks up more than it claims at once; what others do meanwhile is not undone."""

    def setUp(self):
        super().setUp()
        # However slow the machine is, the look is not repeated.
        self.enterContext(patch.object(claims, "PLAN_SECONDS", 600))
        self.prepare()
        self.env.flush_all()
        self.sender = Claims(self.manager, self.payments().batch_id.ids, None, lease_seconds=60)
        self.addCleanup(self.sender.close)
        self.assertEqual(len(self.claim(1)), 1)

    def claim(self, most):
        return self.sender.record_and_claim([], [], most, lambda token: None)[1]

    def take_and_give_back(self, number):
        other = Claims(self.manager, self.payments().batch_id.ids, None, lease_seconds=60)
        _recorded, taken = other.record_and_claim([], [], number, lambda token: None)
        other.release(taken)
        other.close()
        self.env.invalidate_all()
        return taken

    def test_what_may_have_been_paid_since_is_not_claimed(self):
        self.take_and_give_back(9)
        self.sender.rewind()
        self.sender.release(self.claim(1))
        self.fault(3, "drop-taken")
        self.fault(4, "refuse")
        self.send()
        self.assert_states(sending=1, paid=7, doubt=1, refused=1)
        self.assertEqual(self.claim(20), [])
        self.assert_states(sending=1, paid=7, doubt=1, refused=1)

    def test_what_was_given_back_since_keeps_its_reference(self):
        taken = self.take_and_give_back(4)
        references = {payment.id: payment.mpesa_reference for payment in self.payments()}
        self.assertEqual(len(taken), 4)
        self.assertTrue(all(references[item.payment_id] for item in taken))
        claimed = self.claim(20)
        self.assertEqual(len(claimed), 5)
        self.assertFalse({item.payment_id for item in claimed} & {item.payment_id for item in taken})
        self.sender.rewind()
        again = {item.payment_id: item.order.reference for item in self.claim(20)}
        self.assertEqual(again, {item.payment_id: references[item.payment_id] for item in taken})

    def test_what_became_somebody_elses_since_is_not_claimed(self):
        self.env.cr.execute(
            "UPDATE g2p_entitlement SET partner_id = %s WHERE id = %s",
            [self.people[0].id, self.entitlements[5].id],
        )
        self.env.cr.execute(
            "UPDATE g2p_payment SET account_number = %s WHERE entitlement_id = %s",
            [phone(70), self.entitlements[6].id],
        )
        self.env.invalidate_all()
        self.assertEqual(len(self.claim(20)), 7)
        self.assert_states(sending=8, ready=2)

    def test_the_database_keeps_a_reference_whoever_writes(self):
        self.env.invalidate_all()
        payment = self.payments()[0]
        with self.assertRaises(psycopg2.errors.RaiseException), mute_logger("odoo.sql_db"):
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_reference = 'another' WHERE id = %s", payment.ids
            )


class TestConnections(ProgramCase):
    """Several payments are on their way at once."""

    PEOPLE = 24

    def in_flight(self):
        return self.gateway.requests()["in_flight"]

    def test_as_many_at_once_as_there_are_connections(self):
        self.gateway.settings(latency_ms=100)
        self.addCleanup(self.gateway.settings, latency_ms=0)
        for connections in (1, 4):
            self.gateway.reset()
            self.manager.max_connections = connections
            self.payments().filtered(lambda p: p.mpesa_state == "ready").unlink()
            cycle = self.cycle.copy({"name": f"With {connections}", "state": "approved"})
            for entitlement in self.entitlements:
                entitlement.copy({"cycle_id": cycle.id, "state": "approved"})
            cycle.prepare_payment()
            self.env.flush_all()
            click_send(cycle)
            self.assertEqual(self.in_flight()["largest"], connections)
            self.assertEqual(self.gateway.ledger()["count"], 24)

    def test_never_two_to_one_payee(self):
        self.gateway.settings(latency_ms=50)
        self.addCleanup(self.gateway.settings, latency_ms=0)
        for number, person in enumerate(self.people):
            person.phone = f"+{phone(number % 3)}"
        self.prepare()
        self.send()
        self.assert_states(paid=24)
        self.assertEqual(self.in_flight()["largest_to_one_payee"], 1)
        self.assert_agrees()

    def test_nonsense_on_all_connections_leaves_no_more_in_doubt_than_were_on_their_way(self):
        self.gateway.settings(latency_ms=50)
        self.addCleanup(self.gateway.settings, latency_ms=0)
        self.prepare()
        self.gateway.fault("*", "html-503-taken")
        self.send()
        doubts = self.states().count("doubt")
        self.assertIn(doubts, range(3, 8))
        self.assert_states(doubt=doubts, ready=24 - doubts)
        self.assert_agrees()

    def test_wrong_credentials_in_the_middle_give_the_rest_back(self):
        self.prepare()
        self.gateway.fault("*", "token-expired", count=0)
        self.send()
        self.assert_states(ready=24)
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.gateway.clear_faults()
        self.send()
        self.assert_states(paid=24)
        self.assert_agrees()


class TestJobs(ProgramCase):
    """More than a handful is sent by jobs; here one is run as the runner would."""

    PEOPLE = 26

    def jobs(self):
        return self.env["queue.job"].search([("identity_key", "=like", "mpesa-send-%")])

    def run_job(self, job):
        batch = self.payments().batch_id
        self.env.flush_all()
        self.manager.with_context(job_uuid=job.uuid)._send_payments_job(batch, 500)
        self.env.cr.execute("UPDATE queue_job SET state = 'done' WHERE id = %s", [job.id])
        self.env.invalidate_all()

    def test_a_click_queues_once_and_locks_the_cycle(self):
        self.prepare()
        message = self.send()
        self.assertIn("26 payments are on their way", message)
        self.assertEqual(len(self.jobs()), 1)
        self.assertEqual(self.jobs().channel, "root.mpesa")
        self.assertTrue(self.cycle.locked)
        self.assertIn("being sent already", self.send())
        self.assertEqual(len(self.jobs()), 1)
        self.assert_states(ready=26)

    def test_the_job_sends_and_frees_the_cycle(self):
        self.prepare()
        self.send()
        self.env.cr.execute("UPDATE queue_job SET state = 'started'")
        self.run_job(self.jobs())
        self.assert_states(paid=26)
        self.assertFalse(self.cycle.locked)
        self.assertFalse(self.payments().batch_id.mpesa_wanted_by_id)
        job = self.env["g2p.payment.mpesa.attempt"].search([("kind", "=", "payment")], limit=1).job_uuid
        self.assertEqual(job, self.jobs().uuid)
        self.assert_agrees()

    def test_a_job_ends_before_its_worker_is_killed_and_leaves_the_rest_to_another(self):
        self.manager.max_connections = 1
        self.gateway.settings(latency_ms=100)
        self.addCleanup(self.gateway.settings, latency_ms=0)
        self.prepare()
        self.send()
        first = self.jobs()
        with patch.dict(config.options, {"limit_time_real": 61}):
            self.run_job(first)
        states = self.states()
        self.assertGreater(states.count("paid"), 0)
        self.assertGreater(states.count("ready"), 0)
        self.assertTrue(self.payments().batch_id.mpesa_wanted_by_id)
        rest = self.jobs() - first
        self.assertEqual((len(rest), rest.state), (1, "pending"))
        self.assertTrue(self.cycle.locked)
        self.gateway.settings(latency_ms=0)
        # However few are left: a click would send them beside the job.
        paid = self.gateway.ledger()["count"]
        self.assertIn("being sent already", self.send())
        self.assertEqual((self.gateway.ledger()["count"], self.jobs()), (paid, first + rest))
        self.run_job(rest)
        self.assert_states(paid=26)
        self.assertFalse(self.cycle.locked)
        self.assert_agrees()

    def test_a_job_run_again_sends_nothing_again(self):
        self.prepare()
        self.send()
        self.run_job(self.jobs())
        self.run_job(self.jobs())
        self.assertEqual(self.gateway.ledger()["count"], 26)

    def test_what_a_failed_job_leaves_is_queued_again_for_the_same_person(self):
        person = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.prepare()
        click_send(self.cycle.with_user(person))
        self.env.flush_all()
        self.env.cr.execute("UPDATE queue_job SET state = 'failed'")
        self.env.invalidate_all()
        self.run_cron()
        pending = self.jobs().filtered(lambda job: job.state == "pending")
        self.assertEqual(pending.user_id, person)

    def test_nobody_is_kept_waiting_until_thousands_of_jobs_are_queued(self):
        self.patch(mpesa_send, "MOST_QUEUED", 1)
        self.manager.batch_tag_ids.max_batch_size = 10
        self.prepare()
        self.send()
        self.assertEqual(len(self.jobs()), 1)
        self.assertEqual(len(self.payments().batch_id.mpesa_wanted_by_id), 1)
        for number in range(2, 4):
            queuing = self.env["queue.job"].search(
                [("identity_key", "=like", "mpesa-queue-%"), ("state", "=", "pending")]
            )
            self.assertEqual((len(queuing), queuing.channel), (1, "root.mpesa"))
            queuing.state = "done"
            self.manager.with_context(job_uuid=queuing.uuid)._queue_job()
            self.assertEqual(len(self.jobs()), number)
        self.assertFalse(
            self.env["queue.job"].search(
                [("identity_key", "=like", "mpesa-queue-%"), ("state", "=", "pending")]
            )
        )

    def test_somebody_who_may_send_no_more_sends_no_more_and_finance_is_told(self):
        person = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.prepare()
        click_send(self.cycle.with_user(person))
        self.env.flush_all()
        self.env.cr.execute("UPDATE queue_job SET state = 'failed'")
        person.active = False
        self.run_cron()
        self.assertFalse(self.jobs().filtered(lambda job: job.state == "pending"))
        batch = self.payments().batch_id
        self.assertFalse(batch.mpesa_wanted_by_id)
        self.assertEqual(batch.activity_ids.mapped("summary"), ["Nobody sends this batch"])
        self.assert_states(ready=26)

    def test_what_was_sent_for_in_test_mode_does_not_go_out_live_by_itself(self):
        self.prepare()
        self.send()
        self.manager.mode = "live"
        self.run_job(self.jobs())
        self.assert_states(ready=26)
        batch = self.payments().batch_id
        self.assertEqual(batch.mpesa_reason, "mode_changed")
        self.assertFalse(batch.mpesa_wanted_by_id)
        self.assertFalse(self.cycle.locked)
        self.assertEqual(len(batch.activity_ids), 1)
        self.run_cron()
        self.assertFalse(self.jobs().filtered(lambda job: job.state == "pending"))
        self.send()
        self.run_job(self.jobs().filtered(lambda job: job.state == "pending"))
        self.assert_states(paid=26)
        self.assertEqual(set(self.payments().mapped("mpesa_mode")), {"live"})
        self.assertFalse(batch.mpesa_reason)

    def test_nor_is_a_job_made_for_it_anew(self):
        self.prepare()
        self.send()
        self.env.cr.execute("UPDATE queue_job SET state = 'failed'")
        self.manager.mode = "live"
        self.run_cron()
        self.assertFalse(self.jobs().filtered(lambda job: job.state == "pending"))
        self.assertEqual(self.payments().batch_id.mpesa_reason, "mode_changed")

    def test_a_job_of_before_goes_on_for_a_click_in_the_mode_of_now(self):
        self.prepare()
        self.send()
        self.manager.mode = "live"
        self.assertIn("being sent already", self.send())
        self.run_job(self.jobs())
        self.assert_states(paid=26)

    def test_who_has_clicked_while_another_ones_jobs_waited_is_a_sender(self):
        person = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.prepare()
        self.send()
        self.manager.mode = "live"
        click_send(self.cycle.with_user(person))
        events = self.env["g2p.payment.mpesa.event"].search([("kind", "=", "sent")])
        self.assertEqual(events.batch_id, self.payments().batch_id)
        self.assertEqual(events.user_id, self.env.user | person)

    def test_on_their_way_are_those_that_are_sent_and_no_others(self):
        self.people[1].phone = False
        self.prepare()
        self.entitlements[0].copy({"state": "approved"})
        self.prepare()
        self.assertIn("26 payments are on their way", self.send())

    def test_those_that_are_held_back_make_no_job(self):
        for person in self.people[:20]:
            person.phone = False
        self.prepare()
        self.assertIn("6 sent now", self.send())
        self.assert_states(ready=20, paid=6)

    def test_a_gateway_that_is_away_is_left_in_peace_by_jobs(self):
        self.prepare()
        self.send()
        self.gateway.fault("login", "500")
        self.run_job(self.jobs())
        self.assertGreater(self.manager.mpesa_hold_until, fields.Datetime.now())
        self.gateway.clear_faults()
        self.run_cron()
        self.assertFalse(self.jobs().filtered(lambda job: job.state == "pending"))
        self.run_job(self.jobs())
        self.assert_states(ready=26)
        self.manager.mpesa_hold_until -= timedelta(hours=1)
        self.run_cron()
        self.run_job(self.jobs().filtered(lambda job: job.state == "pending"))
        self.assert_states(paid=26)
        self.assertFalse(self.manager.mpesa_hold_until)

    def test_wrong_credentials_wait_for_a_person_and_not_for_the_clock(self):
        self.manager.password = "wrong"
        self.prepare()
        self.send()
        self.run_job(self.jobs())
        self.assertFalse(self.payments().batch_id.mpesa_wanted_by_id)
        self.run_cron()
        self.assertFalse(self.jobs().filtered(lambda job: job.state == "pending"))


class TestRights(ProgramCase):
    PEOPLE = 2

    def user(self, group):
        groups = "base.group_user" + (f",{group}" if group else "")
        return new_test_user(self.env, f"user-{group or 'none'}", groups=groups)

    def test_who_may_prepare_and_send(self):
        self.prepare()
        batch = self.payments().batch_id
        for group in (
            const.FINANCE,
            "g2p_programs.g2p_program_validator",
            "g2p_registry_base.group_g2p_registrar",
            "",
        ):
            user = self.user(group)
            with self.assertRaises(AccessError, msg=group):
                self.manager.with_user(user).send_payments(batch.with_user(user))
            with self.assertRaises(AccessError, msg=group):
                self.manager.with_user(user)._send_payments(batch.with_user(user))
        self.assert_states(ready=2)
        user = self.user(const.PROGRAM_MANAGER)
        click_send(self.cycle.with_user(user))
        self.assert_states(paid=2)
        self.assertEqual(self.payments().mpesa_sender_id, user)
