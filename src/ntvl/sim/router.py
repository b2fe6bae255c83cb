"""A box between two segments: home router, carrier's NAT, firewall.

IPv4 is treated as the `NatBehaviour` says. IPv6 is never translated, only filtered in the same way, so hosts inside
have addresses of the Internet; the same goes for IPv4 behind a firewall. Such addresses are routed to the box from
outside. TCP has tables of its own (`tcp_nat`), made when the first segment comes.
"""

from collections.abc import Collection
from dataclasses import replace
from random import Random

from ntvl.nat import NatBehaviour, Passage
from ntvl.sim.gateway import MappingService
from ntvl.sim.nat import Nat
from ntvl.sim.packet import Line, Packet
from ntvl.sim.segment import Attachment, Segment
from ntvl.sim.tcp_nat import TcpNat
from ntvl.sim.tcp_segment import is_opening
from ntvl.sim.timeline import Timeline
from ntvl.wire.address import Address
from ntvl.wire.pcp import PCP_PORT

__all__ = ["Router"]


class Router:
    """Joins `inside` to `outside`.

    Args:
        behaviour: what it does to UDP, and to TCP but for what `tcp_nat` says.
        timeline: tells the time of each datagram.
        random: draws ports.
        protocols: what it takes requests for port mappings by: "pcp", "natpmp".
    """

    def __init__(
        self,
        name: str,
        behaviour: NatBehaviour,
        *,
        inside: Segment,
        outside: Segment,
        timeline: Timeline,
        random: Random,
        protocols: Collection[str] = (),
    ) -> None:
        self.name = name
        self.behaviour = behaviour
        self.inside = inside
        self.outside = outside
        self.drops: dict[str, int] = {}
        """Datagrams for its own address from inside, where it does not hairpin: "hairpin"; from inside, where it lets
        none out: "blocked"; whose time to live ends here: "ttl"; TCP segments of connections that it does not know:
        "no-session"."""
        self._timeline = timeline
        self._in = inside.attach(self)
        self._out = outside.attach(self)
        inside.gateway = self._in
        outside.assign(self._out, outside.next_addresses(ipv6=inside.ipv6 is not None))
        self._ipv4 = Nat(behaviour, self._out.address(False) or "", random)
        self._ipv6 = Nat(replace(behaviour, translates=False), "", random)
        self._random = random
        self._tcp: dict[bool, TcpNat] = {}
        """By whether it is IPv6."""
        self.service: MappingService | None = None
        """What answers requests for port mappings at `inside_address`; None where nothing does."""
        if protocols:
            self.service = MappingService(protocols, self._ipv4, timeline.now)
            inside.assign(self._in, inside.router_addresses())

    @property
    def up(self) -> bool:
        """Tells whether the line outside is plugged in."""
        return self._out.up

    @up.setter
    def up(self, value: bool) -> None:
        self._out.up = value

    @property
    def line(self) -> Line:
        """Returns the line outside."""
        return self._out.line

    @property
    def address(self) -> str:
        """Returns the IPv4 address that it shows outside."""
        return self._ipv4.address

    @property
    def inside_address(self) -> str | None:
        """Returns its own IPv4 address inside, which it has only where it maps ports."""
        return self._in.address(False)

    @property
    def forwards(self) -> dict[Address, Address]:
        """Returns the ports that it has mapped on request: external address to internal one."""
        return self._ipv4.forwards

    @property
    def nat_drops(self) -> dict[str, int]:
        """Returns the datagrams that its IPv4 side refused, by reason."""
        return self._ipv4.drops

    def adopt(self, address: str) -> None:
        """Has an address inside that is not translated routed here, by every box up to the Internet."""
        if self._translates(":" in address):
            return
        self.outside.claim(self._out, address)
        gateway = self.outside.gateway
        if gateway is not None and isinstance(gateway.box, Router):
            gateway.box.adopt(address)

    def chain(self) -> tuple["Router", ...]:
        """Returns this router and those outside of it, up to the Internet."""
        gateway = self.outside.gateway
        outer = gateway.box.chain() if gateway is not None and isinstance(gateway.box, Router) else ()
        return (self, *outer)

    def reboot(self, *, new_address: bool = False) -> None:
        """Forgets every mapping at once; with `new_address` the provider gives another address, too."""
        address = None
        if new_address:
            addresses = self.outside.next_addresses(ipv6=False)
            kept = tuple(a for a in self._out.addresses if ":" in a)
            self.outside.assign(self._out, addresses + kept)
            address = addresses[0]
        self._ipv4.reboot(address)
        if self.service is not None:
            self.service.reboot(self._timeline.now)
        self._ipv6.reboot()
        self._tcp.clear()

    def handle_packet(self, packet: Packet, attachment: Attachment) -> None:
        """Translates, filters and passes on a packet."""
        if packet.is_tcp:
            self._handle_segment(packet, attachment)
            return
        now = self._timeline.now
        nat = self._ipv6 if packet.destination.is_ipv6 else self._ipv4
        if attachment is self._out:
            target = nat.inbound(packet.source, packet.destination, now)
            if target is not None:
                self._pass(packet._replace(destination=target), self._in)
            return
        if self.behaviour.passes is not Passage.ALL:
            self._count("blocked")
            return
        if self.service is not None and packet.destination == Address(self.inside_address or "", PCP_PORT):
            answer = self.service.handle_request(packet.data, packet.source, now)
            if answer is not None:
                self._in.send(Packet(packet.destination, packet.source, answer, self))
            return
        self._let_out(packet, nat, now)

    def _handle_segment(self, packet: Packet, attachment: Attachment) -> None:
        now = self._timeline.now
        is_ipv6 = packet.destination.is_ipv6
        nat = self._tcp.get(is_ipv6)
        if nat is None:
            behaviour = replace(self.behaviour, translates=False) if is_ipv6 else self.behaviour
            nat = self._tcp[is_ipv6] = TcpNat(behaviour, "" if is_ipv6 else self.address, self._random)
        if attachment is self._out:
            target = nat.inbound(packet.source, packet.destination, now)
            if target is not None:
                self._in.send(packet._replace(destination=target))
        elif not nat.passes(packet.destination.port):
            self._count("blocked")
        elif not is_opening(packet.data) and not nat.knows(packet.source, packet.destination, now):
            self._count("no-session")
        else:
            self._let_out(packet, nat, now)

    def _pass(self, packet: Packet, attachment: Attachment) -> None:
        """Sends a packet on that it has translated, unless its time to live ends here."""
        if packet.ttl <= 1:
            self._count("ttl")
        else:
            attachment.send(packet._replace(ttl=packet.ttl - 1))

    def _let_out(self, packet: Packet, nat: Nat, now: float) -> None:
        if packet.ttl <= 1:
            self._count("ttl")  # Before there is a mapping, as a kernel does.
            return
        if packet.destination.host == nat.address:
            self._hairpin(packet, nat, now)
            return
        source = nat.outbound(packet.source, packet.destination, now)
        if source is not None:
            self._pass(packet._replace(source=source), self._out)

    def _hairpin(self, packet: Packet, nat: Nat, now: float) -> None:
        # RFC 4787 section 6: the one inside sees the other's external address and port.
        target: Address | None = None
        if self.behaviour.hairpin:
            source = nat.outbound(packet.source, packet.destination, now)
            if source is not None:
                target = nat.inbound(source, packet.destination, now)
                packet = packet._replace(source=source)
        if target is None:
            self._count("hairpin")
            return
        self._pass(packet._replace(destination=target), self._in)

    def _count(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def _translates(self, is_ipv6: bool) -> bool:
        return self.behaviour.translates and not is_ipv6
