"""Where a supernode takes streams: TCP at its UDP port, and WebSockets over TLS where it is told to.

Each stream gets a carrier, so the engine and the machine see a node at a loopback address and need not know more.
What strangers can cost is bounded: streams in all and from one host, the time to agree on a stream, and the time until
a node proves itself inside.
"""

import asyncio
import resource
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from ntvl.errors import PeerError, UsageError
from ntvl.proto.reception import network_of
from ntvl.runtime.carrier import Carrier
from ntvl.runtime.framing import Framing, PlainFraming
from ntvl.runtime.listen import os_reason
from ntvl.runtime.websocket import WebSocketFraming
from ntvl.wire.address import Address, parse_address

__all__ = ["StreamServer"]

STREAMS_MAX: Final = 4_096
STREAMS_PER_NETWORK_MAX: Final = 256
"""From one IPv4 address or one IPv6 /64: a carrier's NAT has hundreds of nodes behind it."""
AGREE_S: Final = 10.0
SILENT_S: Final = 15.0
"""How long a stream may be open without a message of a node that has a session; three handshakes with a loss each."""
SWEEP_S: Final = 5.0
_DESCRIPTORS_KEPT: Final = 256
"""For everything else that a supernode has open."""
_BACKLOG: Final = 128
_LOOPBACK: Final = ("127.", "[::1]")


@dataclass(eq=False, slots=True)
class _Stream:
    kind: str
    remote: Address
    task: "asyncio.Task[object] | None"
    since: float
    carrier: Carrier | None = None


class StreamServer:
    """Serves streams.

    Args:
        engine: where the supernode's engine takes datagrams.
        present: returns where the nodes are that have a session, as the machine sees them.

    Attributes:
        drops: what was refused or lost, by reason.
    """

    def __init__(
        self,
        engine: Address,
        present: Callable[[], Iterable[Address]],
        *,
        streams_max: int = STREAMS_MAX,
        per_network_max: int = STREAMS_PER_NETWORK_MAX,
        agree_s: float = AGREE_S,
        silent_s: float = SILENT_S,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self.drops: Counter[str] = Counter()
        self._engine = engine
        self._present = present
        self._streams_max = min(streams_max, _room())
        self._per_network_max = per_network_max
        self._agree_s = agree_s
        self._silent_s = silent_s
        self._sweep_s = sweep_s
        self._servers: list[asyncio.Server] = []
        self._streams: set[_Stream] = set()
        self._networks: Counter[bytes] = Counter()
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, addresses: Sequence[Address], context: ssl.SSLContext | None = None) -> int:
        """Takes streams from now on; returns the port.

        Args:
            addresses: where, at one port; 0 for any. IPv6 is left out where there is none.
            context: TLS, for WebSockets; None for the plain form.
        Raises:
            UsageError: the port cannot be had; in one sentence.
        """
        port = addresses[0].port
        bound = False
        for address in addresses:
            try:
                server = await asyncio.start_server(
                    partial(self._accept, "tcp" if context is None else "wss"),
                    address.host,
                    port,
                    ssl=context,
                    ssl_handshake_timeout=None if context is None else self._agree_s,
                    ssl_shutdown_timeout=None if context is None else 1.0,
                    backlog=_BACKLOG,
                )
            except OSError as error:
                if address.is_ipv6 and address.host == "::" and bound:
                    continue  # a computer without IPv6
                raise UsageError(f"TCP port {port} cannot be had ({os_reason(error)})") from error
            bound = True
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        return port

    def find(self, address: str) -> str:
        """Returns what the far end of a carrier is, as "tcp 203.0.113.7:40312"; empty for no carrier's address."""
        if not address.startswith(_LOOPBACK):
            return ""
        for stream in self._streams:
            if stream.carrier is not None and str(stream.carrier.address) == address:
                return f"{stream.kind} {stream.remote}"
        return ""

    def count(self, kind: str) -> int:
        """Returns how many streams of a kind there are, "tcp" or "wss"."""
        return sum(stream.kind == kind for stream in self._streams)

    async def close(self) -> None:
        """Ends every stream, and takes no more."""
        for server in self._servers:
            server.close()
        tasks = [stream.task for stream in self._streams if stream.task is not None]
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            remote = _remote(writer)
        except (PeerError, TypeError, IndexError):  # gone before we looked
            writer.transport.abort()
            return
        network = network_of(remote)
        if len(self._streams) >= self._streams_max or self._networks[network] >= self._per_network_max:
            self.drops["rate"] += 1
            writer.transport.abort()
            return
        stream = _Stream(kind, remote, asyncio.current_task(), time.monotonic())
        self._streams.add(stream)
        self._networks[network] += 1
        try:
            await self._serve(stream, reader, writer)
        except PeerError as error:
            self.drops[error.reason] += 1
        except (OSError, ssl.SSLError, EOFError):
            pass  # broken, or too slow to agree
        except asyncio.CancelledError:
            pass  # swept, or the end: the server's own callback would log it as a failure
        finally:
            self._streams.discard(stream)
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]

    async def _serve(self, stream: _Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framing: Framing = PlainFraming(stream.remote) if stream.kind == "tcp" else WebSocketFraming()
        carrier = Carrier(reader, writer, framing, self._engine)
        try:
            async with asyncio.timeout(self._agree_s):
                await carrier.start()
            stream.since = time.monotonic()
            stream.carrier = carrier
            await carrier.run()
        except PeerError:
            # Whoever asked in HTTP gets the answer that the framing wrote, as far as the far end takes it in time.
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.drain()
            raise
        finally:
            carrier.close()
            self.drops.update(carrier.drops)

    async def _sweep(self) -> None:
        """Ends the streams in which no node proves itself."""
        while True:
            await asyncio.sleep(self._sweep_s)
            before = time.monotonic() - self._silent_s
            old = [stream for stream in self._streams if stream.since < before and stream.carrier is not None]
            present = set(self._present()) if old else set()
            for stream in old:
                if stream.carrier is not None and stream.carrier.address not in present and stream.task is not None:
                    self.drops["unknown-session"] += 1
                    stream.task.cancel()


def _remote(writer: asyncio.StreamWriter) -> Address:
    host, port = writer.get_extra_info("peername")[:2]
    return parse_address(host.partition("%")[0], port)


def _room() -> int:
    """Returns for how many streams there are descriptors, two for each, once as many are allowed as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * STREAMS_MAX + _DESCRIPTORS_KEPT
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return STREAMS_MAX if soft == resource.RLIM_INFINITY else max(1, (soft - _DESCRIPTORS_KEPT) // 2)
