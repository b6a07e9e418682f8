"""Payments row by row, as a file: a cycle's, as finance compares them with the gateway's statement, and
those that cannot be sent."""

import csv
import io
import tempfile

import pytz
import xlsxwriter

from odoo import fields

from ..gateway.masking import mask_payee
from . import const

# Rows that are in memory at once.
PAGE = 2000
# Excel takes 1,048,576 rows on a sheet, the head included.
SHEET = 1_000_000
PIECE = 1 << 16
# What a spreadsheet takes for the beginning of a formula, the full-width forms included.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
# Byte order mark: Excel takes a CSV file without one for the machine's old code page.
BOM = "\ufeff"

RECONCILIATION = """
    SELECT p.id, p.mpesa_reference, b.name AS batch, r.name AS beneficiary, p.account_number AS payee,
           p.amount_issued AS amount, k.name AS currency, p.mpesa_state AS outcome,
           p.mpesa_reason AS reason, p.mpesa_words AS words, p.mpesa_receipt AS receipt,
           p.mpesa_sent_at AS sent, CASE WHEN p.mpesa_state = 'paid' THEN p.payment_datetime END AS paid,
           CASE WHEN p.mpesa_state = 'paid' THEN p.amount_paid END AS amount_paid, p.payment_fee AS fee,
           CASE WHEN p.mpesa_state <> 'ready' THEN p.mpesa_mode END AS mode,
           CASE WHEN p.mpesa_state = 'paid' THEN p.amount_issued - p.amount_paid END AS difference
      FROM g2p_payment p
      LEFT JOIN g2p_payment_batch b ON b.id = p.batch_id
      LEFT JOIN g2p_entitlement e ON e.id = p.entitlement_id
      LEFT JOIN res_partner r ON r.id = e.partner_id
      LEFT JOIN res_currency k ON k.id = p.mpesa_currency_id
     WHERE p.cycle_id = %(cycle)s AND p.mpesa_state IS NOT NULL AND p.id > %(last)s
     ORDER BY p.id LIMIT %(page)s
"""
HELD_BACK = """
    SELECT p.id, r.name AS beneficiary, coalesce(p.mpesa_payee_text, p.account_number) AS payee,
           p.amount_issued AS amount, k.name AS currency, p.mpesa_reason AS reason
      FROM g2p_payment p
      LEFT JOIN res_currency k ON k.id = p.mpesa_currency_id
      LEFT JOIN g2p_entitlement e ON e.id = p.entitlement_id
      LEFT JOIN res_partner r ON r.id = e.partner_id
     WHERE p.batch_id = ANY(%(batches)s) AND p.mpesa_manager_id = %(manager)s
       AND (%(payments)s::int4[] IS NULL OR p.id = ANY(%(payments)s))
       AND p.mpesa_state = 'ready' AND p.mpesa_reason = ANY(%(held)s) AND p.id > %(last)s
     ORDER BY p.id LIMIT %(page)s
"""


