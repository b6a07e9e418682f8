from . import reconciliation, send, settle
