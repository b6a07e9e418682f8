from datetime import timedelta
from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import new_test_user

from ..gateway.simple import Status
from ..models import const, mpesa_status
from ..models.dispatch import Dispatch
from ..models.mpesa_status import StatusQuery
from .common import ProgramCase, phone
from .harness import load_dev, wait_until


class FullProfileCase(ProgramCase):
    """A gateway with a status query that honours the idempotency key."""

    PROFILE = "full"
    PEOPLE = 4

    def ask(self):
        """The scheduled job, with every payment due."""
        self.age("mpesa_next_check", "2 days")
        self.run_cron()
        self.env.invalidate_all()

    def age(self, column, interval="1 hour"):
        """Move a moment of all payments into the past."""
        self.env.flush_all()
        self.env.cr.execute(f"UPDATE g2p_payment SET {column} = {column} - interval '{interval}'")
        self.env.invalidate_all()

    def attempts(self, kind):
        return self.env["g2p.payment.mpesa.attempt"].search([("kind", "=", kind)])


class TestStatus(FullProfileCase):
    def test_taken_is_accepted_until_the_gateway_confirms_it(self):
        self.prepare()
        self.send()
        self.assert_states(accepted=4)
        self.assertEqual(set(self.payments().mapped("status")), {False})
        self.ask()
        self.assert_states(paid=4)
        payment = self.payments()[0]
        self.assertEqual(
            (payment.state, payment.status, payment.status_is_final), ("reconciled", "paid", True)
        )
        self.assertEqual(payment.amount_paid, 100)
        self.assertTrue(payment.mpesa_receipt)
        self.assert_agrees()

    def test_a_doubt_that_was_paid_ends_as_paid(self):
        self.prepare()
        self.fault(1, "late-taken", 2)
        self.fault(2, "drop-taken")
        self.send()
        self.assert_states(accepted=2, doubt=2)
        self.ask()
        self.assert_states(paid=4)
        self.assert_agrees()

    def test_pending_is_asked_for_again_later_and_less_often(self):
        self.prepare()
        self.fault(1, "pending")
        self.send()
        self.ask()
        self.assert_states(paid=3, accepted=1)
        payment = self.payments()[1]
        first = payment.mpesa_next_check
        self.ask()
        payment.invalidate_recordset()
        self.assertEqual(payment.mpesa_checks, 2)
        self.assertGreater(payment.mpesa_next_check, first)

    def test_what_is_not_due_is_not_asked_for(self):
        self.prepare()
        self.fault(1, "pending")
        self.send()
        self.ask()
        asked = len(self.attempts("status"))
        self.run_cron()
        self.assertEqual(len(self.attempts("status")), asked)

    def test_failed_later_is_refused_and_may_be_prepared_again(self):
        self.prepare()
        self.fault(1, "fails-later", 0)
        self.send()
        self.ask()
        self.assert_states(paid=3, refused=1)
        self.assertEqual(self.payments()[1].mpesa_reason, "failed_later")
        self.assert_agrees()

    def test_failed_says_nothing_of_what_was_sent_once_more_since_it_was_looked_up(self):
        self.prepare()
        self.fault(1, "fails-later", 0)
        self.send()
        self.env.flush_all()
        query = StatusQuery(self.manager, None)
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_next_check = '2020-01-01'")
        due = query._claim(self.env, 10)
        payment = self.payments()[1]
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_claim = 'another' WHERE id = %s", payment.ids)
        failed = Status("failed")
        row = next(found for found in due if found["id"] == payment.id)
        sources, target, confirmed, values = query._move(row, failed)
        self.assertEqual(target, "refused")
        moved = self.env["g2p.payment"]._mpesa_move(sources, target, [values], confirmed=confirmed)
        self.assertFalse(moved)
        self.assert_states(accepted=4)

    def test_the_grace_is_longer_than_the_longest_request(self):
        self.manager.api_timeout = 120
        self.assertEqual(self.manager._mpesa_grace(), 12)
        self.manager.api_timeout = 10
        self.assertEqual(self.manager._mpesa_grace(), const.GRACE)

    def send_without_float(self):
        self.gateway.settings(float=0)
        self.env.flush_all()
        self.manager._send_some(self.payments()[1])
        self.gateway.settings(float=1_000_000)
        self.assert_states(ready=4)
        self.assertEqual(self.payments()[1].mpesa_reason, "float")

    def test_a_failure_of_the_first_time_says_nothing_of_the_second(self):
        """No float at first; then the gateway takes longer than the time-out, and tells of the first time."""
        self.prepare()
        self.send_without_float()
        self.manager.api_timeout = 1
        self.fault(1, "late-taking", 3, count=1)
        self.send()
        self.assert_states(accepted=3, doubt=1)
        self.ask()
        self.assert_states(paid=3, doubt=1)
        answers = self.attempts("status").filtered(lambda a: a.payment_id == self.payments()[1])
        self.assertEqual(answers.mapped("outcome"), ["failed"])
        wait_until(lambda: self.gateway.ledger()["count"] == 4, "the gateway takes it")
        self.ask()
        self.assert_states(paid=4)
        self.assert_agrees()

    def test_a_failure_is_believed_once_it_can_only_be_the_last_time(self):
        self.prepare()
        self.send_without_float()
        self.fault(1, "drop-not-taken", count=1)
        self.send()
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.age("mpesa_sent_at")
        self.ask()
        self.assert_states(paid=3, refused=1)

    def test_never_seen_is_sent_again_with_the_same_reference_after_a_while(self):
        self.prepare()
        self.fault(1, "drop-not-taken", count=1)
        self.send()
        reference = self.payments()[1].mpesa_reference
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.age("mpesa_sent_at")
        self.manager.mode = "live"
        self.ask()
        self.assert_states(paid=3, accepted=1)
        self.ask()
        self.assert_states(paid=4)
        self.assertEqual(self.payments()[1].mpesa_reference, reference)
        # What was tried stays a trial.
        self.assertEqual(self.payments()[1].mpesa_mode, "test")
        self.assert_agrees()

    def lost(self):
        """A payment of which the order was lost on its way."""
        self.prepare()
        self.fault(1, "drop-not-taken", count=1)
        self.send()
        self.age("mpesa_sent_at")
        return self.payments()[1]

    def assert_it_stays_a_doubt(self):
        self.env.flush_all()
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.assertEqual(self.gateway.ledger()["count"], 3)

    def test_never_seen_is_not_sent_again_once_the_gateway_may_have_forgotten_the_key(self):
        lost = self.lost()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_first_sent_at = mpesa_first_sent_at - interval '25 hours'"
            " WHERE id = %s",
            [lost.id],
        )
        self.assert_it_stays_a_doubt()

    def test_never_seen_is_not_sent_again_where_no_key_is_kept(self):
        self.lost()
        self.manager.key_hours = 0
        self.assert_it_stays_a_doubt()

    def test_never_seen_is_not_sent_again_once_the_entitlement_is_cancelled(self):
        self.lost().entitlement_id.state = "cancelled"
        self.assert_it_stays_a_doubt()

    def test_never_seen_is_not_sent_again_once_the_cycle_is_cancelled(self):
        self.lost()
        self.cycle.state = "cancelled"
        self.assert_it_stays_a_doubt()

    def test_never_seen_is_not_sent_again_once_the_person_has_another_number(self):
        self.lost().partner_id.phone = "+254711111111"
        self.assert_it_stays_a_doubt()

    def test_never_seen_is_not_sent_again_above_the_limit_of_now(self):
        self.lost()
        self.manager.max_amount = 50
        self.assert_it_stays_a_doubt()

    def test_never_seen_stays_a_doubt_where_the_key_is_not_honoured(self):
        self.manager.honours_idempotency_key = False
        self.prepare()
        self.fault(1, "drop-not-taken", count=1)
        self.send()
        self.age("mpesa_sent_at")
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.assertEqual(self.gateway.ledger()["count"], 3)

    def test_never_seen_by_another_gateway_says_nothing(self):
        self.prepare()
        self.fault(1, "drop-taken", count=1)
        self.send()
        self.assert_states(accepted=3, doubt=1)
        other = load_dev("sandbox.client").SandboxProcess(profile="full")
        with other:
            self.manager.write(
                {
                    "auth_endpoint_url": other.urls["login"],
                    "payment_endpoint_url": other.urls["deposit"],
                    "status_endpoint_url": other.urls["status"],
                    "password": "sandbox-secret",
                }
            )
            self.age("mpesa_sent_at")
            self.ask()
            self.ask()
            self.assertEqual(other.ledger()["count"], 0)
        self.assert_states(accepted=3, doubt=1)

    def test_another_amount_at_the_gateway_is_a_doubt(self):
        self.prepare()
        self.send()
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET amount_issued = 90 WHERE id = %s", [self.payments()[1].id]
        )
        self.env.invalidate_all()
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.assertEqual(self.payments()[1].mpesa_reason, "amount_differs")

    def test_another_amount_than_a_doubt_went_out_with_is_told(self):
        self.prepare()
        self.fault(1, "drop-taken")
        self.send()
        self.env.cr.execute(
            "UPDATE g2p_payment SET amount_issued = 90 WHERE id = %s", [self.payments()[1].id]
        )
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.assertEqual(self.payments()[1].mpesa_reason, "amount_differs")

    def test_a_doubt_that_has_just_been_sent_is_not_sent_again(self):
        """Two ask at once: the first sends again what was never seen, and is in doubt once more."""
        self.prepare()
        self.fault(1, "drop-not-taken", count=2)
        self.send()
        self.age("mpesa_sent_at")
        doubt = self.payments()[1]
        for _twice in range(2):
            Dispatch(self.manager, self.env["g2p.payment.batch"]).send_again(doubt.ids)
        self.assertEqual(len(self.attempts("payment").filtered(lambda a: a.payment_id == doubt)), 2)
        self.assert_states(accepted=3, doubt=1)

    def test_no_news_for_days_is_a_persons_task(self):
        self.prepare()
        self.fault(1, "pending")
        self.send()
        self.ask()
        self.age("mpesa_first_sent_at", "8 days")
        self.ask()
        self.assert_states(paid=3, doubt=1)
        self.assertEqual(self.payments()[1].mpesa_reason, "no_news")

    def test_what_never_arrives_is_sent_again_for_days_and_is_then_a_persons_task(self):
        finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")
        self.prepare()
        self.fault(1, "drop-not-taken")
        self.send()
        payment = self.payments()[1]
        for _attempt in range(2):
            self.age("mpesa_sent_at")
            self.ask()
        self.assertEqual(self.orders_of(payment), 3)
        self.age("mpesa_first_sent_at", "8 days")
        for _attempt in range(2):
            self.age("mpesa_sent_at")
            self.ask()
            self.assertEqual((payment.mpesa_state, payment.mpesa_reason), ("doubt", "no_news"))
        self.assertEqual(self.orders_of(payment), 3)
        activity = payment.batch_id.activity_ids
        self.assertEqual((activity.user_id, activity.summary), (finance, "No news for 7 days"))
        # It is still asked for, and told once.
        activity.action_done()
        asked = len(self.attempts("status"))
        self.ask()
        self.assertGreater(len(self.attempts("status")), asked)
        self.assertFalse(payment.batch_id.activity_ids)
        self.assert_agrees()

    def orders_of(self, payment):
        return len(payment.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "payment"))

    def test_a_wrong_status_address_is_not_taken_for_never_seen(self):
        self.prepare()
        self.fault(1, "drop-not-taken", count=1)
        self.send()
        self.manager.status_endpoint_url = self.gateway.url + "/nowhere"
        self.age("mpesa_sent_at")
        self.ask()
        self.assert_states(accepted=3, doubt=1)

    def test_one_failing_manager_does_not_stop_another(self):
        self.prepare()
        self.send()
        broken = self.manager.copy(
            {"password": "wrong", "batch_tag_ids": [(6, 0, self.manager.batch_tag_ids.ids)]}
        )
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_manager_id = %s WHERE id = %s", [broken.id, self.payments()[0].id]
        )
        self.env.invalidate_all()
        self.ask()
        self.assert_states(paid=3, accepted=1)

    def test_refresh_button_asks_now(self):
        self.prepare()
        self.send()
        self.payments()[0].action_mpesa_refresh_status()
        self.assert_states(paid=1, accepted=3)
        self.payments().batch_id.action_mpesa_refresh_status()
        self.assert_states(paid=4)

    def test_refresh_button_says_when_the_gateway_is_away(self):
        self.prepare()
        self.send()
        self.fault("login", "500")
        with self.assertRaises(UserError):
            self.payments().batch_id.action_mpesa_refresh_status()

    def fault(self, who, kind, *args, **kwargs):
        if isinstance(who, str):
            return self.gateway.fault(who, kind, *args, **kwargs)
        return super().fault(who, kind, *args, **kwargs)


