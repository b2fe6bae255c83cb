"""Vectors of what is under a DATA datagram's seal: how frames are packed, and what each plaintext alone delivers."""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from scripts.golden.entry import Entry, entry

from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import AddPeer, InstallSession, OpenDevice
from ntvl.dataplane.packer import Packer
from ntvl.dataplane.session import Session
from ntvl.errors import PeerError
from ntvl.wire import plaintext, vnet
from ntvl.wire.address import Address

__all__ = ["deliver", "parse_plaintext", "plaintext_vectors", "plaintexts", "super_frame"]

_OURS: Final = bytes.fromhex("020000000001")
_THEIRS: Final = bytes.fromhex("020000000002")
_ADDRESSES: Final = bytes((10, 77, 0, 6)) + bytes((10, 77, 0, 5))


def plaintext_vectors() -> list[Entry]:
    """Returns packed frames, and plaintexts that are refused."""
    return [*_packed(), *_refused()]


def _packed() -> list[Entry]:
    titles = {
        "frame": "FRAME: an ARP request",
        "bundle": "BUNDLE: two frames that were there at the same time",
        "tcp": "PIECE {} of {}: a TCP super-frame over IPv4",
        "udp": "PIECE {} of {}: a UDP super-frame over IPv4, cut where its datagrams end",
        "ipv6": "PIECE {} of {}: a TCP super-frame over IPv6, its segments larger than a datagram",
        "jumbo": "FRAGMENT {} of {}: a frame that is too large and no super-frame",
    }
    return [vector for name, title in titles.items() for vector in _series(name, title)]


def _series(name: str, title: str) -> list[Entry]:
    """Returns all plaintexts of one example; the first says of which frames, the others which is the first."""
    plains = plaintexts(name)
    assert deliver(plains) == list(_frames(name)), "what comes whole comes out as it went in"
    first = title.format(1, len(plains))
    return [
        entry(
            title.format(place, len(plains)),
            plain,
            lambda data: {**parse_plaintext(data), "delivered_alone": deliver([data])},
            **({"frames": _frames(name)} if place == 1 else {"first": first}),
        )
        for place, plain in enumerate(plains, 1)
    ]


def _refused() -> list[Entry]:
    piece, udp, fragment, bundle = (plaintexts(name)[-1] for name in ("tcp", "udp", "jumbo", "bundle"))
    return [
        entry("nothing", b"", parse_plaintext),
        entry("an unknown kind", b"\x05" + bytes(40), parse_plaintext),
        entry("FRAME: shorter than an Ethernet header", b"\x01" + bytes(23), parse_plaintext),
        entry("PIECE: headers cut short", piece[:50], parse_plaintext),
        entry("PIECE: no payload", piece[: 5 + 10 + 14 + 40], parse_plaintext),
        entry("PIECE: beyond the end of its super-frame", piece + b"\x00", parse_plaintext),
        entry("PIECE: cuts a UDP datagram", udp[:1] + b"\x00\x01" + udp[3:], parse_plaintext),
        entry("PIECE: no super-frame", piece[:5] + b"\x00\x00" + piece[7:], parse_plaintext),
        entry("FRAGMENT: empty", fragment[:11], parse_plaintext),
        entry("FRAGMENT: beyond the end of its frame", fragment + b"\x00", parse_plaintext),
        entry(
            "FRAGMENT: of a frame that cannot be", fragment[:7] + b"\x00\x01\x00\x20" + fragment[11:], parse_plaintext
        ),
        entry("BUNDLE: a length beyond the end", bundle[:-1], parse_plaintext),
        entry("BUNDLE: a frame shorter than an Ethernet header", b"\x04\x00\x17" + bytes(23), parse_plaintext),
    ]


def parse_plaintext(plain: bytes) -> dict[str, Any]:
    """Returns what a plaintext says, field by field.

    Raises:
        PeerError: as the forwarder counts it.
    """
    if not plain:
        raise PeerError("short")
    match plain[0]:
        case plaintext.FRAME:
            if len(plain) <= plaintext.FRAME_BUFFER_MIN:
                raise PeerError("runt")
            return {"kind": "FRAME", "frames": [_explain_frame(plain[1:])]}
        case plaintext.PIECE:
            piece = plaintext.parse_piece(plain)
            return {"kind": "PIECE", "offset": piece.offset, "run": piece.run, "layout": piece.layout}
        case plaintext.FRAGMENT:
            fragment = plaintext.parse_fragment(plain)
            return {"kind": "FRAGMENT", "run": fragment.run, "offset": fragment.offset, "total": fragment.total}
        case plaintext.BUNDLE:
            return {"kind": "BUNDLE", "frames": [_explain_frame(frame) for frame in plaintext.parse_bundle(plain)]}
    raise PeerError("type")


