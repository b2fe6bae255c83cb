"""The connection with a TURN server: UDP, TCP or TLS, each as whole messages in and bytes out.

A UDP socket is connected, so that the kernel drops what others send to it. TLS verifies the certificate and the name,
and sends the name along (SNI), as RFC 8656 section 3.1 and RFC 8489 section 6.2.3 ask.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

from ntvl.errors import PeerError
from ntvl.identity.turn_uri import TurnTransport
from ntvl.proto.text import printable
from ntvl.proto.turn_deframer import TurnDeframer
from ntvl.wire.address import Address

__all__ = ["TurnLink", "explain_failure", "find_source", "open_link"]


class TurnLink(Protocol):
    """Is an open connection with a server."""

    def send(self, data: bytes) -> bool:
        """Sends one message; returns whether there was room."""

    def source(self) -> str:
        """Returns the address of ours that it goes from, empty once it is closed."""

    def close(self) -> None:
        """Ends it at once; calling again is harmless."""


T = TypeVar("T", asyncio.DatagramTransport, asyncio.Transport)


class _Link(asyncio.BaseProtocol, Generic[T]):
    """Is what links of every kind have in common; what asyncio keeps for a slow server is bounded by its own mark of
    64 KiB.
    """

    def __init__(self, on_message: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._transport: T | None = None
        self._has_room = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("T", transport)

    def pause_writing(self) -> None:
        self._has_room = False

    def resume_writing(self) -> None:
        self._has_room = True

    def source(self) -> str:
        name = None if self._transport is None else self._transport.get_extra_info("sockname")
        return str(name[0]) if name else ""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _writable(self) -> T | None:
        """Returns what to write to, None where there is no room or nothing open."""
        transport = self._transport
        return None if transport is None or transport.is_closing() or not self._has_room else transport


class _Datagrams(_Link[asyncio.DatagramTransport], asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, addr: object) -> None:
        self._on_message(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, ConnectionRefusedError):
            self._on_lost("nothing listens there")

    def send(self, data: bytes) -> bool:
        transport = self._writable()
        if transport is None:
            return False
        transport.sendto(data)
        return True


class _Stream(_Link[asyncio.Transport], asyncio.Protocol):
    def __init__(self, on_message: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        super().__init__(on_message, on_lost)
        self._deframer = TurnDeframer()

    def data_received(self, data: bytes) -> None:
        self._deframer.feed(data)
        try:
            while (message := self._deframer.poll()) is not None:
                self._on_message(message)
        except PeerError:
            self.close()
            self._on_lost("it sends what is no TURN")

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(explain_failure(exc) if isinstance(exc, OSError) else "it closed the connection")

    def send(self, data: bytes) -> bool:
        transport = self._writable()
        if transport is None:
            return False
        transport.write(data)
        return True


async def open_link(
    transport: TurnTransport,
    server: Address,
    name: str,
    *,
    on_message: Callable[[bytes], None],
    on_lost: Callable[[str], None],
    tls: ssl.SSLContext | None = None,
) -> TurnLink:
    """Returns an open connection; for UDP that says nothing about the server.

    Args:
        name: the host name, or literal, that a certificate must be for.
        on_message: takes each whole message.
        on_lost: takes in words why the connection is gone; may be called more than once.
        tls: context for TLS; by default the system's trust roots.
    Raises:
        OSError: it cannot be opened; `explain_failure` has the words.
    """
    loop = asyncio.get_running_loop()
    if transport is TurnTransport.UDP:
        _, datagrams = await loop.create_datagram_endpoint(
            lambda: _Datagrams(on_message, on_lost), remote_addr=(server.host, server.port)
        )
        return datagrams
    secure = transport is TurnTransport.TLS
    context = (tls or ssl.create_default_context()) if secure else None
    _, stream = await loop.create_connection(
        lambda: _Stream(on_message, on_lost),
        server.host,
        server.port,
        ssl=context,
        server_hostname=name if secure else None,
    )
    return stream


def find_source(server: Address) -> str:
    """Returns from which address of ours the kernel would reach a server now, empty for from none."""
    with socket.socket(socket.AF_INET6 if server.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(server)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def explain_failure(error: OSError) -> str:
    """Returns in words why a connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {printable(error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as we do"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return (error.strerror or str(error) or "it does not answer").lower()
