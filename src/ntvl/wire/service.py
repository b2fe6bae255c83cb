"""Datagrams outside of every session: asking a supernode for its key, and the hint that something is lost.

    KEY_REQUEST   0x85 | zero u8 x 3 | nonce 8 | zero to 64 bytes at least
    KEY_REPLY     0x86 | zero u8 x 3 | nonce 8 | public key 32
    RESET         0x87 | zero u8 x 3 | index u32

Nothing here is proven: a key is believed at the first use of an address and never again, and a RESET only makes its
receiver ask. A request is longer than its reply, and a RESET shorter than what it answers, so nobody can be flooded by
way of us with more than was spent.
"""

import struct
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.header import CONTROL_BYTES_MAX, Kind

__all__ = [
    "KEY_NONCE_BYTES",
    "KEY_REPLY_BYTES",
    "KEY_REQUEST_BYTES",
    "RESET_BYTES",
    "build_key_reply",
    "build_key_request",
    "build_reset",
    "parse_key_reply",
    "parse_key_request",
    "parse_reset",
]

KEY_NONCE_BYTES: Final = 8
KEY_REQUEST_BYTES: Final = 64
KEY_REPLY_BYTES: Final = 44
RESET_BYTES: Final = 8

_KEY: Final = struct.Struct("!B3x8s")
_RESET: Final = struct.Struct("!B3xI")


def build_key_request(nonce: bytes) -> bytes:
    """Returns a request for the public key of whoever receives it; `nonce` is 8 random bytes."""
    return _KEY.pack(Kind.KEY_REQUEST, nonce).ljust(KEY_REQUEST_BYTES, b"\0")


def parse_key_request(data: bytes) -> bytes:
    """Returns the nonce of a KEY_REQUEST.

    Raises:
        PeerError: reason "short", "long", "type" or "header".
    """
    _check(data, Kind.KEY_REQUEST, KEY_REQUEST_BYTES, CONTROL_BYTES_MAX)
    nonce: bytes = _KEY.unpack_from(data)[1]
    return nonce


def build_key_reply(nonce: bytes, public: bytes) -> bytes:
    """Returns the answer to a KEY_REQUEST: its nonce, and the 32 bytes of our public key."""
    return _KEY.pack(Kind.KEY_REPLY, nonce) + public


def parse_key_reply(data: bytes) -> tuple[bytes, bytes]:
    """Returns nonce and public key of a KEY_REPLY.

    Raises:
        PeerError: reason "short", "long", "type" or "header".
    """
    _check(data, Kind.KEY_REPLY, KEY_REPLY_BYTES, KEY_REPLY_BYTES)
    nonce: bytes = _KEY.unpack_from(data)[1]
    return nonce, bytes(data[_KEY.size :])


def build_reset(index: int) -> bytes:
    """Returns the hint that `index` is the index of no session here, or with 0 that an address has no registration."""
    return _RESET.pack(Kind.RESET, index)


def parse_reset(data: bytes) -> int:
    """Returns the index in a RESET.

    Raises:
        PeerError: reason "short", "long", "type" or "header".
    """
    _check(data, Kind.RESET, RESET_BYTES, RESET_BYTES)
    index: int = _RESET.unpack_from(data)[1]
    return index


def _check(data: bytes, kind: Kind, least: int, most: int) -> None:
    if len(data) < least:
        raise PeerError("short")
    if len(data) > most:
        raise PeerError("long")
    if data[0] != kind:
        raise PeerError("type")
    if data[1] or data[2] or data[3]:
        raise PeerError("header")
