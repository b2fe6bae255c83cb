"""A NAT reboots, a node changes its network, an hour is slept through: traffic is back within 3 s of connectivity,
whatever technique had made the pair direct, and whatever carries it where UDP does not get out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import pytest

from ntvl.nat import Chain, NatBehaviour, Passage
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.packet import WAN
from ntvl.sim.turn_server import SimTurnServer

BACK_S: Final = 3.0
SPACING_S: Final = 0.05
PAIRS: Final = {
    "simultaneous": ("eim-apdf", "eim-apdf"),
    "birthday": ("apdm-random", "eim-apdf"),
    "prediction": ("apdm-sequential", "eim-apdf"),
    "relayed": ("apdm-random", "apdm-random"),
}
FAR_S: Final = 0.080
PROXY: Final = "proxy.example:3128"


@dataclass(frozen=True)
class Place:
    """Is where the left node of a pair is that needs more than a NAT's kind to tell.

    Args:
        behind: the router, both before and after a move.
        over: what the supernode is reached by there.
        direct: whether theory allows a direct path to a home router.
    """

    behind: str | Chain
    over: str
    direct: bool
    proxies: tuple[str, ...] = ()


PLACES: Final = {
    "no-udp": Place((NatBehaviour(passes=Passage.NO_UDP),), "tcp", True),
    "tcp-443": Place((NatBehaviour(passes=Passage.TCP_443),), "wss", False),
    "http-proxy": Place((NatBehaviour(passes=Passage.NOTHING),), f"wss through proxy {PROXY}", False, (PROXY,)),
    "pcp": Place("eim-apdf+pcp", "udp", True),
}


def talking(pair: str, seed: int) -> tuple[Net, SimNode, SimNode]:
    """Returns two nodes that have talked for a while, as direct as their NATs allow."""
    net = Net(seed)
    net.supernode()
    a, b = (net.node(behind=kind) for kind in PAIRS[pair])
    net.join()
    net.run(6.0)  # The NATs are known now.
    talk(net, a, b)
    assert net.is_direct(a, b) == (pair != "relayed")
    return net, a, b


def talk(net: Net, a: SimNode, b: SimNode) -> None:
    net.stream(a, b, packets=100, spacing_s=0.2)
    net.run(20.0)


def reboot_left(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(a)


def reboot_left_anew(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(a, new_address=True)


def reboot_right(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(b)


def reboot_right_anew(net: Net, a: SimNode, b: SimNode) -> None:
    net.reboot_nat(b, new_address=True)


def move_left(net: Net, a: SimNode, b: SimNode) -> None:
    net.move(a, behind="eim-apdf")


def move_left_alike(net: Net, a: SimNode, b: SimNode) -> None:
    (router,) = net.routers(a)
    protocols = () if router.service is None else router.service.protocols
    net.move(a, behind=net.site((router.behaviour,), protocols=protocols))


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


@pytest.mark.parametrize("event", [reboot_left, reboot_left_anew, move_left_alike, unplug_a_minute, sleep_left])
@pytest.mark.parametrize("name", PLACES)
def test_so_it_is_where_udp_does_not_get_out_or_a_port_is_mapped(
    name: str, event: Callable[[Net, SimNode, SimNode], None]
) -> None:
    place = PLACES[name]
    net = Net(1)
    net.supernode()
    a, b = net.node(behind=place.behind, proxies=place.proxies), net.node(behind="eim-apdf")
    net.join()
    net.run(12.0)  # It is known by now whether UDP gets out.
    talk(net, a, b)
    assert a.over() == place.over
    assert net.is_direct(a, b) == place.direct
    assert bool(net.routers(a)[0].forwards) == (name == "pcp")
    event(net, a, b)
    took_s = seconds_until_back(net, a, b)
    assert took_s < BACK_S, f"{took_s:.2f} s"
    net.run_until(lambda: a.over() == place.over, BACK_S, "the supernode again")


def talking_by_turn(seed: int) -> tuple[Net, SimNode, SimNode, SimTurnServer]:
    """Returns two nodes that no technique brings together, by the near TURN server of the left one in place of the
    supernode that is far away.
    """
    net = Net(seed)
    net.supernode(link=WAN.but(delay_s=FAR_S))
    turn = net.turn_server()
    a, b = net.node(behind="apdm-random", turn=turn.address), net.node(behind="apdm-random")
    net.join()
    net.run(6.0)
    net.stream(a, b, packets=240, spacing_s=0.2)
    net.run(46.0)  # For half a minute it has to be better.
    assert [net.path(*ends).path for ends in ((a, b), (b, a))] == ["turn", "turn"]
    return net, a, b, turn


@pytest.mark.parametrize(
    "event",
    [reboot_left, reboot_left_anew, reboot_right, reboot_right_anew, move_left_alike, move_right, *EVENTS[-2:]],
)
def test_so_it_is_for_a_pair_by_a_turn_server_whose_relay_is_found_anew(
    event: Callable[[Net, SimNode, SimNode], None],
) -> None:
    net, a, b, turn = talking_by_turn(1)
    (before,) = turn.lent
    event(net, a, b)
    took_s = seconds_until_back(net, a, b)
    assert took_s < BACK_S, f"{took_s:.2f} s"
    is_ours = event in (reboot_right, reboot_right_anew, move_right)
    net.run(8.0)
    net.run_until(lambda: (before == turn.lent[-1]) == is_ours, 1.0, "the allocation stays, or there is another")
    net.stream(a, b, packets=200, spacing_s=0.4)
    net.run_until(lambda: {net.path(a, b).path, net.path(b, a).path} == {"turn"}, 80.0, "by TURN again")
    assert net.path(b, a).remote == str(turn.lent[-1])


@pytest.mark.parametrize("event", [reboot_left, *EVENTS[-2:]])
def test_so_it_is_with_a_turn_server_alone_as_long_as_its_client_keeps_its_place(
    event: Callable[[Net, SimNode, SimNode], None],
) -> None:
    net, a, b, _ = talking_by_turn(1)
    net.supernodes[0].stop()
    net.run(10.0)
    event(net, b, a)
    took_s = seconds_until_back(net, a, b)
    assert took_s < BACK_S, f"{took_s:.2f} s"


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