def _explain_frame(buffer: bytes) -> dict[str, Any]:
    names = ("flags", "gso_type", "hdr_len", "gso_size", "csum_start", "csum_offset")
    return {
        "virtio": dict(zip(names, vnet.VNET.unpack_from(buffer), strict=True)),
        "ethernet": buffer[vnet.VNET_BYTES :],
    }


def deliver(plains: Sequence[bytes]) -> list[bytes]:
    """Returns what the forwarder of the receiver writes to its TAP, frames with virtio headers."""
    key, cipher = bytes(32), "chacha20poly1305"
    forwarder = Forwarder()
    forwarder.apply(
        [
            OpenDevice(0, "ntvl0", _OURS, 1360),
            AddPeer(1, 0, (_THEIRS,), (), certified=True),
            InstallSession(1, cipher, 1, 2, key, key, confirmed=True),
        ],
        0.0,
    )
    numbers, bodies = (sender := Session(cipher, 2, 1, key, key, True)).seal(list(plains))
    for number, body in zip(numbers, bodies, strict=True):
        forwarder.handle_train(sender.header + number + body, 0, 0, Address("203.0.113.9", 40000), 0.0)
    forwarder.handle_timeout(1.0)
    written = []
    while (write := forwarder.poll_write()) is not None:
        written.append(b"".join(write[1]))
    return written


@cache
def plaintexts(name: str) -> list[bytes]:
    """Returns the plaintexts, in order, that the packer makes of an example: a key of what `_frames` knows."""
    return [plain for group in Packer().pack(_frames(name)) for plain in group]


@cache
def _frames(name: str) -> tuple[bytes, ...]:
    """Returns frames with virtio headers from Bob to Alice."""
    arp = vnet.PLAIN + b"\xff" * 6 + _THEIRS + bytes.fromhex("0806 0001 0800 0604 0001") + _THEIRS
    arp += _ADDRESSES[:4] + bytes(6) + _ADDRESSES[4:]
    match name:
        case "frame":
            return (arp,)
        case "bundle":
            return (arp, vnet.PLAIN + _OURS + _THEIRS + bytes.fromhex("88b5") + b"any other ethertype")
        case "tcp":
            return (super_frame(vnet.GSO_TCPV4, 1308, 1308 + 100),)
        case "udp":
            return (super_frame(vnet.GSO_UDP, 500, 2200),)
        case "ipv6":
            return (super_frame(vnet.GSO_TCPV6, 1400, 1500),)
        case _:
            return (vnet.PLAIN + _OURS + _THEIRS + bytes.fromhex("88b5") + _pattern(1500),)


def super_frame(gso_type: int, gso_size: int, size: int) -> bytes:
    """Returns a super-frame with `size` bytes of payload as a TAP gives it, its checksum still to be filled in."""
    is_ipv6, is_udp = gso_type == vnet.GSO_TCPV6, gso_type == vnet.GSO_UDP
    length = (8 if is_udp else 32) + size
    if is_ipv6:
        addresses = bytes.fromhex("fd52a19e978f0000786310fffeb14800 fd52a19e978f000024bdb6fffe795c3f")
        ip = struct.pack("!IHBB", 0x60000000, length, 6, 64) + addresses
    else:
        addresses = _ADDRESSES
        head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0xFFFF, 0x4000, 64, 17 if is_udp else 6)
        ip = head + struct.pack("!H", vnet.checksum(head + b"\0\0" + addresses)) + addresses
    pseudo = vnet.pseudo_checksum(addresses, 17 if is_udp else 6, length)
    if is_udp:
        transport = struct.pack("!HHHH", 5001, 5001, length, pseudo)
    else:
        # CWR, ACK, PSH; sequence numbers that wrap; the timestamps option.
        transport = struct.pack("!HHIIBBHHH", 5001, 40000, 0xFFFFFF00, 7, 0x80, 0x98, 512, pseudo, 0)
        transport += bytes.fromhex("0101080a 00000001 00000002")
    ethernet = _OURS + _THEIRS + (b"\x86\xdd" if is_ipv6 else b"\x08\x00")
    start = len(ethernet) + len(ip)
    virtio = vnet.VNET.pack(vnet.NEEDS_CSUM, gso_type, start + len(transport), gso_size, start, 6 if is_udp else 16)
    return virtio + ethernet + ip + transport + _pattern(size)


def _pattern(size: int) -> bytes:
    return bytes(place * 7 & 0xFF for place in range(size))
