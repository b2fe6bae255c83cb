"""A topology of somebody's own, out of a file in TOML.

    [network.internet]                what is inside no router is the Internet
    ipv4 = "203.0.113.0/24"

    [host.server]                     a computer on one or several networks
    network = "internet"

    [router.home]                     a box between two networks: what it does, or the name of a kind
    outside = "internet"
    inside = "home-lan"
    allocation = "random"

    [site.office]                     a computer and its own boxes, by the name of a kind
    kind = "double"

Whatever the file says wrongly is refused with a sentence that names the place, says what is wrong and what would be
right. What fits together or not (unknown networks, too many machines) is `Topology`'s to say.
"""

import ipaddress
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS, Kind
from ntvl.lab.ruleset import check_behaviour
from ntvl.lab.topology import Host, Network, Router, SiteBuilder, Topology
from ntvl.nat import Filtering, NatBehaviour, Passage, PortAllocation
from ntvl.nat import Mapping as PortMapping

__all__ = ["Blueprint", "parse_blueprint", "read_blueprint"]

_SECTIONS: Final = ("network", "host", "router", "site")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "network": ("ipv4", "ipv6"),
        "host": ("network", "networks"),
        "router": ("outside", "inside", "kind", *(field.name for field in fields(NatBehaviour))),
        "site": ("kind", "outside"),
    }
)
_ENUMS: Final[Mapping[str, type[PortMapping] | type[Filtering] | type[PortAllocation] | type[Passage]]] = (
    MappingProxyType({"mapping": PortMapping, "filtering": Filtering, "allocation": PortAllocation, "passes": Passage})
)
_LIMITS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"step": (1, 1000), "block_ports": (1, 20000), "lifetime_s": (1, 86400)}
)
_ALLOCATION_OF: Final[Mapping[str, PortAllocation]] = MappingProxyType(
    {"step": PortAllocation.SEQUENTIAL, "block_ports": PortAllocation.BLOCK_RANDOM}
)
"""Keys that tell more of one allocation, and mean nothing for another."""
_FLAGS: Final = ("hairpin", "translates", "takes_unsolicited")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Is what a file describes: a topology, and the kinds whose routers run helpers, by site."""

    topology: Topology
    helped: Mapping[str, Kind]


def read_blueprint(path: Path) -> Blueprint:
    """Returns what a file describes.

    Raises:
        UsageError: it cannot be read, or is not a topology; says which place of it and why.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"cannot read the topology {path}: {reason}") from error
    return parse_blueprint(text, str(path))


