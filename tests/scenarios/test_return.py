"""A NAT reboots, a node changes its network, an hour is slept through: traffic is back within 3 s of connectivity,
whatever technique had made the pair direct.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import pytest

from ntvl.sim.net import Net
from ntvl.sim.node import SimNode

BACK_S: Final = 3.0
SPACING_S: Final = 0.05
PAIRS: Final = {
    "simultaneous": ("eim-apdf", "eim-apdf"),
    "birthday": ("apdm-random", "eim-apdf"),
    "prediction": ("apdm-sequential", "eim-apdf"),
    "relayed": ("apdm-random", "apdm-random"),
}


def talking(pair: str, seed: int) -> tuple[Net, SimNode, SimNode]:
    """Returns two nodes that have talked for a while, as direct as their NATs allow."""
    net = Net(seed)
    net.supernode()
    a, b = (net.node(behind=kind) for kind in PAIRS[pair])
    net.join()
    net.run(6.0)  # The NATs are known now.
    net.stream(a, b, packets=100, spacing_s=0.2)
    net.run(20.0)
    assert net.is_direct(a, b) == (pair != "relayed")
    return net, a, b


def reboot_left(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(a)


def reboot_left_anew(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(a, new_address=True)


def reboot_right_anew(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(b, new_address=True)


def move_left(net: Net, a: SimNode, b: SimNode) -> None:
    net.move(a, behind="eim-apdf")


def move_right(net: Net, a: SimNode, b: SimNode) -> None:
    net.move(b, behind="apdm-random")


def unplug_a_minute(net: Net, a: SimNode, b: SimNode) -> None:
    segment = a.host.interfaces[0].segment
    a.host.unplug()
    net.run(60.0)
    a.host.plug(segment)


def sleep_left(net: Net, a: SimNode, b: SimNode) -> None:
    net.suspend(a, 3600.0)
    net.run(3600.0)


EVENTS: Final[tuple[Callable[[Net, SimNode, SimNode], None], ...]] = (
    reboot_left_anew,
    reboot_right_anew,
    move_left,
    unplug_a_minute,
    sleep_left,
)


def seconds_until_back(net: Net, a: SimNode, b: SimNode) -> float:
    """Returns after how many seconds what either has sent from now on has reached the other."""
    start = net.now
    net.stream(a, b, packets=400, spacing_s=SPACING_S, port=7002)
    net.stream(b, a, packets=400, spacing_s=SPACING_S, port=7002)

    def hears(node: SimNode) -> bool:
        return any(d.port == 7002 for d in node.station.datagrams)

    net.run_until(lambda: hears(a) and hears(b), 20.0, "both hear each other")
    return net.now - start


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("pair", PAIRS)
def test_traffic_is_back_within_three_seconds(pair: str, event: Callable[[Net, SimNode, SimNode], None]) -> None:
    net, a, b = talking(pair, 1)
    event(net, a, b)
    took_s = seconds_until_back(net, a, b)
    assert took_s < BACK_S, f"{took_s:.1f} s"


@pytest.mark.parametrize("event", [reboot_left, reboot_right_anew, move_right])
@pytest.mark.parametrize(
    ("pair", "ways"),
    [(pair, "both") for pair in PAIRS] + [("simultaneous", "to the left"), ("simultaneous", "to the right")],
)
def test_a_stream_under_way_has_no_gap_of_three_seconds(
    pair: str, ways: str, event: Callable[[Net, SimNode, SimNode], None]
) -> None:
    for phase_s in (0.1, 1.1):
        net, a, b = talking(pair, 2)
        streams = {"both": [(a, b), (b, a)], "to the left": [(b, a)], "to the right": [(a, b)]}[ways]
        for sender, receiver in streams:
            net.stream(sender, receiver, packets=300, spacing_s=SPACING_S)
        net.run(3.0 + phase_s)
        event(net, a, b)
        since = net.now
        net.run(10.0)
        for _, receiver in streams:
            moments = [since, *(d.at for d in receiver.station.datagrams if d.port == 7001 and d.at > since)]
            gap_s = max(later - earlier for earlier, later in pairwise(moments))
            assert len(moments) > 100
            assert gap_s < BACK_S, f"{gap_s:.1f} s"


@pytest.mark.parametrize("pair", ["simultaneous", "birthday", "prediction"])
def test_a_pair_is_direct_again_soon_after_its_nat_rebooted(pair: str) -> None:
    net, a, b = talking(pair, 5)
    net.reboot_nat(a, new_address=True)
    seconds_until_back(net, a, b)
    before = net.now
    net.stream(a, b, packets=400, spacing_s=SPACING_S)
    net.run(2.0)
    net.run_until(lambda: net.is_direct(a, b) and net.is_direct(b, a), 30.0, "direct again")
    assert net.now - before < 25.0
