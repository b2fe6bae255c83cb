"""Two forwarders back to back: who gets a frame, under which session, and what waits."""

import pytest
from tests.dataplane.frames import (
    IP6_A,
    IP6_B,
    IP6_C,
    IP_A,
    IP_B,
    IP_C,
    MAC_A,
    MAC_B,
    MAC_C,
    PLAIN,
    arp,
    icmpv6,
    pattern,
    plain_frame,
    segments,
    tcp_super,
    udp_packet,
)
from tests.dataplane.pair import (
    ADDRESS_A,
    ADDRESS_B,
    ADDRESS_S,
    DEVICE,
    KEY_AB,
    KEY_BA,
    PEER,
    Pair,
    drain_events,
    drain_sends,
    drops,
    open_forwarder,
)

from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    CloseDevice,
    ConfirmSession,
    DeviceClosed,
    DeviceOpened,
    InstallSession,
    OpenDevice,
    RemovePeer,
    RetireSession,
    SetPath,
    Target,
    Wanted,
)
from ntvl.dataplane.session import NUMBER_MAX
from ntvl.wire.header import HEADER, Kind

DIRECT = Target(*ADDRESS_B)
BROADCAST = b"\xff" * 6
PEER_C = 2


def three() -> Pair:
    """Returns a pair whose A knows a third member, C, too."""
    pair = Pair()
    pair.a.apply(
        [
            AddPeer(PEER_C, DEVICE, (MAC_C,), (IP_C, IP6_C), True),
            InstallSession(PEER_C, "chacha20poly1305", 32, 31, KEY_AB, KEY_BA, True),
            SetPath(PEER_C, (Target("203.0.113.3", 4003),)),
        ],
        now=0.0,
    )
    return pair


def receivers(pair: Pair, frame: bytes) -> list[str]:
    pair.a.handle_frames(DEVICE, [frame], 1.0)
    return sorted(train.address.host for train in drain_sends(pair.a))


# --- who gets it ---


def test_a_frame_goes_to_the_member_that_has_its_mac() -> None:
    pair = three()
    assert receivers(pair, plain_frame(target=MAC_B)) == ["203.0.113.2"]
    assert receivers(pair, plain_frame(target=MAC_C)) == ["203.0.113.3"]


@pytest.mark.parametrize("target", [BROADCAST, b"\x01\x00\x5e\x00\x00\xfb", b"\x33\x33\x00\x00\x00\x01", b"\x02" * 6])
def test_broadcast_multicast_and_unknown_go_to_every_member(target: bytes) -> None:
    assert receivers(three(), plain_frame(target=target)) == ["203.0.113.2", "203.0.113.3"]


def test_who_has_an_address_is_asked_of_the_member_that_claims_it() -> None:
    pair = three()
    assert receivers(pair, PLAIN + arp(1, IP_A, IP_C)) == ["203.0.113.3"]
    assert receivers(pair, PLAIN + arp(1, IP_A, "10.77.9.9")) == ["203.0.113.2", "203.0.113.3"]
    assert receivers(pair, PLAIN + arp(1, IP_A, IP_A)) == ["203.0.113.2", "203.0.113.3"]
    solicitation = bytearray(PLAIN + icmpv6(135, IP6_A, "ff02::1:ff00:c", IP6_C))
    solicitation[10:16] = bytes.fromhex("3333ff00000c")
    assert receivers(pair, bytes(solicitation)) == ["203.0.113.3"]


def test_a_frame_to_ourselves_or_to_nobody_goes_nowhere() -> None:
    pair = Pair()
    assert receivers(pair, plain_frame(target=MAC_A)) == []
    pair.a.apply([RemovePeer(PEER)], 1.0)
    assert receivers(pair, plain_frame(target=MAC_B)) == []
    assert drops(pair.a) == {"no-peer": 2}


def test_frames_of_impossible_size_are_counted() -> None:
    pair = Pair()
    pair.a.handle_frames(DEVICE, [PLAIN + bytes(13), bytes(70000)], 1.0)
    pair.a.handle_frames(99, [plain_frame()], 1.0)
    assert drops(pair.a) == {"runt": 1, "oversized": 1, "no-peer": 1}


