from datetime import timedelta

from odoo.exceptions import UserError

from ..models import const
from .test_statement import StatementCase


class FactsCase(StatementCase):
    """Lines that name payments, and payments that were moved since."""

    def put(self, number, state, status=None, openg2p="sent"):
        """As a status answer, or time, would have moved it since."""
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = %s, status = %s, state = %s, amount_paid = NULL"
            " WHERE id = %s",
            [state, status, openg2p, self.rows[number].id],
        )
        self.env.invalidate_all()
        self.rows.batch_id._mpesa_refresh_figures()

    def refuse(self, number):
        self.put(number, const.REFUSED, "failed")

    def named(self, number, **more):
        return self.line(number, reference=self.rows[number].mpesa_reference, **more)

    def back(self, number, amount="100.00", receipt="BACK"):
        """A line by which money of the line about the ``number``-th person came back."""
        moment = self.rows[number].mpesa_sent_at + timedelta(hours=4)
        cells = (receipt, moment.strftime("%d-%m-%Y %H:%M:%S"), "Reversal", "Completed", amount, "", "", "")
        return ",".join((*cells, f"TX{number}"))

    def file(self, *lines, head=None):
        head = head or (
            "Receipt No.,Completion Time,Details,Transaction Status,Paid In,Withdrawn,Other Party Info,"
            "Our Reference,Linked Transaction ID"
        )
        return super().file(*lines, head=head)

    def settle_by(self, statement, lines=None):
        lines = statement.line_ids.filtered("payment_id") if lines is None else lines
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        wizard = wizard.with_context(active_model=lines._name, active_ids=lines.ids)
        wizard.create({}).action_settle()
        self.env.invalidate_all()

    def by_hand(self, number, outcome):
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=self.rows[number].ids)
        wizard.create({"outcome": outcome, "reason": "It is not there"}).action_settle()
        self.env.invalidate_all()

    def prepared_again(self):
        """Whom a further Prepare makes payments for, by their number."""
        before = self.payments()
        self.prepare()
        entitlements = (self.payments() - before).entitlement_id
        return [number for number, row in enumerate(self.rows) if row.entitlement_id in entitlements]


