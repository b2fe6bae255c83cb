"""STUN against the vectors of RFC 5769, against itself, and against anything."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.address import Address
from ntvl.wire.stun import (
    ATTRIBUTES_MAX,
    BINDING,
    CHANGE_REQUEST,
    Change,
    Stun,
    StunClass,
    build_binding_error,
    build_binding_indication,
    build_binding_request,
    build_binding_response,
    parse_stun,
    verify_integrity,
)

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# RFC 5769 sections 2.1 to 2.4.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
LONG_TERM_REQUEST = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410"
    "014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)

addresses = st.builds(
    Address,
    st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None).map(str),
    ),
    st.integers(1, 65535),
)
transactions = st.binary(min_size=12, max_size=12)
passwords = st.none() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=22, max_size=64)


def reason_of(data: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        parse_stun(data)
    return caught.value.reason


def message(*attributes: bytes, type_: int = 0x0101) -> bytes:
    body = b"".join(attributes)
    return type_.to_bytes(2) + len(body).to_bytes(2) + bytes.fromhex("2112a442") + TRANSACTION + body


def attribute(type_: int, value: bytes) -> bytes:
    return type_.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4)


def test_the_sample_request_of_rfc_5769_is_understood() -> None:
    assert parse_stun(REQUEST) == Stun(
        cls=StunClass.REQUEST,
        method=BINDING,
        transaction=TRANSACTION,
        software="STUN test client",
        priority=0x6E0001FF,
        ice_controlled=0x932FF9B151263B36,
        username="evtj:h6vY",
        has_integrity=True,
        has_fingerprint=True,
    )
    verify_integrity(REQUEST, PASSWORD)


def test_the_sample_ipv4_response_of_rfc_5769_is_understood() -> None:
    stun = parse_stun(RESPONSE_IPV4)
    assert (stun.cls, stun.transaction, stun.software) == (StunClass.SUCCESS, TRANSACTION, "test vector")
    assert stun.address == stun.xor_mapped == Address("192.0.2.1", 32853)
    verify_integrity(RESPONSE_IPV4, PASSWORD)


def test_the_sample_ipv6_response_of_rfc_5769_is_understood() -> None:
    stun = parse_stun(RESPONSE_IPV6)
    assert stun.address == Address("2001:db8:1234:5678:11:2233:4455:6677", 32853)
    verify_integrity(RESPONSE_IPV6, PASSWORD)


def test_the_long_term_request_of_rfc_5769_names_what_is_not_understood() -> None:
    stun = parse_stun(LONG_TERM_REQUEST)
    assert stun.username == "マトリックス"
    assert stun.unknown == (0x0015, 0x0014)  # NONCE, REALM
    assert (stun.has_integrity, stun.has_fingerprint) == (True, False)


@pytest.mark.parametrize("data", [REQUEST, RESPONSE_IPV4, RESPONSE_IPV6], ids=["request", "ipv4", "ipv6"])
def test_one_altered_bit_is_noticed(data: bytes) -> None:
    for bit in range((len(data) - 8) * 8):  # all but the FINGERPRINT, whose loss takes nothing from what is authentic
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerError):
            parse_stun(altered)
            verify_integrity(altered, PASSWORD)


def test_another_password_is_refused() -> None:
    with pytest.raises(PeerError) as caught:
        verify_integrity(REQUEST, PASSWORD + "x")
    assert caught.value.reason == "integrity"


def test_a_message_without_integrity_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(PeerError) as caught:
        verify_integrity(build_binding_request(TRANSACTION), PASSWORD)
    assert caught.value.reason == "integrity"


def test_a_question_to_a_server_is_the_bare_header() -> None:
    assert build_binding_request(TRANSACTION) == bytes.fromhex("000100002112a442") + TRANSACTION


def test_a_check_ends_in_integrity_and_fingerprint() -> None:
    data = build_binding_request(
        TRANSACTION, username="theirs:ours", password=PASSWORD, priority=1, controlling=2, use_candidate=True
    )
    assert (data[-32:-28], data[-8:-4]) == (bytes.fromhex("00080014"), bytes.fromhex("80280004"))
    verify_integrity(data, PASSWORD)


@given(
    transactions,
    st.text(max_size=60),
    passwords,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.booleans(),
)
def test_what_a_check_says_arrives(
    transaction: bytes,
    username: str,
    password: str | None,
    priority: int,
    tie_breaker: int,
    controls: bool,
    nominates: bool,
) -> None:
    data = build_binding_request(
        transaction,
        username=username,
        password=password or PASSWORD,
        priority=priority,
        controlling=tie_breaker if controls else None,
        controlled=None if controls else tie_breaker,
        use_candidate=nominates,
    )
    verify_integrity(data, password or PASSWORD)
    assert parse_stun(data) == Stun(
        cls=StunClass.REQUEST,
        method=BINDING,
        transaction=transaction,
        username=username,
        priority=priority,
        ice_controlling=tie_breaker if controls else None,
        ice_controlled=None if controls else tie_breaker,
        use_candidate=nominates,
        has_integrity=True,
        has_fingerprint=True,
    )


@given(transactions, addresses, passwords)
def test_an_address_comes_back_as_it_went_in(transaction: bytes, address: Address, password: str | None) -> None:
    data = build_binding_response(transaction, address, password=password)
    stun = parse_stun(data)
    assert (stun.cls, stun.transaction, stun.address) == (StunClass.SUCCESS, transaction, address)
    assert stun.has_integrity == stun.has_fingerprint == (password is not None)
    if password is not None:
        verify_integrity(data, password)


@given(st.integers(300, 699), st.text(max_size=100), st.lists(st.integers(0, 0xFFFF), max_size=20), passwords)
def test_an_error_comes_back_as_it_went_in(code: int, reason: str, unknown: list[int], password: str | None) -> None:
    stun = parse_stun(build_binding_error(TRANSACTION, code, reason, unknown=unknown, password=password))
    assert (stun.cls, stun.error_code, stun.error_reason) == (StunClass.ERROR, code, reason)
    assert stun.unknown_attributes == tuple(unknown)


@given(st.binary(max_size=1300))
@example(b"")
@example(message(attribute(0x0020, b"")))
@example(message(*[attribute(0x0024, bytes(4))] * 40))
def test_any_bytes_give_a_message_or_a_named_reason(data: bytes) -> None:
    for call in (parse_stun, lambda data: verify_integrity(data, PASSWORD)):
        try:
            call(data)
        except PeerError as error:
            assert error.reason in REASONS


@given(
    st.lists(
        st.builds(
            attribute,
            st.sampled_from([1, 6, 8, 9, 10, 0x20, 0x24, 0x25, 0x8022, 0x8028, 0x8029, 0x802A, 0x7FFF, 0x8000]),
            st.binary(max_size=40),
        ),
        max_size=40,
    ),
    st.integers(0, 0x3FFF),
)
def test_any_attributes_give_a_message_or_a_named_reason(attributes: list[bytes], type_: int) -> None:
    data = message(*attributes, type_=type_)
    try:
        stun = parse_stun(data)
    except PeerError as error:
        assert error.reason in REASONS
    else:
        assert len(attributes) <= ATTRIBUTES_MAX
        assert data[:2] == ((stun.method >> 7 << 9) | (stun.method >> 4 & 7) << 5 | stun.method & 15
                            | (stun.cls >> 1) << 8 | (stun.cls & 1) << 4).to_bytes(2)  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("short", REQUEST[:19]),
        ("long", REQUEST + bytes(1200)),
        ("type", b"\x40" + REQUEST[1:]),
        ("cookie", REQUEST[:4] + bytes(4) + REQUEST[8:]),
        ("header", REQUEST[:-4]),
        ("header", REQUEST + bytes(4)),
        ("header", bytes.fromhex("000100022112a442") + TRANSACTION + bytes(2)),
        ("integrity", REQUEST[:-1] + b"\x00"),
        ("format", message(bytes.fromhex("80220005") + bytes(4))),
        ("long", message(*[attribute(0x8022, b"")] * (ATTRIBUTES_MAX + 1))),
        ("format", message(attribute(0x0020, bytes.fromhex("0003a147e112a643")))),
        ("format", message(attribute(0x0020, bytes.fromhex("0002a147e112a643")))),
        ("format", message(attribute(0x0001, bytes.fromhex("00010000c0000201")))),
        ("format", message(attribute(0x0006, b"\xff"))),
        ("format", message(attribute(0x0006, b"a" * 509))),
        ("format", message(attribute(0x8022, b"a" * 764))),
        ("format", message(attribute(0x0008, bytes(19)))),
        ("format", message(attribute(0x0009, b"\x00\x00\x02\x00"))),
        ("format", message(attribute(0x0009, b"\x00\x00\x04\x64"))),
        ("format", message(attribute(0x0009, b"\x00\x00\x04"))),
        ("format", message(attribute(0x000A, b"\x00"))),
        ("format", message(attribute(0x0024, bytes(3)))),
        ("format", message(attribute(0x0025, bytes(4)))),
        ("format", message(attribute(0x8028, bytes(4)), attribute(0x8022, b""))),
    ],
)
def test_a_broken_message_is_dropped_by_name(reason: str, data: bytes) -> None:
    assert reason_of(data) == reason


def test_a_plain_mapped_address_is_read_too() -> None:
    stun = parse_stun(message(attribute(0x0001, bytes.fromhex("000104d2c0000207"))))
    assert stun.address == stun.mapped == Address("192.0.2.7", 1234)


def test_the_xored_address_counts_where_there_are_two() -> None:
    plain = attribute(0x0001, bytes.fromhex("000104d2c0000207"))
    xored = attribute(0x0020, bytes.fromhex("0001a147e112a643"))
    assert parse_stun(message(plain, xored)).address == Address("192.0.2.1", 32853)


def test_an_ipv4_mapped_ipv6_address_is_ipv4() -> None:
    value = bytes.fromhex("000204d2" + "00" * 10 + "ffffc0000207")
    assert parse_stun(message(attribute(0x0001, value))).mapped == Address("192.0.2.7", 1234)


def test_the_first_attribute_of_a_kind_counts() -> None:
    stun = parse_stun(message(attribute(0x0024, b"\0\0\0\1"), attribute(0x0024, b"\0\0\0\2")))
    assert stun.priority == 1


def test_attributes_behind_the_integrity_are_passed_over() -> None:
    protected = build_binding_request(TRANSACTION, username="a:b", password=PASSWORD)[:-8]
    extended = message(protected[20:], attribute(0x0025, b""), attribute(0x7FFF, b""), type_=0x0001)
    stun = parse_stun(extended)
    assert (stun.username, stun.use_candidate, stun.unknown) == ("a:b", False, ())
    verify_integrity(extended, PASSWORD)


def test_optional_unknown_attributes_are_passed_over_and_required_ones_are_named_once() -> None:
    stun = parse_stun(message(attribute(0x802F, b"x"), attribute(0x7FFF, b"x"), attribute(0x7FFF, b"")))
    assert stun.unknown == (0x7FFF,)


def test_words_that_are_not_utf8_do_not_cost_the_answer() -> None:
    assert parse_stun(message(attribute(0x8022, b"caf\xe9"))).software == "caf\ufffd"


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_binding_request(bytes(11)),
        lambda: build_binding_request(TRANSACTION, priority=1),
        lambda: build_binding_request(TRANSACTION, username="a:b", use_candidate=True),
        lambda: build_binding_request(TRANSACTION, username="a:b", password="p", controlling=1, controlled=1),
        lambda: build_binding_request(TRANSACTION, username="a" * 509, password="p"),
        lambda: build_binding_error(TRANSACTION, 200, "fine"),
        lambda: build_binding_error(TRANSACTION, 400, "a" * 764),
        lambda: build_binding_error(TRANSACTION, 420, "", unknown=range(600)),
    ],
)
def test_a_message_that_breaks_the_rules_is_not_built(build: object) -> None:
    with pytest.raises(ValueError):
        build()  # type: ignore[operator]


# Made by hand after RFC 5780 section 7, since it has no vectors.
CHANGE_BOTH = bytes.fromhex("000100082112a442b7e7a701bc34d686fa87dfae0003000400000006")
TO_PORT_4660 = bytes.fromhex("000100082112a442b7e7a701bc34d686fa87dfae0027000412340000")
FROM_ELSEWHERE = bytes.fromhex(
    "01010024" "2112a442" "b7e7a701bc34d686fa87dfae"
    "00200008" "0001a147e112a643"
    "802b0008" "00010d96c0000201"
    "802c0008" "00010d97c0000202"
)  # fmt: skip


def test_change_request_is_built_and_understood() -> None:
    assert build_binding_request(TRANSACTION, change=Change.PORT | Change.ADDRESS) == CHANGE_BOTH
    assert parse_stun(CHANGE_BOTH).change == Change.PORT | Change.ADDRESS
    assert parse_stun(build_binding_request(TRANSACTION, change=Change.PORT)).change == Change.PORT
    assert CHANGE_BOTH[20:22] == CHANGE_REQUEST.to_bytes(2)


def test_other_bits_of_change_request_mean_nothing() -> None:
    assert parse_stun(CHANGE_BOTH[:-4] + b"\xff" * 4).change == Change.PORT | Change.ADDRESS
    assert parse_stun(CHANGE_BOTH[:-4] + b"\xff\xff\xff\xf9").change == Change.NONE


def test_response_port_is_built_and_understood_with_its_padding_counted_or_not() -> None:
    assert build_binding_request(TRANSACTION, response_port=0x1234) == TO_PORT_4660
    assert parse_stun(TO_PORT_4660).response_port == 0x1234
    assert parse_stun(message(attribute(0x27, b"\x12\x34"))).response_port == 0x1234


def test_origin_and_other_address_are_built_and_understood() -> None:
    origin, other = Address("192.0.2.1", 3478), Address("192.0.2.2", 3479)
    built = build_binding_response(TRANSACTION, Address("192.0.2.1", 32853), origin=origin, other=other)
    assert built == FROM_ELSEWHERE
    stun = parse_stun(FROM_ELSEWHERE)
    assert (stun.origin, stun.other, stun.address) == (origin, other, Address("192.0.2.1", 32853))


@pytest.mark.parametrize(
    ("type_", "value"),
    [(0x03, b""), (0x03, bytes(3)), (0x27, bytes(4)), (0x27, b"\1"), (0x802B, bytes(8)), (0x802C, bytes(5))],
)
def test_broken_attributes_of_rfc_5780_are_refused(type_: int, value: bytes) -> None:
    assert reason_of(message(attribute(type_, value))) == "format"


@given(transactions, addresses, addresses, addresses)
def test_every_origin_and_other_address_comes_back(
    transaction: bytes, address: Address, origin: Address, other: Address
) -> None:
    stun = parse_stun(build_binding_response(transaction, address, origin=origin, other=other))
    assert (stun.address, stun.origin, stun.other) == (address, origin, other)


def test_an_indication_is_a_header_that_says_nothing() -> None:
    data = build_binding_indication(TRANSACTION)
    assert parse_stun(data) == Stun(cls=StunClass.INDICATION, method=BINDING, transaction=TRANSACTION)
