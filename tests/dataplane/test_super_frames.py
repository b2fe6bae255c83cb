"""Super-frames and jumbo frames across a network that loses, reorders and duplicates: no byte is ever wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.frames import IP6_A, IP6_B, IP_A, IP_B, PLAIN, pattern, plain_frame, segments, tcp_super, udp_super
from tests.dataplane.pair import ADDRESS_A, DEVICE, Pair, drain_sends, drops

from ntvl.dataplane.peer import Peer
from ntvl.wire.header import DATAGRAM_BYTES_MAX

V4 = {"source": IP_A, "target": IP_B}
V6 = {"source": IP6_A, "target": IP6_B}
families = pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])


def arrived(buffers: list[bytes]) -> list[tuple[int, int, int | None, bytes]]:
    return [(s.sequence, s.flags, s.number, s.payload) for buffer in buffers for s in segments(buffer)]


@families
@pytest.mark.parametrize("size", [1309, 2616, 58860, 60000, 65000])
def test_a_super_frame_arrives_byte_for_byte(family: dict[str, str], size: int) -> None:
    pair = Pair()
    frame = tcp_super(pattern(size), **family)
    datagrams = pair.datagrams([frame])
    assert max(map(len, datagrams)) <= DATAGRAM_BYTES_MAX
    pair.receive(datagrams)
    assert pair.received() == [frame]
    assert drops(pair.b) == {}


@families
def test_a_super_frame_arrives_byte_for_byte_in_trains(family: dict[str, str]) -> None:
    pair = Pair()
    frames = [tcp_super(pattern(size), **family) for size in (58860, 64000, 1400, 58860)]
    pair.a.handle_frames(DEVICE, frames, 1.0)
    for train in drain_sends(pair.a):
        assert sum(map(len, train.buffers)) <= 65507
        pair.b.handle_train(b"".join(train.buffers), train.segment_bytes, 0, ADDRESS_A, 1.0)
    assert pair.received() == frames


@families
@pytest.mark.parametrize("lost", [0, 1, 20, 45])
def test_a_lost_datagram_costs_its_own_bytes_and_no_more(family: dict[str, str], lost: int) -> None:
    pair = Pair()
    frame = tcp_super(
        pattern(60000 if family is V4 else 59000), mss=1308 if family is V4 else 1288, flags=0x99, **family
    )
    datagrams = pair.datagrams([frame])
    assert len(datagrams) == 46
    del datagrams[lost]
    pair.receive(datagrams)
    expected = [segment for index, segment in enumerate(arrived([frame])) if index != lost]
    assert arrived(pair.received()) == expected


def test_a_lost_datagram_of_a_train_splits_it_in_two_writes() -> None:
    pair = Pair()
    frame = tcp_super(pattern(40 * 1308))
    datagrams = pair.datagrams([frame])
    pair.b.handle_train(b"".join(datagrams[:17] + datagrams[18:]), len(datagrams[0]), 0, ADDRESS_A, 1.0)
    first, second = pair.received()
    assert len(first) - 76 == 17 * 1308
    assert len(second) - 76 == 22 * 1308
    assert arrived([first, second]) == arrived([frame])[:17] + arrived([frame])[18:]


@families
@pytest.mark.parametrize("lost", [0, 3, 9])
def test_a_lost_datagram_of_udp_costs_its_own_packets(family: dict[str, str], lost: int) -> None:
    pair = Pair()
    frame = udp_super(pattern(6300), size=210, **family)
    datagrams = pair.datagrams([frame])
    each = (len(datagrams[0]) - 32 - 5 - (52 if family is V4 else 72)) // 210
    lost = min(lost, len(datagrams) - 1)
    del datagrams[lost]
    pair.receive(datagrams)
    payloads = [s.payload for buffer in pair.received() for s in segments(buffer)]
    assert payloads == [s.payload for i, s in enumerate(segments(frame)) if i // each != lost]


def test_a_frame_behind_an_incomplete_one_does_not_wait_for_it() -> None:
    pair = Pair()
    frame, small = tcp_super(pattern(5000)), plain_frame()
    datagrams = pair.datagrams([frame, small])
    del datagrams[-2]
    pair.receive(datagrams)
    first, last = [pair.b.poll_write(), pair.b.poll_write()]
    assert first is not None
    assert arrived([b"".join(first[1])]) == arrived([frame])[:3]
    assert last == (DEVICE, [small])


def test_what_lacks_its_end_is_delivered_within_milliseconds() -> None:
    pair = Pair()
    frame = tcp_super(pattern(5000))
    pair.receive(pair.datagrams([frame])[:2], now=1.0)
    assert pair.b.poll_write() is None
    while (wakeup := pair.b.poll_timeout()) is not None and wakeup.reason != "run":
        pair.b.handle_timeout(wakeup.at)
    assert wakeup is not None
    assert 1.0 < wakeup.at <= 1.005
    assert arrived(pair.received(wakeup.at)) == arrived([frame])[:2]


def test_a_segment_larger_than_a_datagram_is_cut_anywhere() -> None:
    pair = Pair()
    frame = tcp_super(pattern(50000), mss=8900)
    datagrams = pair.datagrams([frame])
    pair.receive(datagrams)
    assert pair.received() == [frame]
    datagrams = pair.datagrams([frame])
    del datagrams[5]
    pair.receive(datagrams)
    bytes_arrived = {}
    for segment in (s for buffer in pair.received() for s in segments(buffer)):
        bytes_arrived[(segment.sequence - 0xFFFFFF00) % 2**32] = segment.payload
    assert sum(map(len, bytes_arrived.values())) == 50000 - (len(datagrams[0]) - 32 - 81)
    for position, payload in bytes_arrived.items():
        assert pattern(50000)[position : position + len(payload)] == payload


class Weather:
    """Draws what a network does to datagrams, and hands them over."""

    def __init__(self, data: st.DataObject, pair: Pair) -> None:
        self.data = data
        self.pair = pair

    def carry(self, datagrams: list[bytes]) -> None:
        order = self.data.draw(st.lists(st.integers(0, len(datagrams) - 1), max_size=2 * len(datagrams)), label="order")
        if self.data.draw(st.booleans(), label="mostly in order"):
            order.sort()
        trains = self.data.draw(st.booleans(), label="in trains")
        chosen = [datagrams[index] for index in order]
        while chosen:
            count = 1
            if trains:
                while count < len(chosen) and len(chosen[count]) == len(chosen[0]):
                    count += 1
            train, chosen = chosen[:count], chosen[count:]
            self.pair.b.handle_train(b"".join(train), len(train[0]) if count > 1 else 0, 0, ADDRESS_A, 1.0)


@families
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_network_does_every_delivered_byte_of_tcp_is_right(
    family: dict[str, str], data: st.DataObject
) -> None:
    pair = Pair()
    payload = pattern(data.draw(st.integers(2100, 12000), label="size"))
    frame = tcp_super(payload, mss=data.draw(st.sampled_from([300, 1288, 2000]), label="mss"), flags=0x99, **family)
    datagrams = pair.datagrams([frame])
    Weather(data, pair).carry(datagrams)
    seen = 0
    for segment in (s for buffer in pair.received() for s in segments(buffer)):
        position = (segment.sequence - 0xFFFFFF00) % 2**32
        assert payload[position : position + len(segment.payload)] == segment.payload
        last = position + len(segment.payload) == len(payload)
        assert segment.flags == 0x10 | (0x09 if last else 0) | (0 if position else 0x80)
        seen += len(segment.payload)
    assert seen <= len(payload), "a copy was delivered twice"


@families
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_network_does_udp_packets_arrive_whole_and_once(
    family: dict[str, str], data: st.DataObject
) -> None:
    pair = Pair()
    size = data.draw(st.integers(20, 700), label="size")
    frame = udp_super(pattern(data.draw(st.integers(1400, 12000), label="total")), size=size, **family)
    Weather(data, pair).carry(pair.datagrams([frame]))
    sent = [s.payload for s in segments(frame)]
    got = [s.payload for buffer in pair.received() for s in segments(buffer)]
    assert all(payload in sent for payload in got)
    assert len(got) == len(set(got))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_the_network_does_jumbo_frames_arrive_whole_or_not_at_all(data: st.DataObject) -> None:
    pair = Pair()
    frames = [plain_frame(size, fill=index) for index, size in enumerate((1500, 9000, 4000))]
    Weather(data, pair).carry(pair.datagrams(frames))
    got = pair.received()
    assert all(frame in frames for frame in got)
    assert len(got) == len(set(got))


@pytest.mark.parametrize("size", [1390, 1500, 9014, 65535])
def test_a_jumbo_frame_arrives_byte_for_byte(size: int) -> None:
    pair = Pair()
    frame = PLAIN + plain_frame(64)[10:24] + pattern(size - 14)
    pair.receive(reversed(pair.datagrams([frame])))
    assert pair.received() == [frame]


def test_a_super_frame_that_cannot_be_cut_goes_in_fragments() -> None:
    pair = Pair()
    frame = udp_super(pattern(9000), size=3000)
    pair.receive(pair.datagrams([frame]))
    assert pair.received() == [frame]


def test_a_jumbo_frame_that_lacks_a_part_is_given_up_and_counted() -> None:
    pair = Pair()
    datagrams = pair.datagrams([plain_frame(9000)])
    pair.receive(datagrams[:-1], now=1.0)
    assert pair.received(now=3.0) == []
    assert drops(pair.b) == {"incomplete": 1}


def test_fragments_of_many_frames_are_bounded() -> None:
    pair = Pair()
    frames = [plain_frame(9000, fill=index) for index in range(100)]
    pair.receive(pair.datagrams(frames)[index * 7] for index in range(100))
    assert drops(pair.b, now=1.0)["incomplete"] == 84
    assert drops(pair.b, now=5.0)["incomplete"] == 100


def test_peers_with_frames_in_the_making_are_bounded() -> None:
    pair = Pair()
    first = pair.datagrams([plain_frame(9000)])[0]
    pair.b._inbound._reassembling.update(Peer(handle, pair.b._hub.devices[DEVICE]) for handle in range(64))
    pair.receive([first])
    assert drops(pair.b, now=1.0) == {"queue-full": 1}


def test_udp_super_frames_are_cut_where_the_kernel_does_not_take_them() -> None:
    pair = Pair()
    pair.b.open_device(pair.open_b, "tap0", ("csum",), writes_uso=False)
    frame = udp_super(pattern(5000), size=100)
    pair.receive(pair.datagrams([frame]))
    got = pair.received()
    assert len(got) == 50
    assert [vars(segments(one)[0]) for one in got] == [vars(one) for one in segments(frame)]
