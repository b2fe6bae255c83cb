"""STUN: asking where a datagram seems to come from, and checking that a path works in both directions.

One codec serves the supernode's Binding service, questions to other people's servers and the checks between two peers
(RFC 8445 section 7). A check carries a user name, ICE attributes, MESSAGE-INTEGRITY under the short-term password of an
offer, and FINGERPRINT last; a question to a server is the bare header, which every server ever written understands, or
has the attributes of RFC 5780, which have the answer come from, or go to, elsewhere to learn what a NAT does.
attribute.py has the layout of messages.

Source: RFC 8489 sections 5, 6, 9.1 and 14; RFC 8445 section 16.1; RFC 5780 section 7; held to the vectors of RFC 5769.
Deviations: only MESSAGE-INTEGRITY with HMAC-SHA1 (14.5), which RFC 8445 asks for, no MESSAGE-INTEGRITY-SHA256;
passwords are ASCII, so OpaqueString (RFC 8265) has nothing to prepare; a FINGERPRINT is judged where there is one and
never demanded; no PADDING (RFC 5780 section 7.6).
"""

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from ntvl.errors import PeerError
from ntvl.wire.address import Address
from ntvl.wire.attribute import (
    ATTRIBUTES_MAX,
    STUN_HEADER_BYTES,
    TEXT_BYTES_MAX,
    TRANSACTION_BYTES,
    StunClass,
    build_address_value,
    build_fingerprinted,
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
from ntvl.wire.header import CONTROL_BYTES_MAX

__all__ = [
    "ATTRIBUTES_MAX",
    "BINDING",
    "CHANGE_REQUEST",
    "STUN_HEADER_BYTES",
    "TRANSACTION_BYTES",
    "Change",
    "Stun",
    "StunClass",
    "build_binding_error",
    "build_binding_indication",
    "build_binding_request",
    "build_binding_response",
    "parse_stun",
    "verify_integrity",
]

BINDING: Final = 0x001
CHANGE_REQUEST: Final = 0x0003
"""The attribute's number, for the error 420 of a server that cannot answer from elsewhere."""
_USERNAME_BYTES_MAX: Final = 508


class Change(IntFlag):
    """Says from where else an answer shall come (RFC 5780 section 7.2)."""

    NONE = 0
    PORT = 2
    ADDRESS = 4


class _Type(IntEnum):
    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = CHANGE_REQUEST
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    RESPONSE_PORT = 0x0027
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


class Stun(msgspec.Struct, frozen=True, kw_only=True):
    """Is one STUN message; what it does not carry is None, False, "" or ().

    `unknown` are the attributes in it that must be understood and are not: a request with any is answered with error
    420 and these numbers, a response with any is dropped (RFC 8489 section 6.3). `unknown_attributes` are the numbers
    that a 420 from the other side complains of. Integrity is only claimed by `has_integrity`: call `verify_integrity`.
    `change` and `response_port` are a request's wishes, `origin` is from where an answer says that it comes, `other`
    from where the server would answer with `Change.PORT | Change.ADDRESS`: claims all of them.
    """

    cls: StunClass
    method: int
    transaction: bytes
    mapped: Address | None = None
    xor_mapped: Address | None = None
    username: str | None = None
    priority: int | None = None
    use_candidate: bool = False
    ice_controlling: int | None = None
    ice_controlled: int | None = None
    error_code: int | None = None
    error_reason: str = ""
    unknown_attributes: tuple[int, ...] = ()
    software: str | None = None
    unknown: tuple[int, ...] = ()
    change: Change | None = None
    response_port: int | None = None
    origin: Address | None = None
    other: Address | None = None
    has_integrity: bool = False
    has_fingerprint: bool = False

    @property
    def address(self) -> Address | None:
        """Returns the reflexive address in it, the XORed one if there are two (RFC 8489 section 14.2 tells why)."""
        return self.xor_mapped or self.mapped


def build_binding_indication(transaction: bytes) -> bytes:
    """Returns a Binding indication: a datagram that means nothing to who gets it (RFC 8489 section 12, RFC 8445
    section 11), for the sake of the boxes that it goes through.

    Args:
        transaction: 12 random bytes.
    """
    return _build(StunClass.INDICATION, transaction, (), None)


def build_binding_request(
    transaction: bytes,
    *,
    username: str | None = None,
    password: str | None = None,
    priority: int | None = None,
    controlling: int | None = None,
    controlled: int | None = None,
    use_candidate: bool = False,
    change: Change | None = None,
    response_port: int | None = None,
) -> bytes:
    """Returns a Binding request: a question to a server, or with a password a check of a path.

    Args:
        transaction: 12 random bytes.
        username: "THEIRS:OURS" of the two user fragments (RFC 8445 section 7.2.2), at most 508 bytes.
        password: the receiver's, ASCII; adds MESSAGE-INTEGRITY and FINGERPRINT.
        priority: of the candidate that the receiver may learn from this, 32 bits.
        controlling: tie-breaker of 64 bits, where this side controls; excludes `controlled`.
        controlled: the same, where the other side does.
        use_candidate: nominates the path; the controlling side's to say.
        change: from where else a server shall answer.
        response_port: to which port of ours it shall answer, 1..65535, if not to the one that asks.
    Raises:
        ValueError: built wrongly: a bad transaction, or ICE attributes without password or with both roles
            (OverflowError: a number that does not fit its bits).
    """
    has_ice = priority is not None or controlling is not None or controlled is not None or use_candidate
    if has_ice and (username is None or password is None):
        raise ValueError("a check needs a user name and a password")
    if controlling is not None and controlled is not None:
        raise ValueError("one side is either controlling or controlled")
    attributes: list[tuple[int, bytes]] = []
    if change is not None:
        attributes.append((_Type.CHANGE_REQUEST, change.to_bytes(4)))
    if response_port is not None:
        attributes.append((_Type.RESPONSE_PORT, response_port.to_bytes(2) + bytes(2)))
    if username is not None:
        value = username.encode()
        if len(value) > _USERNAME_BYTES_MAX:
            raise ValueError(f"a user name of {len(value)} bytes is over {_USERNAME_BYTES_MAX}")
        attributes.append((_Type.USERNAME, value))
    if priority is not None:
        attributes.append((_Type.PRIORITY, priority.to_bytes(4)))
    if controlling is not None:
        attributes.append((_Type.ICE_CONTROLLING, controlling.to_bytes(8)))
    if controlled is not None:
        attributes.append((_Type.ICE_CONTROLLED, controlled.to_bytes(8)))
    if use_candidate:
        attributes.append((_Type.USE_CANDIDATE, b""))
    return _build(StunClass.REQUEST, transaction, attributes, password)


def build_binding_response(
    transaction: bytes,
    address: Address,
    *,
    password: str | None = None,
    origin: Address | None = None,
    other: Address | None = None,
) -> bytes:
    """Returns the success that tells a requester its `address`.

    Args:
        transaction: the request's.
        address: where the request came from.
        password: the one that the request came with.
        origin: from where this answer goes (RESPONSE-ORIGIN).
        other: from where the server can answer besides (OTHER-ADDRESS).
    """
    attributes = [(int(_Type.XOR_MAPPED_ADDRESS), build_address_value(address, xor_mask(transaction)))]
    for type_, told in ((_Type.RESPONSE_ORIGIN, origin), (_Type.OTHER_ADDRESS, other)):
        if told is not None:
            attributes.append((type_, build_address_value(told, bytes(16))))
    return _build(StunClass.SUCCESS, transaction, attributes, password)


def build_binding_error(
    transaction: bytes, code: int, reason: str, *, password: str | None = None, unknown: Sequence[int] = ()
) -> bytes:
    """Returns an error response.

    Args:
        transaction: the request's.
        code: 300..699, such as 400 (malformed), 401 (wrong password), 420 (unknown attributes), 487 (role conflict).
        reason: words for people, at most 763 bytes.
        password: the request's, where it was right (RFC 8489 section 9.1.4: none with 400 and 401).
        unknown: for a 420, the `Stun.unknown` of the request.
    Raises:
        ValueError: built wrongly.
    """
    text = reason.encode()
    if not 300 <= code <= 699 or len(text) > TEXT_BYTES_MAX:
        raise ValueError(f"not a STUN error: {code} {reason!r}")
    attributes = [(int(_Type.ERROR_CODE), bytes((0, 0, code // 100, code % 100)) + text)]
    if unknown:
        attributes.append((_Type.UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown)))
    return _build(StunClass.ERROR, transaction, attributes, password)


def parse_stun(data: bytes | memoryview) -> Stun:
    """Returns the message in a datagram.

    Attributes behind MESSAGE-INTEGRITY, but for FINGERPRINT, are passed over, and of two of a kind the first counts.

    Args:
        data: one whole UDP payload, any bytes.
    Raises:
        PeerError: reason "short", "long", "type", "header", "cookie", "format" or "integrity" (FINGERPRINT); drop it.
    Source:
        RFC 8489 sections 6.3 and 14.
    """
    data = bytes(data)
    cls, method, transaction = parse_stun_header(data, CONTROL_BYTES_MAX)
    fields: dict[str, object] = {}
    unknown: list[int] = []
    protected = False
    for type_, start, value in parse_attributes(data):
        if type_ == _Type.FINGERPRINT:
            check_fingerprint(data, start, value)
            fields["has_fingerprint"] = True
        elif protected:
            continue
        elif type_ == _Type.MESSAGE_INTEGRITY:
            if len(value) != 20:
                raise PeerError("format", "MESSAGE-INTEGRITY")
            protected = fields["has_integrity"] = True
        elif not _parse_attribute(type_, value, transaction, fields) and type_ < 0x8000 and type_ not in unknown:
            unknown.append(type_)
    return Stun(cls=cls, method=method, transaction=transaction, unknown=tuple(unknown), **fields)  # type: ignore[arg-type]


def verify_integrity(data: bytes | memoryview, password: str) -> None:
    """Returns if MESSAGE-INTEGRITY is there and was made with `password` (short-term, RFC 8489 section 9.1).

    Args:
        data: the datagram that `parse_stun` took; other bytes are safe too.
        password: ours for a request, the other side's for an answer to ours.
    Raises:
        PeerError: reason "integrity", or those of `parse_stun` for a broken layout; drop it, or answer it with 401.
    """
    data = bytes(data)
    parse_stun_header(data, CONTROL_BYTES_MAX)
    for type_, start, value in parse_attributes(data):
        if type_ == _Type.MESSAGE_INTEGRITY:
            if is_integrity(data, start, value, password.encode()):
                return
            break
    raise PeerError("integrity")


def _build(cls: StunClass, transaction: bytes, attributes: Sequence[tuple[int, bytes]], password: str | None) -> bytes:
    data = build_layout(cls, BINDING, transaction, attributes)
    if password is not None:
        data = build_fingerprinted(build_protected(data, password.encode()))
    if len(data) > CONTROL_BYTES_MAX:
        raise ValueError(f"a STUN message of {len(data)} bytes is over {CONTROL_BYTES_MAX}")
    return data


# --- attributes ---


def _parse_attribute(type_: int, value: bytes, transaction: bytes, fields: dict[str, object]) -> bool:
    """Adds an attribute to `fields` unless one of its kind is there; returns whether its type is known."""
    match type_:
        case _Type.MAPPED_ADDRESS:
            fields.setdefault("mapped", parse_address_value(value, bytes(16)))
        case _Type.XOR_MAPPED_ADDRESS:
            fields.setdefault("xor_mapped", parse_address_value(value, xor_mask(transaction)))
        case _Type.USERNAME:
            fields.setdefault("username", _parse_username(value))
        case _Type.PRIORITY:
            fields.setdefault("priority", parse_number_value(value, 4))
        case _Type.USE_CANDIDATE:
            parse_number_value(value, 0)
            fields["use_candidate"] = True
        case _Type.ICE_CONTROLLING:
            fields.setdefault("ice_controlling", parse_number_value(value, 8))
        case _Type.ICE_CONTROLLED:
            fields.setdefault("ice_controlled", parse_number_value(value, 8))
        case _Type.ERROR_CODE:
            if "error_code" not in fields:
                fields["error_code"], fields["error_reason"] = parse_error_value(value)
        case _Type.UNKNOWN_ATTRIBUTES:
            if len(value) % 2:
                raise PeerError("format", "UNKNOWN-ATTRIBUTES")
            fields.setdefault("unknown_attributes", struct.unpack(f"!{len(value) // 2}H", value))
        case _Type.CHANGE_REQUEST:
            fields.setdefault("change", Change(parse_number_value(value, 4) & (Change.PORT | Change.ADDRESS)))
        case _Type.RESPONSE_PORT:
            fields.setdefault("response_port", _parse_port(value))
        case _Type.RESPONSE_ORIGIN:
            fields.setdefault("origin", parse_address_value(value, bytes(16)))
        case _Type.OTHER_ADDRESS:
            fields.setdefault("other", parse_address_value(value, bytes(16)))
        case _Type.SOFTWARE:
            fields.setdefault("software", parse_text_value(value))
        case _:
            return False
    return True


def _parse_port(value: bytes) -> int:
    """Returns the port in RESPONSE-PORT: two bytes and two of padding, which some count and some do not."""
    port = int.from_bytes(value[:2])
    if len(value) not in (2, 4) or not port:
        raise PeerError("format", "RESPONSE-PORT")
    return port


def _parse_username(value: bytes) -> str:
    if len(value) > _USERNAME_BYTES_MAX:
        raise PeerError("format", "USERNAME")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise PeerError("format", "USERNAME") from error
