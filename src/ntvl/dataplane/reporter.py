"""What an engine tells the control plane: events, each kind within a rate or a bound of its own."""

from collections import deque
from typing import Final, NamedTuple

from ntvl.dataplane.interface import ControlDatagram, Counters, Event, UnknownSender, Wanted
from ntvl.dataplane.peer import Peer
from ntvl.dataplane.relay import RelayTable
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import CONTROL_BYTES_MAX

__all__ = ["ACTIVITY_S", "CONTROL_QUEUE_MAX", "COUNTERS_S", "UNKNOWN_PER_S", "WANTED_S", "Reporter", "Wakeup"]

CONTROL_QUEUE_MAX: Final = 4096
ACTIVITY_S: Final = 0.25
COUNTERS_S: Final = 1.0
WANTED_S: Final = 1.0
UNKNOWN_PER_S: Final = 10

_NEVER: Final = float("inf")


class Wakeup(NamedTuple):
    """Asks to be called with `handle_timeout` at or soon after `at`; `reason` is for people."""

    at: float
    reason: str


class Reporter:
    """Gathers events; `due_at` is when it next has some to make."""

    __slots__ = (
        "_activity_at",
        "_activity_last",
        "_control",
        "_counters_at",
        "_counters_last",
        "_drops",
        "_events",
        "_relay",
        "_touched",
        "_unknown",
        "_unknown_since",
    )

    def __init__(self, relay: RelayTable) -> None:
        self._relay = relay
        self._events: deque[Event] = deque()
        self._control = 0
        self._drops: dict[str, int] = {}
        self._touched: set[Peer] = set()
        self._activity_at = self._counters_at = _NEVER
        self._activity_last = self._counters_last = -_NEVER
        self._unknown = 0
        self._unknown_since = -_NEVER

    @property
    def due_at(self) -> float:
        """Returns when to call `handle_timeout`, infinity for not before something happens."""
        return min(self._activity_at, self._counters_at)

    @property
    def has_events(self) -> bool:
        """Returns whether `poll` has something."""
        return bool(self._events)

    def poll(self) -> Event | None:
        """Returns the next event, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if type(event) is ControlDatagram:
            self._control -= 1
        return event

    def report(self, event: Event) -> None:
        """Passes an event on as it is; for those that follow commands, and so have the bound of the commands."""
        self._events.append(event)

    def control(self, data: bytes, address: Address, socket: int, relay: Relay | None) -> None:
        """Reports a control datagram, unless too many wait already."""
        if len(data) > CONTROL_BYTES_MAX:
            self.count("long")
            return
        if self._control >= CONTROL_QUEUE_MAX:
            self.count("queue-full")
            return
        self._control += 1
        self._events.append(
            ControlDatagram(
                data, address[0], address[1], socket, None if relay is None else (relay.target, relay.source)
            )
        )

    def want(self, peer: Peer, now: float) -> None:
        """Reports that frames wait for a peer."""
        if now - peer.wanted_at >= WANTED_S:
            peer.wanted_at = now
            self._events.append(Wanted(peer.handle))

    def unknown(self, address: Address, index: int, socket: int, relay: Relay | None, now: float) -> None:
        """Reports a sender of which nothing is known."""
        if now - self._unknown_since >= 1.0:
            self._unknown_since, self._unknown = now, 0
        if self._unknown >= UNKNOWN_PER_S:
            return
        self._unknown += 1
        self._events.append(
            UnknownSender(
                address[0], address[1], index, socket, None if relay is None else (relay.target, relay.source)
            )
        )

    def touch(self, peer: Peer, now: float) -> None:
        """Notes that a peer moved something."""
        self._touched.add(peer)
        if self._activity_at == _NEVER:
            self._activity_at = max(now, self._activity_last + ACTIVITY_S)

    def touch_counters(self, now: float) -> None:
        """Notes that a total changed."""
        if self._counters_at == _NEVER:
            self._counters_at = max(now, self._counters_last + COUNTERS_S)

    def count(self, reason: str, count: int = 1) -> None:
        """Counts a drop."""
        self._drops[reason] = self._drops.get(reason, 0) + count
        if self._counters_at == _NEVER:
            self._counters_at = self._counters_last + COUNTERS_S

    def forget(self, peer: Peer) -> None:
        """Reports nothing of a peer any more."""
        self._touched.discard(peer)

    def handle_timeout(self, now: float) -> None:
        """Makes the reports that are due."""
        if self._activity_at <= now:
            self._events.extend(peer.activity() for peer in self._touched)
            self._touched.clear()
            self._activity_last, self._activity_at = now, _NEVER
        if self._counters_at <= now:
            relay = self._relay
            self._events.append(Counters(dict(self._drops), relay.packets, relay.total_bytes, relay.member_bytes()))
            self._counters_last, self._counters_at = now, _NEVER
