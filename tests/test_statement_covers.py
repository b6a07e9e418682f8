"""A file says that somebody was not paid only if it can tell; and an unknown line may be anybody's."""

from datetime import timedelta

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import BaseCase, new_test_user

from ..models import const
from ..statement import preamble
from .common import phone
from .test_statement import StatementCase

COMPARED = {
    "account": [["Organization Statement"], ["Short Code", "600997"], ["Operator", "A PERSON"]],
    "portuguese": [["N\u00famero da conta: 600997"]],
    "number": [["Paybill", 600997]],
}


class TestPreamble(BaseCase):
    def test_the_account(self):
        for name, rows in COMPARED.items():
            self.assertEqual(preamble.account_of(rows), "600997", name)
        self.assertIsNone(preamble.account_of([["Account Holder", "Cash transfers"], ["Account"]]))

    def test_the_time(self):
        def period(*row):
            found = preamble.period_of([list(row)], "dmy", "UTC")
            return found and [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in found]

        self.assertEqual(
            period("Time Period", "From 2026-11-01 00:00:00 To 2026-11-20 23:59:59"),
            ["2026-11-01 00:00:00", "2026-11-20 23:59:59"],
        )
        # A day is meant as a whole.
        self.assertEqual(
            period("Per\u00edodo:", "01/11/2026", "a", "20/11/2026"),
            ["2026-11-01 00:00:00", "2026-11-20 23:59:59"],
        )
        self.assertEqual(
            period("From 1 Nov 2026 to 20 Nov 2026"), None, "the words before the sign are not known"
        )
        self.assertIsNone(period("Time Period", "all of it"))


class TestCannotTell(StatementCase):
    def ours(self, statement):
        """Of the doubt of which the file has no line: the result, and why it is not known."""
        line = statement.line_ids.filtered(lambda found: found.payment_id == self.rows[5])
        return line.result, line.why

    def lines(self):
        return [self.line(number) for number in range(5)]

    def test_it_can_tell(self):
        statement = self.compare(*self.lines(), **self.all_of_it())
        self.assertEqual(self.ours(statement), ("doubt_only_here", False))

    def test_nobody_has_said_of_which_account_it_is(self):
        statement = self.compare(*self.lines(), account_is_ours=False, **self.all_of_it())
        self.assertEqual(self.ours(statement), ("cannot_tell", "account"))

    def test_an_account_is_asked_once(self):
        above = "Short Code,600997\n"
        first = self.upload(above.encode() + self.file(*self.lines()))
        self.assertEqual(first.account, "600997")
        first.action_compare()
        new = (
            self.env[first._name]
            .with_user(self.finance)
            .new({"program_id": self.program.id, "file": first.with_context(bin_size=False).file})
        )
        new._onchange_file()
        self.assertTrue(new.account_is_ours)
        new.account = "600111"
        new._onchange_account()
        self.assertFalse(new.account_is_ours)

    def test_a_margin_on_both_sides(self):
        sent = self.rows[5].mpesa_sent_at
        for begin, end, result in (
            (-2, 2, "doubt_only_here"),
            (-0.5, 2, "cannot_tell"),
            (-2, 0.5, "cannot_tell"),
        ):
            statement = self.compare(
                *self.lines(),
                covers_from=sent + timedelta(hours=begin),
                covers_to=min(sent + timedelta(hours=end), fields.Datetime.now()),
            )
            why = False if result == "doubt_only_here" else "period"
            self.assertEqual(self.ours(statement), (result, why), (begin, end))
            statement._withdraw("to compare it again")

    def test_without_a_word_for_it_a_file_is_of_the_time_of_its_lines(self):
        statement = self.compare(*self.lines())
        self.assertIn(self.ours(statement), [("cannot_tell", "period"), (False, False)])

    def test_no_file_lists_what_is_still_to_come(self):
        statement = self.compare(*self.lines(), covers_to=fields.Datetime.now() + timedelta(days=9))
        self.assertLess(statement.period_to, fields.Datetime.now() + timedelta(minutes=5))

    def test_a_line_that_is_not_understood(self):
        statement = self.compare(
            *self.lines(), self.line(2, status="Kesho", receipt="TXX"), **self.all_of_it()
        )
        self.assertEqual(self.ours(statement), ("cannot_tell", "unclear_lines"))


