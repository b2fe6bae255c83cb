"""The host stack behind a TAP: just enough of ARP, IPv4, ICMP echo and UDP to be an ordinary computer on the Ethernet.

It stands where the kernel stands in production, above the engine, and knows nothing of ntvl. Frames of other kinds are
kept as they came, so a scenario can send and expect any ethertype.

Sources: RFC 826 (ARP), RFC 791, RFC 792, RFC 768, RFC 1071 (checksum).
"""

import ipaddress
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ntvl.wire.ethernet import ARP, BROADCAST, ETHERNET_BYTES, IPV4

__all__ = ["Datagram", "Station", "build_frame", "build_udp_frame"]

_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_ICMP: Final = struct.Struct("!BBHHH")
_ARP_RETRY_S: Final = 1.0
_ARP_TRIES: Final = 3
_WAITING_MAX: Final = 256
"""Packets kept while an address is resolved; the kernel keeps about as many (unres_qlen_bytes)."""

Plan = Callable[[float, Callable[[], None]], object]
"""Plans an action for so many seconds from now."""


class Datagram(NamedTuple):
    """Is one UDP datagram that arrived: when (simulator's time), from whom, to which of our ports, and to which
    address.
    """

    at: float
    source: str
    source_port: int
    destination: str
    port: int
    data: bytes


def build_frame(destination: bytes, source: bytes, ethertype: int, payload: bytes) -> bytes:
    """Returns an Ethernet frame, padded to the 60 bytes that a wire needs."""
    return (destination + source + ethertype.to_bytes(2, "big") + payload).ljust(60, b"\0")


