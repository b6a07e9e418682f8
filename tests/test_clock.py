"""A machine that was suspended: a claim grows old meanwhile, whatever the machine's own clock says."""

import re
import time
from unittest.mock import patch

from ..gateway import clock
from ..gateway.wire import watch
from ..models.lease import Lease
from .common import ROOT, ProgramCase

READ = time.clock_gettime


def suspended(seconds):
    """As after so long a sleep of the machine: the monotonic clock stood still, the other one went on."""
    asleep = seconds
    return patch.object(
        time, "clock_gettime", lambda which: READ(which) + (asleep if which == time.CLOCK_BOOTTIME else 0)
    )


class TestClock(ProgramCase):
    PEOPLE = 2

    def test_a_claim_grows_old_while_the_machine_is_suspended(self):
        lease = Lease(self.env, 60)
        lease.hold("token")
        self.assertTrue(lease.is_safe("token"))
        with suspended(50):
            self.assertFalse(lease.is_safe("token"))

    def test_no_byte_is_written_after_a_sleep_between_the_look_and_the_request(self):
        watch.start(10)
        with suspended(60), self.assertRaises(TimeoutError):
            watch.about_to_write()

    def test_what_was_claimed_before_a_sleep_does_not_go_out_after_it(self):
        self.prepare()
        hold, now = Lease.hold, clock.now
        asleep = []

        def fall_asleep(lease, token):
            hold(lease, token)
            asleep.append(3600)

        with (
            patch.object(Lease, "hold", fall_asleep),
            patch.object(clock, "now", lambda: now() + sum(asleep)),
        ):
            self.send()
        self.assertEqual(self.gateway.ledger()["count"], 0)
        self.assert_states(ready=2)

    def test_no_other_clock_decides(self):
        for folder in ("models", "gateway", "wizards", "controllers"):
            for path in sorted((ROOT / folder).rglob("*.py")):
                if path.name not in ("clock.py", "live_pages.py"):
                    self.assertFalse(re.search(r"\bmonotonic\(", path.read_text()), path)
