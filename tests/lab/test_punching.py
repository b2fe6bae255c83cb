"""Ports that nobody knows beforehand, with real programs and kernel NATs: ten birthdays and some counters at once."""

import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.capture import Capture, parse_pcap
from ntvl.lab.echo import EchoReport
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, Filtering, NatBehaviour
from ntvl.runtime.control_client import ask

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

BIRTHDAYS = 10
AT_ONCE = 9
"""So many of the birthdays shall hit in one attempt."""
ATTEMPTS_MAX = 3
"""All shall within so many."""
ALL_ATTEMPTS_S = 110.0
"""Three attempts and the pauses between them take less, on a machine with other work, too."""
CHAINS = {
    **KINDS,
    "taker": (
        NatBehaviour(takes_unsolicited=True),
        NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT, translates=False),
    ),
}
"""`taker` is upset by what comes before it was asked for, and behind a provider's router that filters nothing."""
KINDS_OF = {
    **{f"birthday-{n}": ("eim-apdf", "apdm-random") for n in range(BIRTHDAYS)},
    "counter": ("eim-apdf", "apdm-sequential"),
    "counters": ("apdm-sequential", "apdm-sequential"),
    "takers": ("taker", "taker"),
    "quiet": ("eim-apdf", "apdm-random"),
    "hopeless": ("apdm-random", "apdm-random"),
}
"""Each pair is a community of its own: its two nodes speak to nobody else."""

RELAYED = ("quiet", "hopeless")
ENOUGH_S = 6.0
"""Longer than a simultaneous burst: what is relayed by then has nothing else to try."""


def entry(overlay: Overlay, machine: str, peer: str) -> dict[str, Any]:
    """Returns what a node's status says of a peer."""
    (status,) = ask(overlay.members[machine].socket, {"verb": "status"})
    found: dict[str, Any] = next(each for each in status["communities"][0]["peers"] if each["name"] == peer)
    return found


class Pair:
    def __init__(self, overlay: Overlay, name: str) -> None:
        self.overlay = overlay
        self.ends = (f"{name}-l", f"{name}-r")
        self.direct_after_s: float | None = None

    @property
    def paths(self) -> list[str]:
        left, right = self.ends
        return [self.overlay.path(left, right), self.overlay.path(right, left)]

    def attempts(self, technique: str) -> int | None:
        """Returns how many attempts by the technique it took until the pair was direct, None if it is not by that."""
        if self.direct_after_s is None:
            return None
        found = []
        for machine, other in zip(self.ends, self.ends[::-1], strict=True):
            peer = entry(self.overlay, machine, other)
            verdicts = [each["verdict"] for each in peer["attempts"] if each["technique"] == technique]
            ran = [verdict for verdict in verdicts if verdict in ("direct", "no-reply")]
            # A path that answers just after an attempt is its work, though the record says otherwise.
            found += [ran.index("direct") + 1 if "direct" in ran else len(ran)] if ran else []
        return min(found, default=None)


def missing(found: dict[str, Pair]) -> list[str]:
    """Returns the pairs that are not direct yet."""
    return [name for name, pair in found.items() if pair.direct_after_s is None]


Meeting = tuple[dict[str, Pair], dict[str, EchoReport]]


@contextmanager
def meeting(kinds_of: Mapping[str, tuple[str, str]]) -> Iterator[Meeting]:
    """Has pairs meet at once, and waits until they are direct, at most for as long as all attempts may take."""
    sites = {
        f"{name}-{side}": CHAINS[kinds[place]] for name, kinds in kinds_of.items() for place, side in enumerate("lr")
    }
    hopeful = set(kinds_of) - set(RELAYED)
    with Stage(build_sites(sites)) as stage:
        overlay = Overlay(stage)
        found = {name: Pair(overlay, name) for name in kinds_of}
        for name, pair in found.items():
            for machine in pair.ends:
                overlay.start(machine, community=name, arguments=("--punch", "known") if name == "quiet" else ())
        for pair in found.values():
            overlay.wait(*pair.ends)
        began = time.monotonic()
        echoes = {name: overlay.echo(*pair.ends, 0.1) for name, pair in found.items()}
        while time.monotonic() < began + ALL_ATTEMPTS_S and hopeful & set(missing(found)):
            time.sleep(0.1)
            for pair in found.values():
                if pair.direct_after_s is None and pair.paths == ["direct", "direct"]:
                    pair.direct_after_s = time.monotonic() - began
        time.sleep(max(0.0, began + ENOUGH_S - time.monotonic()))
        yield found, {name: echo.stop() for name, echo in echoes.items()}


@pytest.fixture(scope="module")
def pairs() -> Iterator[Meeting]:
    with meeting(KINDS_OF) as met:
        yield met


def birthdays(met: Meeting) -> list[int]:
    """Returns how many attempts each birthday took; all of them have hit."""
    found = [met[0][f"birthday-{n}"] for n in range(BIRTHDAYS)]
    attempts = [pair.attempts("birthday") for pair in found]
    print("direct after", [pair.direct_after_s for pair in found], "in attempts", attempts)
    hits = [count for count in attempts if count is not None]
    assert len(hits) == BIRTHDAYS, attempts
    assert max(hits) <= ATTEMPTS_MAX
    return hits