def parse_blueprint(text: str, name: str = "the topology") -> Blueprint:
    """Returns what a text in TOML describes.

    Args:
        name: what messages call it.
    Raises:
        UsageError: it is not a topology.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not TOML: {error}") from error
    try:
        return _build(document)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _build(document: dict[str, Any]) -> Blueprint:
    for section in document:
        if section not in _SECTIONS:
            raise UsageError(f"there is no section [{section}]: use {_words([f'[{name}.NAME]' for name in _SECTIONS])}")
    parts = {section: _parts(document, section) for section in _SECTIONS}
    networks = [_network(name, keys) for name, keys in parts["network"].items()]
    if not networks:
        raise UsageError('it has no network: begin with [network.internet] and ipv4 = "203.0.113.0/24"')
    routers = [_router(name, keys) for name, keys in parts["router"].items()]
    insides = {router.inside for router in routers}
    outermost = [network for network in networks if network.name not in insides]
    if not outermost:
        raise UsageError("every network is inside a router: one, the Internet, must be inside none")
    internet = outermost[0]
    if len(outermost) > 1:
        raise UsageError(
            f"the networks {_words(network.name for network in outermost)} are inside no router: one alone is the"
            " Internet, so give each other one a [router.NAME] with it inside"
        )
    builder = SiteBuilder(internet, [_host(name, keys) for name, keys in parts["host"].items()])
    builder.networks += [network for network in networks if network is not internet]
    builder.routers += routers
    helped = {}
    known = {network.name for network in networks}
    for name, keys in parts["site"].items():
        kind = _add_site(builder, name, keys, known, internet, insides)
        if kind.mapper or kind.proxy:
            helped[name] = kind
    topology = builder.topology()
    _check_ways_out(topology)
    if not topology.hosts:
        raise UsageError("it has no computer: add a [host.NAME] or a [site.NAME]")
    return Blueprint(topology, helped)


def _parts(document: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    parts = document.get(section, {})
    if not isinstance(parts, dict):
        raise UsageError(f"[{section}] has no name: write [{section}.NAME]")
    for name, keys in parts.items():
        if not isinstance(keys, dict):
            raise UsageError(f"{name!r} in [{section}] belongs to nobody: write [{section}.NAME], and it below")
        for key in keys:
            if key not in _KEYS[section]:
                raise UsageError(f"[{section}.{name}] has no key {key!r}: it takes {_words(_KEYS[section])}")
    return parts


def _network(name: str, keys: dict[str, Any]) -> Network:
    where = f"[network.{name}]"
    prefixes = {}
    for key, parse in (("ipv4", ipaddress.IPv4Network), ("ipv6", ipaddress.IPv6Network)):
        prefixes[key] = _prefix(where, key, _text(where, keys, key), parse)
    if not any(prefixes.values()):
        raise UsageError(f'{where} has no addresses: give it ipv4 = "192.168.1.0/24", ipv6 = "2001:db8:1::/64" or both')
    return Network(name, prefixes["ipv4"], prefixes["ipv6"])


def _prefix(
    where: str, key: str, text: str, parse: Callable[[str], ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> str:
    if not text:
        return ""
    try:
        prefix = parse(text)
    except ValueError as error:
        raise UsageError(f"{where} {key} is no prefix: {error}") from error
    if prefix.version == 6 and prefix.prefixlen != 64:
        raise UsageError(f"{where} ipv6 is a /{prefix.prefixlen}: a network of a lab is a /64")
    if prefix.version == 4 and not 8 <= prefix.prefixlen <= 28:
        raise UsageError(f"{where} ipv4 is a /{prefix.prefixlen}: a network of a lab is a /8 to /28")
    return str(prefix)


def _host(name: str, keys: dict[str, Any]) -> Host:
    where = f"[host.{name}]"
    if ("network" in keys) == ("networks" in keys):
        raise UsageError(f'{where} needs a place: network = "NAME", or networks = ["NAME", ...] for several')
    if "network" in keys:
        return Host(name, (_text(where, keys, "network"),))
    networks = keys["networks"]
    if not isinstance(networks, list) or not networks or not all(isinstance(each, str) for each in networks):
        raise UsageError(f'{where} networks should be a list of names: networks = ["home", "office"]')
    if len(set(networks)) < len(networks):
        raise UsageError(f"{where} is on one network twice: name each once")
    return Host(name, tuple(networks))


def _router(name: str, keys: dict[str, Any]) -> Router:
    where = f"[router.{name}]"
    ends = {end: _text(where, keys, end) for end in ("outside", "inside")}
    for end, network in ends.items():
        if not network:
            raise UsageError(f'{where} has no {end}: name the network on that side, {end} = "NAME"')
    if ends["outside"] == ends["inside"]:
        raise UsageError(f"{where} has the network {ends['inside']!r} on both sides: a router joins two")
    behaviour = {key: value for key, value in keys.items() if key not in ("outside", "inside", "kind")}
    if "kind" not in keys:
        return Router(name, ends["outside"], ends["inside"], _behaviour(where, behaviour))
    if behaviour:
        raise UsageError(f"{where} has a kind and {_words(behaviour)}: the kind says it all, so leave one out")
    kind = _kind(where, keys)
    if len(kind.chain) != 1 or kind.mapper or kind.proxy or kind.shared:
        raise UsageError(
            f"{where} cannot be a {kind.name!r}, which is more or less than one box: use a [site.NAME] of that kind"
        )
    return Router(name, ends["outside"], ends["inside"], kind.chain[0])


def _behaviour(where: str, keys: dict[str, Any]) -> NatBehaviour:
    values: dict[str, Any] = {}
    for key, value in keys.items():
        if key in _ENUMS:
            allowed = [str(each) for each in _ENUMS[key]]
            if value not in allowed:
                raise UsageError(f"{where} {key} is {value!r}: choose {_words(allowed, 'or')}")
            values[key] = _ENUMS[key](value)
        elif key in _FLAGS:
            if not isinstance(value, bool):
                raise UsageError(f"{where} {key} is {value!r}: choose true or false")
            values[key] = value
        else:
            least, most = _LIMITS[key]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise UsageError(f"{where} {key} is {value!r}: choose a whole number from {least} to {most}")
            values[key] = value
    nat = NatBehaviour(**values)
    for key, allocation in _ALLOCATION_OF.items():
        if key in keys and nat.allocation is not allocation:
            raise UsageError(
                f'{where} {key} is for allocation = "{allocation}", not {nat.allocation}: give that, or leave {key} out'
            )
    try:
        check_behaviour(nat)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return nat


def _add_site(
    builder: SiteBuilder, name: str, keys: dict[str, Any], known: set[str], internet: Network, insides: set[str]
) -> Kind:
    where = f"[site.{name}]"
    if "kind" not in keys:
        raise UsageError(f'{where} has no kind: name one, kind = "eim-apdf"; `ntvl lab matrix --help` lists them')
    kind = _kind(where, keys)
    if kind.shared:
        raise UsageError(f"{where} cannot be a {kind.name!r}, which is two hosts: write their networks and routers")
    outside = _text(where, keys, "outside") or internet.name
    if outside not in known:
        raise UsageError(
            f"{where} is outside on {outside!r}, which the lab does not have: it has {_words(sorted(known))}"
        )
    if kind.ipv6 and not internet.ipv6:
        raise UsageError(
            f"{where} of the kind {kind.name!r} needs IPv6 on the Internet: give [network.{internet.name}] ipv6"
        )
    if kind.mapper and (not internet.ipv4 or ipaddress.IPv4Network(internet.ipv4).is_private):
        raise UsageError(
            f"{where} of the kind {kind.name!r} needs an Internet with a public prefix, for miniupnpd maps to no other:"
            f' give [network.{internet.name}] ipv4 = "9.9.9.0/24"'
        )
    inside = builder.add(
        name,
        kind.chain,
        outside=outside,
        behind_nat=outside in insides,
        ipv4=kind.ipv4,
        ipv6=kind.ipv6,
    )
    builder.hosts.append(Host(name, (inside,)))
    return kind


def _kind(where: str, keys: dict[str, Any]) -> Kind:
    name = _text(where, keys, "kind")
    if name not in SITE_KINDS:
        raise UsageError(f"{where} kind is {name!r}: choose {_words(SITE_KINDS, 'or')}")
    return SITE_KINDS[name]


def _check_ways_out(topology: Topology) -> None:
    """Checks that from each network the way out ends, and that the two sides of a router differ in prefix."""
    networks = {network.name: network for network in topology.networks}
    outside_of = {router.inside: router.outside for router in topology.routers}
    for network in networks:
        step = network
        for _ in networks:
            step = outside_of.get(step, "")
        if step:
            raise UsageError(f"the way out of the network {network!r} leads in a circle: turn one router on it round")
    for router in topology.routers:
        for family in ("ipv4", "ipv6"):
            out, within = (str(getattr(networks[end], family)) for end in (router.outside, router.inside))
            if out and within and ipaddress.ip_network(out).overlaps(ipaddress.ip_network(within)):
                raise UsageError(
                    f"the router {router.name!r} has {out} outside and {within} inside, which overlap: it could not"
                    " tell the sides apart, so change one"
                )


def _text(where: str, keys: dict[str, Any], key: str) -> str:
    value = keys.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f'{where} {key} should be text: {key} = "..."')
    return value


def _words(names: Any, last: str = "and") -> str:
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
