"""Runs taken in bulk are the runs taken piece by piece, and pieces that lie are found out either way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.frames import pattern, tcp_super, udp_super

from ntvl.dataplane.joiner import FRAGMENT_AGE_S, FRAGMENT_BYTES_MAX, Reassembly, RunJoiner
from ntvl.errors import PeerError
from ntvl.wire.plaintext import Fragment, build_pieces
from ntvl.wire.vnet import parse_super_frame


def pieces(frame: bytes, run: int = 7) -> list[bytes]:
    built = build_pieces(frame, parse_super_frame(frame), run)
    assert built is not None
    return built


FRAMES = [tcp_super(pattern(20000)), tcp_super(pattern(13080)), udp_super(pattern(9000), size=300)]


@pytest.mark.parametrize("frame", FRAMES, ids=["short last piece", "full last piece", "udp"])
@pytest.mark.parametrize("first", [1, 2, 5])
def test_bulk_takes_all_that_continues(frame: bytes, first: int) -> None:
    plains = pieces(frame)
    joiner = RunJoiner()
    joiner.open(plains[0])
    for plain in plains[1:first]:
        assert joiner.append(plain)
    assert joiner.extend(plains[first:] + pieces(frame, 8)) == len(plains) - first
    assert joiner.is_complete
    assert b"".join(joiner.close()) == frame


@pytest.mark.parametrize("frame", FRAMES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_bulk_takes_nothing_that_piece_by_piece_would_refuse(frame: bytes, data: st.DataObject) -> None:
    plains = pieces(frame)
    victim = data.draw(st.integers(1, len(plains) - 1))
    change = data.draw(st.sampled_from(["byte", "longer", "shorter", "swap", "drop", "twice", "empty"]))
    changed = bytearray(plains[victim])
    if change == "byte":
        changed[data.draw(st.integers(0, 80))] ^= data.draw(st.integers(1, 255))
    plains[victim] = bytes(changed)
    if change == "longer":
        plains[victim] += b"xxx"
    elif change == "shorter":
        plains[victim] = plains[victim][:-3]
    elif change == "swap":
        other = data.draw(st.integers(1, len(plains) - 1))
        plains[victim], plains[other] = plains[other], plains[victim]
    elif change == "drop":
        del plains[victim]
    elif change == "twice":
        plains.insert(victim, plains[victim])
    elif change == "empty":
        plains[victim] = b""
    bulk, single = RunJoiner(), RunJoiner()
    bulk.open(plains[0])
    single.open(plains[0])
    taken = bulk.extend(plains[1:]) if len(plains) > 1 else 0
    for plain in plains[1 : 1 + taken]:
        assert single.append(plain), change
    assert bulk.close() == single.close()


def test_only_the_open_run_is_continued() -> None:
    first, second = pieces(FRAMES[0], 1), pieces(FRAMES[0], 2)
    joiner = RunJoiner()
    assert not joiner.append(first[0])
    assert joiner.extend(first) == 0
    joiner.open(first[0])
    assert not joiner.append(second[1])
    assert not joiner.append(first[2])
    assert joiner.append(first[1])
    assert not joiner.append(first[1])


def test_a_piece_beyond_the_end_is_no_continuation() -> None:
    plains = pieces(FRAMES[0])
    joiner = RunJoiner()
    joiner.open(plains[0])
    for plain in plains[1:-1]:
        joiner.append(plain)
    assert not joiner.append(plains[-1] + b"x")


def fragment(offset: int, data: bytes, total: int = 100, run: int = 1) -> Fragment:
    return Fragment(run, offset, total, data)


def test_fragments_may_come_in_any_order() -> None:
    reassembly = Reassembly()
    assert reassembly.add(fragment(60, b"c" * 40), 0.0) is None
    assert reassembly.add(fragment(0, b"a" * 30), 0.0) is None
    assert reassembly.add(fragment(30, b"b" * 30), 0.0) == b"a" * 30 + b"b" * 30 + b"c" * 40
    assert len(reassembly) == 0


@pytest.mark.parametrize(
    "others",
    [
        [fragment(0, b"x" * 50), fragment(0, b"y" * 50)],
        [fragment(0, b"x" * 60), fragment(50, b"y" * 50)],
        [fragment(0, b"x" * 50), fragment(40, b"y" * 50)],
    ],
    ids=["same place", "too much", "hole and overlap"],
)
def test_fragments_that_overlap_are_given_up(others: list[Fragment]) -> None:
    reassembly = Reassembly()
    assert reassembly.add(others[0], 0.0) is None
    with pytest.raises(PeerError, match="header"):
        reassembly.add(others[1], 0.0)
    assert (len(reassembly), reassembly.incomplete) == (0, 1)


def test_a_number_used_again_starts_anew() -> None:
    reassembly = Reassembly()
    reassembly.add(fragment(0, b"x" * 50), 0.0)
    reassembly.add(fragment(0, b"x" * 50, total=70), 0.1)
    assert reassembly.incomplete == 1
    assert reassembly.add(fragment(50, b"y" * 20, total=70), 0.2) == b"x" * 50 + b"y" * 20
    reassembly.add(fragment(0, b"x" * 50), 1.0)
    assert reassembly.add(fragment(50, b"y" * 50), 1.0 + FRAGMENT_AGE_S) is None, "the first half is too old"


def test_fragments_are_bounded_in_bytes_and_age() -> None:
    reassembly = Reassembly()
    for run in range(16):
        reassembly.add(fragment(0, bytes(60000), total=65000, run=run), 0.0)
    assert len(reassembly) == FRAGMENT_BYTES_MAX // 60000
    reassembly.expire(FRAGMENT_AGE_S)
    assert (len(reassembly), reassembly.incomplete) == (0, 16)
