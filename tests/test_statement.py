import base64
from datetime import timedelta
from unittest.mock import patch

from odoo import fields, release
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import Form, new_test_user

from ..models import const, statement_jobs
from ..models.attempt_report import AGGREGATOR
from .common import ProgramCase, phone

STATEMENT = "g2p.payment.mpesa.statement"
LINE = "g2p.payment.mpesa.statement.line"
HEAD = (
    "Receipt No.,Completion Time,Details,Transaction Status,Paid In,Withdrawn,Other Party Info,Our Reference"
)


class StatementCase(ProgramCase):
    PEOPLE = 6
    # Of whom the gateway's answer got lost.
    DOUBTS = (4, 5)

    def setUp(self):
        super().setUp()
        self.finance = new_test_user(
            self.env, "finance", groups=f"base.group_user,{const.FINANCE}", tz="Africa/Nairobi"
        )
        self.prepare()
        for number in self.DOUBTS:
            self.fault(number, "500-not-taken")
        self.send()
        self.assert_states(paid=4, doubt=2)
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_sent_at = mpesa_sent_at - interval '2 hours',"
            " mpesa_first_sent_at = mpesa_sent_at - interval '2 hours' WHERE cycle_id = %s",
            [self.cycle.id],
        )
        self.env.invalidate_all()
        self.rows = self.payments()

    def line(self, number, receipt=None, amount="100.00", reference=None, minutes=0, **cells):
        """A row of M-PESA's statement about the ``number``-th person."""
        moment = self.rows[number].mpesa_sent_at + timedelta(hours=3, seconds=30, minutes=minutes)
        return ",".join(
            (
                receipt or f"TX{number}",
                moment.strftime("%d-%m-%Y %H:%M:%S"),
                cells.get("details", "Business Payment to Customer"),
                cells.get("status", "Completed"),
                cells.get("paid_in", ""),
                f'"-{amount}"' if amount else "",
                cells.get("payee", f"{phone(number)} - PERSON {number}"),
                reference or "",
            )
        )

    def file(self, *lines, head=HEAD):
        above = ["Account Holder,Cash transfers", "Time Period,all of it", ""]
        return "\n".join([*above, head, *lines]).encode()

    def upload(self, content, user=None, **vals):
        """As a person does in the form, which guesses how the file is to be read."""
        with Form(self.env[STATEMENT].with_user(user or self.finance)) as form:
            form.program_id = self.program
            form.name = "statement"
            form.file = base64.b64encode(content)
            form.account_is_ours = True
            for name, value in vals.items():
                setattr(form, name, value)
        return form.record

    def compare(self, *lines, **vals):
        statement = self.upload(self.file(*lines), **vals)
        statement.action_compare()
        return statement

    def all_of_it(self):
        """That the file lists all there was, as a person says in the form."""
        return {"covers_from": "2020-01-01 00:00:00", "covers_to": fields.Datetime.now()}

    def results(self, statement):
        """From the row's number in the file, or the name of the payment, to its result."""
        return {line.number or line.payment_id: line.result for line in statement.line_ids}

    def whole(self):
        """A line for each payment, by reference."""
        return [self.line(number, reference=row.mpesa_reference) for number, row in enumerate(self.rows)]


