# isort: skip_file
# The mixins come before what inherits from them.
from . import (
    constants,
    job_relate_mixin,
    managers,
    payment_manager,
    payment,
    entitlement,
    cycle,
    program,
    program_membership,
    registrant,
    account_journal,
)
