"""A few rounds of the random walk; ``dev/chaos`` walks for as long as one likes."""

import os

from odoo.tests import BaseCase, tagged

from .chaos import total, walk

# One cycle of sixty people each: a minute and a half. `dev/chaos` takes five.
ROUNDS, SEED, CYCLES = 20, 1000, 1


@tagged("post_install", "-at_install")
class TestChaos(BaseCase):
    def test_ledger_and_database_agree_after_each_round(self):
        reports = walk(int(os.environ.get("G2P_CHAOS_ROUNDS", ROUNDS)), SEED, CYCLES)
        self.assertFalse([report for report in reports if report.problems], total(reports))