# What an attempt comes to does not depend on how fast the machine is, but it is chance: one time in sixty, two of ten
# need another. Then all is measured again, once.
@pytest.mark.timeout(300)
def test_nine_of_ten_birthdays_hit_in_one_attempt_and_all_in_three(pairs: Meeting) -> None:
    hits = birthdays(pairs)
    if hits.count(1) < AT_ONCE:
        with meeting({name: kinds for name, kinds in KINDS_OF.items() if name.startswith("birthday")}) as again:
            hits = birthdays(again)
    assert hits.count(1) >= AT_ONCE


@pytest.mark.parametrize("name", ["counter", "counters"])
def test_a_counter_is_met(pairs: Meeting, name: str) -> None:
    assert pairs[0][name].direct_after_s is not None
    assert pairs[0][name].attempts("port-prediction") in (1, 2)


def test_two_routers_that_take_what_comes_too_early_are_crossed_in_one_attempt(pairs: Meeting) -> None:
    assert pairs[0]["takers"].direct_after_s is not None
    assert pairs[0]["takers"].attempts("simultaneous-udp") == 1


@pytest.mark.parametrize("name", RELAYED)
def test_where_nothing_may_or_can_be_guessed_the_relay_stays(pairs: Meeting, name: str) -> None:
    assert pairs[0][name].paths == ["relay", "relay"]


def test_no_ping_is_lost_on_the_way(pairs: Meeting) -> None:
    for name, report in pairs[1].items():
        assert report.lost == 0, name
        assert len(report.sent) > 50


GUESSED = ("known", "off", "all")
"""What `--punch` is at three hosts behind random ports, which one host, that may guess, talks to."""


def named(overlay: Overlay, peer: str) -> set[int]:
    """Returns the public ports that the guesser and a peer have named to each other."""
    (found,) = ask(overlay.members["guesser"].socket, {"verb": "why", "peer": peer})
    ends = [candidate.split() for end in found["ends"].values() for candidate in end["candidates"]]
    return {int(address.rpartition(":")[2]) for kind, address in ends if kind == "srflx"}


def flows(capture: Capture) -> Iterator[tuple[str, int, str, int]]:
    """Yields source and target, host and port of each, of every UDP datagram over IPv4."""
    for _, frame in parse_pcap(capture.file.read_bytes()):
        if frame[12:14] == b"\x08\x00" and frame[23] == 17:
            source, target = (".".join(map(str, frame[at : at + 4])) for at in (26, 30))
            ports = struct.unpack_from(">HH", frame, 14 + (frame[14] & 0x0F) * 4)
            yield source, ports[0], target, ports[1]


def has_tried(overlay: Overlay, peer: str) -> bool:
    """Returns whether the guesser has ended an attempt with a peer whose NAT it knew: where one is known to choose a
    new port for each peer, simultaneous checks end after a second.
    """
    attempts = entry(overlay, "guesser", peer)["attempts"]
    return any(one["verdict"] == "no-reply" and one["took_s"] < 2.0 for one in attempts)


@pytest.mark.needs_program("tcpdump")
def test_with_guessing_switched_off_at_one_end_nothing_goes_to_a_port_that_nobody_named(tmp_path: Path) -> None:
    sites = {"guesser": KINDS["eim-apdf"], **dict.fromkeys(GUESSED, KINDS["apdm-random"])}
    with Stage(build_sites(sites)) as stage, ExitStack() as ending:
        capture = Capture(stage.namespace("guesser-router"), "wan", tmp_path)
        ending.callback(capture.stop)
        overlay = Overlay(stage)
        overlay.start("guesser")
        for name in GUESSED:
            overlay.start(name, arguments=("--punch", name))
        overlay.wait("guesser", *GUESSED)
        echoes = {name: overlay.echo("guesser", name, 0.1) for name in GUESSED}
        eventually(lambda: overlay.path("guesser", "all") == "direct", ALL_ATTEMPTS_S, "a guess that hits")
        eventually(lambda: has_tried(overlay, "known"), 20.0, "an attempt without guesses")
        reports = {name: echo.stop() for name, echo in echoes.items()}
        paths = {name: overlay.path("guesser", name) for name in GUESSED}
        skipped = [one for one in entry(overlay, "guesser", "known")["attempts"] if one["technique"] == "birthday"]
        ports = {name: named(overlay, name) for name in ("known", "all")}
        hosts = {stage.address(f"{name}-router"): name for name in GUESSED}
    assert capture.dropped == 0
    assert paths == {"known": "relay", "off": "relay", "all": "direct"}
    assert {name: report.lost for name, report in reports.items()} == dict.fromkeys(GUESSED, 0)
    sent: dict[str, set[int]] = {name: set() for name in GUESSED}
    came = {name: set[int]() for name in GUESSED}
    for source, source_port, target, target_port in flows(capture):
        if target in hosts:
            sent[hosts[target]].add(target_port)
        elif source in hosts:
            came[hosts[source]].add(source_port)
    assert sent["all"] - ports["all"], "the recording would show guesses"
    assert len(came["all"]) > 10, "and new ports that are opened for them"
    assert sent["known"], "it was tried"
    assert sent["known"] <= ports["known"]
    assert len(came["known"]) == 1, "all from the one socket"
    assert (sent["off"], came["off"]) == (set(), set())
    assert {(one["verdict"], one["packets"]) for one in skipped} == {("not-applicable", 0)}
