"""What is read from the files that people have: pure Python, no database."""

import io
import tracemalloc
import zipfile
from datetime import datetime
from decimal import Decimal
from itertools import islice

from openpyxl import Workbook

from odoo.tests import BaseCase

from ..statement import cells, lines, sheet, words
from .common import ROOT

FILES = ROOT / "tests" / "statements"


def read(content, **given):
    """The lines of a file, read as the form guesses it."""
    delimiter = "," if sheet.is_workbook(content) else sheet.guess_delimiter(sheet.decode(content))
    rows = list(sheet.table(content, delimiter))
    head = sheet.find_head(rows[: sheet.MOST_ABOVE_HEAD])
    columns = {}
    for position, cell in enumerate(rows[head - 1]):
        columns.setdefault(words.guess_meaning(sheet.shown(cell)), position)
    columns.pop("ignore", None)

    def samples(*names):
        positions = [columns[name] for name in names if name in columns]
        return [row[p] for row in rows[head:] for p in positions if p < len(row)]

    values = {
        "delimiter": delimiter,
        "head": head,
        "decimal": cells.guess_decimal(samples("amount", "paid_out", "paid_in")),
        "order": cells.guess_order(samples("moment")),
        "zone": "UTC",
        "columns": columns,
        **given,
    }
    return list(lines.rows_of(content, lines.Format(**values)))


def of(name, *keys, **given):
    """Some of what each line of a sample says."""
    return [tuple(row[key] for key in keys) for row in read((FILES / name).read_bytes(), **given)]


def workbook(*sheets):
    book = Workbook()
    book.remove(book.active)
    for rows in sheets:
        page = book.create_sheet()
        for row in rows:
            page.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


