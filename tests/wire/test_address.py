"""Endpoints that a message names, and which of them a peer may make a node send to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import PeerError
from ntvl.wire.address import Address, is_usable_target, parse_address

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
        "255.255.255.255",
        "169.254.1.1",
        "fe80::1",
    ],
)
def test_a_peer_cannot_aim_a_node_at_itself_or_its_neighbours(host: str) -> None:
    assert not is_usable_target(parse_address(host, 1971))


@pytest.mark.parametrize("host", ["192.168.1.7", "10.0.0.1", "100.64.3.4", "203.0.113.5", "2001:db8::5", "fd00::5"])
def test_private_and_public_addresses_are_targets(host: str) -> None:
    assert is_usable_target(parse_address(host, 1971))
