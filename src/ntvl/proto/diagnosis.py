"""Says why the path to a peer is as it is: one cause, and one thing to do about it. Pure.

Both ends' records go in, of which the peer's are its word. The first of these questions that has an answer gives the
cause: is anybody there at all? is the path direct? can the peer be talked to? is anybody looking for a direct path?
did the two ends agree on an attempt? is there an address to aim at? do the NATs allow it, by theory (`ntvl.nat`)? and
if they do, where did packets get lost?

Names of techniques, verdicts and kinds of candidates are open: an unknown technique is shown as it is called.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ntvl.nat import Filtering, Mapping, NatBehaviour, PortAllocation, direct_path_possible
from ntvl.proto.attempt import NO_SOCKETS
from ntvl.proto.duration import format_duration
from ntvl.proto.technique import is_dependent
from ntvl.proto.text import printable
from ntvl.wire.control import UNKNOWN_NAT, Candidate, Nat, Record, Records

__all__ = [
    "CAUSES",
    "METHODS",
    "SILENCES",
    "Case",
    "Cause",
    "Diagnosis",
    "Rung",
    "build_ladder",
    "describe_nat",
    "diagnose",
    "nat_word",
]


class Cause(NamedTuple):
    """Is a sentence, and a sentence that says what to do, with names in braces."""

    sentence: str
    fix: str


_PORTS: Final = "{way_out}"

CAUSES: Final[dict[str, Cause]] = {
    "silent": Cause(
        "{peer} does not answer by any way, and nothing has come from it for {time}.",
        "See whether its node runs, and whether its computer is on the network.",
    ),
    "direct": Cause("{peer} is reached directly at {address}, by {technique}: {method}.", ""),
    "no-handshake": Cause(
        "{peer} does not answer handshakes.", "See whether its node runs, and whether a log says that one was refused."
    ),
    "out-of-reach": Cause(
        "There is no way to {peer}: no direct path, and no supernode that relays to it.",
        "Compare `ntvl status` of both: one supernode has to be registered at both ends.",
    ),
    "direct-off": Cause(
        "Direct paths are switched off at {side}, so everything is relayed.", "Switch them on again there."
    ),
    "not-in-use": Cause(
        "Nobody has used {peer} for five minutes, so no direct path is kept or looked for.",
        "Use it, by `ntvl ping` for example, and ask again.",
    ),
    "trying": Cause(
        "An attempt at a direct path to {peer} is under way, by {technique}.", "Ask again in some seconds."
    ),
    "udp-blocked": Cause(
        "UDP does not get out at {side}, and no TCP connection between the two ends has opened.",
        "Let UDP out at the firewall there.",
    ),
    "no-attempt": Cause("No attempt at a direct path to {peer} has ended yet.", "Ask again in some seconds."),
    "no-answer": Cause(
        "{side} did not answer the offer of a direct path: its program is older, or what is relayed gets lost.",
        "See with `ntvl ping` whether it answers, and bring both ends to one version.",
    ),
    "no-address": Cause(
        "{side} has named no address to be reached at.",
        "See with `ntvl status` there whether its supernodes are registered.",
    ),
    "ip-versions": Cause(
        "One end has only IPv4 and the other only IPv6: there is no address that both can use.",
        "Give {side} IPv4, or the other end IPv6.",
    ),
    "no-hairpin": Cause(
        "Both are behind the one public address {address}, whose router does not turn packets back inside.",
        "Switch on hairpinning (NAT loopback) at that router, or bring both into one network.",
    ),
    "no-sockets": Cause(
        "The router at {side} picks the port for each peer, and all sockets for finding it are taken by other peers.",
        "Wait for the next attempt.",
    ),
    "no-guessing": Cause(
        "The router at {side} picks the port for each peer, and one end lets no ports be guessed.",
        "Allow it at both ends.",
    ),
    "put-off": Cause(
        "The router at {side} picks the port for each peer, and the supernode has put the guessing of it off.",
        "Wait for the next attempt.",
    ),
    "ports-missed": Cause(
        "The router at {side} picks the port for each peer, and {technique} did not find it with {count} packets.",
        _PORTS,
    ),
    "both-random": Cause("Both routers pick random ports, so neither end knows where to send to.", _PORTS),
    "random-and-sequential": Cause(
        "Both routers pick the port for each peer, one of them at random, so neither end knows where to send to.",
        _PORTS,
    ),
    "both-sequential": Cause("Both routers take the next port for each peer, and nobody has guessed it.", _PORTS),
    "one-random": Cause(
        "The router at {side} picks a random port for each peer, and the other end lets in only whom it has sent to.",
        _PORTS,
    ),
    "one-sequential": Cause(
        "The router at {side} takes the next port for each peer, and the other end lets in only whom it has sent to.",
        _PORTS,
    ),
    "nat-unknown": Cause(
        "What the router at {side} does is not known, and checks from both ends were not answered.",
        "Find out with `ntvl netcheck` there.",
    ),
    "lost": Cause(
        "A direct path by {technique} was there, and was lost: a router has forgotten it, or a network has changed.",
        "Wait for the next attempt; if it happens again, look for a short UDP timeout at the routers.",
    ),
    "outgoing-filtered": Cause(
        "The routers allow a direct path, but what is sent from {side} does not arrive, while it hears the other end.",
        "Let UDP out to any address and port at the firewall or router there.",
    ),
    "firewall": Cause(
        "The routers allow a direct path, but no packet arrives either way: a firewall drops them, or a router keeps"
        " them for itself.",
        "Let UDP through at both ends, first at the computers' own firewalls; at a router that is a plain Linux box or"
        " a phone, drop what comes in unasked.",
    ),
}
"""Every cause, by its code, in the order in which they are looked for."""

METHODS: Final[dict[str, str]] = {
    "lan": "both are in one network",
    "simultaneous-udp": "both ends sent at one moment, and each router let the other's packets in",
    "port-prediction": "the next ports of a router were known beforehand",
    "tcp-simultaneous-open": "both ends opened one TCP connection at one moment, since UDP does not get through",
    "birthday": "one of many guesses met the random port of a router",
    "peer-reflexive": "its packets came from there",
}
"""What made a direct path, in words; "lan" for an address in a private network."""

SILENCES: Final[dict[str, str]] = {
    "timeout": "{peer} did not tell its side in time, so this is what is known here.",
    "unsupported": "{peer} runs an older version, which does not tell its side.",
    "no-session": "There is no session with {peer} to ask it by, so this is what is known here.",
}
"""Why only one side is shown."""

SILENT_S: Final = 4.0
"""Three questions without an answer, and nothing else for so long, are no chance loss."""
_PRIVATE: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_OFFER: Final = "offer"
_NO_GUESSES: Final = "one side lets no ports be guessed"
_PLAIN: Final = "simultaneous-udp"


@dataclass(frozen=True, slots=True)
class Case:
    """Is everything that a diagnosis goes by.

    Args:
        peer: what to call it.
        path: "direct", "none", or how else data goes.
        remote: the peer's address if direct, else "".
        technique: what made the path.
        is_used: whether anything went in the last minutes.
        kind: of the candidate that a direct path leads to.
        is_cut_off: whether no supernode can be reached from here.
        is_shaking: whether a handshake is waited for.
        silent_s: how long nothing has come from the peer, which was asked for its side and did not answer; None where
            it did, or could not be asked.
        ours: our side.
        theirs: the peer's side, None where it did not tell.
        offered: its NAT and candidates as its last offer or answer had them.
    """

    peer: str
    path: str
    ours: Records
    theirs: Records | None = None
    offered: tuple[Nat, tuple[Candidate, ...]] = (Nat(), ())
    remote: str = ""
    technique: str = ""
    kind: str = ""
    is_cut_off: bool = False
    is_used: bool = True
    is_shaking: bool = False
    silent_s: float | None = None

    @property
    def nats(self) -> tuple[Nat, Nat]:
        """Returns both ends' NATs, ours first; one that is told in other words than ours counts as unknown."""
        told = self.theirs is not None and self.theirs.nat.mapping
        theirs = self.theirs.nat if self.theirs is not None and told else self.offered[0]
        return self.ours.nat, theirs if theirs.mapping in set(Mapping) else UNKNOWN_NAT

    @property
    def candidates(self) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
        """Returns both ends' candidates, ours first."""
        theirs = self.theirs.candidates if self.theirs is not None else ()
        return self.ours.candidates, theirs or self.offered[1]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Says a cause: its code, which end it lies at ("local", "remote", "both" or ""), and two sentences.

    `lacks` names what would help: "port-mapping", "ipv6".
    """

    cause: str
    side: str
    sentence: str
    fix: str
    lacks: tuple[str, ...] = ()


class Rung(NamedTuple):
    """Is one technique in one attempt, as each end saw it; `age_s` since its end, by our clock where we have it."""

    attempt: int
    technique: str
    age_s: float
    ours: Record | None
    theirs: Record | None

    @property
    def both(self) -> tuple[Record, ...]:
        """Returns the records that there are."""
        return tuple(record for record in (self.ours, self.theirs) if record is not None)

    @property
    def verdicts(self) -> set[str]:
        """Returns what it came to, at either end."""
        return {record.verdict for record in self.both}


def build_ladder(ours: Records, theirs: Records | None) -> list[Rung]:
    """Returns what was tried, oldest first: records of the same technique in the same attempt are one."""
    mine = {(record.attempt, record.technique): record for record in ours.records}
    others = {} if theirs is None else {(record.attempt, record.technique): record for record in theirs.records}
    rungs = [Rung(*key, (mine.get(key) or others[key]).age_s, mine.get(key), others.get(key)) for key in mine | others]
    return sorted(rungs, key=lambda rung: -rung.age_s)


def nat_word(nat: Nat) -> str:
    """Returns what a NAT is to those who want to cross it, as one short word, "" where it is not known.

    "open": anybody gets in. "easy": one port for all peers. "sequential", "block", "random": another port for each.
    """
    if not nat.mapping:
        return ""
    if is_dependent(nat):
        known = {PortAllocation.SEQUENTIAL: "sequential", PortAllocation.BLOCK_RANDOM: "block"}
        return next((word for each, word in known.items() if nat.allocation == each), "random")
    return "open" if nat.filtering == Filtering.ENDPOINT_INDEPENDENT else "easy"


def describe_nat(nat: Nat) -> dict[str, str | None]:
    """Returns what is known of a NAT, null where nothing is, and `nat_word` for it."""
    said = (printable(text) or None for text in (nat_word(nat), nat.mapping, nat.filtering, nat.allocation))
    return dict(zip(("word", "mapping", "filtering", "allocation"), said, strict=True))


def diagnose(case: Case) -> Diagnosis:
    """Returns the cause."""
    if case.is_cut_off and case.theirs is None and case.path in ("relay", "none"):
        return _say(case, "out-of-reach")
    if case.silent_s is not None and case.silent_s >= SILENT_S and case.is_used:
        return _say(case, "silent", "remote", time=format_duration(case.silent_s))
    if case.path == "direct":
        address = case.remote.rpartition(":")[0].strip("[]")
        is_near = case.kind == "host" and _is_private(address)
        method = METHODS.get("lan" if is_near else case.technique, "")
        technique = case.technique or "a check"
        return _say(case, "direct", address=case.remote, technique=technique, method=method)
    code, side = _find_obstacle(case)
    if code:
        return _say(case, code, side)
    ladder = build_ladder(case.ours, case.theirs)
    if not ladder:
        return _say(case, "no-attempt")
    last = [rung for rung in ladder if rung.attempt == ladder[-1].attempt]
    unanswered = next((rung for rung in last if rung.technique == _OFFER), None)
    if unanswered is not None and len(last) == 1:
        return _say(case, "no-answer", "remote" if unanswered.ours is not None else "local")
    return _judge(case, ladder, last)


def _find_obstacle(case: Case) -> tuple[str, str]:
    """Returns what stands in the way of any attempt, and at which end; ("", "") for nothing."""
    ours, theirs = case.ours, case.theirs
    if case.path == "none" and case.is_used:
        return ("no-handshake", "remote") if case.is_shaking else ("out-of-reach", "")
    if side := _which(ours.state == "off", theirs is not None and theirs.state == "off"):
        return "direct-off", side
    if not case.is_used:
        return "not-in-use", ""
    if ours.state == "trying":
        return "trying", ""
    if side := _which(ours.udp == "no", theirs is not None and theirs.udp == "no"):
        return "udp-blocked", side
    return "", ""


def _judge(case: Case, ladder: list[Rung], last: list[Rung]) -> Diagnosis:
    """Returns why the last attempt, which both ends took part in, made no path that is used now."""
    families = [{":" in candidate.host for candidate in each} for each in case.candidates]
    if side := _which(*(not each for each in families)):
        return _say(case, "no-address", side)
    if not families[0] & families[1]:
        return _say(case, "ip-versions", _which(*(True in each for each in families)))
    if any(rung.verdicts & {"direct", "not-needed"} for rung in last):
        makers = [rung.technique for rung in ladder if "direct" in rung.verdicts]
        return _say(case, "lost", technique=makers[-1] if makers else "a check")
    public = [{c.host for c in each if c.kind == "srflx" and ":" not in c.host} for each in case.candidates]
    shared = sorted(public[0] & public[1])
    if shared and not _is_barred(case):
        return _say(case, "no-hairpin", "both", address=shared[0])
    if _is_barred(case):
        return _judge_ports(case, last)
    if side := _which(*(not nat.mapping for nat in case.nats)):
        return _say(case, "nat-unknown", side)
    heard = [any(r is not None and (r.observed or r.answered) for r in records) for records in _by_side(last)]
    if case.theirs is not None and heard[0] != heard[1]:
        return _say(case, "outgoing-filtered", "local" if heard[0] else "remote")
    return _say(case, "firewall", "both")


def _is_barred(case: Case) -> bool:
    """Returns whether the NATs, as far as both are known, show each peer a port that the other end cannot know."""
    return all(nat.mapping for nat in case.nats) and not direct_path_possible(*((_box(nat),) for nat in case.nats))


def _judge_ports(case: Case, last: list[Rung]) -> Diagnosis:
    """Returns why an attempt failed where a NAT gives each peer another port."""
    side = _which(*(is_dependent(nat) for nat in case.nats))
    if any(record.detail == NO_SOCKETS for rung in last for record in rung.both):
        return _say(case, "no-sockets", side)
    if side != "both" and any(record.detail == _NO_GUESSES for rung in last for record in rung.both):
        return _say(case, "no-guessing", side)
    if any("put-off" in rung.verdicts for rung in last):
        return _say(case, "put-off", side)
    guessed = [rung for rung in last if rung.technique not in (_PLAIN, _OFFER) and "no-reply" in rung.verdicts]
    if guessed:
        count = max(record.packets for record in guessed[-1].both)
        return _say(case, "ports-missed", side, technique=guessed[-1].technique, count=f"{count:,}")
    sequential = [nat.allocation == PortAllocation.SEQUENTIAL for nat in case.nats if is_dependent(nat)]
    if side == "both":
        words = {0: "both-random", 1: "random-and-sequential", 2: "both-sequential"}
        return _say(case, words[sum(sequential)], side)
    return _say(case, "one-sequential" if sequential[0] else "one-random", side)


def _by_side(last: list[Rung]) -> tuple[list[Record | None], list[Record | None]]:
    return [rung.ours for rung in last], [rung.theirs for rung in last]


def _say(case: Case, cause: str, side: str = "", **names: str) -> Diagnosis:
    """Fills in the sentences of a cause."""
    peer = printable(case.peer)
    lacks = _lacks(case)
    ends = {"local": "this end", "remote": peer, "both": "both ends", "": ""}
    names = {name: printable(text) for name, text in names.items()}
    names = {
        "technique": printable(case.technique),
        "peer": peer,
        "side": ends[side],
        "way_out": _way_out(case, lacks),
        **names,
    }
    sentence, fix = (text.format_map(names) for text in CAUSES[cause])
    helps = lacks if CAUSES[cause].fix == _PORTS else ()
    if sentence.startswith((ends["local"], ends["both"])):
        sentence = sentence[:1].upper() + sentence[1:]
    return Diagnosis(cause, side, sentence.replace(": .", "."), fix, helps)


def _lacks(case: Case) -> tuple[str, ...]:
    mapped = any(candidate.kind == "mapped" for each in case.candidates for candidate in each)
    ipv6 = all(any(":" in candidate.host for candidate in each) for each in case.candidates)
    return tuple(what for what, there in (("port-mapping", mapped), ("ipv6", ipv6)) if not there)


def _way_out(case: Case, lacks: Iterable[str]) -> str:
    """Returns what to do about ports that cannot be known."""
    ways = ["Forward a UDP port to either node"]
    if "port-mapping" in lacks:
        ways.insert(0, "Turn on UPnP, NAT-PMP or PCP at either router")
    if "ipv6" in lacks:
        side = _which(*(not any(":" in candidate.host for candidate in each) for each in case.candidates))
        ways.append(
            f"Give {'both' if side == 'both' else 'this end' if side == 'local' else printable(case.peer)} IPv6"
        )
    ways = [ways[0], *(way[:1].lower() + way[1:] for way in ways[1:])]
    return (", ".join(ways[:-1]) + ", or " + ways[-1] if len(ways) > 1 else ways[0]) + "."


def _which(local: bool, remote: bool) -> str:
    return "both" if local and remote else "local" if local else "remote" if remote else ""


def _box(nat: Nat) -> NatBehaviour:
    """Returns the box that a peer's words describe; filtering and ports in unknown words count as the worst."""
    filtering = next((each for each in Filtering if nat.filtering == each), Filtering.ADDRESS_AND_PORT_DEPENDENT)
    allocation = next((each for each in PortAllocation if nat.allocation == each), PortAllocation.RANDOM)
    return NatBehaviour(Mapping(nat.mapping), filtering, allocation)


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address.version == network.version and address in network for network in _PRIVATE)
