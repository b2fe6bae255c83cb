"""A computer: interfaces, a routing table of two rules, UDP sockets, clocks, and one program.

Routing is what a kernel does without being told more: an interface whose prefix has the destination, else the first one
that is up. The source address is that interface's, so a moved host speaks from its new address at once.

Each host has two clocks. The machine clock never steps, goes on in suspend, and started at some other moment on each
host, so a protocol that compares two hosts' clocks fails here. The wall clock may be stepped.
"""

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple, Protocol

from ntvl.sim.packet import TTL, Link, Packet
from ntvl.sim.router import Router
from ntvl.sim.segment import Attachment, Segment
from ntvl.sim.timeline import Timeline
from ntvl.wire.address import Address

__all__ = ["EPOCH_S", "Captured", "Host", "Program", "SegmentTaker"]

EPOCH_S: Final = 1_790_000_000.0
"""Wall-clock time at the simulator's second 0: some day in 2026."""


_ROUNDING_S: Final = 1e-7
"""More than two sums of such floats can be off by: a wake-up must not come a hair too early, for ever."""


class Captured(NamedTuple):
    """Is one datagram as a capture on a host's interfaces shows it."""

    at: float
    outgoing: bool
    source: Address
    destination: Address
    data: bytes


class Program(Protocol):
    """Is what runs on a host."""

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        """Takes a datagram for one of the host's sockets."""

    def handle_wake(self) -> None:
        """Hears that the host woke up from suspend."""

    def handle_interfaces(self) -> None:
        """Hears that the host's addresses changed."""


class SegmentTaker(Protocol):
    """Is what speaks TCP on a host."""

    def handle_segment(self, packet: Packet) -> None:
        """Takes a TCP segment for one of the host's addresses."""


