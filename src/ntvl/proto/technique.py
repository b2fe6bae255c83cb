"""What a technique for opening a direct path is, and what is recorded of it.

A technique is a schedule of checks over candidate paths: a pure plan that knows the facts of the attempt and nothing
of sockets, sessions or peers. Each is a module of its own; `proto/techniques.py` lists them in the order in which
they are tried. All that surrounds one (offer and answer, the agreed moment, checks, nomination, outcomes, status) is
shared.
"""

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

from ntvl.nat import Mapping, PortAllocation
from ntvl.wire.address import Address, is_public
from ntvl.wire.control import UNKNOWN_NAT, Aim, Candidate, Nat

__all__ = [
    "SEEN_MAX",
    "Evidence",
    "Facts",
    "Outcome",
    "Schedule",
    "Shot",
    "Technique",
    "find_private_end",
    "is_dependent",
    "public_aim",
    "punched_hosts",
]

OPENER_TTLS: Final = (2, 3, 4)
SEEN_MAX: Final = 4
"""Addresses of a kind that an outcome keeps, for people."""


class Shot(NamedTuple):
    """Is one check: when, in seconds after the agreed moment, to which remote address, and from which socket.

    `socket` 0 is the main port, 1 and up are those that the technique asked for. `is_guess`: nobody named the address,
    so most of its kind are never answered, and none is repeated. `is_question`: it goes to the supernode instead, which
    tells as which port it sees the socket. With a `ttl` it is no check but an opener, which shall pass our own NATs and
    no more.
    """

    delay_s: float
    aim: Candidate
    socket: int = 0
    is_guess: bool = False
    is_question: bool = False
    ttl: int = 0


Schedule = list[Shot]
"""In order of time."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Is what a technique may know when it plans: both sides' candidates, the number of this attempt, from 1, what is
    in front of each side, a seed for what it draws (the attempt's number, equal on both sides), whether we made the
    offer, a supernode to ask, whether both sides let ports be guessed, and whether UDP gets out at both ends, as far as
    they know.
    """

    local: tuple[Candidate, ...]
    remote: tuple[Candidate, ...]
    number: int
    local_nat: Nat = UNKNOWN_NAT
    remote_nat: Nat = UNKNOWN_NAT
    seed: int = 0
    ours: bool = False
    server: Address | None = None
    guesses: bool = True
    udp: bool = True

    @property
    def opener_ttl(self) -> int:
        """Returns the time to live of openers in this attempt: 2, 3, 4 and again, for one, two and three NATs of ours,
        as long as they are the next boxes.
        """
        return OPENER_TTLS[(self.number - 1) % len(OPENER_TTLS)]

    @property
    def is_wary(self) -> bool:
        """Returns whether this attempt, the second of three, is made for a peer whose NAT is upset by what it has not
        asked for: new sockets send their first datagrams as openers.
        """
        return self.number % len(OPENER_TTLS) == 2


@dataclass(slots=True)
class Evidence:
    """Is what came to light since a technique began: as which port the supernode saw each of its sockets, and what the
    peer told.
    """

    seen: dict[int, int] = field(default_factory=dict)
    aim: Aim | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Records one technique in one attempt, for status and for people.

    `verdict` is "direct" (a path was confirmed), "no-reply" (checks went out, none was answered), "no-answer" (the
    peer did not answer the offer), "put-off" (a supernode gave no leave now), "given-up" (another attempt took its
    place), "not-needed" (a path was confirmed before anything was sent here, so something else has made it) or
    "not-applicable" (`detail` says why). Times are seconds on the machine's clock.

    `attempt` is the number of the offer, the same at both ends. `aims` are the first addresses that were sent to, of
    kind "guess" where many ports of a host were; `answered` is the one that a path was confirmed with, `observed` where
    the peer's checks came from; `SEEN_MAX` of each at most.
    """

    technique: str
    started: float
    ended: float
    packets: int
    verdict: str
    detail: str = ""
    attempt: int = 0
    aims: tuple[Candidate, ...] = ()
    answered: tuple[Candidate, ...] = ()
    observed: tuple[Candidate, ...] = ()


class Technique(Protocol):
    """Is one way to open NATs."""

    name: str
    """A kebab-case word, equal in status, log and docs."""
    is_heavy: bool = False
    """Whether it takes a supernode's leave: many packets, or many mappings."""
    dials: bool = False
    """Whether it opens TCP connections."""

    def duration_s(self, facts: Facts) -> float:
        """Returns how long after the agreed moment its last answer may come."""

    def sockets(self, facts: Facts) -> int:
        """Returns how many sockets besides the main port it needs."""

    def obstacle(self, facts: Facts) -> str:
        """Returns why the technique cannot apply here, in words, or ""."""

    def openers(self, facts: Facts) -> Schedule:
        """Returns what to send as soon as the peer's addresses are known, half a round trip before the agreed
        moment.
        """
        return []

    def schedule(self, facts: Facts) -> Schedule:
        """Returns the checks to send, empty where there is an obstacle."""

    def announce(self, facts: Facts, evidence: Evidence) -> Aim | None:
        """Returns what to tell the peer once it is known; asked after each new piece of evidence until it says it."""
        return None

    def react(self, facts: Facts, evidence: Evidence) -> Schedule:
        """Returns more checks, their times from now; asked after each new piece of evidence until there are some."""
        return []


def is_dependent(nat: Nat) -> bool:
    """Returns whether a NAT is known to show each peer another port."""
    return nat.mapping in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT) and (
        nat.allocation != PortAllocation.PRESERVING
    )


def public_aim(facts: Facts) -> Candidate | None:
    """Returns the peer's IPv4 address on the Internet, None without one; its port counts only where that is one for all
    peers. A private address counts where our own network calls such a one public: nobody has us punch into our LAN.
    """
    public = [c for c in facts.remote if c.kind == "srflx" and ":" not in c.host]
    if not public and facts.remote_nat.mapping == Mapping.ENDPOINT_INDEPENDENT:
        public = [c for c in facts.remote if ":" not in c.host]
    seen = [c.host for c in facts.local if c.kind == "srflx" and ":" not in c.host]
    if not seen or any(map(is_public, seen)):
        public = [c for c in public if is_public(c.host)]
    return max(public, key=lambda c: c.priority, default=None)


def find_private_end(facts: Facts) -> str:
    """Returns in words which end has no address for the other's `public_aim`, or "": both ends decide alike, as far as
    it is known where ours is seen.
    """
    ours, theirs = _public_aims(facts)
    if theirs is None:
        return "the peer has no public IPv4 address"
    is_seen = any(c.kind == "srflx" and ":" not in c.host for c in facts.local)
    return "this end has no public IPv4 address" if is_seen and ours is None else ""


def _public_aims(facts: Facts) -> tuple[Candidate | None, Candidate | None]:
    swapped = replace(
        facts, local=facts.remote, remote=facts.local, local_nat=facts.remote_nat, remote_nat=facts.local_nat
    )
    return public_aim(swapped), public_aim(facts)


def punched_hosts(facts: Facts) -> tuple[str, ...]:
    """Returns the public IPv4 addresses that a heavy technique goes between, ours and the peer's, as far as known."""
    aims = _public_aims(facts)
    return tuple(dict.fromkeys(aim.host for aim in aims if aim is not None))