class TestStatement(StatementCase):
    def test_the_file_is_understood(self):
        statement = self.upload(self.file(*self.whole()))
        self.assertEqual((statement.delimiter, statement.head, statement.decimal), (",", 4, "."))
        self.assertEqual((statement.date_order, statement.zone), ("dmy", "Africa/Nairobi"))
        meanings = {column.heading: column.meaning for column in statement.column_ids}
        self.assertEqual(
            list(meanings.values()),
            ["receipt", "moment", "kind", "status", "paid_in", "paid_out", "payee", "reference"],
        )
        new = self.env[STATEMENT].new(
            {"file": statement.with_context(bin_size=False).file, "file_name": "May.csv"}
        )
        new._onchange_file()
        self.assertEqual(new.name, "May")

    def test_all_agree_and_doubts_that_were_paid_are_found(self):
        before = [(row.mpesa_state, row.write_date) for row in self.rows]
        statement = self.compare(*self.whole())
        self.assertEqual(list(self.results(statement).values()), ["agreed"] * 4 + ["doubt"] * 2)
        self.assertEqual(set(statement.line_ids.mapped("matched_by")), {"reference"})
        self.assertEqual((statement.agreed_count, statement.doubt_count, statement.open_count), (4, 2, 2))
        self.env.invalidate_all()
        self.assertEqual(before, [(row.mpesa_state, row.write_date) for row in self.rows])

    def test_times_are_read_in_the_zone_of_the_statement(self):
        statement = self.compare(*self.whole())
        self.assertEqual(
            statement.line_ids[0].moment,
            self.rows[0].mpesa_sent_at.replace(microsecond=0) + timedelta(seconds=30),
        )

    def test_by_receipt_where_there_is_no_reference(self):
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_receipt = 'TX0' WHERE id = %s", [self.rows[0].id])
        statement = self.compare(self.line(0, payee="somebody else"))
        self.assertEqual(
            (statement.line_ids[0].matched_by, statement.line_ids[0].payment_id), ("receipt", self.rows[0])
        )

    def test_by_payee_amount_and_time_where_there_is_neither(self):
        statement = self.compare(*(self.line(number) for number in range(6)))
        lines = statement.line_ids.sorted("number")
        self.assertEqual(lines.payment_id, self.rows)
        self.assertEqual(set(lines.mapped("matched_by")), {"payee"})
        self.assertEqual(lines.mapped("result"), ["agreed"] * 4 + ["doubt"] * 2)

    def test_another_time_or_amount_is_another_payment(self):
        statement = self.compare(self.line(0, minutes=3 * 24 * 60), self.line(1, amount="55"), self.line(2))
        self.assertEqual(
            statement.line_ids.filtered("number").sorted("number").mapped("result"),
            ["only_there", "only_there", "agreed"],
        )

    def test_a_masked_payee_is_found_and_is_no_evidence(self):
        masked = phone(4)[:4] + "*****" + phone(4)[-3:]
        statement = self.compare(self.line(4, payee=masked), self.line(4, receipt="TX9", payee=masked))
        first, second = statement.line_ids.filtered("number").sorted("number")
        self.assertEqual(
            (first.payment_id, first.matched_by, first.result), (self.rows[4], "masked", "doubt")
        )
        self.assertEqual(second.result, "only_there")
        with self.assertRaises(UserError):
            statement.action_settle()

    def test_paid_twice_by_reference(self):
        lines = [*self.whole(), self.line(1, receipt="TX99", reference=self.rows[1].mpesa_reference)]
        statement = self.compare(*lines)
        twice = statement.line_ids.filtered(lambda line: line.result == "twice")
        self.assertEqual(twice.payment_id, self.rows[1])
        self.assertEqual((len(twice), statement.twice_count, statement.agreed_count), (2, 2, 3))
        self.assertEqual((sum(twice.mapped("amount")), statement.excess), (200, 100))
        self.assertEqual(self.compare(*self.whole()[:1]).excess, 0)

    def test_paid_twice_by_payee(self):
        statement = self.compare(self.line(0), self.line(1), self.line(1, receipt="TX99", minutes=5))
        self.assertEqual(
            statement.line_ids.filtered("number").sorted("number").mapped("result"),
            ["agreed", "twice", "twice"],
        )

    def test_paid_twice_by_two_payments_of_an_entitlement(self):
        settle = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        settle = settle.with_context(active_model="g2p.payment", active_ids=self.rows[4].ids)
        settle.create({"outcome": "not_paid", "reason": "Not on the statement"}).action_settle()
        self.env.invalidate_all()
        self.gateway.reset()
        self.prepare()
        self.send()
        second = (
            self.payments().filtered(lambda row: row.entitlement_id == self.rows[4].entitlement_id)
            - self.rows
        )
        self.assertEqual(second.mpesa_state, "paid")
        statement = self.compare(
            self.line(4, reference=self.rows[4].mpesa_reference),
            self.line(4, receipt="TX99", reference=second.mpesa_reference, minutes=120),
        )
        self.assertEqual(statement.line_ids.filtered("number").mapped("result"), ["twice", "twice"])
        self.assertEqual(statement.excess, 100)

    def test_the_excess_is_what_is_beyond_the_entitlement_and_has_not_come_back(self):
        reference = self.rows[1].mpesa_reference
        more = self.line(1, receipt="TX98", amount="70.5", reference=reference)
        twice = [*self.whole(), more, self.line(1, receipt="TX99", amount="55", reference=reference)]
        self.assertEqual(self.compare(*twice).excess, 125.5)
        back = self.line(1, receipt="TXR", amount="", paid_in="70.50", reference=reference)
        self.assertEqual(self.compare(*twice, back).excess, 55)

    def test_amounts_have_the_programs_currency(self):
        statement = self.compare(self.line(0), self.line(1, reference="of nobody here", payee="x"))
        currency = self.env.ref("base.KES")
        for record in (statement, *statement.line_ids, *statement.summary_ids):
            self.assertEqual(record.currency_id, currency)
        for model, names in (
            (statement, ("excess",)),
            (statement.line_ids, ("amount", "amount_here")),
            (statement.summary_ids, ("amount",)),
        ):
            for name in names:
                self.assertEqual(model._fields[name].type, "monetary", (model._name, name))
        if release.version_info[0] >= 19:
            # A grouped list asks in which currencies its sums are.
            [[found, total]] = self.env[LINE]._read_group(
                [("statement_id", "=", statement.id), ("result", "=", "agreed")],
                [],
                ["currency_id:array_agg_distinct", "amount:sum"],
            )
            self.assertEqual((found, total), ([currency.id], 100))

    def test_numbers_of_rows_are_not_added_up(self):
        [number] = self.env[LINE].fields_get(["number"]).values()
        self.assertFalse(number.get(AGGREGATOR))

    def test_paid_twice_in_two_statements(self):
        reference = self.rows[1].mpesa_reference
        first = self.compare(self.line(1, reference=reference), self.line(0))
        again = self.compare(self.line(1, reference=reference), self.line(2))
        self.assertEqual(again.twice_count, 0)
        second = self.compare(self.line(1, receipt="TX99", reference=reference), self.line(2))
        self.assertEqual((second.twice_count, second.excess), (1, 100))
        first.action_compare_again()
        self.assertEqual((first.twice_count, first.excess), (1, 100))

    def test_the_same_line_again_is_not_paid_twice(self):
        statement = self.compare(self.line(0), self.line(0), self.line(1))
        self.assertEqual(
            statement.line_ids.filtered("number").sorted("number").mapped("result"),
            ["agreed", "repeated", "agreed"],
        )

    def test_fees_money_in_and_what_was_not_carried_out_are_no_payments(self):
        statement = self.compare(
            self.line(0),
            self.line(0, amount="5", details="Business Payment Charge to 2547"),
            self.line(1, amount="", paid_in="5000", payee="", details="Deposit of Funds"),
            self.line(4, status="Declined"),
            self.line(5, amount="", receipt="TX5"),
        )
        results = [self.results(statement)[number] for number in range(5, 10)]
        self.assertEqual(results, ["agreed", "fee", "money_in", "not_completed", "unreadable"])
        [fees] = statement.summary_ids.filtered(lambda row: row.result == "fee")
        self.assertEqual((fees.count, fees.amount), (1, 5))

    def test_what_came_back_is_not_agreed(self):
        reference = self.rows[0].mpesa_reference
        statement = self.compare(
            self.line(0, reference=reference),
            self.line(0, receipt="TXR", amount="", paid_in="100", reference=reference, details="Reversal"),
        )
        self.assertEqual(statement.line_ids.filtered("number").mapped("result"), ["returned", "returned"])

    def test_another_amount_and_what_is_not_paid_here(self):
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'refused', status = 'failed' WHERE id = %s",
            [self.rows[3].id],
        )
        self.env.invalidate_all()
        statement = self.compare(
            self.line(2, amount="90", reference=self.rows[2].mpesa_reference),
            self.line(3, reference=self.rows[3].mpesa_reference),
        )
        self.assertEqual(
            statement.line_ids.filtered("number").sorted("number").mapped("result"), ["differs", "not_here"]
        )

    def test_what_the_statement_does_not_show(self):
        # The first and the last are there, so all of them are of its time.
        lines = [self.line(0, minutes=-10), self.line(5, minutes=10)]
        found = self.results(self.compare(*lines, **self.all_of_it()))
        self.assertEqual(
            [found.get(row) for row in self.rows], [None, *["only_here"] * 3, "doubt_only_here", None]
        )
        # A line that is not understood may be about any of them.
        found = self.results(self.compare(*lines, "TXA,,,,,,,"))
        self.assertEqual([found.get(row) for row in self.rows], [None, *["cannot_tell"] * 4, None])
        self.assertEqual(found[7], "unreadable")

    def test_payments_of_another_account_are_not_looked_at(self):
        other = self.manager.sudo().copy({"program_id": self.program.id, "password": "x"})
        other.write({"username": "other@example.org", "password": "x"})
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_manager_id = %s WHERE id = %s", [other.id, self.rows[0].id]
        )
        self.env.invalidate_all()
        reference = self.rows[0].mpesa_reference
        self.assertEqual(self.compare(self.line(0, reference=reference)).line_ids[0].result, "only_there")
        other.write({"username": self.manager.username, "password": "x"})
        self.assertEqual(self.compare(self.line(0, reference=reference), "").line_ids[0].result, "agreed")

    def test_columns_are_remembered(self):
        head = HEAD.replace("Our Reference", "Own No.").replace("Receipt No.", "Code")
        statement = self.upload(self.file(self.line(0, reference=self.rows[0].mpesa_reference), head=head))
        by_heading = {column.heading: column for column in statement.column_ids}
        self.assertEqual(by_heading["Own No."].meaning, "ignore")
        by_heading["Own No."].meaning = "reference"
        by_heading["Code"].meaning = "receipt"
        statement.action_compare()
        again = self.upload(self.file(self.line(1), head=head))
        meanings = {column.heading: column.meaning for column in again.column_ids}
        self.assertEqual((meanings["Own No."], meanings["Code"]), ("reference", "receipt"))

    def test_the_statement_of_the_simple_gateway(self):
        """It shows neither payee nor reference, so only receipts can be compared."""
        moment = self.rows[0].mpesa_sent_at
        head = "transactionId,transactionType,createdAt,creditedAmount,debitedAmount"
        lines = [f"{name},DEPOSIT,{moment:%Y-%m-%dT%H:%M:%S}.891574Z,0,100" for name in ("G-1", "G-2")] + [
            f"G-3,FLOAT_ASSIGNMENT,{moment:%Y-%m-%dT%H:%M:%S}.1Z,5000,0"
        ]
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_receipt = 'G-1' WHERE id = %s", [self.rows[0].id])
        statement = self.upload("\n".join([head, *lines]).encode(), only_carried_out=True)
        statement.action_compare()
        results = statement.line_ids.filtered("number").sorted("number")
        self.assertEqual(results.mapped("result"), ["agreed", "only_there", "money_in"])
        self.assertEqual(results[0].moment, moment.replace(microsecond=0))

    def test_a_file_is_imported_once_and_says_what_it_lacks(self):
        content = self.file(*self.whole())
        self.upload(content).action_compare()
        with self.assertRaisesRegex(UserError, "imported before"):
            self.upload(content).action_compare()
        with self.assertRaisesRegex(UserError, "no CSV file"):
            self.upload(b"%PDF-1.4")
        with self.assertRaisesRegex(UserError, "cannot be read"):
            self.upload(b"PK\x03\x04 no Excel file")
        with self.assertRaisesRegex(ValidationError, "amount"):
            self.upload(b"Receipt No.,Date\nTX1,2026-01-01\n").action_compare()
        with self.assertRaisesRegex(ValidationError, "receipt"):
            self.upload(b"Amount,Date\n1,2026-01-01\n").action_compare()
        with self.assertRaisesRegex(UserError, "no line"):
            self.upload(b"Receipt No.,Amount\n", only_carried_out=True).action_compare()

    def test_what_was_compared_is_kept(self):
        statement = self.compare(*self.whole())
        for act in (
            lambda: statement.write({"name": "Another"}),
            lambda: statement.write({"excess": 0.5}),
            lambda: statement.line_ids[0].write({"amount": 5}),
            lambda: statement.line_ids[0].unlink(),
            statement.unlink,
            lambda: statement.create({"program_id": self.program.id, "file": b"eA==", "state": "compared"}),
        ):
            with self.assertRaises(UserError):
                act()

    def test_only_finance_and_administrators_see_statements(self):
        statement = self.compare(*self.whole())
        for number, (group, may) in enumerate(
            {const.ADMIN: True, const.PROGRAM_MANAGER: False, "base.group_user": False}.items()
        ):
            user = new_test_user(self.env, f"user-{number}", groups=f"base.group_user,{group}")
            for record in (statement, statement.line_ids[0]):
                with self.subTest(group=group, model=record._name):
                    if may:
                        self.assertTrue(record.with_user(user).read(["display_name"]))
                    else:
                        with self.assertRaises(AccessError):
                            record.with_user(user).read(["display_name"])


