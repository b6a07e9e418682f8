from datetime import timedelta

from odoo import fields
from odoo.tests import new_test_user, tagged

from ..models import const
from .common import ProgramCase


@tagged("post_install", "-at_install")
class TestNotPaidAgain(ProgramCase):
    """A payment that the gateway had taken, and that somebody settles as not paid later."""

    PROFILE = "full"
    PEOPLE = 1

    def settle_not_paid(self):
        payment = self.prepare()
        self.send()
        self.assertEqual(payment.mpesa_state, const.ACCEPTED)
        payment._mpesa_move([const.ACCEPTED], const.DOUBT, [{"id": payment.id}])
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_sent_at = %s WHERE id = %s",
            [fields.Datetime.now() - timedelta(days=8), payment.id],
        )
        self.env.invalidate_all()
        groups = f"base.group_user,{const.FINANCE}"
        finance = new_test_user(self.env, "finance", groups=groups)
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(finance)
        values = {"payment_ids": [(6, 0, payment.ids)], "outcome": "not_paid", "reason": "Not there"}
        wizard.create(values).action_settle()
        self.env.invalidate_all()
        return payment

    def test_what_was_taken_before_the_decision_is_prepared_again(self):
        self.settle_not_paid()
        self.assertEqual(len(self.prepare()), 2)

    def test_what_is_taken_after_the_decision_is_not_prepared_again(self):
        payment = self.settle_not_paid()
        row = {"key": "late", "kind": "payment", "payment_id": payment.id, "outcome": "taken"}
        journal = self.env["g2p.payment.mpesa.attempt"]
        journal._record([{"manager_id": self.manager.id, "started": fields.Datetime.now(), **row}])
        self.assertEqual(len(self.prepare()), 1)
