import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.pcp import PcpOpcode, PcpResponse, PcpResult, build_pcp_announce, build_pcp_map, parse_pcp_response

NONCE = bytes(range(12))
EXTERNAL = bytes(10) + b"\xff\xff" + bytes((203, 0, 113, 7))


def response(
    *, version: int = 2, opcode: int = 0x81, result: int = 0, more: bytes = b"", external: bytes = EXTERNAL
) -> bytes:
    head = struct.pack("!BBxBII12x", version, opcode, result, 7200, 99)
    return head + NONCE + struct.pack("!B3xHH", 17, 4000, 40123) + external + more


def reason_of(data: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        parse_pcp_response(data)
    return caught.value.reason


def test_a_map_request_is_that_of_the_rfc() -> None:
    data = build_pcp_map("192.168.1.10", NONCE, 4000, lifetime_s=7200, external_host="203.0.113.7", external_port=40123)
    client = bytes(10) + b"\xff\xff" + bytes((192, 168, 1, 10))
    assert data[:24] == bytes((2, 1, 0, 0)) + (7200).to_bytes(4, "big") + client
    assert data[24:] == NONCE + bytes((17, 0, 0, 0)) + struct.pack("!HH", 4000, 40123) + EXTERNAL
    assert len(data) == 60


def test_a_pinhole_is_asked_for_with_the_address_as_it_is() -> None:
    data = build_pcp_map("2001:db8::5", NONCE, 4000, lifetime_s=0)
    assert data[8:24] == bytes.fromhex("20010db8") + bytes(11) + b"\x05"
    assert data[-16:] == bytes(16)


def test_no_external_address_is_suggested_as_the_mapped_zero() -> None:
    assert build_pcp_map("192.168.1.10", NONCE, 4000, lifetime_s=1)[-16:] == bytes(10) + b"\xff\xff" + bytes(4)


def test_an_announce_request_has_a_header_only() -> None:
    assert build_pcp_announce("192.168.1.10")[:8] == bytes((2, 0, 0, 0, 0, 0, 0, 0))
    assert len(build_pcp_announce("192.168.1.10")) == 24


def test_a_map_response_is_read() -> None:
    assert parse_pcp_response(response()) == PcpResponse(
        PcpOpcode.MAP, PcpResult.SUCCESS, 7200, 99, NONCE, 17, 4000, 40123, "203.0.113.7"
    )
    ipv6 = bytes.fromhex("20010db8000000000000000000000005")
    assert parse_pcp_response(response(external=ipv6)).external_host == "2001:db8::5"


def test_an_announcement_is_read() -> None:
    data = struct.pack("!BBxBII12x", 2, 0x80, 0, 0, 7)
    assert parse_pcp_response(data) == PcpResponse(PcpOpcode.ANNOUNCE, 0, 0, 7)


def test_options_that_nobody_asked_for_are_passed_over() -> None:
    assert parse_pcp_response(response(more=struct.pack("!BxH8x", 2, 5))).external_port == 40123


def test_another_version_may_answer_with_its_header() -> None:
    assert parse_pcp_response(response(version=1, result=1)[:24]).result == PcpResult.UNSUPP_VERSION
    assert reason_of(response(version=0, result=1)) == "version"  # NAT-PMP's


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "short"),
        (response()[:23], "short"),
        (response()[:56], "short"),
        (response(more=bytes(1100)), "long"),
        (response(more=b"\0"), "format"),
        (response(more=struct.pack("!BxH", 1, 4)), "format"),
        (response(version=3), "version"),
        (response(opcode=0x01), "type"),
        (response(opcode=0x82), "type"),
    ],
)
def test_what_is_no_response_is_refused(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


@given(st.binary(max_size=1200) | st.binary(max_size=80).map(lambda rest: b"\x02\x81" + rest))
def test_any_bytes_are_a_response_or_refused(data: bytes) -> None:
    try:
        parse_pcp_response(data)
    except PeerError as error:
        assert error.reason in REASONS
