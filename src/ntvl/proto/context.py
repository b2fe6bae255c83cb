"""What the machines inside one node share: its outputs, its timers, its chance, its counters.

A peer or a registration never polls another machine; each puts what it has to say here, and the node's `poll_*` verbs
take it out in order.
"""

from collections import Counter, deque
from collections.abc import Iterable

from ntvl.dataplane.interface import Command, Target
from ntvl.proto.events import NodeEvent
from ntvl.proto.indices import Indices
from ntvl.proto.machine import Random, WallClock
from ntvl.proto.timers import Timers
from ntvl.wire.address import Address, Relay, Transmit
from ntvl.wire.header import build_relay

__all__ = ["Context"]


class Context:
    """Holds one node's queues; bounded by what one input can cause, since the driver empties them after each.

    Args:
        random: for keys, indices and jitter.
        wall: for certificates only.
    """

    def __init__(self, random: Random, wall: WallClock) -> None:
        self.random = random
        self.wall = wall
        self.timers = Timers()
        self.indices: Indices[object] = Indices(random)
        self.transmits: deque[Transmit] = deque()
        self.commands: deque[Command] = deque()
        self.events: deque[NodeEvent] = deque()
        self.drops: Counter[str] = Counter()
        self.keepalive_s = 15.0
        """How often a mapping that carries nothing has to be refreshed; `lifetime_probe` finds out."""

    def send(self, data: bytes, target: Target, *, ttl: int = 0) -> None:
        """Sends one control datagram one way: with the relay prefix where `target` has one; `ttl` as in `Transmit`."""
        if target.relay is not None:
            data = build_relay(Relay(*target.relay), data)
        self.transmits.append(Transmit(data, Address(target.host, target.port), target.socket, ttl))

    def send_to_all(self, data: bytes, addresses: Iterable[Address]) -> None:
        """Sends one control datagram to several addresses from the main port."""
        for address in addresses:
            self.send(data, Target(address.host, address.port))

    def count(self, reason: str) -> None:
        """Counts one drop under its reason."""
        self.drops[reason] += 1

    def random_text(self, length: int) -> str:
        """Returns that many random characters out of a-z, A-Z, 0-9, + and / (ice-char, RFC 8839 section 5.4)."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        return "".join(alphabet[byte & 63] for byte in self.random(length))