def test_what_came_from_a_peer_goes_to_the_tap_only() -> None:
    pair = three()
    for index, target in enumerate((MAC_A, MAC_C, BROADCAST, b"\x02" * 6)):
        pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=target, fill=index)], 1.0)
        for train in drain_sends(pair.b):
            pair.a.handle_train(train.buffers[0], 0, 0, ADDRESS_B, 1.0)
    assert drain_sends(pair.a) == []


def test_a_mac_seen_behind_a_peer_is_learned_and_unlearned_when_it_comes_here() -> None:
    pair = three()
    behind = bytes.fromhex("0200deadbeef")
    pair.b.handle_frames(DEVICE, [plain_frame(source=behind, target=MAC_A)], 1.0)
    for train in drain_sends(pair.b):
        pair.a.handle_train(train.buffers[0], 0, 0, ADDRESS_B, 1.0)
    assert receivers(pair, plain_frame(target=behind)) == ["203.0.113.2"]
    receivers(pair, plain_frame(source=behind, target=MAC_B))
    assert receivers(pair, plain_frame(target=behind)) == ["203.0.113.2", "203.0.113.3"]


# --- what shares a datagram ---


def test_small_frames_that_are_there_together_share_datagrams_and_keep_their_order() -> None:
    pair = Pair()
    frames = [plain_frame(64 + index % 7, fill=index % 256) for index in range(100)]
    datagrams = pair.datagrams(frames)
    assert len(datagrams) < 10
    pair.receive(datagrams)
    assert pair.received() == frames


def test_neighbours_of_one_udp_flow_become_a_super_frame() -> None:
    pair = Pair()
    packets = [udp_packet(pattern(22, seed), number=seed) for seed in range(50)]
    other = plain_frame()
    datagrams = pair.datagrams([*packets[:25], other, *packets[25:]])
    pair.receive(datagrams)
    first, middle, last = pair.received()
    assert middle == other
    payloads = [s.payload for buffer in (first, last) for s in segments(buffer)]
    assert payloads == [pattern(22, seed) for seed in range(50)]


def test_a_single_frame_by_the_short_way_is_the_same_as_by_the_long_one() -> None:
    short, long = Pair(), Pair()
    frame = tcp_super(pattern(1))
    frame = bytes(10) + frame[10:]
    train = short.a.handle_frame(DEVICE, frame, 1.0)
    assert train is not None
    long.a.handle_frames(DEVICE, [frame], 1.0)
    assert [train] == drain_sends(long.a)
    assert short.b.handle_datagram(train.buffers[0], 0, ADDRESS_A, 1.0) == (DEVICE, frame)
    long.receive(train.buffers)
    assert long.received() == [frame]
    for left, right in ((short.a, long.a), (short.b, long.b)):
        left.handle_timeout(2.0)
        right.handle_timeout(2.0)
        assert drain_events(left) == drain_events(right)


@pytest.mark.parametrize("frame", [plain_frame(9000), plain_frame(target=BROADCAST), tcp_super(pattern(9000)), b""])
def test_what_the_short_way_does_not_do_goes_the_long_one(frame: bytes) -> None:
    short, long = three(), three()
    assert short.a.handle_frame(DEVICE, frame, 1.0) is None
    long.a.handle_frames(DEVICE, [frame], 1.0)
    trains = drain_sends(long.a)
    assert drain_sends(short.a) == trains
    for train in trains:
        for datagram in train.datagrams():
            written = short.b.handle_datagram(datagram, 0, ADDRESS_A, 1.0)
            assert written is None or written[1] == frame
    long.receive(datagram for train in trains for datagram in train.datagrams())
    assert drops(short.a) == drops(long.a)


# --- sessions ---


def test_an_unconfirmed_session_only_receives_until_something_opens_under_it() -> None:
    pair = Pair()
    pair.b.apply([InstallSession(PEER, "aes256gcm", 12, 23, KEY_AB, KEY_BA, False)], 1.0)
    pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=MAC_A)], 1.0)
    (train,) = drain_sends(pair.b)
    assert HEADER.unpack_from(train.buffers[0])[1] == 11, "still under the old session"
    pair.a.apply([InstallSession(PEER, "aes256gcm", 23, 12, KEY_BA, KEY_AB, True)], 1.0)
    pair.receive(pair.datagrams([plain_frame()]))
    assert pair.received() == [plain_frame()]
    pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=MAC_A)], 1.0)
    (train,) = drain_sends(pair.b)
    assert HEADER.unpack_from(train.buffers[0])[1] == 12


