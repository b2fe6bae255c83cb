"""Networks that pass no UDP: supernodes are reached by what these pass, and by UDP again as soon as that works."""

import pytest

from ntvl.nat import NatBehaviour, Passage
from ntvl.sim.net import Net

NO_UDP = (NatBehaviour(passes=Passage.NO_UDP),)
TCP_443 = (NatBehaviour(passes=Passage.TCP_443),)
NOTHING = (NatBehaviour(passes=Passage.NOTHING),)
PROXY = "proxy.example:3128"
REPLY_S = 5.0


@pytest.mark.parametrize("delay_s", [0.005, 0.075])
@pytest.mark.parametrize(
    ("behind", "over"), [(NO_UDP, "tcp"), (TCP_443, "wss"), (NOTHING, f"wss through proxy {PROXY}")]
)
def test_the_first_reply_comes_in_time_by_whatever_passes(
    behind: tuple[NatBehaviour, ...], over: str, delay_s: float
) -> None:
    net = Net(seed=3, delay_s=delay_s)
    net.supernode()
    server = net.node("server")
    net.join(server)
    began = net.now
    node = net.node("node", behind=behind, proxies=(PROXY,))
    net.join(server, node, limit_s=REPLY_S)
    assert net.ping(node, server) is not None
    assert net.now - began < REPLY_S
    assert node.over() == over
    assert node.status()["supernodes"][0]["observed"] is None
    assert net.path(node, server).path == "relay"
    assert not [c for c in node.peers().values() if c["path"] == "direct"]


def test_where_udp_works_no_stream_is_opened_and_the_reply_comes_within_a_second() -> None:
    net = Net(seed=3, delay_s=0.02)
    supernode = net.supernode()
    server, node = net.node("server"), net.node("node", behind="cgn")
    net.join()
    assert net.ping(node, server) is not None
    assert net.now < 1.0
    net.run(60.0)
    assert node.reached() == ["udp"]
    assert supernode.host.streams == {}


def test_udp_is_taken_at_once_after_moving_to_a_network_that_passes_it_and_given_up_after_moving_back() -> None:
    net = Net(seed=3)
    net.supernode()
    server, node = net.node("server"), net.node("node", behind=TCP_443)
    net.join()
    assert node.over() == "wss"
    net.move(node, behind="eim-apdf")
    began = net.now
    net.run_until(lambda: node.over() == "udp", 2.0, "UDP again")
    assert net.ping(node, server) is not None
    assert net.now - began < 2.0
    net.move(node, behind=NO_UDP)
    net.run_until(lambda: node.over() == "tcp", REPLY_S, "TCP")
    assert net.ping(node, server, limit_s=10.0) is not None


def test_udp_is_tried_again_every_few_minutes_where_nothing_tells_of_a_change() -> None:
    net = Net(seed=3)
    net.supernode()
    node = net.node("node", behind=NO_UDP)
    net.join()
    net.run(60.0)
    assert node.over() == "tcp"
    router = net.routers(node)[0]
    router.behaviour = NatBehaviour()
    assert net.run_until(lambda: node.over() == "udp", 130.0, "UDP again") > 60.0
    net.run(300.0)
    assert node.reached() == ["tcp", "udp"]


def test_a_lost_datagram_costs_udp_seconds_and_no_minutes() -> None:
    net = Net(seed=3)
    supernode = net.supernode()
    node = net.node("node")
    net.cut([supernode.host], [node.host])
    net.run(0.25)
    node.host.hears = lambda sender: True  # type: ignore[method-assign]
    supernode.host.hears = lambda sender: True  # type: ignore[method-assign]
    net.run_until(lambda: node.over() == "tcp", REPLY_S, "TCP")
    net.heal()
    assert net.run_until(lambda: node.over() == "udp", 3.0, "UDP") > 0.5


def test_a_network_that_stops_to_pass_udp_is_crossed_by_a_stream_after_the_first_silent_keepalive() -> None:
    net = Net(seed=3)
    net.supernode()
    server, node = net.node("server"), net.node("node", behind="eim-apdf")
    net.join()
    router = net.routers(node)[0]
    router.behaviour = NatBehaviour(passes=Passage.NO_UDP)
    net.run_until(lambda: node.over() == "tcp", 20.0 + REPLY_S, "TCP")
    assert net.ping(node, server, limit_s=10.0) is not None
    assert node.supernode_state() == "registered"


def test_a_stream_survives_for_hours_and_carries_what_peers_send() -> None:
    net = Net(seed=3, loss=0.02)
    net.supernode()
    a, b = net.node("a", behind=NO_UDP), net.node("b", behind=TCP_443)
    net.join(limit_s=20.0)
    net.run(7200.0)
    assert (a.reached(), b.reached()) == (["tcp"], ["wss"])
    net.stream(a, b, packets=200, spacing_s=0.01)
    net.run(10.0)
    assert net.received(b) == list(range(200))


def test_a_supernode_that_starts_again_is_reached_again_by_a_new_stream() -> None:
    net = Net(seed=3)
    supernode = net.supernode()
    server, node = net.node("server"), net.node("node", behind=NO_UDP)
    net.join()
    net.restart_supernode(supernode, down_s=3.0)
    net.run(3.0)
    net.run_until(lambda: supernode.status()["members"] > 0, REPLY_S, "the node at the supernode")
    assert supernode.status()["communities"][0]["members"][0]["name"] == "node"
    net.run(0.2)
    assert node.over() == "tcp"
    net.run_until(lambda: net.ping(node, server, limit_s=0.5) is not None, 25.0, "a reply")


def test_a_supernode_without_wss_is_not_reached_where_only_443_passes_and_people_are_told() -> None:
    net = Net(seed=3)
    net.supernode(wss=0)
    node = net.node("node", behind=TCP_443)
    net.run(60.0)
    assert node.supernode_state() == "unreachable"
    assert "no-answer" in node.notices()


def test_an_unpinned_key_is_learned_by_a_stream() -> None:
    net = Net(seed=3)
    net.supernode()
    node = net.node("node", behind=NO_UDP, pinned=False)
    net.join(limit_s=REPLY_S)
    assert node.over() == "tcp"


def test_udp_that_gets_out_but_not_in_does_not_keep_a_stream_from_working() -> None:
    net = Net(seed=3)
    supernode = net.supernode()
    node = net.node("node")
    net.cut([supernode.host], [node.host], one_way=True)
    hears, node.host.hears = node.host.hears, lambda sender: True  # type: ignore[method-assign, assignment]
    net.run_until(lambda: node.over() == "tcp", REPLY_S, "TCP")
    net.run(400.0)
    assert node.over() == "tcp"
    assert hears(supernode.host) is False
