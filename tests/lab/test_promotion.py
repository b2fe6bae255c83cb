"""From the first packet to the best path: at once by relay, direct soon after, and nothing lost on the way."""

import time

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, direct_path_possible

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

FIRST_REPLY_S = 1.0
DIRECT_S = 2.0
GUESSED_S = 15.0
"""Where a port has to be guessed."""


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("eim-apdf", "double"),
        ("firewall", "cgn"),
        ("eim-adf", "apdm-random"),
        ("eim-apdf", "cgn"),
        ("apdm-random", "cgn"),
    ],
)
def test_no_ping_is_lost_between_the_first_packet_and_the_best_path(left: str, right: str) -> None:
    direct = direct_path_possible(KINDS[left], KINDS[right], techniques="all")
    limit_s = DIRECT_S if direct_path_possible(KINDS[left], KINDS[right]) else GUESSED_S
    with Stage(build_sites({"a": KINDS[left], "b": KINDS[right]})) as stage:
        overlay = Overlay(stage)
        overlay.join("a")
        overlay.join("b")
        echo = overlay.echo("a", "b", 0.01)
        if direct:
            took_s = eventually(
                lambda: {overlay.path("a", "b"), overlay.path("b", "a")} == {"direct"}, GUESSED_S, "a direct path"
            )
            print(f"direct after {took_s:.2f} s")
            assert took_s < limit_s
            time.sleep(1.0)
        else:
            time.sleep(4.0)
            assert {overlay.path("a", "b"), overlay.path("b", "a")} == {"relay"}
        report = echo.stop()
    assert report.first_reply_s is not None
    assert report.first_reply_s < FIRST_REPLY_S
    assert report.lost == 0
    assert len(report.sent) > 80
