"""Supernodes come and go; nodes stay."""

import itertools

import pytest

from ntvl.proto.events import PeerGone
from ntvl.sim.net import Net

KEEPALIVE_S = 20.0
PROMPT_S = 1.5


def test_nodes_register_again_within_one_keepalive_of_a_supernode_that_lost_its_memory() -> None:
    net = Net(seed=1)
    supernode = net.supernode()
    a, b, c = (net.node(behind="eim-apdf") for _ in range(3))
    net.join()
    before = [node.ipv4 for node in (a, b, c)]
    net.run(30.0)
    net.restart_supernode(supernode)
    net.run(KEEPALIVE_S + PROMPT_S)
    assert [node.supernode_state() for node in (a, b, c)] == ["registered"] * 3
    assert [node.ipv4 for node in (a, b, c)] == before
    assert net.is_joined(a, b, c)
    assert net.ping(a, c) is not None
    newcomer = net.node()
    net.join(newcomer, a)
    assert net.ping(newcomer, a) is not None


@pytest.mark.parametrize("down_s", [5.0, 120.0])
def test_traffic_over_a_restarted_relay_comes_back_by_itself(down_s: float) -> None:
    net = Net(seed=2)
    supernode = net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="apdm-random")
    net.join()
    net.ping(a, b)
    net.restart_supernode(supernode, down_s=down_s)
    net.run(down_s)
    net.run_until(lambda: net.ping(a, b, limit_s=0.5) is not None, 35.0)


def test_direct_peers_keep_talking_while_every_supernode_is_away() -> None:
    net = Net(seed=3)
    supernode = net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    net.run(3.0)
    supernode.stop()
    net.stream(a, b, packets=600, spacing_s=1.0)
    net.stream(b, a, packets=600, spacing_s=1.0)
    net.run(601.0)
    for node in (a, b):
        assert net.received(node) == list(range(600))
        assert node.supernode_state() == "unreachable"
        assert node.said(PeerGone) == []
    assert net.is_direct(a, b)


def test_an_idle_direct_pair_still_talks_after_an_hour_without_supernode() -> None:
    net = Net(seed=3)
    supernode = net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node()
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    supernode.stop()
    for _ in range(12):
        net.run(300.0)
        assert net.ping(a, b) is not None


def test_a_node_that_starts_before_its_supernode_joins_when_that_comes() -> None:
    net = Net(seed=4)
    supernode = net.supernode()
    supernode.stop()
    a, b = net.node(), net.node(behind="eim-apdf")
    net.run(60.0)
    assert a.supernode_state() == "unreachable"
    supernode.start()
    net.join(limit_s=35.0)
    assert net.ping(a, b) is not None


def test_relayed_peers_go_on_over_the_second_supernode() -> None:
    net = Net(seed=5)
    first, second = net.supernode(), net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="apdm-random")
    net.join()
    net.ping(a, b)
    via = net.path(a, b).via
    assert via == str(first.url)
    start = net.now
    net.stream(a, b, packets=1500, spacing_s=0.02)
    net.run(5.0)
    first.stop()
    net.run(26.0)
    moments = [d.at for d in b.station.datagrams if d.port == 7001 and d.at >= start]
    assert max(after - before for before, after in itertools.pairwise(moments)) < 6.0
    assert moments[-1] > start + 29.0
    assert net.path(a, b).via == str(second.url)


def test_a_second_supernode_serves_those_who_start_while_the_first_is_away() -> None:
    net = Net(seed=6)
    first, _ = net.supernode(), net.supernode()
    first.stop()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join(limit_s=15.0)
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 5.0)


def test_the_first_supernode_is_preferred_again_when_it_is_back() -> None:
    net = Net(seed=7)
    first, second = net.supernode(), net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="apdm-random")
    net.join()
    first.stop()
    net.run(60.0)
    assert net.ping(a, b) is not None
    assert net.path(a, b).via == str(second.url)
    first.start()
    net.run(60.0)
    assert [node.supernode_state(0) for node in (a, b)] == ["registered"] * 2
    assert [node.supernode_state(1) for node in (a, b)] == ["registered"] * 2
    assert net.ping(a, b) is not None


def test_addresses_outlive_supernodes_and_nodes() -> None:
    net = Net(seed=8)
    supernode = net.supernode()
    a, b = net.node(), net.node()
    net.join()
    before = (a.ipv4, b.ipv4)
    supernode.stop()
    a.stop()
    b.stop()
    supernode.start()
    b.start()
    a.start()
    net.join()
    assert (a.ipv4, b.ipv4) == before
    assert a.ipv4 != b.ipv4


def test_a_supernode_without_key_in_its_url_is_pinned_at_first_use_and_another_key_is_refused() -> None:
    net = Net(seed=9)
    supernode = net.supernode()
    a = net.node(pinned=False)
    net.run_until(lambda: bool(a.ipv4), 5.0)
    assert a.supernodes[0].key == supernode.key.public
    supernode.stop()
    supernode.replace_key()
    supernode.start()
    net.run(60.0)
    assert "supernode-key" in a.notices()
    assert a.supernode_state() in ("refused", "unreachable")
    assert a.supernodes[0].key != supernode.key.public
