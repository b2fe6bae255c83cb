"""The first bytes of a datagram: what it is and for whom.

A datagram's first byte tells STUN (0x00-0x03), TURN channels (0x40-0x4f) and ntvl (0x80-0xbf) apart (RFC 7983 section
7). One UDP port carries all of them, so that a mapping that STUN learned is the mapping that data uses.

    DATA, CONTROL   type u8 | zero u8 x 3 | receiver index u32 | packet number u64 | sealed bytes, tag 16
    RELAY           type u8 | zero u8 x 3 | target relay id u32 | source relay id u32 | the datagram within

All numbers are big-endian. Bytes 4..16 of DATA and CONTROL are the AEAD nonce: index and number; keys are used in one
direction of one session only, so a nonce never repeats under a key. The relay prefix is the same on both legs, so a
supernode forwards a whole train of datagrams without touching one.
"""

import struct
from enum import IntEnum
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.address import Relay

__all__ = [
    "CONTROL_BYTES_MAX",
    "DATAGRAM_BYTES_MAX",
    "HEADER",
    "HEADER_BYTES",
    "PLAINTEXT_BYTES_MAX",
    "RELAY_HEADER",
    "RELAY_HEADER_BYTES",
    "TAG_BYTES",
    "Kind",
    "build_header",
    "build_relay",
    "is_stun",
    "parse_header",
    "parse_relay",
]

HEADER: Final = struct.Struct("!B3xIQ")
HEADER_BYTES: Final = 16
TAG_BYTES: Final = 16
RELAY_HEADER: Final = struct.Struct("!B3xII")
RELAY_HEADER_BYTES: Final = 12

DATAGRAM_BYTES_MAX: Final = 1432
"""Largest DATA datagram without relay prefix: 1432 + 12 (relay) + 48 (IPv6, UDP) = 1492, as PPPoE has (RFC 2516)."""
PLAINTEXT_BYTES_MAX: Final = DATAGRAM_BYTES_MAX - HEADER_BYTES - TAG_BYTES
CONTROL_BYTES_MAX: Final = 1200
"""Largest control, handshake or STUN datagram: fits IPv6's minimum of 1,280 (RFC 8200 section 5) with every prefix."""


class Kind(IntEnum):
    """Names what the first byte of an ntvl datagram says."""

    DATA = 0x80
    INITIATION = 0x81
    RESPONSE = 0x82
    COOKIE = 0x83
    CONTROL = 0x84
    KEY_REQUEST = 0x85
    KEY_REPLY = 0x86
    RESET = 0x87
    RELAY = 0x90


def is_stun(data: bytes | memoryview) -> bool:
    """Returns whether the first byte says STUN (RFC 7983 section 7); the rest may still be anything."""
    return len(data) > 0 and data[0] <= 3


def build_header(kind: Kind, index: int, number: int) -> bytes:
    """Returns the 16 bytes before a sealed body: `index` 0..2^32-1 is the receiver's, `number` 0..2^64-1 counts up."""
    return HEADER.pack(kind, index, number)


def parse_header(data: bytes | memoryview) -> tuple[int, int, int]:
    """Returns (kind, receiver index, packet number) of a DATA or CONTROL datagram.

    Raises:
        PeerError: reason "short" (not even header and tag) or "header" (a reserved byte is not zero).
    """
    if len(data) < HEADER_BYTES + TAG_BYTES:
        raise PeerError("short")
    if data[1] or data[2] or data[3]:
        raise PeerError("header")
    kind, index, number = HEADER.unpack_from(data)
    return kind, index, number


def build_relay(relay: Relay, datagram: bytes) -> bytes:
    """Returns `datagram` behind the prefix that has a supernode hand it to `relay.target`."""
    return RELAY_HEADER.pack(Kind.RELAY, relay.target, relay.source) + datagram


def parse_relay(data: bytes | memoryview) -> Relay:
    """Returns the ids in a RELAY prefix; the datagram within starts at `RELAY_HEADER_BYTES`.

    Raises:
        PeerError: reason "short" (nothing behind the prefix) or "header".
    """
    if len(data) <= RELAY_HEADER_BYTES:
        raise PeerError("short")
    if data[1] or data[2] or data[3]:
        raise PeerError("header")
    _, target, source = RELAY_HEADER.unpack_from(data)
    return Relay(target, source)
