"""A TCP segment as the simulator has it: RFC 9293 section 3.1 without what nobody here looks at.

The ports are in the packet's addresses. There is no checksum, as nothing is damaged, no window, as receivers are quick,
and numbers count segments, not bytes, from 0: no port is used twice, so there is no old connection to tell apart.
"""

import struct
from typing import Final, NamedTuple

from ntvl.sim.packet import Packet

__all__ = ["ACK", "LAST", "RESET", "SYN", "TcpSegment", "build_reset", "build_segment", "is_opening", "parse_segment"]

SYN: Final = 0x02
RESET: Final = 0x04
LAST: Final = 0x08
"""The last segment of a datagram; TCP's PSH."""
ACK: Final = 0x10
_HEADER: Final = struct.Struct("!IIHxx")


class TcpSegment(NamedTuple):
    """Is a segment: its flags, its number, the number that the sender awaits, and what it carries."""

    flags: int
    number: int
    awaits: int
    data: bytes


def build_segment(flags: int, number: int = 0, awaits: int = 0, data: bytes = b"") -> bytes:
    """Returns the data of a packet."""
    return _HEADER.pack(number, awaits, flags) + data


def parse_segment(data: bytes) -> TcpSegment:
    """Returns the segment in the data of a packet."""
    number, awaits, flags = _HEADER.unpack_from(data)
    return TcpSegment(flags, number, awaits, data[_HEADER.size :])


def build_reset(packet: Packet) -> bytes | None:
    """Returns what a kernel says to a segment of no connection, None to a reset: nothing."""
    return None if parse_segment(packet.data).flags & RESET else build_segment(RESET | ACK)


def is_opening(data: bytes) -> bool:
    """Returns whether a packet's data begin a connection: a SYN that answers none."""
    return parse_segment(data).flags & (SYN | ACK) == SYN
