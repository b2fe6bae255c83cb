"""TURN's codec against the vectors of RFC 5769 and RFC 8489, against itself, and against anything."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.address import Address
from ntvl.wire.attribute import StunClass, build_fingerprinted, build_layout
from ntvl.wire.credential import Authorization, Credentials, PasswordAlgorithm, derive_key, derive_userhash
from ntvl.wire.turn import (
    TURN_BYTES_MAX,
    TurnMethod,
    build_channel_data,
    build_turn,
    is_channel_data,
    parse_channel_data,
    parse_turn,
    verify_turn,
)

TRANSACTION = bytes(range(12))
MATRIX = Credentials("マトリックス", "TheMatrIX")
REALM = "example.org"

# RFC 5769 section 2.4.
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410"
    "014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
# RFC 8489 appendix B.1 as erratum 6268 corrects it.
LONG_TERM_SHA256 = bytes.fromhex(
    "000100902112a44278ad3433c6ad72c029da412e"
    "001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
    "001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000"
    "0014000b6578616d706c652e6f726700"
    "001d000400020000"
    "001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65"
)


def message(*attributes: tuple[int, bytes], cls: StunClass = StunClass.SUCCESS) -> bytes:
    return build_layout(cls, 0x003, TRANSACTION, attributes)


def test_the_long_term_request_of_rfc_5769_is_understood_and_verified() -> None:
    turn = parse_turn(LONG_TERM)
    assert (turn.username, turn.realm, turn.nonce) == (MATRIX.username, REALM, b"f//499k954d6OL34oL9FSTvy64sA")
    assert turn.unknown == ()
    verify_turn(LONG_TERM, derive_key(MATRIX, REALM))
    with pytest.raises(PeerError, match="integrity"):
        verify_turn(LONG_TERM, derive_key(Credentials(MATRIX.username, "TheMatrix"), REALM))


def test_the_long_term_request_of_rfc_5769_is_built_in_the_same_bytes_but_for_the_order() -> None:
    authorization = Authorization(
        MATRIX.username, b"", REALM, b"f//499k954d6OL34oL9FSTvy64sA", derive_key(MATRIX, REALM)
    )
    transaction = LONG_TERM[8:20]
    built = build_turn(StunClass.REQUEST, TurnMethod.BINDING, transaction, authorization=authorization)
    verify_turn(built, authorization.key)
    assert len(built) == len(LONG_TERM)
    assert sorted(built[20:-24]) == sorted(LONG_TERM[20:-24])


def test_the_sha_256_request_of_rfc_8489_is_understood_and_verified() -> None:
    turn = parse_turn(LONG_TERM_SHA256)
    assert turn.userhash == derive_userhash(MATRIX.username, REALM)
    assert turn.algorithm == PasswordAlgorithm.SHA256
    key = derive_key(MATRIX, REALM, PasswordAlgorithm.SHA256)
    verify_turn(LONG_TERM_SHA256, key, sha256=True)
    for wrong, sha256 in ((key, False), (derive_key(MATRIX, REALM), True)):
        with pytest.raises(PeerError, match="integrity"):
            verify_turn(LONG_TERM_SHA256, wrong, sha256=sha256)


def test_one_altered_bit_is_noticed() -> None:
    key = derive_key(MATRIX, REALM)
    for bit in range(len(LONG_TERM) * 8):
        altered = bytearray(LONG_TERM)
        altered[bit // 8] ^= 1 << bit % 8
        if bit // 8 in range(20 + 4 + 18, 20 + 4 + 20):
            continue  # padding, which is protected too, but may be anything
        with pytest.raises(PeerError):
            parse_turn(altered)
            verify_turn(altered, key)


def test_a_first_request_is_what_rfc_8656_asks_for() -> None:
    data = build_turn(StunClass.REQUEST, TurnMethod.ALLOCATE, TRANSACTION, allocate=True, lifetime=600)
    assert data == bytes.fromhex("000300102112a442") + TRANSACTION + bytes.fromhex("0019000411000000000d000400000258")


def test_a_request_comes_back_as_it_went_in() -> None:
    key = derive_key(MATRIX, REALM, PasswordAlgorithm.SHA256)
    algorithms = bytes.fromhex("0002000000010000")
    authorization = Authorization("", bytes(32), REALM, b"nonce", key, PasswordAlgorithm.SHA256, algorithms)
    data = build_turn(
        StunClass.REQUEST,
        TurnMethod.CHANNEL_BIND,
        TRANSACTION,
        channel=0x4001,
        peer=Address("2001:db8::7", 99),
        authorization=authorization,
    )
    turn = parse_turn(data)
    assert (turn.method, turn.channel, turn.peer) == (TurnMethod.CHANNEL_BIND, 0x4001, Address("2001:db8::7", 99))
    assert (turn.userhash, turn.nonce, turn.algorithms) == (bytes(32), b"nonce", algorithms)
    verify_turn(data, key, sha256=True)


@given(st.binary(max_size=1432), st.integers(1, 65535))
def test_data_comes_back_as_it_went_in(data: bytes, port: int) -> None:
    built = build_turn(StunClass.INDICATION, TurnMethod.SEND, TRANSACTION, peer=Address("192.0.2.7", port), data=data)
    turn = parse_turn(built)
    assert (turn.cls, turn.peer, turn.data) == (StunClass.INDICATION, Address("192.0.2.7", port), data)


@given(st.integers(0x4000, 0x4FFF), st.binary(max_size=1432), st.booleans())
def test_channel_data_comes_back_as_it_went_in(channel: int, data: bytes, padded: bool) -> None:
    built = build_channel_data(channel, data, padded=padded)
    assert is_channel_data(built)
    assert parse_channel_data(built) == (channel, data)
    assert not padded or len(built) % 4 == 0


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("short", b"\x40\0\0"),
        ("type", b"\x50\0\0\0"),
        ("type", b"\x3f\xff\0\0"),
        ("format", b"\x40\0\0\2a"),
        ("format", b"\x40\0\xff\xff" + bytes(100)),
        ("long", b"\x40\0\0\1" + bytes(TURN_BYTES_MAX)),
    ],
)
def test_broken_channel_data_is_dropped_by_name(reason: str, data: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        parse_channel_data(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("short", LONG_TERM[:19]),
        ("header", LONG_TERM[:-4]),
        ("cookie", LONG_TERM[:4] + bytes(16)),
        ("long", message((0x0013, bytes(TURN_BYTES_MAX)))),
        ("long", message(*[(0x8022, b"")] * 33)),
        ("format", message((0x000D, bytes(3)))),
        ("format", message((0x0016, bytes(8)))),
        ("format", message((0x0014, b""))),
        ("format", message((0x0014, b"\xff"))),
        ("format", message((0x0015, bytes(764)))),
        ("format", message((0x0009, b"\0\0\7\0"))),
        ("format", message((0x001D, b"\0"))),
        ("integrity", build_fingerprinted(message())[:-1] + b"!"),
    ],
)
def test_a_broken_message_is_dropped_by_name(reason: str, data: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        parse_turn(data)
    assert caught.value.reason == reason


def test_what_must_be_understood_and_is_not_is_named() -> None:
    assert parse_turn(message((0x7FFF, b""), (0x7FFF, b""), (0x8000, b""))).unknown == (0x7FFF,)


def test_what_is_behind_the_integrity_is_passed_over() -> None:
    turn = parse_turn(message((0x000D, b"\0\0\0\1"), (0x0008, bytes(20)), (0x0014, b"later"), (0x7FFF, b"")))
    assert (turn.lifetime, turn.realm, turn.unknown) == (1, None, ())


@given(st.binary(max_size=2100))
@example(b"")
@example(LONG_TERM)
def test_any_bytes_give_a_message_or_a_named_reason(data: bytes) -> None:
    for call in (parse_turn, parse_channel_data, lambda data: verify_turn(data, b"key")):
        try:
            call(data)
        except PeerError as error:
            assert error.reason in REASONS


@given(
    st.lists(
        st.tuples(
            st.sampled_from([6, 8, 9, 10, 0xC, 0xD, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1C, 0x1D, 0x1E, 0x20])
            | st.sampled_from([0x8002, 0x8003, 0x8022, 0x8023, 0x8028, 0x7FFF]),
            st.binary(max_size=40),
        ),
        max_size=34,
    )
)
def test_any_attributes_give_a_message_or_a_named_reason(attributes: list[tuple[int, bytes]]) -> None:
    data = message(*attributes)
    for call in (parse_turn, lambda data: verify_turn(data, b"key", sha256=True)):
        try:
            call(data)
        except PeerError as error:
            assert error.reason in REASONS