class TestStatementFacts(FactsCase):
    """What statements show counts as it is, however payments stood when they were compared."""

    def test_accepted_when_it_was_compared_and_in_doubt_since(self):
        self.put(3, const.ACCEPTED)
        statement = self.compare(self.named(3))
        found = statement.line_ids.filtered("receipt").result
        self.assertEqual((found, statement.settle_count), ("under_way", 0))
        self.put(3, const.DOUBT)
        with self.assertRaisesRegex(UserError, "shows that this was paid"):
            self.by_hand(3, "not_paid")
        self.assertEqual(statement.settle_count, 1)
        self.assertTrue(statement.line_ids.filtered("receipt").can_settle)
        statement.with_user(self.finance).action_settle()
        self.settle_by(statement, statement.line_ids.filtered("receipt"))
        self.assertEqual(self.rows[3].mpesa_state, "paid")
        self.assert_figures()

    def test_in_doubt_when_it_was_compared_and_refused_by_the_gateway_since(self):
        statement = self.compare(self.named(4))
        self.refuse(4)
        self.assertEqual(self.prepared_again(), [])
        groups = self.rows.batch_id._mpesa_refused_for_now()
        self.assertNotIn(self.rows[4], groups[const.AGAIN] + groups[const.CORRECT])
        self.settle_by(statement, statement.line_ids.filtered("receipt"))
        row = self.rows[4]
        self.assertEqual((row.mpesa_state, row.status, row.amount_paid), ("paid", "paid", 100))
        self.assert_figures()

    def test_paid_when_it_was_compared_is_not_sent_again_whatever_it_is_now(self):
        self.compare(*(self.named(number) for number in range(4)))
        for number in range(4):
            self.refuse(number)
        self.assertEqual(self.prepared_again(), [])

    def test_what_came_back_in_a_later_file_can_be_paid_again(self):
        self.refuse(4)
        self.compare(self.named(4))
        self.assertEqual(self.prepared_again(), [])
        self.compare(self.back(4))
        self.assertEqual(self.prepared_again(), [4])

    def test_what_came_back_in_a_file_that_was_compared_before(self):
        self.refuse(4)
        self.compare(self.back(4))
        self.compare(self.named(4))
        self.assertEqual(self.prepared_again(), [4])

    def test_a_small_refund_lifts_nothing(self):
        self.refuse(4)
        self.compare(self.named(4))
        self.compare(self.back(4, amount="5.00"))
        self.assertEqual(self.prepared_again(), [])

    def test_one_transaction_in_two_files_is_one(self):
        self.refuse(4)
        self.compare(self.named(4))
        self.compare(self.named(4), self.named(0))
        self.compare(self.back(4))
        self.assertEqual(self.prepared_again(), [4])

    def test_paid_twice_and_back_once_is_paid(self):
        self.refuse(4)
        self.compare(self.named(4), self.named(4, receipt="TX99"))
        self.compare(self.back(4))
        self.assertEqual(self.prepared_again(), [])

    def test_a_program_with_another_account_prepares_it_no_more_either(self):
        self.compare(self.named(4))
        self.refuse(4)
        self.manager.write({"username": "another@example.org", "password": "another"})
        self.assertEqual(self.prepared_again(), [])

    def test_by_payee_alone_a_refused_one_is_not_settled_as_paid(self):
        statement = self.compare(self.line(4, receipt="TX4"))
        self.refuse(4)
        self.assertEqual(statement.settle_count, 0)
        with self.assertRaisesRegex(UserError, "by reference or receipt alone"):
            self.settle_by(statement, statement.line_ids.filtered("receipt"))
        self.assertEqual(self.rows[4].mpesa_state, "refused")

    def test_ready_and_named_by_a_statement_can_be_settled_as_paid(self):
        statement = self.compare(self.named(4))
        self.put(4, const.READY, openg2p="issued")
        self.settle_by(statement, statement.line_ids.filtered("receipt"))
        self.assertEqual((self.rows[4].mpesa_state, self.rows[4].mpesa_receipt), ("paid", "TX4"))
        self.assert_figures()

    def test_ready_is_not_written_off_where_a_statement_shows_it_as_paid(self):
        self.compare(self.named(4))
        self.put(4, const.READY, openg2p="issued")
        with self.assertRaisesRegex(UserError, "shows that this was paid"):
            self.by_hand(4, "write_off")

    def test_not_by_who_prepared_it(self):
        statement = self.compare(self.named(4))
        self.put(4, const.READY, openg2p="issued")
        self.env.cr.execute("UPDATE g2p_payment SET create_uid = %s", [self.finance.id])
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "You have prepared"):
            self.settle_by(statement, statement.line_ids.filtered("receipt"))

    def test_what_was_prepared_in_its_place_ends_first(self):
        self.refuse(4)
        self.assertEqual(self.prepared_again(), [4])
        statement = self.compare(self.named(4))
        line = statement.line_ids.filtered("receipt")
        with self.assertRaisesRegex(UserError, "Another payment was prepared"):
            self.settle_by(statement, line)
        later = self.payments() - self.rows
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        wizard = wizard.with_context(active_model="g2p.payment", active_ids=later.ids)
        wizard.create({"outcome": "write_off", "reason": "Paid by the first"}).action_settle()
        self.settle_by(statement, line)
        self.assertEqual(self.rows[4].mpesa_state, "paid")

    def test_a_part_or_another_amount_settles_nothing(self):
        statement = self.compare(self.named(4, amount="90.00"))
        self.assertEqual(statement.settle_count, 0)
        with self.assertRaises(UserError):
            self.settle_by(statement, statement.line_ids.filtered("receipt"))
        self.assertEqual(self.rows[4].mpesa_state, "doubt")

    def test_two_lines_that_make_the_amount_together_settle_nothing(self):
        parts = self.named(4, amount="60.00"), self.named(4, amount="40.00", receipt="TX44")
        self.assertEqual(self.compare(*parts).settle_count, 0)

    def alike(self, *numbers):
        """Payments to one payee, half an hour after each other."""
        self.env.flush_all()
        for place, number in enumerate(numbers):
            self.env.cr.execute(
                "UPDATE g2p_payment SET account_number = %s,"
                " mpesa_sent_at = mpesa_sent_at + %s * interval '30 minutes' WHERE id = %s",
                [self.rows[numbers[0]].account_number, place, self.rows[number].id],
            )
        self.env.invalidate_all()

    def line_to(self, number, moment_of, receipt, minutes=0):
        """A line to the payee of one, at the time of another, without a reference."""
        payee = self.rows[number].account_number
        return self.line(moment_of, receipt=receipt, payee=f"{payee} - PERSON", minutes=minutes)

    def test_a_line_is_that_of_a_payment_recorded_as_paid_before_it_is_that_of_a_doubt(self):
        """Paid late: its line is nearer to the doubt, which was not paid."""
        self.alike(3, 4)
        statement = self.compare(self.line_to(3, 4, "LATE"))
        self.assertEqual(statement.line_ids.filtered("receipt").payment_id, self.rows[3])
        self.assertEqual(statement.settle_count, 0)

    def test_a_doubt_is_shown_by_payee_if_there_are_more_lines_than_paid_ones(self):
        self.alike(3, 4)
        statement = self.compare(self.line_to(3, 3, "A"), self.line_to(3, 4, "B"))
        self.assertEqual(statement.settle_count, 1)
        self.settle_by(statement, statement.line_ids.filtered(lambda line: line.payment_id == self.rows[4]))
        self.assertEqual(self.rows[4].mpesa_state, "paid")

    def test_a_line_is_unsure_while_another_one_that_it_may_be_about_was_or_may_be_paid(self):
        """Both were in doubt when it was compared; then the gateway says which one it has paid."""
        self.alike(4, 5)
        statement = self.compare(self.line_to(4, 4, "A"))
        line = statement.line_ids.filtered("receipt")
        self.assertEqual((line.payment_id, statement.settle_count), (self.rows[4], 0))
        for state, status in ((const.PAID, "paid"), (const.SENDING, None), (const.ACCEPTED, None)):
            self.put(5, state, status)
            self.assertEqual(statement.settle_count, 0, state)
        with self.assertRaisesRegex(UserError, "settles as paid, and nothing else"):
            self.settle_by(statement, line)
        # Nor as not paid: it may be its line.
        with self.assertRaisesRegex(UserError, "shows that this was paid"):
            self.by_hand(4, "not_paid")
        self.refuse(5)
        self.assertEqual(statement.settle_count, 1)

    def test_the_line_of_what_is_on_its_way_settles_no_doubt(self):
        self.alike(4, 5)
        self.put(4, const.SENDING)
        statement = self.compare(self.line_to(4, 5, "A"))
        line = statement.line_ids.filtered("receipt")
        self.assertEqual((line.payment_id, statement.settle_count), (self.rows[4], 0))

    def test_a_line_in_two_files_is_about_one_payment(self):
        """By the second file, that of the first payment would be another one's, and settle a doubt."""
        self.alike(3, 4)
        self.compare(self.line_to(3, 3, "A"))
        again = self.compare(self.line_to(3, 3, "A"), self.line(0))
        self.assertEqual(again.line_ids.filtered(lambda line: line.receipt == "A").payment_id, self.rows[3])
        self.assertEqual(again.settle_count, 0)

    def test_a_line_without_receipt_in_two_files_is_about_one_payment(self):
        self.alike(3, 4)
        for more in ((), (self.line(0),)):
            statement = self.compare(self.line_to(3, 3, " "), *more)
            line = statement.line_ids.filtered(lambda line: line.payment_id != self.rows[0] and line.payee)
            self.assertEqual((line.receipt, line.payment_id), (False, self.rows[3]))
            self.assertEqual(statement.settle_count, 0)

    def test_lines_that_settle_are_those_that_can(self):
        statement = self.compare(*(self.named(number) for number in range(6)))
        self.assertEqual(statement.settle_count, 2)
        action = statement.with_user(self.finance).action_settle()
        lines = self.env["g2p.payment.mpesa.statement.line"].browse(action["context"]["active_ids"])
        self.assertEqual(lines.payment_id, self.rows[4] + self.rows[5])


