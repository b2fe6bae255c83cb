"""The addresses at which this machine might be reached: host candidates, and the news that they changed.

Left out are loopback and link-local addresses, interfaces that are down, addresses that must not be sent from yet or
any more, every TUN and TAP (a path through another tunnel, or through our own, is no path), and the bridges that
container and machine managers make, which carry the same addresses everywhere.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Final

from ntvl.runtime.netlink import Link, LinkAddress, NetlinkError, open_netlink, watch_netlink

__all__ = ["DEFAULT_WAYS", "InterfaceWatch", "choose_hosts", "read_hosts"]

DEBOUNCE_S: Final = 0.2
"""A cable that is plugged in makes a dozen changes; they are looked at once."""
RETRY_S: Final = 5.0
_log = logging.getLogger("ntvl.interfaces")
_INTERNAL: Final = re.compile(
    r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|(virbr|lxcbr|lxdbr|cni|podman)\d+|flannel.*|cali.*"
)
DEFAULT_WAYS: Final = ("192.0.2.1", "2001:db8::1")
"""Documentation addresses (RFC 5737, RFC 3849): nobody's, so the way to them is the default route."""

Fingerprint = tuple[tuple[str, ...], tuple[tuple[int, str, str], ...]]


def choose_hosts(links: Sequence[Link], addresses: Sequence[LinkAddress]) -> tuple[str, ...]:
    """Returns the literal addresses worth offering to peers, by interface, IPv6 before IPv4 within one."""
    good = {
        link.index
        for link in links
        if link.up and not link.loopback and link.kind != "tun" and not _INTERNAL.fullmatch(link.name)
    }
    chosen = [
        (address.index, -address.interface.version, str(address.interface.ip))
        for address in addresses
        if address.index in good
        and address.usable
        and not (
            address.interface.is_link_local
            or address.interface.is_loopback
            or address.interface.is_multicast
            or address.interface.is_unspecified
        )
    ]
    return tuple(dict.fromkeys(host for _, _, host in sorted(chosen)))


async def read_hosts() -> tuple[str, ...]:
    """Returns this machine's addresses worth offering to peers, as they are now."""
    return (await _read())[0]


async def _read() -> Fingerprint:
    async with open_netlink() as netlink:
        hosts = choose_hosts(await netlink.links(), await netlink.addresses())
        ways = [await netlink.way_to(host) for host in DEFAULT_WAYS]
    return hosts, tuple(ways)


class InterfaceWatch:
    """Tells the addresses at once and again after each change, of them or of the default route.

    A laptop that changes from one network to another may have the same address in both: a new next hop is news too.

    Args:
        on_hosts: takes the addresses.
    """

    def __init__(self, on_hosts: Callable[[tuple[str, ...]], None]) -> None:
        self._on_hosts = on_hosts
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Watches until cancelled."""
        close = watch_netlink(self._changed.set)
        try:
            known: Fingerprint | None = None
            while True:
                self._changed.clear()
                try:
                    found = await _read()
                except (NetlinkError, OSError) as error:  # an interface that went away between two questions
                    _log.warning("cannot read this machine's addresses: %s", error)
                    self._changed.set()
                    await asyncio.sleep(RETRY_S)
                    continue
                if found != known:
                    known = found
                    self._on_hosts(found[0])
                await self._changed.wait()
                await asyncio.sleep(DEBOUNCE_S)
        finally:
            close()
