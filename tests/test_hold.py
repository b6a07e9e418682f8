from datetime import timedelta

from odoo import fields
from odoo.tests import tagged

from .common import ProgramCase


@tagged("post_install", "-at_install")
class TestHold(ProgramCase):
    PEOPLE = 30

    def test_a_click_lifts_the_hold_for_its_jobs(self):
        self.prepare()
        until = fields.Datetime.now() + timedelta(hours=1)
        self.manager.sudo().write({"mpesa_hold_until": until, "mpesa_hold_reason": "float"})
        self.assertIn("on their way", self.send())
        self.assertFalse(self.manager.mpesa_hold_until)
        self.manager._send_payments_job(self.payments().batch_id, 500)
        self.assert_states(paid=30)
