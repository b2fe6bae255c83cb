"""Kinds of places where a host can be: the boxes in front of it, what they let out, and what helps it; and an oracle.

A `Kind` is more than a chain of boxes (`ntvl.nat`): address families, a router that maps ports on request, an HTTP
proxy, or two hosts that share boxes. Simulator and laboratory build kinds from this one table, and `expect` tells for
two of them the best path that theory allows to two nodes that know every technique, and how soon it should be there.

Only `open` and `ipv6-only` have IPv6 beside the supernodes: were it everywhere, no NAT would be crossed at all.

The times are those that the project has set itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Final, Literal, NamedTuple

from ntvl.errors import UsageError
from ntvl.nat import (
    KINDS,
    Chain,
    Filtering,
    Mapping,
    NatBehaviour,
    Passage,
    PortAllocation,
    combine,
    direct_path_possible,
)

__all__ = ["SITE_KINDS", "Expectation", "Kind", "expect", "parse_kinds", "plan_pairs", "plan_waves"]

Mapper = Literal["", "upnp", "pcp"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Is one kind of place.

    Args:
        title: what it is, in words that follow "behind".
        chain: the boxes, innermost first.
        ipv4, ipv6: which families the host has; IPv6 is filtered by the boxes, never translated.
        mapper: which protocol the innermost router speaks to open ports; "pcp" is NAT-PMP as well.
        proxy: whether the innermost router runs an HTTP proxy, which the host is told of.
        shared: for two hosts that share so many of the outermost boxes; such a kind is a pair by itself.
        simulated: whether the simulator builds it, too.
    """

    name: str
    title: str
    chain: Chain
    ipv4: bool = True
    ipv6: bool = False
    mapper: Mapper = ""
    proxy: bool = False
    shared: int = 0
    simulated: bool = True

    @property
    def passes_udp(self) -> bool:
        """Returns whether UDP gets out at all."""
        return combine(self.chain).passes is Passage.ALL

    @property
    def reachable_chain(self) -> Chain:
        """Returns the boxes as they are once a port is mapped: a mapped port is open to everybody."""
        if not self.mapper:
            return self.chain
        return tuple(replace(nat, filtering=Filtering.ENDPOINT_INDEPENDENT) for nat in self.chain)


class Expectation(NamedTuple):
    """Is what theory allows a pair: "direct" or "relay", by which technique ("" for a relay), and the times in seconds
    from the first packet, `direct_s` None on a relay.
    """

    path: str
    technique: str
    first_reply_s: float
    direct_s: float | None


_HOME: Final = NatBehaviour()
_COUNTING: Final = NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.SEQUENTIAL)
_HAIRPIN: Final = NatBehaviour(hairpin=True)

_TITLES: Final = {
    "open": "nothing, a public address",
    "firewall": "a firewall without NAT",
    "eim-eif": "endpoint-independent mapping and filtering",
    "eim-adf": "endpoint-independent mapping, filtering by address",
    "eim-apdf": "endpoint-independent mapping, filtering by port",
    "apdm-preserving": "endpoint-dependent mapping that keeps ports",
    "apdm-sequential": "endpoint-dependent mapping, ports in steps of 1",
    "apdm-block": "endpoint-dependent mapping, random in 1,024 ports",
    "apdm-random": "endpoint-dependent mapping, fully random ports",
    "double": "two NATs",
    "cgn": "a home router and a carrier's NAT",
}
_ALL: Final = (
    *(Kind(name, _TITLES[name], chain, ipv6=name == "open") for name, chain in KINDS.items()),
    Kind("apdm-sequential-2", "endpoint-dependent mapping, ports in steps of 2", (replace(_COUNTING, step=2),)),
    Kind("triple", "three NATs", (_HOME, _HOME, _HOME)),
    Kind("short-lifetime", "a NAT that forgets after 20 s", (replace(_HOME, lifetime_s=20.0),)),
    Kind("upnp", "a home router with UPnP", (_HOME,), mapper="upnp", simulated=False),
    Kind("pcp", "a home router with NAT-PMP and PCP", (_HOME,), mapper="pcp"),
    Kind("no-udp", "a NAT that lets no UDP out", (replace(_HOME, passes=Passage.NO_UDP),)),
    Kind("tcp-443", "a NAT that lets out TCP port 443 only", (replace(_HOME, passes=Passage.TCP_443),)),
    Kind(
        "http-proxy",
        "an HTTP proxy and no other way out",
        (replace(_HOME, passes=Passage.NOTHING),),
        proxy=True,
    ),
    Kind("ipv6-only", "a firewall, without IPv4", KINDS["firewall"], ipv4=False, ipv6=True),
    Kind("same-nat", "one NAT that hairpins, on one LAN", (_HAIRPIN,), shared=1),
    Kind("same-nat-no-hairpin", "one NAT that does not hairpin, on one LAN", (_HOME,), shared=1),
    Kind(
        "carrier-hairpin", "home routers of their own and one carrier's NAT that hairpins", (_HOME, _HAIRPIN), shared=1
    ),
    Kind(
        "carrier-no-hairpin",
        "home routers of their own and one carrier's NAT that does not hairpin",
        (_HOME, _HOME),
        shared=1,
    ),
)

