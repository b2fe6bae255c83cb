"""`ntvl why`, asked of real nodes behind kernel NATs: one pair that is direct, one whose routers both draw ports."""

import json
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.member import NTVL
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

SITES = {"a": "eim-apdf", "b": "double", "c": "apdm-random", "d": "apdm-random"}


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({name: KINDS[kind] for name, kind in SITES.items()})) as stage:
        built = Overlay(stage)
        built.join(*SITES)
        yield built


def ask(overlay: Overlay, machine: str, *words: str) -> str:
    return overlay.stage.run(machine, [*NTVL, *words, "--socket", str(overlay.members[machine].socket)]).stdout


def test_a_direct_pair_is_told_by_what_it_is_direct(overlay: Overlay) -> None:
    overlay.wait_path("a", "b", "direct")
    text = ask(overlay, "a", "why", "b")
    words = " ".join(text.split())
    assert words.startswith(f"b ({overlay.address('b')}) in lab b is reached directly at 203.0.113.102:")
    assert "by simultaneous-udp: both ends sent at one moment, and each router let the other's packets in." in words
    assert all(len(line) <= 80 for line in text.splitlines())
    found = json.loads(ask(overlay, "a", "why", overlay.address("b"), "--json"))
    assert (found["cause"], found["path"], found["asked"]) == ("direct", "direct", "answered")
    records = [rung[end] for rung in found["ladder"] for end in ("local", "remote") if rung[end] is not None]
    assert "direct" in {record["verdict"] for record in records}


def test_two_random_routers_are_named_as_the_cause_with_what_would_help(overlay: Overlay) -> None:
    said: list[str] = []

    def says(word: str, *words: str) -> bool:
        """Asks anew: while the next attempt is under way, that is what it says."""
        said.append(ask(overlay, "c", "why", "d", *words))
        return word in said[-1] and "did not tell" not in said[-1]

    echo = overlay.echo("c", "d", 0.1)
    try:
        eventually(lambda: says('"both-random"', "--json"), 25.0, "a cause")
        found = json.loads(said[-1])
        # Its round trip is measured soon after the relay has the data.
        eventually(lambda: says("Both routers") and "10:1971, " in said[-1], 25.0, "the cause in words")
    finally:
        echo.stop()
    words = " ".join(said[-1].split())
    assert (found["path"], found["via"], found["asked"]) == ("relay", overlay.urls[0], "answered")
    assert {end["nat"]["word"] for end in found["ends"].values()} == {"random"}
    assert "Both routers pick random ports, so neither end knows where to send to. Turn on UPnP" in words
    assert "Until then it is relayed by 203.0.113.10:1971, " in words
    (row,) = [line.split() for line in ask(overlay, "c", "status").splitlines() if line.startswith("d ")]
    assert row[3:6] == ["relay", "203.0.113.10:1971", "random"]
