"""Endpoints that a message names, and which of them a peer may make a node send to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import PeerError
from ntvl.wire.address import Address, find_addresses, is_public, is_usable_target, parse_address

ports = st.integers(1, 65535)


@given(st.ip_addresses(v=4), ports)
def test_an_ipv4_endpoint_is_kept(ip: ipaddress.IPv4Address, port: int) -> None:
    address = parse_address(str(ip), port)
    assert address == (str(ip), port)
    assert not address.is_ipv6
    assert str(address) == f"{ip}:{port}"


@given(st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None), ports)
def test_an_ipv6_endpoint_becomes_canonical_and_prints_in_brackets(ip: ipaddress.IPv6Address, port: int) -> None:
    address = parse_address(ip.exploded.upper(), port)
    assert address == Address(str(ip), port)
    assert address.is_ipv6
    assert str(address) == f"[{ip}]:{port}"


@given(st.ip_addresses(v=4), ports)
def test_an_ipv4_mapped_endpoint_is_the_ipv4_one(ip: ipaddress.IPv4Address, port: int) -> None:
    assert parse_address(f"::ffff:{ip}", port) == parse_address(str(ip), port)


@given(st.text(max_size=60), st.integers(-10, 70000))
def test_any_text_gives_an_endpoint_or_a_named_reason(host: str, port: int) -> None:
    try:
        address = parse_address(host, port)
    except PeerError as error:
        assert error.reason == "format"
    else:
        assert parse_address(*address) == address


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 1),
        ("supernode.example.org", 1971),
        ("192.0.2.1 ", 1),
        ("192.0.2.01", 1),
        ("192.0.2.1/24", 1),
        ("fe80::1%eth0", 1),
        ("[2001:db8::1]", 1),
        ("192.0.2.1", 0),
        ("192.0.2.1", 65536),
        ("192.0.2.1", -1),
    ],
)
def test_what_is_no_literal_endpoint_is_refused(host: str, port: int) -> None:
    with pytest.raises(PeerError) as caught:
        parse_address(host, port)
    assert caught.value.reason == "format"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "0.0.0.0",
        "::",
        "224.0.0.251",
        "ff02::fb",
        "0.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "169.254.1.1",
        "fe80::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::255.255.255.255",
        "2002:7f00:1::1",
        "2002:e000:fb::1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::127.0.0.1",
        "64:ff9b:1:2:3:4:224.0.0.251",
        "64:ff9b:1:7f00:0:100::",
        "64:ff9b:1:7f:0:1::",
        "64:ff9b:1:9:7f:0:100:0",
        "2001:0:7f00:1:8000:3b0e:f7f7:f7f7",
        "2001:0:808:808:8000:3b0e:80ff:fffe",
    ],
)
def test_a_peer_cannot_aim_a_node_at_itself_or_its_neighbours(host: str) -> None:
    assert not is_usable_target(parse_address(host, 1971))


@pytest.mark.parametrize(
    "host",
    [
        "192.168.1.7",
        "10.0.0.1",
        "100.64.3.4",
        "203.0.113.5",
        "2001:db8::5",
        "fd00::5",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:808:8:800::",
        "::ffff:0:8.8.8.8",
        "2001:0:808:808:8000:3b0e:f7f7:f7f7",
    ],
)
def test_private_and_public_addresses_are_targets(host: str) -> None:
    assert is_usable_target(parse_address(host, 1971))


def test_an_ipv4_address_inside_an_ipv6_one_is_found() -> None:
    for host in (
        "::10.77.1.2",
        "::ffff:10.77.1.2",
        "::ffff:0:10.77.1.2",
        "64:ff9b::10.77.1.2",
        "2002:a4d:102:9::1",
        "64:ff9b:1:a4d:1:200::",
        "64:ff9b:1:a:4d:102::",
        "64:ff9b:1:0:a:4d01:200:0",
        "64:ff9b:1::10.77.1.2",
        "2001:0:a4d:102:8000:3b0e:f7f7:f7f7",
        "2001:0:808:808:8000:3b0e:f5b2:fefd",
    ):
        assert "10.77.1.2" in map(str, find_addresses(host)[1:])
    for host in ("10.77.1.2", "2001:db8::a4d:102"):
        assert [str(ip) for ip in find_addresses(host)] == [host]


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "192.0.0.1",
        "192.168.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "fc00::1",
        "fe80::1",
        "ff0e::1",
    ],
)
def test_addresses_with_a_special_purpose_are_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize("host", ["9.9.9.9", "198.18.0.1", "203.0.113.7", "2001:db8::7", "2a00::1", "::ffff:9.9.9.9"])
def test_addresses_of_the_internet_and_of_laboratories_are_public(host: str) -> None:
    assert is_public(host)
