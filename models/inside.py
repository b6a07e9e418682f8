"""What only code of this addon says by the context.

A caller's context comes as JSON, so an object of a class of ours is in none: whoever writes the same words
there says nothing by them.
"""

# What would have a job run at once, in the caller's request, or as one of another company.
NOT_TOLD_TO_JOBS = {"queue_job__no_delay", "company_id"}

# What would change something without a word in the chatter.
NO_TRACKING = {"tracking_disable", "mail_notrack", "mail_create_nolog"}


class _Said:
    """Says one thing.

    :param value: what is said.
    """

    def __init__(self, value):
        self.value = value


class Preparing(_Said):
    """``mpesa_preparing``: the id of the manager that prepares."""


class OwnJob(_Said):
    """``mpesa_job``: the uuid of the job in which this runs."""


def said(env, name, kind):
    """What the context says by ``name``; None where it was not said by an object of ``kind``."""
    found = env.context.get(name)
    return found.value if isinstance(found, kind) else None


def preparing(env):
    """The id of the manager that prepares, None where none does."""
    return said(env, "mpesa_preparing", Preparing)


def in_job(records):
    """The records in a job's own environment; for methods that are jobs, which nobody calls from outside."""
    return records.with_context(mpesa_job=OwnJob(records.env.context.get("job_uuid")))


def job_uuid(env):
    """The uuid of the job in which this runs, None outside of one."""
    return said(env, "mpesa_job", OwnJob)


def delayed(records, **options):
    """``with_delay`` that is a job of its own whatever the caller's context says: it may say "at once"."""
    return _without(records, NOT_TOLD_TO_JOBS.__contains__).with_delay(**options)


def without_defaults(records):
    """The records in an environment in which a caller has given no values by ``default_`` in the context."""
    return _without(records, lambda name: name.startswith("default_"))


def with_tracking(records):
    """The records in an environment in which a caller has not switched off what the chatter notes."""
    return _without(records, NO_TRACKING.__contains__)


def _without(records, which):
    context = {name: value for name, value in records.env.context.items() if not which(name)}
    return records.with_env(records.env(context=context))
