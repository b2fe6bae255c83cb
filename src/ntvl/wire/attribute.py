"""The layout that all STUN messages share: header, attributes, and what protects them.

    method and class u16 | length u16 | magic cookie u32 | transaction 12 bytes
    then attributes:  type u16 | length u16 | value, padded to a multiple of 4

stun.py speaks Binding over it, turn.py TURN. Which attributes there are, and what they mean, is theirs; here are bytes,
their bounds, and the three protections: MESSAGE-INTEGRITY (HMAC-SHA1), MESSAGE-INTEGRITY-SHA256 and FINGERPRINT.

Source: RFC 8489 sections 5, 14.1, 14.2, 14.5 to 14.8.
"""

import hmac
import struct
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.address import Address, parse_address

__all__ = [
    "ATTRIBUTES_MAX",
    "FINGERPRINT",
    "MESSAGE_INTEGRITY",
    "MESSAGE_INTEGRITY_SHA256",
    "STUN_HEADER_BYTES",
    "TEXT_BYTES_MAX",
    "TRANSACTION_BYTES",
    "StunClass",
    "build_address_value",
    "build_fingerprinted",
    "build_layout",
    "build_protected",
    "check_fingerprint",
    "is_integrity",
    "parse_address_value",
    "parse_attributes",
    "parse_error_value",
    "parse_number_value",
    "parse_stun_header",
    "parse_text_value",
    "xor_mask",
]

STUN_HEADER_BYTES: Final = 20
TRANSACTION_BYTES: Final = 12
ATTRIBUTES_MAX: Final = 32
"""Most attributes in one message; a check has seven, a server's answer hardly more."""
MESSAGE_INTEGRITY: Final = 0x0008
MESSAGE_INTEGRITY_SHA256: Final = 0x001C
FINGERPRINT: Final = 0x8028
TEXT_BYTES_MAX: Final = 763
"""Longest SOFTWARE or reason phrase: 127 characters of UTF-8 (RFC 8489 sections 14.8 and 14.14)."""

_HEADER: Final = struct.Struct("!HHI12s")
_ATTRIBUTE: Final = struct.Struct("!HH")
_MAGIC_COOKIE: Final = 0x2112A442
_FINGERPRINT_MASK: Final = 0x5354554E
"""What a CRC is XORed with, so that it differs from a CRC of the application (RFC 8489 section 14.7)."""
_DIGESTS: Final = {MESSAGE_INTEGRITY: ("sha1", 20), MESSAGE_INTEGRITY_SHA256: ("sha256", 32)}


class StunClass(IntEnum):
    """Names what a message is, by the two class bits (RFC 8489 section 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


# --- layout ---


def build_layout(cls: StunClass, method: int, transaction: bytes, attributes: Sequence[tuple[int, bytes]]) -> bytes:
    """Returns a message out of types and values, without protection.

    Args:
        method: 12 bits.
        transaction: 12 bytes.
    Raises:
        ValueError: a transaction of another length.
    """
    if len(transaction) != TRANSACTION_BYTES:
        raise ValueError(f"a transaction has {TRANSACTION_BYTES} bytes, not {len(transaction)}")
    body = b"".join(_build_attribute(type_, value) for type_, value in attributes)
    return _HEADER.pack(_build_type(cls, method), len(body), _MAGIC_COOKIE, transaction) + body


def parse_stun_header(data: bytes, bytes_max: int) -> tuple[StunClass, int, bytes]:
    """Returns class, method and transaction of a whole message.

    Args:
        data: any bytes.
        bytes_max: longest message taken.
    Raises:
        PeerError: reason "short", "long", "type", "cookie" or "header" (its length); drop it.
    """
    if len(data) < STUN_HEADER_BYTES:
        raise PeerError("short")
    if len(data) > bytes_max:
        raise PeerError("long")
    type_, length, cookie, transaction = _HEADER.unpack_from(data)
    if type_ & 0xC000:
        raise PeerError("type")
    if cookie != _MAGIC_COOKIE:
        raise PeerError("cookie")
    if length % 4 or length != len(data) - STUN_HEADER_BYTES:
        raise PeerError("header", "length")
    cls = StunClass((type_ >> 7 & 2) | (type_ >> 4 & 1))
    return cls, (type_ >> 2 & 0xF80) | (type_ >> 1 & 0x70) | (type_ & 0xF), transaction


def parse_attributes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields type, where it starts in `data`, and value; `parse_stun_header` has taken `data`.

    Raises:
        PeerError: reason "format" (an attribute beyond the end) or "long" (too many of them), while iterating.
    """
    start = STUN_HEADER_BYTES
    for _ in range(ATTRIBUTES_MAX):
        if start == len(data):
            return
        type_, length = _ATTRIBUTE.unpack_from(data, start)
        after = start + 4 + length
        if after > len(data):
            raise PeerError("format", "an attribute beyond the end")
        yield type_, start, data[start + 4 : after]
        start = after + -length % 4
    if start != len(data):
        raise PeerError("long", "attributes")


def _build_type(cls: StunClass, method: int) -> int:
    """Returns the first 16 bits: the class in bits 4 and 8, the method around them (RFC 8489 section 5, figure 3)."""
    return (method & 0xF80) << 2 | (method & 0x70) << 1 | method & 0xF | (cls & 2) << 7 | (cls & 1) << 4


