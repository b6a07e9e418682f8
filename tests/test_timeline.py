from ..models import timeline
from .common import phone
from .test_tell import TellCase


class TestTimeline(TellCase):
    """What happened to a batch stands on its form, in the order in which it happened."""

    def sentences(self):
        self.env.flush_all()
        self.env.invalidate_all()
        return [sentence for _moment, sentence in self.batch.sudo()._mpesa_moments()]

    def settle(self, **vals):
        doubts = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours' WHERE id = ANY(%s)",
            [doubts.ids],
        )
        self.env.invalidate_all()
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=doubts.ids)
        wizard.create(vals).action_settle()

    def test_from_prepare_to_settlement(self):
        self.fault(0, "500-not-taken")
        self.manager.max_connections = 1
        self.send_as(self.sender)
        self.env.cr.execute(
            "UPDATE g2p_payment_batch SET mpesa_last_paid_at = mpesa_first_paid_at + interval '1 microsecond'"
        )
        self.tell()
        self.settle(outcome="not_paid", reason="Not on the statement")
        self.assertEqual(
            self.sentences(),
            [
                f"Prepared by {self.env.user.name}",
                f"Sent by {self.sender.name}",
                "The first payment was paid",
                "The latest payment was paid",
                "Sending ended",
                f"Settled as not paid by {self.finance.name}. Payments: 1",
            ],
        )
        html = self.batch.mpesa_timeline
        self.assertEqual(html.count("<li "), 6)
        self.assertNotIn(phone(0), html)

    def test_it_says_why_it_stopped_and_once(self):
        self.manager.password = "wrong"
        for _click in range(2):
            self.send_as(self.sender)
        kinds = self.env["g2p.payment.mpesa.event"].search([("batch_id", "=", self.batch.id)]).mapped("kind")
        self.assertEqual(kinds, ["prepared", "sent", "stopped", "sent", "stopped"])
        self.assertTrue(self.sentences()[2].startswith("Sending stopped: "))
        for _job in range(2):
            self.batch._mpesa_note_stop("credentials", "")
        self.assertEqual(len(self.sentences()), 5)

    def test_moments_look_like_those_of_the_form(self):
        self.env.cr.execute("UPDATE g2p_payment_mpesa_event SET moment = '2026-02-01 22:30:40'")
        self.env.invalidate_all()
        for zone, shown in (("Africa/Nairobi", "Feb 2, 2026, 1:30 AM"), ("UTC", "Feb 1, 2026, 10:30 PM")):
            # Newer versions of babel put a narrow space before AM and PM.
            html = " ".join(self.batch.with_context(tz=zone).mpesa_timeline.split())
            self.assertIn(f">{shown}<", html)

    def test_a_name_is_text(self):
        self.sender.name = "<b>Bold</b>"
        self.send_as(self.sender)
        self.assertIn("&lt;b&gt;Bold", self.batch.mpesa_timeline)

    def test_an_event_that_is_written_twice_is_one(self):
        moment = timeline.now()
        for _try in range(2):
            self.batch._mpesa_happened("sent", moment, numbers={self.batch.id: 4})
        self.assertEqual(len(self.sentences()), 2)

    def test_when_the_first_and_the_last_were_paid_is_known_from_the_move(self):
        self.assertFalse(self.batch.mpesa_first_paid_at)
        self.manager._send_some(self.payments()[0])
        self.env.invalidate_all()
        first = self.batch.mpesa_first_paid_at
        self.assertEqual(self.batch.mpesa_last_paid_at, first)
        self.send_as(self.sender)
        self.assertEqual(self.batch.mpesa_first_paid_at, first)
        self.assertGreater(self.batch.mpesa_last_paid_at, first)
        last = self.batch.mpesa_last_paid_at
        self.batch._mpesa_refresh_figures()
        self.env.invalidate_all()
        self.assertEqual((self.batch.mpesa_first_paid_at, self.batch.mpesa_last_paid_at), (first, last))

    def test_whoever_sees_the_batch_sees_it(self):
        self.send_as(self.sender)
        self.assertIn("Sent by", self.batch.with_user(self.finance).mpesa_timeline)
