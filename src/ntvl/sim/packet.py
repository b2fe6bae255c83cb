"""A UDP datagram or a TCP segment on its way, and the links that it crosses.

A link belongs to the attachment of a box to a segment. A packet from one attachment to another suffers the sender's
loss, duplication, reordering, jitter and rate, and the delays of both; so a host with a bad line is bad both ways in
delay and one way in the rest, and two lines can differ.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, NamedTuple

from ntvl.wire.address import Address

__all__ = ["LAN", "TTL", "WAN", "Line", "Link", "Packet"]

TTL: Final = 64
"""Boxes that a packet crosses at most, where its sender does not say."""
_IPV4_UDP_BYTES: Final = 28
_IPV6_UDP_BYTES: Final = 48


class Packet(NamedTuple):
    """Is one UDP datagram or, `is_tcp`, one TCP segment as a network carries it; `sender` is the host that made it,
    known to the simulator alone; `ttl` is how many boxes it may still cross.

    The data of a TCP segment has 12 bytes of header before it (`tcp_segment`): with the addresses' ports that makes
    the 20 of TCP, as the ports with 4 bytes more make the 8 of UDP.
    """

    source: Address
    destination: Address
    data: bytes
    sender: Any = None
    is_tcp: bool = False
    ttl: int = TTL

    @property
    def wire_bytes(self) -> int:
        """Returns its size as an IP packet."""
        return len(self.data) + (_IPV6_UDP_BYTES if self.destination.is_ipv6 else _IPV4_UDP_BYTES)


@dataclass(frozen=True, slots=True)
class Link:
    """Is what a line does to datagrams.

    Args:
        delay_s: one way, from this attachment to the middle of the segment.
        jitter_s: up to that much more, uniform; order is kept.
        loss: probability 0..1 that a datagram does not arrive.
        duplicate: probability that it arrives twice.
        reorder: probability that it is held back by `reorder_s`, so that later ones overtake it.
        rate_bps: bits a second, 0 for no bound; `queue_bytes` wait in front of it, the rest is dropped.
        mtu_bytes: largest IP packet; larger ones are dropped, as where fragments and their ICMP errors get lost.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.005
    rate_bps: float = 0.0
    queue_bytes: int = 256 * 1024
    mtu_bytes: int = 1500

    def but(self, **changes: float) -> "Link":
        """Returns the same link with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


LAN: Final = Link(delay_s=0.0001)
WAN: Final = Link(delay_s=0.010)


class Line:
    """Is a link in use: decides the fate of each datagram that goes up it."""

    def __init__(self, link: Link, random: Random) -> None:
        self.link = link
        self.drops: dict[str, int] = {}
        self._random = random
        self._free_at = 0.0
        self._last_arrival = 0.0

    def arrivals(self, packet: Packet, now: float) -> list[float]:
        """Returns when the datagram arrives, not counting the receiver's delay: no moment, one, or more."""
        link = self.link
        if packet.wire_bytes > link.mtu_bytes:
            return self._drop("mtu")
        if link.loss and self._random.random() < link.loss:
            return self._drop("loss")
        moment = now
        if link.rate_bps:
            start = max(now, self._free_at)
            if (start - now) * link.rate_bps / 8 > link.queue_bytes:
                return self._drop("queue")
            moment = self._free_at = start + packet.wire_bytes * 8 / link.rate_bps
        moment += link.delay_s
        if link.jitter_s:
            moment = max(moment + self._random.random() * link.jitter_s, self._last_arrival)
            self._last_arrival = moment
        if link.reorder and self._random.random() < link.reorder:
            moment += link.reorder_s
        if link.duplicate and self._random.random() < link.duplicate:
            return [moment, moment + self._random.random() * link.reorder_s]
        return [moment]

    def _drop(self, reason: str) -> list[float]:
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return []
