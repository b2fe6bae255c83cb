"""A lab with a host for either side of the pairs of kinds, and the trial of each pair with the real programs.

All nodes are in one community and start once. Their devices have no IPv6, so the kernel sends nothing by them of its
own accord and two nodes know nothing of each other until the first ping of their pair. Pairs come in waves
(`ntvl.kind.plan_waves`): in each, every node talks to one other at most, so that one pair does not disturb the next and
searches that take many packets are never two at one node.

    with Stage(build_field(waves)) as stage:
        field = Field(stage, waves, teller)
        field.start()
        for wave in waves:
            outcomes = field.run_wave(wave)
"""

import json
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ntvl.kind import SITE_KINDS, Expectation, Kind, expect
from ntvl.lab.echo import Echo
from ntvl.lab.member import Member, start_supernode
from ntvl.lab.outcome import Teller
from ntvl.lab.service import PUBLIC_PREFIX, start_mapper, start_proxy
from ntvl.lab.stage import Stage
from ntvl.lab.topology import INTERNET, Host, Network, SiteBuilder, Topology
from ntvl.matrix import PairOutcome, technique_of

__all__ = ["SUPERNODE", "Field", "build_field", "programs_for"]

SUPERNODE: Final = "supernode"
SIDES: Final = ("a", "b")

_COMMUNITY: Final = "lab"
_JOIN_S: Final = 30.0
"""Without another node that joins for so long, the rest is given up."""
_STARTING_MAX: Final = 4
_PACE_S: Final = 3.0
"""No node waits longer than this for those that start before it, for some may never join."""
_NAT_S: Final = 6.0
"""A node has looked at its NAT by then, counted from its join: the look takes 4.5 s at most."""
_RELAY_WATCH_S: Final = 3.0
"""A pair that theory leaves on the relay is watched for so long, for a path that should not be."""
_GRACE_S: Final = 2.0
"""How much longer a pair is watched than it may take, to tell late from never."""
_PING_EVERY_S: Final = 0.1
_POLL_S: Final = 0.01
_STATUS_BYTES_MAX: Final = 1 << 24

Pair = tuple[Kind, Kind]


def build_field(waves: Sequence[Sequence[Pair]]) -> Topology:
    """Returns a supernode with both families, a host a-KIND for each kind on the left of a pair, and a host b-KIND for
    each on the right.
    """
    internet = Network(INTERNET, PUBLIC_PREFIX, "2001:db8::/64")
    builder = SiteBuilder(internet, [Host(SUPERNODE, (INTERNET,))])
    for kind, sides in _places(waves):
        inner, outer = kind.chain[: len(kind.chain) - kind.shared], kind.chain[len(kind.chain) - kind.shared :]
        common = builder.add(kind.name, outer, ipv4=kind.ipv4, ipv6=kind.ipv6) if kind.shared else ""
        for side in sides:
            place = f"{side}-{kind.name}"
            inside = builder.add(place, inner, outside=common, behind_nat=bool(common), ipv4=kind.ipv4, ipv6=kind.ipv6)
            builder.hosts.append(Host(place, (inside,)))
    return builder.topology()


def programs_for(kinds: Sequence[Kind]) -> list[str]:
    """Returns the programs that a field of these kinds runs, beside ntvl."""
    helpers = {"miniupnpd": any(kind.mapper for kind in kinds), "tinyproxy": any(kind.proxy for kind in kinds)}
    return ["ip", "nft", *(name for name, needed in helpers.items() if needed)]


