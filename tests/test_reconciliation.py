import csv
import io
import tracemalloc
import zipfile

from odoo.exceptions import AccessError
from odoo.tests import HttpCase, new_test_user, tagged

from ..gateway.masking import mask_payee
from ..models import const
from ..models.reconciliation import harmless
from .common import ProgramCase, phone, user_elsewhere

MAY_EXPORT = {const.ADMIN, const.FINANCE}
GROUPS = (
    const.ADMIN,
    const.FINANCE,
    const.PROGRAM_MANAGER,
    "g2p_programs.g2p_program_validator",
    "g2p_registry_base.group_g2p_registrar",
    "base.group_user",
)


class ReconciliationCase(ProgramCase):
    PEOPLE = 4

    def setUp(self):
        super().setUp()
        self.finance = new_test_user(
            self.env, "finance", groups=f"base.group_user,{const.FINANCE}", tz="Africa/Nairobi"
        )
        self.people[0].name = "=HYPERLINK(0)"
        self.people[3].phone = False
        self.prepare()
        self.fault(1, "500-not-taken")
        self.send()
        self.assert_states(paid=2, doubt=1, ready=1)
        self.env.flush_all()

    def export(self):
        return self.cycle.with_user(self.finance)._mpesa_reconciliation()

    def csv_rows(self):
        content = b"".join(self.export().csv()).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(content)))


