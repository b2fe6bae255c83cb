"""The virtio network header, and the arithmetic of super-frames.

A TAP with offloads hands out frames of up to 64 KiB behind a 10-byte header that says what is still to be done: fill
in a checksum, cut the payload every `gso_size` bytes. ntvl carries that header to the other side, so on the usual
path nothing is computed and nothing rewritten. Only when a part of a super-frame has to stand alone (the rest was
lost, or the other kernel cannot cut UDP) do its headers change, and this module says how.

    flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 | csum_start u16 | csum_offset u16      little-endian
    (TUNSETVNETLE)

`hdr_len` is a hint that kernels fill in differently; it is never trusted. All offsets here count from the virtio
header's first byte, so that they are valid in the buffer that is read from and written to a TAP. Sources: virtio 1.2
section 5.1.6; Linux include/linux/virtio_net.h.
"""

import struct
from typing import Final, NamedTuple

from ntvl.errors import PeerError
from ntvl.wire.ethernet import ETHERNET_BYTES, IPV4, IPV6, VLAN_TYPES

__all__ = [
    "GSO_ECN",
    "GSO_NONE",
    "GSO_TCPV4",
    "GSO_TCPV6",
    "GSO_UDP",
    "HEADERS_MAX",
    "NEEDS_CSUM",
    "PLAIN",
    "SUPER_BYTES_MAX",
    "VNET",
    "VNET_BYTES",
    "SuperFrame",
    "build_part",
    "build_udp_super_frame",
    "checksum",
    "cut_super_frame",
    "parse_super_frame",
    "pseudo_checksum",
    "udp_payload_start",
]

VNET: Final = struct.Struct("<BBHHHH")
VNET_BYTES: Final = 10
PLAIN: Final = bytes(VNET_BYTES)
"""The header of a frame with which nothing is left to do."""

NEEDS_CSUM: Final = 1
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP: Final = 5
"""VIRTIO_NET_HDR_GSO_UDP_L4: one UDP header, many payloads (not the older GSO_UDP, 3, which fragments IP)."""
GSO_ECN: Final = 0x80

SUPER_BYTES_MAX: Final = VNET_BYTES + ETHERNET_BYTES + 8 + 65535
"""Largest buffer a TAP gives: virtio header, Ethernet with two VLAN tags, the largest IP packet."""

SEGMENTS_MAX: Final = 4096
"""More segments than any kernel makes of 64 KiB; a peer may not make ours do more work than that."""

HEADERS_MAX: Final = 256
"""More than virtio, Ethernet, IP and TCP headers take, unless they are made to annoy."""
_TCP: Final = 6
_UDP: Final = 17
_IPV4_PLAIN: Final = b"\x08\x00\x45"
_IPV6_PLAIN: Final = b"\x86\xdd"
_FIN_PSH: Final = 0x09
_CWR: Final = 0x80


class SuperFrame(NamedTuple):
    """Tells where things are in a super-frame: offsets from the virtio header's first byte, sizes in bytes.

    `network` and `transport` are where the IP and the TCP or UDP header start, `payload` where the payload does,
    `size` is how long the whole payload is, and `gso_size` how much of it each segment carries.
    """

    network: int
    transport: int
    payload: int
    size: int
    gso_size: int
    is_ipv6: bool
    is_tcp: bool


