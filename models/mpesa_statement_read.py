"""How a statement's file is to be read: guessed, else asked, and kept for the next."""

import base64
from itertools import islice

import pytz

from odoo import _, api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..statement import cells, sheet, words
from ..statement.lines import KIND, STATE, Format, signs_of, words_of

# Rows that are looked at to guess, and of them examples that are shown.
SAMPLES = 2000
SHOWN_SAMPLES = 3
# More unknown words than these are of a column in which each line says something else.
MOST_WORDS = 60
MEANINGS = [
    ("ignore", "Nothing that is needed"),
    ("reference", "Our reference"),
    ("receipt", "Receipt"),
    ("payee", "Payee"),
    ("name", "Name of the payee"),
    ("amount", "Amount paid out"),
    ("paid_out", "Paid out (beside a column for money in)"),
    ("paid_in", "Money in"),
    ("moment", "Date and time"),
    ("clock", "Time of the day (beside a column for the date)"),
    ("status", "Whether it was carried out"),
    ("kind", "What it was for"),
    ("linked", "Receipt that it takes back"),
]
WORD_MEANINGS = [
    ("unknown", "I do not know"),
    (words.CARRIED_OUT, "Carried out"),
    (words.FAILED, "Not carried out"),
    (words.PENDING, "Not carried out yet"),
    (words.REVERSED, "Came back as a whole"),
    (words.MOVEMENT, "A payment, or money in"),
    (words.FEE, "A fee"),
    (words.REVERSAL, "Something is taken back"),
]


