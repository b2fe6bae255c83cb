"""Our own membership of one community: the addresses we hold and the certificate that says so.

The certificate is made anew when an address changes, when two thirds of its life are over, and when the wall clock
left its validity (a stepped clock must not strand a node). It is backdated, so that peers whose clocks are a little
behind accept it.
"""

import ipaddress
from typing import Final

from ntvl.identity.certificate import issue_certificate
from ntvl.identity.keys import derive_ipv6, derive_mac
from ntvl.proto.machine import WallClock
from ntvl.proto.settings import CommunitySettings

__all__ = ["BACKDATE_S", "LIFE_S", "Membership"]

LIFE_S: Final = 7 * 86400
BACKDATE_S: Final = 12 * 3600
"""Machines whose clock runs on local time, or that wake with yesterday evening's, are told so and work all the same."""
_RENEW_S: Final = LIFE_S * 2 // 3


class Membership:
    """Holds one community's settings and what we are in it."""

    def __init__(self, settings: CommunitySettings, node: bytes, name: str, wall: WallClock) -> None:
        self.settings = settings
        self.community = settings.community
        self.node = node
        self.name = name
        self.mac = derive_mac(settings.community.id, node)
        self.ipv6 = derive_ipv6(settings.community.id, self.mac)
        self.address = settings.address if settings.lease == "static" else ""
        """Our IPv4 address in CIDR text, or "" while there is none."""
        self.overlay = (
            ipaddress.ip_network(settings.subnet, strict=False),
            ipaddress.ip_network(self.ipv6, strict=False),
        )
        self.leased_via: int | None = None
        """Which supernode leased us `address`."""
        self._wall = wall
        self._certificate = b""
        self._issued = 0.0
        self._certified: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Returns the addresses that the device shall have, CIDR text, IPv4 first."""
        return (self.address, self.ipv6) if self.address else (self.ipv6,)

    def accepts(self, address: str) -> bool:
        """Returns whether a leased address, CIDR text, is a host's of our subnet with its prefix length.

        Nothing else may reach the device: "8.8.8.8/0" would turn this machine's routing into the virtual network.
        """
        try:
            interface = ipaddress.IPv4Interface(address)
        except ValueError:
            return False
        subnet = self.overlay[0]
        edges = (subnet.network_address, subnet.broadcast_address) if subnet.prefixlen < 31 else ()
        return "/" in address and interface.network == subnet and interface.ip not in edges

    def certificate(self) -> bytes:
        """Returns a certificate that is valid now and names `addresses`."""
        wall = self._wall()
        fresh = self._issued - BACKDATE_S / 2 <= wall < self._issued + _RENEW_S
        if not self._certificate or not fresh or self._certified != self.addresses:
            self._certified = self.addresses
            self._issued = wall
            self._certificate = issue_certificate(
                self.community,
                node=self.node,
                name=self.name,
                addresses=self.addresses,
                not_before=int(wall) - BACKDATE_S,
                not_after=int(wall) + LIFE_S,
            )
        return self._certificate
