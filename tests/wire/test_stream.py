import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.address import Address
from ntvl.wire.stream import (
    FRAME_BYTES_MAX,
    GREETING_BYTES_MAX,
    Deframer,
    build_frame,
    build_greeting,
    parse_greeting,
)

DATAGRAMS = st.lists(st.binary(min_size=1, max_size=2000), max_size=8)


def feed_in_pieces(deframer: Deframer, data: bytes, size: int) -> list[bytes]:
    return [d for at in range(0, len(data), size) for d in deframer.feed(data[at : at + size])]


@given(DATAGRAMS, st.integers(1, 700))
def test_datagrams_come_out_of_a_stream_however_it_is_cut(datagrams: list[bytes], size: int) -> None:
    stream = build_greeting() + b"".join(map(build_frame, datagrams))
    assert feed_in_pieces(Deframer(), stream, size) == datagrams


def test_the_largest_datagram_fits() -> None:
    datagram = b"x" * FRAME_BYTES_MAX
    assert Deframer().feed(build_greeting() + build_frame(datagram)) == [datagram]


@pytest.mark.parametrize("observed", [None, Address("203.0.113.7", 40312), Address("2001:db8::7", 1)])
def test_a_greeting_says_where_the_stream_comes_from(observed: Address | None) -> None:
    greeting = build_greeting(observed)
    assert len(greeting) <= GREETING_BYTES_MAX
    assert parse_greeting(greeting) == observed
    deframer = Deframer()
    assert not deframer.is_greeted
    assert deframer.feed(greeting) == []
    assert deframer.is_greeted
    assert deframer.observed == observed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "type"),
        (b"\x16\x03\x01\x02\x00", "type"),
        (b"n\n", "type"),
        (b"ntvl-stream/2\n", "version"),
        (b"ntvl-stream/1 nowhere\n", "format"),
        (b"ntvl-stream/1 300.0.0.1:4\n", "format"),
        (b"ntvl-stream/1 10.0.0.1:70000\n", "format"),
        (b"ntvl-stream/1" + b" " * GREETING_BYTES_MAX, "long"),
        (b"ntvl-stream/1\n\x00\x00", "short"),
    ],
)
def test_what_is_no_stream_of_ours_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(PeerError) as caught:
        Deframer().feed(data)
    assert caught.value.reason == reason


def test_a_foreign_stream_is_refused_at_its_first_byte() -> None:
    with pytest.raises(PeerError):
        Deframer().feed(b"G")


@given(st.binary(max_size=400), st.booleans(), st.integers(1, 100))
def test_any_bytes_give_datagrams_or_a_listed_reason(data: bytes, greeted: bool, size: int) -> None:
    deframer = Deframer()
    try:
        feed_in_pieces(deframer, build_greeting() * greeted + data, size)
    except PeerError as error:
        assert error.reason in REASONS
