"""TCP between simulated hosts, as far as simultaneous open and the carriers on it need it.

Segments are packets that routers translate and filter by a table of their own, so each sees what its NAT makes of it:

    "S"            a SYN: taken from a host that is dialled, and answered with "A"; opens, too
    "A"            the answer: open; from a supernode with the address that it sees
    "G"            a greeting: sent once open; the stream is told when the other's has come
    "D" number     a datagram, handed over in order
    "F"            the end

A line that loses packets delays these instead, as repetition would. What a NAT has forgotten is lost: a stream on which
an answer is missing for 20 s is over, as the kernel's TCP_USER_TIMEOUT has it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from ntvl.sim.host import Host
from ntvl.sim.packet import Packet
from ntvl.sim.timeline import Timeline
from ntvl.wire.address import Address, parse_address

__all__ = ["Greeter", "SimDirectStreams"]

ASK_S: Final = 1.0
STREAMS_MAX: Final = 4
LIFE_S: Final = 15.0
"""These three as `runtime.direct_streams` has them."""
SYN_AGAIN_S: Final = (1.0, 3.0)
"""When the kernel repeats a SYN (RFC 6298 section 2)."""
DEAD_S: Final = 20.0
_NUMBER_BYTES: Final = 4


class Greeter:
    """Is a supernode's TCP port: tells whoever connects as which address it sees him."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def handle_segment(self, packet: Packet) -> None:
        """Takes a segment."""
        if packet.data == b"S" and packet.destination.port == self._host.ports[0] and self._host.program is not None:
            source = packet.source
            self._host.send_segment(b"A" + f"{source.host} {source.port}".encode(), source, packet.destination.port)


@dataclass(eq=False, slots=True)
class _Dialling:
    number: int
    port: int
    servers: list[Address]
    hosts: set[str] = field(default_factory=set)
    is_told: bool = False
    streams: int = 0


@dataclass(eq=False, slots=True)
class _Stream:
    dialling: _Dialling
    remote: Address
    near: Address
    is_told: bool = False
    sent: int = 0
    taken: int = 0
    early: dict[int, bytes] = field(default_factory=dict)
    waits_since: float | None = None
    """Since when something was sent and nothing has come."""


