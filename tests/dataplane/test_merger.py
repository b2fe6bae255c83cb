"""UDP packets that become a super-frame are still the same packets to whoever receives them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.frames import (
    IP6_A,
    IP6_B,
    IP_A,
    IP_B,
    pattern,
    plain_frame,
    segments,
    tcp_super,
    udp_packet,
    udp_super,
)

from ntvl.dataplane.merger import MERGE_MIN, merge_udp

V4 = {"source": IP_A, "target": IP_B}
V6 = {"source": IP6_A, "target": IP6_B}
OTHERS = [plain_frame(), tcp_super(pattern(3000)), udp_super(pattern(300), size=100), udp_packet(b"x", offset=0)]


def packets(frames: list[bytes]) -> list[dict[str, object]]:
    """Returns what a receiver sees; IPv4 identifications of packets that may not be fragmented mean nothing."""
    seen = []
    for frame in frames:
        for segment in segments(frame) if frame[22:24] in (b"\x08\x00", b"\x86\xdd") else [frame]:
            fields = {"frame": segment} if isinstance(segment, bytes) else dict(vars(segment))
            fields.pop("number", None)
            seen.append(fields)
    return seen


@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("count", "frames"), [(2, 2), (3, 1), (64, 1), (65, 2), (67, 2), (200, 4)])
def test_a_run_of_one_flow_becomes_few_frames(family: dict[str, str], count: int, frames: int) -> None:
    run = [udp_packet(pattern(22, seed), number=seed, **family) for seed in range(count)]
    merged = merge_udp(run)
    assert len(merged) == frames
    assert packets(merged) == packets(run)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            lambda kind, size, seed, port: (
                OTHERS[kind] if kind < len(OTHERS) else udp_packet(pattern(size, seed), port=port, **(V4, V6)[kind % 2])
            ),
            st.integers(0, 9),
            st.sampled_from([1, 22, 22, 22, 1200]),
            st.integers(0, 99),
            st.sampled_from([2000, 2000, 2000, 3000]),
        ),
        max_size=80,
    )
)
def test_whatever_was_read_is_delivered_in_order(run: list[bytes]) -> None:
    merged = merge_udp(run)
    assert packets(merged) == packets(run)
    assert all(len(frame) <= 65559 for frame in merged)


def test_packets_that_differ_in_more_than_payload_stay_apart() -> None:
    base = [udp_packet(b"abcd") for _ in range(MERGE_MIN)]
    for place in (10, 16, 25, 32, 39, 43, 45, 47):  # MACs, DSCP, TTL, addresses, ports
        other = [bytes([*frame[:place], frame[place] ^ 1, *frame[place + 1 :]]) for frame in base]
        merged = merge_udp([base[0], other[0], base[1], other[1], base[2], other[2]])
        assert len(merged) == 6


def test_full_packets_merge_up_to_a_super_frame() -> None:
    run = [udp_packet(pattern(1332, seed)) for seed in range(100)]
    merged = merge_udp(run)
    assert len(merged) == 3
    assert max(map(len, merged)) < 60000
    assert packets(merged) == packets(run)