class TestWords(FactsCase):
    """What a line says of itself is understood in four languages, or it is said that it is not."""

    def kind(self, word, **more):
        statement = self.compare(self.named(4, status=word, **more))
        [line] = statement.line_ids.filtered("receipt")
        statement.with_user(self.finance)._withdraw("only to look")
        return line.kind

    def test_carried_out(self):
        words = (
            "Completed",
            "Transaction Successful",
            "Posted",
            "Concluída",
            "Imekamilika",
            "Réussi",
            "PAGO",
        )
        for number, word in enumerate(words):
            self.assertEqual(self.kind(word, receipt=f"TX{number}"), "payment", word)

    def test_not_carried_out(self):
        for number, word in enumerate(("Failed", "Falhada", "Échoué", "Imeshindwa", "Cancelled")):
            self.assertEqual(self.kind(word, receipt=f"TX{number}"), "not_completed", word)

    def test_not_understood(self):
        for number, word in enumerate(("Approved", "Pending", "En attente", "Kesho", "", "-")):
            self.assertEqual(self.kind(word, receipt=f"TX{number}"), "unreadable", word)

    def test_what_is_not_understood_is_looked_into_and_bars_not_paid(self):
        statement = self.compare(self.named(4, status="Approved"))
        self.assertEqual((statement.open_count, statement.settle_count), (1, 0))
        with self.assertRaisesRegex(UserError, "is not understood"):
            self.by_hand(4, "not_paid")
        self.assertEqual(self.rows[4].mpesa_state, "doubt")
        statement.with_user(self.finance)._withdraw("Approved means failed")
        self.by_hand(4, "not_paid")
        self.assertEqual(self.rows[4].mpesa_state, "refused")

    def test_a_file_with_such_a_line_does_not_say_what_is_not_there(self):
        around = (self.named(0, minutes=-30), self.named(1, minutes=30))
        whole = self.compare(*around, **self.all_of_it())
        self.assertIn("doubt_only_here", whole.line_ids.mapped("result"))
        whole.with_user(self.finance)._withdraw("to compare more")
        unclear = self.compare(*around, self.line(2, status="Approved", receipt="TX2"), **self.all_of_it())
        results = set(unclear.line_ids.filtered(lambda line: line.kind == "ours").mapped("result"))
        self.assertEqual(results, {"cannot_tell"})