def test_a_session_may_be_confirmed_and_the_last_one_retired() -> None:
    pair = Pair()
    pair.b.apply([RetireSession(22), InstallSession(PEER, "aes256gcm", 12, 23, KEY_AB, KEY_BA, False)], 1.0)
    pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=MAC_A)], 1.0)
    assert drain_sends(pair.b) == []
    pair.b.apply([ConfirmSession(23)], 1.5)
    assert len(drain_sends(pair.b)) == 1
    pair.b.apply([RetireSession(23), RetireSession(23)], 2.0)
    pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=MAC_A)], 2.0)
    assert drain_sends(pair.b) == []
    assert drops(pair.b) == {"no-peer": 1, "no-path": 1}


def test_a_session_told_twice_goes_on_counting() -> None:
    pair = Pair()
    first = pair.datagrams([plain_frame()])[0]
    pair.a.apply([InstallSession(PEER, "aes256gcm", 22, 11, KEY_AB, KEY_BA, True)], 1.0)
    second = pair.datagrams([plain_frame()])[0]
    assert HEADER.unpack_from(second)[2] == HEADER.unpack_from(first)[2] + 1


def test_old_sessions_open_what_is_on_its_way_and_four_are_kept() -> None:
    pair = Pair()
    late = pair.datagrams([plain_frame()])
    for index in range(3):
        pair.b.apply([InstallSession(PEER, "aes256gcm", 50 + index, 60 + index, KEY_BA, KEY_AB, True)], 1.0)
    pair.receive(late)
    assert pair.received() == [plain_frame()]
    pair.b.apply([InstallSession(PEER, "aes256gcm", 70, 71, KEY_BA, KEY_AB, True)], 1.0)
    pair.receive(pair.datagrams([plain_frame()]))
    assert drops(pair.b) == {"unknown-session": 1}


def test_packet_numbers_are_not_used_beyond_their_end() -> None:
    pair = Pair()
    session, _ = pair.a._hub.sessions[11]
    session.number = NUMBER_MAX - 1
    assert len(pair.datagrams([plain_frame()])) == 1
    assert pair.datagrams([plain_frame()]) == []
    assert pair.a.handle_frame(DEVICE, plain_frame(), 1.0) is None
    assert drops(pair.a)["expired"] == 1


# --- what waits ---


def test_frames_wait_for_session_and_path_and_leave_in_order() -> None:
    forwarder = open_forwarder(MAC_A, MAC_B, (IP_B,))
    frames = [plain_frame(1300, fill=index) for index in range(5)]
    for frame in frames:
        forwarder.handle_frames(DEVICE, [frame], 1.0)
    assert drain_events(forwarder) == [Wanted(PEER)]
    forwarder.apply([InstallSession(PEER, "aes256gcm", 22, 11, KEY_AB, KEY_BA, True)], 1.5)
    assert drain_sends(forwarder) == []
    forwarder.apply([SetPath(PEER, (DIRECT,))], 2.0)
    pair = Pair()
    pair.receive(datagram for train in drain_sends(forwarder) for datagram in train.datagrams())
    assert pair.received() == frames


def test_wanted_is_said_once_a_second() -> None:
    forwarder = open_forwarder(MAC_A, MAC_B, (IP_B,))
    for tenth in range(30):
        forwarder.handle_frames(DEVICE, [plain_frame()], 1.0 + tenth / 10)
    assert drain_events(forwarder).count(Wanted(PEER)) == 3


def test_the_oldest_frames_give_way() -> None:
    forwarder = open_forwarder(MAC_A, MAC_B, (IP_B,))
    frames = [plain_frame(fill=index) for index in range(70)]
    forwarder.handle_frames(DEVICE, frames, 1.0)
    forwarder.apply([InstallSession(PEER, "aes256gcm", 22, 11, KEY_AB, KEY_BA, True), SetPath(PEER, (DIRECT,))], 1.0)
    pair = Pair()
    pair.receive(datagram for train in drain_sends(forwarder) for datagram in train.datagrams())
    assert pair.received() == frames[6:]
    assert drops(forwarder) == {"queue-full": 6}


