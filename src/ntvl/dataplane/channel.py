"""The border as a pair of sockets: structs down, structs up, in batches, each within its own process.

    length u32 | msgpack array of commands or events

Neither side ever waits for the other. What does not fit the kernel's buffer stays here, in order, and whoever sends
looks at `has_backlog` before making more.
"""

import socket
from typing import Any, Final, Generic, TypeVar

import msgspec

from ntvl.dataplane.interface import Command, Event

__all__ = ["CHANNEL_BUFFER_BYTES", "BatchChannel", "CommandChannel", "Dropped", "EventChannel", "pair_channels"]

CHANNEL_BUFFER_BYTES: Final = 4 * 1024 * 1024
BATCH_ITEMS_MAX: Final = 256
_RECEIVE_BYTES: Final = 256 * 1024
_SO_SNDBUFFORCE: Final = 32

S = TypeVar("S")
R = TypeVar("R")


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=101):
    """Tells an engine what its parent had to drop, so that there is one place that counts."""

    reason: str
    count: int


class BatchChannel(Generic[S, R]):
    """Is one end: sends items of one union, receives items of another.

    Args:
        sock: a connected stream socket; made non-blocking, and closed by `close`.
        decoder: decodes a list of what is received.
    """

    def __init__(self, sock: socket.socket, decoder: "msgspec.msgpack.Decoder[list[R]]") -> None:
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, CHANNEL_BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHANNEL_BUFFER_BYTES)
        self._socket = sock
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = decoder
        self._items: list[S] = []
        self._out = b""
        self._in = bytearray()

    def fileno(self) -> int:
        """Returns the descriptor that is readable when `receive` has something."""
        return self._socket.fileno()

    @property
    def has_backlog(self) -> bool:
        """Returns whether something waits for the other side to read."""
        return bool(self._out or self._items)

    def send(self, item: S) -> bool:
        """Takes an item for the next batch; returns False when no more should be made for now."""
        self._items.append(item)
        return len(self._items) < BATCH_ITEMS_MAX or self.flush()

    def flush(self) -> bool:
        """Sends what waits, as far as the kernel has room; returns whether all of it went."""
        while self._out or self._items:
            if not self._out:
                batch, self._items = self._items[:BATCH_ITEMS_MAX], self._items[BATCH_ITEMS_MAX:]
                data = self._encoder.encode(batch)
                self._out = len(data).to_bytes(4, "big") + data
            try:
                sent = self._socket.send(self._out, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError:
                self._out, self._items = b"", []  # The other side is gone; `receive` tells.
                return True
            self._out = self._out[sent:]
        return True

    def receive(self) -> list[R] | None:
        """Returns the items that have come, in order, or None when the other side is gone and nothing is left."""
        items: list[R] = []
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return items
            except OSError:
                data = b""
            if not data:
                return items or None
            self._in += data
            while len(self._in) >= 4:
                end = 4 + int.from_bytes(self._in[:4], "big")
                if len(self._in) < end:
                    break
                items += self._decoder.decode(memoryview(self._in)[4:end].tobytes())
                del self._in[:end]

    def close(self) -> None:
        """Closes this end; the other one sees it."""
        self._socket.close()


class CommandChannel(BatchChannel[Event, "Command | Dropped"]):
    """Is the engine's end."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, msgspec.msgpack.Decoder(_LIST_OF_COMMANDS))


class EventChannel(BatchChannel["Command | Dropped", Event]):
    """Is the control plane's end."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, msgspec.msgpack.Decoder(_LIST_OF_EVENTS))


_LIST_OF_COMMANDS: Final[Any] = list[Command | Dropped]
_LIST_OF_EVENTS: Final[Any] = list[Event]


def pair_channels() -> tuple[EventChannel, socket.socket]:
    """Returns the control plane's end, and the socket for the engine's, which is to be inherited by a process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return EventChannel(ours), theirs
