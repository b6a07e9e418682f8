"""What a file does not say is asked of a person, once, and kept for the gateway."""

import io

from openpyxl import Workbook

from odoo.exceptions import ValidationError

from .common import phone
from .test_statement import StatementCase


class TestSaid(StatementCase):
    def about(self, number, amount="100.00", moment=None, **cells):
        """A line about the ``number``-th person, as plain text."""
        moment = moment or f"{self.rows[number].mpesa_sent_at:%Y-%m-%d %H:%M:%S}"
        return ",".join([f"TX{number}", moment, phone(number), f'"{amount}"', *cells.values()])

    def content(self, *rows, head="Receipt No.,Date,Payee,Amount"):
        return "\n".join([head, *rows]).encode()

    def kinds(self, statement):
        return statement.line_ids.filtered("number").sorted("number").mapped("kind")

    def test_without_a_state_somebody_says_that_all_was_carried_out(self):
        statement = self.upload(self.content(self.about(0)), zone="UTC")
        self.assertFalse(statement.has_status)
        with self.assertRaisesRegex(ValidationError, "whether a line was carried out"):
            statement.action_compare()
        statement.only_carried_out = True
        statement.action_compare()
        self.assertEqual(self.kinds(statement), ["payment"])

    def test_dates_that_do_not_say_which_number_is_the_day(self):
        rows = (self.about(0, moment="05/06/2026 10:00"), self.about(1, moment="07/08/2026 10:00"))
        statement = self.upload(self.content(*rows), only_carried_out=True)
        self.assertFalse(statement.date_order)
        with self.assertRaisesRegex(ValidationError, "which number is the day"):
            statement.action_compare()
        statement.date_order = "mdy"
        statement.action_compare()
        lines = statement.line_ids.filtered("number").sorted("number")
        self.assertEqual([line.moment.month for line in lines], [5, 7])

    def test_some_have_a_minus_and_others_have_none(self):
        rows = (self.about(0, amount="-100.00"), self.about(1))
        statement = self.upload(self.content(*rows), only_carried_out=True)
        self.assertFalse(statement.sign)
        with self.assertRaisesRegex(ValidationError, "what a minus says"):
            statement.action_compare()
        statement.sign = "minus"
        statement.action_compare()
        self.assertEqual(self.kinds(statement), ["payment", "money_in"])

    def test_an_unknown_word_is_asked_once_and_kept_for_the_gateway(self):
        head = "Receipt No.,Date,Payee,Amount,Status"
        rows = [self.about(number, status="Amepokea") for number in (0, 1)]
        statement = self.upload(self.content(*rows, head=head), zone="UTC")
        self.assertEqual(
            statement.word_ids.mapped(lambda word: (word.about, word.word, word.count, word.meaning)),
            [("state", "amepokea", 2, "unknown")],
        )
        with self.assertRaisesRegex(ValidationError, "stands for something else"):
            statement.word_ids.meaning = "fee"
        statement.word_ids.meaning = "carried_out"
        statement.action_compare()
        self.assertEqual(self.kinds(statement), ["payment", "payment"])
        again = self.upload(self.content(self.about(2, status="Amepokea"), head=head), zone="UTC")
        self.assertEqual(again.word_ids.meaning, "carried_out")
        # Also where nobody has looked at the form.
        again.word_ids.unlink()
        again.action_compare()
        self.assertEqual(self.kinds(again), ["payment"])
        # Not that of a comparison that was taken back.
        self.env.cr.execute("UPDATE g2p_payment_mpesa_statement SET state = 'withdrawn'")
        self.env.invalidate_all()
        last = self.upload(self.content(self.about(3, status="Amepokea"), head=head), zone="UTC")
        self.assertEqual(last.word_ids.meaning, "unknown")

    def test_a_word_that_nobody_knows_counts_neither_as_paid_nor_as_not_paid(self):
        head = "Receipt No.,Date,Payee,Amount,Status"
        statement = self.upload(self.content(self.about(4, status="Amepokea"), head=head), zone="UTC")
        statement.action_compare()
        [line] = statement.line_ids.filtered("number")
        self.assertEqual((line.kind, line.why, line.result), ("unreadable", "state", "unreadable"))
        self.assertFalse(statement.line_ids.filtered(lambda found: found.result == "doubt_only_here"))

    def test_an_excel_workbook(self):
        book = Workbook()
        page = book.active
        page.append(["Organization Statement"])
        page.append(["Receipt No.", "Completion Time", "Transaction Status", "Withdrawn", "Other Party Info"])
        for number, row in enumerate(self.rows):
            page.append([f"TX{number}", row.mpesa_sent_at, "Completed", -100, int(phone(number))])
        content = io.BytesIO()
        book.save(content)
        statement = self.upload(content.getvalue(), zone="UTC")
        self.assertTrue(statement.is_workbook)
        self.assertEqual(statement.head, 2)
        statement.action_compare()
        self.assertEqual(list(self.results(statement).values()), ["agreed"] * 4 + ["doubt"] * 2)
