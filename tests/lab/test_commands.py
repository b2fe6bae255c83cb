"""`ntvl status` and `ntvl ping`, asked of real nodes."""

import json
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay

from ntvl.lab.member import NTVL
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

PEER_KEYS = {
    "name",
    "id",
    "addresses",
    "mac",
    "path",
    "remote",
    "via",
    "technique",
    "nat",
    "rtt_ms",
    "rx_bytes",
    "tx_bytes",
    "handshake_age_s",
    "attempts",
}


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({"a": KINDS["apdm-random"], "b": KINDS["eim-adf"], "c": KINDS["apdm-random"]})) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", relayed=("c",))
        built.wait_path("a", "b", "direct")
        built.wait_path("a", "c", "relay")
        yield built


def ask(overlay: Overlay, *words: str) -> str:
    return overlay.stage.run("a", [*NTVL, *words, "--socket", str(overlay.members["a"].socket)]).stdout


def test_status_has_the_keys_that_are_promised(overlay: Overlay) -> None:
    status = json.loads(ask(overlay, "status", "--json"))
    assert {"name", "id", "version", "uptime_s"} <= set(status["node"])
    assert {"name", "offloads"} <= set(status["engine"])
    assert {"url", "state", "rtt_ms", "observed"} <= set(status["supernodes"][0])
    assert isinstance(status["drops"], dict)
    community = status["communities"][0]
    assert {"name", "id", "device", "mac", "addresses", "mtu", "peers"} <= set(community)
    peers = {peer["name"]: peer for peer in community["peers"]}
    assert all(set(peer) >= PEER_KEYS for peer in peers.values())
    assert (peers["b"]["path"], peers["c"]["path"]) == ("direct", "relay")
    assert peers["b"]["remote"].startswith("203.0.113.102:")
    assert peers["c"]["via"] == overlay.urls[0]
    assert peers["b"]["rx_bytes"] > 0
    assert status["supernodes"][0]["state"] == "registered"


def test_status_is_a_table_for_people(overlay: Overlay) -> None:
    text = ask(overlay, "status")
    for word in ("lab", "b", "c", "direct", "relay", overlay.address("a"), overlay.address("b"), "ntvl0"):
        assert word in text


def test_ping_says_the_path_of_each_reply(overlay: Overlay) -> None:
    for peer, path in (("b", "direct"), ("c", "relay")):
        lines = [json.loads(line) for line in ask(overlay, "ping", peer, "-c", "3", "--json").splitlines()]
        replies = [line for line in lines if "rtt_ms" in line and "sequence" in line]
        assert [reply["path"] for reply in replies] == [path] * 3
        assert all(0 < reply["rtt_ms"] < 1000 for reply in replies)
        assert path in ask(overlay, "ping", peer, "-c", "1")
