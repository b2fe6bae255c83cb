"""`ntvl lab matrix` with the real programs on kernel NATs, and neighbours in a circle of the kinds it leaves out."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ntvl.kind import SITE_KINDS, plan_pairs
from ntvl.lab.field import Field, build_field
from ntvl.lab.stage import Stage

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

KINDS = ("eim-apdf", "apdm-random", "ipv6-only", "carrier-hairpin")
SLACK = 4.0
"""The times are multiplied by this, for the machine may have other work; a relay without need fails all the same."""
CIRCLE = (
    "eim-eif",
    "apdm-block",
    "short-lifetime",
    "upnp",
    "pcp",
    "no-udp",
    "apdm-sequential-2",
    "triple",
    "tcp-443",
    "http-proxy",
    "open",
    "firewall",
    "apdm-sequential",
    "double",
    "cgn",
    "apdm-preserving",
    "eim-adf",
    "eim-apdf",
)
"""Each meets the one before and the one after it, the last one the first."""
ALONE = ("same-nat", "same-nat-no-hairpin", "carrier-no-hairpin")
TECHNIQUES = {"simultaneous-udp", "port-prediction", "birthday", "tcp-simultaneous-open"}
NTVL = [sys.executable, "-m", "ntvl"]


@pytest.mark.timeout(180)
def test_every_pair_gets_what_theory_allows(tmp_path: Path) -> None:
    drawing = tmp_path / "matrix.svg"
    done = subprocess.run(
        [*NTVL, "lab", "matrix", "--kinds", ",".join(KINDS), "--json", "--slack", f"{SLACK:g}", "--svg", str(drawing)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    pairs = {(pair["left"], pair["right"]): pair for pair in said["pairs"]}
    assert list(pairs) == [(a.name, b.name) for a, b in plan_pairs([SITE_KINDS[kind] for kind in KINDS])]
    assert said["ok"]
    assert said["slack"] == SLACK
    assert said["second_tries"] == sum(pair["tries"] == 2 for pair in pairs.values())
    assert all((pair["first_verdict"] is not None) == (pair["tries"] == 2) for pair in pairs.values())
    assert {pair["verdict"] for pair in pairs.values()} == {"as-expected"}
    guessed = pairs["eim-apdf", "apdm-random"]
    assert (guessed["path"], guessed["technique"]) == ("direct", "birthday")
    assert guessed["packets"] > 20
    assert pairs["apdm-random", "apdm-random"]["path"] == pairs["eim-apdf", "ipv6-only"]["path"] == "relay"
    assert pairs["carrier-hairpin", "carrier-hairpin"]["path"] == "direct"
    assert "wave 2 of 2" in done.stderr
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


class Silent:
    """Takes what a field tells, for nobody."""

    def step(self, text: str) -> None:
        pass

    def waiting(self, text: str) -> None:
        pass


@pytest.mark.timeout(180)
@pytest.mark.needs_program("miniupnpd", "tinyproxy")
def test_neighbours_in_a_circle_get_what_theory_allows() -> None:
    circle, alone = ([SITE_KINDS[name] for name in names] for names in (CIRCLE, ALONE))
    # A host of every other kind is on the left, so one host for each is enough to meet both neighbours.
    lefts, rights = circle[::2], circle[1::2]
    pairs = [(kind, kind) for kind in alone]
    waves = [pairs + list(zip(lefts, rights, strict=True)), list(zip(lefts, rights[-1:] + rights[:-1], strict=True))]
    with Stage(build_field(waves)) as stage:
        field = Field(stage, waves, Silent(), slack=SLACK)
        field.start()
        outcomes = [outcome for wave in waves for outcome in field.run_wave(wave)]
        short = [outcome for outcome in outcomes if outcome.judge(SLACK).is_shortfall]
        outcomes = [outcome for outcome in outcomes if outcome not in short] + field.run_again(short)
    assert {(each.left, each.right): str(each.judge(SLACK)) for each in outcomes} == {
        (left.name, right.name): "as-expected" for wave in waves for left, right in wave
    }
    assert {each.technique for each in outcomes if each.path == "direct"} == TECHNIQUES, "each was needed somewhere"
    assert {frozenset((each.left, each.right)) for each in outcomes if each.path == "relay"} == {
        frozenset(("triple", "tcp-443")),
        frozenset(("tcp-443", "http-proxy")),
        frozenset(("http-proxy", "open")),
        frozenset(("carrier-no-hairpin",)),
    }
