"""Neighbours talk over what joins them."""

import pytest

from ntvl.nat import KINDS, Filtering, NatBehaviour
from ntvl.sim.net import Net


@pytest.mark.parametrize("kind", ["firewall", "eim-apdf", "apdm-random", "double", "cgn"])
def test_two_on_one_lan_talk_over_the_lan(kind: str) -> None:
    net = Net(seed=1)
    net.supernode()
    home = net.site(kind)
    a, b = net.node(behind=home), net.node(behind=home)
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 3.0)
    net.run(5.0)
    assert net.path(a, b).remote == f"{b.host.addresses[0]}:{b.host.ports[0]}"
    rtt_s = net.ping(a, b)
    assert rtt_s is not None
    assert rtt_s < 0.002


def test_two_on_one_lan_with_the_same_port_are_told_apart() -> None:
    net = Net(seed=1)
    net.supernode()
    home = net.site("apdm-preserving")
    a, b, far = net.node(behind=home, port=5000), net.node(behind=home, port=5000), net.node(behind="eim-apdf")
    net.join()
    for node in (a, b):
        net.ping(node, far)
    net.ping(a, b)
    net.run(10.0)
    assert net.path(a, b).remote == f"{b.host.addresses[0]}:5000"
    assert net.ping(far, a) is not None
    assert net.ping(far, b) is not None


def test_the_same_private_address_in_two_homes_is_no_short_cut_to_the_wrong_host() -> None:
    net = Net(seed=1)
    net.supernode()
    left, right = net.site("eim-apdf"), net.site("eim-apdf")
    a, b = net.node(behind=left, port=5000), net.node(behind=right, port=5000)
    bystander = net.node(behind=left, port=5000)
    # The bystander at home with a has the address that b has at its own home.
    bystander.host.interfaces[0].segment.assign(bystander.host.interfaces[0], b.host.addresses)
    b_segment, a_segment = b.host.interfaces[0].segment, a.host.interfaces[0].segment
    a_segment.ipv4 = b_segment.ipv4
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 5.0)
    net.run(5.0)
    assert net.path(a, b).remote == f"{net.routers(b)[0].address}:5000"
    assert net.ping(a, b) is not None


@pytest.mark.parametrize("hairpin", [False, True])
def test_two_homes_behind_one_carrier_are_direct_if_it_hairpins(hairpin: bool) -> None:
    net = Net(seed=1)
    net.supernode()
    carrier = net.site([NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT, hairpin=hairpin)])
    a = net.node(behind=net.site(KINDS["eim-apdf"], outside=carrier))
    b = net.node(behind=net.site(KINDS["eim-apdf"], outside=carrier))
    net.join()
    net.ping(a, b)
    net.run(10.0)
    assert net.is_direct(a, b) == hairpin
    assert net.ping(a, b) is not None


def test_a_supernode_inside_a_carriers_network_brings_two_homes_together_without_hairpinning() -> None:
    net = Net(seed=2)
    net.supernode()
    carrier = net.site("eim-apdf")
    net.supernode(behind=carrier)
    a, b = (net.node(behind=net.site("eim-apdf", outside=carrier)) for _ in range(2))
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 3.0)
    assert net.path(a, b).remote == f"{net.routers(b)[0].address}:{b.host.ports[0]}"


def test_a_second_interface_on_a_common_lan_is_found_and_used() -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="apdm-random")
    net.join()
    net.ping(a, b)
    net.run(10.0)
    assert net.path(a, b).path == "relay"
    lan = net.site("eim-apdf").segment
    lan.gateway = None
    a.host.plug(lan)
    b.host.plug(lan)
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b), 10.0)
    assert net.path(a, b).remote == f"{b.host.addresses[1]}:{b.host.ports[0]}"