def test_frames_do_not_wait_for_ever() -> None:
    forwarder = open_forwarder(MAC_A, MAC_B, (IP_B,))
    forwarder.handle_frames(DEVICE, [plain_frame()], 1.0)
    while (wakeup := forwarder.poll_timeout()) is not None:
        assert wakeup.at < 10.0
        forwarder.handle_timeout(wakeup.at)
    forwarder.apply([InstallSession(PEER, "aes256gcm", 22, 11, KEY_AB, KEY_BA, True), SetPath(PEER, (DIRECT,))], 10.0)
    assert drain_sends(forwarder) == []
    assert drops(forwarder) == {"no-path": 1}


def test_frames_that_waited_for_a_claim_are_not_given_to_whom_the_certificate_names() -> None:
    forwarder = open_forwarder(MAC_A, MAC_B, (IP_B,))
    forwarder.apply([AddPeer(PEER_C, DEVICE, (MAC_C,), (), False)], 0.0)
    forwarder.handle_frames(DEVICE, [plain_frame(target=MAC_C)], 1.0)
    forwarder.apply(
        [
            AddPeer(PEER_C, DEVICE, (b"\x02\x99\x99\x99\x99\x99",), (), True),
            InstallSession(PEER_C, "aes256gcm", 22, 11, KEY_AB, KEY_BA, True),
            SetPath(PEER_C, (DIRECT,)),
        ],
        1.0,
    )
    assert drain_sends(forwarder) == []


def test_frames_that_waited_for_a_claim_that_holds_are_sent() -> None:
    forwarder = open_forwarder(MAC_A, MAC_B, (IP_B,))
    forwarder.apply([AddPeer(PEER_C, DEVICE, (MAC_C,), (), False)], 0.0)
    forwarder.handle_frames(DEVICE, [plain_frame(target=MAC_C)], 1.0)
    forwarder.apply(
        [
            AddPeer(PEER_C, DEVICE, (MAC_C,), (IP_C,), True),
            InstallSession(PEER_C, "aes256gcm", 22, 11, KEY_AB, KEY_BA, True),
            SetPath(PEER_C, (DIRECT,)),
        ],
        1.0,
    )
    assert len(drain_sends(forwarder)) == 1


# --- ways ---


def test_in_doubt_every_datagram_goes_both_ways_and_arrives_once() -> None:
    pair = Pair()
    relay = Target(*ADDRESS_S, 0, (7, 5))
    pair.a.apply([SetPath(PEER, (DIRECT, relay))], 1.0)
    frame = tcp_super(pattern(9000))
    pair.a.handle_frames(DEVICE, [frame], 1.0)
    trains = drain_sends(pair.a)
    assert {train.address for train in trains} == {ADDRESS_B, ADDRESS_S}
    for train in trains:
        data = b"".join(train.buffers)
        if train.address == ADDRESS_S:
            assert all(d[:12] == bytes.fromhex("90000000 00000007 00000005") for d in train.datagrams())
            assert max(map(len, train.datagrams())) <= 1432 + 12
        pair.b.handle_train(data, train.segment_bytes, 0, ADDRESS_A if train.address == ADDRESS_B else ADDRESS_S, 1.0)
    assert pair.received() == [frame]
    assert drops(pair.b) == {"replay": 7}


def test_activity_tells_by_which_ways_datagrams_came() -> None:
    pair = Pair()
    datagrams = pair.datagrams([plain_frame(), plain_frame(1380), plain_frame(1380)])
    pair.b.handle_train(datagrams[0], 0, 0, ADDRESS_A, 1.0)
    prefix = bytes.fromhex("90000000 00000005 00000007")
    pair.b.handle_train(b"".join(prefix + d for d in datagrams[1:]), 12 + len(datagrams[1]), 0, ADDRESS_S, 2.0)
    pair.b.handle_timeout(2.0)
    (activity,) = [event for event in drain_events(pair.b) if isinstance(event, Activity)]
    assert (activity.peer, activity.rx_packets, activity.tx_packets, activity.last_tx) == (PEER, 3, 0, 0.0)
    assert activity.rx_bytes == sum(map(len, datagrams))
    assert [(p.target, p.last_rx, p.packets) for p in activity.paths] == [
        (Target(*ADDRESS_A), 1.0, 1),
        (Target(*ADDRESS_S, 0, (7, 5)), 2.0, 2),
    ]
    pair.a.handle_timeout(2.0)
    (activity,) = [event for event in drain_events(pair.a) if isinstance(event, Activity)]
    assert (activity.tx_packets, activity.session_packets, activity.last_tx) == (3, 3, 1.0)
    assert activity.tx_bytes == sum(map(len, datagrams))