class TestSamples(BaseCase):
    def test_portuguese(self):
        self.assertEqual(
            of("portuguese.csv", "receipt", "kind", "amount", "payee"),
            [
                ("QAA1", "payment", Decimal("1500.50"), "258843000001"),
                ("QAA2", "not_completed", Decimal("900.00"), "258843000002"),
                ("QAA3", "unreadable", Decimal("12000"), "258843000003"),
            ],
        )

    def test_months_by_name_and_currencies(self):
        self.assertEqual(
            of("month-by-name.csv", "kind", "amount", "payee", "moment"),
            [
                ("payment", 1500, "254722000001", datetime(2026, 11, 20, 10, 11)),
                ("payment", 1500, "0722000002", datetime(2026, 6, 19, 22, 56)),
                ("payment", 1500, "0722000003", datetime(2026, 11, 21, 9, 5)),
            ],
        )

    def test_digits_that_excel_has_lost_are_said_to_be_lost(self):
        self.assertEqual(
            of("excel-lost-digits.csv", "kind", "why", "payee", "moment"),
            [
                ("unreadable", "payee", None, datetime(2026, 11, 20, 10, 11)),
                ("payment", None, "254722000002", datetime(2026, 11, 20, 10, 12)),
            ],
        )

    def test_a_bulk_result(self):
        [paid, failed] = of("bulk-result.csv", "receipt", "kind", "payee", "moment", "words")
        self.assertEqual(paid[:4], ("QDA1", "payment", "254722000001", datetime(2026, 11, 20, 10, 11, 12)))
        self.assertIn("SOME PERSON", paid[4])
        self.assertEqual(failed[1], "not_completed")

    def test_the_organisation_portal(self):
        keys = ("number", "receipt", "kind", "amount", "payee", "linked", "moment")
        self.assertEqual(
            of("org-portal.csv", *keys),
            [
                (7, "QEA1", "payment", 1500, "254722000001", None, datetime(2026, 11, 20, 10, 11, 12)),
                (8, "QEA1", "fee", 9, "600111", None, datetime(2026, 11, 20, 10, 11, 12)),
                (9, "QEA2", "money_in", 1500, "254722000001", "QEA1", datetime(2026, 11, 20, 11, 11, 12)),
            ],
        )

    def test_pages_with_the_headings_again_remarks_and_totals(self):
        found = of("pages.csv", "receipt", "kind")
        self.assertEqual(found, [("QEA1", "payment"), ("QEA2", "money_in")])

    def test_french_in_utf_16_with_the_time_in_a_column_of_its_own(self):
        self.assertEqual(
            of("french.csv", "kind", "amount", "payee", "moment"),
            [
                ("payment", 1500, "0722000001", datetime(2026, 2, 3, 10, 11)),
                ("not_completed", 900, "0722000002", datetime(2026, 8, 4, 22, 56)),
            ],
        )

    def test_swahili(self):
        self.assertEqual(
            of("swahili.csv", "kind", "amount", "moment"),
            [
                ("payment", 1500, datetime(2026, 11, 20, 10, 11)),
                ("not_completed", 1500, datetime(2026, 12, 21, 10, 11)),
            ],
        )

    def test_a_workbook_says_the_same_as_the_csv_file(self):
        rows = list(sheet.table((FILES / "org-portal.csv").read_bytes(), ","))
        self.assertEqual(read(workbook(rows)), read((FILES / "org-portal.csv").read_bytes()))

    def test_a_workbook_with_dates_and_numbers(self):
        rows = [
            ["Short Code", 600111],
            ["Receipt No.", "Completion Time", "Transaction Status", "Withdrawn", "Other Party Info"],
            ["QHA1", datetime(2026, 11, 20, 10, 11, 12), "Completed", -1500, 254722000001],
            ["QHA2", "2026-11-20 10:12:12", "Completed", "-1,500.00", "254722000002 - A PERSON"],
            ["QHA3", 46346.5, "Completed", -1500.5, 254722000003.0],
        ]
        self.assertEqual(
            [(row["receipt"], row["amount"], row["payee"], row["moment"]) for row in read(workbook(rows))],
            [
                ("QHA1", 1500, "254722000001", datetime(2026, 11, 20, 10, 11, 12)),
                ("QHA2", 1500, "254722000002", datetime(2026, 11, 20, 10, 12, 12)),
                ("QHA3", Decimal("1500.5"), "254722000003", datetime(2026, 11, 20, 12)),
            ],
        )

    def test_a_statement_that_goes_on_in_the_next_sheet(self):
        head = ["Receipt No.", "Completion Time", "Withdrawn", "Other Party Info"]
        first = ["QIA1", "2026-11-20 10:12:12", "1,500.00", "254722000001"]
        second = ["QIA2", "2026-11-21 10:12:12", "1,500.00", "254722000002"]
        content = workbook([["Cover"], ["Nothing here"]], [head, first], [head, second])
        self.assertEqual([row["receipt"] for row in read(content)], ["QIA1", "QIA2"])
        # Of one with other columns nobody has said what they mean.
        other = workbook([head, first], [[*head[:2], "Paid In", *head[2:]], [*second[:2], "", *second[2:]]])
        self.assertEqual([(row["kind"], row["why"]) for row in read(other)][1:], [("unreadable", "head")])


class TestAmounts(BaseCase):
    def test_what_people_write(self):
        for text, value in {
            "1,500.00": "1500",
            "1 500.00": "1500",
            "1\u00a0500.00": "1500",
            "1'500.00": "1500",
            "KSh 1,500": "1500",
            "Ksh1500": "1500",
            "1500/=": "1500",
            "1,500.00 KES": "1500",
            "$1,500.00": "1500",
            "-1,500.00": "-1500",
            "\u22121,500.00": "-1500",
            "1,500.00-": "-1500",
            "(1,500.00)": "-1500",
            "KES -1,500.00": "-1500",
            "1,500.00 DR": "-1500",
            "1,500.00 CR": "1500",
            "1,500,000": "1500000",
            "0.50": "0.5",
            ".50": "0.5",
        }.items():
            self.assertEqual(cells.amount_of(text, "."), Decimal(value), text)

    def test_what_nobody_can_know_is_no_amount(self):
        for text in (
            *("1.500", "1,50,000", "12,34", "1.5E+03", "1,500.00.00", "(1,500", "abc", "", "1500 or so"),
            "-",
        ):
            self.assertIsNone(cells.amount_of(text, "."), text)

    def test_points_and_commas_are_told_apart_by_the_column(self):
        for texts, mark in {
            ("1.500,50", "900,00"): ",",
            ("1.500", "12.000"): ",",
            ("1,500", "12,000"): ".",
            ("1.500", "900,5"): ",",
            ("1,500", "900.50"): ".",
            ("1500", "12"): ".",
            ("1.500.000",): ",",
            ("1 500,00",): ",",
        }.items():
            self.assertEqual(cells.guess_decimal(texts), mark, texts)
        self.assertEqual(cells.amount_of("1.500", ","), 1500)

    def test_a_minus_is_not_guessed(self):
        head = "Receipt,Date,Payee,Amount,Status\n"
        rows = "".join(
            f"QJA{n},2026-11-20 10:11:12,25472200000{n},{amount},Completed\n"
            for n, amount in enumerate(("-1500", "-200", "300"))
        )
        content = (head + rows).encode()

        def kinds(**given):
            return [(row["kind"], row["amount"]) for row in read(content, **given)]

        self.assertEqual(kinds(), [("payment", 1500), ("payment", 200), ("unreadable", 300)])
        self.assertEqual(kinds(sign="minus"), [("payment", 1500), ("payment", 200), ("money_in", 300)])
        self.assertEqual(kinds(sign="plus"), [("money_in", 1500), ("money_in", 200), ("payment", 300)])
        self.assertEqual({kind for kind, _amount in kinds(sign=None)}, {"unreadable"})


