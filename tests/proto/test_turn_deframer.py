import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.proto.turn_deframer import TurnDeframer
from ntvl.wire.attribute import StunClass
from ntvl.wire.turn import TURN_BYTES_MAX, TurnMethod, build_channel_data, build_turn

STUN = build_turn(StunClass.INDICATION, TurnMethod.DATA, bytes(12), data=b"hello")
GIANT_CHANNEL = b"\x40\x00\xff\xfd" + bytes(0xFFFD + 3)
GIANT_STUN = b"\x01\x17\xff\xfc\x21\x12\xa4\x42" + bytes(12 + 0xFFFC)

messages = st.one_of(
    st.builds(lambda data: build_channel_data(0x4ABC, data, padded=True), st.binary(max_size=50)),
    st.builds(
        lambda data: build_turn(StunClass.INDICATION, TurnMethod.DATA, bytes(12), data=data), st.binary(max_size=50)
    ),
)
stray = st.binary(max_size=60)


def cut(stream: bytes, cuts: list[int]) -> tuple[list[bytes], str]:
    """Returns what comes out of a stream that arrives in parts, and the reason for its end."""
    deframer = TurnDeframer()
    found: list[bytes] = []
    places = sorted({min(place, len(stream)) for place in cuts})
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        deframer.feed(stream[start:end])
        try:
            while (message := deframer.poll()) is not None:
                found.append(message)
        except PeerError as error:
            assert error.reason in REASONS
            return found, error.reason
    return found, ""


@given(st.lists(messages, max_size=6), stray, st.lists(st.integers(0, 500), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_messages(parts: list[bytes], tail: bytes, cuts: list[int]) -> None:
    stream = b"".join(parts) + tail
    found, reason = cut(stream, [])
    assert cut(stream, cuts) == (found, reason)
    assert cut(stream, list(range(len(stream)))) == (found, reason)
    for message, part in zip(found, parts, strict=False):
        assert part.startswith(message)
        assert len(part) - len(message) < 4


@pytest.mark.parametrize("step", [1, 3, 1000, 65536])
@pytest.mark.parametrize("giant", [GIANT_CHANNEL, GIANT_STUN], ids=["channel", "stun"])
def test_a_message_that_is_too_long_is_passed_over_and_never_kept(giant: bytes, step: int) -> None:
    deframer = TurnDeframer()
    found = []
    stream = STUN + giant + STUN
    for start in range(0, len(stream), step):
        deframer.feed(stream[start : start + step])
        while (message := deframer.poll()) is not None:
            found.append(message)
        assert len(deframer._buffer) <= TURN_BYTES_MAX
    assert found == [STUN, STUN]
    assert deframer.skipped == 1


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("type", b"SSH-2.0-OpenSSH"),
        ("type", b"\x50\0\0\0"),
        ("header", b"\x01\x01\x00\x02"),
        ("cookie", b"\x01\x01\x00\x00" + bytes(4)),
    ],
)
def test_bytes_that_begin_no_message_end_the_stream_for_good(reason: str, data: bytes) -> None:
    deframer = TurnDeframer()
    deframer.feed(STUN + data)
    assert deframer.poll() == STUN
    for _ in range(2):
        with pytest.raises(PeerError) as caught:
            deframer.poll()
        assert caught.value.reason == reason
        deframer.feed(STUN)
