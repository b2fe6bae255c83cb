"""Super-frames cut by this module against an independent cutter that computes every checksum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.frames import (
    IP6_A,
    IP6_B,
    IP_A,
    IP_B,
    VNET,
    ones_sum,
    pattern,
    plain_frame,
    pseudo,
    segments,
    tcp_super,
    udp_packet,
    udp_super,
)

from ntvl.errors import PeerError
from ntvl.wire.vnet import (
    build_part,
    build_udp_super_frame,
    checksum,
    cut_super_frame,
    parse_super_frame,
    pseudo_checksum,
    udp_payload_start,
)

V4 = {"source": IP_A, "target": IP_B}
V6 = {"source": IP6_A, "target": IP6_B}
families = pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])


@families
def test_a_super_frame_is_understood(family: dict[str, str]) -> None:
    layout = parse_super_frame(tcp_super(pattern(5000), mss=1000, **family))
    header = 40 if ":" in family["source"] else 20
    assert (layout.network, layout.transport, layout.payload) == (24, 24 + header, 24 + header + 32)
    assert (layout.size, layout.gso_size, layout.is_tcp) == (5000, 1000, True)
    layout = parse_super_frame(udp_super(pattern(5000), size=100, **family))
    assert (layout.payload, layout.size, layout.gso_size, layout.is_tcp) == (24 + header + 8, 5000, 100, False)


@families
@pytest.mark.parametrize("tags", [b"", bytes.fromhex("8100 0005"), bytes.fromhex("88a8 0007 8100 0005")])
def test_cutting_gives_what_a_kernel_would_send(family: dict[str, str], tags: bytes) -> None:
    frame = tcp_super(pattern(4321), mss=1000, flags=0x99, tags=tags, **family)
    alone = [segments(single)[0] for single in cut_super_frame(frame)]
    assert [vars(one) for one in alone] == [vars(one) for one in segments(frame)]
    assert b"".join(one.payload for one in alone) == pattern(4321)
    assert [one.flags for one in alone] == [0x90, 0x10, 0x10, 0x10, 0x19]


@families
def test_cutting_udp_keeps_each_datagram(family: dict[str, str]) -> None:
    frame = udp_super(pattern(1001), size=100, **family)
    alone = [segments(single)[0] for single in cut_super_frame(frame)]
    assert [vars(one) for one in alone] == [vars(one) for one in segments(frame)]
    assert [len(one.payload) for one in alone] == [100] * 10 + [1]


@families
@given(
    payload=st.binary(min_size=1, max_size=6000),
    mss=st.integers(50, 2000),
    flags=st.integers(0, 255),
    cut=st.tuples(st.integers(0, 5999), st.integers(0, 5999)),
)
def test_any_part_of_tcp_stands_alone(
    family: dict[str, str], payload: bytes, mss: int, flags: int, cut: tuple[int, int]
) -> None:
    frame = tcp_super(payload, mss=mss, flags=flags, sequence=0xFFFFFFF0, **family)
    layout = parse_super_frame(frame)
    start, end = sorted(min(edge, len(payload)) for edge in cut)
    if start == end:
        return
    part = build_part(frame, layout, start, end - start) + payload[start:end]
    for segment in segments(part):
        position = (segment.sequence - 0xFFFFFFF0) % 2**32
        assert payload[position : position + len(segment.payload)] == segment.payload
        at_end, at_start = position + len(segment.payload) == len(payload), position == 0
        expected = flags & ~(0 if at_end else 0x09) & ~(0 if at_start else 0x80)
        assert segment.flags == expected
    assert b"".join(segment.payload for segment in segments(part)) == payload[start:end]


def test_a_whole_part_is_the_super_frame_itself() -> None:
    frame = tcp_super(pattern(5000), mss=1000)
    layout = parse_super_frame(frame)
    assert build_part(frame, layout, 0, 5000) == frame[: layout.payload]


def test_the_ecn_mark_stays_with_the_first_part() -> None:
    frame = bytearray(tcp_super(pattern(5000), mss=1000, flags=0x90))
    frame[1] |= 0x80
    layout = parse_super_frame(bytes(frame))
    assert build_part(frame, layout, 0, 2000)[1] == 0x81
    assert build_part(frame, layout, 2000, 2000)[1] == 0x01
    assert build_part(frame, layout, 4000, 1000)[1] == 0


def test_identifications_count_on() -> None:
    frame = tcp_super(pattern(5000), mss=1000, number=0xFFFE)
    assert [segments(one)[0].number for one in cut_super_frame(frame)] == [0xFFFE, 0xFFFF, 0, 1, 2]


@families
@given(count=st.integers(3, 60), size=st.integers(1, 900))
def test_packets_of_one_flow_make_a_super_frame_that_stands_for_them(
    family: dict[str, str], count: int, size: int
) -> None:
    payloads = [pattern(size, seed) for seed in range(count)]
    packets = [udp_packet(payload, number=7 + index, **family) for index, payload in enumerate(payloads)]
    start = udp_payload_start(packets[0])
    assert start == len(packets[0]) - size
    merged = build_udp_super_frame(packets[0], start, b"".join(payloads))
    assert parse_super_frame(merged).gso_size == size
    assert [vars(one) for one in segments(merged)] == [vars(segments(packet)[0]) for packet in packets]


@pytest.mark.parametrize(
    "buffer",
    [
        plain_frame(),
        tcp_super(pattern(100)),
        udp_super(pattern(100), size=10),
        udp_packet(b""),
        udp_packet(b"x", offset=0),
        udp_packet(b"x", offset=0x2000),
        udp_packet(b"x") + b"\0",
        bytes(10) + udp_packet(b"x")[10:],
        udp_packet(b"x")[:40],
    ],
)
def test_only_plain_udp_is_merged(buffer: bytes) -> None:
    assert udp_payload_start(buffer) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b[:40], "short"),
        (lambda b: bytes([0]) + b[1:], "header"),  # no checksum to fill in
        (lambda b: b[:1] + b"\x04" + b[2:], "header"),  # IPv6 segmentation of IPv4
        (lambda b: b[:1] + b"\x03" + b[2:], "header"),  # the old UDP fragmentation
        (lambda b: b[:4] + b"\0\0" + b[6:], "header"),  # segments of nothing
        (lambda b: b[:4] + b"\x01\0" + b[6:], "header"),  # sixty thousand segments
        (lambda b: b[:6] + b"\x23\0" + b[8:], "header"),  # checksum start off by one
        (lambda b: b[:6] + b"\xff\xff" + b[8:], "header"),
        (lambda b: b[:8] + b"\x06\0" + b[10:], "header"),  # UDP's checksum offset
        (lambda b: b[:22] + b"\x08\x06" + b[24:], "header"),  # ARP
        (lambda b: b[:24] + b"\x46" + b[25:], "header"),  # options that are not there
        (lambda b: b[:26] + b"\0\x20" + b[28:], "header"),  # IP shorter than its headers
        (lambda b: b[:30] + b"\x20\0" + b[32:], "header"),  # a fragment
        (lambda b: b[:33] + b"\x11" + b[34:], "header"),  # UDP
        (lambda b: b[:56] + b"\x10" + b[57:], "header"),  # TCP header of 4 bytes
    ],
)
def test_headers_that_contradict_each_other_are_refused(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PeerError) as caught:
        parse_super_frame(change(tcp_super(pattern(60000), mss=1000)))
    assert caught.value.reason == reason


@given(st.binary(max_size=400) | st.binary(max_size=100).map(lambda b: tcp_super(pattern(300), mss=100)[:70] + b))
def test_any_bytes_are_a_super_frame_or_a_peer_error(buffer: bytes) -> None:
    try:
        layout = parse_super_frame(buffer)
    except PeerError:
        return
    assert 0 < layout.network < layout.transport < layout.payload <= len(buffer)
    try:
        assert len(cut_super_frame(buffer)) == -(-layout.size // layout.gso_size)
    except PeerError as error:
        assert error.reason == "short"


@given(st.binary(max_size=100).filter(lambda b: len(b) % 2 == 0))
def test_checksums_agree_with_adding_word_by_word(data: bytes) -> None:
    assert checksum(data) == 0xFFFF - ones_sum(data)


@given(st.integers(0, 65535), st.sampled_from([6, 17]))
def test_pseudo_headers_agree_with_adding_word_by_word(length: int, protocol: int) -> None:
    for source, target in ((IP_A, IP_B), (IP6_A, IP6_B)):
        data = pseudo(source, target, protocol, length)
        addresses = data[:-8]
        assert pseudo_checksum(addresses, protocol, length) == ones_sum(data)


def test_the_header_is_little_endian_everywhere() -> None:
    assert VNET.pack(1, 1, 66, 1308, 34, 16).hex() == "010142001c0522001000"
    assert parse_super_frame(tcp_super(pattern(3000))).gso_size == 1308