def build_udp_frame(
    destination: bytes, source: bytes, packet: tuple[str, str], ports: tuple[int, int], data: bytes
) -> bytes:
    """Returns a frame with an IPv4 UDP datagram; `packet` is its (source, destination), `ports` likewise."""
    body = _UDP.pack(*ports, _UDP.size + len(data), 0) + data
    return build_frame(destination, source, IPV4, _build_ip(packet[0], packet[1], 17, body))


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _build_ip(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    addresses = ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address(destination).packed
    header = _IP.pack(0x45, 0, _IP.size + len(body), 0, 0x4000, 64, protocol, 0, *addresses)
    return header[:10] + _checksum(header).to_bytes(2, "big") + header[12:] + body


class Station:
    """Is one computer on the virtual Ethernet.

    Args:
        send: takes each frame that it sends.
        plan: how it waits.
        clock: the simulator's time, for what it notes.
    """

    def __init__(self, send: Callable[[bytes], None], plan: Plan, clock: Callable[[], float]) -> None:
        self.mac = bytes(6)
        self.addresses: tuple[str, ...] = ()
        """Its addresses, CIDR text, as the node assigned them."""
        self.datagrams: list[Datagram] = []
        """Every UDP datagram for one of its addresses, a broadcast or a multicast address."""
        self.frames: list[bytes] = []
        """Every frame that arrived, whole."""
        self.echoes: dict[tuple[int, int], float] = {}
        """When the answer to each ping came, by (identifier, sequence)."""
        self.neighbours: dict[str, bytes] = {}
        self.drops: dict[str, int] = {}
        """What it gave up: "unresolved" (nobody answered ARP), "checksum", "format"."""
        self._send = send
        self._plan = plan
        self._clock = clock
        self._waiting: dict[str, list[bytes]] = {}

    @property
    def ipv4(self) -> str:
        """Returns its IPv4 address, or "" while it has none."""
        return next((a.partition("/")[0] for a in self.addresses if ":" not in a), "")

    @property
    def ipv6(self) -> str:
        """Returns its IPv6 address, or "" while it has none."""
        return next((a.partition("/")[0] for a in self.addresses if ":" in a), "")

    def assign(self, addresses: tuple[str, ...]) -> None:
        """Takes exactly these addresses; announces the IPv4 one, as kernels do (RFC 5227 section 3)."""
        self.addresses = addresses
        if self.ipv4:
            own = ipaddress.IPv4Address(self.ipv4).packed
            self.send_frame(BROADCAST, ARP, _ARP.pack(1, IPV4, 6, 4, 1, self.mac, own, bytes(6), own))

    def send_frame(self, destination: bytes, ethertype: int, payload: bytes, source: bytes | None = None) -> None:
        """Sends a frame of any kind; `source` other than None claims another MAC."""
        self._send(build_frame(destination, source or self.mac, ethertype, payload))

    def send_udp(self, destination: str, port: int, data: bytes, *, source_port: int = 9000) -> None:
        """Sends a UDP datagram; resolves the address first, unless it is a broadcast or multicast one."""
        self._send_ip(destination, 17, _UDP.pack(source_port, port, _UDP.size + len(data), 0) + data)

    def send_echo(self, destination: str, identifier: int, sequence: int, data: bytes = b"ntvl") -> None:
        """Sends a ping; `echoes` says when it was answered."""
        self._send_ip(destination, 1, self._build_echo(8, identifier, sequence, data))

    def handle_frame(self, frame: bytes) -> None:
        """Takes a frame from the engine."""
        self.frames.append(frame)
        destination, ethertype = frame[:6], int.from_bytes(frame[12:14], "big")
        if destination != self.mac and not destination[0] & 1:
            return
        body = frame[ETHERNET_BYTES:]
        try:
            if ethertype == ARP:
                self._handle_arp(body)
            elif ethertype == IPV4:
                self._handle_ip(body)
        except struct.error:
            self._count("format")

    def _handle_arp(self, body: bytes) -> None:
        _, _, _, _, operation, mac, sender, _, target = _ARP.unpack(body[: _ARP.size])
        host = str(ipaddress.IPv4Address(sender))
        ours = bool(self.ipv4) and target == ipaddress.IPv4Address(self.ipv4).packed
        if ours or host in self.neighbours:
            self.neighbours[host] = mac
        for packet in self._waiting.pop(host, ()) if ours else ():
            self._send(build_frame(mac, self.mac, IPV4, packet))
        if ours and operation == 1 and sender != target:
            self._send(build_frame(mac, self.mac, ARP, _ARP.pack(1, IPV4, 6, 4, 2, self.mac, target, mac, sender)))

    def _handle_ip(self, body: bytes) -> None:
        _, _, length, _, _, _, protocol, _, source_bytes, destination_bytes = _IP.unpack(body[: _IP.size])
        if _checksum(body[: _IP.size]):
            self._count("checksum")
            return
        source, destination = str(ipaddress.IPv4Address(source_bytes)), str(ipaddress.IPv4Address(destination_bytes))
        if destination != self.ipv4 and not self._is_group(destination):
            return
        data = body[_IP.size : length]
        if protocol == 17:
            source_port, port, size, _ = _UDP.unpack(data[: _UDP.size])
            payload = data[_UDP.size : size]
            self.datagrams.append(Datagram(self._clock(), source, source_port, destination, port, payload))
        elif protocol == 1:
            kind, _, _, identifier, sequence = _ICMP.unpack(data[: _ICMP.size])
            if _checksum(data):
                self._count("checksum")
            elif kind == 8 and destination == self.ipv4:
                self._send_ip(source, 1, self._build_echo(0, identifier, sequence, data[_ICMP.size :]))
            elif kind == 0:
                self.echoes.setdefault((identifier, sequence), self._clock())

    @staticmethod
    def _build_echo(kind: int, identifier: int, sequence: int, data: bytes) -> bytes:
        body = _ICMP.pack(kind, 0, 0, identifier, sequence) + data
        return body[:2] + _checksum(body).to_bytes(2, "big") + body[4:]

    def _send_ip(self, destination: str, protocol: int, body: bytes) -> None:
        packet = _build_ip(self.ipv4 or "0.0.0.0", destination, protocol, body)
        if self._is_group(destination):
            group = ipaddress.IPv4Address(destination)
            multicast = b"\x01\x00\x5e" + (int(group) & 0x7FFFFF).to_bytes(3, "big")
            self._send(build_frame(multicast if group.is_multicast else BROADCAST, self.mac, IPV4, packet))
        elif destination in self.neighbours:
            self._send(build_frame(self.neighbours[destination], self.mac, IPV4, packet))
        elif destination in self._waiting:
            if len(self._waiting[destination]) < _WAITING_MAX:
                self._waiting[destination].append(packet)
        else:
            self._waiting[destination] = [packet]
            self._resolve(destination, _ARP_TRIES)

    def _resolve(self, host: str, tries: int) -> None:
        if host not in self._waiting:
            return
        if not tries:
            self.drops["unresolved"] = self.drops.get("unresolved", 0) + len(self._waiting.pop(host))
            return
        own, target = ipaddress.IPv4Address(self.ipv4 or "0.0.0.0").packed, ipaddress.IPv4Address(host).packed
        self._send(build_frame(BROADCAST, self.mac, ARP, _ARP.pack(1, IPV4, 6, 4, 1, self.mac, own, bytes(6), target)))
        self._plan(_ARP_RETRY_S, lambda: self._resolve(host, tries - 1))

    def _is_group(self, host: str) -> bool:
        ip = ipaddress.IPv4Address(host)
        if ip.is_multicast or int(ip) == 0xFFFFFFFF:
            return True
        networks = (ipaddress.IPv4Interface(a).network for a in self.addresses if ":" not in a)
        return any(ip == network.broadcast_address for network in networks)

    def _count(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1
