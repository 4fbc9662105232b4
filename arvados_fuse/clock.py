"""Two clocks: one for the age of what the world outside said, and how far it is ahead of the other.

`time.monotonic` stands still while the machine sleeps. That is right for waiting: a time limit is
for time in which something could have come. It is wrong for whatever grows old, or runs out,
elsewhere: what a cluster said, signatures, connections that others forget.
"""

from __future__ import annotations

import time

__all__ = ["asleep_s", "lasting_clock"]


def lasting_clock() -> float:
    """Seconds that go on while the machine sleeps, and never go back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def asleep_s() -> float:
    """Return for how many seconds the machine has slept since it was started."""
    return lasting_clock() - time.monotonic()
