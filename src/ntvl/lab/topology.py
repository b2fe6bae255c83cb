"""What a lab consists of: networks, hosts on them, and routers between them.

A network is one Ethernet with a prefix. A router joins an inside network to an outside one and treats UDP as its
`NatBehaviour` says, so a chain of boxes is a chain of routers. The one network that is inside no router is the
Internet.

Addresses follow from the order in which things are named: a router has number 1 on its inside, hosts count from 10, the
outsides of routers from 101 (from 5 in prefixes longer than /24). An IPv6 address shows the same digits.

    internet  203.0.113.0/24        supernode .10      home-a-router .101      home-b-router .102
    home-a    192.168.1.0/24        home-a-router .1   home-a .10
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ntvl.errors import UsageError
from ntvl.nat import Chain, NatBehaviour

__all__ = [
    "FABRIC",
    "INTERNET",
    "Host",
    "Interface",
    "Network",
    "Route",
    "Router",
    "SiteBuilder",
    "Topology",
    "build_sites",
]

FABRIC: Final = "fabric"
"""The namespace with the bridges; no machine may have this name."""

INTERNET: Final = "internet"
"""The name of the public network that `build_sites` makes."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ROUTER_INSIDE: Final = 1
_FIRST_HOST: Final = 10
_FIRST_ROUTER_OUTSIDE: Final = 101
_FIRST_ROUTER_OUTSIDE_SMALL: Final = 5
_LARGE: Final = 24
_SMALL: Final = 28


