"""What NATs do, in the words of RFC 4787, and an oracle of which pairs can be direct.

A path through NATs is a `Chain`: the boxes between a host and the Internet, innermost first; the empty chain is a host
with a public address and no filter. Simulator and laboratory build the same named kinds (`KINDS`) and judge the same
pairs (`MATRIX`) by the same oracle (`direct_path_possible`), so a pair that does not become direct is either expected
or a bug.

Facts about kernel NATs that make a named kind mean the same in both places:

- Linux `masquerade` maps each connection on its own but keeps the source port and lets several destinations share it,
  so a single host sees an endpoint-independent mapping until two hosts behind the box use one source port towards one
  destination. It filters by address and port. "eim-apdf" and "apdm-preserving" are therefore the same nftables rule.
- `masquerade random` and `fully-random` draw a port for each connection ("apdm-random"; with `to :40000-41023`,
  "apdm-block").
- A datagram that comes in before the mapping goes out must be dropped before it is delivered to the box itself (policy
  drop in `input`), as home routers do. Otherwise connection tracking keeps it, and the later outgoing flow gets
  another port (`takes_unsolicited`).
- Linux forgets a flow 30 s after its only packet and 120 s after the last of a flow with answers; `lifetime_s` is the
  latter, so keepalives must be more frequent than every 30 s.

Source: RFC 4787 sections 4 (mapping, pooling, port assignment, lifetime), 5 (filtering) and 6 (hairpinning).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations_with_replacement
from typing import Final, Literal

__all__ = [
    "KINDS",
    "MATRIX",
    "Chain",
    "Filtering",
    "Mapping",
    "NatBehaviour",
    "Passage",
    "PortAllocation",
    "Techniques",
    "combine",
    "direct_path_possible",
    "find_kind",
]


class Mapping(StrEnum):
    """Says when a NAT uses one external port again for an internal one (RFC 4787 section 4.1); least dependent
    first.
    """

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(StrEnum):
    """Says from whom a mapping lets datagrams in (RFC 4787 section 5): from anybody, or from where it has sent."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class PortAllocation(StrEnum):
    """Says which external port a new mapping gets (RFC 4787 section 4.2.1); most predictable first.

    PRESERVING keeps the internal port while that is free; towards different destinations an endpoint-dependent NAT
    uses it again (port overloading), so peers see one port. SEQUENTIAL adds a step to the last one. BLOCK_RANDOM draws
    from a contiguous block that belongs to the internal host, RANDOM from all ports above 1023.
    """

    PRESERVING = "preserving"
    SEQUENTIAL = "sequential"
    BLOCK_RANDOM = "block-random"
    RANDOM = "random"


class Passage(StrEnum):
    """Says what a box lets out from inside, most first; what comes back on a flow that is out is let in.

    NO_UDP drops UDP alone, TCP_443 lets out nothing but TCP to port 443, NOTHING leaves no way but a proxy on the box.
    """

    ALL = "all"
    NO_UDP = "no-udp"
    TCP_443 = "tcp-443"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """Is what one box does to UDP.

    Args:
        translates: False for a firewall that leaves addresses alone; `mapping` and `allocation` then mean nothing.
        step: ports between two SEQUENTIAL mappings, 1 or more.
        block_ports: size of a BLOCK_RANDOM block.
        hairpin: whether two hosts inside reach each other by their external addresses (section 6).
        lifetime_s: seconds without a datagram, in either direction, after which a mapping is forgotten (section 4.3).
        takes_unsolicited: whether it takes for itself what comes from outside and nobody inside has asked for, as a
            box without an input filter does, and keeps that as a flow: a host's own datagram to where it came from
            then leaves from another port, for 30 s after the last one.
        passes: what gets out at all; anything but ALL is the end of UDP, and the rest then means nothing.
    """

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    allocation: PortAllocation = PortAllocation.PRESERVING
    step: int = 1
    block_ports: int = 1024
    hairpin: bool = False
    lifetime_s: float = 120.0
    translates: bool = True
    takes_unsolicited: bool = False
    passes: Passage = Passage.ALL

    @property
    def apparent_mapping(self) -> Mapping:
        """Returns the mapping that peers see: a preserved port looks endpoint-independent."""
        if not self.translates or self.allocation is PortAllocation.PRESERVING:
            return Mapping.ENDPOINT_INDEPENDENT
        return self.mapping


Chain = tuple[NatBehaviour, ...]
"""The boxes between a host and the Internet, the one nearest to the host first."""

Techniques = Literal["simultaneous", "all"]
"""What the two nodes can do: fire at each other's known addresses at one moment, or also predict and guess ports."""

_APDM: Final = Mapping.ADDRESS_AND_PORT_DEPENDENT
_HOME: Final = NatBehaviour()

KINDS: Final[dict[str, Chain]] = {
    "open": (),
    "firewall": (NatBehaviour(translates=False),),
    "eim-eif": (NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT),),
    "eim-adf": (NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT),),
    "eim-apdf": (_HOME,),
    "apdm-preserving": (NatBehaviour(_APDM),),
    "apdm-sequential": (NatBehaviour(_APDM, allocation=PortAllocation.SEQUENTIAL),),
    "apdm-block": (NatBehaviour(_APDM, allocation=PortAllocation.BLOCK_RANDOM),),
    "apdm-random": (NatBehaviour(_APDM, allocation=PortAllocation.RANDOM),),
    "double": (_HOME, _HOME),
    "cgn": (_HOME, NatBehaviour(_APDM, allocation=PortAllocation.BLOCK_RANDOM)),
}
"""Every kind that simulator and laboratory build, by the name that tables show."""

