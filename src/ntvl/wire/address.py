"""Where a datagram comes from or goes to.

An `Address` is text and number because that is what sockets, logs and people take. Binary forms appear only inside STUN
and in the relay's tables.
"""

import ipaddress
from typing import NamedTuple

from ntvl.errors import PeerError

__all__ = ["Address", "Origin", "Relay", "Transmit", "is_usable_target", "parse_address"]


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
    """Is one datagram to send, whole (a relay prefix is already in `data`), from `socket` to `address`."""

    data: bytes
    address: Address
    socket: int = 0


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
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            raise PeerError("format", f"address with a zone {host!r}")
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
    if not 1 <= port <= 65535:
        raise PeerError("format", f"port {port}")
    return Address(str(ip), port)


def is_usable_target(address: Address) -> bool:
    """Returns whether a peer may make this node send to `address`.

    Loopback, multicast, broadcast, unspecified and link-local addresses are refused: a candidate list must never turn a
    node against itself or its neighbours (RFC 8445 section 5.1.1.1 excludes the same for gathering).
    """
    ip = ipaddress.ip_address(address.host)
    return not (
        ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local or str(ip) == "255.255.255.255"
    )
