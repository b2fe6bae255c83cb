"""Two forwarders back to back: what one reads from its TAP, the other writes to its own."""

import pytest
from tests.dataplane.pair import (
    Pair,
    pattern,
    segments,
    tcp_super,
)


def test_a_super_frame_arrives_byte_for_byte() -> None:
    pair = Pair()
    frame = tcp_super(pattern(64000))
    datagrams = pair.datagrams([frame])
    assert max(map(len, datagrams)) <= 1432
    pair.receive(datagrams)
    assert pair.received() == [frame]


@pytest.mark.parametrize("lost", [0, 1, 20, 45])
def test_a_lost_datagram_costs_its_own_bytes_and_no_more(lost: int) -> None:
    pair = Pair()
    payload = pattern(60000)
    frame = tcp_super(payload, flags=0x99)
    datagrams = pair.datagrams([frame])
    del datagrams[lost]
    pair.receive(datagrams)
    arrived = [segment for buffer in pair.received() for segment in segments(buffer)]
    expected = [segment for index, segment in enumerate(segments(frame)) if index != lost]
    assert [(s.sequence, s.flags, s.number, s.payload) for s in arrived] == [
        (s.sequence, s.flags, s.number, s.payload) for s in expected
    ]
