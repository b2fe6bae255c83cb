"""What a frame claims and asks for, in every wrapping that a kernel would unwrap."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.frames import IP6_A, IP6_B, IP_A, IP_B, MAC_A, MAC_B, address_bytes, arp, icmpv6, ip_header

from ntvl.errors import PeerError
from ntvl.wire.ethernet import (
    BROADCAST,
    claimed_addresses,
    format_mac,
    is_group,
    parse_mac,
    resolution_target,
)

PRIORITY_TAG = bytes.fromhex("8100 6000")
MACS = MAC_B + MAC_A


def ipv4(tags: bytes = b"") -> bytes:
    return MACS + tags + b"\x08\x00" + ip_header(IP_A, IP_B, 6, 20) + bytes(20)


@pytest.mark.parametrize("tags", [b"", PRIORITY_TAG, PRIORITY_TAG * 2, bytes.fromhex("88a8 0000")])
def test_an_ip_packet_claims_its_source(tags: bytes) -> None:
    assert claimed_addresses(ipv4(tags)) == (address_bytes(IP_A),)
    ipv6 = MACS + tags + b"\x86\xdd" + ip_header(IP6_A, IP6_B, 6, 20) + bytes(20)
    assert claimed_addresses(ipv6) == (address_bytes(IP6_A),)


def test_offsets_count_from_where_the_frame_starts() -> None:
    assert claimed_addresses(bytes(10) + ipv4(), 10) == (address_bytes(IP_A),)
    assert resolution_target(bytes(10) + arp(1, IP_A, IP_B), 10) == address_bytes(IP_B)


def test_another_network_behind_a_tag_claims_nothing_here() -> None:
    assert claimed_addresses(ipv4(bytes.fromhex("8100 0005"))) == ()


def test_tags_beyond_all_use_are_refused() -> None:
    with pytest.raises(PeerError, match="header"):
        claimed_addresses(ipv4(PRIORITY_TAG * 5))


@pytest.mark.parametrize("operation", [1, 2])
def test_arp_claims_its_sender(operation: int) -> None:
    assert claimed_addresses(arp(operation, IP_A, IP_B)) == (address_bytes(IP_A),)


def test_an_arp_request_asks_for_its_target() -> None:
    assert resolution_target(arp(1, IP_A, IP_B)) == address_bytes(IP_B)
    assert resolution_target(arp(2, IP_A, IP_B)) is None
    assert resolution_target(arp(1, IP_A, IP_A)) is None, "an announcement is for all"
    assert resolution_target(arp(1, IP_A, IP_B)[:40]) is None


@pytest.mark.parametrize("extensions", [0, 1, 3])
def test_neighbour_discovery_is_understood_behind_extension_headers(extensions: int) -> None:
    solicitation = icmpv6(135, IP6_A, "ff02::1:ff00:b", IP6_B, extensions=extensions)
    assert resolution_target(solicitation) == address_bytes(IP6_B)
    assert claimed_addresses(solicitation) == (address_bytes(IP6_A),)
    advertisement = icmpv6(136, IP6_A, IP6_B, "fd00::99", extensions=extensions)
    assert claimed_addresses(advertisement) == (address_bytes(IP6_A), address_bytes("fd00::99"))
    assert resolution_target(advertisement) is None


def test_extension_headers_beyond_all_use_are_refused() -> None:
    with pytest.raises(PeerError, match="header"):
        claimed_addresses(icmpv6(136, IP6_A, IP6_B, "fd00::99", extensions=9))


@pytest.mark.parametrize("length", range(14, 54))
def test_a_frame_cut_short_claims_nothing_or_what_it_did(length: int) -> None:
    for frame in (ipv4(), arp(1, IP_A, IP_B)):
        assert claimed_addresses(frame[:length]) in ((), claimed_addresses(frame))


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00", b"\x88\xa8"]))
def test_any_bytes_claim_addresses_or_are_a_peer_error(data: bytes, ethertype: bytes) -> None:
    frame = MACS + ethertype + data
    try:
        assert {len(address) for address in claimed_addresses(frame)} <= {4, 16}
        assert len(resolution_target(frame) or bytes(4)) in (4, 16)
    except PeerError as error:
        assert error.reason == "header"


def test_macs_print_and_parse() -> None:
    assert format_mac(MAC_A) == "02:00:00:00:0a:01"
    assert parse_mac("02:00:00:00:0a:01") == parse_mac("02-00-00-00-0A-01") == MAC_A
    for text in ("", "02:00:00:00:0a", "02:00:00:00:0a:01:02", "02:00:00:00:0a:zz"):
        with pytest.raises(PeerError, match="format"):
            parse_mac(text)


def test_group_addresses_are_told_apart() -> None:
    assert is_group(BROADCAST)
    assert is_group(struct.pack("!HI", 0x3333, 1))
    assert not is_group(MAC_A)
