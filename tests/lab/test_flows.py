"""Flows of several hosts at once, of both families, and over networks without offloads or with loss."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.lab.overlay import Overlay, eventually
from tests.lab.tcp import GIB, send_file

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "iperf3")]


@pytest.fixture
def overlay() -> Iterator[Overlay]:
    sites = {"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"], "c": KINDS["apdm-random"]}
    with Stage(build_sites(sites)) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", relayed=("c",))
        built.wait_path("a", "b", "direct")
        yield built


def measure(overlay: Overlay, source: str, target: str, address: str, *arguments: str) -> dict[str, float]:
    """Returns what an iperf3 server saw of a client."""
    server = overlay.stage.start(target, ["iperf3", "-s", "-1", "--forceflush", "-B", address])
    eventually(lambda: any("listening" in line for line in server.log), 5.0, "iperf3 listens")
    client = ["iperf3", "-c", address, "-t", "2", "-J", *arguments]
    document = json.loads(overlay.stage.run(source, client).stdout)
    received: dict[str, float] = document["end"].get("sum_received") or document["end"]["sum"]
    return received


def test_files_of_several_hosts_arrive_unchanged_at_once(overlay: Overlay) -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "a")]  # one for each target: programs of one machine start one by one
    with ThreadPoolExecutor(len(pairs)) as threads:
        files = [
            threads.submit(send_file, overlay.stage, source, target, overlay.address(target), GIB // 32)
            for source, target in pairs
        ]
        for file in files:
            sent, received, _ = file.result()
            assert received == sent
    for member in overlay.members.values():
        assert not member.status()["drops"].keys() & {"mac-claimed", "address-claimed", "authentication"}


@pytest.mark.parametrize("target", ["b", "c"])
def test_streams_over_ipv6_and_udp_flow(overlay: Overlay, target: str) -> None:
    status = overlay.members[target].status()
    ipv4, ipv6 = (address.partition("/")[0] for address in status["communities"][0]["addresses"])
    assert measure(overlay, "a", target, ipv6)["bytes"] > 10e6
    seen = measure(overlay, "a", target, ipv4, "-u", "-b", "10M", "-l", "1200")
    assert seen["packets"] > 1000
    assert seen["lost_percent"] < 1.0


@pytest.mark.needs_program("ethtool")
def test_an_underlay_without_offloads_carries_everything_all_the_same(overlay: Overlay) -> None:
    for machine in ("a", "b"):
        off = ["tx", "off", "rx", "off", "gso", "off", "gro", "off", "tso", "off"]
        overlay.stage.run(machine, ["ethtool", "-K", "eth0", *off])
    for source, target in (("a", "b"), ("b", "a"), ("a", "c"), ("c", "b")):
        sent, received, _ = send_file(overlay.stage, source, target, overlay.address(target), GIB // 32)
        assert received == sent
    assert overlay.path("a", "b") == "direct"


def test_loss_on_the_way_costs_no_more_than_itself(overlay: Overlay) -> None:
    stage = overlay.stage
    for router in ("a-router", "b-router"):
        lossy = "insert rule inet router forward udp dport != 1971 numgen random mod 100 < 1 drop"
        stage.run(router, ["nft", lossy])
    sent, received, _ = send_file(stage, "a", "b", overlay.address("b"), GIB // 128)
    assert received == sent
    report = overlay.pings("a", "b", 4.0)
    assert 0 < report.lost < 0.15 * len(report.sent), "about four in a hundred"
    assert "authentication" not in overlay.members["b"].status()["drops"]
