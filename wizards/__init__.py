from . import confirm, explain, reconciliation, send, send_before, settle, withdraw
