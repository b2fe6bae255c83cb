"""What was found out about the NATs in front of this host: facts, each with what could not be known and why.

Mapping and filtering are given as all that is still possible, least dependent first: one where it is known, several
where it is known in part, all three where nothing is. What a report cannot say it says by a note, which has a word for
programs and a sentence for people.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ntvl.nat import Chain, Filtering, Mapping, NatBehaviour, PortAllocation
from ntvl.wire.address import Address

__all__ = ["NOTES", "Confidence", "NatReport", "Pooling", "ServerReport"]

NOTES: Final[dict[str, str]] = {
    "no-answer": "No server answered: UDP is blocked, or all of them are down.",
    "no-server": "There was nobody to ask, as no server's name resolves: nothing was measured.",
    "no-family": "Nothing was measured: no server has an address of a family (IPv4, IPv6) with a way out here.",
    "no-ipv4": "No server answered over IPv4, so there is nothing to say about IPv4's NAT.",
    "server-silent": "At least one server did not answer.",
    "server-error": "At least one server answered with an error.",
    "addresses-differ": "The servers see different public addresses.",
    "mapping-one-address": "Only one server address answered: whether the mapping depends on the address is unknown.",
    "mapping-one-port": "No server has a second port: whether the mapping depends on the port is unknown.",
    "filtering-port": "No server can answer from a second port: filtering by port is unknown.",
    "filtering-address": "No server can answer from an address that was not asked: filtering by address is unknown.",
    "filtering-claimed": "That strangers are kept out rests on one server's word that it has a second address.",
    "change-ignored": "A server that was asked to answer from elsewhere did not: its answers say nothing of filtering.",
    "other-unusable": "A server names a second address at which nobody can be reached; it is not followed.",
    "other-private": "A server names a second address in a private network; it is not followed.",
    "other-third-party": "A server names a second address that may be somebody else's; nothing is sent there.",
    "ports-few": "Too few ports were seen to tell how they are chosen.",
    "hairpin-mapping": "Hairpinning is unknown, for the ports of this mapping cannot be known beforehand.",
    "hairpin-agreement": "Hairpinning is unknown, for it takes two servers that see the same public address.",
    "budget": "The packet budget was used up before the end.",
    "time": "Time was up before the end.",
}
"""Every note, by its code."""

_ALL_MAPPINGS: Final = tuple(Mapping)
_ALL_FILTERINGS: Final = tuple(Filtering)


class Pooling(StrEnum):
    """Says which of several external addresses a host's mappings get (RFC 4787 section 4.1)."""

    PAIRED = "paired"
    ARBITRARY = "arbitrary"


class Confidence(StrEnum):
    """Says how far to trust a report: HIGH if nothing is unknown, LOW if not even the mapping is known."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class ServerReport:
    """Is what one server said: `rtt_s` None without an answer, `seen_at` where it sees socket 0."""

    address: Address
    rtt_s: float | None = None
    seen_at: Address | None = None
    has_other_port: bool = False


@dataclass(frozen=True, slots=True)
class NatReport:
    """Is what is known of the NATs in front of this host, as one box; all but `ipv6_*` is about IPv4.

    Args:
        udp: whether any server answered.
        servers: in the order in which they were given.
        addresses: the public addresses that servers see.
        translated: whether there is a NAT at all, None without an answer.
        mappings, filterings: all that is still possible; never empty.
        allocation: None where it is unknown, or nothing is translated.
        step: ports between two SEQUENTIAL mappings; negative where they count down.
        ports: lowest and highest external port that was seen.
        block_ports: a guess at the size of a BLOCK_RANDOM block, 0 for none.
        pooling: None where too little was seen.
        hairpin: None where it is unknown, or nothing is translated.
        ipv6_address: where a server sees us over IPv6, "" for nowhere.
        ipv6_translated: None without IPv6.
        notes: keys of `NOTES`: why something is unknown, or doubtful.
        sent_pkts: datagrams that it took.
        elapsed_s: seconds that it took.
    """

    udp: bool
    servers: tuple[ServerReport, ...] = ()
    addresses: tuple[str, ...] = ()
    translated: bool | None = None
    mappings: tuple[Mapping, ...] = _ALL_MAPPINGS
    filterings: tuple[Filtering, ...] = _ALL_FILTERINGS
    allocation: PortAllocation | None = None
    step: int = 1
    ports: tuple[int, int] | None = None
    block_ports: int = 0
    pooling: Pooling | None = None
    hairpin: bool | None = None
    ipv6_address: str = ""
    ipv6_translated: bool | None = None
    notes: tuple[str, ...] = ()
    sent_pkts: int = 0
    elapsed_s: float = 0.0

    @property
    def mapping(self) -> Mapping | None:
        """Returns the mapping, None where more than one is possible."""
        return self.mappings[0] if len(self.mappings) == 1 else None

    @property
    def filtering(self) -> Filtering | None:
        """Returns the filtering, None where more than one is possible."""
        return self.filterings[0] if len(self.filterings) == 1 else None

    @property
    def confidence(self) -> Confidence:
        """Returns how far to trust this."""
        if self.mapping is None:
            return Confidence.LOW
        unknown = self.filtering is None or (self.translated and self.allocation is None)
        doubtful = {"filtering-claimed", "server-silent", "budget", "time"} & set(self.notes)
        return Confidence.MEDIUM if unknown or doubtful else Confidence.HIGH

    def behaviour(self) -> NatBehaviour:
        """Returns the worst box that would look like this: the most dependent of what is possible.

        A step that counts down is given as its size; what is unknown of the ports is RANDOM, and so is a port that was
        kept towards one server and not towards the next.
        """
        allocation = self.allocation or PortAllocation.RANDOM
        if allocation is PortAllocation.PRESERVING and Mapping.ENDPOINT_INDEPENDENT not in self.mappings:
            allocation = PortAllocation.RANDOM
        return NatBehaviour(
            self.mappings[-1],
            self.filterings[-1],
            allocation,
            step=abs(self.step),
            block_ports=self.block_ports or NatBehaviour().block_ports,
            hairpin=bool(self.hairpin),
            translates=self.translated is not False,
        )

    def chain(self) -> Chain:
        """Returns what `nat.direct_path_possible` takes: nothing for an open host, else one box."""
        if self.translated is False and self.filtering is Filtering.ENDPOINT_INDEPENDENT:
            return ()
        return (self.behaviour(),)
