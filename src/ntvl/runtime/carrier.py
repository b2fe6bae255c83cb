"""A carrier: a stream towards another computer, and a loopback UDP socket towards an engine on this one.

    engine ── UDP to 127.x.y.z ──► socket ── framing ──► stream ──►
           ◄── UDP to its port ──  socket ◄── framing ── stream ◄──

The engine knows UDP alone. To it the far end of the stream is one more address; each carrier has one of its own out of
127.64.0.0/10, so whatever an engine or a machine counts by address counts each stream by itself. The socket is
connected: it takes datagrams from the engine's port only.

A carrier drops as a router does: what does not fit the bounded queue of the stream is counted and gone, and the
sessions inside deal with it as with any loss.
"""

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ntvl.errors import PeerError
from ntvl.runtime.framing import Framing
from ntvl.runtime.listen import is_wildcard
from ntvl.wire.address import Address
from ntvl.wire.stream import FRAME_BYTES_MAX

__all__ = ["QUEUE_BYTES_MAX", "Carrier", "engine_address", "open_loopback"]

QUEUE_BYTES_MAX: Final = 256 * 1024
"""What waits for a slow stream in this process, beside what the kernel holds: a quarter of a second at 8 Mbit/s."""
_READ_BYTES: Final = 64 * 1024
_BATCH_MAX: Final = 64
_TRIES: Final = 16
_SILENT_PEER_MS: Final = 20_000
"""After so long without an acknowledgement of what was sent the kernel gives a stream up (TCP_USER_TIMEOUT, tcp(7))."""


def engine_address(listen: Sequence[Address], port: int) -> Address:
    """Returns where on this computer an engine takes datagrams that was told to listen at these addresses."""
    first = min(listen, key=lambda address: address.is_ipv6)
    if not is_wildcard(first.host):
        return Address(first.host, port)
    return Address("::1" if first.is_ipv6 else "127.0.0.1", port)


def open_loopback(engine: Address) -> socket.socket:
    """Returns a socket on an address of its own, which takes and sends datagrams of the engine's port only.

    Raises:
        OSError: this computer has no loopback address to give.
    """
    family = socket.AF_INET6 if engine.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        for tries in range(_TRIES):
            host = "::1" if engine.is_ipv6 else _draw_host()
            try:
                sock.bind((host, 0))
                break
            except OSError:
                if tries + 1 == _TRIES:
                    raise
        sock.connect(engine)
    except OSError:
        sock.close()
        raise
    return sock


class Carrier:
    """Bridges one stream to one engine.

    Args:
        reader, writer: the stream; the carrier closes it.
        framing: how datagrams go on it.
        engine: where the engine takes datagrams, see `engine_address`.

    Attributes:
        address: what the engine sees, from `start` on.
        drops: what was lost here, by reason.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing, engine: Address
    ) -> None:
        self.address: Address | None = None
        self.drops: Counter[str] = Counter()
        self._reader = reader
        self._writer = writer
        self._framing = framing
        self._engine = engine
        self._socket: socket.socket | None = None
        _tune(writer)

    async def start(self) -> None:
        """Agrees with the other end and opens the socket; the caller sets a limit of time.

        Raises:
            PeerError: the other end is none of ours, with the reasons of the framing, or "short": it hung up.
            OSError: the stream broke, or this computer has no loopback address to give.
        """
        self._writer.write(self._framing.begin())
        early: list[bytes] = []
        while not self._framing.is_open:
            early += await self._read()
        self._open_socket()
        for datagram in early:
            self._hand_over(datagram)

    async def run(self) -> None:
        """Carries until the stream ends.

        Raises:
            PeerError: as `start`.
            OSError: the stream broke.
        """
        while True:
            for datagram in await self._read():
                self._hand_over(datagram)

    def close(self) -> None:
        """Closes both sides at once; what waits in the queue is lost."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        transport = self._writer.transport
        if not transport.is_closing():
            waits = transport.get_write_buffer_size()  # before: a TLS transport that is closed knows it no more
            transport.close()
            if waits:
                transport.abort()

    async def _read(self) -> list[bytes]:
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise PeerError("short", "the other end hung up")
        try:
            return self._framing.feed(data)
        finally:
            answer = self._framing.take_output()
            if answer and self._room():
                self._writer.write(answer)

    def _open_socket(self) -> None:
        sock = open_loopback(self._engine)
        name = sock.getsockname()
        self.address = Address(name[0], name[1])
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._send_on, sock)

    def _send_on(self, sock: socket.socket) -> None:
        """Puts what the engine sent on the stream."""
        frames = []
        room = self._room()
        for _ in range(_BATCH_MAX):
            try:
                datagram = sock.recv(FRAME_BYTES_MAX)
            except OSError:  # nothing more, or an ICMP error: the engine is not there, and its runtime will notice
                break
            if not datagram:
                continue
            if len(datagram) > room:
                self.drops["queue-full"] += 1
                continue
            room -= len(datagram)
            frames.append(self._framing.frame(datagram))
        if frames:
            self._writer.write(b"".join(frames))

    def _room(self) -> int:
        """Returns how many bytes the queue of the stream takes now."""
        transport = self._writer.transport
        return 0 if transport.is_closing() else max(0, QUEUE_BYTES_MAX - transport.get_write_buffer_size())

    def _hand_over(self, datagram: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(datagram)
        except OSError:
            self.drops["send-failed"] += 1


def _draw_host() -> str:
    """Returns an address out of 127.64.0.0/10, clear of those that programs use by habit."""
    number = secrets.randbelow(1 << 22)
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{min(number & 255 or 1, 254)}"


def _tune(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is None:
        return
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_PEER_MS)
