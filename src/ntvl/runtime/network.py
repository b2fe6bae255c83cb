"""What a node changes in the operating system: the addresses of its own devices, and nothing else.

Devices disappear with the program, and their addresses and routes with them, so nothing has to be undone.
"""

import errno
import ipaddress
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ntvl.errors import UsageError
from ntvl.runtime.netlink import Link, Netlink, NetlinkError, Route, open_netlink

__all__ = ["DeviceSetup", "choose_device_names", "find_overlap", "read_plan_facts"]

PREFIX_MIN: Final = 8
"""Routes to more than a /8 are ways to the whole Internet, which every subnet overlaps."""

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def choose_device_names(wanted: Sequence[str], taken: Collection[str]) -> list[str]:
    """Returns a device name for each community: the wanted one, or for "" the first free one of ntvl0, ntvl1 and so on.

    Raises:
        UsageError: a wanted name is taken by an interface of this machine.
    """
    for name in wanted:
        if name in taken:
            raise UsageError(f"This machine has an interface {name} already; name another one with --device.")
    used = {*taken, *wanted}
    names = []
    for name in wanted:
        chosen = name or next(f"ntvl{i}" for i in range(len(used) + 1) if f"ntvl{i}" not in used)
        used.add(chosen)
        names.append(chosen)
    return names


def find_overlap(subnet: str, routes: Iterable[Route], links: Sequence[Link]) -> tuple[str, bool]:
    """Returns in words what `subnet` (CIDR text) would hide on this machine, empty if nothing, and whether that is
    another node's network, by the look of it.
    """
    network = ipaddress.ip_network(subnet)
    found = {link.index: link for link in links}
    for route in routes:
        if route.network.prefixlen >= PREFIX_MIN and network.overlaps(route.network):
            link = found.get(route.index)
            words = f"{route.network}, which this machine reaches through {link.name if link else 'another interface'}"
            return words, link is not None and link.kind == "tun" and link.name.startswith("ntvl")
    return "", False


async def read_plan_facts() -> tuple[list[Link], list[Route]]:
    """Returns the interfaces and IPv4 routes that `choose_device_names` and `find_overlap` judge by.

    An address without a route (a /32) counts as a route to itself.
    """
    async with open_netlink() as netlink:
        links = await netlink.links()
        routes = await netlink.routes()
        for address in await netlink.addresses():
            if address.interface.version == 4 and not address.interface.is_loopback:
                routes.append(Route(ipaddress.ip_network(address.interface.ip), address.index, ""))
        return links, routes


class DeviceSetup:
    """Gives one device its addresses, and remembers which are ours: those of a DHCP client or a person stay.

    Args:
        name: of the device, as the kernel has it.
        mtu: bytes.
    """

    def __init__(self, name: str, mtu: int) -> None:
        self.name = name
        self.mtu = mtu
        self.without_ipv6 = False
        """Whether the kernel refused IPv6 addresses here; the network works without."""
        self._ours: set[Interface] = set()

    async def set_addresses(self, addresses: Sequence[str]) -> None:
        """Has the device up with its MTU and, of our making, exactly `addresses` (CIDR text).

        Raises:
            UsageError: the device is gone, or the kernel refuses.
        """
        wanted = [ipaddress.ip_interface(address) for address in addresses]
        async with open_netlink() as netlink:
            index = await netlink.index_of(self.name)
            if not index:
                raise UsageError(f"The device {self.name} is gone; somebody removed it.")
            try:
                await netlink.set_link(index, mtu=self.mtu, up=True)
                await self._remove(netlink, index, self._ours - set(wanted))
                for interface in wanted:
                    await self._add(netlink, index, interface)
            except NetlinkError as error:
                raise UsageError(f"Cannot set up the device {self.name}: {_reason(error)}.") from error
        self._ours = set(wanted)

    async def _remove(self, netlink: Netlink, index: int, interfaces: Iterable[Interface]) -> None:
        for interface in interfaces:
            try:
                await netlink.remove_address(index, interface)
            except NetlinkError as error:
                if error.code != errno.EADDRNOTAVAIL:
                    raise

    async def _add(self, netlink: Netlink, index: int, interface: Interface) -> None:
        try:
            await netlink.add_address(index, interface)
        except NetlinkError:
            if interface.version == 4:
                raise
            self.without_ipv6 = True


def _reason(error: NetlinkError) -> str:
    if error.code in (errno.EPERM, errno.EACCES):
        return "no permission, which takes root or CAP_NET_ADMIN"
    return str(error.args[1] if len(error.args) > 1 else error).lower()