def test_activity_comes_at_most_four_times_a_second() -> None:
    pair = Pair()
    count = 0
    for step in range(200):
        pair.receive(pair.datagrams([plain_frame()]), now=1.0 + step / 100)
        if (wakeup := pair.b.poll_timeout()) is not None and wakeup.at <= 1.0 + step / 100:
            pair.b.handle_timeout(1.0 + step / 100)
        count += sum(isinstance(event, Activity) for event in drain_events(pair.b))
    assert 7 <= count <= 9


# --- devices and peers that go ---


def test_commands_for_unknown_handles_are_counted_and_ignored() -> None:
    pair = Pair()
    pair.a.apply(
        [
            AddPeer(9, 99, (MAC_C,), (), True),
            RemovePeer(9),
            SetPath(9, ()),
            InstallSession(9, "aes256gcm", 1, 1, KEY_AB, KEY_BA, True),
            ConfirmSession(999),
            RetireSession(999),
        ],
        1.0,
    )
    assert drops(pair.a) == {"no-peer": 6}


def test_a_device_goes_with_all_that_belongs_to_it() -> None:
    pair = Pair()
    datagrams = pair.datagrams([plain_frame()])
    pair.b.apply([CloseDevice(DEVICE), CloseDevice(DEVICE)], 1.0)
    assert drain_events(pair.b) == [DeviceClosed(DEVICE, ""), DeviceClosed(DEVICE, "")]
    pair.receive(datagrams)
    assert pair.received() == []
    assert drops(pair.b)["unknown-session"] == 1
    pair.b.apply([OpenDevice(DEVICE, "again", MAC_B, 1360)], 1.0)
    opened = [event for event in drain_events(pair.b) if isinstance(event, DeviceOpened)]
    assert [event.name for event in opened] == ["again"]


def test_a_device_told_twice_keeps_its_peers() -> None:
    pair = Pair()
    pair.b.apply([OpenDevice(DEVICE, "tap0", MAC_B, 1360)], 1.0)
    pair.receive(pair.datagrams([plain_frame()]))
    assert pair.received() == [plain_frame()]


def test_a_peer_told_with_other_addresses_keeps_its_session() -> None:
    pair = Pair()
    pair.b.apply([AddPeer(PEER, DEVICE, (MAC_A,), ("10.77.0.99", IP6_B), True)], 1.0)
    pair.receive(pair.datagrams([plain_frame()]))
    assert pair.received() == [plain_frame()]


def test_a_claim_that_lost_is_heard_when_told_again() -> None:
    pair = Pair()
    pair.a.apply([AddPeer(8, DEVICE, (MAC_C,), (), False), AddPeer(9, DEVICE, (MAC_C,), (), False)], 0.0)
    pair.a.handle_frames(DEVICE, [plain_frame(target=MAC_C)], 1.0)
    assert drain_events(pair.a) == [Wanted(8)]
    pair.a.apply([RemovePeer(8), AddPeer(9, DEVICE, (MAC_C,), (), False)], 1.0)
    pair.a.handle_frames(DEVICE, [plain_frame(target=MAC_C)], 2.0)
    assert drain_events(pair.a) == [Wanted(9)]


def test_control_datagrams_come_up_as_they_are() -> None:
    pair = Pair()
    for kind in (Kind.INITIATION, Kind.CONTROL, Kind.RESET):
        pair.b.handle_train(bytes([kind]) + b"xyz", 0, 0, ADDRESS_A, 1.0)
    events = drain_events(pair.b)
    assert [(e.data, e.host, e.port) for e in events] == [  # type: ignore[union-attr]
        (bytes([kind]) + b"xyz", *ADDRESS_A) for kind in (Kind.INITIATION, Kind.CONTROL, Kind.RESET)
    ]
