"""What people read, in their own languages."""

import ast
import re
from datetime import date

import lxml.html

from odoo import release
from odoo.exceptions import UserError
from odoo.tests import BaseCase, TransactionCase

from ..models import const
from .common import ROOT, ProgramCase
from .harness import load_dev

translations = load_dev("translations")
SCOPES = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)


class TestFiles(BaseCase):
    """The .po files, on any Odoo."""

    def test_every_language_is_complete(self):
        paths = translations.languages()
        self.assertLessEqual({"fr", "pt", "sw"}, {path.stem for path in paths})
        for path in paths:
            with self.subTest(path.name):
                self.assertEqual(translations.problems(path), [])

    def test_odoo_finds_the_language_of_whom_it_speaks_to(self):
        for folder in ("models", "wizards", "controllers"):
            for path in sorted((ROOT / folder).rglob("*.py")):
                strangers = list(blind_calls(ast.parse(path.read_text(encoding="utf-8"))))
                self.assertEqual(strangers, [], f"{path.name}: _() where no self is in sight")


def blind_calls(node, scope=None):
    """The lines of a syntax tree where ``_()`` sees no ``self``, from whose env it takes the language."""
    if isinstance(node, SCOPES):
        scope = node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
        names = {getattr(part, "id", getattr(part, "arg", None)) for part in ast.walk(scope)} if scope else ()
        if "self" not in names:
            yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from blind_calls(child, scope)


class TestExport(TransactionCase):
    def test_the_template_is_what_the_addon_says(self):
        if release.version_info[0] < 19:
            self.skipTest("OpenG2P's own views differ, and the exporter is that of Odoo 19")
        exported = {entry.msgid for entry in translations.polib.pofile(translations.export(self.env))}
        template = {entry.msgid for entry in translations.polib.pofile(str(translations.TEMPLATE))}
        hint = "run dev/i18n, and translate what is new"
        self.assertEqual(sorted(exported - template), [], f"not in the .pot: {hint}")
        self.assertEqual(sorted(template - exported), [], f"said no more: {hint}")


class TestFrench(ProgramCase):
    """One string of each kind, as a person with another language gets it."""

    PEOPLE = 2

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["res.lang"]._activate_lang("fr_FR")
        module = cls.env["ir.module.module"].search([("name", "=", translations.ADDON)])
        module._update_translations(["fr_FR"])
        french = next(path for path in translations.languages() if path.stem == "fr")
        cls.said = {entry.msgid: entry.msgstr for entry in translations.polib.pofile(str(french))}

    def expect(self, english, got):
        self.assertNotEqual(self.said[english], english)
        self.assertEqual(got, self.said[english])

    def test_a_notification(self):
        action = self.manager.with_context(lang="fr_FR").action_test_connection()
        sentence = self.said[
            "The gateway accepts user name and password, and the float is %s. No money was moved."
        ]
        self.assertTrue(action["params"]["message"].startswith(sentence.partition("%s")[0]))

    def test_the_label_of_a_state_and_the_sentence_of_a_reason(self):
        payments = self.env["g2p.payment"].with_context(lang="fr_FR")
        fields = payments.fields_get(["mpesa_state", "mpesa_reason"], ["selection"])
        self.expect("In doubt", dict(fields["mpesa_state"]["selection"])[const.DOUBT])
        self.expect(dict(const.REASONS)["float"], dict(fields["mpesa_reason"]["selection"])["float"])

    def test_a_sentence_of_a_view(self):
        view = self.env["g2p.payment.mpesa.send.wizard"].with_context(lang="fr_FR").get_view(view_type="form")
        self.assertIn(self.said["Nothing is ready to be sent"], view["arch"])
        self.assertNotIn("Nothing is ready to be sent", view["arch"])

    def test_a_printed_page(self):
        report = self.env["ir.actions.report"].with_context(lang="fr_FR")
        html, _type = report._render_qweb_html("g2p_payment_simple_mpesa.signoff", self.cycle.ids)
        self.assertIn(self.said["Sign-off: payments by M-Pesa"], html.decode())
        self.assertIn(self.said["Outcome"], html.decode())


