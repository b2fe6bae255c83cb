"""A network that boxes are attached to: the Internet, or what lies inside a router.

A segment knows the owner of each address on it. A datagram for nobody here goes to the gateway, and where there is
none, as on the Internet, it is unroutable. So a private address means whoever has it on the segment where it is used,
as in
life: a candidate may reach the wrong host, or none.
"""

import ipaddress
from random import Random
from typing import Protocol

from ntvl.sim.packet import Line, Link, Packet
from ntvl.sim.timeline import Timeline

__all__ = ["Attachment", "Box", "Segment"]


class Box(Protocol):
    """Is anything with a foot on a segment."""

    name: str

    def handle_packet(self, packet: Packet, attachment: "Attachment") -> None:
        """Takes a datagram that arrived by one of its attachments."""


class Attachment:
    """Is a box's foot on a segment, with its line and addresses; `up` False is a cable pulled out."""

    def __init__(self, box: Box, segment: "Segment", line: Line) -> None:
        self.box = box
        self.segment = segment
        self.line = line
        self.addresses: tuple[str, ...] = ()
        self.up = True

    def address(self, is_ipv6: bool) -> str | None:
        """Returns its first address of a family, or None."""
        return next((a for a in self.addresses if (":" in a) == is_ipv6), None)

    def send(self, packet: Packet) -> None:
        """Puts a datagram on the segment."""
        if self.up:
            self.segment.send(packet, self)


class Segment:
    """Carries datagrams between its attachments.

    Args:
        ipv4: its prefix, from which hosts get addresses and by which they know what is on it.
        ipv6: a /64, or empty where there is none.
        link: the line that an attachment gets unless it brings its own.
        public: whether it is the Internet, where everything counts as on it.
        hops: how many boxes are between two attachments, for the time to live.
    """

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        random: Random,
        *,
        ipv4: str,
        ipv6: str,
        link: Link,
        public: bool = False,
        hops: int = 0,
    ) -> None:
        self.name = name
        self.ipv4 = ipaddress.IPv4Network(ipv4) if ipv4 else None
        self.ipv6 = ipaddress.IPv6Network(ipv6) if ipv6 else None
        self.link = link
        self.public = public
        self.hops = hops
        self.gateway: Attachment | None = None
        self.drops: dict[str, int] = {}
        """Datagrams lost here, by "unroutable" (nobody has the address), "line" (see there) and "cut" (pulled out
        meanwhile), "ttl" (ended between two attachments).
        """
        self.attachments: list[Attachment] = []
        self._owners: dict[str, Attachment] = {}
        self._timeline = timeline
        self._random = random
        self._next_host = 10

    def attach(self, box: Box, link: Link | None = None) -> Attachment:
        """Returns a new foot of `box`, still without address."""
        attachment = Attachment(box, self, Line(link or self.link, self._random))
        self.attachments.append(attachment)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Takes a foot and its addresses away; datagrams under way to it are lost."""
        self.assign(attachment, ())
        attachment.up = False
        if attachment in self.attachments:
            self.attachments.remove(attachment)

    def assign(self, attachment: Attachment, addresses: tuple[str, ...]) -> None:
        """Makes an attachment the owner of exactly these addresses."""
        for old in attachment.addresses:
            if self._owners.get(old) is attachment:
                del self._owners[old]
        attachment.addresses = addresses
        for new in addresses:
            self.claim(attachment, new)

    def claim(self, attachment: Attachment, address: str) -> None:
        """Routes one more address to an attachment, which does not itself have it (a router in front of its owner)."""
        self._owners[address] = attachment

    def next_addresses(self, *, ipv4: bool = True, ipv6: bool = True) -> tuple[str, ...]:
        """Returns addresses nobody has had here: one of each family that the segment has and the caller wants."""
        number = self._next_host
        self._next_host += 1
        found = []
        if ipv4 and self.ipv4 is not None:
            found.append(str(self.ipv4[number]))
        if ipv6 and self.ipv6 is not None:
            found.append(str(self.ipv6[number]))
        return tuple(found)

    def router_addresses(self) -> tuple[str, ...]:
        """Returns the address of the router inside of which this segment is: the first IPv4 one."""
        return (str(self.ipv4[1]),) if self.ipv4 is not None else ()

    def has(self, host: str) -> bool:
        """Returns whether an address is on this segment, so that no gateway is asked."""
        if self.public:
            return True
        ip = ipaddress.ip_address(host)
        network = self.ipv4 if ip.version == 4 else self.ipv6
        return network is not None and ip in network

    def send(self, packet: Packet, origin: Attachment) -> None:
        """Carries a datagram to whom it is for, or to the gateway, with the fate that the lines decide."""
        target = self._owners.get(packet.destination.host)
        if target is None and not self.has(packet.destination.host):
            target = self.gateway
        if target is None or target is origin:
            self._count("unroutable")
            return
        if packet.ttl <= self.hops:
            self._count("ttl")
            return
        packet = packet._replace(ttl=packet.ttl - self.hops) if self.hops else packet
        losses = sum(origin.line.drops.values())
        for moment in origin.line.arrivals(packet, self._timeline.now):
            self._deliver(packet, target, moment + target.line.link.delay_s)
        if sum(origin.line.drops.values()) > losses:
            self._count("line")

    def _deliver(self, packet: Packet, target: Attachment, moment: float) -> None:
        def arrive() -> None:
            if target.up:
                target.box.handle_packet(packet, target)
            else:
                self._count("cut")

        self._timeline.at(moment, arrive)

    def _count(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1