def parse_super_frame(buffer: bytes | memoryview) -> SuperFrame:
    """Returns the layout of a super-frame.

    Args:
        buffer: virtio header and frame; at least all headers, the payload may be missing or cut short.
    Raises:
        PeerError: reason "short", or "header" where it is no super-frame or its headers contradict each other;
            carry it whole or drop it.
    """
    if len(buffer) < VNET_BYTES + ETHERNET_BYTES + 28:
        raise PeerError("short")
    flags, gso_type, _, gso_size, csum_start, csum_offset = VNET.unpack_from(buffer)
    gso_type &= ~GSO_ECN
    if not flags & NEEDS_CSUM or gso_size == 0:
        raise PeerError("header", "a super-frame without checksum offload or segment size")
    network, ethertype = _find_network(buffer)
    is_ipv6 = ethertype == IPV6
    is_tcp = gso_type in (GSO_TCPV4, GSO_TCPV6)
    transport = VNET_BYTES + csum_start
    if gso_type not in (GSO_TCPV6, GSO_UDP) if is_ipv6 else gso_type not in (GSO_TCPV4, GSO_UDP):
        raise PeerError("header", "segmentation type and IP version differ")
    if csum_offset != (16 if is_tcp else 6) or transport + (20 if is_tcp else 8) > len(buffer):
        raise PeerError("header", "checksum outside the transport header")
    size = _payload_end(buffer, network, transport, is_ipv6, _TCP if is_tcp else _UDP)
    if is_tcp:
        header = buffer[transport + 12] >> 4 << 2
        if header < 20:
            raise PeerError("header", "TCP data offset")
    else:
        header = 8
    payload = transport + header
    size -= payload
    if size <= 0 or payload > HEADERS_MAX or payload > len(buffer) or size > gso_size * SEGMENTS_MAX:
        raise PeerError("header", "lengths contradict each other")
    return SuperFrame(network, transport, payload, size, gso_size, is_ipv6, is_tcp)


