from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import const
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
