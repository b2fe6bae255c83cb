"""Routers that map a port on request: whoever is behind one is direct with everybody."""

import pytest

from ntvl.identity.keys import format_key
from ntvl.nat import KINDS
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.site import Site
from ntvl.wire.address import Address

HARD = ["apdm-random", "apdm-sequential", "eim-apdf", "firewall", "cgn", "open"]


def forwarded(net: Net, node: SimNode) -> dict[Address, Address]:
    return net.routers(node)[0].forwards


def meet(net: Net, a: SimNode, b: SimNode, limit_s: float = 3.0) -> float:
    net.ping(a, b)
    return net.run_until(lambda: net.is_direct(a, b), limit_s, "direct")


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "pcp+natpmp"])
@pytest.mark.parametrize("other", HARD)
def test_with_a_mapped_port_any_other_side_is_reached(protocol: str, other: str) -> None:
    net = Net(seed=3)
    net.supernode()
    a, b = net.node("a", behind=protocol), net.node("b", behind=other)
    net.join()
    assert meet(net, a, b) < 2.0
    assert net.ping(a, b) is not None
    (external,) = forwarded(net, a)
    if KINDS[other]:
        assert net.path(b, a).remote == str(external)


@pytest.mark.parametrize("other", ["apdm-random", "eim-apdf"])
def test_the_simultaneous_burst_suffices_so_nothing_is_guessed(other: str) -> None:
    net = Net(seed=4)
    net.supernode()
    net.supernode()
    a, b = net.node("a", behind="pcp"), net.node("b", behind=other)
    net.join()
    net.run(6.0)
    assert meet(net, a, b) < 2.0
    attempts = [each for node, peer in ((a, b), (b, a)) for each in node.peers()[_id(peer)]["attempts"]]
    assert {each["technique"] for each in attempts} == {"simultaneous-udp"}


def test_a_mapping_that_comes_later_makes_a_relayed_pair_direct_at_once() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b = net.node("a", behind="pcp"), net.node("b", behind="apdm-random")
    service = net.routers(a)[0].service
    assert service is not None
    service.protocols = frozenset()
    net.join()
    net.stream(a, b, packets=1200, spacing_s=0.1)
    net.run(40.0)  # Three attempts were in vain, the next one would come in an hour.
    assert net.path(a, b).path == "relay"
    service.protocols = frozenset({"pcp"})
    net.run_until(lambda: bool(forwarded(net, a)), 60.0, "mapped")
    assert net.run_until(lambda: net.is_direct(a, b), 3.0, "direct") < 2.0
    net.run(1.0)
    assert net.path(a, b).is_direct, "it stays"


def test_who_leaves_gives_the_mapping_back_and_who_is_killed_does_not() -> None:
    net = Net(seed=6)
    a, b = net.node("a", behind="pcp"), net.node("b", behind="natpmp")
    net.run(1.0)
    routers = [net.routers(node)[0] for node in (a, b)]
    assert all(router.forwards for router in routers)
    a.leave()
    b.stop()
    net.run(1.0)
    assert not routers[0].forwards
    assert routers[1].forwards


def test_a_router_that_forgot_everything_maps_again_and_the_pair_is_direct_again() -> None:
    net = Net(seed=7)
    net.supernode()
    a, b = net.node("a", behind="pcp"), net.node("b", behind="apdm-random")
    net.join()
    meet(net, a, b)
    net.stream(a, b, packets=3000, spacing_s=0.1)
    net.reboot_nat(a, new_address=True)
    net.run_until(lambda: bool(forwarded(net, a)), 130.0, "mapped again, by the epoch that is asked for")
    (external,) = forwarded(net, a)
    assert external.host == net.routers(a)[0].address
    net.run_until(lambda: net.is_direct(a, b) and net.path(b, a).remote == str(external), 10.0, "direct again")


def test_who_moves_to_another_router_is_mapped_there() -> None:
    net = Net(seed=8)
    net.supernode()
    a, b = net.node("a", behind="pcp"), net.node("b", behind="apdm-random")
    net.join()
    meet(net, a, b)
    net.move(a, behind="natpmp")
    net.stream(a, b, packets=300, spacing_s=0.1)
    net.run_until(lambda: bool(forwarded(net, a)), 5.0, "mapped")
    (external,) = forwarded(net, a)
    net.run_until(lambda: net.is_direct(a, b) and net.path(b, a).remote == str(external), 20.0, "direct")


def test_a_mapping_behind_a_carriers_nat_is_given_back_and_not_offered() -> None:
    net = Net(seed=9)
    net.supernode()
    carrier = net.site("apdm-random")
    a, b = net.node("a", behind=net.site("eim-apdf+pcp", outside=carrier)), net.node("b", behind="apdm-random")
    net.join()
    net.ping(a, b)
    net.run(10.0)
    assert net.path(a, b).path == "relay"
    assert not forwarded(net, a)
    assert a.mapper is not None
    assert [str(o.standing) for o in a.mapper.machine.outcomes if o.protocol == "PCP"] == ["not-public"]


def test_two_nodes_behind_one_router_have_a_port_each() -> None:
    net = Net(seed=10)
    net.supernode()
    site: Site = net.site("pcp")
    a, b = net.node("a", behind=site, port=5000), net.node("b", behind=site, port=5000)
    c = net.node("c", behind="apdm-random")
    net.join()
    assert len(site.routers[0].forwards) == 2
    for node in (a, b):
        meet(net, c, node)
    assert len({net.path(c, node).remote for node in (a, b)}) == 2


def _id(node: SimNode) -> str:
    return format_key(node.key.public)
