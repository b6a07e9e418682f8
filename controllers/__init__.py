from . import reconciliation
