"""Where a datagram comes from or goes to.

An `Address` is text and number because that is what sockets, logs and people take. Binary forms appear only inside STUN
and in the relay's tables.
"""

import ipaddress
from typing import Final, NamedTuple

from ntvl.errors import PeerError

__all__ = [
    "Address",
    "Origin",
    "Relay",
    "Transmit",
    "find_addresses",
    "is_public",
    "is_usable_target",
    "parse_address",
    "unmapped",
]

_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
"""RFC 1122 section 3.2.1.3: never a destination."""
_WITH_IPV4_LAST: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "::ffff:0:0:0/96")))
"""IPv4-compatible addresses (RFC 4291 section 2.5.5.1), the well-known prefix of NAT64 (RFC 6052 section 2.1) and
IPv4-translated addresses (RFC 2765 section 2.1, whose translators are those of RFC 7915).
"""
_OF_TRANSLATORS: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Prefixes that a network gives its own translators (RFC 8215)."""
_PLACES: Final = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Bytes of the IPv4 address after a prefix of 48, 56, 64 and 96 bits (RFC 6052 section 2.2)."""

_LABORATORY: Final = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32"))
)


class Address(NamedTuple):
    """Is an UDP endpoint: `host` a literal IPv4 or IPv6 address in canonical text, `port` 1..65535."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Returns whether the host is an IPv6 literal."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


class Relay(NamedTuple):
    """Is the prefix of a relayed datagram: the relay ids, at one supernode, of receiver and sender."""

    target: int
    source: int


class Origin(NamedTuple):
    """Tells where a control datagram came in: socket, address, and the relay prefix that was taken off, if any.

    `socket` 0 is the node's main port (its IPv4 and IPv6 sockets together); others are opened for one technique.
    """

    address: Address
    socket: int = 0
    relay: Relay | None = None


class Transmit(NamedTuple):
    """Is one datagram to send, whole (a relay prefix is already in `data`), from `socket` to `address`.

    `ttl` is its time to live, or hop limit in IPv6, 1..255; 0 leaves that to the system.
    """

    data: bytes
    address: Address
    socket: int = 0
    ttl: int = 0


def parse_address(host: str, port: int) -> Address:
    """Returns the canonical `Address` for an endpoint that a message named.

    Args:
        host: an IPv4 or IPv6 literal without zone; an IPv4-mapped IPv6 literal becomes IPv4.
        port: 1..65535.
    Raises:
        PeerError: reason "format"; drop the message or the candidate.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise PeerError("format", f"address {host!r}") from error
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        raise PeerError("format", f"address with a zone {host!r}")
    ip = unmapped(ip)
    if not 1 <= port <= 65535:
        raise PeerError("format", f"port {port}")
    return Address(str(ip), port)


def is_usable_target(address: Address) -> bool:
    """Returns whether a peer may make this node send to `address`.

    Loopback, multicast, broadcast, unspecified, reserved (240.0.0.0/4) and link-local addresses and 0.0.0.0/8 are
    refused, and IPv6 addresses that have such a one of IPv4 inside: a candidate list must never turn a node against
    itself or its neighbours (RFC 8445 section 5.1.1.1 excludes the same for gathering). The broadcast address of a
    subnet looks like any other; the kernel refuses it, for our sockets never ask for SO_BROADCAST.
    """
    return all(_is_unicast(ip) for ip in find_addresses(address.host))


def find_addresses(host: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    """Returns the addresses that a datagram to `host` may end up at: its own, and the IPv4 ones that a translator or
    tunnel takes out of it: the address that it stands for, with Teredo those of its server and of its client.

    A network's own translators may have prefixes of several lengths, and a stranger does not tell which: of these forms
    all are given but those in 0.0.0.0/8, where nothing can be sent.

    Args:
        host: an IPv4 or IPv6 literal without zone.
    Source:
        RFC 4291 section 2.5.5, RFC 3056, RFC 4380 section 4, RFC 6052, RFC 7915, RFC 8215.
    """
    ip = ipaddress.ip_address(host)
    return (ip,) if isinstance(ip, ipaddress.IPv4Address) else (ip, *_find_inside(ip))


def _find_inside(ip: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    inside = ip.ipv4_mapped or ip.sixtofour
    if inside is not None:
        return (inside,)
    if ip.teredo is not None:
        return ip.teredo
    if any(ip in network for network in _WITH_IPV4_LAST):
        return (ipaddress.IPv4Address(ip.packed[12:]),)
    if ip not in _OF_TRANSLATORS:
        return ()
    found = (ipaddress.IPv4Address(bytes(ip.packed[at] for at in places)) for places in _PLACES)
    return tuple(other for other in dict.fromkeys(found) if other not in _THIS_NETWORK)


def _is_unicast(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local:
        return False
    return not (isinstance(ip, ipaddress.IPv4Address) and (ip.is_reserved or ip in _THIS_NETWORK))


def unmapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Returns the IPv4 address that an IPv4-mapped IPv6 address stands for (RFC 4291 section 2.5.5.2), or any other as
    it is.
    """
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def is_public(host: str) -> bool:
    """Returns whether a literal address can be reached from anywhere: none of the special ones of RFC 6890 (private,
    shared by a carrier's NAT, loopback, link-local, reserved), and not multicast.

    Addresses for documentation (RFC 5737, RFC 3849) and for benchmarks (RFC 2544) count as public, since nobody has
    them but a laboratory, where they stand for public ones.
    """
    ip = unmapped(ipaddress.ip_address(host))
    if any(ip.version == network.version and ip in network for network in _LABORATORY):
        return True
    return ip.is_global and not ip.is_multicast