class TestReconciliation(ReconciliationCase):
    def test_each_payment_is_a_row(self):
        rows, payments = self.csv_rows(), self.payments().sorted("id")
        self.assertEqual(len(rows), 4)
        for row, payment in zip(rows, payments, strict=True):
            self.assertEqual(row["Reference"], payment.mpesa_reference or "")
            self.assertEqual(row["Payee"], payment.account_number or "")
            self.assertEqual(float(row["Amount"]), payment.amount_issued)
            self.assertEqual(row["Currency"], "KES")
            self.assertEqual(float(row["Transfer Fee of the Entitlement"]), payment.payment_fee)
        words = {(row["Outcome"], row["Reason"]) for row in rows}
        self.assertIn(("Ready", "This person has no payee ID that can be used"), words)
        self.assertIn(("In doubt", "The gateway had an error of its own"), words)
        self.assertIn(("Paid", ""), words)

    def test_the_mode_in_which_it_was_sent(self):
        payments = self.payments().sorted("id")
        self.manager.mode = "live"
        self.env.flush_all()
        self.assertEqual([row["Mode"] for row in self.csv_rows()], ["Test"] * 3 + [""])
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_mode = 'live' WHERE id = %s", [payments[1].id])
        # A claim that was given back.
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_mode = 'live' WHERE id = %s", [payments[3].id])
        self.assertEqual([row["Mode"] for row in self.csv_rows()], ["Test", "Live", "Test", ""])
        wizard = self.env["g2p.payment.mpesa.reconciliation"].new({"cycle_id": self.cycle.id})
        self.assertEqual(wizard.test_count, 2)
        groups = self.env["g2p.payment.mpesa.report"]._read_group(
            [("cycle_id", "=", self.cycle.id)], ["mode"], ["__count"]
        )
        self.assertEqual(dict(groups), {"test": 2, "live": 1, False: 1})

    def test_the_fee_is_openg2ps_own(self):
        payment = self.payments()[1]
        self.env.cr.execute("UPDATE g2p_payment SET payment_fee = 2.5 WHERE id = %s", [payment.id])
        self.env.invalidate_all()
        fees = {row["Reference"]: row["Transfer Fee of the Entitlement"] for row in self.csv_rows()}
        self.assertEqual(fees.pop(payment.mpesa_reference), "2.5")
        self.assertEqual(set(fees.values()), {"0.0"})

    def test_amounts_have_the_companys_currency_where_the_journal_has_none(self):
        journal, company = self.program.journal_id, self.program.journal_id.company_id
        journal.currency_id = False
        self.env.flush_all()
        # As if they were prepared only now.
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_currency_id = NULL")
        self.payments()._mpesa_fill_currencies()
        self.env.invalidate_all()
        currency = company.currency_id
        self.assertTrue(currency)
        self.assertEqual({row["Currency"] for row in self.csv_rows()}, {currency.name})
        wizard = self.env["g2p.payment.mpesa.reconciliation"].new({"cycle_id": self.cycle.id})
        for found in (
            self.program._mpesa_currency(),
            self.cycle.mpesa_currency_id,
            self.payments().batch_id.mpesa_currency_id,
            wizard.currency_id,
        ):
            self.assertEqual(found, currency)
        # A statement is the gateway's.
        statement = self.env["g2p.payment.mpesa.statement"].new({"program_id": self.program.id})
        self.assertEqual(statement.currency_id, self.manager.gateway_currency_id)

    def test_times_are_those_of_who_asks(self):
        paid = self.payments().filtered(lambda payment: payment.mpesa_state == "paid")[0]
        moment = "2026-02-01 22:30:00"
        self.env.cr.execute(
            "UPDATE g2p_payment SET payment_datetime = %s, mpesa_sent_at = %s WHERE id = %s",
            [moment, moment, paid.id],
        )
        row = next(row for row in self.csv_rows() if row["Reference"] == paid.mpesa_reference)
        self.assertEqual(row["Paid (Africa/Nairobi)"], "2026-02-02 01:30:00")
        self.assertEqual(row["Sent (Africa/Nairobi)"], "2026-02-02 01:30:00")

    def test_no_formula_leaves_in_a_csv(self):
        names = [row["Beneficiary"] for row in self.csv_rows()]
        self.assertIn("'=HYPERLINK(0)", names)
        for text in ("=1", "+1", "-1", "@a", "\t=1", "\r=1", "  =1", "\uff1d1"):
            self.assertEqual(harmless(text), f"'{text}")
        for value in ("254711111111", "a=b", "", None, -5.0):
            self.assertEqual(harmless(value), value)

    def test_excel_gets_text_and_numbers_and_no_formula(self):
        book = zipfile.ZipFile(io.BytesIO(b"".join(self.export().xlsx())))
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        self.assertIn("=HYPERLINK(0)", sheet)
        self.assertNotIn("<f>", sheet)
        self.assertEqual(sheet.count("<row "), 5)
        self.assertIn("<v>100</v>", sheet)

    def test_memory_does_not_grow_with_the_cycle(self):
        self.copy_payments(12000)
        peaks = []
        for kind in ("csv", "xlsx"):
            export = self.export()
            tracemalloc.start()
            size = sum(len(piece) for piece in getattr(export, kind)())
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            self.assertGreater(size, 200_000)
        # Twelve thousand rows at once would be 20 MB and more.
        self.assertLess(max(peaks), 10_000_000)
        self.assertEqual(len(self.csv_rows()), 12004)

    def copy_payments(self, count):
        self.env.cr.execute(
            """INSERT INTO g2p_payment (name, entitlement_id, cycle_id, batch_id, journal_id, amount_issued,
                       state, mpesa_state, mpesa_manager_id, mpesa_duplicate, account_number)
               SELECT 'Copy', entitlement_id, cycle_id, batch_id, journal_id, amount_issued,
                      state, mpesa_state, mpesa_manager_id, true, account_number
                 FROM g2p_payment, generate_series(1, %s) WHERE id = %s""",
            [count, self.payments()[0].id],
        )

    def test_who_may_export(self):
        for number, group in enumerate(GROUPS):
            user = new_test_user(self.env, f"user-{number}", groups=f"base.group_user,{group}")
            with self.subTest(group=group):
                cycle = self.cycle.with_user(user)
                if group in MAY_EXPORT:
                    self.assertTrue(cycle._mpesa_reconciliation())
                else:
                    with self.assertRaises(AccessError):
                        cycle._mpesa_reconciliation()

    def test_another_companys_cycle_is_not_exported(self):
        user = user_elsewhere(self.env, const.FINANCE)
        with self.assertRaises(AccessError):
            self.cycle.with_user(user)._mpesa_reconciliation()

    def test_an_export_is_noted(self):
        self.export()
        self.assertIn("exported", self.cycle.message_ids[:1].body)
        self.assertEqual(self.cycle.message_ids[:1].author_id, self.finance.partner_id)

    def test_the_dialogue_counts_what_the_cycle_has(self):
        wizard = (
            self.env["g2p.payment.mpesa.reconciliation"]
            .with_user(self.finance)
            .with_context(active_model="g2p.cycle", active_id=self.cycle.id)
            .create({})
        )
        self.assertEqual(wizard.program_id, self.program)
        counts = [wizard[f"{line}_count"] for line in wizard.LINES]
        self.assertEqual(counts, [2, 0, 1, 0, 1])
        self.assertEqual((wizard.count, wizard.amount, wizard.paid_amount), (4, 400, 200))
        for line, count in zip(wizard.LINES, counts, strict=True):
            action = wizard.with_context(mpesa_line=line).action_open_payments()
            self.assertEqual(self.env["g2p.payment"].search_count(action["domain"]), count)
        everything = wizard.action_open_payments()
        self.assertEqual(self.env["g2p.payment"].search_count(everything["domain"]), 4)
        wizard.cycle_id = False
        wizard._onchange_program_id()
        self.assertEqual(wizard.cycle_id, self.cycle)