class Host:
    """Is a box at the edge, with UDP sockets, and with TCP where something on it speaks that.

    Args:
        ports: the port of each socket by its number; socket 0 is the main one.
        filter: asked for each datagram that arrives, whether a partition lets it in.
    """

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        random: Random,
        *,
        port: int,
        admits: Callable[["Host", "Host"], bool],
    ) -> None:
        self.name = name
        self.ports: dict[int, int] = {0: port}
        self.program: Program | None = None
        self.takers: dict[int, Program] = {}
        """Who takes what comes to a socket, where that is not the program."""
        self.interfaces: list[Attachment] = []
        self.asleep = False
        self.capture: list[Captured] | None = None
        """Every datagram in and out since it was set to a list; None captures nothing."""
        self.sent = 0
        """Datagrams sent so far."""
        self.received = 0
        """Datagrams received so far."""
        self.drops: dict[str, int] = {}
        """Datagrams for nobody: "no-route", "no-socket", "asleep", "partition"."""
        self.streams: dict[Address, Callable[[bytes], None]] = {}
        """What takes datagrams for the loopback address of each carrier here."""
        self.tcp: SegmentTaker | None = None
        """Who takes TCP segments; without anybody they are counted and gone."""
        self.on_stop: list[Callable[[], object]] = []
        """Called once when the program ends, by whoever ends it."""
        self._timeline = timeline
        self._admits = admits
        self._random = random
        self._clock_offset_s = random.uniform(100.0, 1e6)
        self._wall_offset_s = 0.0

    @property
    def now(self) -> float:
        """Returns the machine clock, seconds."""
        return self._timeline.now + self._clock_offset_s

    def moment(self, now: float) -> float:
        """Returns the simulator's time at which the machine clock shows `now`, or has just passed it."""
        return now - self._clock_offset_s + _ROUNDING_S

    def wall(self) -> float:
        """Returns the wall clock, seconds since the Unix epoch."""
        return EPOCH_S + self._timeline.now + self._wall_offset_s

    def step_wall(self, step_s: float) -> None:
        """Steps the wall clock, forwards or backwards."""
        self._wall_offset_s += step_s

    @property
    def addresses(self) -> tuple[str, ...]:
        """Returns the addresses of all interfaces that are up."""
        return tuple(a for i in self.interfaces if i.up for a in i.addresses)

    def plug(self, segment: Segment, *, link: Link | None = None, ipv4: bool = True, ipv6: bool = True) -> Attachment:
        """Adds an interface on a segment, with addresses of it, and tells the program."""
        attachment = segment.attach(self, link)
        segment.assign(attachment, segment.next_addresses(ipv4=ipv4, ipv6=ipv6))
        if segment.gateway is not None and isinstance(segment.gateway.box, Router):
            for address in attachment.addresses:
                segment.gateway.box.adopt(address)
        self.interfaces.append(attachment)
        self._tell()
        return attachment

    def unplug(self, attachment: Attachment | None = None) -> None:
        """Takes one interface away, or all of them, and tells the program."""
        for gone in [attachment] if attachment is not None else list(self.interfaces):
            gone.segment.detach(gone)
            self.interfaces.remove(gone)
        self._tell()

    def open_socket(self, number: int) -> None:
        """Binds another socket to a random free port; one that is there stays as it is."""
        while number not in self.ports:
            port = self._random.randrange(32768, 61000)
            if port not in self.ports.values():
                self.ports[number] = port

    def send(self, data: bytes, destination: Address, socket: int = 0, ttl: int = 0) -> bool:
        """Sends one datagram; returns False where no interface leads there, or there is no such socket. `ttl` as in
        `Transmit`.
        """
        if socket not in self.ports:
            self._count("no-socket")
            return False
        if destination in self.streams:
            self.sent += 1
            self.streams[destination](bytes(data))
            return True
        interface = self._route(destination)
        source = interface.address(destination.is_ipv6) if interface is not None else None
        if interface is None or source is None or self.asleep:
            self._count("no-route")
            return False
        packet = Packet(Address(source, self.ports[socket]), destination, bytes(data), self, ttl=ttl or TTL)
        self.sent += 1
        if self.capture is not None:
            self.capture.append(Captured(self._timeline.now, True, packet.source, destination, packet.data))
        interface.send(packet)
        return True

    def find_source(self, destination: Address) -> str | None:
        """Returns the address of this host from which a connection to another leaves, or None where no way leads
        there.
        """
        interface = self._route(destination)
        return None if interface is None else interface.address(destination.is_ipv6)

    def send_segment(self, data: bytes, source: Address, destination: Address) -> bool:
        """Sends one TCP segment from an address; returns False where the host has that address no more, or sleeps."""
        interface = next((i for i in self.interfaces if i.up and source.host in i.addresses), None)
        if interface is None or self.asleep:
            self._count("no-route")
            return False
        interface.send(Packet(source, destination, data, self, is_tcp=True))
        return True

    def handle_packet(self, packet: Packet, attachment: Attachment) -> None:
        """Hands a datagram to the program, unless the host sleeps, is cut off from its sender or has no such socket."""
        if packet.is_tcp:
            self._handle_segment(packet)
            return
        socket = next((s for s, port in self.ports.items() if port == packet.destination.port), None)
        if self.asleep:
            self._count("asleep")
        elif isinstance(packet.sender, Host) and not self._admits(packet.sender, self):
            self._count("partition")
        elif socket is None or (taker := self.takers.get(socket, self.program)) is None:
            self._count("no-socket")
        else:
            self.received += 1
            if self.capture is not None:
                self.capture.append(Captured(self._timeline.now, False, packet.source, packet.destination, packet.data))
            taker.handle_datagram(packet.data, packet.source, socket)

    def hears(self, sender: "Host") -> bool:
        """Returns whether no partition keeps out what another host sends."""
        return self._admits(sender, self)

    def end_streams(self) -> None:
        """Breaks the streams of the program, which has ended."""
        self.streams.clear()
        told, self.on_stop = self.on_stop, []
        for tell in told:
            tell()

    def suspend(self, duration_s: float) -> None:
        """Stops the program and goes deaf for that long; clocks go on."""
        self.asleep = True
        self._timeline.after(duration_s, self._wake)

    def _handle_segment(self, packet: Packet) -> None:
        if self.asleep:
            self._count("asleep")
        elif isinstance(packet.sender, Host) and not self._admits(packet.sender, self):
            self._count("partition")
        elif self.tcp is None:
            self._count("no-socket")
        else:
            self.tcp.handle_segment(packet)

    def _wake(self) -> None:
        self.asleep = False
        for program in (self.program, *self.takers.values()):
            if program is not None:
                program.handle_wake()

    def _tell(self) -> None:
        if self.program is not None:
            self.program.handle_interfaces()

    def _route(self, destination: Address) -> Attachment | None:
        usable = [i for i in self.interfaces if i.up and i.address(destination.is_ipv6) is not None]
        private = next((i for i in usable if not i.segment.public and i.segment.has(destination.host)), None)
        return private or next(iter(usable), None)

    def _count(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1
