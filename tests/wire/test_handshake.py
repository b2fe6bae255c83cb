import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    INITIATION_OVERHEAD_BYTES,
    RESPONSE_OVERHEAD_BYTES,
    CookieDatagram,
    InitiationDatagram,
    ResponseDatagram,
    build_cookie,
    build_initiation_head,
    build_response_head,
    parse_cookie,
    parse_initiation,
    parse_receiver,
    parse_response,
)

u32 = st.integers(0, 0xFFFFFFFF)
mac = st.binary(min_size=16, max_size=16)
PARSERS = (parse_initiation, parse_response, parse_cookie, parse_receiver)


def test_the_bytes_are_where_the_layout_says() -> None:
    noise1, noise2 = bytes(range(96)), bytes(range(48))
    assert build_initiation_head(1, 0x01020304, noise1).hex() == "8101000001020304" + noise1.hex()
    assert build_response_head(0x01020304, 0x05060708, noise2).hex() == "820000000102030405060708" + noise2.hex()
    assert build_cookie(0x05060708, b"n" * 12, b"s" * 32).hex() == "8300000005060708" + "6e" * 12 + "73" * 32


@given(kind=st.integers(0, 1), sender=u32, noise=st.binary(min_size=96, max_size=1148), mac1=mac, mac2=mac)
def test_an_initiation_reads_back(kind: int, sender: int, noise: bytes, mac1: bytes, mac2: bytes) -> None:
    data = build_initiation_head(kind, sender, noise) + mac1 + mac2
    assert parse_initiation(data) == InitiationDatagram(kind, sender, noise, mac1, mac2)


@given(sender=u32, receiver=u32, noise=st.binary(min_size=48, max_size=1144), mac1=mac)
def test_a_response_reads_back(sender: int, receiver: int, noise: bytes, mac1: bytes) -> None:
    data = build_response_head(sender, receiver, noise) + mac1 + bytes(16)
    assert parse_response(data) == ResponseDatagram(sender, receiver, noise, mac1)
    assert parse_receiver(data) == receiver


@given(receiver=u32, nonce=st.binary(min_size=12, max_size=12), sealed=st.binary(min_size=32, max_size=32))
def test_a_cookie_reads_back(receiver: int, nonce: bytes, sealed: bytes) -> None:
    data = build_cookie(receiver, nonce, sealed)
    assert parse_cookie(data) == CookieDatagram(receiver, nonce, sealed)
    assert parse_receiver(data) == receiver


@given(first=st.sampled_from([0x81, 0x82, 0x83]), rest=st.binary(max_size=HANDSHAKE_BYTES_MAX + 8), zeros=st.booleans())
def test_any_bytes_are_a_datagram_or_refused_with_a_reason(first: int, rest: bytes, zeros: bool) -> None:
    data = bytes((first,)) + (bytes(3) if zeros else b"") + rest
    for parse in PARSERS:
        try:
            parse(data)
        except PeerError as error:
            assert error.reason in ("short", "long", "type", "header")
            assert error.reason in REASONS


@given(data=st.binary(max_size=200))
def test_any_bytes_at_all_raise_nothing_else(data: bytes) -> None:
    for parse in PARSERS:
        try:
            parse(data)
        except PeerError as error:
            assert error.reason in ("short", "long", "type", "header")


INITIATION = build_initiation_head(1, 7, bytes(96)) + bytes(32)
RESPONSE = build_response_head(7, 8, bytes(48)) + bytes(32)
COOKIE = build_cookie(8, bytes(12), bytes(32))


@pytest.mark.parametrize(
    ("parse", "data", "reason"),
    [
        (parse_initiation, b"", "short"),
        (parse_initiation, INITIATION[:-1], "short"),
        (parse_initiation, INITIATION + bytes(HANDSHAKE_BYTES_MAX - INITIATION_OVERHEAD_BYTES + 1), "long"),
        (parse_initiation, RESPONSE, "type"),
        (parse_initiation, b"\x81\x02" + INITIATION[2:], "header"),
        (parse_initiation, b"\x81\x01\0\1" + INITIATION[4:], "header"),
        (parse_response, RESPONSE[:-1], "short"),
        (parse_response, RESPONSE + bytes(HANDSHAKE_BYTES_MAX - RESPONSE_OVERHEAD_BYTES + 1), "long"),
        (parse_response, INITIATION, "type"),
        (parse_response, b"\x82\x01" + RESPONSE[2:], "header"),
        (parse_response, RESPONSE[:-1] + b"\1", "header"),
        (parse_cookie, COOKIE[:-1], "short"),
        (parse_cookie, COOKIE + b"\0", "long"),
        (parse_cookie, RESPONSE, "type"),
        (parse_cookie, b"\x83\0\0\1" + COOKIE[4:], "header"),
        (parse_receiver, b"", "short"),
        (parse_receiver, INITIATION, "type"),
        (parse_receiver, COOKIE[:20], "short"),
    ],
)
def test_every_fault_has_its_reason(parse, data: bytes, reason: str) -> None:
    with pytest.raises(PeerError) as error:
        parse(data)
    assert error.value.reason == reason


def test_a_cookie_amplifies_nothing_and_all_fit_behind_a_relay_prefix() -> None:
    assert len(COOKIE) < INITIATION_OVERHEAD_BYTES
    assert HANDSHAKE_BYTES_MAX == 1188
    assert INITIATION_OVERHEAD_BYTES + 5 + 800 <= HANDSHAKE_BYTES_MAX
