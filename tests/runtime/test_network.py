import ipaddress

import pytest
from tests.runtime.namespace import in_namespace, ip, set_sysctl

from ntvl.errors import UsageError
from ntvl.runtime.netlink import Link, Route
from ntvl.runtime.network import DeviceSetup, choose_device_names, find_overlap, read_plan_facts

LINKS = [Link(2, "eth0", "", True, False), Link(3, "wlan0", "", True, False)]


def route(network: str, index: int = 2) -> Route:
    return Route(ipaddress.ip_network(network), index, "")


def test_devices_take_the_first_free_names() -> None:
    assert choose_device_names(["", ""], {"lo", "eth0"}) == ["ntvl0", "ntvl1"]
    assert choose_device_names(["", "work", ""], {"ntvl1"}) == ["ntvl0", "work", "ntvl2"]
    assert choose_device_names(["", "ntvl0"], set()) == ["ntvl1", "ntvl0"]


def test_a_taken_device_name_is_refused() -> None:
    with pytest.raises(UsageError, match="has an interface eth0 already; name another one with --device"):
        choose_device_names(["eth0"], {"lo", "eth0"})


@pytest.mark.parametrize("other", ["10.77.0.0/16", "10.77.3.0/24", "10.0.0.0/8", "10.77.255.255/32"])
def test_a_subnet_that_would_hide_a_network_is_told_in_words(other: str) -> None:
    words = find_overlap("10.77.0.0/16", [route("0.0.0.0/0"), route("192.168.0.0/16"), route(other, 3)], LINKS)
    assert words == (f"{other}, which this machine reaches through wlan0", False)


def test_the_network_of_another_node_is_known_by_its_device() -> None:
    links = [*LINKS, Link(5, "ntvl0", "tun", True, False), Link(6, "tap0", "tun", True, False)]
    assert find_overlap("10.77.0.0/16", [route("10.77.0.0/16", 5)], links)[1]
    assert not find_overlap("10.77.0.0/16", [route("10.77.0.0/16", 6)], links)[1]


def test_ways_to_the_whole_internet_overlap_nothing() -> None:
    routes = [route("0.0.0.0/0"), route("0.0.0.0/1"), route("128.0.0.0/1"), route("10.78.0.0/16")]
    assert find_overlap("10.77.0.0/16", routes, LINKS) == ("", False)


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_facts_are_read_from_the_kernel() -> None:
    async def scenario() -> None:
        ip("link add eth0 type veth peer name far")
        ip("address add 10.77.9.9/32 dev eth0")
        ip("address add 192.168.0.5/24 dev eth0")
        ip("link set far up")
        ip("link set eth0 up")
        ip("route add default via 192.168.0.1")
        ip("route add unreachable 10.0.0.0/8")
        links, routes = await read_plan_facts()
        assert {link.name for link in links} >= {"lo", "eth0", "far"}
        assert {str(route.network) for route in routes} >= {"0.0.0.0/0", "192.168.0.0/24", "10.77.9.9/32"}
        assert find_overlap("10.77.0.0/16", routes, links)[0] == "10.77.9.9/32, which this machine reaches through eth0"
        assert not find_overlap("10.78.0.0/16", routes, links)[0], "an unreachable network hides nothing"

    in_namespace(scenario)


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_a_device_gets_exactly_our_addresses_and_keeps_those_of_others() -> None:
    async def scenario() -> None:
        ip("link add t0 type veth peer name far")
        setup = DeviceSetup("t0", 1300)
        await setup.set_addresses(["10.77.0.5/16", "fd00:1::5/64"])
        shown = ip("address show dev t0")
        assert "mtu 1300" in shown
        assert "<NO-CARRIER,BROADCAST,MULTICAST,UP" in shown
        assert "inet 10.77.0.5/16 brd 10.77.255.255" in shown
        assert "inet6 fd00:1::5/64" in shown
        assert "tentative" not in shown.partition("fe80")[0]
        ip("address add 10.99.0.1/24 dev t0")
        await setup.set_addresses(["10.77.0.5/16", "fd00:1::5/64"])
        await setup.set_addresses(["10.77.0.6/16"])
        shown = ip("address show dev t0")
        assert "10.77.0.6/16" in shown
        assert "10.99.0.1/24" in shown
        assert "10.77.0.5" not in shown
        assert "fd00:1::5" not in shown

    in_namespace(scenario)


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_a_machine_without_ipv6_is_fine() -> None:
    async def scenario() -> None:
        ip("link add t0 type veth peer name far")
        set_sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        setup = DeviceSetup("t0", 1360)
        await setup.set_addresses(["10.77.0.5/16", "fd00:1::5/64"])
        assert setup.without_ipv6
        assert "10.77.0.5/16" in ip("address show dev t0")

    in_namespace(scenario)


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_a_device_that_is_gone_is_named() -> None:
    async def scenario() -> None:
        with pytest.raises(UsageError, match="device t0 is gone"):
            await DeviceSetup("t0", 1360).set_addresses(["10.77.0.5/16"])

    in_namespace(scenario)