class TestManyQueries(FullProfileCase):
    """More than one at a time, and more than one run."""

    PEOPLE = 24

    def setUp(self):
        super().setUp()
        self.prepare()
        self.send()
        self.assert_states(accepted=24)

    def at_once(self):
        """The most queries that were under way in one moment, by the journal."""
        self.env.invalidate_all()
        spans = [(a.started, a.started + timedelta(seconds=a.seconds)) for a in self.attempts("status")]
        return max(sum(begin <= moment < end for begin, end in spans) for moment, _end in spans)

    def jobs(self):
        return self.env["queue.job"].search([("method_name", "=", "_refresh_status_job")])

    def test_as_many_are_asked_at_once_as_there_are_connections(self):
        self.gateway.settings(latency_ms=200)
        self.addCleanup(self.gateway.settings, latency_ms=0)
        self.ask()
        self.assertEqual(self.at_once(), self.manager.max_connections)
        self.assert_states(paid=24)
        self.assert_agrees()

    def test_one_after_the_other_where_there_is_one_connection(self):
        self.manager.max_connections = 1
        self.ask()
        self.assertEqual(self.at_once(), 1)
        self.assert_states(paid=24)

    def test_what_a_run_leaves_is_asked_for_by_jobs_one_at_a_time(self):
        with patch.object(mpesa_status, "MOST_IN_RUN", 5):
            self.ask()
            self.assert_states(paid=5, accepted=19)
            self.run_cron()
        self.assertEqual(len(self.jobs()), 1)
        self.run_cron()
        self.assert_states(paid=24)
        self.assertEqual(len(self.jobs()), 1)

    def test_a_job_asks_for_what_is_due_and_leaves_the_rest_to_another(self):
        self.age("mpesa_next_check", "2 days")
        with patch.object(mpesa_status, "SECONDS_IN_JOB", 0):
            self.manager._refresh_status_job()
        self.assert_states(accepted=24)
        self.assertEqual(len(self.jobs()), 1)
        self.manager._refresh_status_job()
        self.assert_states(paid=24)
        self.assertEqual(len(self.jobs()), 1)
        self.assert_agrees()

    def test_what_is_not_asked_for_any_more_after_a_failure_is_due_still(self):
        self.manager.max_connections = 2
        self.fault("status", "500")
        self.ask()
        asked = len(self.attempts("status"))
        self.assertIn(asked, range(3, 6))
        self.assert_states(accepted=24)
        self.gateway.clear_faults()
        self.run_cron()
        self.assert_states(paid=24 - asked, accepted=asked)

    def fault(self, who, kind, *args, **kwargs):
        self.gateway.fault(who, kind, *args, **kwargs)


