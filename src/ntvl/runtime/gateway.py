"""The gateways of this machine: whom its default routes lead through, and from which address."""

from dataclasses import dataclass
from typing import Final

from ntvl.runtime.interfaces import DEFAULT_WAYS
from ntvl.runtime.netlink import Link, open_netlink
from ntvl.wire.address import is_public

__all__ = ["Gateway", "choose_gateways", "read_gateways"]

Way = tuple[int, str, str]
"""Interface, next hop and source address, as `Netlink.way_to` returns them."""
_TUNNEL: Final = "tun"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Is a neighbour that a default route leads through.

    Attributes:
        host: its literal address on our link, without zone; an IPv6 one is link-local as a rule.
        client: our literal address towards it, and the source of what we send to the Internet.
        index, device: the interface between.
    """

    host: str
    client: str
    index: int
    device: str

    @property
    def is_ipv6(self) -> bool:
        """Returns whether it is a gateway for IPv6."""
        return ":" in self.host


def choose_gateways(ways: list[Way], links: list[Link]) -> tuple[Gateway, ...]:
    """Returns the gateways behind the ways out, IPv4 before IPv6.

    A way without next hop has no gateway, one through a tunnel no NAT of ours, and an IPv6 address that is not global
    needs no pinhole.
    """
    known = {link.index: link for link in links}
    found = []
    for index, host, client in ways:
        link = known.get(index)
        if link is None or link.kind == _TUNNEL or not host or not client:
            continue
        if ":" in client and not is_public(client):
            continue
        found.append(Gateway(host, client, index, link.name))
    return tuple(sorted(found, key=lambda gateway: gateway.is_ipv6))


async def read_gateways() -> tuple[Gateway, ...]:
    """Returns this machine's gateways as they are now."""
    async with open_netlink() as netlink:
        return choose_gateways([await netlink.way_to(host) for host in DEFAULT_WAYS], await netlink.links())
