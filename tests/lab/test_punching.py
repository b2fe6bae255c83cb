"""Ports that nobody knows beforehand, with real programs and kernel NATs: ten birthdays and some counters at once."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from tests.lab.overlay import Overlay

from ntvl.lab.echo import EchoReport
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS
from ntvl.runtime.control_client import ask

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

BIRTHDAYS = 10
AT_ONCE = 9
"""So many of the birthdays shall hit in one attempt."""
ATTEMPTS_MAX = 3
"""All shall within so many."""
ALL_ATTEMPTS_S = 75.0
"""Three attempts and the pauses between them take less, on a machine with other work, too."""
KINDS_OF = {
    **{f"birthday-{n}": ("eim-apdf", "apdm-random") for n in range(BIRTHDAYS)},
    "counter": ("eim-apdf", "apdm-sequential"),
    "counters": ("apdm-sequential", "apdm-sequential"),
    "quiet": ("eim-apdf", "apdm-random"),
    "hopeless": ("apdm-random", "apdm-random"),
}
"""Each pair is a community of its own: its two nodes speak to nobody else."""

RELAYED = ("quiet", "hopeless")
ENOUGH_S = 6.0
"""Longer than a simultaneous burst: what is relayed by then has nothing else to try."""


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
        for machine in self.ends:
            (status,) = ask(self.overlay.members[machine].socket, {"verb": "status"})
            (peer,) = status["communities"][0]["peers"]
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
        f"{name}-{side}": KINDS[kinds[place]] for name, kinds in kinds_of.items() for place, side in enumerate("lr")
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


@pytest.mark.parametrize("name", RELAYED)
def test_where_nothing_may_or_can_be_guessed_the_relay_stays(pairs: Meeting, name: str) -> None:
    assert pairs[0][name].paths == ["relay", "relay"]


def test_no_ping_is_lost_on_the_way(pairs: Meeting) -> None:
    for name, report in pairs[1].items():
        assert report.lost == 0, name
        assert len(report.sent) > 50