class TestSettleByStatement(StatementCase):
    def settle(self, statement, user=None):
        action = statement.with_user(user or self.finance).action_settle()
        wizard = (
            self.env[action["res_model"]]
            .with_user(user or self.finance)
            .with_context(**action["context"])
            .create({})
        )
        wizard.action_settle()
        self.env.invalidate_all()
        return wizard

    def test_doubts_are_settled_with_the_lines_as_evidence(self):
        statement = self.compare(*self.whole())
        wizard = self.settle(statement)
        self.assertEqual(wizard.count, 2)
        for number in self.DOUBTS:
            payment = self.rows[number]
            self.assertEqual(
                (payment.mpesa_state, payment.state, payment.status), ("paid", "reconciled", "paid")
            )
            self.assertEqual(payment.mpesa_receipt, f"TX{number}")
            self.assertEqual(
                payment.payment_datetime, payment.mpesa_sent_at.replace(microsecond=0) + timedelta(seconds=30)
            )
            decision = payment.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "decision")
            self.assertEqual((decision.user_id, decision.outcome), (self.finance, "paid"))
            self.assertRegex(decision.words, rf"TX{number} .*Statement statement, row {number + 5}")
        self.assertEqual((statement.agreed_count, statement.doubt_count), (6, 0))
        self.assert_figures()

    def test_not_by_who_sent(self):
        statement = self.compare(*self.whole())
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_sender_id = %s", [self.finance.id])
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, "Somebody else"):
            self.settle(statement)
        self.assert_states(paid=4, doubt=2)

    def test_not_by_an_administrator(self):
        statement = self.compare(*self.whole())
        admin = new_test_user(self.env, "boss", groups=f"base.group_user,{const.ADMIN}")
        with self.assertRaises(AccessError):
            self.settle(statement, user=admin)

    def test_a_line_settles_its_own_payment_and_only_as_paid(self):
        statement = self.compare(*self.whole())
        doubts = statement.line_ids.filtered(lambda line: line.result == "doubt")
        agreed = statement.line_ids - doubts
        wizards = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)

        def vals(lines, payments, **more):
            ids = {
                "line_ids": [fields.Command.set(lines.ids)],
                "payment_ids": [fields.Command.set(payments.ids)],
            }
            return {"outcome": "paid", **ids, **more}

        for wrong in (
            vals(doubts, doubts.payment_id, outcome="not_paid", reason="x"),
            vals(agreed[:1], self.rows[4]),
            vals(doubts[:1], doubts[1:].payment_id),
            vals(doubts[:1], doubts.payment_id),
            vals(agreed[:1], agreed[:1].payment_id),
        ):
            with self.assertRaises(UserError):
                wizards.create(wrong).action_settle()
        self.assert_states(paid=4, doubt=2)

    def test_a_receipt_of_another_payment_settles_nothing(self):
        lines = self.whole()
        lines[4] = self.line(4, receipt="TX5", reference=self.rows[4].mpesa_reference)
        with self.assertRaisesRegex(ValidationError, "another payment"):
            self.settle(self.compare(*lines))

    def test_a_doubt_that_was_paid_twice_is_not_settled_by_the_way(self):
        more = self.line(4, receipt="TX99", reference=self.rows[4].mpesa_reference)
        statement = self.compare(*self.whole(), more)
        self.assertEqual((statement.twice_count, statement.doubt_count), (2, 1))
        self.settle(statement)
        self.assertEqual([self.rows[number].mpesa_state for number in self.DOUBTS], ["doubt", "paid"])

    def test_what_a_statement_shows_as_paid_is_not_settled_as_not_paid(self):
        """It would be prepared again, and paid twice."""
        statement = self.compare(self.line(4))
        with self.assertRaisesRegex(UserError, "The statement statement shows that this was paid"):
            self.by_hand(4, outcome="not_paid", reason="I did not see it")
        self.assertEqual(self.rows[4].mpesa_state, "doubt")
        self.by_hand(5, outcome="not_paid", reason="It is not there")
        self.assertEqual(self.rows[5].mpesa_state, "refused")
        self.assertEqual(statement.doubt_count, 1)

    def test_what_is_settled_by_hand_is_seen_in_the_statement(self):
        statement = self.compare(self.line(4))
        paid_on = self.rows[4].mpesa_sent_at + timedelta(minutes=1)
        self.by_hand(4, outcome="paid", receipt="TX4", paid_on=paid_on)
        self.assertEqual((statement.doubt_count, statement.agreed_count), (0, 1))

    def test_what_a_statement_shows_as_paid_is_not_prepared_again(self):
        """The gateway has refused it, and paid it all the same."""
        self.by_hand(4, outcome="not_paid", reason="It is not there")
        self.by_hand(5, outcome="not_paid", reason="It is not there")
        statement = self.compare(self.line(4, reference=self.rows[4].mpesa_reference))
        self.assertIn("not_here", self.results(statement).values())
        self.prepare()
        self.assertEqual((self.payments() - self.rows).entitlement_id, self.rows[5].entitlement_id)
        self.assertEqual(self.rows.batch_id._mpesa_refused_for_now()[const.CORRECT], self.rows.browse())

    def test_what_a_statement_shows_as_paid_is_not_sent(self):
        """Also where it was prepared again before the statement came."""
        self.by_hand(4, outcome="not_paid", reason="It is not there")
        self.by_hand(5, outcome="not_paid", reason="It is not there")
        self.prepare()
        held, other = self.payments() - self.rows
        self.compare(self.line(4, reference=self.rows[4].mpesa_reference))
        self.gateway.clear_faults()
        self.send()
        self.env.invalidate_all()
        self.assertEqual((held.mpesa_state, held.mpesa_reason), ("ready", "shown_as_paid"))
        self.assertEqual(other.mpesa_state, "paid")
        self.assertEqual(self.gateway.ledger()["count"], 5)

    def by_hand(self, number, **vals):
        settle = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        settle = settle.with_context(active_model="g2p.payment", active_ids=self.rows[number].ids)
        settle.create(vals).action_settle()
        self.env.invalidate_all()

    def signoff(self):
        """What the sign-off says of the statements: from a result to number and amount."""
        self.env.flush_all()
        signoff = self.env["report.g2p_payment_simple_mpesa.signoff"].with_user(self.finance)
        return {word: rest for word, *rest in signoff._statement(self.cycle)}

    def test_the_sign_off_says_of_each_payment_what_statements_say(self):
        self.assertEqual(self.signoff(), {})
        self.compare(self.line(0), self.line(1), self.line(1, receipt="TX99", minutes=5), self.line(4))
        found = {
            "Agreed": [1, 100],
            "Paid twice": [1, 100],
            "Paid there, in doubt here": [1, 100],
            "In no statement": [3, 300],
        }
        self.assertEqual(self.signoff(), found)
        # Another file, of another day, that shows the rest.
        self.compare(self.line(2, amount="90.00", reference=self.rows[2].mpesa_reference))
        found |= {"Amount differs": [1, 100], "In no statement": [2, 200]}
        self.assertEqual(self.signoff(), found)

    def test_in_the_sign_off_a_file_that_shows_it_counts_for_more_than_one_that_does_not(self):
        self.compare(self.line(0, minutes=-10), self.line(1, minutes=10), **self.all_of_it())
        found = {"Agreed": [2, 200], "Only here": [2, 200], "In doubt here, not there": [2, 200]}
        self.assertEqual(self.signoff(), found)
        self.compare(self.line(2))
        self.assertEqual(self.signoff(), found | {"Agreed": [3, 300], "Only here": [1, 100]})

    def test_the_sign_off_knows_what_has_become_of_a_payment_since(self):
        self.compare(self.line(4))
        self.assertEqual(self.signoff()["Paid there, in doubt here"], [1, 100])
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = 'paid', amount_paid = amount_issued WHERE id = %s",
            [self.rows[4].id],
        )
        self.assertEqual(self.signoff(), {"Agreed": [1, 100], "In no statement": [5, 500]})
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_state = 'refused' WHERE id = %s", [self.rows[4].id])
        self.assertEqual(self.signoff()["Paid there, not paid here"], [1, 100])


