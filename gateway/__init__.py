"""M-Pesa over HTTP: pure Python, no Odoo import.

``errors`` says what the caller may do next, ``masking`` keeps secrets and payees out of texts, ``transport``
makes one exchange by `requests`, over the connections of ``wire``, with the addresses that ``addresses``
allows; and there is one module for each protocol.
"""
