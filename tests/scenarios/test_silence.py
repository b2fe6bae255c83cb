"""A direct path that goes silent is left for the relay within seconds, and taken again when it is back."""

import itertools

import pytest

from ntvl.sim.net import Net
from ntvl.sim.node import SimNode

GAP_S = 6.0


def direct_pair(seed: int, **faults: float) -> tuple[Net, SimNode, SimNode]:
    net = Net(seed, **faults)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 3.0)
    net.run(3.0)
    return net, a, b


def longest_gap(net: Net, node: SimNode, since: float, *, spacing_s: float) -> float:
    """Returns the longest time without a datagram of a stream that began at `since` and is to go on until now."""
    moments = [since, *(d.at for d in node.station.datagrams if d.port == 7001 and d.at >= since), net.now]
    return max(after - before for before, after in itertools.pairwise(moments)) - spacing_s


@pytest.mark.parametrize("seed", range(4))
def test_a_silenced_direct_path_falls_back_to_the_relay_within_seconds(seed: int) -> None:
    net, a, b = direct_pair(seed)
    start = net.now
    net.stream(a, b, packets=1000, spacing_s=0.02)
    net.stream(b, a, packets=1000, spacing_s=0.02)
    net.run(2.0)
    net.partition([a], [b])
    net.run(18.1)
    for node in (a, b):
        assert longest_gap(net, node, start, spacing_s=0.02) < GAP_S
    assert net.path(a, b).path == net.path(b, a).path == "relay"


@pytest.mark.parametrize("one_way", ["ab", "ba"])
def test_a_path_silenced_in_one_direction_is_no_path(one_way: str) -> None:
    net, a, b = direct_pair(5)
    start = net.now
    net.stream(a, b, packets=1000, spacing_s=0.02)
    net.stream(b, a, packets=1000, spacing_s=0.02)
    net.run(2.0)
    left, right = (a, b) if one_way == "ab" else (b, a)
    net.cut([left.host], [right.host], one_way=True)
    net.run(18.1)
    for node in (a, b):
        assert longest_gap(net, node, start, spacing_s=0.02) < GAP_S
    assert net.path(a, b).path == net.path(b, a).path == "relay"


def test_a_path_that_comes_back_is_taken_again() -> None:
    net, a, b = direct_pair(6)
    net.partition([a], [b])
    net.stream(a, b, packets=6000, spacing_s=0.05)
    net.stream(b, a, packets=6000, spacing_s=0.05)
    net.run(10.0)
    assert net.path(a, b).path == "relay"
    net.heal()
    assert net.run_until(lambda: net.is_direct(a, b), 60.0, "direct again") < 30.0
    switched = net.now
    net.run(5.0)
    numbers = net.received(b, since=switched - 5.0)
    assert sorted(set(numbers)) == list(range(min(numbers), max(numbers) + 1))


@pytest.mark.parametrize("outage_s", [60.0, 300.0])
def test_a_path_that_worked_is_taken_again_within_minutes_of_a_long_outage(outage_s: float) -> None:
    net, a, b = direct_pair(9)
    net.partition([a], [b])
    net.stream(a, b, packets=int(outage_s * 4), spacing_s=0.5)
    net.run(outage_s)
    assert net.path(a, b).path == net.path(b, a).path == "relay"
    net.heal()
    net.run_until(lambda: net.is_direct(a, b), outage_s + 60.0, "direct again")


def test_a_short_hiccup_costs_what_was_sent_in_it_and_no_path() -> None:
    net, a, b = direct_pair(7)
    start = net.now
    net.stream(a, b, packets=1000, spacing_s=0.02)
    net.run(5.0)
    net.partition([a], [b])
    net.run(0.5)
    net.heal()
    net.run(15.0)
    missing = set(range(1000)) - set(net.received(b))
    assert len(missing) <= 27
    assert net.is_direct(a, b)
    assert "relay" not in [path for _, path in a.paths(since=start)]


def test_a_stream_over_a_relay_that_dies_with_it_comes_back_with_it() -> None:
    net = Net(seed=8)
    supernode = net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="apdm-random")
    net.join()
    net.ping(a, b)
    net.partition([a, b], [supernode])
    net.run(20.0)
    assert net.ping(a, b) is None
    net.heal()
    net.run_until(lambda: net.ping(a, b, limit_s=0.5) is not None, 30.0)
