from . import reconciliation, send, settle, withdraw
