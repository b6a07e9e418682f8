from unittest.mock import patch

import lxml.html
from freezegun import freeze_time

from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import const
from ..report import signoff
from .common import ProgramCase, user_elsewhere

REPORT = "g2p.payment.mpesa.report"
ATTEMPTS = "g2p.payment.mpesa.attempt.report"
MAY_READ = (const.ADMIN, const.PROGRAM_MANAGER, const.FINANCE)


class TestReport(ProgramCase):
    """What can be counted by program, cycle, outcome, reason and day; and contacts by duration."""

    PEOPLE = 4

    def setUp(self):
        super().setUp()
        self.people[3].phone = False
        self.prepare()
        self.fault(0, "refuse")
        self.fault(1, "500-not-taken")
        self.send()
        self.assert_states(refused=1, doubt=1, paid=1, ready=1)
        self.finance = new_test_user(self.env, "finance", groups=f"base.group_user,{const.FINANCE}")

    def groups(self, model, by, measures=("__count",)):
        domain = [("cycle_id", "=", self.cycle.id)]
        return self.env[model].with_user(self.finance)._read_group(domain, by, measures)

    def test_payments_by_program_cycle_and_outcome(self):
        groups = self.groups(REPORT, ["program_id", "cycle_id", "outcome"], ["__count", "amount:sum"])
        found = {outcome: (count, amount) for _program, _cycle, outcome, count, amount in groups}
        self.assertEqual(found, dict.fromkeys(("refused", "doubt", "paid", "ready"), (1, 100)))
        self.assertEqual({row[0] for row in groups}, {self.program})
        self.assertEqual({row[1] for row in groups}, {self.cycle})

    def test_payments_by_reason_and_day(self):
        reasons = dict(self.groups(REPORT, ["reason"]))
        self.assertEqual(reasons, {"payee_unknown": 1, "server_error": 1, "no_payee": 1, False: 1})
        days = {day.date() for day, _count in self.groups(REPORT, ["sent_on:day"]) if day}
        self.assertEqual(days, {self.payments()[2].mpesa_sent_at.date()})
        paid = [count for day, count in self.groups(REPORT, ["paid_on:day"]) if day]
        self.assertEqual(paid, [1])

    def test_other_managers_payments_are_not_counted(self):
        before = self.env[REPORT].search_count([])
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = NULL WHERE id = %s", [self.payments()[0].id]
        )
        self.assertEqual(self.env[REPORT].search_count([]), before - 1)

    def test_a_line_opens_its_payment(self):
        line = self.env[REPORT].with_user(self.finance).search([("outcome", "=", "doubt")], limit=1)
        action = line.action_open_payment()
        self.assertEqual(self.env[action["res_model"]].browse(action["res_id"]).mpesa_state, "doubt")

    def test_attempts_by_duration_and_outcome(self):
        groups = self.groups(ATTEMPTS, ["outcome", "duration"])
        self.assertEqual(
            {
                outcome: sum(count for word, _class, count in groups if word == outcome)
                for outcome, *_ in groups
            },
            {"taken": 1, "refused": 1, "unclear": 1},
        )
        for line in self.env[ATTEMPTS].search([("cycle_id", "=", self.cycle.id)]):
            self.assertEqual(line.duration, "0" if line.seconds < 0.1 else "1" if line.seconds < 0.3 else "2")
        longest = self.groups(ATTEMPTS, [], ["seconds:avg", "longest:max"])[0]
        self.assertLessEqual(longest[0], longest[1])

    def test_each_outcome_of_the_journal_has_a_word(self):
        words = set(dict(self.env[ATTEMPTS]._fields["outcome"].selection))
        self.env.cr.execute("SELECT DISTINCT outcome FROM g2p_payment_mpesa_attempt")
        self.assertLessEqual({row[0] for row in self.env.cr.fetchall()}, words)

    def test_read_by_those_who_may_see_payments_and_by_nobody_else(self):
        for number, group in enumerate(
            (*MAY_READ, "g2p_registry_base.group_g2p_registrar", "base.group_user")
        ):
            user = new_test_user(self.env, f"user-{number}", groups=f"base.group_user,{group}")
            for model in (REPORT, ATTEMPTS):
                with self.subTest(group=group, model=model):
                    lines = self.env[model].with_user(user)
                    if group in MAY_READ:
                        self.assertTrue(lines.search([], limit=1).read(["outcome"]))
                    else:
                        with self.assertRaises(AccessError):
                            lines.search([], limit=1)

    def test_another_company_does_not_see_them(self):
        user = user_elsewhere(self.env, const.FINANCE)
        for model in (REPORT, ATTEMPTS):
            self.assertFalse(self.env[model].with_user(user).search_count([("cycle_id", "=", self.cycle.id)]))


