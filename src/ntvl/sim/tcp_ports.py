"""The TCP ports of a simulated host: which connection a segment is for, and which port listens.

As a kernel does it: a connection is known by both addresses, else a listening port takes a SYN, else the answer is a
reset. A port that listens also connects, which is what simultaneous open needs (`runtime.shared_port`).
"""

from collections.abc import Callable
from random import Random
from typing import Final

from ntvl.sim.host import Host
from ntvl.sim.packet import Packet
from ntvl.sim.tcp_connection import TcpConnection
from ntvl.sim.tcp_segment import build_reset, is_opening
from ntvl.sim.timeline import Timeline
from ntvl.wire.address import Address

__all__ = ["TcpPorts"]

_EPHEMERAL: Final = range(32768, 61000)
"""Linux's ip_local_port_range."""

OnOpen = Callable[[TcpConnection], None]


class TcpPorts:
    """Speaks TCP on a host, in the place of whoever did before.

    Args:
        random: draws ports.
    """

    def __init__(self, host: Host, timeline: Timeline, random: Random) -> None:
        self._host = host
        self._timeline = timeline
        self._random = random
        self._bound: set[int] = set()
        self._listeners: dict[int, OnOpen] = {}
        self._connections: dict[tuple[Address, Address], TcpConnection] = {}
        host.tcp = self

    def bind(self) -> int:
        """Returns a port that nobody had before."""
        port = self._random.choice(_EPHEMERAL)
        while port in self._bound:
            port = self._random.choice(_EPHEMERAL)
        self._bound.add(port)
        return port

    def listen(self, port: int, on_open: OnOpen) -> None:
        """Has a port take connections; each is handed over once it is open."""
        self._listeners[port] = on_open

    def unlisten(self, port: int) -> None:
        """Has a port take connections no more; those that are not open yet end, the others stay."""
        self._listeners.pop(port, None)
        for connection in list(self._connections.values()):
            if connection.local.port == port and connection.state != "open":
                connection.close()

    def connect(self, port: int, remote: Address, on_open: OnOpen) -> TcpConnection | None:
        """Returns a connection from a port that begins to open, or None where no way leads there or there is one."""
        source = self._host.find_source(remote)
        if source is None or (Address(source, port), remote) in self._connections:
            return None
        connection = self._add(Address(source, port), remote, on_open)
        connection.connect()
        return connection

    def close(self) -> None:
        """Ends all, as a kernel does for a program that is gone."""
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.close()

    def handle_segment(self, packet: Packet) -> None:
        """Takes a segment for one of the host's addresses."""
        connection = self._connections.get((packet.destination, packet.source))
        on_open = self._listeners.get(packet.destination.port)
        if connection is None and on_open is not None and is_opening(packet.data):
            connection = self._add(packet.destination, packet.source, on_open)
        if connection is not None:
            connection.handle_segment(packet.data)
            return
        reset = build_reset(packet)
        if reset is not None:
            self._host.send_segment(reset, packet.destination, packet.source)

    def _add(self, local: Address, remote: Address, on_open: OnOpen) -> TcpConnection:
        connection = TcpConnection(
            self._host, self._timeline, local, remote, on_open=on_open, on_forget=self._handle_forgotten
        )
        self._connections[local, remote] = connection
        return connection

    def _handle_forgotten(self, connection: TcpConnection) -> None:
        self._connections.pop((connection.local, connection.remote), None)