class StatementRead(models.AbstractModel):
    _name = "g2p.mpesa.statement.read.mixin"
    _description = "M-Pesa Statement: File"

    file = fields.Binary("File (CSV or Excel)", attachment=True, required=True)
    file_name = fields.Char()
    digest = fields.Char(readonly=True, help="SHA-256 of the file, so that it is imported once.")
    delimiter = fields.Selection(
        [(",", "Comma"), (";", "Semicolon"), ("\t", "Tab"), ("|", "Bar")], required=True, default=","
    )
    is_workbook = fields.Boolean(compute="_compute_is_workbook")
    head = fields.Integer("Row with the Headings", default=1, required=True)
    decimal = fields.Selection(
        [(".", "Point: 1,000.50"), (",", "Comma: 1.000,50")], "Decimal Mark", required=True, default="."
    )
    date_order = fields.Selection(
        [
            ("ymd", "Year, month, day"),
            ("dmy", "Day, month, year"),
            ("mdy", "Month, day, year"),
        ],
        "Order in Dates",
        help="Empty where the dates of the file do not say which number is the day, e.g. 05/06/2026.",
    )
    sign = fields.Selection(
        [
            ("all", "Nothing: all of it was paid out"),
            ("minus", "With a minus it was paid out, without it came in"),
            ("plus", "Without a minus it was paid out, with it came in"),
        ],
        "What a Minus Says",
        default="all",
        help="Of the column of amounts, if some have a minus and others have none.",
    )
    zone = fields.Selection(
        lambda self: [(name, name) for name in pytz.common_timezones],
        "Time Zone",
        required=True,
        default=lambda self: self.env.user.tz or "Africa/Nairobi",
        help="Of the times in the file, where they do not say.",
    )
    tolerance_hours = fields.Integer(
        "Hours after It Was Sent",
        default=24,
        required=True,
        help="A line without reference and receipt is taken for a payment to the same payee of the same"
        " amount that was sent so many hours before, at the most.",
    )
    only_carried_out = fields.Boolean(
        "It Lists Only What Was Carried Out",
        help="For a file in which no column says whether a line was carried out: by the word of whoever made"
        " the file. Otherwise a payment that failed would count as paid.",
    )
    column_ids = fields.One2many("g2p.payment.mpesa.statement.column", "statement_id", "Columns")
    word_ids = fields.One2many("g2p.payment.mpesa.statement.word", "statement_id", "Unknown Words")
    has_status = fields.Boolean(compute="_compute_has_status")

    @api.depends("file")
    def _compute_is_workbook(self):
        for statement in self:
            statement.is_workbook = sheet.is_workbook(statement._content()[:4])

    @api.depends("column_ids.meaning")
    def _compute_has_status(self):
        for statement in self:
            statement.has_status = "status" in statement.column_ids.mapped("meaning")

    # Guess

    @api.onchange("file")
    def _onchange_file(self):
        """Guess how the file is to be read, or take it from the last one of this gateway."""
        content = self._content()
        if not content:
            return
        if self.file_name:
            self.name = self.file_name.rsplit(".", 1)[0]
        if not sheet.is_workbook(content):
            self.delimiter = sheet.guess_delimiter(self._decoded(content))
        self.head = sheet.find_head(self._first_rows(sheet.MOST_ABOVE_HEAD))
        self._read_columns()

    @api.onchange("delimiter", "head", "program_id")
    def _onchange_layout(self):
        if self._content():
            self._read_columns()

    @api.onchange("column_ids")
    def _onchange_columns(self):
        if self._content():
            self._guess_values(self._first_rows(self.head + SAMPLES)[self.head :])

    def _content(self):
        """The bytes of the file; none where there is none yet."""
        return base64.b64decode(self.with_context(bin_size=False).file or b"")

    def _decoded(self, content):
        try:
            return sheet.decode(content)
        except sheet.StatementError as error:
            raise UserError(self._why_not_read(error)) from None

    def _first_rows(self, number):
        try:
            return list(islice(sheet.table(self._content(), self.delimiter), number))
        except sheet.StatementError as error:
            raise UserError(self._why_not_read(error)) from None

    def _why_not_read(self, error):
        return {
            "binary": _(
                "This is no CSV file and no Excel workbook (.xlsx). Save the statement as one of them."
            ),
            "large": _("This workbook is too large to be read. Save the sheet with the statement as CSV."),
            "broken": _("This workbook cannot be read. Open it, save it anew, and take that."),
        }[str(error)]

    def _read_columns(self):
        rows = self._first_rows(self.head + SAMPLES)[max(self.head - 1, 0) :]
        head, rows = (rows[0] if rows else []), rows[1:]
        last = self._last_meanings()
        columns = []
        for position, cell in enumerate(head):
            heading = sheet.shown(cell)
            found = (row[position] for row in rows if position < len(row) and row[position] != "")
            columns.append(
                {
                    "position": position,
                    "heading": heading or _("Column %s", position + 1),
                    "samples": " | ".join(map(sheet.shown, islice(found, SHOWN_SAMPLES))),
                    "meaning": last.get(heading) or words.guess_meaning(heading),
                }
            )
        self._keep_one_of_each(columns)
        above = self._first_rows(max(self.head - 1, 0))
        self.column_ids = [fields.Command.clear(), *(fields.Command.create(vals) for vals in columns)]
        self._guess_values(rows)
        self._read_above(above)

    @api.model
    def _keep_one_of_each(self, columns):
        """Of several columns that could mean the same, the first; a person may choose another."""
        seen = set()
        for column in columns:
            if column["meaning"] in seen and column["meaning"] != "ignore":
                column["meaning"] = "ignore"
            seen.add(column["meaning"])

    def _guess_values(self, rows):
        """Marks, signs and words of what stands in the columns."""
        columns = self._positions()

        def samples(*meanings):
            positions = [columns[name] for name in meanings if name in columns]
            return [row[p] for row in rows for p in positions if p < len(row) and row[p] != ""]

        self.decimal = cells.guess_decimal(samples("amount", "paid_out", "paid_in"))
        self.date_order = cells.guess_order(samples("moment"))
        layout = Format(self.delimiter, self.head, self.decimal, None, "UTC", columns)
        below, above = signs_of(rows, layout)
        self.sign = False if below and above else "all"
        self.word_ids = [
            fields.Command.clear(),
            *(fields.Command.create(vals) for vals in self._asked_words(rows, columns)),
        ]

    def _asked_words(self, rows, columns):
        known = self._last_words()
        for (about, word), count in words_of(rows, columns).most_common(MOST_WORDS):
            meaning = known.get((about, word), "unknown")
            yield {"about": about, "word": word, "count": count, "meaning": meaning}

    def _positions(self):
        return {column.meaning: column.position for column in self.column_ids if column.meaning != "ignore"}

    # Kept for the gateway

    def _last_meanings(self):
        """What the headings meant in the last statement of the same gateway."""
        last = self._earlier(limit=1)
        if last:
            self.zone, self.tolerance_hours = last.zone, last.tolerance_hours
        return {column.heading: column.meaning for column in last.column_ids}

    def _last_words(self):
        """From what a word is about and the word to what somebody has said that it means at this gateway."""
        # The newest are the last to be taken.
        words_there = self._earlier().sorted("id").word_ids
        return {(word.about, word.word): word.meaning for word in words_there if word.meaning != "unknown"}

    def _earlier(self, limit=None):
        return self.search(
            [
                ("manager_id", "=", self.manager_id.id),
                ("state", "=", "compared"),
                ("id", "!=", self._origin.id),
            ],
            limit=limit,
        )

    # What is to be said before it is compared

    def _layout(self):
        """How the file is to be read, as a :class:`Format`.

        :raise ValidationError: something is to be said first.
        """
        columns = self._positions()
        if len(columns) < len(self.column_ids.filtered(lambda column: column.meaning != "ignore")):
            raise ValidationError(_("Two columns cannot mean the same. Choose one of them."))
        if not {"amount", "paid_out"} & set(columns):
            raise ValidationError(_("Say which column has the amount."))
        if not {"reference", "receipt"} & set(columns) and not {"payee", "moment"} <= set(columns):
            raise ValidationError(
                _("Say which column has our reference or the receipt; or else both payee and date.")
            )
        known = {
            **self._last_words(),
            **{(word.about, word.word): word.meaning for word in self.word_ids},
        }
        return Format(
            self.delimiter,
            self.head,
            self.decimal,
            self.date_order or None,
            self.zone,
            columns,
            self.sign or None,
            {key: meaning for key, meaning in known.items() if meaning != "unknown"},
        )

    def _check_said(self):
        """Whether all has been said that the file does not say.

        :raise ValidationError: something has not.
        """
        columns = self._layout().columns
        if "status" not in columns and not self.only_carried_out:
            raise ValidationError(
                _(
                    "No column says whether a line was carried out. Choose that column; or tick that the file"
                    " lists only what was carried out, if whoever made it says so."
                )
            )
        if not self.sign:
            raise ValidationError(
                _("Some amounts have a minus, and others have none. Say what a minus says in this file.")
            )
        rows = self._first_rows(self.head + SAMPLES)[self.head :]
        position = columns.get("moment")
        dates = [row[position] for row in rows if position is not None and position < len(row)]
        if not self.date_order and cells.guess_order(dates) is None:
            raise ValidationError(
                _("The dates do not say which number is the day. Say in which order they are written.")
            )