class TestMoments(BaseCase):
    def moment(self, text, order="dmy", zone="UTC"):
        return cells.moment_of(text, order, zone)

    def test_what_people_write(self):
        day = datetime(2026, 11, 20, 10, 11)
        for text in (
            *("20/11/2026 10:11", "20-11-2026 10:11:00", "20.11.2026, 10:11", "20/11/26 10:11 AM"),
            *("2026-11-20T10:11:00Z", "2026-11-20 10:11:00.123", "20261120101100"),
            *("2026-11-20T13:11:00+03:00", "20 Nov 2026 10:11", "20-Nov-26 10:11 am"),
            *("Fri, 20 Nov 2026 10:11", "20th November 2026 at 10:11"),
            *("20 novembre 2026 à 10:11", "20 de novembro de 2026 às 10:11", "20 Novemba 2026 saa 10:11"),
            *("Nov 20, 2026 10:11", "November 20, 2026 10:11 a.m."),
        ):
            self.assertEqual(self.moment(text), day, text)
        self.assertEqual(self.moment("46346.5"), datetime(2026, 11, 20, 12))
        self.assertEqual(self.moment("20 Nov 2026 12:05 AM"), datetime(2026, 11, 20, 0, 5))
        there = self.moment("20/11/2026 10:11", zone="Africa/Nairobi")
        self.assertEqual(there, datetime(2026, 11, 20, 7, 11))
        self.assertEqual(cells.moment_of("20/11/2026", "dmy", "UTC", "10:11"), day)

    def test_each_month_in_each_language(self):
        for language in cells.LANGUAGES:
            for width in ("wide", "abbreviated"):
                for number, name in cells.get_month_names(width, locale=language).items():
                    self.assertEqual(
                        self.moment(f"3 {name} 2026"), datetime(2026, number, 3), (language, name)
                    )

    def test_what_is_no_moment(self):
        for text in ("", "Total", "31/02/2026", "20/13/2026", "12:05", "1500", "254722000001", "20 Xyz 2026"):
            self.assertIsNone(self.moment(text), text)

    def test_day_and_month_are_told_apart_by_the_column_or_asked(self):
        for texts, order in {
            ("05/06/2026", "19/06/2026"): "dmy",
            ("05/06/2026", "06/19/2026"): "mdy",
            ("2026-06-05",): "ymd",
            ("5 June 2026",): "ymd",
            ("05/06/2026", "07/08/2026"): None,
            ("19/06/2026", "06/19/2026"): None,
            (): "ymd",
        }.items():
            self.assertEqual(cells.guess_order(texts), order, texts)
        self.assertIsNone(self.moment("05/06/2026", None))
        self.assertEqual(self.moment("19/06/2026", None), datetime(2026, 6, 19))
        self.assertIsNone(self.moment("06/19/2026", "dmy"))


