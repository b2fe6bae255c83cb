"""TURN: messages between a client and a server that lends it an address.

Requests and indications are STUN messages with methods and attributes of their own. Once a channel is bound to a peer,
data goes with four bytes of header instead of thirty-six or more:

    channel u16, 0x4000..0x4fff | length u16 | data         over a stream padded to a multiple of 4

Source: RFC 8656 sections 12, 17 and 18; RFC 8489 sections 9.2, 10 and 14; the long-term vector of RFC 5769 and of RFC
8489 appendix B.1. Deviations: no EVEN-PORT, RESERVATION-TOKEN, DONT-FRAGMENT, ADDITIONAL-ADDRESS-FAMILY and ICMP, which
this client has no use for; no FINGERPRINT is sent, since nothing else is on the connection.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import msgspec

from ntvl.errors import PeerError
from ntvl.wire.address import Address
from ntvl.wire.attribute import (
    FINGERPRINT,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    TEXT_BYTES_MAX,
    StunClass,
    build_address_value,
    build_layout,
    build_protected,
    check_fingerprint,
    is_integrity,
    parse_address_value,
    parse_attributes,
    parse_error_value,
    parse_number_value,
    parse_stun_header,
    parse_text_value,
    xor_mask,
)
from ntvl.wire.credential import Authorization

__all__ = [
    "CHANNEL_HEADER_BYTES",
    "CHANNEL_MAX",
    "CHANNEL_MIN",
    "TURN_BYTES_MAX",
    "Turn",
    "TurnMethod",
    "build_channel_data",
    "build_turn",
    "is_channel_data",
    "parse_channel_data",
    "parse_turn",
    "verify_turn",
]

TURN_BYTES_MAX: Final = 2048
"""Longest message taken: the largest datagram of a peer of ours and all attributes around it fit well."""
CHANNEL_HEADER_BYTES: Final = 4
CHANNEL_MIN: Final = 0x4000
CHANNEL_MAX: Final = 0x4FFF

_CHANNEL: Final = struct.Struct("!HH")
_UDP: Final = 17
"""REQUESTED-TRANSPORT: the protocol number of UDP, the only one (RFC 8656 section 18.8)."""


class TurnMethod(IntEnum):
    """Names what a message asks for or carries (RFC 8656 section 17); Binding is among them for keeping alive."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009


