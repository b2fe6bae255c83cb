"""Every pair of kinds with the real programs: direct exactly where the oracle says, and talking everywhere."""

import time
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay

from ntvl.lab.echo import EchoReport
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, MATRIX, direct_path_possible

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

SETTLE_S = 2.0
"""Two dozen nodes that have just started share the machine's few CPUs with what they do at first."""
WATCHED_S = 8.0
FIRST_REPLY_S = 3.0
"""Less than a failed attempt to go direct takes; generous, for two dozen nodes share two CPUs. The demo is stricter."""

Result = dict[tuple[str, str], tuple[EchoReport, str, str]]


@pytest.fixture(scope="module")
def results() -> Iterator[Result]:
    """Lets all pairs meet at once and watches them for a while."""
    sites = {f"{side}-{kind}": chain for kind, chain in KINDS.items() for side in ("left", "right")}
    with Stage(build_sites(sites)) as stage:
        overlay = Overlay(stage)
        overlay.join(*sites)
        time.sleep(SETTLE_S)
        echoes = {}
        for left, right in MATRIX:
            echoes[left, right] = overlay.echo(f"left-{left}", f"right-{right}", interval_s=0.25)
            time.sleep(0.1)
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


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_a_pair_ends_on_the_path_that_its_nats_allow(results: Result, left: str, right: str) -> None:
    report, there, back = results[left, right]
    assert report.first_reply_s is not None, "every pair talks"
    assert there == back, "both ends agree"
    assert (there == "direct") == direct_path_possible(KINDS[left], KINDS[right])


@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_no_pair_loses_a_packet(results: Result, left: str, right: str) -> None:
    report, _, _ = results[left, right]
    assert report.lost == 0
    assert report.first_reply_s is not None
    assert report.first_reply_s < FIRST_REPLY_S, "the first packet waits for no punching"
