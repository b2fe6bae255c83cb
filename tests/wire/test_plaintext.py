"""What is under the seal: there and back, and any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.frames import IP6_A, IP6_B, pattern, plain_frame, tcp_super, udp_super

from ntvl.errors import PeerError
from ntvl.wire.header import PLAINTEXT_BYTES_MAX
from ntvl.wire.plaintext import (
    BUNDLE,
    FRAGMENT,
    PIECE,
    PIECE_HEADER_BYTES,
    build_bundle,
    build_fragments,
    build_pieces,
    parse_bundle,
    parse_fragment,
    parse_piece,
)
from ntvl.wire.vnet import parse_super_frame


def pieces(frame: bytes, run: int = 7) -> list[bytes]:
    built = build_pieces(frame, parse_super_frame(frame), run)
    assert built is not None
    return built


@pytest.mark.parametrize(
    "frame",
    [
        tcp_super(pattern(60000)),
        tcp_super(pattern(60000), source=IP6_A, target=IP6_B, mss=1288),
        tcp_super(pattern(60000), mss=500),
        tcp_super(pattern(60000), mss=8900),
        udp_super(pattern(60000), size=1200),
        udp_super(pattern(1400), size=22),
    ],
    ids=["tcp4", "tcp6", "small-segments", "jumbo-segments", "udp", "tiny-udp"],
)
def test_pieces_carry_all_of_a_super_frame(frame: bytes) -> None:
    layout = parse_super_frame(frame)
    built = pieces(frame)
    position = 0
    for index, plain in enumerate(built):
        piece = parse_piece(plain)
        assert (piece.offset, piece.run, piece.layout) == (position, 7, layout)
        payload = plain[PIECE_HEADER_BYTES + layout.payload :]
        assert payload == frame[layout.payload + position :][: len(payload)]
        assert plain[PIECE_HEADER_BYTES:][: layout.payload] == frame[: layout.payload]
        position += len(payload)
        assert len(plain) == len(built[0]) or index == len(built) - 1
    assert position == layout.size
    assert max(map(len, built)) <= PLAINTEXT_BYTES_MAX


def test_a_piece_holds_one_segment_of_the_default_mtu() -> None:
    for frame in (tcp_super(pattern(13080)), tcp_super(pattern(12880), source=IP6_A, target=IP6_B, mss=1288)):
        assert len(pieces(frame)) == 10


def test_udp_is_cut_between_datagrams_only() -> None:
    assert [len(plain) - 57 for plain in pieces(udp_super(pattern(5000), size=500))] == [1000] * 5
    frame = udp_super(pattern(9000), size=3000)
    assert build_pieces(frame, parse_super_frame(frame), 1) is None


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (pieces(tcp_super(pattern(3000)))[0][:50], "short"),
        (pieces(tcp_super(pattern(3000)))[0][:81], "header"),
        (b"\x02\xff\xff" + pieces(tcp_super(pattern(3000)))[0][3:], "header"),
        (b"\x02\x00\x0b" + pieces(udp_super(pattern(3000), size=100))[1][3:], "header"),
        (pieces(udp_super(pattern(3000), size=100))[0][:-1], "header"),
    ],
    ids=["no headers", "no payload", "behind the end", "between two cuts", "a cut datagram"],
)
def test_pieces_that_are_none_are_refused(plain: bytes, reason: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_piece(plain)
    assert caught.value.reason == reason


@given(st.integers(24, 65000), st.integers(0, 65535))
def test_fragments_carry_all_of_a_frame(size: int, run: int) -> None:
    frame = pattern(size)
    built = build_fragments(frame, run)
    parsed = [parse_fragment(plain) for plain in built]
    assert b"".join(fragment.data for fragment in parsed) == frame
    assert {(fragment.run, fragment.total) for fragment in parsed} == {(run, size)}
    assert max(map(len, built)) <= PLAINTEXT_BYTES_MAX


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p[:11], "short"),
        (lambda p: p[:7] + bytes.fromhex("00000017") + p[11:], "header"),
        (lambda p: p[:7] + bytes.fromhex("00020000") + p[11:], "header"),
        (lambda p: p[:3] + bytes.fromhex("00000500") + p[7:], "header"),
    ],
    ids=["empty", "of a runt", "of a monster", "behind the end"],
)
def test_fragments_that_are_none_are_refused(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PeerError) as caught:
        parse_fragment(change(build_fragments(pattern(2000), 1)[0]))
    assert caught.value.reason == reason


@given(st.lists(st.integers(14, 300), min_size=1, max_size=4))
def test_a_bundle_carries_its_frames_in_order(sizes: list[int]) -> None:
    frames = [plain_frame(size, fill=index) for index, size in enumerate(sizes)]
    assert parse_bundle(build_bundle(frames)) == frames


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (b"\x04\x00", "short"),
        (b"\x04\x00\x40" + bytes(63), "short"),
        (b"\x04\x00\x17" + bytes(23), "runt"),
        (b"\x04\x00\x00", "runt"),
        (build_bundle([plain_frame()]) + b"\x01", "short"),
    ],
)
def test_bundles_that_are_none_are_refused(plain: bytes, reason: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_bundle(plain)
    assert caught.value.reason == reason


@given(st.sampled_from([PIECE, FRAGMENT, BUNDLE]), st.binary(max_size=1400))
def test_any_bytes_parse_or_are_a_peer_error(kind: int, body: bytes) -> None:
    plain = bytes([kind]) + body
    for parse in (parse_piece, parse_fragment, parse_bundle):
        if len(plain) >= PIECE_HEADER_BYTES or parse is not parse_piece:
            try:
                parse(plain)
            except PeerError:
                pass


@given(st.integers(0, 1300), st.integers(0, 255))
def test_one_changed_byte_gives_a_piece_or_a_peer_error(place: int, value: int) -> None:
    plain = bytearray(pieces(tcp_super(pattern(3000)))[0])
    plain[place] = value
    try:
        piece = parse_piece(bytes(plain))
    except PeerError:
        return
    assert piece.offset + len(plain) - PIECE_HEADER_BYTES - piece.layout.payload <= piece.layout.size
