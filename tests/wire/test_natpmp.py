import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.natpmp import (
    NatPmpAddress,
    NatPmpMapping,
    NatPmpResult,
    build_natpmp_address_request,
    build_natpmp_map_request,
    parse_natpmp_response,
)

ADDRESS = bytes.fromhex("0080 0000 00000063 cb007107")
MAPPING = bytes.fromhex("0081 0000 00000063 0fa0 9cbb 00001c20")


def test_requests_are_those_of_the_rfc() -> None:
    assert build_natpmp_address_request() == b"\0\0"
    asked = build_natpmp_map_request(4000, lifetime_s=7200, external_port=40123)
    assert asked == bytes.fromhex("0001 0000 0fa0 9cbb 00001c20")
    assert build_natpmp_map_request(4000, lifetime_s=0) == bytes.fromhex("0001 0000 0fa0 0000 00000000")


def test_responses_are_read() -> None:
    assert parse_natpmp_response(ADDRESS) == NatPmpAddress(0, 99, "203.0.113.7")
    assert parse_natpmp_response(MAPPING) == NatPmpMapping(0, 99, 4000, 40123, 7200)


def test_errors_may_be_cut_off() -> None:
    assert parse_natpmp_response(bytes.fromhex("0080 0003 00000001")) == NatPmpAddress(3, 1, "")
    refused = NatPmpResult.NOT_AUTHORIZED
    assert parse_natpmp_response(bytes.fromhex("0081 0002 00000001")) == NatPmpMapping(refused, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "short"),
        (ADDRESS[:11], "short"),
        (MAPPING[:15], "short"),
        (MAPPING + bytes(60), "long"),
        (b"\x02" + MAPPING[1:], "version"),
        (b"\0\x01" + MAPPING[2:], "type"),
        (b"\0\x82" + MAPPING[2:], "type"),
    ],
)
def test_what_is_no_response_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_natpmp_response(data)
    assert caught.value.reason == reason


@given(st.binary(max_size=80) | st.binary(max_size=30).map(lambda rest: b"\0\x81" + rest))
def test_any_bytes_are_a_response_or_refused(data: bytes) -> None:
    try:
        parse_natpmp_response(data)
    except PeerError as error:
        assert error.reason in REASONS