@dataclass(frozen=True, slots=True)
class Network:
    """Is one Ethernet. `ipv4` is a prefix of at most 28 bits, `ipv6` a /64; empty: the family is absent here."""

    name: str
    ipv4: str = ""
    ipv6: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Is a computer on one or several networks; its default route leads through the first."""

    name: str
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Router:
    """Is a box between two networks. Only IPv4 is ever translated; `nat.filtering` holds for both families."""

    name: str
    outside: str
    inside: str
    nat: NatBehaviour


class Interface(NamedTuple):
    """Is one attachment of a machine: device name there, network, and addresses with prefix length (empty: none)."""

    device: str
    network: str
    ipv4: str
    ipv6: str


class Route(NamedTuple):
    """Is a route that a machine needs: "default" or a prefix, and the neighbour it goes through."""

    prefix: str
    via: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Is a whole lab. Construction checks that names fit together.

    Raises:
        UsageError: a name twice, malformed or unknown; a network inside two routers; too many machines on a network.
    """

    networks: tuple[Network, ...]
    hosts: tuple[Host, ...]
    routers: tuple[Router, ...] = ()

    def __post_init__(self) -> None:
        for names in ([network.name for network in self.networks], self.machines):
            for name in names:
                if not _NAME.fullmatch(name) or name == FABRIC:
                    raise UsageError(
                        f"{name!r} cannot name a part of a lab: use a-z, 0-9, - (at most 32), and not {FABRIC!r}"
                    )
                if list(names).count(name) > 1:
                    raise UsageError(f"the lab has two parts named {name!r}: give each a name of its own")
        known = {network.name for network in self.networks}
        for machine in self.machines:
            unknown = set(self._networks_of(machine)) - known
            if unknown:
                raise UsageError(f"{machine!r} is on the network {min(unknown)!r}, which the lab does not have")
        for network in self.networks:
            if len([router for router in self.routers if router.inside == network.name]) > 1:
                raise UsageError(f"the network {network.name!r} is inside two routers: one way out is enough")
            self._check_size(network)

    @property
    def machines(self) -> tuple[str, ...]:
        """Returns the names of all hosts and routers."""
        return tuple(host.name for host in self.hosts) + tuple(router.name for router in self.routers)

    def interfaces(self, machine: str) -> tuple[Interface, ...]:
        """Returns the attachments of a machine in order: eth0, eth1 ... of a host, wan and lan of a router."""
        if any(router.name == machine for router in self.routers):
            devices: tuple[str, ...] = ("wan", "lan")
        else:
            devices = tuple(f"eth{index}" for index in range(len(self._networks_of(machine))))
        return tuple(
            self._interface(machine, device, name)
            for device, name in zip(devices, self._networks_of(machine), strict=True)
        )

    def routes(self, machine: str) -> tuple[Route, ...]:
        """Returns the default routes of a machine, and routes to prefixes that routers beside it do not translate."""
        found: list[Route] = []
        for position, interface in enumerate(self.interfaces(machine)):
            inside_of = self._router_of(interface.network)
            if inside_of is not None and inside_of.name != machine and position == 0:
                gateway = self._interface(inside_of.name, "lan", interface.network)
                found += [
                    Route("default", via.partition("/")[0])
                    for via, own in ((gateway.ipv4, interface.ipv4), (gateway.ipv6, interface.ipv6))
                    if via and own
                ]
            for router in self.routers:
                if router.outside == interface.network and router.name != machine:
                    wan = self._interface(router.name, "wan", router.outside)
                    found += [
                        Route(prefix, via.partition("/")[0])
                        for prefix, via in self._routed_prefixes(router, wan)
                        if prefix and via
                    ]
        return tuple(found)

    def chain_of(self, host: str) -> Chain:
        """Returns the boxes between a host and the Internet, innermost first."""
        chain: list[NatBehaviour] = []
        router = self._router_of(self._networks_of(host)[0])
        while router is not None:
            chain.append(router.nat)
            router = self._router_of(router.outside)
        return tuple(chain)

    def router(self, name: str) -> Router:
        """Returns the router of that name.

        Raises:
            UsageError: there is none.
        """
        for router in self.routers:
            if router.name == name:
                return router
        raise UsageError(f"the lab has no router {name!r}: it has {', '.join(r.name for r in self.routers) or 'none'}")

    def _check_size(self, network: Network) -> None:
        length = ipaddress.IPv4Network(network.ipv4).prefixlen if network.ipv4 else _LARGE
        if length > _SMALL:
            raise UsageError(f"the network {network.name!r} has a prefix longer than /{_SMALL}: too small for a lab")
        most_hosts, most_routers = (90, 90) if length <= _LARGE else (5, 5)
        hosts = sum(network.name in host.networks for host in self.hosts)
        routers = sum(router.outside == network.name for router in self.routers)
        if hosts > most_hosts or routers > most_routers:
            raise UsageError(
                f"the network {network.name!r} ({network.ipv4 or 'IPv6'}) takes at most {most_hosts} hosts and"
                f" {most_routers} routers: split it"
            )

    def _networks_of(self, machine: str) -> tuple[str, ...]:
        for host in self.hosts:
            if host.name == machine:
                return host.networks
        for router in self.routers:
            if router.name == machine:
                return (router.outside, router.inside)
        raise UsageError(f"the lab has no machine {machine!r}: it has {', '.join(self.machines)}")

    def _router_of(self, network: str) -> Router | None:
        return next((router for router in self.routers if router.inside == network), None)

    def _routed_prefixes(self, router: Router, wan: Interface) -> list[tuple[str, str]]:
        inside = self._network(router.inside)
        prefixes = [(inside.ipv6, wan.ipv6)]
        if not router.nat.translates:
            prefixes.append((inside.ipv4, wan.ipv4))
        for inner in self.routers:
            if inner.outside == router.inside:
                prefixes += [
                    (prefix, wan.ipv6 if ":" in prefix else wan.ipv4)
                    for prefix, _ in self._routed_prefixes(inner, wan)
                    if ":" in prefix or not router.nat.translates
                ]
        return prefixes

    def _network(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def _interface(self, machine: str, device: str, network_name: str) -> Interface:
        network = self._network(network_name)
        number = self._number(machine, network)
        ipv4 = ipv6 = ""
        if network.ipv4:
            prefix = ipaddress.IPv4Network(network.ipv4)
            ipv4 = f"{prefix[number]}/{prefix.prefixlen}"
        if network.ipv6:
            prefix6 = ipaddress.IPv6Network(network.ipv6)
            ipv6 = f"{prefix6[int(str(number), 16)]}/{prefix6.prefixlen}"  # the same digits in both families
        return Interface(device, network_name, ipv4, ipv6)

    def _number(self, machine: str, network: Network) -> int:
        outsides = [router.name for router in self.routers if router.outside == network.name]
        if machine in outsides:
            large = not network.ipv4 or ipaddress.IPv4Network(network.ipv4).prefixlen <= _LARGE
            return (_FIRST_ROUTER_OUTSIDE if large else _FIRST_ROUTER_OUTSIDE_SMALL) + outsides.index(machine)
        hosts = [host.name for host in self.hosts if network.name in host.networks]
        return _FIRST_HOST + hosts.index(machine) if machine in hosts else _ROUTER_INSIDE


class SiteBuilder:
    """Puts sites onto an Internet, one after another.

    A site's routers are NAME-router, NAME-router-2 ... from its host outwards; networks inside are NAME-lan, NAME-lan-2
    ... and have private prefixes wherever a box further out translates. At most 16 public LANs (behind firewalls) fit.

    Args:
        internet: the public network.
        hosts: those that are there already.
        same_lan: whether all private LANs have the same prefix, as homes have.
    """

    def __init__(self, internet: Network, hosts: Sequence[Host] = (), *, same_lan: bool = False) -> None:
        self.networks = [internet]
        self.hosts = list(hosts)
        self.routers: list[Router] = []
        self._internet = internet
        self._same_lan = same_lan
        self._sites = 0
        self._public_lans = 0

    def add(
        self,
        site: str,
        chain: Chain,
        *,
        outside: str = "",
        behind_nat: bool = False,
        ipv4: bool = True,
        ipv6: bool = False,
    ) -> str:
        """Adds the boxes of a site; returns the name of the network inside, where its hosts belong.

        Args:
            chain: its boxes, innermost first.
            outside: the network that the outermost is attached to, if not the Internet.
            behind_nat: whether a box outside of these translates.
            ipv4, ipv6: the families inside.
        """
        self._sites += 1
        outermost = outside or self._internet.name
        for level, nat in enumerate(chain):
            suffix = f"-{level + 1}" if level else ""
            prefix = ""
            if ipv4 and (behind_nat or any(box.translates for box in chain[level:])):
                number = 1 if self._same_lan else self._sites
                prefix = f"10.{self._sites}.{level}.0/24" if level else f"192.168.{number}.0/24"
            elif ipv4:
                prefix = f"198.51.100.{16 * self._public_lans}/28"
                self._public_lans += 1
            prefix6 = f"2001:db8:{self._sites}:{level}::/64" if ipv6 else ""
            self.networks.append(Network(f"{site}-lan{suffix}", prefix, prefix6))
            outer = f"{site}-lan-{level + 2}" if level + 1 < len(chain) else outermost
            self.routers.append(Router(f"{site}-router{suffix}", outer, f"{site}-lan{suffix}", nat))
        return f"{site}-lan" if chain else outermost

    def topology(self) -> Topology:
        """Returns all that was added.

        Raises:
            UsageError: it does not fit together.
        """
        return Topology(tuple(self.networks), tuple(self.hosts), tuple(self.routers))


def build_sites(
    sites: Mapping[str, Chain], *, publics: tuple[str, ...] = ("supernode",), ipv6: bool = False, same_lan: bool = False
) -> Topology:
    """Returns an Internet with public hosts, and one host for each site behind that site's chain of boxes.

    Names and prefixes are those of `SiteBuilder`; the host has the site's name.

    Args:
        sites: names, each with its boxes, innermost first, as in `ntvl.nat.KINDS`.
        publics: names of hosts on the Internet itself.
        ipv6: whether there is IPv6 everywhere too; routers then filter it and do not translate it.
        same_lan: whether all private LANs have the same prefix, as homes have.
    """
    builder = SiteBuilder(
        Network(INTERNET, "203.0.113.0/24", "2001:db8::/64" if ipv6 else ""),
        [Host(name, (INTERNET,)) for name in publics],
        same_lan=same_lan,
    )
    for site, chain in sites.items():
        builder.hosts.append(Host(site, (builder.add(site, chain, ipv6=ipv6),)))
    return builder.topology()
