"""Every pair of kinds with the real programs: direct exactly where the oracle says, and talking everywhere."""

import time
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.echo import EchoReport
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, MATRIX, direct_path_possible

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

QUIET_S = 3.0
"""Longer than two ends that can be direct need to find out."""
QUIET_AT_MOST_S = 90.0
"""Two dozen nodes start at once, speak to all others at once, and share few CPUs."""
WATCHED_S = 3.0

Result = dict[tuple[str, str], tuple[EchoReport, str, str]]


@pytest.fixture(scope="module")
def results() -> Iterator[Result]:
    """Lets all pairs meet at once (a node's first multicasts do that), and pings when their paths stay as they are."""
    sites = {f"{side}-{kind}": chain for kind, chain in KINDS.items() for side in ("left", "right")}
    with Stage(build_sites(sites)) as stage:
        overlay = Overlay(stage)
        overlay.join(*sites)
        echoes = {}
        for left, right in MATRIX:
            echoes[left, right] = overlay.echo(f"left-{left}", f"right-{right}", interval_s=0.25)
        eventually(
            lambda: (
                all(overlay.path(f"left-{left}", f"right-{right}") != "none" for left, right in MATRIX)
                and time.time() - last_change(overlay) > QUIET_S
            ),
            QUIET_AT_MOST_S,
            "paths stay as they are",
        )
        for echo in echoes.values():
            echo.stop()
        for left, right in MATRIX:
            echoes[left, right] = overlay.echo(f"left-{left}", f"right-{right}", interval_s=0.25)
        time.sleep(WATCHED_S)
        reports = {pair: echo.stop() for pair, echo in echoes.items()}
        yield {
            (left, right): (
                reports[left, right],
                overlay.path(f"left-{left}", f"right-{right}"),
                overlay.path(f"right-{right}", f"left-{left}"),
            )
            for left, right in MATRIX
        }


def last_change(overlay: Overlay) -> float:
    return max(
        float(event.fields["time"])
        for member in overlay.members.values()
        for event in member.program.events
        if event.fields["event"] == "path-changed"
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_a_pair_ends_on_the_path_that_its_nats_allow(results: Result, left: str, right: str) -> None:
    report, there, back = results[left, right]
    assert report.lost == 0, "every pair talks"
    assert len(report.sent) > 5
    assert there == back, "both ends agree"
    assert (there == "direct") == direct_path_possible(KINDS[left], KINDS[right])
