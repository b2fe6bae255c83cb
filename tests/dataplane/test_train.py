"""Trains obey the kernel's rules, whatever they are made of."""

from hypothesis import given
from hypothesis import strategies as st

from ntvl.dataplane.train import TRAIN_BYTES_MAX, TRAIN_SEGMENTS_MAX, Train, TrainBuilder, split_by_prefix
from ntvl.wire.address import Address

ADDRESS = Address("203.0.113.1", 1)
OVERHEAD = 12 + 32


def check(groups: list[list[bytes]], plains: list[bytes]) -> None:
    assert [plain for group in groups for plain in group] == plains
    for group in groups:
        lengths = [len(plain) for plain in group]
        assert all(length == lengths[0] for length in lengths[:-1])
        assert lengths[-1] <= lengths[0]
        assert len(group) <= TRAIN_SEGMENTS_MAX
        assert sum(lengths) + OVERHEAD * len(group) <= TRAIN_BYTES_MAX


@given(st.lists(st.integers(1, 1400) | st.sampled_from([76, 1389, 1400]), max_size=200))
def test_single_plaintexts_are_grouped_in_order(lengths: list[int]) -> None:
    builder, plains = TrainBuilder(), [bytes([i % 256]) * length for i, length in enumerate(lengths)]
    for plain in plains:
        builder.add(plain)
    check(builder.groups, plains)


@given(st.lists(st.tuples(st.sampled_from([1, 700, 1389]), st.integers(1, 120), st.integers(0, 1388)), max_size=10))
def test_runs_are_grouped_in_order(runs: list[tuple[int, int, int]]) -> None:
    builder, plains = TrainBuilder(), list[bytes]()
    for length, count, short in runs:
        run = [bytes(length)] * count
        run[-1] = run[-1][: max(1, length - short)]
        if len(run) == 1:
            builder.add(run[0])
        else:
            builder.add_run(run)
        plains += run
    check(builder.groups, plains)


def test_a_super_frame_of_the_default_mtu_is_one_train() -> None:
    builder = TrainBuilder()
    builder.add_run([bytes(1389)] * 45)
    assert len(builder.groups) == 1


@given(st.lists(st.sampled_from([b"aaaa", b"aaab", b"b"]), min_size=1, max_size=20), st.integers(4, 6))
def test_a_train_is_split_where_prefixes_change(prefixes: list[bytes], segment: int) -> None:
    datagrams = [prefix.ljust(segment, b".") for prefix in prefixes]
    datagrams[-1] = prefixes[-1]
    parts = list(split_by_prefix(b"".join(datagrams), segment, 4))
    assert b"".join(parts) == b"".join(datagrams)
    for part in parts:
        cut = [part[start : start + segment][:4] for start in range(0, len(part), segment)]
        assert len(set(cut)) == 1
    if len({datagram[:4] for datagram in datagrams}) == 1:
        assert len(parts) == 1


def test_a_train_comes_apart_for_those_without_a_kernel() -> None:
    assert Train(0, ADDRESS, [b"abc", b"defg", b"h"], 3).datagrams() == [b"abc", b"def", b"gh"]
