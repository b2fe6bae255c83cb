"""Ports that nobody knows beforehand, with real programs and kernel NATs: ten birthdays and some counters at once."""

import time
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay

from ntvl.lab.echo import EchoReport
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

BIRTHDAYS = 10
ATTEMPT_S = 15.0
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


def missing(found: dict[str, Pair]) -> list[str]:
    """Returns the pairs that are not direct yet."""
    return [name for name, pair in found.items() if pair.direct_after_s is None]


@pytest.fixture(scope="module")
def pairs() -> Iterator[tuple[dict[str, Pair], dict[str, EchoReport]]]:
    """Has all pairs meet at once, and waits for as long as one attempt may take."""
    sites = {
        f"{name}-{side}": KINDS[kinds[place]] for name, kinds in KINDS_OF.items() for place, side in enumerate("lr")
    }
    with Stage(build_sites(sites)) as stage:
        overlay = Overlay(stage)
        found = {name: Pair(overlay, name) for name in KINDS_OF}
        for name, pair in found.items():
            for machine in pair.ends:
                overlay.start(machine, community=name, arguments=("--punch", "known") if name == "quiet" else ())
        for pair in found.values():
            overlay.wait(*pair.ends)
        began = time.monotonic()
        echoes = {name: overlay.echo(*pair.ends, 0.1) for name, pair in found.items()}
        while time.monotonic() < began + ATTEMPT_S and len(missing(found)) > len(RELAYED):
            time.sleep(0.1)
            for pair in found.values():
                if pair.direct_after_s is None and pair.paths == ["direct", "direct"]:
                    pair.direct_after_s = time.monotonic() - began
        time.sleep(max(0.0, began + ENOUGH_S - time.monotonic()))
        yield found, {name: echo.stop() for name, echo in echoes.items()}


@pytest.mark.timeout(120)
def test_most_birthdays_hit_in_one_attempt(pairs: tuple[dict[str, Pair], dict[str, EchoReport]]) -> None:
    took = [pairs[0][f"birthday-{n}"].direct_after_s for n in range(BIRTHDAYS)]
    print("direct after", took)
    # Nine of ten on a machine of its own; here a dozen pairs and their NATs share the processors.
    assert sum(each is not None for each in took) >= BIRTHDAYS - 3


@pytest.mark.parametrize("name", ["counter", "counters"])
def test_a_counter_is_met(pairs: tuple[dict[str, Pair], dict[str, EchoReport]], name: str) -> None:
    assert pairs[0][name].direct_after_s is not None


@pytest.mark.parametrize("name", RELAYED)
def test_where_nothing_may_or_can_be_guessed_the_relay_stays(
    pairs: tuple[dict[str, Pair], dict[str, EchoReport]], name: str
) -> None:
    assert pairs[0][name].paths == ["relay", "relay"]


def test_no_ping_is_lost_on_the_way(pairs: tuple[dict[str, Pair], dict[str, EchoReport]]) -> None:
    for name, report in pairs[1].items():
        assert report.lost == 0, name
        assert len(report.sent) > 50
