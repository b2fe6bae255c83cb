"""The bulk lane does what the ordinary way does, bit for bit, or leaves it to that."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.frames import (
    IP6_A,
    IP6_B,
    IP_A,
    IP_B,
    IP_C,
    MAC_C,
    pattern,
    plain_frame,
    segments,
    tcp_super,
    udp_packet,
    udp_super,
)
from tests.dataplane.pair import ADDRESS_A, ADDRESS_S, DEVICE, PEER, Pair, drain_events, drain_sends, drops

from ntvl.dataplane.forwarder import Forwarder, Train
from ntvl.dataplane.interface import AddPeer, SetPath, Target
from ntvl.dataplane.slots import FrameSlots
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import build_relay

V4 = {"source": IP_A, "target": IP_B}
V6 = {"source": IP6_A, "target": IP6_B}


def read_into(slots: FrameSlots, frame: bytes) -> int:
    """Does what `readv` does."""
    position = 0
    for view in slots.views:
        part = frame[position : position + len(view)]
        view[: len(part)] = part
        position += len(part)
    assert position == len(frame)
    return len(frame)


def seal(forwarder: Forwarder, frame: bytes, slots: FrameSlots | None = None) -> Train | None:
    slots = slots or forwarder.lane.find_slots(frame)
    assert slots is not None
    train = forwarder.lane.seal_slots(DEVICE, slots, read_into(slots, frame), 1.0)
    return None if train is None else train._replace(buffers=[bytes(part) for part in train.buffers])


def receive(forwarder: Forwarder, train: bytes, segment_bytes: int, source: Address = ADDRESS_A) -> bool:
    forwarder.lane.buffer[: len(train)] = train
    return forwarder.lane.open_train(len(train), segment_bytes, 0, source, 1.0)


def written(forwarder: Forwarder) -> list[bytes]:
    return [b"".join(buffers) for _, buffers in iter(forwarder.poll_write, None)]


@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("relay", [None, (7, 5)], ids=["direct", "relayed"])
@pytest.mark.parametrize("first", [0, 250, 65530, 2**32 - 20])
def test_trains_are_those_of_the_ordinary_way(
    family: dict[str, str], relay: tuple[int, int] | None, first: int
) -> None:
    lane, ordinary = Pair(), Pair()
    mss = 1308 if family is V4 else 1288
    sizes = [2 * mss, 2 * mss + 1, 30000, 45 * mss] * 2
    frames = [tcp_super(pattern(size, size), mss=mss, **family) for size in sizes]
    for pair in (lane, ordinary):
        pair.a.apply([SetPath(PEER, (Target(*ADDRESS_S, 0, relay),))], 0.0)
        session, _ = pair.a._hub.sessions[11]
        session.number = first
    for frame in frames:
        train = seal(lane.a, frame)
        assert train is not None
        ordinary.a.handle_frames(DEVICE, [frame], 1.0)
        (expected,) = drain_sends(ordinary.a)
        assert train._replace(buffers=[]) == expected._replace(buffers=[])
        assert train.datagrams() == expected.datagrams()
    for pair in (lane, ordinary):
        pair.a.handle_timeout(2.0)
    assert drain_events(lane.a) == drain_events(ordinary.a)


@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "relayed"])
@pytest.mark.parametrize("size", [7 * 1308, 30000, 58860])
def test_a_super_frame_arrives_byte_for_byte_and_is_accounted_for(
    family: dict[str, str], relayed: bool, size: int
) -> None:
    lane, ordinary = Pair(), Pair()
    frame = tcp_super(pattern(size), mss=1308 if family is V4 else 1288, **family)
    datagrams = lane.datagrams([frame])
    if relayed:
        datagrams = [build_relay(Relay(5, 7), datagram) for datagram in datagrams]
    train, segment_bytes = b"".join(datagrams), len(datagrams[0])
    for _ in range(2):
        assert receive(lane.b, train, segment_bytes) is not (_ == 1), "seen before: left to the ordinary way"
    ordinary.b.handle_train(train, segment_bytes, 0, ADDRESS_A, 1.0)
    assert written(lane.b) == written(ordinary.b) == [frame]
    for pair in (lane, ordinary):
        pair.b.handle_timeout(2.0)
    assert drain_events(lane.b) == drain_events(ordinary.b)


def test_a_transfer_goes_on_and_on() -> None:
    pair = Pair()
    slots = pair.a.lane.find_slots(tcp_super(pattern(58860)))
    for size in (58860, 40000, 58860, 9000, 58859) * 3:
        frame = tcp_super(pattern(size, size))
        train = seal(pair.a, frame, slots)
        assert train is not None
        assert receive(pair.b, b"".join(train.buffers), train.segment_bytes)
        assert written(pair.b) == [frame]


@pytest.mark.parametrize(
    "frame",
    [
        tcp_super(pattern(30000), mss=500),
        tcp_super(pattern(30000), options=b""),
        tcp_super(pattern(30000), mss=1288, **V6),
        udp_super(pattern(30000), size=1000),
        tcp_super(pattern(64000)),
        tcp_super(pattern(30000), target_mac=b"\xff" * 6),
        tcp_super(pattern(30000), source_mac=MAC_C),
        tcp_super(pattern(30000)) + b"x",
        plain_frame(20000),
        plain_frame(60),
        plain_frame(14),
    ],
    ids=[
        "other segments",
        "other headers",
        "other family",
        "UDP",
        "more than a train",
        "broadcast",
        "from behind us",
        "longer than it says",
        "no super-frame",
        "small",
        "tiny",
    ],
)
def test_what_does_not_fit_the_slots_comes_out_whole(frame: bytes) -> None:
    pair = Pair()
    slots = pair.a.lane.find_slots(tcp_super(pattern(58860)))
    assert slots is not None
    assert seal(pair.a, frame, slots) is None
    assert slots.frame(len(frame)) == frame


@pytest.mark.parametrize(
    "frame", [plain_frame(), plain_frame(9000), udp_packet(b"x"), udp_super(pattern(9000), size=3000), b"", bytes(60)]
)
def test_slots_are_for_super_frames_only(frame: bytes) -> None:
    assert Forwarder().lane.find_slots(frame) is None


def test_shapes_are_bounded() -> None:
    lane = Forwarder().lane
    for mss in range(600, 660):
        assert lane.find_slots(tcp_super(pattern(30000), mss=mss)) is not None
    assert len(lane._frames) == 16


def test_two_paths_no_path_and_no_session_are_for_the_ordinary_way() -> None:
    frame = tcp_super(pattern(30000))
    for targets in ((), (Target(*ADDRESS_A), Target(*ADDRESS_S))):
        pair = Pair()
        pair.a.apply([SetPath(PEER, targets)], 0.0)
        assert seal(pair.a, frame) is None
    pair = Pair()
    pair.a._hub.sessions[11][0].confirmed = False
    pair.a._hub.peers[PEER].choose_sender()
    assert seal(pair.a, frame) is None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_train_that_is_not_perfect_is_left_to_the_ordinary_way(data: st.DataObject) -> None:
    lane, ordinary = Pair(), Pair()
    frames = [tcp_super(pattern(20000)), tcp_super(pattern(13080)), udp_super(pattern(20000), size=300)]
    frame = frames[data.draw(st.integers(0, 2))]
    datagrams = lane.datagrams([frame])
    change = data.draw(st.sampled_from(["nothing", "swap", "drop", "twice", "flip", "half before", "cut", "stranger"]))
    victim = data.draw(st.integers(0, len(datagrams) - 2))
    segment_bytes = len(datagrams[0])
    before: list[bytes] = []
    if change == "swap":
        datagrams[0], datagrams[victim] = datagrams[victim], datagrams[0]
    elif change == "drop":
        del datagrams[victim]
    elif change == "twice":
        datagrams.insert(victim, datagrams[victim])
    elif change == "flip":
        broken = bytearray(datagrams[victim])
        broken[data.draw(st.integers(0, segment_bytes - 1))] ^= 1
        datagrams[victim] = bytes(broken)
    elif change == "half before":
        before, datagrams = datagrams[: victim + 1], datagrams[victim + 1 :]
    elif change == "cut":
        datagrams[-1] = datagrams[-1][: data.draw(st.integers(1, 40))]
    elif change == "stranger":
        datagrams[victim] = b"\x84" + datagrams[victim][1:]
    for pair in (lane, ordinary):
        pair.receive(before)
    train = b"".join(datagrams)
    if not receive(lane.b, train, segment_bytes):
        lane.b.handle_train(train, segment_bytes, 0, ADDRESS_A, 1.0)
    ordinary.b.handle_train(train, segment_bytes, 0, ADDRESS_A, 1.0)
    for pair in (lane, ordinary):
        pair.b.handle_timeout(1.1)
    assert written(lane.b) == written(ordinary.b)
    assert drops(lane.b) == drops(ordinary.b)


def test_a_train_of_other_things_arrives_too() -> None:
    pair = Pair()
    frames = [plain_frame(1380, fill=index) for index in range(20)]
    datagrams = pair.datagrams(frames)
    assert receive(pair.b, b"".join(datagrams), len(datagrams[0]))
    assert written(pair.b) == frames


def test_a_super_frame_that_claims_another_is_dropped() -> None:
    pair = Pair()
    pair.b.apply([AddPeer(2, DEVICE, (MAC_C,), (IP_C,), True)], 0.0)
    for now, frame, reason in (
        (10.0, tcp_super(pattern(20000), source=IP_C), "address-claimed"),
        (20.0, tcp_super(pattern(20000), source_mac=MAC_C), "mac-claimed"),
    ):
        datagrams = pair.datagrams([frame])
        assert receive(pair.b, b"".join(datagrams), len(datagrams[0]))
        assert written(pair.b) == []
        assert reason in drops(pair.b, now)


def test_udp_is_cut_for_a_kernel_that_does_not_take_it() -> None:
    pair = Pair()
    pair.b.open_device(pair.open_b, "tap0", (), writes_uso=False)
    frame = udp_super(pattern(20000), size=500)
    train = seal(pair.a, frame)
    assert train is not None
    assert receive(pair.b, b"".join(train.buffers), train.segment_bytes)
    assert [segments(one)[0].payload for one in written(pair.b)] == [s.payload for s in segments(frame)]


@pytest.mark.parametrize("missing", ["encrypt_into", "decrypt_into"])
def test_an_older_library_goes_the_ordinary_way(missing: str) -> None:
    pair = Pair()
    for forwarder in (pair.a, pair.b):
        for session, _ in forwarder._hub.sessions.values():
            setattr(session, missing, None)
    frame = tcp_super(pattern(20000))
    datagrams = pair.datagrams([frame])
    if missing == "encrypt_into":
        assert seal(pair.a, frame) is None
    else:
        assert not receive(pair.b, b"".join(datagrams), len(datagrams[0]))
