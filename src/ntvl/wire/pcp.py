"""The Port Control Protocol (RFC 6887): what a computer asks its gateway for a mapping or a pinhole with, and answers.

    request    version 2 | opcode | zero u16 | lifetime u32 | client address 16                      24 bytes
    response   version 2 | 0x80 + opcode | zero | result | lifetime u32 | epoch u32 | zero 12        24 bytes
    MAP        nonce 12 | protocol | zero u8 x 3 | internal port | external port | external address  36 bytes
    options    code | zero | length u16 | data, zero to a multiple of 4

ANNOUNCE has no data of its own, so no nonce either. Addresses are IPv6, IPv4 ones IPv4-mapped (section 5). A MAP for a
client that has an IPv6 address makes a pinhole in a firewall, with the same bytes. No option is ever sent, THIRD_PARTY
least of all: a computer asks for itself alone.

Source: RFC 6887 sections 7 (formats), 7.4 (result codes), 11.1 (MAP), 14.1 (ANNOUNCE), 19.2 (port).
"""

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.address import unmapped

__all__ = [
    "PCP_BYTES_MAX",
    "PCP_MULTICAST_PORT",
    "PCP_NONCE_BYTES",
    "PCP_PORT",
    "PCP_UDP",
    "PCP_VERSION",
    "PcpOpcode",
    "PcpResponse",
    "PcpResult",
    "build_pcp_announce",
    "build_pcp_map",
    "parse_pcp_response",
]

PCP_VERSION: Final = 2
PCP_PORT: Final = 5351
"""Where a gateway listens, for PCP and NAT-PMP alike (RFC 6887 section 19.2, RFC 6886 section 3)."""
PCP_MULTICAST_PORT: Final = 5350
"""Where computers hear a gateway's announcements, at 224.0.0.1 and ff02::1 (section 14.1)."""
PCP_BYTES_MAX: Final = 1100
"""Section 7."""
PCP_NONCE_BYTES: Final = 12
PCP_UDP: Final = 17

_RESPONSE_BIT: Final = 0x80
_REQUEST: Final = struct.Struct("!BB2xI16s")
_RESPONSE: Final = struct.Struct("!BBxBII12x")
_MAP: Final = struct.Struct("!12sB3xHH16s")
_OPTION: Final = struct.Struct("!BxH")


class PcpOpcode(IntEnum):
    """Says what a request is for."""

    ANNOUNCE = 0
    MAP = 1


class PcpResult(IntEnum):
    """Says how a request fared (RFC 6887 section 7.4)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@dataclass(frozen=True, slots=True)
class PcpResponse:
    """Is an answer, or an announcement that nobody asked for.

    Attributes:
        result: 0..255; a `PcpResult` where the number has a name.
        lifetime_s: of the mapping, or how long the error will last; 0..2^32-1.
        epoch_s: seconds since the gateway lost its memory, 0..2^32-1.
        nonce: 12 bytes, of a MAP; empty for an ANNOUNCE, and for an error that came without the request's data.
        protocol: of a MAP, 17 for UDP.
        internal_port, external_port: of a MAP, 0..65535.
        external_host: of a MAP, literal; "0.0.0.0" or "::" where there is none.
    """

    opcode: PcpOpcode
    result: int
    lifetime_s: int
    epoch_s: int
    nonce: bytes = b""
    protocol: int = 0
    internal_port: int = 0
    external_port: int = 0
    external_host: str = ""


def build_pcp_announce(client: str) -> bytes:
    """Returns the question whether the gateway still knows what it knew: 24 bytes.

    Args:
        client: our literal address, the one that the question is sent from.
    """
    return _REQUEST.pack(PCP_VERSION, PcpOpcode.ANNOUNCE, 0, _pack(client))


def build_pcp_map(
    client: str, nonce: bytes, port: int, *, lifetime_s: int, external_host: str = "", external_port: int = 0
) -> bytes:
    """Returns the request for a mapping of a UDP port, or for its end: 60 bytes.

    Args:
        client: our literal address, the one that the request is sent from; IPv6 asks for a pinhole.
        nonce: 12 random bytes, the same as long as the mapping lives (section 11.2).
        port: our port, 1..65535.
        lifetime_s: 1..2^32-1, or 0 for the end of the mapping.
        external_host, external_port: what to map to if possible: what was given before; empty and 0 for any.
    """
    any_host = "::" if ":" in client else "0.0.0.0"
    head = _REQUEST.pack(PCP_VERSION, PcpOpcode.MAP, lifetime_s, _pack(client))
    return head + _MAP.pack(nonce, PCP_UDP, port, external_port, _pack(external_host or any_host))


def parse_pcp_response(data: bytes) -> PcpResponse:
    """Returns what a gateway says.

    Options are passed over: none was asked for. An error "version" comes also from a gateway of another version, whose
    answer may have a header only (section 9), so it needs no MAP data.

    Raises:
        PeerError: reason "short", "long", "version" (not 2), "type" (a request, or an opcode that is not ours) or
        "format" (its length, or its options); count it and keep waiting.
    """
    if len(data) < _RESPONSE.size:
        raise PeerError("short")
    if len(data) > PCP_BYTES_MAX:
        raise PeerError("long")
    version, opcode, result, lifetime_s, epoch_s = _RESPONSE.unpack_from(data)
    if version != PCP_VERSION and (version == 0 or result != PcpResult.UNSUPP_VERSION):  # 0 is NAT-PMP
        raise PeerError("version")
    if opcode not in (_RESPONSE_BIT | PcpOpcode.ANNOUNCE, _RESPONSE_BIT | PcpOpcode.MAP):
        raise PeerError("type")
    if len(data) % 4:
        raise PeerError("format", "length")
    opcode = PcpOpcode(opcode & ~_RESPONSE_BIT)
    if opcode is PcpOpcode.ANNOUNCE or result == PcpResult.UNSUPP_VERSION:
        return PcpResponse(opcode, result, lifetime_s, epoch_s)
    if len(data) < _RESPONSE.size + _MAP.size:
        raise PeerError("short")
    _check_options(data, _RESPONSE.size + _MAP.size)
    nonce, protocol, internal_port, external_port, external = _MAP.unpack_from(data, _RESPONSE.size)
    host = unmapped(ipaddress.IPv6Address(external))
    return PcpResponse(opcode, result, lifetime_s, epoch_s, nonce, protocol, internal_port, external_port, str(host))


def _check_options(data: bytes, at: int) -> None:
    while at < len(data):
        _, length = _OPTION.unpack_from(data, at)  # whole: the length is a multiple of 4
        at += _OPTION.size + (length + 3) // 4 * 4
    if at > len(data):
        raise PeerError("format", "option")


def _pack(host: str) -> bytes:
    ip = ipaddress.ip_address(host)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed
