from . import (
    attempt,
    compat_17,
    cycle,
    module,
    mpesa_payee,
    mpesa_prepare,
    mpesa_send,
    mpesa_status,
    payment,
    payment_batch,
    payment_manager,
    payment_manager_mpesa,
)
