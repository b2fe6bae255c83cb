"""Addresses change under a running node: it moves, its router reboots, its lid closes."""

import pytest

from ntvl.nat import KINDS, NatBehaviour, PortAllocation, direct_path_possible
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode

BACK_S = 3.0


def talking(seed: int, left: str = "eim-apdf", right: str = "eim-apdf") -> tuple[Net, SimNode, SimNode]:
    net = Net(seed)
    net.supernode()
    a, b = net.node(behind=left), net.node(behind=right)
    net.join()
    net.ping(a, b)
    net.run(10.0)
    return net, a, b


def stream_until_back(net: Net, a: SimNode, b: SimNode) -> float:
    """Streams both ways and returns after how many seconds both sides hear each other again."""
    start = net.now
    net.stream(a, b, packets=300, spacing_s=0.1)
    net.stream(b, a, packets=300, spacing_s=0.1)

    def hears(node: SimNode) -> bool:
        return any(d.port == 7001 and d.at > start for d in node.station.datagrams)

    net.run_until(lambda: hears(a) and hears(b), 30.0, "both hear each other again")
    return net.now - start


@pytest.mark.parametrize("to", ["eim-apdf", "open", "apdm-random", "cgn"])
@pytest.mark.parametrize("right", ["eim-apdf", "open", "apdm-random"])
def test_a_node_that_moves_to_another_network_goes_on_within_seconds(to: str, right: str) -> None:
    net, a, b = talking(1, right=right)
    net.move(a, behind=to)
    assert stream_until_back(net, a, b) < BACK_S
    net.run(40.0)
    assert net.ping(a, b) is not None
    expected = "direct" if direct_path_possible(KINDS[to], KINDS[right], techniques="all") else "relay"
    assert net.path(a, b).path == net.path(b, a).path == expected


def test_both_move_at_one_moment() -> None:
    net, a, b = talking(2)
    net.move(a, behind="eim-eif")
    net.move(b, behind="double")
    assert stream_until_back(net, a, b) < BACK_S
    net.run_until(lambda: net.is_direct(a, b), 15.0)


def test_a_cable_pulled_out_for_a_minute() -> None:
    net, a, b = talking(3)
    interface = a.host.interfaces[0]
    segment = interface.segment
    a.host.unplug()
    net.run(60.0)
    a.host.plug(segment)
    assert stream_until_back(net, a, b) < BACK_S
    net.run_until(lambda: net.is_direct(a, b), 30.0)


@pytest.mark.parametrize("new_address", [False, True])
@pytest.mark.parametrize("busy", [False, True])
def test_a_rebooted_nat_with_new_mappings(new_address: bool, busy: bool) -> None:
    net = Net(seed=4)
    net.supernode()
    random_ports = NatBehaviour(allocation=PortAllocation.RANDOM)
    a, b = net.node(behind=[random_ports]), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    net.run(5.0)
    if not busy:
        net.run(60.0)
    before = net.path(b, a).remote
    net.reboot_nat(a, new_address=new_address)
    assert stream_until_back(net, a, b) < BACK_S
    net.run_until(lambda: net.is_direct(a, b) and net.path(b, a).remote != before, 30.0, "direct by the new mapping")


@pytest.mark.parametrize("new_address", [False, True])
def test_a_rebooted_nat_under_a_relayed_pair(new_address: bool) -> None:
    net, a, b = talking(9, left="apdm-random", right="cgn")
    net.run(60.0)
    net.reboot_nat(a, new_address=new_address)
    net.reboot_nat(b, new_address=new_address)
    assert stream_until_back(net, a, b) < BACK_S


def test_a_quiet_pair_whose_nats_reboot_is_reached_again_within_a_keepalive() -> None:
    net, a, b = talking(10)
    net.reboot_nat(a)
    net.reboot_nat(b)
    net.run(25.0)
    assert net.ping(a, b, limit_s=0.5) is not None


@pytest.mark.parametrize("kind", ["eim-apdf", "apdm-random"])
def test_a_laptop_suspended_for_an_hour_goes_on_within_seconds(kind: str) -> None:
    net, a, b = talking(5, left=kind)
    net.suspend(a, 3600.0)
    net.run(3600.0)
    assert stream_until_back(net, a, b) < BACK_S
    net.run(30.0)
    assert net.is_direct(a, b)


def test_the_peer_of_a_suspended_laptop_reaches_it_when_it_wakes() -> None:
    net, a, b = talking(6)
    net.suspend(a, 3600.0)
    net.run(3600.0)
    net.run_until(lambda: net.ping(b, a, limit_s=0.25) is not None, BACK_S + 1.0)


def test_a_laptop_that_wakes_in_another_network() -> None:
    net, a, b = talking(7)
    net.suspend(a, 3600.0)
    net.run(3599.0)
    net.move(a, behind="double")
    net.run(1.0)
    assert stream_until_back(net, a, b) < BACK_S
    net.run_until(lambda: net.is_direct(a, b), 30.0)


@pytest.mark.parametrize("lifetime_s", [30.0, 60.0])
def test_an_idle_direct_path_outlives_short_mappings(lifetime_s: float) -> None:
    net = Net(seed=8)
    net.supernode()
    short = NatBehaviour(lifetime_s=lifetime_s)
    a, b = net.node(behind=[short]), net.node(behind=[short])
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    for _ in range(8):
        net.run(lifetime_s)
        assert net.ping(a, b, limit_s=0.3) is not None
        assert net.is_direct(a, b)
