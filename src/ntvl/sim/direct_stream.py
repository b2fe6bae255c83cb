"""Direct TCP of one simulated node: diallings and the streams that come of them, as `runtime.direct_streams` has them.

    want_port ──► a port, and as which address a supernode sees it ──► tell_port
    dial      ──► connections, from that port or to it; each greets ──► tell_stream ... tell_end
    unwant    ──► no more connections; those that were told stay

All of it goes through the routers as TCP segments (`tcp_connection`), so each NAT decides what comes of it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from ntvl.errors import PeerError
from ntvl.sim.host import Host
from ntvl.sim.tcp_connection import TcpConnection
from ntvl.sim.tcp_ports import TcpPorts
from ntvl.sim.timeline import Timeline, Timer
from ntvl.wire.address import Address
from ntvl.wire.stream import build_greeting, parse_greeting

__all__ = ["SimDirectStreams"]

ASK_S: Final = 2.0
GREET_S: Final = 3.0
STREAMS_MAX: Final = 4
LIFE_S: Final = 15.0
"""These four as `runtime.direct_streams` has them."""


@dataclass(eq=False, slots=True)
class _Dialling:
    number: int
    port: int
    hosts: set[str] | None = None
    """From where connections are taken; None until that is known."""
    waiting: list[TcpConnection] = field(default_factory=list)
    """Came before that."""
    server: TcpConnection | None = None
    is_told: bool = False
    streams: int = 0
    alarm: Timer | None = None


@dataclass(eq=False, slots=True)
class _Stream:
    dialling: _Dialling
    connection: TcpConnection
    near: Address
    is_greeted: bool = False


class SimDirectStreams:
    """Keeps diallings and streams.

    Args:
        random: draws ports.
        tell_port: hears a dialling's port, and as which address a server sees it.
        tell_stream: hears of each stream that has opened: dialling, the other end's address, the carrier's.
        tell_end: hears of a told stream's end, but not of one that was wanted.

    Attributes:
        drops: why the other end of a connection was none of ours, by reason.
    """

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
        self.drops: Counter[str] = Counter()
        self._host = host
        self._timeline = timeline
        self._ports = TcpPorts(host, timeline, random)
        self._tell_port = tell_port
        self._tell_stream = tell_stream
        self._tell_end = tell_end
        self._numbers = count(1)
        self._diallings: dict[int, _Dialling] = {}
        self._streams: dict[Address, _Stream] = {}
        self._hears_of_stop = False

    def want_port(self, number: int, servers: Sequence[Address]) -> None:
        """Binds a port and asks one of these servers as which address it sees it."""
        self.unwant(number)
        if not self._hears_of_stop:
            self._hears_of_stop = True
            self._host.on_stop.append(self.close)
        dialling = self._diallings[number] = _Dialling(number, self._ports.bind())
        dialling.alarm = self._timeline.after(LIFE_S, lambda: self.unwant(number))
        self._ports.listen(dialling.port, lambda connection: self._take(dialling, connection))
        self._ask(dialling, list(servers), ASK_S / max(1, len(servers)))

    def dial(self, number: int, remotes: Sequence[Address]) -> None:
        """Connects to these addresses, first SYNs in this order, and takes connections from their hosts."""
        dialling = self._diallings.get(number)
        if dialling is None:
            return
        for remote in dict.fromkeys(remotes):
            self._ports.connect(dialling.port, remote, lambda connection: self._take(dialling, connection))
        dialling.hosts = {remote.host for remote in remotes}
        waiting, dialling.waiting = dialling.waiting, []
        for connection in waiting:
            self._take(dialling, connection)

    def unwant(self, number: int) -> None:
        """Ends a dialling, if it is there; streams that were told stay."""
        dialling = self._diallings.pop(number, None)
        if dialling is None:
            return
        if dialling.alarm is not None:
            dialling.alarm.cancel()
        self._ports.unlisten(dialling.port)
        if dialling.server is not None:
            dialling.server.close()
        for connection in dialling.waiting:
            connection.close()
        for stream in list(self._streams.values()):
            if stream.dialling is dialling and not stream.is_greeted:
                self.close_stream(stream.near)

    def close_stream(self, carrier: Address) -> None:
        """Closes a stream, if it is there."""
        stream = self._streams.get(carrier)
        if stream is not None:
            self._forget(stream)
            stream.connection.close()

    def close(self) -> None:
        """Closes all."""
        self._hears_of_stop = False
        for number in list(self._diallings):
            self.unwant(number)
        for carrier in list(self._streams):
            self.close_stream(carrier)
        self._ports.close()

    # --- a dialling ---

    def _is_live(self, dialling: _Dialling) -> bool:
        return self._diallings.get(dialling.number) is dialling

    def _ask(self, dialling: _Dialling, servers: list[Address], each_s: float) -> None:
        """Asks the servers one after another, and stays connected to the one that told: so the port stays mapped."""
        if dialling.is_told or not self._is_live(dialling):
            return
        if dialling.server is not None:
            dialling.server.close()
        if not servers:
            self._timeline.after(0.0, lambda: self._tell(dialling, None))
            return

        def greet(connection: TcpConnection) -> None:
            connection.take(lambda line: self._handle_told(dialling, line), lambda: None)
            connection.send(build_greeting())

        dialling.server = self._ports.connect(dialling.port, servers[0], greet)
        wait_s = 0.0 if dialling.server is None else each_s
        self._timeline.after(wait_s, lambda: self._ask(dialling, servers[1:], each_s))

    def _handle_told(self, dialling: _Dialling, line: bytes) -> None:
        try:
            observed = parse_greeting(line)
        except PeerError as error:
            self.drops[error.reason] += 1
        else:
            if observed is not None:  # Else it greets as a node does, and the next one is asked.
                self._tell(dialling, observed)

    def _tell(self, dialling: _Dialling, observed: Address | None) -> None:
        if not dialling.is_told and self._is_live(dialling):
            dialling.is_told = True
            self._tell_port(dialling.number, dialling.port, observed)

    # --- a stream ---

    def _take(self, dialling: _Dialling, connection: TcpConnection) -> None:
        if self._is_live(dialling) and dialling.hosts is None:
            dialling.waiting.append(connection)
            return
        is_named = dialling.hosts is not None and connection.remote.host in dialling.hosts
        is_wanted = is_named and dialling.streams < STREAMS_MAX and self._is_live(dialling)
        if not is_wanted or connection.state != "open":
            connection.close()
            return
        number = next(self._numbers)
        near = Address(f"127.66.{number >> 8 & 255}.{number & 255}", 1 + (number >> 16))
        stream = self._streams[near] = _Stream(dialling, connection, near)
        dialling.streams += 1
        self._timeline.after(GREET_S, lambda: None if stream.is_greeted else self.close_stream(near))
        connection.take(lambda data: self._handle_data(stream, data), lambda: self._handle_end(stream))
        connection.send(build_greeting())

    def _handle_data(self, stream: _Stream, data: bytes) -> None:
        if stream.is_greeted:
            if self._host.program is not None:
                self._host.received += 1
                self._host.program.handle_datagram(data, stream.near, 0)
            return
        try:
            parse_greeting(data)
        except PeerError as error:
            self.drops[error.reason] += 1
            self.close_stream(stream.near)
            return
        stream.is_greeted = True
        self._host.streams[stream.near] = stream.connection.send
        self._tell_stream(stream.dialling.number, stream.connection.remote, stream.near)

    def _handle_end(self, stream: _Stream) -> None:
        self._forget(stream)
        if stream.is_greeted:
            self._tell_end(stream.near)

    def _forget(self, stream: _Stream) -> None:
        self._streams.pop(stream.near, None)
        self._host.streams.pop(stream.near, None)
        stream.dialling.streams -= 1
