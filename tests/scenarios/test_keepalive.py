"""Idle paths outlive what NATs remember, from the first minute on, and no more is sent than that takes."""

import pytest

from ntvl.nat import NatBehaviour
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode


def quiet_pair(*lifetimes_s: float) -> tuple[Net, SimNode, SimNode]:
    net = Net(seed=3)
    net.supernode()
    a, b = (net.node(behind=[NatBehaviour(lifetime_s=each)]) for each in lifetimes_s)
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 5.0)
    return net, a, b


def pace_s(node: SimNode) -> float:
    pace: float = node.status()["node"]["keepalive_s"]
    return pace


@pytest.mark.parametrize("lifetimes_s", [(20.0, 20.0), (20.0, 300.0), (30.0, 60.0), (120.0, 120.0)])
def test_an_idle_path_is_there_when_it_is_needed_before_and_after_the_nat_is_known(
    lifetimes_s: tuple[float, float],
) -> None:
    net, a, b = quiet_pair(*lifetimes_s)
    for _ in range(6):
        net.run(150.0)
        seen = net.now
        assert net.ping(a, b, limit_s=0.3) is not None
        assert net.is_direct(a, b)
        assert net.is_direct(b, a)
        assert net.ping(b, a, limit_s=0.3) is not None
        assert not a.paths(since=seen)
    assert not {path for _, path in a.paths(since=10.0)}


@pytest.mark.parametrize(
    ("lifetime_s", "least_s", "most_s"), [(15.0, 10, 10), (20.5, 16, 16), (60.0, 40, 48), (300.0, 100, 100)]
)
def test_the_lifetime_of_mappings_is_measured_and_shown(lifetime_s: float, least_s: float, most_s: float) -> None:
    net, a, _ = quiet_pair(lifetime_s, 120.0)
    assert pace_s(a) == 15.0
    assert a.status()["node"]["mapping_lifetime_s"] is None
    net.run(600.0)
    assert least_s <= pace_s(a) <= most_s
    found = a.status()["node"]["mapping_lifetime_s"]
    assert found <= lifetime_s
    assert pace_s(a) == min(max(0.8 * found, 10.0), 100.0)


def test_each_network_is_measured_anew_and_a_known_one_is_remembered() -> None:
    net, a, _ = quiet_pair(300.0, 120.0)
    net.run(600.0)
    assert pace_s(a) == 100.0
    net.move(a, behind=[NatBehaviour(lifetime_s=30.0)])
    net.run(8.0)
    assert pace_s(a) == 15.0
    net.run(300.0)
    assert 16.0 <= pace_s(a) <= 24.0


def test_a_suspended_laptop_does_not_take_its_sleep_for_the_end_of_a_mapping() -> None:
    net, a, _ = quiet_pair(300.0, 120.0)
    net.run(40.0)
    net.suspend(a, 3600.0)
    net.run(4200.0)
    assert pace_s(a) == 100.0
