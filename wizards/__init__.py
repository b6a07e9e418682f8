from . import confirm, reconciliation, send, settle, withdraw
