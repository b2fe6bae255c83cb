import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.address import Address
from ntvl.wire.attribute import (
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    StunClass,
    build_address_value,
    build_fingerprinted,
    build_layout,
    build_protected,
    check_fingerprint,
    is_integrity,
    parse_address_value,
    parse_attributes,
    parse_error_value,
    parse_number_value,
    parse_stun_header,
    parse_text_value,
    xor_mask,
)

TRANSACTION = bytes(range(12))
KEY = b"a key"
PLAIN = build_layout(StunClass.REQUEST, 0x003, TRANSACTION, [(0x8022, b"words")])


@given(st.sampled_from(StunClass), st.integers(0, 0xFFF), st.binary(min_size=12, max_size=12))
def test_a_header_comes_back_as_it_went_in(cls: StunClass, method: int, transaction: bytes) -> None:
    data = build_layout(cls, method, transaction, [])
    assert parse_stun_header(data, 20) == (cls, method, transaction)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=30)), max_size=32))
def test_attributes_come_back_as_they_went_in(attributes: list[tuple[int, bytes]]) -> None:
    data = build_layout(StunClass.SUCCESS, 1, TRANSACTION, attributes)
    parse_stun_header(data, 4096)
    assert [(type_, value) for type_, _, value in parse_attributes(data)] == attributes


def test_a_message_over_the_callers_bound_is_long() -> None:
    with pytest.raises(PeerError, match="long"):
        parse_stun_header(PLAIN, len(PLAIN) - 1)


@pytest.mark.parametrize("type_", [MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256])
def test_integrity_holds_for_its_key_and_bytes_alone(type_: int) -> None:
    data = build_protected(PLAIN, KEY, type_)
    parse_stun_header(data, 200)
    *_, (found, start, value) = parse_attributes(data)
    assert (found, start) == (type_, len(PLAIN))
    assert is_integrity(data, start, value, KEY, type_)
    assert not is_integrity(data, start, value, b"another", type_)
    assert not is_integrity(data[:21] + b"!" + data[22:], start, value, KEY, type_)
    assert not is_integrity(data, start, value[:12], KEY, type_)


@pytest.mark.parametrize(("length", "good"), [(16, True), (20, True), (28, True), (32, True), (12, False), (18, False)])
def test_a_sha_256_may_be_cut_to_sixteen_bytes(length: int, good: bool) -> None:
    """RFC 8489 section 14.6."""
    counted = PLAIN[:2] + (len(PLAIN) - 20 + 4 + length).to_bytes(2) + PLAIN[4:]
    value = hmac.digest(KEY, counted, hashlib.sha256)[:length]
    assert is_integrity(PLAIN + bytes(40), len(PLAIN), value, KEY, MESSAGE_INTEGRITY_SHA256) is good


def test_a_fingerprint_is_the_last_attribute_and_right() -> None:
    data = build_fingerprinted(PLAIN)
    *_, (_, start, value) = parse_attributes(data)
    check_fingerprint(data, start, value)
    with pytest.raises(PeerError, match="integrity"):
        check_fingerprint(data, start, bytes(4))
    with pytest.raises(PeerError, match="format"):
        check_fingerprint(data + bytes(4), start, value)


@given(st.ip_addresses().filter(lambda ip: ip.version == 4 or ip.ipv4_mapped is None), st.integers(1, 65535))
def test_an_address_comes_back_as_it_went_in(ip: object, port: int) -> None:
    address = Address(str(ip), port)
    for mask in (bytes(16), xor_mask(TRANSACTION)):
        assert parse_address_value(build_address_value(address, mask), mask) == address


@given(st.binary(max_size=800))
def test_any_value_is_read_or_refused_by_name(value: bytes) -> None:
    for parse in (
        parse_error_value,
        parse_text_value,
        lambda value: parse_number_value(value, 4),
        lambda value: parse_address_value(value, bytes(16)),
        lambda value: parse_stun_header(value, 1200),
        lambda value: list(parse_attributes(bytes(20) + value)) if len(value) % 4 == 0 else None,
    ):
        try:
            parse(value)
        except PeerError as error:
            assert error.reason in REASONS
