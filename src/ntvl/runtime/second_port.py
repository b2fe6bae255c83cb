"""The second UDP port of a supernode, from which STUN answers when it is asked to (RFC 5780).

It is the port after the main one, on the same addresses, and belongs to the control plane alone: nothing but STUN is
answered there, so the engine need not know of it. `SecondPort` stands between driver and engine as a data plane that
sends from both. Where it cannot be bound a supernode serves without.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ntvl.dataplane.choice import Engine
from ntvl.dataplane.interface import Command, Event
from ntvl.proto.reception import OTHER_SOCKET, StunPlace
from ntvl.runtime.listen import is_wildcard, os_reason
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.header import CONTROL_BYTES_MAX

__all__ = ["SecondPort"]

BATCH_MAX: Final = 64
"""Most datagrams read before others have their turn."""

_SOMEWHERE: Final = 9
"""Any port: to connect a UDP socket sends nothing."""


class SecondPort:
    """Is an engine with one port more; also a `DataPlane`.

    Args:
        engine: a started engine, which stays its owner's to close.
        listen: the addresses that the engine's sockets are bound to.

    Attributes:
        port: the second port, 0 where there is none.
        reason: why there is none, in words.
    """

    def __init__(self, engine: Engine, listen: Sequence[Address]) -> None:
        self.name = engine.name
        self.port = 0
        self.reason = ""
        self._engine = engine
        self._hosts = [address.host for address in listen]
        self._sockets: dict[bool, socket.socket] = {}
        self._bind(engine.port + 1)

    @property
    def place(self) -> StunPlace:
        """Returns where STUN is served."""
        return StunPlace(self._engine.port, self.port, self.host_towards)

    def host_towards(self, address: Address) -> str | None:
        """Returns the address of ours from which the kernel sends to an address, or None where no route leads there."""
        named = next((host for host in self._hosts if (":" in host) == address.is_ipv6), None)
        if named is None or not is_wildcard(named):
            return named
        with (
            suppress(OSError),
            socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as asked,
        ):
            asked.connect((address.host, _SOMEWHERE))
            return str(asked.getsockname()[0])
        return None

    def read(self, take: Callable[[bytes, Origin], None]) -> None:
        """Hands over what comes in from now on, in the running loop."""
        for sock in self._sockets.values():
            asyncio.get_running_loop().add_reader(sock, self._receive, sock, take)

    def end(self) -> None:
        """Closes the second port; the engine goes on."""
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def apply(self, commands: Sequence[Command]) -> None:
        """Hands commands down; see `DataPlane`."""
        self._engine.apply(commands)

    def transmit(self, datagrams: Sequence[Transmit]) -> None:
        """Sends datagrams from the port that each names."""
        ours = [datagram for datagram in datagrams if datagram.socket == OTHER_SOCKET]
        for datagram in ours:
            sock = self._sockets.get(datagram.address.is_ipv6)
            if sock is not None:
                with suppress(OSError):  # a refused answer is as good as a lost one: whoever asked asks again
                    sock.sendto(datagram.data, datagram.address)
        self._engine.transmit([datagram for datagram in datagrams if datagram.socket != OTHER_SOCKET])

    def drain(self) -> list[Event]:
        """Returns the engine's events; see `DataPlane`."""
        return self._engine.drain()

    def fileno(self) -> int:
        """Returns the engine's descriptor; see `DataPlane`."""
        return self._engine.fileno()

    def close(self) -> None:
        """Closes the engine; see `DataPlane`."""
        self._engine.close()

    def _bind(self, port: int) -> None:
        if port > 65535:
            self.reason = "There is no UDP port after 65535"
            return
        for host in self._hosts:
            is_ipv6 = ":" in host
            if is_ipv6 in self._sockets:
                continue  # the engine sends from the first address of a family, too
            try:
                self._sockets[is_ipv6] = _open(host, port)
            except OSError as error:
                if is_ipv6 and is_wildcard(host):
                    continue  # a computer without IPv6
                for sock in self._sockets.values():
                    sock.close()
                self._sockets.clear()
                self.reason = f"UDP port {port} cannot be had ({os_reason(error)})"
                return
        self.port = port if self._sockets else 0

    def _receive(self, sock: socket.socket, take: Callable[[bytes, Origin], None]) -> None:
        for _ in range(BATCH_MAX):
            try:
                data, source = sock.recvfrom(CONTROL_BYTES_MAX + 1)
            except OSError:
                return
            take(data, Origin(Address(source[0], source[1]), OTHER_SOCKET))


def _open(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