class Export:
    """Payments for a file; memory does not grow with their number.

    Made while the request lasts, read after it: so it keeps words and ids, and opens a cursor of its own.

    :param env: the environment of whoever asks.
    :param program: in whose currency the amounts are.
    :param list head: what stands above the columns.
    """

    # Gives rows with an ``id`` above ``last``, in its order, ``page`` at the most.
    QUERY = ""

    def __init__(self, env, program, head):
        self.registry = env.registry
        payment = env["g2p.payment"]
        self.outcomes = dict(payment._fields["mpesa_state"]._description_selection(env))
        self.modes = dict(payment._fields["mpesa_mode"]._description_selection(env))
        self.reasons = dict(payment._fields["mpesa_reason"]._description_selection(env))
        self.currency = program._mpesa_currency().name
        self.head = head
        self.which = {}

    def rows(self):
        """Yield lists of text, numbers and None, as of one moment."""
        # REPEATABLE READ, as Odoo's cursors are: all pages are of the same moment.
        with self.registry.cursor() as cr:
            last_id = 0
            while True:
                cr.execute(self.QUERY, {**self.which, "last": last_id, "page": PAGE})
                page = cr.dictfetchall()
                for row in page:
                    yield self._row(row)
                if len(page) < PAGE:
                    return
                last_id = page[-1]["id"]

    def _row(self, row):
        """The list for a row of the query, a dict."""
        raise NotImplementedError

    def csv(self):
        """Yield the pieces of a CSV file, UTF-8."""
        text = io.StringIO()
        writer = csv.writer(text)
        text.write(BOM)
        writer.writerow(self.head)
        for row in self.rows():
            writer.writerow([harmless(value) for value in row])
            if text.tell() >= PIECE:
                yield _take(text).encode()
        yield _take(text).encode()

    def xlsx(self):
        """Yield the pieces of an Excel file, which is made on disk first."""
        with tempfile.TemporaryFile() as file:
            self._write_workbook(file)
            file.seek(0)
            while piece := file.read(PIECE):
                yield piece

    def _write_workbook(self, file):
        # Text stays text: no formula and no link is made of what comes from outside.
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        book = xlsxwriter.Workbook(file, options)
        bold = book.add_format({"bold": True, "bottom": 1})
        money = book.add_format({"num_format": "#,##0.00"})
        sheet = None
        for number, row in enumerate(self.rows()):
            if number % SHEET == 0:
                sheet = self._add_sheet(book, bold)
            _write_row(sheet, number % SHEET + 1, row, money)
        if sheet is None:
            self._add_sheet(book, bold)
        book.close()

    def _add_sheet(self, book, bold):
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, 0, 38)
        sheet.set_column(1, len(self.head) - 1, 20)
        for column, title in enumerate(self.head):
            sheet.write_string(0, column, title, bold)
        return sheet


class Reconciliation(Export):
    """A cycle's payments, all of them.

    :param cycle: the cycle, with the environment of whoever asks.
    """

    QUERY = RECONCILIATION

    def __init__(self, cycle):
        env = cycle.env
        self.zone = pytz.timezone(env.user.tz or "UTC")
        super().__init__(env, cycle.sudo().program_id, cycle._mpesa_reconciliation_head(self.zone.zone))
        self.which = {"cycle": cycle.id}

    def _row(self, row):
        return [
            row["mpesa_reference"],
            row["batch"],
            row["beneficiary"],
            row["payee"],
            _number(row["amount"]),
            row["currency"] or self.currency,
            self.outcomes.get(row["outcome"], row["outcome"]),
            self.reasons.get(row["reason"], row["reason"]),
            row["words"],
            row["receipt"],
            self._local(row["sent"]),
            self._local(row["paid"]),
            _number(row["amount_paid"]),
            _number(row["fee"]),
            self.modes.get(row["mode"]),
            _number(row["difference"]),
        ]

    def _local(self, moment):
        if not moment:
            return None
        return pytz.utc.localize(moment).astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")


class HeldBack(Export):
    """Who cannot be paid, and why, of what somebody is about to send.

    :param wizard: the dialogue of Send, with the environment of whoever asks.
    :param list head: what stands above the columns.
    :param bool masked: whether payees are masked.
    """

    QUERY = HELD_BACK

    def __init__(self, wizard, head, masked):
        manager = wizard.manager_id
        super().__init__(wizard.env, manager.program_id, head)
        self.masked = masked
        self.which = {
            "batches": wizard.batch_ids.ids,
            "manager": manager.id,
            "payments": wizard.payment_ids.ids or None,
            "held": list(const.HELD),
        }

    def _row(self, row):
        payee = row["payee"]
        return [
            row["beneficiary"],
            mask_payee(payee) if self.masked else payee,
            _number(row["amount"]),
            row["currency"] or self.currency,
            self.reasons.get(row["reason"], row["reason"]),
        ]


def harmless(value):
    """``value`` so that a spreadsheet takes it for text and never for a formula.

    Names, payees and the gateway's words are written by others, and a formula can send a sheet away.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA):
        return f"'{value}"
    return value


def _number(value):
    return None if value is None else float(value)


def _take(text):
    """What is in the buffer, which is empty after it."""
    piece = text.getvalue()
    text.seek(0)
    text.truncate()
    return piece


def _write_row(sheet, number, row, money):
    for column, value in enumerate(row):
        if isinstance(value, float):
            sheet.write_number(number, column, value, money)
        elif value:
            sheet.write_string(number, column, value)


def file_name(record, name, ending):
    """``name`` with today's date, of characters that any disk takes."""
    today = fields.Date.context_today(record)
    kept = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in name)
    return f"{kept.strip()} {today}.{ending}"
