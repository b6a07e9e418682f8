from .common import ProgramCase

WORDS = "another kind of payment manager"


class TestOtherManagers(ProgramCase):
    """Payments that the program's M-Pesa manager does not send are told, with their number."""

    PEOPLE = 3

    def setUp(self):
        super().setUp()
        self.prepare()
        self.rows = self.payments()

    def give_away(self, *rows):
        """As another kind of manager, like that for cash, would have prepared them."""
        self.env.flush_all()
        for row in rows:
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_state = NULL, mpesa_manager_id = NULL, mpesa_reason = NULL"
                " WHERE id = %s",
                [row.id],
            )
        self.env.invalidate_all()

    def test_send_tells_of_those_of_another_kind(self):
        self.give_away(*self.rows[:2])
        message = self.manager._mpesa_send(self.rows.batch_id)["params"]["message"]
        self.assertIn(f"{WORDS} has prepared, and that M-Pesa does not pay: 2.", message)
        self.assertEqual(self.gateway.ledger()["count"], 1)

    def test_the_dialogue_tells_of_them_before_anything_is_sent(self):
        self.give_away(*self.rows[:2])
        action = self.manager.send_payments(self.rows.batch_id)
        wizard = self.env[action["res_model"]].browse(action["res_id"])
        self.assertIn(": 2.", wizard.others)
        self.assertEqual(wizard.count, 1)

    def test_prepare_tells_of_them(self):
        self.give_away(*self.rows)
        message = self.manager.prepare_payments(self.cycle)["params"]["message"]
        self.assertIn("have a payment already", message)
        self.assertIn(": 3.", message)

    def test_prepare_tells_of_them_beside_what_it_prepares(self):
        self.give_away(*self.rows[:2])
        self.rows[2].unlink()
        params = self.manager.prepare_payments(self.cycle)["params"]
        self.assertIn("One payment is prepared.", params["message"])
        self.assertIn(": 2.", params["message"])
        self.assertTrue(params["sticky"])

    def test_nothing_is_told_where_there_are_none(self):
        action = self.manager.send_payments(self.rows.batch_id)
        self.assertFalse(self.env[action["res_model"]].browse(action["res_id"]).others)
        self.assertNotIn(WORDS, self.manager._mpesa_send(self.rows.batch_id)["params"]["message"])
