"""Headers of ntvl's own datagrams, and telling them from STUN."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import PeerError
from ntvl.wire.address import Relay
from ntvl.wire.header import (
    CONTROL_BYTES_MAX,
    DATAGRAM_BYTES_MAX,
    HEADER_BYTES,
    PLAINTEXT_BYTES_MAX,
    RELAY_HEADER_BYTES,
    TAG_BYTES,
    Kind,
    build_header,
    build_relay,
    is_stun,
    parse_header,
    parse_relay,
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)


@given(st.sampled_from(Kind), u32, u64, st.binary(max_size=100))
def test_a_header_comes_back_as_it_went_in(kind: Kind, index: int, number: int, body: bytes) -> None:
    data = build_header(kind, index, number) + body + bytes(TAG_BYTES)
    assert parse_header(data) == (kind, index, number)
    assert parse_header(memoryview(data)) == (kind, index, number)


@given(u32, u64)
def test_the_nonce_is_index_and_number(index: int, number: int) -> None:
    assert build_header(Kind.DATA, index, number)[4:16] == index.to_bytes(4) + number.to_bytes(8)


@given(u32, u32, st.binary(min_size=1, max_size=100))
def test_a_relay_prefix_comes_back_as_it_went_in(target: int, source: int, datagram: bytes) -> None:
    data = build_relay(Relay(target, source), datagram)
    assert parse_relay(data) == Relay(target, source)
    assert data[RELAY_HEADER_BYTES:] == datagram


@given(st.binary(max_size=64))
def test_any_bytes_give_a_header_or_a_named_reason(data: bytes) -> None:
    try:
        kind, index, number = parse_header(data)
    except PeerError as error:
        assert error.reason == ("short" if len(data) < HEADER_BYTES + TAG_BYTES else "header")
    else:
        assert data[:HEADER_BYTES] == bytes((kind, 0, 0, 0)) + index.to_bytes(4) + number.to_bytes(8)


@given(st.binary(max_size=32))
def test_any_bytes_give_a_relay_prefix_or_a_named_reason(data: bytes) -> None:
    try:
        relay = parse_relay(data)
    except PeerError as error:
        assert error.reason == ("short" if len(data) <= RELAY_HEADER_BYTES else "header")
    else:
        assert build_relay(relay, data[RELAY_HEADER_BYTES:])[1:] == data[1:]


@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_reserved_byte_that_is_not_zero_is_refused(position: int) -> None:
    for parse in (parse_header, parse_relay):
        data = bytearray(40)
        data[position] = 1
        with pytest.raises(PeerError) as caught:
            parse(data)
        assert caught.value.reason == "header"


def test_the_first_byte_tells_stun_from_ntvl() -> None:
    assert [is_stun(bytes((first,))) for first in (0, 3, 4, 0x40, 0x80, 0x90)] == [True, True, *[False] * 4]
    assert not is_stun(b"")
    assert all(0x80 <= kind <= 0xBF for kind in Kind)


def test_datagrams_fit_the_paths_they_are_made_for() -> None:
    ipv6_and_udp = 40 + 8
    assert DATAGRAM_BYTES_MAX + RELAY_HEADER_BYTES + ipv6_and_udp <= 1492
    assert CONTROL_BYTES_MAX + RELAY_HEADER_BYTES + ipv6_and_udp <= 1280
    assert PLAINTEXT_BYTES_MAX == 1400
