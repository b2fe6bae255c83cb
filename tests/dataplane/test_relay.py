"""The relay of a supernode: who may use it, and that what it sends is what came."""

import pytest
from tests.dataplane.frames import pattern
from tests.dataplane.pair import ADDRESS_A, ADDRESS_B, Pair, drain_events, drain_sends, drops

from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import (
    ControlDatagram,
    Counters,
    RelayMember,
    RemoveRelayMember,
    SetPath,
    Target,
    UnknownSender,
)
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import Kind, build_relay

A, B, STRANGER = 101, 102, 103
A_TO_B = Relay(B, A)
ELSEWHERE = Address("203.0.113.77", 4077)


@pytest.fixture
def supernode() -> Forwarder:
    forwarder = Forwarder(relay=True)
    forwarder.apply([RelayMember(A, 1, *ADDRESS_A), RelayMember(B, 1, *ADDRESS_B)], 0.0)
    return forwarder


def datagrams(count: int, relay: Relay = A_TO_B, size: int = 1300) -> list[bytes]:
    return [build_relay(relay, b"\x80" + pattern(size, seed)) for seed in range(count)]


def test_a_train_is_sent_on_unchanged_in_one_piece(supernode: Forwarder) -> None:
    train = b"".join([*datagrams(40), datagrams(1, size=500)[0]])
    supernode.handle_train(train, 1313, 0, ADDRESS_A, 1.0)
    (sent,) = drain_sends(supernode)
    assert (sent.buffers, sent.segment_bytes, sent.address) == ([train], 1313, ADDRESS_B)


@pytest.mark.parametrize("content", [b"\x84control", b"\x81handshake", b"\x00\x01stun", b"\x99anything"])
def test_anything_behind_the_prefix_is_relayed(supernode: Forwarder, content: bytes) -> None:
    supernode.handle_train(build_relay(Relay(B, A), content), 0, 0, ADDRESS_A, 1.0)
    (sent,) = drain_sends(supernode)
    assert sent.datagrams() == [build_relay(Relay(B, A), content)]


def test_a_train_for_several_is_split(supernode: Forwarder) -> None:
    supernode.apply([RelayMember(STRANGER, 1, *ELSEWHERE)], 0.0)
    to_b, to_c = datagrams(3), datagrams(2, Relay(STRANGER, A))
    supernode.handle_train(b"".join([*to_b, *to_c, to_b[0]]), 1313, 0, ADDRESS_A, 1.0)
    sent = [(train.address, train.datagrams()) for train in drain_sends(supernode)]
    assert sent == [(ADDRESS_B, to_b), (ELSEWHERE, to_c), (ADDRESS_B, to_b[:1])]


def test_control_among_a_train_still_comes_up(supernode: Forwarder) -> None:
    control = b"\x84" + pattern(1199)
    train = [datagrams(1, size=1187)[0], control, datagrams(1, size=1187)[0]]
    supernode.handle_train(b"".join(train), 1200, 0, ADDRESS_A, 1.0)
    assert [t.datagrams() for t in drain_sends(supernode)] == [train[:1], train[2:]]
    assert drain_events(supernode) == [ControlDatagram(control, *ADDRESS_A)]


def test_only_the_registered_address_may_speak_for_an_id(supernode: Forwarder) -> None:
    for source in (ADDRESS_B, ELSEWHERE, Address(ADDRESS_A.host, 1)):
        supernode.handle_train(datagrams(1)[0], 0, 0, source, 1.0)
    assert drain_sends(supernode) == []
    assert drain_events(supernode) == [
        UnknownSender(*source, 0) for source in (ADDRESS_B, ELSEWHERE, Address(ADDRESS_A.host, 1))
    ]
    assert drops(supernode) == {"relay-source": 3}


def test_members_of_other_communities_nobody_and_oneself_are_no_targets(supernode: Forwarder) -> None:
    supernode.apply([RelayMember(STRANGER, 2, *ELSEWHERE)], 0.0)
    for target in (STRANGER, 999, A):
        supernode.handle_train(b"".join(datagrams(2, Relay(target, A))), 1313, 0, ADDRESS_A, 1.0)
    assert drain_sends(supernode) == []
    assert drops(supernode) == {"relay-target": 6}