def build_part(headers: bytes | memoryview, layout: SuperFrame, offset: int, size: int) -> bytes:
    """Returns the virtio header and headers for a part of a super-frame, so that the part is valid alone.

    Args:
        headers: at least the first `layout.payload` bytes of the super-frame.
        offset: where in the payload the part starts; for UDP a multiple of `layout.gso_size`.
        size: bytes of payload in the part, at least 1.
    Source:
        RFC 9293 and Linux net/ipv4/tcp_offload.c, udp_offload.c: what segmentation does with each field.
    """
    part = bytearray(headers[: layout.payload])
    flags, gso_type, hdr_len, gso_size, csum_start, csum_offset = VNET.unpack_from(part)
    first, last = offset == 0, offset + size == layout.size
    if size <= gso_size:
        gso_type, hdr_len, gso_size = GSO_NONE, 0, 0
    elif not first:
        gso_type &= ~GSO_ECN
    VNET.pack_into(part, 0, flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)
    network, transport = layout.network, layout.transport
    if layout.is_ipv6:
        struct.pack_into("!H", part, network + 4, layout.payload - network - 40 + size)
        addresses = part[network + 8 : network + 40]
    else:
        (number,) = struct.unpack_from("!H", part, network + 4)
        number = (number + offset // layout.gso_size) & 0xFFFF
        struct.pack_into("!HH", part, network + 2, layout.payload - network + size, number)
        struct.pack_into("!H", part, network + 10, 0)
        struct.pack_into("!H", part, network + 10, checksum(part[network:transport]))
        addresses = part[network + 12 : network + 20]
    length = layout.payload - transport + size
    if layout.is_tcp:
        (sequence,) = struct.unpack_from("!I", part, transport + 4)
        struct.pack_into("!I", part, transport + 4, (sequence + offset) & 0xFFFFFFFF)
        clear = (0 if last else _FIN_PSH) | (0 if first else _CWR)
        part[transport + 13] &= ~clear & 0xFF
        struct.pack_into("!H", part, transport + 16, pseudo_checksum(addresses, _TCP, length))
    else:
        struct.pack_into("!HH", part, transport + 4, length, pseudo_checksum(addresses, _UDP, length))
    return bytes(part)


def cut_super_frame(buffer: bytes | memoryview) -> list[bytes]:
    """Returns the single frames that a super-frame stands for, each with virtio header, checksums still to be filled
    in.

    Raises:
        PeerError: as `parse_super_frame`, or "short" where payload is missing.
    """
    layout = parse_super_frame(buffer)
    if len(buffer) < layout.payload + layout.size:
        raise PeerError("short")
    frames = []
    for offset in range(0, layout.size, layout.gso_size):
        size = min(layout.gso_size, layout.size - offset)
        start = layout.payload + offset
        frames.append(build_part(buffer, layout, offset, size) + bytes(buffer[start : start + size]))
    return frames


def udp_payload_start(buffer: bytes) -> int:
    """Returns where the payload of a plain UDP packet starts (52 for IPv4, 72 for IPv6), or 0 for any other frame.

    Plain is: no VLAN tag, no IP options, no fragment nor allowed to become one, payload that is not empty, nothing
    behind it, and a checksum that is still to be filled in.
    """
    flags, gso_type, _, _, csum_start, csum_offset = VNET.unpack_from(buffer)
    if flags != NEEDS_CSUM or gso_type != GSO_NONE or csum_offset != 6:
        return 0
    size = len(buffer)
    if buffer.startswith(_IPV4_PLAIN, 22) and csum_start == 34 and size > 52:
        if buffer[30:32] == b"\x40\x00" and buffer[33] == _UDP and size - 24 == buffer[26] << 8 | buffer[27]:
            return 52 if size - 44 == buffer[48] << 8 | buffer[49] else 0
    elif buffer.startswith(_IPV6_PLAIN, 22) and csum_start == 54 and size > 72 and buffer[30] == _UDP:
        length = size - 64
        return 72 if length == buffer[28] << 8 | buffer[29] == buffer[68] << 8 | buffer[69] else 0
    return 0


def build_udp_super_frame(first: bytes, start: int, payload: bytes) -> bytes:
    """Returns the super-frame that stands for plain UDP packets with equal headers and equally long payloads.

    Args:
        first: the first packet; `start` is its `udp_payload_start`, which is not 0.
        payload: the payloads of all of them, in order.
    """
    length = 8 + len(payload)
    vnet = VNET.pack(NEEDS_CSUM, GSO_UDP, start - VNET_BYTES, len(first) - start, start - 8 - VNET_BYTES, 6)
    if start == 52:
        head = first[24:26] + struct.pack("!H", 20 + length) + first[28:34] + b"\0\0" + first[36:44]
        ip = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        addresses = first[36:44]
    else:
        ip = first[24:28] + struct.pack("!H", length) + first[30:64]
        addresses = first[32:64]
    udp = first[start - 8 : start - 4] + struct.pack("!HH", length, pseudo_checksum(addresses, _UDP, length))
    return b"".join((vnet, first[10:24], ip, udp, payload))


def checksum(data: bytes | bytearray | memoryview) -> int:
    """Returns the Internet checksum (RFC 1071) of an even number of bytes, ready for its field."""
    return 0xFFFF - _sum(data)


def pseudo_checksum(addresses: bytes | bytearray, protocol: int, length: int) -> int:
    """Returns what stands in the checksum field while the checksum is still to be filled in: the pseudo-header's sum.

    Args:
        addresses: source and destination, 8 or 32 bytes.
        protocol: 6 or 17.
        length: bytes of transport header and payload.
    """
    return _sum(addresses + struct.pack("!HI", protocol, length))


def _sum(data: bytes | bytearray | memoryview) -> int:
    # A ones' complement sum of 16-bit words is the number modulo 65535; 0 only stands for nothing but zeros.
    value = int.from_bytes(data, "big")
    return value % 0xFFFF or (0xFFFF if value else 0)


def _find_network(buffer: bytes | memoryview) -> tuple[int, int]:
    position = VNET_BYTES + 12
    for _ in range(3):
        ethertype = buffer[position] << 8 | buffer[position + 1]
        position += 2
        if ethertype not in VLAN_TYPES:
            if ethertype not in (IPV4, IPV6):
                break
            return position, ethertype
        position += 2
        if position + 2 > len(buffer):
            raise PeerError("short")
    raise PeerError("header", "no IP packet within two VLAN tags")


def _payload_end(buffer: bytes | memoryview, network: int, transport: int, is_ipv6: bool, protocol: int) -> int:
    if network + (40 if is_ipv6 else 20) > len(buffer):
        raise PeerError("short")
    if is_ipv6:
        if buffer[network] >> 4 != 6 or transport < network + 40:
            raise PeerError("header", "IPv6")
        if transport == network + 40 and buffer[network + 6] != protocol:
            raise PeerError("header", "IPv6 next header")
        return network + 40 + (buffer[network + 4] << 8 | buffer[network + 5])
    if buffer[network] >> 4 != 4 or buffer[network + 9] != protocol:
        raise PeerError("header", "IPv4")
    if transport != network + ((buffer[network] & 15) << 2) or transport < network + 20:
        raise PeerError("header", "IPv4 header length")
    if (buffer[network + 6] << 8 | buffer[network + 7]) & 0x3FFF:
        raise PeerError("header", "an IPv4 fragment")
    return network + (buffer[network + 2] << 8 | buffer[network + 3])