class TestWords(BaseCase):
    def line(self, state, kind="Business Payment", **known):
        head = "Receipt,Date,Payee,Amount,Status,Details"
        line = f"Q1,2026-11-20 10:00,254722000001,100,{state},{kind}"
        [row] = read(f"{head}\n{line}\n".encode(), **known)
        return row["kind"], row["why"]

    def test_states_in_four_languages(self):
        for state in ("Completed", "TRANSACTION SUCCESSFUL", "Réussi", "Concluída", "Imekamilika", "Posted"):
            self.assertEqual(self.line(state), ("payment", None), state)
        for state in ("Failed", "Échoué", "Falhada", "Imeshindikana", "Reversed"):
            self.assertEqual(self.line(state), ("not_completed", None), state)
        self.assertEqual(self.line("In progress"), ("unreadable", "pending"))
        for state in ("", "Approved by supervisor", "Timed out"):
            self.assertEqual(self.line(state), ("unreadable", "state"), state)

    def test_kinds(self):
        self.assertEqual(self.line("Completed", "Business Payment Charge"), ("fee", None))
        self.assertEqual(self.line("Completed", "Something of ours"), ("unreadable", "kind"))
        self.assertEqual(self.line("Completed", ""), ("payment", None))

    def test_a_word_that_somebody_has_explained(self):
        known = {(lines.STATE, "approved by supervisor"): words.CARRIED_OUT}
        self.assertEqual(self.line("Approved by supervisor", known=known), ("payment", None))
        known = {(lines.KIND, "something"): words.FEE}
        self.assertEqual(self.line("Completed", "Something of ours", known=known), ("fee", None))

    def test_unknown_words_are_counted(self):
        rows = [["Q1", "Foo", "Payment to 254722000001"], ["Q2", "Foo", "Bar"], ["Q3", "Completed", ""]]
        found = lines.words_of(rows, {"receipt": 0, "status": 1, "kind": 2})
        self.assertEqual(found, {(lines.STATE, "foo"): 2, (lines.KIND, "bar"): 1})


class TestFiles(BaseCase):
    TEXT = "Numéro,Opération,Montant\nQ1,Échéance é,100\n"

    def test_encodings(self):
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"):
            self.assertEqual(sheet.decode(self.TEXT.encode(encoding)).lstrip("\ufeff"), self.TEXT, encoding)

    def test_delimiters(self):
        for mark in sheet.DELIMITERS:
            text = self.TEXT.replace(",", mark)
            self.assertEqual(sheet.guess_delimiter(text), mark)
        self.assertEqual(sheet.guess_delimiter('Receipt;Amount\nQ1;"1,500,000.00"\nQ2;"1,500,000.00"\n'), ";")
        self.assertEqual(sheet.guess_delimiter("sep=;\nReceipt;Amount\n"), ";")

    def test_formulas_that_keep_a_number_whole(self):
        [row] = sheet.table(b'="254722000001",\'0722000001\n', ",")
        self.assertEqual(row, ["254722000001", "0722000001"])

    def test_what_is_no_statement(self):
        for content in (b"%PDF-1.4", b"\xd0\xcf\x11\xe0\xa1", b"PK\x05\x06", b"a\0b,c"):
            with self.assertRaisesRegex(sheet.StatementError, "binary"):
                list(sheet.table(content, ","))
        with self.assertRaisesRegex(sheet.StatementError, "broken"):
            list(sheet.table(b"PK\x03\x04 nothing", ","))

    def test_a_workbook_that_unpacks_without_end(self):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
                for _n in range(600):
                    part.write(b"\0" * 1024**2)
        self.assertLess(len(content.getvalue()), 1024**2)
        with self.assertRaisesRegex(sheet.StatementError, "large"):
            list(sheet.table(content.getvalue(), ","))

    def test_a_workbook_with_entities(self):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("xl/workbook.xml", '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x/>')
        with self.assertRaisesRegex(sheet.StatementError, "broken"):
            list(sheet.table(content.getvalue(), ","))

    def test_a_long_workbook_is_read_row_by_row(self):
        book = Workbook(write_only=True)
        page = book.create_sheet()
        page.append(["Receipt No.", "Completion Time", "Withdrawn", "Other Party Info"])
        for number in range(20_000):
            page.append([f"Q{number}", "2026-11-20 10:11:12", "1,500.00", f"2547{number:08d}"])
        content = io.BytesIO()
        book.save(content)
        content = content.getvalue()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(sum(1 for _row in sheet.table(content, ",")), 20_001)
        peak = tracemalloc.get_traced_memory()[1]
        self.assertLess(peak, 40 * 1024**2)
        # And no more than is asked for.
        self.assertEqual(len(list(islice(sheet.table(content, ","), 3))), 3)
