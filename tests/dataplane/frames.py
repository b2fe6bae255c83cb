"""Frames, and an independent idea of what segmentation and checksums are: nothing here uses what it tests."""

import ipaddress
import itertools
import struct

MAC_A = bytes.fromhex("020000000a01")
MAC_B = bytes.fromhex("020000000b02")
MAC_C = bytes.fromhex("020000000c03")
IP_A, IP_B, IP_C = "10.77.0.1", "10.77.0.2", "10.77.0.3"
IP6_A, IP6_B, IP6_C = "fd00::a", "fd00::b", "fd00::c"

VNET = struct.Struct("<BBHHHH")
PLAIN = bytes(10)


def ones_sum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total


def address_bytes(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def ip_header(source: str, target: str, protocol: int, length: int, number: int = 1) -> bytes:
    s, t = address_bytes(source), address_bytes(target)
    if len(s) == 16:
        return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + s + t
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, number, 0x4000, 64, protocol, 0) + s + t
    check = 0xFFFF - ones_sum(head)
    return head[:10] + struct.pack("!H", check) + head[12:]


def pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    s, t = address_bytes(source), address_bytes(target)
    return s + t + struct.pack("!IHH", length, 0, protocol)


def tcp_super(
    payload: bytes,
    *,
    mss: int = 1308,
    source: str = IP_A,
    target: str = IP_B,
    flags: int = 0x18,
    sequence: int = 0xFFFFFF00,
    options: bytes = b"\x01\x01\x08\x0a" + bytes(8),
    number: int = 7,
    tags: bytes = b"",
    source_mac: bytes = MAC_A,
    target_mac: bytes = MAC_B,
) -> bytes:
    """Returns a TCP super-frame as a kernel hands it out: pseudo-header checksum only."""
    v6 = ":" in source
    length = 20 + len(options) + len(payload)
    check = ones_sum(pseudo(source, target, 6, length))
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, sequence, 77, (20 + len(options)) << 2, flags, 500, check, 0) + options
    ethernet = target_mac + source_mac + tags + (b"\x86\xdd" if v6 else b"\x08\x00")
    start = len(ethernet) + (40 if v6 else 20)
    vnet = VNET.pack(1, 4 if v6 else 1, start + len(tcp), mss, start, 16)
    return vnet + ethernet + ip_header(source, target, 6, length, number) + tcp + payload


def udp_super(payload: bytes, *, size: int, source: str = IP_A, target: str = IP_B, number: int = 7) -> bytes:
    """Returns a UDP super-frame."""
    v6 = ":" in source
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", 1000, 2000, length, ones_sum(pseudo(source, target, 17, length)))
    ethernet = MAC_B + MAC_A + (b"\x86\xdd" if v6 else b"\x08\x00")
    start = len(ethernet) + (40 if v6 else 20)
    vnet = VNET.pack(1, 5, start + 8, size, start, 6)
    return vnet + ethernet + ip_header(source, target, 17, length, number) + udp + payload


def plain_frame(size: int = 64, *, source: bytes = MAC_A, target: bytes = MAC_B, fill: int = 0) -> bytes:
    """Returns a frame of an unknown ethertype with virtio header, `size` bytes without it."""
    return PLAIN + target + source + b"\x88\xb5" + bytes([fill]) * (size - 14)


class Segment:
    """Is one packet on a wire, taken apart and found valid: every checksum is computed, as a receiving host would."""

    def __init__(self, frame: bytes) -> None:
        position = 12
        while frame[position : position + 2] in (b"\x81\x00", b"\x88\xa8"):
            position += 4
        ethertype = frame[position : position + 2]
        self.ethernet = frame[: position + 2]
        ip = frame[position + 2 :]
        if ethertype == b"\x86\xdd":
            length = struct.unpack_from("!H", ip, 4)[0]
            assert len(ip) == 40 + length
            protocol, addresses, l4 = ip[6], ip[8:40], ip[40:]
            self.number = None
        else:
            assert ones_sum(ip[:20]) == 0xFFFF, "IPv4 header checksum"
            assert struct.unpack_from("!H", ip, 2)[0] == len(ip)
            protocol, addresses, l4 = ip[9], ip[12:20], ip[20:]
            self.number = struct.unpack_from("!H", ip, 4)[0]
        assert ones_sum(addresses + struct.pack("!IHH", len(l4), 0, protocol) + l4) == 0xFFFF, "transport checksum"
        self.protocol = protocol
        if protocol == 6:
            self.sequence = struct.unpack_from("!I", l4, 4)[0]
            self.flags = l4[13]
            self.payload = l4[(l4[12] >> 4) * 4 :]
        else:
            assert struct.unpack_from("!H", l4, 4)[0] == len(l4)
            self.payload = l4[8:]


