"""A drawing of a topology in plain characters, for a terminal: the Internet on top, a column for each site below."""

from typing import Final

from ntvl.lab.topology import INTERNET, Topology
from ntvl.nat import Filtering, NatBehaviour, PortAllocation

__all__ = ["describe_nat", "draw_sites"]

_GAP: Final = 3
_PIPE: Final = "|"


def describe_nat(nat: NatBehaviour) -> str:
    """Returns in two or three words what a box does to ports."""
    if not nat.translates:
        return "firewall, no NAT"
    words = {
        PortAllocation.PRESERVING: "keeps ports",
        PortAllocation.SEQUENTIAL: "counts ports up",
        PortAllocation.BLOCK_RANDOM: "random ports, block",
        PortAllocation.RANDOM: "random ports",
    }[nat.allocation]
    lax = {Filtering.ENDPOINT_INDEPENDENT: ", lets all in", Filtering.ADDRESS_DEPENDENT: ", by address"}
    return words + lax.get(nat.filtering, "")


def draw_sites(topology: Topology) -> str:
    """Returns the drawing of a topology that `build_sites` made: lines without trailing spaces."""
    publics = [host.name for host in topology.hosts if host.networks[0] == INTERNET]
    sites = [host.name for host in topology.hosts if host.name not in publics]
    columns = [_column(topology, site) for site in sites]
    height = max((len(column) for column in columns), default=0)
    for column in columns:  # the host stands at the bottom, a wire fills what is missing above it
        column[-2:-2] = [_PIPE] * (height - len(column))
    widths = [max(map(len, column)) for column in columns]
    rows = [
        (" " * _GAP).join(cell.center(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]
    internet = next(network for network in topology.networks if network.name == INTERNET)
    label = f" Internet {internet.ipv4} "
    width = max([len(row) for row in rows] + [40])
    tops = [f"{name} {_plain(topology.interfaces(name)[0].ipv4)}" for name in publics]
    lines = [row.center(width) for row in (["    ".join(tops), _PIPE] if tops else [])]
    lines += [label.center(width, "="), *rows]
    return "\n".join(line.rstrip() for line in lines)


def _column(topology: Topology, site: str) -> list[str]:
    """Returns what is below the Internet, from there to the host, of which the last two lines are name and address."""
    below: list[list[str]] = []
    network = topology.interfaces(site)[0].network
    while network != INTERNET:
        router = next(router for router in topology.routers if router.inside == network)
        wan = topology.interfaces(router.name)[0].ipv4
        below.insert(0, [_PIPE, f"[{router.name}]", _plain(wan), describe_nat(router.nat)])
        network = router.outside
    address = _plain(topology.interfaces(site)[0].ipv4)
    return [line for box in below for line in box] + [_PIPE, site, address]


def _plain(cidr: str) -> str:
    return cidr.partition("/")[0]
