"""M-Pesa over HTTP: pure Python, no Odoo import.

``errors`` says what the caller may do next, ``masking`` keeps secrets and payees out of texts, and there is
one module for each protocol.
"""
