import asyncio
import ipaddress
from collections.abc import Callable

import pytest
from tests.runtime.namespace import in_namespace, ip

from ntvl.runtime.interfaces import InterfaceWatch, choose_hosts
from ntvl.runtime.netlink import Link, LinkAddress


def link(index: int, name: str, kind: str = "", *, up: bool = True, loopback: bool = False) -> Link:
    return Link(index, name, kind, up, loopback)


def address(index: int, text: str, *, usable: bool = True) -> LinkAddress:
    return LinkAddress(index, ipaddress.ip_interface(text), usable)


def test_addresses_of_every_real_interface_are_offered() -> None:
    links = [link(1, "lo", loopback=True), link(2, "eth0"), link(3, "wlan0"), link(4, "br0", "bridge")]
    addresses = [
        address(1, "127.0.0.1/8"),
        address(1, "::1/128"),
        address(1, "198.51.100.99/32"),
        address(3, "192.168.1.5/24"),
        address(2, "192.168.0.5/24"),
        address(2, "2001:db8::5/64"),
        address(2, "fd00::5/64"),
        address(2, "fe80::5/64"),
        address(2, "169.254.1.1/16"),
        address(4, "10.0.0.1/8"),
    ]
    assert choose_hosts(links, addresses) == (
        "2001:db8::5",
        "fd00::5",
        "192.168.0.5",
        "192.168.1.5",
        "10.0.0.1",
    )


@pytest.mark.parametrize(
    "internal",
    [
        link(5, "eth1", up=False),
        link(5, "ntvl0", "tun"),
        link(5, "tun0", "tun"),
        link(5, "docker0", "bridge"),
        link(5, "br-0123456789ab", "bridge"),
        link(5, "virbr0", "bridge"),
    ],
    ids=lambda link: str(link.name),
)
def test_no_path_leads_through_other_tunnels_or_into_container_bridges(internal: Link) -> None:
    assert choose_hosts([internal], [address(5, "10.1.2.3/24")]) == ()


def test_an_address_that_must_not_be_sent_from_is_left_out() -> None:
    assert choose_hosts([link(2, "eth0")], [address(2, "2001:db8::5/64", usable=False)]) == ()


def test_an_address_on_two_interfaces_is_offered_once() -> None:
    links = [link(2, "eth0"), link(3, "eth1")]
    assert choose_hosts(links, [address(2, "10.0.0.1/8"), address(3, "10.0.0.1/8")]) == ("10.0.0.1",)


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_the_watch_tells_of_each_change_once() -> None:
    async def scenario() -> None:
        heard: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        watching = asyncio.create_task(InterfaceWatch(heard.put_nowait).run())

        async def after(change: Callable[[], None]) -> tuple[str, ...]:
            change()
            return await asyncio.wait_for(heard.get(), 3)

        assert await asyncio.wait_for(heard.get(), 3) == ()
        ip("link add eth0 type veth peer name far")
        ip("link set far up")
        ip("address add 192.168.0.5/24 dev eth0")
        ip("address add 2001:db8::5/64 dev eth0 nodad")
        assert await after(lambda: ip("link set eth0 up")) == ("2001:db8::5", "192.168.0.5")
        assert await after(lambda: ip("address del 2001:db8::5/64 dev eth0")) == ("192.168.0.5",)
        assert await after(lambda: ip("route add default via 192.168.0.1")) == ("192.168.0.5",), (
            "a new next hop is news"
        )
        ip("route add 203.0.113.0/24 via 192.168.0.2")
        assert await after(lambda: ip("link set eth0 down")) == (), "a route to elsewhere is no news"
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    in_namespace(scenario)
