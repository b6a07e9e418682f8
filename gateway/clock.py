"""The clock by which a lease, a deadline or a token grows old."""

import time

# While a machine is suspended, Linux stops its monotonic clock. The database's clock goes on: the lease of
# whoever sleeps runs out, and its payments are a person's or another sender's by the time that it wakes up.
_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def now():
    """Seconds since some moment in the past; it never goes back, and counts the time of a suspended machine.

    Where the system has no such clock, time that is suspended is not counted.
    """
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