class TestLease(FullProfileCase):
    def strand(self):
        """Leave the second payment as a sender leaves it that dies."""
        payment = self.payments()[1]
        self.env.flush_all()
        self.env["g2p.payment"]._mpesa_move(
            ["ready"],
            "sending",
            [{"id": payment.id, "mpesa_reference": payment.mpesa_reference, "account_number": phone(1)}],
            new_claim={
                "token": "dead",
                "gateway": self.manager._mpesa_gateway(),
                "mode": "test",
                "user_id": self.env.uid,
                "lease_seconds": 60,
            },
        )
        return payment

    def test_a_live_claim_is_left_alone(self):
        self.prepare()
        payment = self.strand()
        self.ask()
        self.assertEqual(payment.mpesa_state, "sending")

    def test_a_dead_senders_claim_becomes_a_doubt_and_never_ready(self):
        self.prepare()
        payment = self.strand()
        self.age("mpesa_lease_until")
        self.run_cron()
        self.env.invalidate_all()
        self.assertEqual((payment.mpesa_state, payment.mpesa_reason), ("doubt", "sender_died"))
        self.assertEqual(len(self.attempts("lease")), 1)
        self.assertEqual(payment.batch_id.mpesa_doubt_count, 1)
        self.send()
        self.assertNotIn(phone(1), self.gateway.ledger()["paid"])
