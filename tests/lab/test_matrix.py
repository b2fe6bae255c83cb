"""`ntvl lab matrix` with the real programs on kernel NATs."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ntvl.kind import SITE_KINDS, plan_pairs

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

KINDS = ("eim-apdf", "apdm-random", "ipv6-only", "carrier-hairpin")
NTVL = [sys.executable, "-m", "ntvl"]


@pytest.mark.timeout(180)
def test_every_pair_gets_what_theory_allows(tmp_path: Path) -> None:
    drawing = tmp_path / "matrix.svg"
    # Four times the time, for this machine may have other work; what is on the relay without need fails all the same.
    done = subprocess.run(
        [*NTVL, "lab", "matrix", "--kinds", ",".join(KINDS), "--json", "--slack", "4", "--svg", str(drawing)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    pairs = {(pair["left"], pair["right"]): pair for pair in said["pairs"]}
    assert list(pairs) == [(a.name, b.name) for a, b in plan_pairs([SITE_KINDS[kind] for kind in KINDS])]
    assert said["ok"]
    assert said["slack"] == 4
    assert {pair["verdict"] for pair in pairs.values()} == {"as-expected"}
    guessed = pairs["eim-apdf", "apdm-random"]
    assert (guessed["path"], guessed["technique"]) == ("direct", "birthday")
    assert guessed["packets"] > 20
    assert pairs["apdm-random", "apdm-random"]["path"] == pairs["eim-apdf", "ipv6-only"]["path"] == "relay"
    assert pairs["carrier-hairpin", "carrier-hairpin"]["path"] == "direct"
    assert "wave 2 of 2" in done.stderr
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")
