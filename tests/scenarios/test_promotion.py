"""A better path is taken as soon as it is there, and no packet is lost on the way."""

import pytest

from ntvl.nat import KINDS
from ntvl.proto.events import PathChanged
from ntvl.sim.net import Net

EASY = [kind for kind in KINDS if kind not in ("apdm-sequential", "apdm-block", "apdm-random", "cgn")]


@pytest.mark.parametrize("kind", EASY)
def test_endpoint_independent_pairs_are_direct_within_two_seconds_of_the_first_packet(kind: str) -> None:
    net = Net(seed=2)
    net.supernode()
    a, b = net.node(behind=kind), net.node(behind="double")
    net.join()
    net.send(a, b, b"first")
    assert net.run_until(lambda: net.is_direct(a, b), 2.0) < 2.0


@pytest.mark.parametrize("seed", range(5))
def test_promotion_loses_and_doubles_no_packet(seed: int) -> None:
    net = Net(seed=seed)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.stream(a, b, packets=800, spacing_s=0.002)
    net.stream(b, a, packets=800, spacing_s=0.002)
    net.run(5.0)
    assert net.is_direct(a, b)
    for node in (a, b):
        numbers = net.received(node)
        assert sorted(numbers) == list(range(800))


def test_both_ends_show_the_same_path_and_say_it_once() -> None:
    net = Net(seed=3)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-eif")
    net.join()
    net.send(a, b, b"first")
    net.run(10.0)
    assert net.path(a, b).path == net.path(b, a).path == "direct"
    for node in (a, b):
        assert [path for _, path in node.paths()] == ["relay", "direct"]
    assert net.path(a, b).remote == f"{net.routers(b)[0].address}:{b.host.ports[0]}"
    last = a.said(PathChanged)[-1]
    assert (last.name, last.remote) == (b.name, net.path(a, b).remote)


def test_direct_is_faster_than_the_relay_and_leaves_the_supernode_alone() -> None:
    net = Net(seed=4)
    supernode = net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    net.run(6.0)
    before = supernode.status()
    supernode.host.capture = []
    for _ in range(20):
        assert net.ping(a, b) == pytest.approx(0.040, abs=0.003)
    assert supernode.host.capture == []
    assert before is not None


def test_ipv6_is_used_where_both_have_it_and_ipv4_cannot() -> None:
    net = Net(seed=5)
    net.supernode(ipv6=True)
    a, b = net.node(behind="apdm-random", ipv6=True), net.node(behind="cgn", ipv6=True)
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 5.0)
    assert net.path(a, b).remote == f"[{b.host.addresses[1]}]:{b.host.ports[0]}"


def test_a_host_with_ipv6_only_talks_to_one_with_ipv4_only_over_the_relay() -> None:
    net = Net(seed=6)
    net.supernode(ipv6=True)
    a, b = net.node(ipv4=False, ipv6=True), net.node(behind="eim-apdf")
    net.join()
    assert net.ping(a, b) is not None
    net.run(10.0)
    assert net.path(a, b).path == net.path(b, a).path == "relay"
    assert net.ping(b, a) is not None
