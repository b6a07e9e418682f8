from . import assign_payments_batch_wizard
