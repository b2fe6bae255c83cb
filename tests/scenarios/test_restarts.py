"""Nodes stop, start, lose their state, and are started twice."""

import pytest

from ntvl.proto.events import PeerGone
from ntvl.sim.net import Net


@pytest.mark.parametrize("kinds", [("eim-apdf", "eim-apdf"), ("apdm-random", "cgn")])
@pytest.mark.parametrize("new_state", [False, True])
def test_a_restarted_peer_is_talked_to_again_at_once(kinds: tuple[str, str], new_state: bool) -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(behind=kinds[0]), net.node(behind=kinds[1])
    net.join()
    net.ping(a, b)
    net.run(10.0)
    before = b.ipv4
    b.restart(new_state=new_state)
    net.run_until(lambda: bool(b.ipv4), 3.0)
    assert (b.ipv4 == before) == (not new_state)
    net.run_until(lambda: net.ping(b, a, limit_s=0.5) is not None, 5.0)
    net.run_until(lambda: net.ping(a, b, limit_s=0.5) is not None, 5.0)
    net.run(10.0)
    assert net.is_direct(a, b) == (kinds[0] == "eim-apdf")


def test_a_peer_that_restarted_silently_is_found_by_the_one_that_talks_to_it() -> None:
    net = Net(seed=2)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    net.run(5.0)
    b.stop()
    net.run(1.0)
    b.start()
    net.run_until(lambda: bool(b.ipv4), 3.0)
    start = net.now
    net.run_until(lambda: net.ping(a, b, limit_s=0.25) is not None, 6.0)
    assert net.now - start < 6.0


def test_a_node_that_leaves_is_gone_for_all_and_one_that_dies_is_after_a_while() -> None:
    net = Net(seed=3)
    net.supernode()
    a, b, c = net.node(), net.node(behind="eim-apdf"), net.node()
    net.join()
    b.leave()
    net.run(1.0)
    assert [gone.name for gone in a.said(PeerGone)] == [b.name]
    c.stop()
    net.run(300.0)
    assert {gone.name for gone in a.said(PeerGone)} == {b.name, c.name}
    assert a.peers() == {}


def test_two_nodes_with_one_state_are_told_apart_and_the_newer_one_stays() -> None:
    net = Net(seed=4)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node()
    net.join()
    clone = net.node("clone", behind="eim-apdf")
    clone.stop()
    clone.key = a.key
    clone.start()
    net.run(30.0)
    assert a.failed is not None
    assert a.failed.code == "duplicate-node"
    assert clone.failed is None
    assert clone.supernode_state() == "registered"
    assert net.ping(clone, b) is not None


def test_a_restart_is_not_taken_for_a_duplicate() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node()
    net.join()
    for _ in range(5):
        a.restart()
        net.run(3.0)
    assert a.failed is None
    assert net.ping(a, b) is not None


def test_all_restart_at_one_moment_and_find_each_other_again() -> None:
    net = Net(seed=6)
    supernode = net.supernode()
    nodes = [net.node(behind=kind) for kind in ("open", "eim-apdf", "apdm-random", "double")]
    net.join()
    for node in nodes[1:]:
        net.ping(nodes[0], node)
    net.restart_supernode(supernode)
    for node in nodes:
        node.restart()
    net.join()
    for node in nodes[1:]:
        assert net.ping(nodes[0], node) is not None
        assert net.ping(node, nodes[0]) is not None
