r"""Datagrams on a byte stream, for networks that pass TCP alone.

    greeting     "ntvl-stream/1\n"                     node, at once
                 "ntvl-stream/1 203.0.113.7:40312\n"   supernode: also where it sees the stream come from
    frame        length (2 bytes, big-endian, 1..65535), datagram     either side, after its own greeting

Frames are those of RFC 4571 section 2. The greeting tells ntvl apart from whoever scans ports: nobody else is served,
and nothing is sent before it. Nothing here is secret or authentic; what the datagrams carry is sealed as over UDP.
"""

import re
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.address import Address, parse_address

__all__ = [
    "FRAME_BYTES_MAX",
    "GREETING_BYTES_MAX",
    "Deframer",
    "build_frame",
    "build_greeting",
    "parse_greeting",
]

FRAME_BYTES_MAX: Final = 65535
GREETING_BYTES_MAX: Final = 80
"""The longest greeting, with its line feed: 14 bytes, an IPv6 address of at most 39 with brackets, a port."""
_LINE: Final = re.compile(rb"ntvl-stream/1(?: (?:\[([0-9a-f:.]{2,45})\]|([0-9.]{7,15})):([1-9][0-9]{0,4}))?\n")
_PREFIX: Final = b"ntvl-stream/"


def build_greeting(observed: Address | None = None) -> bytes:
    """Returns the first bytes of a stream; `observed` is where its other end is seen, told by supernodes."""
    return b"ntvl-stream/1\n" if observed is None else f"ntvl-stream/1 {observed}\n".encode()


def parse_greeting(line: bytes) -> Address | None:
    """Returns the address that a greeting names, or None where it names none.

    Args:
        line: with its line feed.
    Raises:
        PeerError: reason "version" (a later ntvl), "type" (somebody else) or "format"; close the stream.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        if not line.startswith(_PREFIX):
            raise PeerError("type", "no ntvl stream")
        if not line.startswith((_PREFIX + b"1 ", _PREFIX + b"1\n")):
            raise PeerError("version", "of a stream")
        raise PeerError("format", "greeting")
    if found[3] is None:
        return None
    return parse_address((found[1] or found[2]).decode(), int(found[3]))


def build_frame(datagram: bytes) -> bytes:
    """Returns a datagram of 1..65535 bytes as it goes on a stream."""
    return len(datagram).to_bytes(2, "big") + datagram


class Deframer:
    """Takes a stream apart: a greeting first, then frames; holds at most one greeting or one frame."""

    def __init__(self) -> None:
        self.is_greeted = False
        self.observed: Address | None = None
        """What the other side's greeting named."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the datagrams that are whole now, in order.

        Args:
            data: what came next, of any length.
        Raises:
            PeerError: the reasons of `parse_greeting`, or "long" (no end of it), "short" (an empty frame); the stream
                is of no use any more.
        """
        buffer = self._buffer
        buffer += data
        if not self.is_greeted and not self._take_greeting():
            return []
        found = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            size = buffer[at] << 8 | buffer[at + 1]
            if not size:
                raise PeerError("short", "an empty frame")
            if end - at - 2 < size:
                break
            found.append(bytes(buffer[at + 2 : at + 2 + size]))
            at += 2 + size
        del buffer[:at]
        return found

    def _take_greeting(self) -> bool:
        buffer = self._buffer
        start = bytes(buffer[: len(_PREFIX)])
        if not _PREFIX.startswith(start):
            raise PeerError("type", "no ntvl stream")
        end = buffer.find(b"\n", 0, GREETING_BYTES_MAX)
        if end < 0:
            if len(buffer) >= GREETING_BYTES_MAX:
                raise PeerError("long", "greeting")
            return False
        self.observed = parse_greeting(bytes(buffer[: end + 1]))
        self.is_greeted = True
        del buffer[: end + 1]
        return True