class TestLanguages(ProgramCase):
    """Sentences with an amount, a day and a number, and the printed page, in each language that there is."""

    PEOPLE = 2
    # With the file in which its translations are.
    CODES = {"fr_FR": "fr", "pt_PT": "pt", "pt_BR": "pt", "sw": "sw"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for code in cls.CODES:
            cls.env["res.lang"]._activate_lang(code)
        module = cls.env["ir.module.module"].search([("name", "=", translations.ADDON)])
        module._update_translations(list(cls.CODES))
        files = {path.stem: translations.polib.pofile(str(path)) for path in translations.languages()}
        cls.said = {
            code: {entry.msgid: entry.msgstr for entry in files[stem]} for code, stem in cls.CODES.items()
        }

    def setUp(self):
        super().setUp()
        for entitlement in self.entitlements:
            entitlement.initial_amount = 1500
        self.prepare()
        self.fault(0, "500-not-taken")
        self.send()
        self.assert_states(paid=1, doubt=1)
        self.batch = self.payments().batch_id

    def each(self):
        """Yield a code, what is said in that language, and how it writes an amount of 1500."""
        for code, said in self.said.items():
            with self.subTest(code):
                lang = self.env["res.lang"].search([("code", "=", code)])
                yield code, said, lang.format("%.2f", 1500, grouping=True)

    def test_an_amount_is_asked_for_as_the_language_writes_it(self):
        self.manager.mode = "live"
        found = {}
        for code, _said, amount in self.each():
            dialogue = self.env["g2p.payment.mpesa.send.wizard"].with_context(lang=code)
            wizard = dialogue.create({"manager_id": self.manager.id, "count": 1, "amount": 1500})
            with self.assertRaises(UserError) as caught:
                wizard._check_typed_amount()
            found[code] = " ".join(str(caught.exception).split())
            self.assertIn(" ".join(amount.split()), found[code])
        for code, amount in (("fr_FR", "1 500,00"), ("pt_BR", "1.500,00"), ("sw", "1,500.00")):
            self.assertIn(amount, found[code])

    def test_a_sentence_with_an_amount_and_a_day(self):
        english = (
            "In all %(amount)s; the oldest was sent on %(day)s. Compare them with the gateway's statement,"
            " and settle them: Accounting, Payments, filter In Doubt."
        )
        for code, said, amount in self.each():
            batch = self.batch.with_context(lang=code)
            note = batch._mpesa_settle_note(1500, self.program._mpesa_currency(), date(2026, 2, 1))
            self.assertNotEqual(said[english], english)
            before, _sign, rest = said[english].partition("%(amount)s")
            between, _sign, after = rest.partition("%(day)s")
            self.assertRegex(
                note,
                f"^{re.escape(before)}.*{re.escape(amount)}.*{re.escape(between)}"
                f"[^ ]*2026[^ ]*{re.escape(after)}$",
            )

    def test_a_sentence_with_numbers(self):
        for code, said, _amount in self.each():
            ended = self.batch.with_context(lang=code)._mpesa_how_it_ended()
            self.assertNotEqual(said["%s in doubt"], "%s in doubt")
            self.assertEqual(ended, f"{said['%s paid'] % 1}, {said['%s in doubt'] % 1}")

    def test_the_sign_off(self):
        for code, said, amount in self.each():
            report = self.env["ir.actions.report"].with_context(lang=code)
            html, _type = report._render_qweb_html("g2p_payment_simple_mpesa.signoff", self.cycle.ids)
            page = " ".join(lxml.html.fromstring(html.decode()).text_content().split())
            for english in ("Sign-off: payments by M-Pesa", "Outcome", "In doubt", "What is open"):
                self.assertNotEqual(said[english], english)
                self.assertIn(said[english], page)
            self.assertIn(said[dict(const.REASONS)["server_error"]], page)
            self.assertIn(" ".join(amount.split()), page)
            self.assertNotIn("What is open", page)