@tagged("post_install", "-at_install")
class TestReconciliationDownload(ReconciliationCase, HttpCase):
    """Through the web server, as a browser gets it."""

    def setUp(self):
        super().setUp()
        for login, group in (("money", const.FINANCE), ("programs", const.PROGRAM_MANAGER)):
            new_test_user(self.env, login, groups=f"base.group_user,{group}", password=login * 2)
        self.env.flush_all()

    def get(self, login, ending, cycle_id=None):
        self.authenticate(login, login * 2)
        return self.url_open(f"/g2p_mpesa/reconciliation/{cycle_id or self.cycle.id}/{ending}")

    def test_files_come_with_a_name_and_are_kept_nowhere(self):
        for ending, begin in (("csv", b"\xef\xbb\xbfReference,"), ("xlsx", b"PK")):
            answer = self.get("money", ending)
            self.assertEqual(answer.status_code, 200)
            self.assertTrue(answer.content.startswith(begin))
            self.assertIn(f".{ending}", answer.headers["Content-Disposition"])
            self.assertIn(
                "Cash transfers - Cycle 1", answer.headers["Content-Disposition"].replace("%20", " ")
            )
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            self.assertNotIn("Content-Length", answer.headers)

    def test_refused_to_others_and_for_what_is_not_there(self):
        self.assertEqual(self.get("programs", "csv").status_code, 403)
        self.assertEqual(self.get("money", "pdf").status_code, 404)
        self.assertEqual(self.get("money", "csv", cycle_id=999999).status_code, 404)


class HeldCase(ProgramCase):
    """Two of four cannot be paid; one of them has a name that a spreadsheet would take for a formula."""

    PEOPLE = 4

    def setUp(self):
        super().setUp()
        self.manager_user = self.new_user("programs", const.PROGRAM_MANAGER)
        self.people[1].name = "=cmd|' /C calc'!A0"
        self.people[3].write({"name": "Zoë Wanjikũ", "phone": False})
        self.entitlements[1].initial_amount = 100.5
        self.prepare()
        self.env.flush_all()
        self.wizard = self.dialogue(self.manager_user)

    def new_user(self, login, group):
        return new_test_user(self.env, login, groups=f"base.group_user,{group}", password=login * 2)

    def dialogue(self, user, record=None):
        action = (record or self.cycle).with_user(user).send_payment()
        self.env.invalidate_all()
        return self.env[action["res_model"]].with_user(user).browse(action["res_id"])

    def rows(self, wizard):
        content = b"".join(wizard._held_back().csv()).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(content)))


class TestHeldBack(HeldCase):
    """Who cannot be paid, as a file, from the dialogue of Send."""

    def test_person_payee_amount_and_reason(self):
        first, second = self.rows(self.wizard)
        self.assertEqual(
            first,
            {
                "Beneficiary": "'=cmd|' /C calc'!A0",
                "Payee": mask_payee(phone(1)),
                "Amount": "100.5",
                "Currency": "KES",
                "Reason": "The amount is not a whole number of shillings",
            },
        )
        self.assertEqual((second["Beneficiary"], second["Payee"]), ("Zoë Wanjikũ", ""))
        self.assertEqual(second["Reason"], "This person has no payee ID that can be used")

    def test_of_what_the_dialogue_is_about_and_no_more(self):
        payments = self.payments()
        [row] = self.rows(self.dialogue(self.manager_user, payments[3]))
        self.assertEqual(row["Beneficiary"], "Zoë Wanjikũ")
        self.assertEqual(self.rows(self.dialogue(self.manager_user, payments[0])), [])

    def test_payees_are_masked_as_in_the_list(self):
        admin = self.new_user("boss", const.ADMIN)
        self.assertEqual(self.rows(self.dialogue(admin))[0]["Payee"], phone(1))

    def test_who_may_export(self):
        for number, group in enumerate(GROUPS):
            user = self.new_user(f"user-{number}", group)
            with self.subTest(group=group):
                if group in (const.ADMIN, const.PROGRAM_MANAGER):
                    self.assertEqual(len(self.rows(self.dialogue(user))), 2)
                with self.assertRaises(AccessError):
                    self.wizard.with_user(user)._held_back()

    def test_an_export_is_noted(self):
        self.wizard._held_back()
        note = self.cycle.message_ids[:1]
        self.assertIn("exported who cannot be paid", note.body)
        self.assertEqual(note.author_id, self.manager_user.partner_id)


@tagged("post_install", "-at_install")
class TestHeldBackDownload(HeldCase, HttpCase):
    def get(self, login, wizard_id):
        self.authenticate(login, login * 2)
        return self.url_open(f"/g2p_mpesa/held/{wizard_id}/csv")

    def test_the_button_leads_to_a_file(self):
        self.authenticate("programs", "programsprograms")
        answer = self.url_open(self.wizard.action_export_held()["url"])
        self.assertEqual(answer.status_code, 200)
        self.assertTrue(answer.content.startswith(b"\xef\xbb\xbfBeneficiary,Payee,Amount,Currency,Reason"))
        self.assertIn("Zoë Wanjikũ".encode(), answer.content)
        self.assertIn(b"'=cmd", answer.content)
        name = answer.headers["Content-Disposition"].replace("%20", " ")
        self.assertIn("Cash transfers - Cannot Be Paid", name)
        self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_refused_to_others_and_for_what_is_not_there(self):
        self.new_user("money", const.FINANCE)
        self.new_user("other", const.PROGRAM_MANAGER)
        self.env.flush_all()
        self.assertEqual(self.get("money", self.wizard.id).status_code, 403)
        self.assertEqual(self.get("other", self.wizard.id).status_code, 404)
        self.assertEqual(self.get("programs", 999999).status_code, 404)