class TestUnexplained(StatementCase):
    def not_paid(self, user=None):
        wizard = (
            self.env["g2p.payment.mpesa.settle.wizard"]
            .with_user(user or self.finance)
            .with_context(active_model="g2p.payment", active_ids=self.rows[5].ids)
            .create({"outcome": "not_paid", "reason": "It is not there"})
        )
        return wizard

    def explain(self, lines, user=None):
        action = lines.with_user(user or self.finance).action_explain()
        wizard = self.env[action["res_model"]].with_user(user or self.finance)
        wizard.with_context(**action["context"]).create({"reason": "Rent of the office"}).action_explain()

    def open_line(self, statement):
        return statement.line_ids.filtered(lambda line: line.number and not line.payment_id)

    def test_a_line_of_that_amount_and_time_bars_not_paid_until_it_is_explained(self):
        statement = self.compare(self.line(0), self.line(5, payee="2547*****999 - SOMEBODY", receipt="TXU"))
        line = self.open_line(statement)
        self.assertEqual((line.kind, line.result), ("payment", "only_there"))
        wizard = self.not_paid()
        self.assertIn(line, wizard.fact_ids)
        with self.assertRaisesRegex(UserError, "may be about"):
            wizard.action_settle()
        self.assertEqual(self.rows[5].mpesa_state, "doubt")
        self.explain(line)
        self.assertEqual((line.explained_by_id, line.explained_reason), (self.finance, "Rent of the office"))
        self.assertTrue(statement.message_ids.filtered(lambda m: "Rent of the office" in (m.body or "")))
        self.not_paid().action_settle()
        self.env.invalidate_all()
        self.assertEqual(self.rows[5].mpesa_state, "refused")

    def test_one_that_is_not_understood_bars_it_too_and_then_the_file_can_tell(self):
        rows = (*(self.line(n) for n in range(5)), self.line(5, status="Kesho", payee="?", receipt="TXU"))
        statement = self.compare(*rows, **self.all_of_it())
        with self.assertRaisesRegex(UserError, "may be about"):
            self.not_paid().action_settle()
        self.explain(self.open_line(statement))
        ours = statement.line_ids.filtered(lambda line: line.payment_id == self.rows[5])
        self.assertEqual(ours.result, "doubt_only_here")
        self.not_paid().action_settle()

    def test_what_a_line_names_that_is_not_understood_waits_until_it_is_explained(self):
        payment = self.rows[5]
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'ready', state = 'issued' WHERE id = %s", payment.ids
        )
        self.env.invalidate_all()
        statement = self.compare(
            self.line(0), self.line(5, status="Kesho", reference=payment.mpesa_reference, receipt="TXU")
        )
        self.manager._mpesa_send(payment.batch_id)
        self.env.invalidate_all()
        self.assertEqual((payment.mpesa_state, payment.mpesa_reason), ("ready", "line_unclear"))
        self.explain(statement.line_ids.filtered(lambda line: line.kind == "unreadable"))
        self.gateway.clear_faults()
        self.manager._mpesa_send(payment.batch_id)
        self.env.invalidate_all()
        self.assertEqual(payment.mpesa_state, "paid")

    def test_not_of_another_amount_or_time_or_to_somebody_elses_number(self):
        for cells in (
            {"amount": "150.00", "payee": "?"},
            {"minutes": 60 * 30, "payee": "?"},
            {"payee": f"{phone(77)} - SOMEBODY"},
        ):
            statement = self.compare(self.line(0), self.line(5, receipt="TXU", **cells))
            self.assertTrue(self.open_line(statement), cells)
            self.assertFalse(self.not_paid().fact_ids, cells)
            statement._withdraw("to try the next")

    def test_only_finance_and_only_what_is_open(self):
        statement = self.compare(self.line(0), self.line(5, payee="?", receipt="TXU"))
        line = self.open_line(statement)
        manager = new_test_user(self.env, "pm", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        with self.assertRaises(AccessError):
            line.with_user(manager)._explain("x")
        with self.assertRaisesRegex(UserError, "about no payment here"):
            (statement.line_ids - line).filtered("number").with_user(self.finance)._explain("x")
        with self.assertRaises(AccessError):
            line.with_user(self.finance).write({"explained_reason": "x"})

    def test_what_statements_show_is_in_the_dialogue(self):
        statement = self.compare(self.line(0), self.line(5, reference=self.rows[5].mpesa_reference))
        self.assertEqual(
            self.not_paid().fact_ids,
            statement.line_ids.filtered(lambda line: line.payment_id == self.rows[5]),
        )
