"""The NAT Port Mapping Protocol (RFC 6886), which older gateways speak on the port of PCP, for IPv4 only.

    external address   request   version 0 | 0                                                       2 bytes
                       response  0 | 128 | result u16 | epoch u32 | address 4                       12 bytes
    map UDP            request   0 | 1 | zero u16 | internal port | external port | lifetime u32    12 bytes
                       response  0 | 129 | result u16 | epoch u32 | internal | external | lifetime  16 bytes

Source: RFC 6886 sections 3.2 (external address), 3.3 (mapping), 3.4 (removal), 3.5 (result codes).
"""

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ntvl.errors import PeerError

__all__ = [
    "NATPMP_BYTES_MAX",
    "NATPMP_VERSION",
    "NatPmpAddress",
    "NatPmpMapping",
    "NatPmpResult",
    "build_natpmp_address_request",
    "build_natpmp_map_request",
    "parse_natpmp_response",
]

NATPMP_VERSION: Final = 0
NATPMP_BYTES_MAX: Final = 64
"""Of a response; more than any has (16), so that a longer one is recognised as something else."""

_ADDRESS_OPCODE: Final = 0
_MAP_UDP_OPCODE: Final = 1
_RESPONSE_BIT: Final = 0x80
_MAP: Final = struct.Struct("!BBxxHHI")
_HEAD: Final = struct.Struct("!BBHI")
_PORTS: Final = struct.Struct("!HHI")


class NatPmpResult(IntEnum):
    """Says how a request fared (RFC 6886 section 3.5)."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@dataclass(frozen=True, slots=True)
class NatPmpAddress:
    """Is the gateway's external address, or why it tells none.

    Attributes:
        result: 0..65535; a `NatPmpResult` where the number has a name.
        epoch_s: seconds since the gateway lost its memory, 0..2^32-1.
        host: literal IPv4; empty with an error.
    """

    result: int
    epoch_s: int
    host: str


@dataclass(frozen=True, slots=True)
class NatPmpMapping:
    """Is a mapping, or why there is none; ports 0..65535, `lifetime_s` 0..2^32-1, all 0 with an error that is short."""

    result: int
    epoch_s: int
    internal_port: int = 0
    external_port: int = 0
    lifetime_s: int = 0


def build_natpmp_address_request() -> bytes:
    """Returns the question for the gateway's external address."""
    return bytes((NATPMP_VERSION, _ADDRESS_OPCODE))


def build_natpmp_map_request(port: int, *, lifetime_s: int, external_port: int = 0) -> bytes:
    """Returns the request for a mapping of a UDP port.

    Args:
        port: our port, 1..65535.
        lifetime_s: 1..2^32-1, or 0 for the end of the mapping.
        external_port: which to map to if possible, 0 for any, and for the end (section 3.4).
    """
    return _MAP.pack(NATPMP_VERSION, _MAP_UDP_OPCODE, port, external_port, lifetime_s)


def parse_natpmp_response(data: bytes) -> NatPmpAddress | NatPmpMapping:
    """Returns what a gateway says. An error may be cut off behind the epoch (section 3.5).

    Raises:
        PeerError: reason "short", "long", "version" (not 0) or "type" (a request, or not the answer to one of ours);
        count it and keep waiting.
    """
    if len(data) < _HEAD.size:
        raise PeerError("short")
    if len(data) > NATPMP_BYTES_MAX:
        raise PeerError("long")
    version, opcode, result, epoch_s = _HEAD.unpack_from(data)
    if version != NATPMP_VERSION:
        raise PeerError("version")
    body = data[_HEAD.size :]
    if opcode == _RESPONSE_BIT | _ADDRESS_OPCODE:
        if result:
            return NatPmpAddress(result, epoch_s, "")
        if len(body) < 4:
            raise PeerError("short")
        return NatPmpAddress(result, epoch_s, str(ipaddress.IPv4Address(body[:4])))
    if opcode == _RESPONSE_BIT | _MAP_UDP_OPCODE:
        if len(body) >= _PORTS.size:
            return NatPmpMapping(result, epoch_s, *_PORTS.unpack_from(body))
        if result:
            return NatPmpMapping(result, epoch_s)
        raise PeerError("short")
    raise PeerError("type")
