"""The operating system's links, addresses and routes as plain values; the only place that knows pyroute2.

Reading needs no privilege; changing needs CAP_NET_ADMIN.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import ifaddrmsg

__all__ = ["Link", "LinkAddress", "Netlink", "NetlinkError", "Route", "open_netlink", "watch_netlink"]

RTN_UNICAST: Final = 1
RT_TABLE_MAIN: Final = 254
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
_UNUSABLE: Final = ifaddrmsg.IFA_F_TENTATIVE | ifaddrmsg.IFA_F_DEPRECATED | ifaddrmsg.IFA_F_DADFAILED
_GROUPS: Final = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
)


@dataclass(frozen=True, slots=True)
class Link:
    """Is a network interface: `kind` as in "ip -d link" ("veth", "bridge", "tun"), empty for hardware."""

    index: int
    name: str
    kind: str
    up: bool
    loopback: bool


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """Is an address of an interface; `usable` while one may send from it (RFC 4862 sections 5.4 and 5.5.4)."""

    index: int
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    usable: bool


@dataclass(frozen=True, slots=True)
class Route:
    """Is a unicast route of the main table: its network, the interface it leaves by, and the next hop, if any."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    index: int
    gateway: str


class Netlink:
    """Asks and changes; made by `open_netlink`."""

    def __init__(self, route: Any) -> None:
        self._route = route

    async def links(self) -> list[Link]:
        """Returns every interface."""
        return [
            Link(
                message["index"],
                message.get("ifname"),
                message.get(("linkinfo", "kind")) or "",
                bool(message["flags"] & IFF_UP),
                bool(message["flags"] & IFF_LOOPBACK),
            )
            async for message in await self._route.link("dump")
        ]

    async def addresses(self) -> list[LinkAddress]:
        """Returns every address."""
        found = []
        async for message in await self._route.addr("dump"):
            text = message.get("local") or message.get("address")
            if text is None:
                continue
            flags = message.get("flags") or message["flags"]
            interface = ipaddress.ip_interface(f"{text}/{message['prefixlen']}")
            found.append(LinkAddress(message["index"], interface, not flags & _UNUSABLE))
        return found

    async def routes(self) -> list[Route]:
        """Returns the unicast IPv4 routes of the main table, the default route too."""
        found = []
        async for message in await self._route.route("dump", family=socket.AF_INET, table=RT_TABLE_MAIN):
            if message["type"] != RTN_UNICAST or message.get("table") != RT_TABLE_MAIN:
                continue
            network = ipaddress.ip_network(f"{message.get('dst') or '0.0.0.0'}/{message['dst_len']}", strict=False)
            found.append(Route(network, message.get("oif") or 0, message.get("gateway") or ""))
        return found

    async def way_to(self, host: str) -> tuple[int, str, str]:
        """Returns interface, next hop and source address that lead to a literal address; zero and empty if none do."""
        try:
            for message in await self._route.route("get", dst=host):
                return message.get("oif") or 0, message.get("gateway") or "", message.get("prefsrc") or ""
        except NetlinkError:
            pass
        return 0, "", ""

    async def index_of(self, name: str) -> int:
        """Returns the index of the interface `name`, 0 where there is none."""
        found = await self._route.link_lookup(ifname=name)
        return int(found[0]) if found else 0

    async def add_address(self, index: int, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
        """Adds an address; fine if it is there. IPv6 skips duplicate detection: our addresses follow from our key.

        Raises:
            NetlinkError: no such interface, no privilege, or IPv6 is off.
        """
        more: dict[str, object] = {}
        if isinstance(interface, ipaddress.IPv6Interface):
            more["flags"] = ifaddrmsg.IFA_F_NODAD
        elif interface.network.prefixlen < 31:
            more["broadcast"] = str(interface.network.broadcast_address)
        await self._route.addr(
            "replace", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen, **more
        )

    async def remove_address(self, index: int, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
        """Removes an address.

        Raises:
            NetlinkError: it is not there, or no privilege.
        """
        await self._route.addr("del", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen)

    async def set_link(self, index: int, *, mtu: int, up: bool) -> None:
        """Sets an interface's MTU in bytes, and whether it is up.

        Raises:
            NetlinkError: no such interface, an MTU that it does not take, or no privilege.
        """
        await self._route.link("set", index=index, mtu=mtu, state="up" if up else "down")


@asynccontextmanager
async def open_netlink() -> AsyncIterator[Netlink]:
    """Gives a netlink socket for as long as the context lasts."""
    make: Any = AsyncIPRoute  # pyroute2 has no types
    async with make() as route:
        yield Netlink(route)


def watch_netlink(on_change: Callable[[], None]) -> Callable[[], None]:
    """Calls `on_change` after each burst of changed links, addresses or routes; returns the function that ends it.

    What changed is not told: whoever cares reads again. So a lost message (ENOBUFS) is one more reason to read.
    """
    loop = asyncio.get_running_loop()
    monitor = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    monitor.bind((0, _GROUPS))

    def drain() -> None:
        for _ in range(64):
            try:
                monitor.recv(1)
            except BlockingIOError:
                break
            except OSError:
                pass
        on_change()

    def close() -> None:
        loop.remove_reader(monitor)
        monitor.close()

    loop.add_reader(monitor, drain)
    return close
