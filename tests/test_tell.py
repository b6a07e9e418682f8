from odoo.tests import new_test_user
from odoo.tools.safe_eval import safe_eval

from ..models import const
from ..models.batch_tell import ACTIVITY
from .common import MANAGER, ProgramCase

BATCH = "g2p.payment.batch"


class TellCase(ProgramCase):
    PEOPLE = 4

    def setUp(self):
        super().setUp()
        # The administrators that a database has would be asked as well.
        self.finance = new_test_user(
            self.env, "finance", groups=f"base.group_user,{const.FINANCE}", email="finance@example.org"
        )
        self.sender = new_test_user(
            self.env,
            "sender",
            groups=f"base.group_user,{const.PROGRAM_MANAGER}",
            email="sender@example.org",
            notification_type="inbox",
        )
        self.prepare()
        self.batch = self.payments().batch_id

    def send_as(self, user):
        self.env.flush_all()
        batch = self.batch.with_user(user)
        self.manager.with_user(user)._send_payments(batch)
        self.env.invalidate_all()

    def tell(self):
        self.env.flush_all()
        self.env[BATCH]._cron_mpesa_tell()
        self.env.invalidate_all()

    def messages(self, user=None):
        partner = (user or self.sender).partner_id
        return self.env["mail.message"].search([("notified_partner_ids", "in", partner.ids)])

    def activities(self):
        return self.env["mail.activity"].search([("activity_type_id", "=", self.env.ref(ACTIVITY).id)])


class TestTell(TellCase):
    def test_who_sent_a_batch_is_told_once_how_it_ended(self):
        self.fault(0, "refuse")
        self.fault(1, "500-not-taken")
        self.send_as(self.sender)
        before = self.env["bus.bus"].sudo().search_count([])
        self.tell()
        self.assertIn("2 paid, 1 refused, 1 in doubt", self.messages().body)
        self.assertEqual((self.messages().model, self.messages().res_id), (BATCH, self.batch.id))
        self.assertIn("2 paid", self.batch.message_ids[:1].body)
        self.env.cr.precommit.run()
        self.assertGreater(self.env["bus.bus"].sudo().search_count([]), before)
        self.tell()
        self.assertEqual(len(self.messages()), 1)

    def test_not_before_it_has_ended(self):
        self.send_as(self.sender)
        payment = self.payments()[0]
        for state in ("sending", "accepted"):
            self.env.cr.execute(
                "UPDATE g2p_payment SET mpesa_state = %s, mpesa_sent_at = now() AT TIME ZONE 'UTC'"
                " WHERE id = %s",
                [state, payment.id],
            )
            self.tell()
            self.assertFalse(self.messages())
        # What is accepted and not heard of is not waited for for ever.
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = now() - interval '2 hours'")
        self.tell()
        self.assertEqual(len(self.messages()), 1)

    def test_jobs_tell_once_and_not_each(self):
        self.env.cr.execute(
            "UPDATE g2p_payment_batch SET mpesa_wanted_by_id = %s WHERE id = %s",
            [self.sender.id, self.batch.id],
        )
        self.env.invalidate_all()
        manager = self.manager.with_user(self.sender)
        for _job in range(2):
            self.env.flush_all()
            manager._send_payments_job(self.batch.with_user(self.sender), 2)
            self.tell()
        self.assertEqual(len(self.messages()), 1)
        self.assertIn("4 paid", self.messages().body)

    def test_a_batch_that_stopped_says_why(self):
        self.manager.password = "wrong"
        self.send_as(self.sender)
        self.tell()
        # Nothing of it was sent, so nobody is told that it has ended; who clicked has seen it.
        self.assertFalse(self.messages())
        self.manager.write({"password": "sandbox-secret", "max_connections": 1})
        for number in range(3):
            self.fault(number, "500-not-taken")
        self.send_as(self.sender)
        self.tell()
        self.assertIn("3 in doubt, 1 not sent", self.messages().body)
        self.assertIn("no clear answer", self.messages().body)

    def test_batches_that_ended_before_are_not_told_again(self):
        self.send_as(self.sender)
        self.tell()
        self.send_as(self.sender)
        self.tell()
        self.assertEqual(len(self.messages()), 1)

    def test_a_person_without_an_email_address_stops_nothing(self):
        self.sender.write({"email": False, "notification_type": "email"})
        self.finance.email = False
        self.env.user.email = False
        self.fault(0, "500-not-taken")
        self.send_as(self.sender)
        self.tell()
        self.assertIn("3 paid", self.batch.message_ids[:1].body)
        self.assertTrue(self.activities())