class _Type(IntEnum):
    USERNAME = 0x0006
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    REQUESTED_TRANSPORT = 0x0019
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Is one message from a server; what it does not carry is None, "" or ().

    Attributes:
        lifetime: seconds, 32 bits.
        peer: who sent `data` (the first XOR-PEER-ADDRESS).
        algorithms: PASSWORD-ALGORITHMS as it came, for `parse_algorithms` and to be sent back.
        unknown: types in it that must be understood and are not; a response with any is dropped (RFC 8489 section 6.3).
        integrity: the types of the integrity attributes, which are only claims: call `verify_turn`.
    """

    cls: StunClass
    method: int
    transaction: bytes
    relayed: Address | None = None
    mapped: Address | None = None
    peer: Address | None = None
    data: bytes | None = None
    channel: int | None = None
    lifetime: int | None = None
    username: str | None = None
    userhash: bytes | None = None
    realm: str | None = None
    nonce: bytes | None = None
    algorithm: int | None = None
    algorithms: bytes | None = None
    transport: int | None = None
    family: int | None = None
    error_code: int | None = None
    error_reason: str = ""
    unknown_attributes: tuple[int, ...] = ()
    alternate_server: Address | None = None
    alternate_domain: str | None = None
    software: str | None = None
    unknown: tuple[int, ...] = ()
    integrity: tuple[int, ...] = ()


def build_turn(
    cls: StunClass,
    method: TurnMethod,
    transaction: bytes,
    *,
    lifetime: int | None = None,
    channel: int | None = None,
    peer: Address | None = None,
    data: bytes | None = None,
    allocate: bool = False,
    ipv6: bool = False,
    authorization: Authorization | None = None,
) -> bytes:
    """Returns a client's request or indication.

    Args:
        transaction: 12 random bytes.
        lifetime: seconds wanted, 0 to give the allocation back.
        channel: 0x4000..0x4fff.
        peer: whom a permission, a channel or data is for.
        data: of a Send indication.
        allocate: asks for an UDP relay; with `ipv6` for an IPv6 address of it (RFC 8656 section 18.6).
        authorization: adds user name, realm, nonce and integrity.
    Raises:
        ValueError: built wrongly.
    """
    attributes: list[tuple[int, bytes]] = []
    if allocate:
        attributes.append((_Type.REQUESTED_TRANSPORT, bytes((_UDP, 0, 0, 0))))
        if ipv6:
            attributes.append((_Type.REQUESTED_ADDRESS_FAMILY, bytes((2, 0, 0, 0))))
    if lifetime is not None:
        attributes.append((_Type.LIFETIME, lifetime.to_bytes(4)))
    if channel is not None:
        if not CHANNEL_MIN <= channel <= CHANNEL_MAX:
            raise ValueError(f"not a channel: {channel:#x}")
        attributes.append((_Type.CHANNEL_NUMBER, channel.to_bytes(2) + bytes(2)))
    if peer is not None:
        attributes.append((_Type.XOR_PEER_ADDRESS, build_address_value(peer, xor_mask(transaction))))
    if data is not None:
        attributes.append((_Type.DATA, data))
    if authorization is None:
        message = build_layout(cls, method, transaction, attributes)
    else:
        attributes += _authorize(authorization)
        type_ = MESSAGE_INTEGRITY if authorization.algorithms is None else MESSAGE_INTEGRITY_SHA256
        message = build_protected(build_layout(cls, method, transaction, attributes), authorization.key, type_)
    if len(message) > TURN_BYTES_MAX:
        raise ValueError(f"a TURN message of {len(message)} bytes is over {TURN_BYTES_MAX}")
    return message


def _authorize(authorization: Authorization) -> Sequence[tuple[int, bytes]]:
    if authorization.userhash:
        attributes: list[tuple[int, bytes]] = [(_Type.USERHASH, authorization.userhash)]
    else:
        attributes = [(_Type.USERNAME, authorization.username.encode())]
    attributes.append((_Type.REALM, authorization.realm.encode()))
    attributes.append((_Type.NONCE, authorization.nonce))
    if authorization.algorithms is not None:
        attributes.append((_Type.PASSWORD_ALGORITHM, authorization.algorithm.to_bytes(2) + bytes(2)))
        attributes.append((_Type.PASSWORD_ALGORITHMS, authorization.algorithms))
    return attributes


def parse_turn(data: bytes | memoryview) -> Turn:
    """Returns the STUN message in a datagram or in a frame of a stream.

    What is behind an integrity attribute, but for another one and FINGERPRINT, is passed over, and of two of a kind
    the first counts.

    Args:
        data: one whole message, any bytes.
    Raises:
        PeerError: reason "short", "long", "type", "header", "cookie", "format" or "integrity" (FINGERPRINT); drop it.
    """
    data = bytes(data)
    cls, method, transaction = parse_stun_header(data, TURN_BYTES_MAX)
    fields: dict[str, object] = {}
    unknown: list[int] = []
    integrity: list[int] = []
    for type_, start, value in parse_attributes(data):
        if type_ == FINGERPRINT:
            check_fingerprint(data, start, value)
        elif type_ in (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256):
            integrity.append(type_)
        elif integrity:
            continue
        elif not _parse_attribute(type_, value, transaction, fields) and type_ < 0x8000 and type_ not in unknown:
            unknown.append(type_)
    return Turn(
        cls=cls,
        method=method,
        transaction=transaction,
        unknown=tuple(unknown),
        integrity=tuple(integrity),
        **fields,  # type: ignore[arg-type]
    )


def verify_turn(data: bytes | memoryview, key: bytes, *, sha256: bool = False) -> None:
    """Returns if the integrity attribute is there and was made with `key`.

    Args:
        data: what `parse_turn` took; other bytes are safe too.
        key: of the request's `Authorization`.
        sha256: MESSAGE-INTEGRITY-SHA256 is asked for, and the older one is not enough (RFC 8489 section 9.2.5).
    Raises:
        PeerError: reason "integrity", or those of `parse_turn` for a broken layout; drop it.
    """
    data = bytes(data)
    parse_stun_header(data, TURN_BYTES_MAX)
    wanted = MESSAGE_INTEGRITY_SHA256 if sha256 else MESSAGE_INTEGRITY
    for type_, start, value in parse_attributes(data):
        if type_ == wanted:
            if is_integrity(data, start, value, key, wanted):
                return
            break
    raise PeerError("integrity")


# --- channels ---


def is_channel_data(data: bytes | bytearray | memoryview) -> bool:
    """Returns whether a message is channel data by its first byte (RFC 8656 section 12); anything else is STUN."""
    return len(data) > 0 and data[0] & 0xF0 == CHANNEL_MIN >> 8


def build_channel_data(channel: int, data: bytes, *, padded: bool) -> bytes:
    """Returns data for the peer of a channel.

    Args:
        channel: 0x4000..0x4fff.
        data: at most 65535 bytes.
        padded: over a stream, so that the next message starts at a multiple of 4 (RFC 8656 section 12.5).
    """
    return _CHANNEL.pack(channel, len(data)) + data + (bytes(-len(data) % 4) if padded else b"")


def parse_channel_data(data: bytes | memoryview) -> tuple[int, bytes]:
    """Returns channel and data; up to three bytes of padding are taken off, and more passed over.

    Raises:
        PeerError: reason "short", "long", "type" or "format" (a length beyond the end); drop it.
    """
    if len(data) < CHANNEL_HEADER_BYTES:
        raise PeerError("short")
    if len(data) > TURN_BYTES_MAX:
        raise PeerError("long")
    channel, length = _CHANNEL.unpack_from(data)
    if not CHANNEL_MIN <= channel <= CHANNEL_MAX:
        raise PeerError("type")
    if CHANNEL_HEADER_BYTES + length > len(data):
        raise PeerError("format", "channel data beyond the end")
    return channel, bytes(data[CHANNEL_HEADER_BYTES : CHANNEL_HEADER_BYTES + length])


# --- attributes ---


def _parse_attribute(type_: int, value: bytes, transaction: bytes, fields: dict[str, object]) -> bool:
    """Adds an attribute to `fields` unless one of its kind is there; returns whether its type is known."""
    match type_:
        case _Type.XOR_RELAYED_ADDRESS:
            fields.setdefault("relayed", parse_address_value(value, xor_mask(transaction)))
        case _Type.XOR_MAPPED_ADDRESS:
            fields.setdefault("mapped", parse_address_value(value, xor_mask(transaction)))
        case _Type.XOR_PEER_ADDRESS:
            fields.setdefault("peer", parse_address_value(value, xor_mask(transaction)))
        case _Type.ALTERNATE_SERVER:
            fields.setdefault("alternate_server", parse_address_value(value, bytes(16)))
        case _Type.DATA:
            fields.setdefault("data", value)
        case _Type.CHANNEL_NUMBER:
            fields.setdefault("channel", parse_number_value(value, 4) >> 16)
        case _Type.LIFETIME:
            fields.setdefault("lifetime", parse_number_value(value, 4))
        case _Type.REQUESTED_TRANSPORT:
            fields.setdefault("transport", parse_number_value(value, 4) >> 24)
        case _Type.REQUESTED_ADDRESS_FAMILY:
            fields.setdefault("family", parse_number_value(value, 4) >> 24)
        case _Type.PASSWORD_ALGORITHM:
            if len(value) < 4:
                raise PeerError("format", "PASSWORD-ALGORITHM")
            fields.setdefault("algorithm", int.from_bytes(value[:2]))
        case _Type.PASSWORD_ALGORITHMS:
            fields.setdefault("algorithms", value)
        case _Type.USERHASH:
            fields.setdefault("userhash", _bounded(value, 32))
        case _Type.NONCE:
            fields.setdefault("nonce", _bounded(value, TEXT_BYTES_MAX))
        case _Type.REALM:
            fields.setdefault("realm", _parse_exact_text(value))
        case _Type.USERNAME:
            fields.setdefault("username", _parse_exact_text(value))
        case _Type.ALTERNATE_DOMAIN:
            fields.setdefault("alternate_domain", _parse_exact_text(value))
        case _Type.ERROR_CODE:
            if "error_code" not in fields:
                fields["error_code"], fields["error_reason"] = parse_error_value(value)
        case _Type.UNKNOWN_ATTRIBUTES:
            if len(value) % 2:
                raise PeerError("format", "UNKNOWN-ATTRIBUTES")
            fields.setdefault("unknown_attributes", struct.unpack(f"!{len(value) // 2}H", value))
        case _Type.SOFTWARE:
            fields.setdefault("software", parse_text_value(value))
        case _:
            return False
    return True


def _bounded(value: bytes, length_max: int) -> bytes:
    if not 1 <= len(value) <= length_max:
        raise PeerError("format", "a length")
    return value


def _parse_exact_text(value: bytes) -> str:
    """Returns text that goes into a hash or a name: it is UTF-8, or nothing."""
    try:
        return _bounded(value, TEXT_BYTES_MAX).decode()
    except UnicodeDecodeError as error:
        raise PeerError("format", "text") from error
