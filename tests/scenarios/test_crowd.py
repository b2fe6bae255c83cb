"""Many nodes in one community."""

import time

from ntvl.sim.__main__ import main
from ntvl.sim.net import Net

NODES = 1000


def test_a_thousand_nodes_join_one_community_in_seconds() -> None:
    start = time.perf_counter()
    net = Net(seed=1)
    net.supernode()
    nodes = [net.node() for _ in range(NODES)]
    net.run_until(lambda: all(node.ipv4 for node in nodes), 60.0)
    while not all(
        len(node.machine.status(node.host.now)["communities"][0]["peers"]) == NODES - 1 for node in nodes[::100]
    ):
        net.run(0.5)
        assert net.now < 60.0
    assert len({node.ipv4 for node in nodes}) == NODES
    assert net.ping(nodes[0], nodes[-1]) is not None
    assert time.perf_counter() - start < 90.0


def test_the_command_line_says_what_it_did(capsys: object) -> None:
    assert main(["--nodes", "5"]) == 0


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
    assert len(heard) >= 26
