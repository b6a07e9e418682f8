"""How fast requests go out, and what happens when the gateway says that it is too fast."""

import time
from itertools import pairwise

from odoo.exceptions import ValidationError

from ..gateway import clock
from ..models import dispatch
from ..models.own_cursor import own_transaction
from ..models.pace import Pace
from .common import ProgramCase


class TestPace(ProgramCase):
    def setUp(self):
        super().setUp()
        self.manager.max_connections = 4

    def reserve(self, number, rate=None):
        """Moments for another sender, in seconds from now."""
        if rate is not None:
            self.manager.max_requests_per_second = rate
        with own_transaction(self.env) as own:
            now = clock.now()
            return [moment - now for moment in Pace(self.manager).reserve(own, number)]

    def test_requests_go_out_at_the_rate_and_no_faster(self):
        self.manager.max_requests_per_second = 20
        self.prepare()
        begin = time.monotonic()
        self.send()
        self.assertGreaterEqual(time.monotonic() - begin, 9 / 20)
        self.assert_states(paid=10)
        self.assert_agrees()

    def test_a_rate_of_nought_is_none(self):
        moments = self.reserve(100, rate=0)
        self.assertLess(max(moments), 1)

    def test_senders_take_turns(self):
        first, second = self.reserve(5, rate=2), self.reserve(5)
        together = sorted([*first, *second])
        self.assertGreater(second[0], first[-1])
        gaps = [later - sooner for sooner, later in pairwise(together)]
        for gap in gaps:
            self.assertGreater(gap, 0.4)

    def test_who_comes_late_is_not_given_the_past(self):
        self.reserve(1, rate=1000)
        time.sleep(0.05)
        self.assertGreaterEqual(self.reserve(1)[0], -0.01)

    def test_no_more_is_claimed_than_goes_out_in_a_second(self):
        self.manager.max_requests_per_second = 2
        self.assertEqual(Pace(self.manager).most_at_once, 2)
        self.manager.max_requests_per_second = 0.5
        self.assertEqual(Pace(self.manager).most_at_once, 1)

    def test_a_gateway_that_asks_for_a_pause_gets_it_from_all_senders(self):
        self.manager.max_connections = 1
        self.fault(0, "429-taken", 1, count=1)
        self.prepare()
        begin = time.monotonic()
        self.send()
        self.assertGreaterEqual(time.monotonic() - begin, 1)
        self.assert_states(paid=9, doubt=1)
        self.assert_agrees()

    def test_other_senders_are_told_of_a_pause(self):
        self.patch(dispatch, "LONGEST_PAUSE", 0)
        self.manager.max_connections = 1
        self.fault(0, "429-taken", 20, count=1)
        self.prepare()
        self.send()
        self.assertGreater(self.reserve(1)[0], 15)
        self.assertGreater(self.reserve(1, rate=100)[0], 15)

    def test_a_long_pause_stops_the_batch_and_holds_the_jobs_back(self):
        self.manager.max_connections = 1
        self.fault(0, "429-taken", 1200, count=1)
        self.prepare()
        message = self.send()
        self.assert_states(doubt=1, ready=9)
        self.assertIn("9 not sent", message)
        held = (self.manager.mpesa_hold_until - self.env.cr.now()).total_seconds()
        self.assertGreater(held, 1100)
        self.assert_agrees()

    def test_a_rate_below_nought_is_refused(self):
        with self.assertRaises(ValidationError):
            self.manager.max_requests_per_second = -1


class TestPaceOfStatus(ProgramCase):
    PROFILE = "full"

    def test_status_queries_keep_the_pace_too(self):
        self.gateway.settings(settle_seconds=0)
        self.prepare()
        self.send()
        self.manager.max_requests_per_second = 20
        begin = time.monotonic()
        self.manager._mpesa_refresh_status(self.payments(), most=10)
        self.assertGreaterEqual(time.monotonic() - begin, 9 / 20)
        self.assert_states(paid=10)

    def test_no_more_moments_are_taken_than_those_of_a_second(self):
        """Senders would have to wait for the rest."""
        self.prepare()
        self.send()
        self.manager.write({"max_requests_per_second": 2, "max_connections": 8})
        asked = self.manager._mpesa_refresh_status(ends=clock.now() + 0.2)
        with own_transaction(self.env) as own:
            ahead = Pace(self.manager).seconds_ahead(own)
        self.assertLess(ahead, 1.1)
        self.env.cr.execute("SELECT count(*) FROM g2p_payment WHERE mpesa_checks > 0")
        self.assertLessEqual(self.env.cr.fetchone()[0], 2)
        self.assertLessEqual(asked, 1)

    def test_a_gateway_that_is_to_be_left_alone_is_asked_nothing(self):
        self.prepare()
        self.send()
        with own_transaction(self.env) as own:
            Pace(self.manager).put_off(own, 100)
        self.assertIn("left alone", self.manager._refresh_status_job())
        # Not even what is to be asked for is put off, and no job follows on the other.
        self.env.cr.execute("SELECT count(*) FROM g2p_payment WHERE mpesa_checks > 0")
        self.assertEqual(self.env.cr.fetchone()[0], 0)
        self.assertFalse(self.env["queue.job"].search([("method_name", "=", "_refresh_status_job")]))
        self.assert_states(accepted=10)
