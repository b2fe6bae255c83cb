"""A described lab: addresses, routes and names follow from the description alone."""

import pytest

from ntvl.errors import UsageError
from ntvl.lab.topology import Host, Interface, Network, Route, Router, Topology, build_sites
from ntvl.nat import KINDS, NatBehaviour

HOME = NatBehaviour()
FIREWALL = NatBehaviour(translates=False)
PUBLIC = Network("internet", "203.0.113.0/24")
LAN = Network("lan", "192.168.1.0/24")


def test_addresses_follow_from_the_order_of_names() -> None:
    topology = build_sites({"a": (HOME,), "b": (HOME,)}, ipv6=True)
    assert topology.interfaces("supernode") == (Interface("eth0", "internet", "203.0.113.10/24", "2001:db8::10/64"),)
    assert topology.interfaces("b-router") == (
        Interface("wan", "internet", "203.0.113.102/24", "2001:db8::102/64"),
        Interface("lan", "b-lan", "192.168.2.1/24", "2001:db8:2::1/64"),
    )
    assert topology.interfaces("b") == (Interface("eth0", "b-lan", "192.168.2.10/24", "2001:db8:2::10/64"),)


def test_a_host_behind_nats_has_a_default_route_and_nobody_outside_a_route_to_it() -> None:
    topology = build_sites({"a": (HOME, HOME)})
    assert topology.routes("a") == (Route("default", "192.168.1.1"),)
    assert topology.routes("a-router") == (Route("default", "10.1.1.1"),)
    assert topology.routes("a-router-2") == ()
    assert topology.routes("supernode") == ()


def test_what_a_firewall_protects_is_public_and_routed() -> None:
    topology = build_sites({"a": (FIREWALL,), "b": (FIREWALL,)})
    assert topology.interfaces("b")[0].ipv4 == "198.51.100.26/28"
    assert topology.routes("supernode") == (
        Route("198.51.100.0/28", "203.0.113.101"),
        Route("198.51.100.16/28", "203.0.113.102"),
    )


def test_ipv6_is_routed_through_every_box() -> None:
    topology = build_sites({"a": (HOME, FIREWALL)}, ipv6=True)
    assert Route("2001:db8:1:0::/64", "2001:db8::101") in topology.routes("supernode")
    assert Route("2001:db8:1:0::/64", "2001:db8:1:1::5") in topology.routes("a-router-2")
    assert Route("default", "2001:db8:1::1") in topology.routes("a")


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_has_the_boxes_it_was_given(kind: str) -> None:
    assert build_sites({"a": KINDS[kind]}).chain_of("a") == KINDS[kind]


def test_a_host_on_two_networks_goes_out_through_the_first() -> None:
    topology = Topology((PUBLIC, LAN), (Host("a", ("lan", "internet")),), (Router("r", "internet", "lan", HOME),))
    assert [interface.device for interface in topology.interfaces("a")] == ["eth0", "eth1"]
    assert topology.routes("a") == (Route("default", "192.168.1.1"),)


def test_homes_can_have_the_same_prefix() -> None:
    topology = build_sites({"a": (HOME,), "b": (HOME,)}, same_lan=True)
    assert topology.interfaces("a")[0].ipv4 == topology.interfaces("b")[0].ipv4


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (((PUBLIC,), (Host("a", ("nowhere",)),)), "'nowhere'"),
        (((PUBLIC,), (Host("a", ("internet",)), Host("a", ("internet",)))), "two parts named 'a'"),
        (((PUBLIC,), (Host("Big Host", ("internet",)),)), "cannot name"),
        (((PUBLIC,), (Host("fabric", ("internet",)),)), "cannot name"),
        (
            (
                (PUBLIC, LAN),
                (),
                (Router("r", "internet", "lan", HOME), Router("s", "internet", "lan", HOME)),
            ),
            "inside two routers",
        ),
        (((Network("tiny", "192.0.2.0/30"),), ()), "too small"),
        (((Network("small", "192.0.2.0/28"),), tuple(Host(f"h{i}", ("small",)) for i in range(6))), "split it"),
    ],
)
def test_a_description_that_cannot_be_is_refused_in_words(parts: tuple[object, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Topology(*parts)  # type: ignore[arg-type]
