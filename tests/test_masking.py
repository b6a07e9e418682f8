import logging

from odoo.tests import BaseCase

from ..gateway.masking import RedactingFilter, mask_payee, redact
from ..gateway.simple import Order, Settings


class TestMasking(BaseCase):
    def test_payees_are_recognisable_and_not_readable(self):
        self.assertEqual(mask_payee("254700000001"), "2547*****001")
        self.assertEqual(mask_payee("ann@example.org"), "a***@example.org")
        self.assertEqual(mask_payee("A-12"), "***2")
        self.assertEqual(mask_payee(None), "")

    def test_of_a_short_number_no_more_is_shown_than_of_a_long_one(self):
        for payee, masked in (
            ("0700000001", "07*****001"),
            ("700000001", "7*****001"),
            ("70000001", "7*****01"),
        ):
            self.assertEqual(mask_payee(payee), masked)

    def test_an_address_within_a_network_is_masked(self):
        self.assertEqual(mask_payee("ann@mail"), "a***@mail")
        self.assertEqual(
            redact("user ann@mail and bob%40example.org"), "user a***@mail and b***%40example.org"
        )

    def test_numbers_in_groups_are_masked(self):
        for text in ("+254 700 000 001", "0700-000-001", "254 700000001"):
            self.assertRegex(redact(text), r"^\+?\d[\d -]{0,3}\*{5,}.{3}$")

    def test_what_a_database_cannot_take_is_left_out(self):
        self.assertEqual(redact("a\x00b\nc\ud800d"), "a b c d")

    def test_texts_lose_secrets_tokens_and_payees(self):
        text = redact(
            "POST as ann@example.org with hunter2, Bearer abc.def, eyJhbGci.eyJzdWIi.c2ln for +254700000001",
            secrets=("hunter2", ""),
        )
        for secret in ("hunter2", "abc.def", "eyJ", "254700000001", "ann@"):
            self.assertNotIn(secret, text)

    def test_a_token_is_masked_however_it_is_cut(self):
        token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
        for end in range(8, len(token)):
            self.assertEqual(redact(f"got {token[:end]}"), "got ***")

    def test_amounts_stay_readable(self):
        self.assertEqual(redact("Amount: 400 Balance: 1200000"), "Amount: 400 Balance: 1200000")

    def test_log_records_are_redacted_with_their_exceptions(self):
        logger = logging.getLogger("odoo.tests.mpesa.redacted")
        redacting = RedactingFilter()
        logger.addFilter(redacting)
        self.addCleanup(logger.removeFilter, redacting)
        with self.assertLogs(logger, "WARNING") as logs:
            try:
                raise ValueError("no such payee 254700000001")
            except ValueError:
                logger.warning("Order of %s", "254700000002", exc_info=True)
        self.assertNotIn("25470000000", "".join(logs.output))
        self.assertIn("ValueError", logs.output[0])

    def test_settings_and_orders_hide_what_is_private(self):
        settings = Settings("a", "b", "agent", password="hunter2")
        self.assertNotIn("hunter2", repr(settings))
        self.assertNotIn("254700000001", repr(Order("ref", "254700000001", 100)))
