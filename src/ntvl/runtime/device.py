"""One community's device, between the engine that opened it and the machine that says which addresses it has."""

import asyncio
from ipaddress import IPv4Network

from ntvl.config import DEFAULT_SUBNET, CommunityConfig
from ntvl.runtime.network import DeviceSetup
from ntvl.runtime.report import Reporter

__all__ = ["Device"]


class Device:
    """Gives the device its addresses once it is open and they are known, in whichever order, and after each change.

    Args:
        config: of its community.
        reporter: told when the device has its addresses.
    """

    def __init__(self, config: CommunityConfig, reporter: Reporter) -> None:
        self.offloads: tuple[str, ...] = ()
        """What the kernel takes off us: "csum", "tso4", "tso6", "uso"."""
        self._config = config
        self._reporter = reporter
        self._setup: DeviceSetup | None = None
        self._wanted: tuple[str, ...] | None = None
        self._changed = asyncio.Event()

    def opened(self, name: str, offloads: tuple[str, ...]) -> None:
        """Takes the engine's word that the device is there."""
        self.offloads = offloads
        if self._setup is None or self._setup.name != name:
            self._setup = DeviceSetup(name, self._config.mtu)
        self._changed.set()

    def assign(self, addresses: tuple[str, ...]) -> None:
        """Takes the addresses, CIDR text, that the device shall have from now on."""
        self._wanted = addresses
        self._changed.set()

    async def run(self) -> None:
        """Sets the device up until cancelled.

        Raises:
            UsageError: the kernel refuses, or the device is gone.
        """
        if IPv4Network(self._config.subnet).is_global:
            # No refusal: who owns a prefix may well take it into a network of his own.
            text = (
                f"The subnet {self._config.subnet} of the community {self._config.name} is public: computers on the "
                "Internet with such addresses are out of reach from here meanwhile; unless the addresses are yours, "
                f"choose a private subnet with --subnet, like {DEFAULT_SUBNET}, the same on every node of the community"
            )
            self._reporter.notice("warning", "public-subnet", text)
        told: tuple[str, tuple[str, ...]] | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            setup, wanted = self._setup, self._wanted
            if setup is None or wanted is None:
                continue
            had_ipv6 = not setup.without_ipv6
            await setup.set_addresses(wanted)
            if setup.without_ipv6:
                wanted = tuple(address for address in wanted if ":" not in address)
                if had_ipv6:
                    text = f"The kernel gives {setup.name} no IPv6 address; the network works with IPv4 alone."
                    self._reporter.notice("info", "no-ipv6", text)
            if told != (setup.name, wanted):
                told = (setup.name, wanted)
                self._reporter.assigned(self._config.name, setup.name, wanted)
