"""Ethernet frames: whose they are, and whom they ask for.

Only what forwarding needs is read: the MACs, the addresses that a frame claims for its sender (IPv4 and IPv6 source,
ARP sender, IPv6 neighbour advertisement), and the address that a resolution asks for. A frame is read where it lies,
at `start` in a buffer; one that is cut short claims nothing, because no kernel believes it either.

A VLAN tag opens another network with addresses of its own, so nothing is read behind it, but for VLAN 0, which every
kernel treats as if the tag were not there (IEEE 802.1Q, priority tag).
"""

from typing import Final

from ntvl.errors import PeerError

__all__ = [
    "ARP",
    "BROADCAST",
    "ETHERNET_BYTES",
    "IPV4",
    "IPV6",
    "VLAN_TYPES",
    "claimed_addresses",
    "format_mac",
    "is_group",
    "parse_mac",
    "resolution_target",
]

ETHERNET_BYTES: Final = 14
BROADCAST: Final = b"\xff" * 6
IPV4: Final = 0x0800
ARP: Final = 0x0806
IPV6: Final = 0x86DD
VLAN_TYPES: Final = frozenset((0x8100, 0x88A8))

_ARP_ETHERNET_IPV4: Final = bytes.fromhex("0001 0800 0604")
_ICMPV6: Final = 58
_EXTENSIONS: Final = frozenset((0, 43, 60))
_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_TAGS_MAX: Final = 4
_EXTENSIONS_MAX: Final = 8


def format_mac(mac: bytes) -> str:
    """Returns the usual text of a MAC: "02:00:5e:10:00:01"."""
    return mac.hex(":")


def parse_mac(text: str) -> bytes:
    """Returns the 6 bytes of a MAC in text, with ":" or "-" between the bytes.

    Raises:
        PeerError: reason "format".
    """
    try:
        mac = bytes.fromhex(text.replace(":", " ").replace("-", " "))
    except ValueError as error:
        raise PeerError("format", f"MAC {text!r}") from error
    if len(mac) != 6:
        raise PeerError("format", f"MAC {text!r}")
    return mac


def is_group(mac: bytes) -> bool:
    """Returns whether a MAC is broadcast or multicast."""
    return bool(mac[0] & 1)


def claimed_addresses(frame: bytes | memoryview, start: int = 0) -> tuple[bytes, ...]:
    """Returns the addresses, 4 or 16 bytes each, that a frame says are its sender's.

    Raises:
        PeerError: reason "header": tags or extension headers are stacked beyond all use.
    """
    position, ethertype = _enter(frame, start)
    if ethertype == IPV4:
        return (bytes(frame[position + 12 : position + 16]),) if len(frame) >= position + 20 else ()
    if ethertype == ARP:
        return (bytes(frame[position + 14 : position + 18]),) if _is_arp(frame, position) else ()
    if ethertype == IPV6 and len(frame) >= position + 40:
        source = bytes(frame[position + 8 : position + 24])
        message = _icmpv6(frame, position)
        if message is not None and frame[message] == _ADVERTISEMENT:
            return source, bytes(frame[message + 8 : message + 24])
        return (source,)
    return ()


def resolution_target(frame: bytes | memoryview, start: int = 0) -> bytes | None:
    """Returns the address that an ARP request or an IPv6 neighbour solicitation asks for, or None for any other frame.

    Raises:
        PeerError: as `claimed_addresses`.
    """
    position, ethertype = _enter(frame, start)
    if ethertype == ARP and _is_arp(frame, position):
        target, sender = bytes(frame[position + 24 : position + 28]), bytes(frame[position + 14 : position + 18])
        # An announcement asks for the sender's own address (RFC 5227 section 3): meant for all.
        return target if frame[position + 7] == 1 and target != sender else None
    if ethertype == IPV6 and len(frame) >= position + 40:
        message = _icmpv6(frame, position)
        if message is not None and frame[message] == _SOLICITATION:
            return bytes(frame[message + 8 : message + 24])
    return None


def _enter(frame: bytes | memoryview, start: int) -> tuple[int, int]:
    position = start + 12
    for _ in range(_TAGS_MAX):
        if len(frame) < position + 2:
            return position, 0
        ethertype = frame[position] << 8 | frame[position + 1]
        position += 2
        if ethertype not in VLAN_TYPES:
            return position, ethertype
        if len(frame) < position + 2 or (frame[position] << 8 | frame[position + 1]) & 0xFFF:
            return position, 0
        position += 2
    raise PeerError("header", "VLAN tags")


def _is_arp(frame: bytes | memoryview, position: int) -> bool:
    return len(frame) >= position + 28 and frame[position : position + 6] == _ARP_ETHERNET_IPV4


def _icmpv6(frame: bytes | memoryview, position: int) -> int | None:
    # Where a neighbour discovery message starts that is whole up to its target address.
    following, position = frame[position + 6], position + 40
    for _ in range(_EXTENSIONS_MAX):
        if following == _ICMPV6:
            return position if len(frame) >= position + 24 else None
        if following not in _EXTENSIONS or len(frame) < position + 8:
            return None
        following, position = frame[position], position + 8 * (1 + frame[position + 1])
    raise PeerError("header", "IPv6 extension headers")
