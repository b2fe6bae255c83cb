"""What every machine has: five verbs, and a reason for every wake-up.

One driver serves node, supernode and simulator: it hands in datagrams and the time, then polls until nothing is left.

    machine.handle_datagram(data, origin, now)      something came in
    machine.handle_timeout(now)                     the time of `poll_timeout` has come
    machine.poll_timeout() -> Wakeup | None         when to call next, and why
    machine.poll_transmit() -> Transmit | None      a datagram to send
    machine.poll_event() -> Event | None            something to tell the caller

`now` is in seconds on a clock that never steps and goes on while the machine sleeps (CLOCK_BOOTTIME in production,
virtual in the simulator). Wall-clock time appears only where certificates are judged, as a function handed in at
construction.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from ntvl.wire.address import Origin, Transmit

__all__ = ["Machine", "Random", "Wakeup", "WallClock", "earliest"]

Random = Callable[[int], bytes]
"""Returns that many random bytes: `os.urandom` in production, a seeded generator in the simulator."""

WallClock = Callable[[], float]
"""Returns seconds since the Unix epoch; may step."""

E = TypeVar("E", covariant=True)


class Wakeup(NamedTuple):
    """Asks for a call of `handle_timeout` at or soon after `at` (seconds, machine's clock); `reason` is for people."""

    at: float
    reason: str


class Machine(Protocol[E]):
    """Is the shape of every sans-IO machine."""

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes one control datagram; raises nothing: bad input is counted."""

    def handle_timeout(self, now: float) -> None:
        """Does what is due; calling early or late is harmless."""

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for never."""

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send, or None; call until None."""

    def poll_event(self) -> E | None:
        """Returns the next event, or None; call until None."""


def earliest(*wakeups: Wakeup | None) -> Wakeup | None:
    """Returns the wake-up that is due first, or None where none is asked for."""
    return min((w for w in wakeups if w is not None), default=None, key=lambda w: w.at)