class TestSignoff(ProgramCase):
    """The page that finance signs: what it is about, and what is open."""

    PEOPLE = 6

    def setUp(self):
        super().setUp()
        self.finance = new_test_user(
            self.env, "finance", groups=f"base.group_user,{const.FINANCE}", tz="Africa/Nairobi", name="Jane"
        )
        self.people[4].name = "Amina Yusuf"
        self.people[5].phone = False
        self.prepare()
        self.fault(3, "refuse")
        self.fault(4, "500-not-taken")
        self.send()
        self.assert_states(paid=3, refused=1, doubt=1, ready=1)

    def page(self):
        """Its words, without markup."""
        report = self.env["ir.actions.report"].with_user(self.finance).with_context(tz="Africa/Nairobi")
        html, _type = report._render_qweb_html("g2p_payment_simple_mpesa.signoff", self.cycle.ids)
        page = lxml.html.fromstring(html.decode()).find_class("page")[0]
        return " ".join(page.text_content().split())

    def test_a_test_is_marked_as_one_and_a_live_cycle_is_not(self):
        page = self.page()
        self.assertTrue(page.startswith("TEST Sent in test mode: 5."), page)
        self.assertEqual(page.count("TEST"), 2)
        self.assertIn("Gateway M-Pesa (127.0.0.1), Test: 5", page)
        self.sent_in("live", self.payments())
        page = self.page()
        self.assertNotIn("TEST", page)
        self.assertIn("Gateway M-Pesa (127.0.0.1), Live: 5", page)

    def sent_in(self, mode, payments):
        """As if they had been sent in this mode; what was never sent has none."""
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_mode = %s WHERE id = ANY(%s) AND mpesa_mode IS NOT NULL",
            [mode, payments.ids],
        )
        self.env.invalidate_all()

    def test_the_mode_is_that_in_which_it_was_sent_and_not_that_of_today(self):
        self.assertEqual(self.payments().mapped("mpesa_mode"), ["test"] * 5 + [False])
        self.manager.mode = "live"
        self.assertTrue(self.page().startswith("TEST Sent in test mode: 5."))
        self.sent_in("live", self.payments()[:2])
        page = self.page()
        self.assertTrue(page.startswith("TEST Sent in test mode: 3."), page)
        self.assertIn("Gateway M-Pesa (127.0.0.1), Live: 2 Gateway M-Pesa (127.0.0.1), Test: 3", page)
        self.manager.mode = "test"
        self.sent_in("live", self.payments())
        self.assertNotIn("TEST", self.page())

    def test_where_nothing_was_sent_the_mode_is_that_of_today(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'ready' WHERE cycle_id = %s", [self.cycle.id]
        )
        self.env.invalidate_all()
        page = self.page()
        self.assertTrue(page.startswith("TEST The gateway is in test mode."), page)
        self.assertNotIn("Test:", page)
        self.manager.mode = "live"
        self.assertNotIn("TEST", self.page())

    def test_the_gateway_is_the_one_that_was_paid_by(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'refused' WHERE mpesa_state = 'ready' AND cycle_id = %s",
            [self.cycle.id],
        )
        self.env.invalidate_all()
        self.program.payment_managers = False
        self.assertFalse(self.cycle.mpesa_mode)
        self.assertIn("Gateway M-Pesa (127.0.0.1), Test", self.page())

    def test_sent_elsewhere_is_said(self):
        self.assertNotIn("Sent at another address", self.page())
        self.manager.write({"username": "another@example.org", "password": "x"})
        self.assertIn("Sent at another address, or as another user of the gateway 5", self.page())

    def test_when_and_by_whom_it_was_printed(self):
        with freeze_time("2026-02-01 22:30:40"):
            page = self.page()
        self.assertIn("As of 02/02/2026 01:30", page)
        self.assertIn("(Africa/Nairobi) Printed by Jane", page)

    def test_what_is_open_is_named_by_reason_and_one_by_one(self):
        [doubt] = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_first_sent_at = '2026-02-01 22:30:40' WHERE id = %s", [doubt.id]
        )
        self.env.invalidate_all()
        page = self.page()
        self.assertIn("Payments that are not closed: 2", page)
        self.assertIn("In doubt The gateway had an error of its own 1 100.00", page)
        self.assertIn("Ready This person has no payee ID that can be used 1 100.00", page)
        self.assertIn(f"{doubt.mpesa_reference} Amina Yusuf In doubt 02/02/2026 01:30", page)
        self.assertNotIn("2547", page)

    def test_what_is_on_its_way_is_open_too(self):
        payment = self.payments()[0]
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_state = 'accepted' WHERE id = %s", [payment.id])
        self.env.invalidate_all()
        page = self.page()
        # By outcome, and among what is open.
        self.assertEqual(page.count("Accepted 1 100.00"), 2, page)
        self.assertIn("Payments that are not closed: 3", page)
        self.assertIn(f"{payment.mpesa_reference} {payment.partner_id.name} Accepted", page)

    def test_many_are_counted_and_not_named(self):
        with patch.object(signoff, "MOST_NAMED", 0):
            page = self.page()
        self.assertNotIn("Amina", page)
        self.assertIn("They are too many to be named here", page)
        self.assertIn("In doubt The gateway had an error of its own 1 100.00", page)

    def test_who_was_approved_and_never_prepared_is_open(self):
        self.assertNotIn("no payment was prepared", self.page())
        self.entitlements[0].copy({"state": "approved", "initial_amount": 250})
        page = self.page()
        self.assertIn("Approved, and no payment was prepared: 1 (250.00", page)
        wizard = self.env["g2p.payment.mpesa.reconciliation"].new({"cycle_id": self.cycle.id})
        self.assertEqual(wizard.not_prepared_count, 1)
        self.assertIn("Payments that are not closed: 2", page)
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'paid' WHERE cycle_id = %s", [self.cycle.id]
        )
        self.env.invalidate_all()
        page = self.page()
        self.assertIn("no payment was prepared: 1", page)
        self.assertNotIn("Nothing: each", page)

    def test_nothing_open(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'paid', mpesa_reason = NULL WHERE cycle_id = %s",
            [self.cycle.id],
        )
        self.env.invalidate_all()
        page = self.page()
        self.assertIn("Nothing: each payment was made, or is known not to be.", page)
        self.assertNotIn("In doubt, or on its way", page)