SITE_KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _ALL}
"""Every kind by its name, in the order that tables have."""

_FIRST_REPLY_S: Final = 1.0
_FIRST_REPLY_BY_STREAM_S: Final = 5.0
_DIRECT_S: Final = {"simultaneous-udp": 2.0, "port-prediction": 5.0, "birthday": 15.0, "tcp-simultaneous-open": 5.0}
"""After the first packet, by the technique that theory needs."""


def expect(left: Kind, right: Kind) -> Expectation:
    """Returns what theory allows to two hosts in places of these kinds, each in one of its own.

    A kind with `shared` boxes is judged with itself, where the two hosts share them. Two hosts with IPv6 meet by IPv6,
    for nothing translates it. Otherwise `direct_path_possible` decides: where the known addresses are enough, two
    seconds are; where ports must be predicted, five; where they must be guessed, fifteen. Without UDP on one side the
    first reply may take five seconds, for other carriers are tried one after another, and so may a direct path by TCP,
    which is possible where the known addresses are enough or one NAT counts its ports; else there is the relay.

    Raises:
        ValueError: a kind with shared boxes, and another one.
    """
    if (left.shared or right.shared) and left != right:
        raise ValueError(f"{left.name} and {right.name} share no box: a pair of {left.name} is two hosts of that kind")
    by_stream = not (left.passes_udp and right.passes_udp)
    first_reply_s = _FIRST_REPLY_BY_STREAM_S if by_stream else _FIRST_REPLY_S
    by_tcp = by_stream and _meet_by_tcp(left, right)
    technique = "tcp-simultaneous-open" if by_tcp else "" if by_stream else _technique(left, right)
    return Expectation("direct" if technique else "relay", technique, first_reply_s, _DIRECT_S.get(technique))


def parse_kinds(names: Iterable[str]) -> list[Kind]:
    """Returns the kinds of these names, each once, in the order of the table.

    Raises:
        UsageError: a name that no kind has.
    """
    wanted = set(names)
    unknown = sorted(wanted - set(SITE_KINDS))
    if unknown:
        raise UsageError(f"there is no kind {unknown[0]!r}: choose from {', '.join(SITE_KINDS)}")
    return [kind for name, kind in SITE_KINDS.items() if name in wanted]


def plan_pairs(kinds: Sequence[Kind]) -> list[tuple[Kind, Kind]]:
    """Returns every pair of kinds once, and each kind with itself; kinds with shared boxes with themselves alone."""
    alone = [kind for kind in kinds if kind.shared]
    return [
        *combinations_with_replacement([kind for kind in kinds if not kind.shared], 2),
        *((kind, kind) for kind in alone),
    ]


def plan_waves(kinds: Sequence[Kind]) -> list[list[tuple[Kind, Kind]]]:
    """Returns the pairs in waves, in each of which a kind is at most once on the left and once on the right.

    With a host of each kind on either side, every host then talks to one other at a time. In wave N each kind meets the
    one N places further on, as in a round-robin tournament: n kinds take n/2 + 1 waves. Sides may be exchanged.
    """
    crossed = [kind for kind in kinds if not kind.shared]
    count = len(crossed)
    waves = []
    for distance in range(count // 2 + 1 if count else 0):
        firsts = count // 2 if 2 * distance == count else count  # half way round each pair would come twice
        waves.append([(crossed[i], crossed[(i + distance) % count]) for i in range(firsts)])
    alone = [(kind, kind) for kind in kinds if kind.shared]
    return [alone + waves[0], *waves[1:]] if waves else [alone] if alone else []


def _meet_by_tcp(left: Kind, right: Kind) -> bool:
    """Returns whether the two find a direct path by TCP; NATs filter connections by address and port."""
    chains = [
        tuple(
            replace(
                nat,
                filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT,
                passes=Passage.ALL if nat.passes is Passage.NO_UDP else nat.passes,
            )
            for nat in kind.chain
        )
        for kind in (left, right)
    ]
    if left.ipv6 and right.ipv6:
        return all(combine(chain).passes is Passage.ALL for chain in chains)
    if not (left.ipv4 and right.ipv4):
        return False
    if direct_path_possible(*chains, shared=left.shared):
        return True
    dependent = [side for side in map(combine, chains) if side.apparent_mapping is not Mapping.ENDPOINT_INDEPENDENT]
    counts = len(dependent) == 1 and dependent[0].allocation is PortAllocation.SEQUENTIAL
    return counts and direct_path_possible(*chains, shared=left.shared, techniques="all")


def _technique(left: Kind, right: Kind) -> str:
    """Returns the technique that finds a direct path by UDP, or "" where there is none."""
    if left.ipv6 and right.ipv6:
        return "simultaneous-udp"
    if not (left.ipv4 and right.ipv4):
        return ""
    chains, shared = (left.reachable_chain, right.reachable_chain), left.shared
    if direct_path_possible(*chains, shared=shared):
        return "simultaneous-udp"
    if not direct_path_possible(*chains, shared=shared, techniques="all"):
        return ""
    dependent = [side for side in map(combine, chains) if side.apparent_mapping is not Mapping.ENDPOINT_INDEPENDENT]
    counts = all(side.allocation is PortAllocation.SEQUENTIAL for side in dependent)
    return "port-prediction" if counts else "birthday"