def segments(buffer: bytes) -> list[Segment]:
    """Returns the packets that a kernel makes of virtio header and frame, with checksums filled in and verified."""
    flags, kind, _, gso_size, start, offset = VNET.unpack_from(buffer)
    frame = buffer[10:]
    if kind == 0:
        assert gso_size == 0
        return [Segment(fill_checksum(frame, start, offset) if flags & 1 else frame)]
    assert flags & 1
    udp = kind & 0x7F == 5
    header = start + 8 if udp else start + (frame[start + 12] >> 4) * 4
    v6 = start >= 54 and frame[start - 42 : start - 40] == b"\x86\xdd"
    network = start - (40 if v6 else 20)
    payload = frame[header:]
    assert len(payload) > gso_size
    result = []
    for index, position in enumerate(range(0, len(payload), gso_size)):
        part = payload[position : position + gso_size]
        head = bytearray(frame[:header])
        last = position + gso_size >= len(payload)
        length = header - start + len(part)
        if v6:
            struct.pack_into("!H", head, network + 4, start - network - 40 + length)
            addresses = head[network + 8 : network + 40]
        else:
            number = struct.unpack_from("!H", head, network + 4)[0]
            struct.pack_into("!H", head, network + 4, (number + index) % 65536)
            struct.pack_into("!H", head, network + 2, 20 + length)
            struct.pack_into("!H", head, network + 10, 0)
            struct.pack_into("!H", head, network + 10, 0xFFFF - ones_sum(bytes(head[network:start])))
            addresses = head[network + 12 : network + 20]
        if udp:
            struct.pack_into("!H", head, start + 4, length)
        else:
            sequence = struct.unpack_from("!I", head, start + 4)[0]
            struct.pack_into("!I", head, start + 4, (sequence + position) % 2**32)
            if not last:
                head[start + 13] &= ~0x09
            if index:
                head[start + 13] &= ~0x80
        sums = bytes(addresses) + struct.pack("!IHH", length, 0, 17 if udp else 6)
        struct.pack_into("!H", head, start + offset, ones_sum(sums))
        result.append(Segment(fill_checksum(bytes(head) + part, start, offset)))
    return result


def fill_checksum(frame: bytes, start: int, offset: int) -> bytes:
    check = 0xFFFF - ones_sum(frame[start:])
    if check == 0 and offset == 6:
        check = 0xFFFF
    return frame[: start + offset] + struct.pack("!H", check) + frame[start + offset + 2 :]


def pattern(size: int, seed: int = 1) -> bytes:
    """Returns bytes in which every place tells itself apart from its neighbours."""
    words = (struct.pack("!I", (index * 2654435761 + seed) & 0xFFFFFFFF) for index in itertools.count())
    return b"".join(itertools.islice(words, size // 4 + 1))[:size]


def udp_packet(
    payload: bytes, *, source: str = IP_A, target: str = IP_B, number: int = 7, port: int = 2000, offset: int = 0x4000
) -> bytes:
    """Returns one UDP packet with virtio header, its checksum still to be filled in; `offset`: flags and fragment."""
    v6 = ":" in source
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", 1000, port, length, ones_sum(pseudo(source, target, 17, length)))
    ip = ip_header(source, target, 17, length, number)
    if not v6:
        head = ip[:6] + struct.pack("!H", offset) + ip[8:10] + b"\0\0" + ip[12:]
        ip = head[:10] + struct.pack("!H", 0xFFFF - ones_sum(head)) + head[12:]
    ethernet = MAC_B + MAC_A + (b"\x86\xdd" if v6 else b"\x08\x00")
    return VNET.pack(1, 0, 0, 0, len(ethernet) + len(ip), 6) + ethernet + ip + udp + payload


def arp(operation: int, sender: str, target: str, *, source: bytes = MAC_A, sender_mac: bytes | None = None) -> bytes:
    """Returns an ARP frame, without virtio header."""
    ethernet = b"\xff" * 6 + source + b"\x08\x06"
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + (sender_mac or source) + address_bytes(sender)
    return ethernet + body + bytes(6) + address_bytes(target)


def icmpv6(kind: int, sender: str, receiver: str, subject: str, *, source: bytes = MAC_A, extensions: int = 0) -> bytes:
    """Returns a neighbour discovery frame about `subject`, without virtio header."""
    message = struct.pack("!BBHI", kind, 0, 0, 0) + address_bytes(subject)
    chain = b"".join(
        bytes([60 if index + 1 < extensions else 58, 0]) + b"\x01\x04" + bytes(4) for index in range(extensions)
    )
    ip = bytearray(ip_header(sender, receiver, 60 if extensions else 58, len(chain) + len(message)))
    return MAC_B + source + b"\x86\xdd" + bytes(ip) + chain + message
