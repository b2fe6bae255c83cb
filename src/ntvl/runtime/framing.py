"""How datagrams go on a stream once there is one: what a `Carrier` needs to know of it, and the plain form.

A framing is sans-IO: bytes of the stream in, datagrams out, and the other way round.
"""

from typing import Protocol

from ntvl.wire.address import Address
from ntvl.wire.stream import Deframer, build_frame, build_greeting

__all__ = ["Framing", "PlainFraming"]


class Framing(Protocol):
    """Is one end of a stream."""

    @property
    def is_open(self) -> bool:
        """Returns whether both ends have agreed that this is a stream of datagrams."""

    def begin(self) -> bytes:
        """Returns what to send first, empty where the other end begins."""

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the datagrams in what came next.

        Raises:
            PeerError: the stream is of no use any more; send what `take_output` has, and close it.
        """

    def frame(self, datagram: bytes) -> bytes:
        """Returns a datagram as it goes on the stream."""

    def take_output(self) -> bytes:
        """Returns what else is to be sent now: answers of the framing itself."""


class PlainFraming:
    """Is the framing of `wire.stream`.

    Args:
        observed: where the other end is seen, for a server; None for a client.
    """

    def __init__(self, observed: Address | None = None) -> None:
        self._observed = observed
        self._deframer = Deframer()
        self._answer = b"" if observed is None else build_greeting(observed)

    @property
    def is_open(self) -> bool:
        """Returns whether the other end has greeted."""
        return self._deframer.is_greeted

    @property
    def observed(self) -> Address | None:
        """Returns where the other end says that it sees this one."""
        return self._deframer.observed

    def begin(self) -> bytes:
        """Returns a client's greeting."""
        return build_greeting() if self._observed is None else b""

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the datagrams that are whole now; see `Deframer.feed`."""
        return self._deframer.feed(data)

    def frame(self, datagram: bytes) -> bytes:
        """Returns a datagram with its length before it."""
        return build_frame(datagram)

    def take_output(self) -> bytes:
        """Returns a server's greeting, once, after the client's."""
        if not self.is_open:
            return b""
        answer, self._answer = self._answer, b""
        return answer
