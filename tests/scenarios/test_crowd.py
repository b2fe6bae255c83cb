"""Many nodes in one community."""

import gc
import time
from collections.abc import Iterator

import pytest

from ntvl.sim.__main__ import main
from ntvl.sim.net import Net

NODES = 1000


@pytest.fixture
def _no_garbage_collection() -> Iterator[None]:
    """Saves half the time: hardly anything dies, and a million living objects would be looked at again and again."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_no_garbage_collection")
def test_a_thousand_nodes_join_one_community_in_seconds() -> None:
    start = time.process_time()
    net = Net(seed=1)
    net.supernode()
    nodes = [net.node() for _ in range(NODES)]
    while not net.is_joined():
        net.run(0.2)
        assert net.now < 60.0
    assert len({node.ipv4 for node in nodes}) == NODES
    assert net.ping(nodes[0], nodes[-1]) is not None
    assert time.process_time() - start < 90.0


def test_the_command_line_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "5", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "5 nodes start at one moment (seed 3" in said
    assert "all know all others after" in said


def test_the_command_line_counts_one_node_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 node starts (seed 1")
    assert "it has an address after" in said
    assert "all" not in said


def test_the_command_line_refuses_what_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--nodes", "-1"], ["--nodes", "3", "--loss", "1.5"]):
        with pytest.raises(SystemExit):
            main(arguments)
    said = capsys.readouterr().err
    assert "required: --nodes" in said
    assert said.count("--nodes counts from 1, and --loss is a probability below 1") == 2


def test_a_community_of_thirty_in_bad_weather_ends_complete() -> None:
    net = Net(seed=2, loss=0.05, jitter_s=0.01)
    net.supernode()
    kinds = ("open", "eim-apdf", "apdm-random", "double", "cgn")
    for number in range(30):
        net.node(behind=kinds[number % len(kinds)])
    net.join(limit_s=60.0)
    first = net.nodes[0]
    first.station.send_udp("255.255.255.255", 7, b"to all")
    net.run(20.0)
    heard = [node.name for node in net.nodes[1:] if any(d.data == b"to all" for d in node.station.datagrams)]
    assert len(heard) >= 22, "the relay loses a tenth of what goes by two lines that lose a twentieth: 26 are expected"


def test_a_newcomer_to_a_crowd_talks_at_once() -> None:
    net = Net(seed=3)
    net.supernode()
    for _ in range(60):
        net.node()
    net.join()
    newcomer = net.node(behind="eim-apdf")
    net.run_until(lambda: bool(newcomer.ipv4), 2.0)
    # Its host announces itself to all by broadcast, as kernels do, so it shakes hands with all sixty.
    net.run(1.0)
    for node in net.nodes[:5]:
        rtt_s = net.ping(newcomer, node)
        assert rtt_s is not None
        assert rtt_s < 0.3
