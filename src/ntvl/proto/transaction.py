"""Requests under way to one server, each sent again until it is answered or given up.

Over UDP a request goes out at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s and is given up at 39.5 s: the waits double, and
the last is sixteen times the first. Over a stream it goes out once and is given up at the same time.

Source: RFC 8489 sections 6.2.1 (RTO 500 ms, Rc 7, Rm 16) and 6.2.2 (Ti 39.5 s). Deviation: the RTO is not measured.
"""

from typing import Final, Generic, NamedTuple, TypeVar

from ntvl.proto.timers import TimerKey, Timers

__all__ = ["GIVE_UP_S", "TIMER", "Transactions"]

RTO_S: Final = 0.5
SENDS_MAX: Final = 7
GIVE_UP_S: Final = RTO_S * (2 ** (SENDS_MAX - 1) - 1 + 16)
TIMER: Final = "retransmit"
"""The first item of the timer keys that belong here."""

T = TypeVar("T")


class _Open(NamedTuple, Generic[T]):
    data: bytes
    context: T
    sends: int
    since: float


class Transactions(Generic[T]):
    """Keeps what is under way; the owner hands on its timers whose key starts with `TIMER`.

    Args:
        timers: the owner's.
        reliable: over a stream, where nothing is sent twice.
    """

    def __init__(self, timers: Timers, *, reliable: bool) -> None:
        self._timers = timers
        self._reliable = reliable
        self._open: dict[bytes, _Open[T]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, transaction: bytes, data: bytes, context: T, now: float) -> None:
        """Adds a request that the owner sends now for the first time."""
        self._open[transaction] = _Open(data, context, 1, now)
        self._timers.set((TIMER, transaction), now + (GIVE_UP_S if self._reliable else RTO_S))

    def find(self, transaction: bytes) -> T | None:
        """Returns the context of a request under way, or None."""
        found = self._open.get(transaction)
        return None if found is None else found.context

    def close(self, transaction: bytes) -> None:
        """Forgets a request; unknown ones are fine."""
        if self._open.pop(transaction, None) is not None:
            self._timers.cancel((TIMER, transaction))

    def clear(self) -> None:
        """Forgets all."""
        for transaction in list(self._open):
            self.close(transaction)

    def handle_timer(self, key: TimerKey, now: float) -> tuple[bytes | None, T | None]:
        """Returns the bytes to send again, or the context of a request that is given up, or neither."""
        transaction = key[1]
        assert isinstance(transaction, bytes)
        found = self._open.get(transaction)
        if found is None:
            return None, None
        gone_s = found.since + GIVE_UP_S
        if self._reliable or found.sends >= SENDS_MAX or now >= gone_s:
            self.close(transaction)
            return None, found.context
        sends = found.sends + 1
        self._open[transaction] = found._replace(sends=sends)
        next_s = gone_s if sends == SENDS_MAX else found.since + RTO_S * (2**sends - 1)
        self._timers.set((TIMER, transaction), max(next_s, now + RTO_S))
        return found.data, None
