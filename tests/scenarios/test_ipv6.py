"""Two families at one host: neither hides the other, a broken one delays nothing, and addresses come and go."""

import pytest

from ntvl.nat import NatBehaviour, Passage
from ntvl.proto.carriage import PROBE_S
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.wire.address import Address

RANDOM = "apdm-random"


def readdress(net: Net, node: SimNode, host: str, *, routed: bool = True) -> None:
    """Gives a node another IPv6 address, in the place of the one that it has, and tells it."""
    interface = node.host.interfaces[0]
    interface.segment.assign(interface, (*(a for a in interface.addresses if ":" not in a), host))
    if routed:
        net.routers(node)[0].adopt(host)
    assert node.host.program is not None
    node.host.program.handle_interfaces()


@pytest.mark.parametrize("other", ["eim-apdf", "apdm-random"])
def test_ipv6_at_one_end_hides_from_a_peer_without_it_no_public_address_of_ipv4(other: str) -> None:
    net = Net(seed=3)
    net.supernode(ipv6=True)
    a, b = net.node(behind="eim-apdf", ipv6=True), net.node(behind=other)
    net.join()
    net.run(6.0)
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 15.0)
    assert net.path(b, a).remote == f"{net.routers(a)[0].address}:{a.host.ports[0]}"


def test_a_supernode_whose_ipv4_address_is_silent_is_reached_by_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(seed=3)
    supernode = net.supernode(ipv6=True)
    silent, alive = Address("198.19.255.254", 1971), next(each for each in supernode.addresses if each.is_ipv6)
    monkeypatch.setattr(net, "resolve", lambda url: (alive, silent))
    node = net.node(behind="eim-apdf", ipv6=True)
    net.join(node, limit_s=1.0)
    net.run(sum(PROBE_S[:2]) + 1.0)  # a stream wins, and gives way to UDP
    (shown,) = node.status()["supernodes"]
    assert (shown["over"], shown["observed"]) == ("udp", f"[{node.host.addresses[1]}]:{node.host.ports[0]}")


def test_an_ipv6_address_that_leads_nowhere_delays_no_direct_path() -> None:
    net = Net(seed=4)
    net.supernode(ipv6=True)
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf", ipv6=True)
    readdress(net, a, "2001:db8:dead::1", routed=False)
    net.join(limit_s=1.0)
    net.run(6.0)
    net.ping(a, b)
    assert net.run_until(lambda: net.is_direct(a, b), 5.0) < 1.0
    assert net.path(a, b).remote == f"{net.routers(b)[0].address}:{b.host.ports[0]}"


def test_who_moves_from_ipv6_alone_to_a_home_with_both_is_seen_there_at_once() -> None:
    net = Net(seed=6)
    net.supernode(ipv6=True)
    a, b = net.node(behind="firewall", ipv4=False, ipv6=True), net.node(behind="eim-apdf")
    net.join()
    net.run(6.0)
    assert a.status()["supernodes"][0]["observed"].startswith("[")
    site = net.move(a, behind="eim-apdf", ipv6=True)
    net.stream(a, b, packets=1000, spacing_s=0.02)
    net.run_until(lambda: net.is_direct(a, b), 5.0)
    assert net.path(b, a).remote == f"{site.routers[0].address}:{a.host.ports[0]}"


@pytest.mark.parametrize("is_told", [True, False])
def test_udp_by_ipv6_takes_over_from_a_stream_also_after_a_change_of_network_where_ipv4_is_silent(
    is_told: bool,
) -> None:
    net = Net(seed=3)
    supernode = net.supernode(ipv6=True)
    alive = next(address for address in supernode.addresses if address.is_ipv6)
    net.resolve = lambda url: (alive, Address("198.19.255.254", 1971))  # type: ignore[method-assign]
    node = net.node(behind=[NatBehaviour(passes=Passage.NO_UDP)], ipv6=True)
    net.join(node, limit_s=5.0)
    net.run(60.0)
    assert node.over() == "tcp"
    for router in net.routers(node):
        router.behaviour = NatBehaviour()
    if is_told:
        readdress(net, node, str(node.host.interfaces[0].segment.ipv6[0xABCD]))  # type: ignore[index]
    net.run_until(lambda: node.over() == "udp", 20.0 if is_told else 250.0)


def test_an_ipv4_address_that_comes_after_ipv6_is_used_at_once() -> None:
    net = Net(seed=6)
    net.supernode(ipv6=True)
    a, b = net.node(behind="firewall", ipv4=False, ipv6=True), net.node(behind="eim-apdf")
    net.join()
    net.run(6.0)
    home = net.site("eim-apdf")
    a.host.plug(home.segment, ipv6=False)
    net.stream(a, b, packets=1000, spacing_s=0.02)
    net.run_until(lambda: net.is_direct(a, b), 5.0)
    assert net.path(b, a).remote == f"{home.routers[0].address}:{a.host.ports[0]}"


def test_a_temporary_address_that_gives_way_to_the_next_costs_two_seconds_at_most() -> None:
    net = Net(seed=5)
    net.supernode(ipv6=True)
    a, b = net.node(behind=RANDOM, ipv6=True), net.node(behind=RANDOM, ipv6=True)
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 5.0)
    old = a.host.addresses[1]
    assert net.path(b, a).remote == f"[{old}]:{a.host.ports[0]}"
    new = str(a.host.interfaces[0].segment.ipv6[0xABCD])  # type: ignore[index]
    net.stream(b, a, packets=1000, spacing_s=0.02)
    net.run(5.0)
    readdress(net, a, new)
    net.run_until(lambda: net.path(b, a).remote == f"[{new}]:{a.host.ports[0]}", 2.0)
    net.run(15.0)
    assert len(set(net.received(a))) > 1000 - 2.0 / 0.02
    assert net.is_direct(a, b)
