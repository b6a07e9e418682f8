"""Telephone numbers as they stand in registries: what goes out, and what nobody can know."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from odoo.tests import BaseCase

from ..models import phone

KENYA = "254712345678"
READ = (
    "+254(0)712345678",
    "2540712345678",
    "+25400712345678",
    "0712-345-678",
    "712345678",
    "0712 345 678",
    "0712.345.678",
    "0712/345/678",
    "0712\u2011345\u2013678",
    "(0712) 345-678",
    "(+254) 712 345 678",
    "+254\u00a0712\u202f345 678",
    "00254712345678",
    "000254712345678",
    "00254 (0) 712345678",
    "011254712345678",
    "254712345678",
    "712345678.0",
    "254712345678.0",
    "712345678,0",
    "0712345678 (wife)",
    "(mke) 0712345678",
    "0712345678 [M-Pesa]",
    "tel:+254712345678",
    "Tel. 0712345678",
    "Mobile: 0712 345 678",
    "'0712345678",
    "\u202a+254712345678\u202c",
    "0712\u200b345678\ufeff",
    "\uff0b\uff12\uff15\uff14\uff17\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    "\u0660\u0667\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
)
NOBODY_KNOWS = (
    "",
    "none",
    "12",
    "+254",
    "2.54712E+11",
    "2.54712345678E+11",
    "07l2345678",
    "o712345678",
    "O712345678",
    "07123456789",
    "071234567",
    "0712345678 0722345678",
    "0712345678/0722345678",
    "0712345678/9",
    "0712345678, 0722345678",
    "0712345678 or 0722345678",
    "0712345678 (0722345678)",
    "0712345678 (wife 0722345678)",
    "0712345678 ext. 12",
    "0712345678x12",
    "0712345678 wife",
    "0712345???",
    "tel:0712345678;phone-context=+255",
    "0712345678\u00b2",
    "+0712345678",
    "254+712345678",
    "=+254712345678",
    "0800 FLOWERS",
)


class TestNumbers(BaseCase):
    def number(self, text, paid=("KE",), regions=("KE",)):
        return phone.read(text, regions, paid)

    def test_one_number_in_many_spellings(self):
        for text in READ:
            self.assertEqual(self.number(text), phone.Number(KENYA, None), text)

    def test_what_nobody_can_know(self):
        for text in NOBODY_KNOWS:
            self.assertEqual(self.number(text), phone.NOBODY_KNOWS, text)

    def test_what_has_no_wallet_of_this_gateway(self):
        for text, problem in (
            ("0202222222", "phone_not_mobile"),
            ("+254 20 2222222", "phone_not_mobile"),
            ("0800723253", "phone_not_mobile"),
            ("0900223344", "phone_not_mobile"),
            ("+80012345678", "phone_not_mobile"),
            ("+255712345678", "phone_other_country"),
            ("00255712345678", "phone_other_country"),
            ("255712345678", "phone_other_country"),
            ("+447400123456", "phone_other_country"),
        ):
            self.assertEqual(self.number(text).problem, problem, text)

    def test_kenyan_numbers_that_begin_as_calls_abroad_do(self):
        self.assertEqual(self.number("0116834002"), phone.Number("254116834002", None))

    def test_countries_where_a_number_does_not_say_whether_it_is_a_mobile_one(self):
        self.assertEqual(self.number("(201) 555-0123", ("US",), ("US",)), phone.Number("12015550123", None))

    def test_countries_whose_numbers_keep_their_zero(self):
        for text in ("0712345678", "+225 0712345678", "2250712345678"):
            self.assertEqual(self.number(text, ("CI",), ("CI",)), phone.Number("2250712345678", None), text)

    def test_in_two_countries_at_once_nobody_can_know(self):
        both = ("KE", "TZ")
        self.assertEqual(self.number("0712345678", both, both), phone.NOBODY_KNOWS)
        for text in ("+255712345678", "255712345678"):
            self.assertEqual(self.number(text, both, both), phone.Number("255712345678", None), text)

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet="0123456789+-(). /,eEol\u200b\u0661\uff12", max_size=24))
    @example("+254712345678")
    def test_nothing_is_invented(self, text):
        """What goes out has all the digits that stand there, but for country code and zeros."""
        read = self.number(text)
        if read.problem is None:
            self.assertRegex(read.msisdn, r"^254[0-9]{9}$")
            digits = "".join(str(int(c)) for c in text if c.isdecimal())
            self.assertIn(read.msisdn[3:], digits)
            rest = digits.replace(read.msisdn[3:], "", 1)
            self.assertRegex(rest, r"^(0{0,3}|011)?(254)?0{0,2}$")

    @settings(max_examples=200, deadline=None)
    @given(st.integers(700000000, 729999999), st.sampled_from(("+254", "254", "0", "", "+254(0)", "00254")))
    def test_each_number_goes_out_alike_however_it_is_written(self, number, begin):
        self.assertEqual(self.number(f"{begin}{number}"), phone.Number(f"254{number}", None))
