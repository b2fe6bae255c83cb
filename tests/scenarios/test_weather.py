"""Lines that lose, reorder, double and delay."""

import pytest

from ntvl.sim.net import Net
from ntvl.sim.node import SimNode


def streamed(net: Net, left: str = "eim-apdf", right: str = "eim-apdf") -> tuple[SimNode, SimNode]:
    net.supernode()
    a, b = net.node(behind=left), net.node(behind=right)
    net.join(limit_s=30.0)
    net.run_until(lambda: net.ping(a, b, limit_s=1.0) is not None, 10.0)
    net.run_until(lambda: net.is_direct(a, b), 10.0)
    net.run(3.0)
    net.stream(a, b, packets=2000, spacing_s=0.005)
    net.run(11.0)
    return a, b


@pytest.mark.parametrize("seed", range(5))
def test_five_percent_loss_costs_five_percent_and_no_path(seed: int) -> None:
    net = Net(seed, loss=0.05)
    a, b = streamed(net)
    numbers = net.received(b)
    assert len(numbers) == len(set(numbers))
    # What is sent on both paths while one is in doubt gets through even more often.
    assert len(numbers) > 2000 * 0.93
    assert net.is_direct(a, b)
    net.run(120.0)
    assert net.is_direct(a, b)


def test_reordered_datagrams_all_arrive_once() -> None:
    net = Net(1, reorder=0.2)
    _, b = streamed(net)
    numbers = net.received(b)
    assert sorted(numbers) == list(range(2000))
    assert numbers != sorted(numbers)


def test_doubled_datagrams_arrive_once() -> None:
    net = Net(2, duplicate=0.3)
    _, b = streamed(net)
    assert net.received(b) == list(range(2000))
    assert b.drops()["replay"] > 300


def test_all_at_once_on_a_long_line() -> None:
    net = Net(3, delay_s=0.075, jitter_s=0.030, loss=0.02, duplicate=0.02, reorder=0.05)
    a, b = streamed(net)
    numbers = net.received(b)
    assert len(numbers) == len(set(numbers)) > 1900
    assert net.is_direct(a, b)


@pytest.mark.parametrize("seed", range(5))
def test_joining_and_the_first_reply_survive_twenty_percent_loss(seed: int) -> None:
    net = Net(seed, loss=0.2)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="apdm-random")
    net.join(limit_s=40.0)
    net.run_until(lambda: net.ping(a, b, limit_s=1.0) is not None, 20.0)


def test_over_a_satellite_the_handshake_is_patient() -> None:
    net = Net(4, delay_s=0.300)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join(limit_s=20.0)
    net.run_until(lambda: net.ping(a, b, limit_s=10.0) is not None, 20.0)
    net.run_until(lambda: net.is_direct(a, b), 20.0)
    net.run(60.0)
    assert net.is_direct(a, b)


def test_every_datagram_fits_a_line_of_1492_bytes() -> None:
    net = Net(5)
    small = net.internet.segment.link.but(mtu_bytes=1492)
    net.supernode(link=small)
    a, b = net.node(link=small), net.node(link=small)
    net.join()
    net.ping(a, b)
    for direct in (False, True):
        b.station.datagrams.clear()
        net.run_until(lambda direct=direct: net.is_direct(a, b) or not direct, 5.0)
        for size in (64, 1280, 1332):
            a.station.send_udp(b.ipv4, 7, bytes(size))
        net.run(1.0)
        assert [len(d.data) for d in b.station.datagrams] == [64, 1280, 1332]