MATRIX: Final[tuple[tuple[str, str], ...]] = tuple(combinations_with_replacement(KINDS, 2))
"""Every pair of kinds once, each side behind boxes of its own."""


def find_kind(chain: Sequence[NatBehaviour]) -> str | None:
    """Returns the name of a chain in `KINDS`, or None for one that has none."""
    return next((name for name, known in KINDS.items() if known == tuple(chain)), None)


def combine(chain: Sequence[NatBehaviour]) -> NatBehaviour:
    """Returns the one box that looks, from the Internet, like a chain of them.

    Each box sees the remote's real address, so the most dependent mapping and the strictest filter win, the least
    predictable allocation among the endpoint-dependent boxes, the shortest lifetime and the narrowest passage, and the
    outermost box hairpins.
    """
    mapping = max(
        (nat.apparent_mapping for nat in chain), key=list(Mapping).index, default=Mapping.ENDPOINT_INDEPENDENT
    )
    filtering = max((nat.filtering for nat in chain), key=list(Filtering).index, default=Filtering.ENDPOINT_INDEPENDENT)
    hardest = max(
        (nat for nat in chain if nat.apparent_mapping is not Mapping.ENDPOINT_INDEPENDENT),
        key=lambda nat: list(PortAllocation).index(nat.allocation),
        default=NatBehaviour(),
    )
    return NatBehaviour(
        mapping,
        filtering,
        hardest.allocation,
        hardest.step,
        hardest.block_ports,
        hairpin=bool(chain) and chain[-1].hairpin,
        lifetime_s=min((nat.lifetime_s for nat in chain), default=float("inf")),
        translates=any(nat.translates for nat in chain),
        takes_unsolicited=any(nat.takes_unsolicited for nat in chain),
        passes=max((nat.passes for nat in chain), key=list(Passage).index, default=Passage.ALL),
    )


def direct_path_possible(
    left: Sequence[NatBehaviour],
    right: Sequence[NatBehaviour],
    *,
    shared: int = 0,
    techniques: Techniques = "simultaneous",
) -> bool:
    """Returns whether two hosts behind these chains can exchange UDP directly.

    Both know the other's host addresses and the address at which a server on the Internet sees it ("advertised"). Both
    send there at one moment, and answer where a check comes from (peer-reflexive). It follows, for the combined boxes:

    1. Endpoint-independent mapping on both sides: yes. Each sends from its advertised address to the other's, which is
       just what the strictest filter waits for.
    2. Endpoint-dependent (D) against endpoint-independent (E): D's datagrams leave from a port that E has never heard
       of. Yes if E lets in a new port of an address it has sent to, or anybody; E then answers from the address that D
       sent to. No if E filters by address and port: neither end ever sends to a port where the other is expected.
    3. Endpoint-dependent on both sides: a datagram to an advertised port meets a mapping made for the server. It enters
       only where filtering is endpoint-independent; the answer comes from yet another port, which the first side must
       let in as well; and the exchange settles on one pair of ports only if one side keeps one port for all ports of an
       address. Practically no.

    With `techniques="all"`, ports that cannot be known are predicted or guessed:

    4. In case 2, E can open its filter towards predicted ports (sequential allocation) or towards many of the pool
       while D keeps many mappings open (block or random allocation, the birthday bound): yes.
    5. In case 3, yes if both allocate sequentially; with a random pool on either side the budget is out of reach.

    Where a box lets no UDP out there is none to exchange.

    Hosts that share outer boxes meet inside: on the network behind the innermost shared box a host (or one behind
    firewalls only) is reached at its own address. If both have further NATs of their own there, no server tells their
    addresses on that network, and the only way is up to the outermost box and back, if that hairpins.

    Args:
        shared: how many of the outermost boxes are the same ones for both; if equal to both lengths, one LAN.
    """
    if shared:
        if not 0 <= shared <= min(len(left), len(right)) or tuple(left[-shared:]) != tuple(right[-shared:]):
            raise ValueError(f"chains of {len(left)} and {len(right)} boxes do not share the outer {shared}")
        if _possible_inside(combine(left[:-shared]), combine(right[:-shared])):
            return True
        if not left[-1].hairpin:
            return False
    return _possible_outside(combine(left), combine(right), techniques)


def _possible_inside(left: NatBehaviour, right: NatBehaviour) -> bool:
    """Judges two hosts on one network where a translated side's address there is unknown until it sends."""
    if not _let_udp_out(left, right):
        return False
    if not left.translates and not right.translates:
        return True
    return any(not side.translates and side.filtering is Filtering.ENDPOINT_INDEPENDENT for side in (left, right))


def _possible_outside(left: NatBehaviour, right: NatBehaviour, techniques: Techniques) -> bool:
    if not _let_udp_out(left, right):
        return False
    dependent = [side for side in (left, right) if side.mapping is not Mapping.ENDPOINT_INDEPENDENT]
    if not dependent:
        return True
    if len(dependent) == 1:
        independent = right if dependent[0] is left else left
        return techniques == "all" or independent.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT
    filters = {left.filtering, right.filtering}
    settles = Mapping.ADDRESS_DEPENDENT in (left.mapping, right.mapping)
    if settles and Filtering.ENDPOINT_INDEPENDENT in filters and Filtering.ADDRESS_AND_PORT_DEPENDENT not in filters:
        return True
    return techniques == "all" and all(side.allocation is PortAllocation.SEQUENTIAL for side in dependent)


def _let_udp_out(*sides: NatBehaviour) -> bool:
    return all(side.passes is Passage.ALL for side in sides)