class TestLongStatement(StatementCase):
    """More than a request can take is read by jobs, one after the other."""

    def setUp(self):
        super().setUp()
        for name, value in (("MOST_IN_REQUEST", 5), ("A_JOB", 4)):
            self.startPatcher(patch.object(statement_jobs, name, value))

    def jobs(self):
        keys = [("identity_key", "=like", "mpesa-statement-%"), ("state", "=", "pending")]
        return self.env["queue.job"].search(keys)

    def run_job(self, statement, start):
        [job] = self.jobs()
        self.assertEqual(job.identity_key, f"mpesa-statement-{statement.id}-{start}")
        self.assertEqual(job.channel, "root.mpesa")
        statement._read_job(start)
        self.env.cr.execute("UPDATE queue_job SET state = 'done' WHERE id = %s", [job.id])
        self.env.invalidate_all()

    def test_it_is_read_and_compared_by_jobs(self):
        statement = self.compare(*self.whole())
        self.assertEqual((statement.state, statement.line_count, len(statement.line_ids)), ("reading", 0, 0))
        self.run_job(statement, 0)
        self.assertEqual((statement.state, statement.line_count), ("reading", 4))
        before = self.env["bus.bus"].sudo().search_count([])
        self.run_job(statement, 4)
        self.assertEqual((statement.state, statement.line_count), ("compared", 6))
        self.assertEqual(list(self.results(statement).values()), ["agreed"] * 4 + ["doubt"] * 2)
        self.assertEqual(statement.compared_by_id, self.finance)
        self.assertFalse(self.jobs())
        self.env.cr.precommit.run()
        self.assertGreater(self.env["bus.bus"].sudo().search_count([]), before)

    def test_a_short_one_is_compared_at_once(self):
        statement = self.compare(self.line(0, reference=self.rows[0].mpesa_reference))
        self.assertEqual(statement.state, "compared")
        self.assertFalse(self.jobs())

    def test_one_without_a_line_is_refused_at_once_however_long(self):
        for lines in ((), ["," * 7] * 6):
            with self.assertRaisesRegex(UserError, "no line below"):
                self.compare(*lines)
        self.assertFalse(self.jobs())

    def test_a_job_that_runs_again_reads_nothing_twice(self):
        statement = self.compare(*self.whole())
        self.run_job(statement, 0)
        statement._read_job(0)
        self.env.invalidate_all()
        self.assertEqual((statement.line_count, len(statement.line_ids)), (4, 4))

    def test_it_is_begun_again_where_a_job_failed_and_only_there(self):
        statement = self.compare(*self.whole())
        with self.assertRaisesRegex(UserError, "still being read"):
            statement.action_begin_again()
        self.run_job(statement, 0)
        self.assertEqual(len(statement.line_ids), 4)
        self.env.cr.execute(
            "UPDATE queue_job SET state = 'failed' WHERE identity_key LIKE 'mpesa-statement-%'"
        )
        self.env.invalidate_all()
        statement.action_begin_again()
        self.assertEqual((statement.state, statement.line_count, len(statement.line_ids)), ("draft", 0, 0))
        statement.decimal = "."
        statement.action_compare()
        self.assertEqual(statement.state, "reading")

    def test_nobody_changes_it_meanwhile(self):
        statement = self.compare(*self.whole())
        with self.assertRaises(UserError):
            statement.decimal = ","
        with self.assertRaises(UserError):
            statement.unlink()