class Field:
    """Runs on a stage that was built from `build_field`.

    Args:
        waves: what it was built for.
        slack: multiplies the times that a pair may take.
    """

    def __init__(self, stage: Stage, waves: Sequence[Sequence[Pair]], teller: Teller, *, slack: float = 1.0) -> None:
        self._stage = stage
        self._places = _places(waves)
        self._teller = teller
        self._slack = slack
        self.members: dict[str, Member] = {}
        self._joined: set[str] = set()
        self._given_up: set[str] = set()

    def start(self) -> None:
        """Starts everything, and waits until the nodes have joined, or some have for too long not.

        Raises:
            TimeoutError: the supernode did not start.
        """
        program, url = start_supernode(self._stage, SUPERNODE, "--wss", "443")
        ready = next(event.fields for event in program.events if event.fields.get("event") == "ready")
        host6 = self._stage.address(SUPERNODE, ipv6=True)
        url6 = next(known for known in ready["urls"] if f"[{host6}]" in known)
        secret = self._stage.directory / "secret"
        secret.write_text("a secret of the laboratory\n")
        secret.chmod(0o600)
        for kind, sides in self._places:
            proxies = self._start_helpers(kind, sides)
            for side in sides:
                name = f"{side}-{kind.name}"
                self._silence_devices(name)
                proxy = proxies.get(name)
                self.members[name] = Member(
                    self._stage,
                    name,
                    community=_COMMUNITY,
                    supernode=url if kind.ipv4 else url6,
                    secret_file=secret,
                    environment={"https_proxy": proxy} if proxy else {},
                )
                self._pace()
        self._wait_joined()

    def run_wave(self, wave: Sequence[Pair]) -> list[PairOutcome]:
        """Returns what became of each pair of a wave, all tried at one time."""
        contacts, outcomes = [], []
        for pair in wave:
            names = (f"{SIDES[0]}-{pair[0].name}", f"{SIDES[1]}-{pair[1].name}")
            absent = [name for name in names if name not in self._joined]
            if absent:
                note = f"{' and '.join(absent)} did not join"
                outcomes.append(PairOutcome(pair[0].name, pair[1].name, "none", "none", None, None, 0, note))
            else:
                contacts.append(_Contact(self._stage, pair, [self.members[name] for name in names], self._slack))
        try:
            watched = True
            while watched:
                looks = [contact.poll() for contact in contacts]
                watched = not all(looks)
                time.sleep(_POLL_S)
        finally:
            with ThreadPoolExecutor(max(1, len(contacts))) as pool:  # each waits a second for late replies
                list(pool.map(_Contact.stop, contacts))
        return outcomes + [contact.outcome() for contact in contacts]

    def run_again(self, outcomes: Sequence[PairOutcome]) -> list[PairOutcome]:
        """Returns what becomes of pairs at a second try, with nodes that start anew; the rest rests meanwhile."""
        waves: list[list[Pair]] = []
        before = {(outcome.left, outcome.right): outcome.judge(self._slack) for outcome in outcomes}
        for outcome in outcomes:
            left, right = SITE_KINDS[outcome.left], SITE_KINDS[outcome.right]
            free = (w for w in waves if all(left != other[0] and right != other[1] for other in w))
            wave = next(free, None)
            if wave is None:
                waves.append(wave := [])
            wave.append((left, right))
        found = []
        for wave in waves:
            names = [f"{side}-{kind.name}" for pair in wave for side, kind in zip(SIDES, pair, strict=True)]
            for name in names:
                self.members[name].program.stop()
                self._joined.discard(name)
                self.members[name].restart()
            self._wait_joined()
            for outcome in self.run_wave(wave):
                found.append(replace(outcome, tries=2, first_verdict=before[outcome.left, outcome.right]))
        return found

    def _start_helpers(self, kind: Kind, sides: Sequence[str]) -> dict[str, str]:
        """Starts what a kind's innermost routers run; returns the proxies' URLs by host."""
        proxies = {}
        for side in sides:
            name = f"{side}-{kind.name}"
            if kind.mapper:
                start_mapper(self._stage, f"{name}-router", kind.mapper)
            if kind.proxy:
                _, proxies[name] = start_proxy(self._stage, f"{name}-router")
        return proxies

    def _silence_devices(self, machine: str) -> None:
        setting = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
        self._stage.run(machine, ["sh", "-c", f"echo 1 > {setting}"])

    def _pace(self) -> None:
        """Waits while many nodes are starting: at the same time none could look at its NAT in peace."""
        until = time.monotonic() + _PACE_S
        while time.monotonic() < until and len(self._note_joined(self.members.keys())) >= _STARTING_MAX:
            time.sleep(0.05)

    def _note_joined(self, names: Iterable[str]) -> set[str]:
        """Notes who of these has joined, and returns who has not."""
        self._joined.update(name for name in names if self.members[name].address)
        return set(names) - self._joined

    def _wait_joined(self) -> None:
        newest = time.monotonic()
        awaited = self.members.keys() - self._joined - self._given_up
        missing = awaited
        while missing and time.monotonic() - newest < _JOIN_S:
            before, missing = missing, self._note_joined(awaited)
            if len(missing) < len(before):
                newest = time.monotonic()
            self._teller.waiting(f"{len(self._joined)} of {len(self.members)} nodes have joined")
            time.sleep(0.05)
        self._given_up |= awaited - self._joined
        self._teller.step(f"{len(self._joined)} of {len(self.members)} nodes have joined")
        self._teller.waiting("the nodes look at their NATs")
        time.sleep(max(0.0, newest + _NAT_S - time.monotonic()))


