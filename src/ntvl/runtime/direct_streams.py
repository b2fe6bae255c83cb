"""TCP connections between two nodes, as carriers to the engine: opened as the machine asks (`proto.stream_paths`).

want_port ──► a port, and as which address a supernode sees it ──► tell_port
dial      ──► connections, from that port or to it; each greets ──► tell_stream ... tell_end
unwant    ──► no more connections; those that were told stay
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ntvl.errors import PeerError
from ntvl.runtime.carrier import Carrier
from ntvl.runtime.framing import PlainFraming
from ntvl.runtime.shared_port import SharedPort
from ntvl.wire.address import Address

__all__ = ["DirectStreams"]

ASK_S: Final = 2.0
"""For all servers together. A round trip and a half of TCP and the greeting take much less, but a SYN that is lost the
kernel repeats after 1 s only; so where there is one server, it has time for that."""
GREET_S: Final = 3.0
STREAMS_MAX: Final = 4
"""Of one dialling, greeting or open."""
LIFE_S: Final = 15.0
"""The end of a dialling that nobody ended."""
_READ_BYTES: Final = 4096


@dataclass(eq=False, slots=True)
class _Dialling:
    number: int
    port: SharedPort
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    streams: int = 0
    """Greeting or open."""
    alarm: asyncio.TimerHandle | None = None


class DirectStreams:
    """Keeps diallings and streams.

    Args:
        engine: where the node's engine takes datagrams.
        tell_port: hears a dialling's port, 0 for none, and as which address a server sees it.
        tell_stream: hears of each stream that has opened: dialling, the other end's address, the carrier's.
        tell_end: hears of a told stream's end, but not of one that was wanted.
    """

    def __init__(
        self,
        engine: Address,
        *,
        tell_port: Callable[[int, int, Address | None], None],
        tell_stream: Callable[[int, Address, Address], None],
        tell_end: Callable[[Address], None],
    ) -> None:
        self._drops: Counter[str] = Counter()
        """Of carriers that ended."""
        self._running: set[Carrier] = set()
        self._engine = engine
        self._tell_port = tell_port
        self._tell_stream = tell_stream
        self._tell_end = tell_end
        self._diallings: dict[int, _Dialling] = {}
        self._streams: dict[Address, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def drops(self) -> Counter[str]:
        """Returns what carriers lost since the start, and why streams ended that did not break, by reason."""
        return sum((carrier.drops for carrier in self._running), self._drops)

    def want_port(self, number: int, servers: Sequence[Address]) -> None:
        """Binds a port and asks one of these servers as which address it sees it."""
        self.unwant(number)
        try:
            dialling = _Dialling(number, SharedPort())
        except OSError:
            asyncio.get_running_loop().call_soon(self._tell_port, number, 0, None)
            return
        self._diallings[number] = dialling
        dialling.alarm = asyncio.get_running_loop().call_later(LIFE_S, self.unwant, number)
        self._start(dialling, self._ask(dialling, tuple(servers)))

    def dial(self, number: int, remotes: Sequence[Address]) -> None:
        """Connects to these addresses, first SYNs in this order, and takes connections from their hosts."""
        dialling = self._diallings.get(number)
        if dialling is None:
            return
        for remote in dict.fromkeys(remotes):
            self._start(dialling, self._connect(dialling, remote))
        hosts = {remote.host for remote in remotes}
        self._start(dialling, dialling.port.listen(hosts, lambda sock, remote: self._take(dialling, sock, remote)))

    def unwant(self, number: int) -> None:
        """Ends a dialling, if it is there."""
        dialling = self._diallings.pop(number, None)
        if dialling is None:
            return
        if dialling.alarm is not None:
            dialling.alarm.cancel()
        for task in dialling.tasks:
            task.cancel()
        dialling.port.close()

    def close_stream(self, carrier: Address) -> None:
        """Closes a stream, if it is there."""
        task = self._streams.pop(carrier, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Closes all."""
        for number in list(self._diallings):
            self.unwant(number)
        self._streams.clear()  # Nobody hears of these ends.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- a dialling ---

    def _start(self, dialling: _Dialling | None, coroutine: Any) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine)
        kept = (self._tasks,) if dialling is None else (self._tasks, dialling.tasks)
        for tasks in kept:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return task

    async def _ask(self, dialling: _Dialling, servers: Sequence[Address]) -> None:
        """Tells the port, and stays connected to the server that named it: so it stays mapped."""
        for server in servers:
            sock: socket.socket | None = None
            try:
                async with asyncio.timeout(ASK_S / len(servers)):
                    sock = await dialling.port.connect(server)
                    observed = await _greet(sock)
                if observed is None:
                    continue  # It greets as a node does: the next one.
            except PeerError as error:
                self._drops[error.reason] += 1
            except OSError:
                pass  # Refused, unreachable, too slow: the next one.
            else:
                self._tell_port(dialling.number, dialling.port.port, observed)
                await asyncio.Event().wait()  # until it is cancelled
            finally:
                if sock is not None:
                    sock.close()
        self._tell_port(dialling.number, dialling.port.port, None)

    async def _connect(self, dialling: _Dialling, remote: Address) -> None:
        with suppress(OSError):  # No way there from here.
            self._take(dialling, await dialling.port.connect(remote), remote)

    def _take(self, dialling: _Dialling, sock: socket.socket, remote: Address) -> None:
        if dialling.streams >= STREAMS_MAX or self._diallings.get(dialling.number) is not dialling:
            sock.close()
            return
        dialling.streams += 1
        task = self._start(None, self._carry(dialling, sock, remote))
        task.add_done_callback(lambda _: self._leave(dialling, sock))

    def _leave(self, dialling: _Dialling, sock: socket.socket) -> None:
        """Closes what a task may not have begun with: one that is cancelled at once never runs."""
        dialling.streams -= 1
        sock.close()

    # --- a stream ---

    async def _carry(self, dialling: _Dialling, sock: socket.socket, remote: Address) -> None:
        carrier: Carrier | None = None
        try:
            reader, writer = await asyncio.open_connection(sock=sock)
            carrier = Carrier(reader, writer, PlainFraming(), self._engine)
            self._running.add(carrier)
            async with asyncio.timeout(GREET_S):
                await carrier.start()
            if carrier.address is None or self._diallings.get(dialling.number) is not dialling:
                return
            await self._run(carrier, carrier.address, dialling.number, remote)
        except PeerError as error:
            self._drops[error.reason] += 1
        except OSError:
            pass  # It broke, or did not greet in time.
        finally:
            if carrier is not None:
                carrier.close()
                self._running.discard(carrier)
                self._drops.update(carrier.drops)

    async def _run(self, carrier: Carrier, address: Address, number: int, remote: Address) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._streams[address] = task
        try:
            self._tell_stream(number, remote, address)
            await carrier.run()
        except PeerError as error:
            if error.reason != "short":  # The other end closes what it uses no more.
                raise
        finally:
            if self._streams.pop(address, None) is not None:
                self._tell_end(address)


async def _greet(sock: socket.socket) -> Address | None:
    """Returns as which address a server sees a connection to it.

    Raises:
        PeerError: it is no supernode.
        OSError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    framing = PlainFraming()
    await loop.sock_sendall(sock, framing.begin())
    while not framing.is_open:
        data = await loop.sock_recv(sock, _READ_BYTES)
        if not data:
            raise PeerError("short", "the server hung up")
        framing.feed(data)
    return framing.observed