def test_a_member_that_moved_or_left_is_served_there_or_no_more(supernode: Forwarder) -> None:
    supernode.apply([RelayMember(B, 1, *ELSEWHERE)], 1.0)
    supernode.handle_train(datagrams(1)[0], 0, 0, ADDRESS_A, 1.0)
    assert [train.address for train in drain_sends(supernode)] == [ELSEWHERE]
    supernode.apply([RemoveRelayMember(B), RemoveRelayMember(B)], 2.0)
    supernode.handle_train(datagrams(1)[0], 0, 0, ADDRESS_A, 2.0)
    assert drops(supernode) == {"relay-target": 1}


def test_malformed_prefixes_are_counted(supernode: Forwarder) -> None:
    supernode.handle_train(b"\x90" + bytes(11), 0, 0, ADDRESS_A, 1.0)
    supernode.handle_train(b"\x90\x01" + datagrams(1)[0][2:], 0, 0, ADDRESS_A, 1.0)
    supernode.handle_train(b"\x90" * 15, 3, 0, ADDRESS_A, 1.0)
    assert drain_sends(supernode) == []
    assert drops(supernode) == {"short": 6, "header": 1}


def test_a_rate_is_kept_in_whole_datagrams(supernode: Forwarder) -> None:
    supernode.apply([RelayMember(A, 1, *ADDRESS_A, rate_bps=8_000_000)], 0.0)
    train = b"".join(datagrams(40))
    sent = 0
    for step in range(1000):
        supernode.handle_train(train, 1313, 0, ADDRESS_A, step / 100)
        for out in drain_sends(supernode):
            assert sum(map(len, out.buffers)) % 1313 == 0
            sent += sum(map(len, out.buffers))
    assert 10_000_000 * 0.99 < sent < 10_000_000 * 1.05
    assert drops(supernode)["rate"] == 40 * 1000 - sent // 1313


def test_bytes_are_counted_for_each_member(supernode: Forwarder) -> None:
    supernode.handle_train(b"".join(datagrams(10)), 1313, 0, ADDRESS_A, 1.0)
    supernode.handle_train(datagrams(1, Relay(A, B))[0], 0, 0, ADDRESS_B, 1.0)
    supernode.handle_timeout(5.0)
    (counters,) = [event for event in drain_events(supernode) if isinstance(event, Counters)]
    assert counters == Counters({}, 11, 11 * 1313, {A: 10 * 1313, B: 1313})


def test_two_nodes_talk_through_it(supernode: Forwarder) -> None:
    pair = Pair()
    relay = Address("198.51.100.9", 1971)
    pair.a.apply([SetPath(1, (Target(*relay, 0, (B, A)),))], 0.0)
    frames = [bytes(10) + pattern(1300, seed) for seed in range(1, 4)]
    frames = [frame[:10] + bytes.fromhex("020000000b02 020000000a01 88b5") + frame[24:] for frame in frames]
    pair.a.handle_frames(1, frames, 1.0)
    for train in drain_sends(pair.a):
        supernode.handle_train(b"".join(train.buffers), train.segment_bytes, 0, ADDRESS_A, 1.0)
    for train in drain_sends(supernode):
        assert train.address == ADDRESS_B
        pair.b.handle_train(train.buffers[0], train.segment_bytes, 0, relay, 1.0)
    assert pair.received() == frames


def test_a_node_takes_the_prefix_off_and_a_first_member_makes_a_supernode() -> None:
    node = Forwarder()
    node.handle_train(build_relay(Relay(7, 8), b"\x84abc"), 0, 0, ADDRESS_A, 1.0)
    assert drain_events(node) == [ControlDatagram(b"\x84abc", *ADDRESS_A, 0, (7, 8))]
    node.apply([RelayMember(7, 1, *ADDRESS_B), RelayMember(8, 1, *ADDRESS_A)], 1.0)
    node.handle_train(build_relay(Relay(7, 8), bytes([Kind.CONTROL])), 0, 0, ADDRESS_A, 1.0)
    assert [train.address for train in drain_sends(node)] == [ADDRESS_B]
