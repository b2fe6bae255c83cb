"""The layout of handshake datagrams; what the Noise messages hold and how MACs are made is the handshake's business.

    INITIATION   0x81 | kind u8 | zero u8 x 2 | sender index u32 | Noise message 1 | mac1 16 | mac2 16
    RESPONSE     0x82 | zero u8 x 3 | sender index u32 | receiver index u32 | Noise message 2 | mac1 16 | mac2 16
    COOKIE       0x83 | zero u8 x 3 | receiver index u32 | nonce 12 | sealed cookie 32

All numbers are big-endian. `kind` is 0 for a supernode (Noise IK), 1 for a peer (Noise IKpsk2). A sender index is the
index at which the sender will receive; a receiver index repeats the other side's. mac1 covers everything before it,
mac2 everything before it, mac1 included; mac2 is zero where there is no cookie, in a response always.
"""

import struct
from typing import Final, NamedTuple

from ntvl.errors import PeerError
from ntvl.wire.header import CONTROL_BYTES_MAX, RELAY_HEADER_BYTES, TAG_BYTES, Kind

__all__ = [
    "COOKIE_BYTES",
    "COOKIE_NONCE_BYTES",
    "HANDSHAKE_BYTES_MAX",
    "INITIATION_OVERHEAD_BYTES",
    "KIND_PEER",
    "KIND_SUPERNODE",
    "MAC_BYTES",
    "NOISE_1_OVERHEAD_BYTES",
    "NOISE_2_OVERHEAD_BYTES",
    "RESPONSE_OVERHEAD_BYTES",
    "CookieDatagram",
    "InitiationDatagram",
    "ResponseDatagram",
    "build_cookie",
    "build_initiation_head",
    "build_response_head",
    "parse_cookie",
    "parse_initiation",
    "parse_receiver",
    "parse_response",
]

KIND_SUPERNODE: Final = 0
KIND_PEER: Final = 1

MAC_BYTES: Final = 16
COOKIE_BYTES: Final = 16
COOKIE_NONCE_BYTES: Final = 12
HANDSHAKE_BYTES_MAX: Final = CONTROL_BYTES_MAX - RELAY_HEADER_BYTES
"""Largest handshake datagram; one relay prefix more makes `CONTROL_BYTES_MAX`."""
NOISE_1_OVERHEAD_BYTES: Final = 32 + 32 + TAG_BYTES + TAG_BYTES
"""Ephemeral key, sealed static key, tag of the payload."""
NOISE_2_OVERHEAD_BYTES: Final = 32 + TAG_BYTES

_INITIATION: Final = struct.Struct("!BBxxI")
_RESPONSE: Final = struct.Struct("!B3xII")
_COOKIE: Final = struct.Struct("!B3xI")
_MACS_BYTES: Final = 2 * MAC_BYTES
_COOKIE_DATAGRAM_BYTES: Final = _COOKIE.size + COOKIE_NONCE_BYTES + COOKIE_BYTES + TAG_BYTES
INITIATION_OVERHEAD_BYTES: Final = _INITIATION.size + NOISE_1_OVERHEAD_BYTES + _MACS_BYTES
RESPONSE_OVERHEAD_BYTES: Final = _RESPONSE.size + NOISE_2_OVERHEAD_BYTES + _MACS_BYTES


class InitiationDatagram(NamedTuple):
    """Is an initiation taken apart: `kind` 0 or 1, `noise` at least 96 bytes, MACs 16 bytes each."""

    kind: int
    sender: int
    noise: bytes
    mac1: bytes
    mac2: bytes


class ResponseDatagram(NamedTuple):
    """Is a response taken apart: `noise` at least 48 bytes, `mac1` 16 bytes; mac2 was zero."""

    sender: int
    receiver: int
    noise: bytes
    mac1: bytes


class CookieDatagram(NamedTuple):
    """Is a cookie taken apart: `nonce` 12 bytes, `sealed` 32 bytes."""

    receiver: int
    nonce: bytes
    sealed: bytes


def build_initiation_head(kind: int, sender: int, noise: bytes) -> bytes:
    """Returns an initiation up to where mac1 goes."""
    return _INITIATION.pack(Kind.INITIATION, kind, sender) + noise


def build_response_head(sender: int, receiver: int, noise: bytes) -> bytes:
    """Returns a response up to where mac1 goes."""
    return _RESPONSE.pack(Kind.RESPONSE, sender, receiver) + noise


def build_cookie(receiver: int, nonce: bytes, sealed: bytes) -> bytes:
    """Returns a whole cookie datagram, 52 bytes: shorter than any initiation, so it amplifies nothing."""
    return _COOKIE.pack(Kind.COOKIE, receiver) + nonce + sealed


def parse_initiation(data: bytes) -> InitiationDatagram:
    """Returns an initiation in its parts, of whatever MACs.

    Args:
        data: any bytes.
    Raises:
        PeerError: reason "type", "short", "long" or "header".
    """
    _check(data, Kind.INITIATION, INITIATION_OVERHEAD_BYTES, HANDSHAKE_BYTES_MAX)
    if data[1] > KIND_PEER or data[2] or data[3]:
        raise PeerError("header")
    _, kind, sender = _INITIATION.unpack_from(data)
    return InitiationDatagram(
        kind,
        sender,
        bytes(data[_INITIATION.size : -_MACS_BYTES]),
        bytes(data[-_MACS_BYTES:-MAC_BYTES]),
        bytes(data[-MAC_BYTES:]),
    )


def parse_response(data: bytes) -> ResponseDatagram:
    """Returns a response in its parts, of whatever mac1.

    Args:
        data: any bytes.
    Raises:
        PeerError: reason "type", "short", "long" or "header" (also for a mac2 that is not zero).
    """
    _check(data, Kind.RESPONSE, RESPONSE_OVERHEAD_BYTES, HANDSHAKE_BYTES_MAX)
    if data[1] or data[2] or data[3] or any(data[-MAC_BYTES:]):
        raise PeerError("header")
    _, sender, receiver = _RESPONSE.unpack_from(data)
    return ResponseDatagram(
        sender, receiver, bytes(data[_RESPONSE.size : -_MACS_BYTES]), bytes(data[-_MACS_BYTES:-MAC_BYTES])
    )


def parse_cookie(data: bytes) -> CookieDatagram:
    """Returns a cookie datagram in its parts.

    Args:
        data: any bytes.
    Raises:
        PeerError: reason "type", "short", "long" or "header".
    """
    _check(data, Kind.COOKIE, _COOKIE_DATAGRAM_BYTES, _COOKIE_DATAGRAM_BYTES)
    if data[1] or data[2] or data[3]:
        raise PeerError("header")
    _, receiver = _COOKIE.unpack_from(data)
    sealed_at = _COOKIE.size + COOKIE_NONCE_BYTES
    return CookieDatagram(receiver, bytes(data[_COOKIE.size : sealed_at]), bytes(data[sealed_at:]))


def parse_receiver(data: bytes) -> int:
    """Returns the receiver index of a response or a cookie: which of our initiations it answers.

    Args:
        data: any bytes.
    Raises:
        PeerError: reason "type", "short", "long" or "header".
    """
    if data and data[0] == Kind.COOKIE:
        return parse_cookie(data).receiver
    return parse_response(data).receiver


def _check(data: bytes, kind: Kind, least: int, most: int) -> None:
    if not data:
        raise PeerError("short")
    if data[0] != kind:
        raise PeerError("type")
    if len(data) < least:
        raise PeerError("short")
    if len(data) > most:
        raise PeerError("long")