class _Contact:
    """Is one pair while it is tried: pings from left to right, and what both nodes tell of their path."""

    def __init__(self, stage: Stage, pair: Pair, members: Sequence[Member], slack: float) -> None:
        self._pair = pair
        self._left, self._right = members
        self._expected: Expectation = expect(*pair)
        self._slack = slack
        self._echo = Echo(stage.namespace(self._left.machine), self._right.address, interval_s=_PING_EVERY_S)
        self._direct_s: float | None = None

    def poll(self) -> bool:
        """Looks how far the pair is; returns whether it need not be watched any longer."""
        report = self._echo.report
        if not report.sent:
            return False
        passed_s = time.monotonic() - report.first_sent_at
        seen = [one.path_to(other.machine) for one, other in self._ends()]
        if self._direct_s is None and all(path.path == "direct" for path in seen):
            self._direct_s = max(0.0, max(path.at for path in seen) - report.first_sent_at)
        wanted = self._expected
        replied = report.first_reply_s is not None
        if passed_s > _GRACE_S + self._slack * max(wanted.first_reply_s, wanted.direct_s or _RELAY_WATCH_S):
            return True
        if wanted.direct_s is None:
            return replied and passed_s > _RELAY_WATCH_S
        return replied and self._direct_s is not None

    def stop(self) -> None:
        """Ends the pings."""
        self._echo.stop()

    def outcome(self) -> PairOutcome:
        """Returns what became of the pair."""
        first_reply_s = self._echo.report.first_reply_s
        seen = {one.path_to(other.machine).path for one, other in self._ends()}
        path = "none" if first_reply_s is None else "direct" if seen == {"direct"} else "relay"
        technique, packets = technique_of(*(_peer_entry(one, other.machine) for one, other in self._ends()))
        left, right = self._pair
        direct_s = self._direct_s if path == "direct" else None
        return PairOutcome(left.name, right.name, path, technique, first_reply_s, direct_s, packets)

    def _ends(self) -> Iterator[tuple[Member, Member]]:
        yield self._left, self._right
        yield self._right, self._left


def _places(waves: Sequence[Sequence[Pair]]) -> list[tuple[Kind, list[str]]]:
    """Returns each kind that occurs with the sides on which it does, in the order of the table of kinds."""
    found = {(side, kind.name) for wave in waves for pair in wave for side, kind in zip(SIDES, pair, strict=True)}
    sides = ((kind, [side for side in SIDES if (side, name) in found]) for name, kind in SITE_KINDS.items())
    return [(kind, there) for kind, there in sides if there]


def _peer_entry(member: Member, name: str) -> dict[str, Any]:
    """Returns what a node's status says of a peer, empty if it does not answer or know it."""
    try:
        peers = _ask_status(member.socket)["communities"][0]["peers"]
    except (OSError, ValueError, LookupError):
        return {}
    return next((peer for peer in peers if peer["name"] == name), {})


def _ask_status(path: Path) -> dict[str, Any]:
    # Not by `ntvl status`: a process for each question would take longer than the trials.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(5.0)
        asking.connect(str(path))
        asking.sendall(b'{"verb": "status"}\n')
        with asking.makefile("rb") as answer:
            fields: dict[str, Any] = json.loads(answer.readline(_STATUS_BYTES_MAX))
    return fields