def _build_attribute(type_: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(type_, len(value)) + value + bytes(-len(value) % 4)


def _with_length(data: bytes, more: int) -> bytes:
    """Returns the message as if it were `more` bytes longer."""
    return data[:2] + (len(data) + more - STUN_HEADER_BYTES).to_bytes(2) + data[4:]


# --- protection ---


def build_protected(data: bytes, key: bytes, type_: int = MESSAGE_INTEGRITY) -> bytes:
    """Returns a message with MESSAGE-INTEGRITY or, by `type_`, MESSAGE-INTEGRITY-SHA256 behind it.

    Args:
        key: the short-term password, or the long-term key (RFC 8489 sections 9.1.1 and 18.5.1).
    """
    return _with_length(data, 4 + _DIGESTS[type_][1]) + _build_attribute(type_, _digest(data, key, type_))


def is_integrity(data: bytes, start: int, value: bytes, key: bytes, type_: int = MESSAGE_INTEGRITY) -> bool:
    """Returns whether the integrity attribute of `type_` at `start` was made with `key`.

    A SHA-256 of 16 to 32 bytes, a multiple of 4, counts, since a server may cut it (RFC 8489 section 14.6).
    """
    length = len(value)
    if length != _DIGESTS[type_][1] and not (type_ == MESSAGE_INTEGRITY_SHA256 and length in (16, 20, 24, 28)):
        return False
    return hmac.compare_digest(value, _digest(data[:start], key, type_, length)[:length])


def build_fingerprinted(data: bytes) -> bytes:
    """Returns a message with FINGERPRINT, the last attribute, behind it."""
    return _with_length(data, 8) + _build_attribute(FINGERPRINT, _fingerprint(data))


def check_fingerprint(data: bytes, start: int, value: bytes) -> None:
    """Returns if the FINGERPRINT at `start` is the last attribute and right.

    Raises:
        PeerError: reason "format" or "integrity"; drop the message.
    """
    if len(value) != 4 or start + 8 != len(data):
        raise PeerError("format", "FINGERPRINT")
    if value != _fingerprint(data[:start]):
        raise PeerError("integrity", "FINGERPRINT")


def _digest(before: bytes, key: bytes, type_: int, length: int | None = None) -> bytes:
    """Returns the HMAC over all that is before the attribute, with a length that already counts it (section 14.5)."""
    algorithm, whole = _DIGESTS[type_]
    return hmac.digest(key, _with_length(before, 4 + (length or whole)), algorithm)


def _fingerprint(before: bytes) -> bytes:
    return (zlib.crc32(_with_length(before, 8)) ^ _FINGERPRINT_MASK).to_bytes(4)


# --- values ---


def xor_mask(transaction: bytes) -> bytes:
    """Returns what hides an address in an XORed attribute: magic cookie and transaction, 16 bytes."""
    return _MAGIC_COOKIE.to_bytes(4) + transaction


def build_address_value(address: Address, mask: bytes) -> bytes:
    """Returns an address as a value, behind `mask` of 16 bytes: zeros for none, else `xor_mask`."""
    packed = ip_address(address.host).packed
    family = 1 if len(packed) == 4 else 2
    return bytes((0, family)) + _xor(address.port.to_bytes(2), mask) + _xor(packed, mask)


def parse_address_value(value: bytes, mask: bytes) -> Address:
    """Returns the address behind `mask`, 16 bytes: zeros, or `xor_mask` (RFC 8489 sections 14.1, 14.2).

    Raises:
        PeerError: reason "format".
    """
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        raise PeerError("format", "address family")
    port = int.from_bytes(_xor(value[2:4], mask))
    packed = _xor(value[4:], mask)
    return parse_address(str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)), port)


def parse_number_value(value: bytes, length: int) -> int:
    """Returns a big-endian number of `length` bytes, 0 for one of none.

    Raises:
        PeerError: reason "format": another length.
    """
    if len(value) != length:
        raise PeerError("format", "a number")
    return int.from_bytes(value)


def parse_text_value(value: bytes) -> str:
    """Returns words that nothing depends on, so bytes that are not UTF-8 become U+FFFD.

    Raises:
        PeerError: reason "format": over 763 bytes.
    """
    if len(value) > TEXT_BYTES_MAX:
        raise PeerError("format", "text")
    return value.decode(errors="replace")


def parse_error_value(value: bytes) -> tuple[int, str]:
    """Returns code, 300..699, and reason phrase of an ERROR-CODE (RFC 8489 section 14.8).

    Raises:
        PeerError: reason "format".
    """
    if len(value) < 4:
        raise PeerError("format", "ERROR-CODE")
    hundreds, rest = value[2] & 7, value[3]
    if not 3 <= hundreds <= 6 or rest > 99:
        raise PeerError("format", "ERROR-CODE")
    return hundreds * 100 + rest, parse_text_value(value[4:])


def _xor(value: bytes, mask: bytes) -> bytes:
    """Returns `value` XORed with as many bytes of `mask`."""
    return bytes(a ^ b for a, b in zip(value, mask, strict=False))