class SimDirectStreams:
    """Opens and closes the streams of one node, in the place of `runtime.direct_streams`."""

    _numbers = count(1)

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        random: Random,
        *,
        tell_port: Callable[[int, int, Address | None], None],
        tell_stream: Callable[[int, Address, Address], None],
        tell_end: Callable[[Address], None],
    ) -> None:
        self._host = host
        self._timeline = timeline
        self._random = random
        self._tell_port = tell_port
        self._tell_stream = tell_stream
        self._tell_end = tell_end
        self._diallings: dict[int, _Dialling] = {}
        self._streams: dict[tuple[int, Address], _Stream] = {}
        host.tcp = self

    def want_port(self, number: int, servers: Sequence[Address]) -> None:
        """Takes a port and asks one of these servers as which address it sees it."""
        self.unwant(number)
        dialling = _Dialling(number, self._random.randrange(32768, 61000), list(servers))
        self._diallings[number] = dialling
        self._timeline.after(LIFE_S, lambda: self.unwant(number) if self._is_live(dialling) else None)
        self._ask(dialling)

    def dial(self, number: int, remotes: Sequence[Address]) -> None:
        """Sends a SYN to each of these addresses, in this order, and takes connections from their hosts."""
        dialling = self._diallings.get(number)
        if dialling is None:
            return
        dialling.hosts.update(remote.host for remote in remotes)
        for remote in dict.fromkeys(remotes):
            for wait_s in (0.0, *SYN_AGAIN_S):
                self._timeline.after(wait_s, lambda remote=remote: self._connect(dialling, remote))  # type: ignore[misc]

    def unwant(self, number: int) -> None:
        """Ends a dialling; streams that were told stay."""
        dialling = self._diallings.pop(number, None)
        for stream in [s for s in self._streams.values() if s.dialling is dialling and not s.is_told]:
            self._close(stream)

    def close_stream(self, carrier: Address) -> None:
        """Closes a stream, if it is there."""
        for stream in [s for s in self._streams.values() if s.near == carrier]:
            self._close(stream)

    def close(self) -> None:
        """Closes all."""
        self._diallings.clear()
        for stream in list(self._streams.values()):
            self._close(stream)

    def handle_segment(self, packet: Packet) -> None:
        """Takes a segment for this host."""
        port, source, kind = packet.destination.port, packet.source, packet.data[:1]
        stream = self._streams.get((port, source))
        if stream is not None:
            self._take(stream, kind, packet.data[1:])
            return
        dialling = next((d for d in self._diallings.values() if d.port == port), None)
        if dialling is None:
            return
        if kind == b"A" and source in dialling.servers and not dialling.is_told:
            host, _, seen = packet.data[1:].decode().partition(" ")
            self._tell(dialling, parse_address(host, int(seen)))
        elif kind in (b"S", b"A") and source.host in dialling.hosts:
            if kind == b"S":
                self._host.send_segment(b"A", source, port)
            self._open(dialling, source)

    # --- a dialling ---

    def _is_live(self, dialling: _Dialling) -> bool:
        return self._diallings.get(dialling.number) is dialling

    def _ask(self, dialling: _Dialling) -> None:
        if dialling.is_told or not self._is_live(dialling):
            return
        asked = next((s for s in dialling.servers if not s.is_ipv6), None)
        if asked is None:
            self._timeline.after(0.0, lambda: self._tell(dialling, None))
            return
        self._host.send_segment(b"S", asked, dialling.port)

        def give_up() -> None:
            if not dialling.is_told:
                dialling.servers.remove(asked)
                self._ask(dialling)

        self._timeline.after(ASK_S, give_up)

    def _tell(self, dialling: _Dialling, observed: Address | None) -> None:
        if not dialling.is_told and self._is_live(dialling):
            dialling.is_told = True
            self._tell_port(dialling.number, dialling.port, observed)

    def _connect(self, dialling: _Dialling, remote: Address) -> None:
        if self._is_live(dialling) and (dialling.port, remote) not in self._streams:
            self._host.send_segment(b"S", remote, dialling.port)

    def _open(self, dialling: _Dialling, remote: Address) -> None:
        if dialling.streams >= STREAMS_MAX:
            return
        dialling.streams += 1
        number = next(self._numbers)
        near = Address(f"127.66.{number >> 8 & 255}.{number & 255}", 1 + (number >> 16))
        stream = self._streams[dialling.port, remote] = _Stream(dialling, remote, near)
        self._host.on_stop.append(lambda: self._close(stream))
        self._host.send_segment(b"G", remote, dialling.port)

    # --- a stream ---

    def _take(self, stream: _Stream, kind: bytes, rest: bytes) -> None:
        stream.waits_since = None
        port, remote = stream.dialling.port, stream.remote
        if kind == b"S":
            self._host.send_segment(b"A", remote, port)
        elif kind == b"G" and not stream.is_told:
            stream.is_told = True
            self._host.streams[stream.near] = lambda data: self._send(stream, data)
            self._tell_stream(stream.dialling.number, remote, stream.near)
        elif kind == b"F":
            self._end(stream)
        elif kind == b"D":
            stream.early[int.from_bytes(rest[:_NUMBER_BYTES], "big")] = rest[_NUMBER_BYTES:]
            while stream.is_told and stream.taken in stream.early:
                datagram = stream.early.pop(stream.taken)
                stream.taken += 1
                if self._host.program is not None:
                    self._host.received += 1
                    self._host.program.handle_datagram(datagram, stream.near, 0)

    def _send(self, stream: _Stream, data: bytes) -> None:
        number = stream.sent.to_bytes(_NUMBER_BYTES, "big")
        stream.sent += 1
        self._host.send_segment(b"D" + number + data, stream.remote, stream.dialling.port)
        if stream.waits_since is None:
            since = stream.waits_since = self._timeline.now
            self._timeline.after(DEAD_S, lambda: self._end(stream) if stream.waits_since == since else None)

    def _end(self, stream: _Stream) -> None:
        if self._forget(stream) and stream.is_told:
            self._tell_end(stream.near)

    def _close(self, stream: _Stream) -> None:
        if self._forget(stream):
            self._host.send_segment(b"F", stream.remote, stream.dialling.port)

    def _forget(self, stream: _Stream) -> bool:
        self._host.streams.pop(stream.near, None)
        return self._streams.pop((stream.dialling.port, stream.remote), None) is stream