class StatementColumn(models.Model):
    """What one column of a statement means."""

    _name = "g2p.payment.mpesa.statement.column"
    _description = "Column of an M-Pesa Statement"
    _order = "position"
    _rec_name = "heading"

    statement_id = fields.Many2one(
        "g2p.payment.mpesa.statement", required=True, ondelete="cascade", index=True
    )
    position = fields.Integer(required=True)
    heading = fields.Char()
    samples = fields.Char("For Example")
    meaning = fields.Selection(MEANINGS, "What It Says", required=True, default="ignore")


class StatementWord(models.Model):
    """A word that the addon does not know: a person says what it means, and that is kept for the gateway."""

    _name = "g2p.payment.mpesa.statement.word"
    _description = "Unknown Word of an M-Pesa Statement"
    _order = "about desc, count desc, id"
    _rec_name = "word"

    statement_id = fields.Many2one(
        "g2p.payment.mpesa.statement", required=True, ondelete="cascade", index=True
    )
    about = fields.Selection(
        [(STATE, "Whether it was carried out"), (KIND, "What it was for")], "Stands for", required=True
    )
    word = fields.Char(required=True)
    count = fields.Integer("Lines")
    meaning = fields.Selection(WORD_MEANINGS, "What It Means", required=True, default="unknown")

    @api.constrains("about", "meaning")
    def _check_meaning(self):
        for word in self:
            fitting = words.STATES if word.about == STATE else words.KINDS
            if word.meaning != "unknown" and word.meaning not in fitting:
                raise ValidationError(
                    _("%s stands for something else: choose another meaning for it.", word.word)
                )
