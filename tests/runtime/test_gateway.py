import pytest
from tests.runtime.namespace import in_namespace, ip

from ntvl.runtime.gateway import Gateway, choose_gateways, read_gateways
from ntvl.runtime.netlink import Link

ETHERNET = Link(2, "eth0", "", True, False)
TUNNEL = Link(3, "tun0", "tun", True, False)
LINKS = [ETHERNET, TUNNEL]


def test_each_default_route_has_a_gateway() -> None:
    assert choose_gateways([(2, "fe80::1", "2001:db8::5"), (2, "192.168.1.1", "192.168.1.5")], LINKS) == (
        Gateway("192.168.1.1", "192.168.1.5", 2, "eth0"),
        Gateway("fe80::1", "2001:db8::5", 2, "eth0"),
    )


@pytest.mark.parametrize(
    "way",
    [
        (0, "", ""),
        (2, "", "192.168.1.5"),
        (3, "10.8.0.1", "10.8.0.2"),
        (9, "192.168.1.1", "192.168.1.5"),
        (2, "fe80::1", "fd00::5"),
        (2, "fe80::1", "fe80::5"),
    ],
    ids=["no route", "no next hop", "a tunnel", "a link that is gone", "unique local", "link-local"],
)
def test_a_way_without_a_gateway_to_ask_is_left_out(way: tuple[int, str, str]) -> None:
    assert choose_gateways([way], LINKS) == ()


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_the_gateways_of_this_machine_are_read() -> None:
    async def scenario() -> None:
        assert await read_gateways() == ()
        ip("link add eth0 type veth peer name far")
        ip("link set far up")
        ip("link set eth0 up")
        ip("address add 192.168.1.5/24 dev eth0")
        ip("route add default via 192.168.1.1")
        (found,) = await read_gateways()
        assert (found.host, found.client, found.device) == ("192.168.1.1", "192.168.1.5", "eth0")

    in_namespace(scenario)
