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

    def test_texts_lose_secrets_tokens_and_payees(self):
        text = redact(
            "POST as ann@example.org with hunter2, Bearer abc.def, eyJhbGci.eyJzdWIi.c2ln for +254700000001",
            secrets=("hunter2", ""),
        )
        for secret in ("hunter2", "abc.def", "eyJ", "254700000001", "ann@"):
            self.assertNotIn(secret, text)

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
