import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import PeerError, UsageError
from ntvl.identity.keys import NodeKey, derive_ipv6, derive_mac, format_key, parse_key, short_id

LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""The points of small order on Curve25519 and its twist, in every encoding below 2^255."""

keys = st.binary(min_size=32, max_size=32)


def test_the_exchange_is_x25519() -> None:
    # RFC 7748 section 5.2, first vector.
    key = NodeKey.from_bytes(bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"))
    public = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert key.exchange(public).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_two_keys_share_a_secret_and_come_back_from_bytes() -> None:
    alice, bob = (NodeKey.generate(random.Random(seed).randbytes) for seed in (1, 2))
    assert alice.public != bob.public
    assert alice.exchange(bob.public) == bob.exchange(alice.public)
    assert NodeKey.from_bytes(alice.private_bytes).public == alice.public


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("top_bit", [0, 0x80])
def test_a_point_of_low_order_is_refused(point: str, top_bit: int) -> None:
    public = bytearray.fromhex(point)
    public[31] |= top_bit
    with pytest.raises(PeerError) as refusal:
        NodeKey.generate(random.Random(1).randbytes).exchange(bytes(public))
    assert refusal.value.reason == "authentication"


@given(public=st.binary(max_size=40))
def test_an_exchange_takes_any_bytes(public: bytes) -> None:
    key = NodeKey.from_bytes(bytes(range(32)))
    try:
        assert len(key.exchange(public)) == 32
    except PeerError as error:
        assert error.reason == "authentication"


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33)])
def test_a_damaged_key_file_is_named_as_such(raw: bytes) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        NodeKey.from_bytes(raw)


def test_a_key_never_shows_its_private_half() -> None:
    key = NodeKey.generate(random.Random(1).randbytes)
    shown = f"{key!r} {key}"
    assert format_key(key.public) in shown
    assert format_key(key.private_bytes) not in shown
    assert key.private_bytes.hex() not in shown


@given(public=keys)
def test_a_key_reads_back_from_its_text(public: bytes) -> None:
    text = format_key(public)
    assert len(text) == 43
    assert parse_key(text) == public
    assert short_id(public) == text[:8]


@given(text=st.one_of(st.text(), st.text(alphabet="ABab01-_+/=", min_size=40, max_size=46)))
def test_any_other_text_is_a_usage_error(text: str) -> None:
    try:
        public = parse_key(text)
    except UsageError as error:
        assert "43" in str(error)
    else:
        assert format_key(public) == text


def test_a_key_has_one_text_only() -> None:
    text = format_key(bytes(32))
    for other in (text[:-1] + "B", text + "=", " " + text, text[:-1], text.replace("A", "/"), text + "\n"):
        with pytest.raises(UsageError):
            parse_key(other)


@given(community=keys, node=keys)
def test_a_mac_is_local_and_unicast_and_follows_from_both_keys(community: bytes, node: bytes) -> None:
    mac = derive_mac(community, node)
    assert len(mac) == 6
    assert mac[0] & 3 == 2
    assert mac == derive_mac(community, node)
    assert mac != derive_mac(community, bytes(b ^ 1 for b in node))
    assert mac != derive_mac(bytes(b ^ 1 for b in community), node)


@given(community=keys, node=keys)
def test_an_ipv6_address_is_unique_local_with_the_mac_inside(community: bytes, node: bytes) -> None:
    mac = derive_mac(community, node)
    text = derive_ipv6(community, mac)
    interface = ipaddress.IPv6Interface(text)
    assert text == str(interface)
    assert text.startswith("fd")
    assert interface.network.prefixlen == 64
    packed = interface.ip.packed
    assert packed[6:8] == b"\0\0"
    assert packed[8:] == bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    assert interface.network == ipaddress.IPv6Interface(derive_ipv6(community, bytes(6))).network


def test_derived_addresses_stay_what_they_are() -> None:
    # Machines of different versions must agree for ever.
    community, node = bytes(range(32)), bytes(range(32, 64))
    assert derive_mac(community, node).hex() == "7e49b9ff92dd"
    assert derive_ipv6(community, derive_mac(community, node)) == "fd5c:4a19:9696:0:7c49:b9ff:feff:92dd/64"
