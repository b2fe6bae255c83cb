"""A router's port mapping on virtual time: what a home router does that speaks PCP and NAT-PMP, or one of them.

It is the other side of `wire.pcp` and `wire.natpmp`, as far as a node goes: one UDP port at a time, leases that end, an
epoch that starts anew when the router does. The external port is the internal one where that is free.

Source: RFC 6887 sections 7.2, 9, 11 and 14.1; RFC 6886 sections 3.2 to 3.5.
"""

import ipaddress
import struct
from collections.abc import Collection
from typing import Final

from ntvl.sim.nat import Nat
from ntvl.wire.address import Address
from ntvl.wire.natpmp import NATPMP_VERSION, NatPmpResult
from ntvl.wire.pcp import PCP_VERSION, PcpOpcode, PcpResult

__all__ = ["PROTOCOLS", "MappingService"]

PROTOCOLS: Final = ("pcp", "natpmp")

_RESPONSE_BIT: Final = 0x80
_PCP_HEAD: Final = struct.Struct("!BBxBII12x")
_PCP_BYTES_MIN: Final = 24
_PCP_MAP_BYTES: Final = 60
_NATPMP_HEAD: Final = struct.Struct("!BBHI")
_NATPMP_MAP: Final = struct.Struct("!BBxxHHI")
_UDP_OPCODE: Final = 1
_UP_S: Final = 86_400.0
"""How long a router has been up when the simulation starts."""


class MappingService:
    """Answers for one router.

    Args:
        protocols: of `PROTOCOLS`, which it speaks.
        nat: where its mappings are.
        now: the simulator's time.
    """

    def __init__(self, protocols: Collection[str], nat: Nat, now: float) -> None:
        self.protocols = frozenset(protocols)
        self.asked: list[bytes] = []
        """Every request, in order."""
        self._nat = nat
        self._booted = now - _UP_S

    def reboot(self, now: float) -> None:
        """Starts the epoch anew; the NAT forgets the mappings itself."""
        self._booted = now

    def handle_request(self, data: bytes, source: Address, now: float) -> bytes | None:
        """Returns the answer to a datagram from inside, or None where there is none."""
        self.asked.append(data)
        if data[:1] == bytes((PCP_VERSION,)) and len(data) >= _PCP_BYTES_MIN:
            return self._answer_pcp(data, source, now)
        if data[:1] == bytes((NATPMP_VERSION,)) and len(data) >= 2:
            return self._answer_natpmp(data, source, now)
        return None

    def _epoch(self, now: float) -> int:
        return int(now - self._booted)

    def _answer_pcp(self, data: bytes, source: Address, now: float) -> bytes | None:
        opcode, epoch = data[1], self._epoch(now)
        if "pcp" not in self.protocols:
            unknown = NatPmpResult.UNSUPPORTED_VERSION
            return _NATPMP_HEAD.pack(0, _RESPONSE_BIT | opcode, unknown, epoch) if self.protocols else None
        client = ipaddress.IPv6Address(data[8:24]).ipv4_mapped
        result, lifetime_s = PcpResult.SUCCESS, int.from_bytes(data[4:8], "big")
        if str(client) != source.host:
            result = PcpResult.ADDRESS_MISMATCH
        if opcode != PcpOpcode.MAP or len(data) < _PCP_MAP_BYTES:
            return _PCP_HEAD.pack(PCP_VERSION, _RESPONSE_BIT | opcode, result, 0, epoch)
        port = int.from_bytes(data[40:42], "big")
        external = Address(self._nat.address, port)
        if result is PcpResult.SUCCESS:
            external = self._map(Address(source.host, port), lifetime_s, now) or external
        head = _PCP_HEAD.pack(PCP_VERSION, _RESPONSE_BIT | opcode, result, lifetime_s, epoch)
        packed = bytes(10) + b"\xff\xff" + ipaddress.IPv4Address(external.host).packed
        return head + data[24:40] + struct.pack("!HH", port, external.port) + packed

    def _answer_natpmp(self, data: bytes, source: Address, now: float) -> bytes | None:
        opcode, epoch = data[1], self._epoch(now)
        if "natpmp" not in self.protocols:
            unknown = PcpResult.UNSUPP_VERSION
            head = _PCP_HEAD.pack(PCP_VERSION, _RESPONSE_BIT | opcode, unknown, 0, epoch)
            return head if self.protocols else None
        head = _NATPMP_HEAD.pack(NATPMP_VERSION, _RESPONSE_BIT | opcode, NatPmpResult.SUCCESS, epoch)
        if opcode == 0:
            return head + ipaddress.IPv4Address(self._nat.address).packed
        if opcode != _UDP_OPCODE or len(data) < _NATPMP_MAP.size:
            return _NATPMP_HEAD.pack(0, _RESPONSE_BIT | opcode, NatPmpResult.UNSUPPORTED_OPCODE, epoch)
        _, _, port, _, lifetime_s = _NATPMP_MAP.unpack_from(data)
        external = self._map(Address(source.host, port), lifetime_s, now)
        return head + struct.pack("!HHI", port, external.port if external else 0, lifetime_s)

    def _map(self, internal: Address, lifetime_s: int, now: float) -> Address | None:
        if lifetime_s:
            return self._nat.forward(internal, now + lifetime_s, now)
        self._nat.unforward(internal)
        return None
