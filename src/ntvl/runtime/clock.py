"""The two clocks of a running program, the only place that reads them.

Machines count on a clock that never steps and goes on in suspend, so that a laptop that wakes after an hour finds its
sessions an hour old. Certificates alone are judged by the wall clock, which may step.
"""

import time
from collections.abc import Callable

__all__ = ["Clock", "boot_time", "wall_time"]

Clock = Callable[[], float]
"""Returns seconds; which zero they count from is the clock's own business."""


def boot_time() -> float:
    """Returns seconds since boot, suspend included (CLOCK_BOOTTIME, clock_gettime(2)); never steps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_time() -> float:
    """Returns seconds since the Unix epoch; steps when somebody sets the clock."""
    return time.time()