class TestActivity(TellCase):
    def setUp(self):
        super().setUp()
        self.fault(0, "500-not-taken")
        self.fault(1, "500-not-taken")
        self.send_as(self.sender)
        self.assert_states(paid=2, doubt=2)

    def settle(self, payments):
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '1 hour'")
        self.env.invalidate_all()
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=payments.ids)
        wizard.create({"outcome": "not_paid", "reason": "Not on the statement"}).action_settle()
        self.env.invalidate_all()

    def test_one_activity_is_open_until_all_is_settled(self):
        for _run in range(2):
            self.tell()
            self.assertEqual(len(self.activities()), 1)
        self.assertEqual(self.activities().user_id, self.finance)
        self.assertIn("Payments of Cash transfers in doubt: 2", self.activities().summary)
        doubts = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        self.settle(doubts[0])
        self.tell()
        self.assertEqual(len(self.activities()), 1)
        self.settle(doubts[1])
        self.tell()
        self.assertFalse(self.activities())

    def test_not_of_who_sent(self):
        second = new_test_user(self.env, "second", groups=f"base.group_user,{const.FINANCE}")
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sender_id = %s", [self.finance.id])
        self.tell()
        self.assertEqual(self.activities().user_id, second)

    def test_a_gateway_that_can_be_asked_is_given_time(self):
        self.manager.status_endpoint_url = self.gateway.urls["status"]
        self.manager.password = "sandbox-secret"
        self.tell()
        self.assertFalse(self.activities())
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours'")
        self.tell()
        self.assertTrue(self.activities())


class TestDigest(TellCase):
    def digest(self):
        self.env.flush_all()
        mails = self.env[MANAGER]._cron_mpesa_digest()
        return mails.filtered(lambda mail: "finance@example.org" in mail.email_to)

    def test_nothing_is_written_where_nothing_is_open(self):
        self.send_as(self.sender)
        self.assert_states(paid=4)
        self.assertFalse(self.digest())

    def test_doubts_stopped_batches_and_what_cannot_be_sent(self):
        self.people[3].phone = False
        for number in range(3):
            self.fault(number, "500-not-taken")
        self.send_as(self.sender)
        self.assert_states(doubt=3, ready=1)
        body = self.digest().body_html
        self.assertIn("In doubt: 3", " ".join(body.split()))
        self.assertIn("300.00", body)
        self.assertIn(self.batch.name, body)
        self.assertIn("no clear answer several times", body)
        self.assertIn("no payee ID that can be used: 1", " ".join(body.split()))
        self.assertNotIn("2547", body)

    def test_it_leads_to_the_open_doubts_where_there_are_any(self):
        self.people[3].phone = False
        self.fault(0, "500-not-taken")
        self.send_as(self.sender)
        action = self.env.ref("g2p_payment_simple_mpesa.action_doubts")
        self.assertIn(f'/web#action={action.id}"', self.digest().body_html)
        domain = safe_eval(action.domain)
        self.assertEqual(self.env["g2p.payment"].with_user(self.finance).search(domain), self.payments()[0])
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_state = 'paid' WHERE mpesa_state = 'doubt'")
        self.env.invalidate_all()
        self.assertNotIn("#action=", self.digest().body_html)

    def test_it_can_be_switched_off_and_needs_an_address(self):
        self.fault(0, "500-not-taken")
        self.send_as(self.sender)
        self.assertTrue(self.digest())
        self.finance.email = False
        self.assertFalse(self.digest())
        self.finance.email = "finance@example.org"
        self.manager.daily_digest = False
        self.assertFalse(self.digest())

    def test_not_of_another_company(self):
        self.fault(0, "500-not-taken")
        self.send_as(self.sender)
        company = self.env["res.company"].create({"name": "Elsewhere"})
        self.finance.write({"company_ids": [(6, 0, company.ids)], "company_id": company.id})
        self.assertFalse(self.digest())


class TestSignoff(TellCase):
    REPORT = "g2p_payment_simple_mpesa.signoff"

    def html(self, user=None):
        report = self.env["ir.actions.report"].with_user(user or self.finance)
        html, kind = report._render_qweb_html(self.REPORT, self.cycle.ids)
        self.assertEqual(kind, "html")
        return " ".join(html.decode().split())

    def test_totals_and_what_is_open(self):
        self.people[3].phone = False
        self.fault(0, "refuse")
        self.fault(1, "500-not-taken")
        self.send_as(self.sender)
        self.assert_states(refused=1, doubt=1, paid=1, ready=1)
        html = self.html()
        for text in (
            self.batch.name,
            "400.00",
            "Payments that are not closed: 2",
            "no payee ID that can be used",
            "No statement was imported",
            "Approved by",
        ):
            self.assertIn(text, html)
        self.assertNotIn("2547", html)

    def test_nothing_open(self):
        self.send_as(self.sender)
        self.assertIn("each payment was made, or is known not to be", self.html())

    def test_what_a_statement_says_is_on_it(self):
        self.send_as(self.sender)
        statement = self.env["g2p.payment.mpesa.statement"].create(
            {"program_id": self.program.id, "file": b"eA=="}
        )
        # Only what was compared, and not withdrawn, counts.
        statement.sudo().state = "compared"
        statement.flush_recordset()
        for payment, result in zip(self.payments(), ("agreed", "agreed", "agreed", "twice"), strict=True):
            self.env.cr.execute(
                "INSERT INTO g2p_payment_mpesa_statement_line (statement_id, payment_id, kind, result)"
                " VALUES (%s, %s, 'payment', %s)",
                [statement.id, payment.id, result],
            )
        html = self.html()
        self.assertIn("Paid twice", html)
        self.assertIn("Agreed", html)
