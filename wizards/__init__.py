from . import confirm, reconciliation, send, send_before, settle, withdraw
