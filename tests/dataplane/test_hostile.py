"""Datagrams that are wrong in every way: dropped, counted by reason, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.frames import MAC_A, MAC_B, pattern, plain_frame, tcp_super
from tests.dataplane.pair import ADDRESS_A, ADDRESS_B, DEVICE, KEY_AB, Pair, drain_events, drain_sends, drops

from ntvl.aead import new_aead
from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import ControlDatagram, Counters, UnknownSender
from ntvl.dataplane.reporter import CONTROL_QUEUE_MAX, UNKNOWN_PER_S
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import Kind, build_header, build_relay

LARGE = [plain_frame(1380, fill=index) for index in range(10)]


def seal(plain: bytes, number: int = 1000, index: int = 22) -> bytes:
    """Returns what a hostile member, who has a session, could send."""
    header = build_header(Kind.DATA, index, number)
    return header + new_aead("aes256gcm", KEY_AB).encrypt(header[4:], plain, None)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"\x70", "type"),
        (b"\x88abc", "type"),
        (b"\xff" * 100, "type"),
        (b"\x80", "short"),
        (b"\x80" + bytes(30), "short"),
        (b"\x80\x01" + bytes(40), "header"),
        (b"\x80" + bytes(31), "unknown-session"),
        (build_header(Kind.DATA, 22, 0) + bytes(16), "authentication"),
        (seal(b"")[:-1] + b"\x00", "authentication"),
        (seal(b"x", index=11), "reflected"),
        (b"\x90" + bytes(11), "short"),
        (b"\x90\x00\x01" + bytes(40), "header"),
        (b"\x90" + bytes(11) + b"\x88", "type"),
        (b"\x90" + bytes(11) + b"\x80", "short"),
        (b"\x84" * 1201, "long"),
        (seal(b""), "short"),
        (seal(b"\x00"), "type"),
        (seal(b"\x05" * 50), "type"),
        (seal(b"\x01" + bytes(23)), "runt"),
        (seal(b"\x02"), "short"),
        (seal(b"\x02" * 100), "header"),
        (seal(b"\x03" * 10), "short"),
        (seal(b"\x03" * 100), "header"),
        (seal(b"\x04\x01"), "short"),
        (seal(b"\x04\x00\x10" + bytes(16)), "runt"),
    ],
)
def test_each_is_dropped_for_its_reason(datagram: bytes, reason: str) -> None:
    for short in (False, True):
        pair = Pair()
        if short:
            assert pair.b.handle_datagram(datagram, 0, ADDRESS_A, 1.0) is None
        else:
            pair.receive([datagram])
        assert pair.received() == []
        assert drain_sends(pair.b) == []
        assert drops(pair.b) == {reason: 1}


def test_replayed_and_outdated_datagrams_are_dropped() -> None:
    pair = Pair()
    datagrams = [d for frame in LARGE for d in pair.datagrams([frame])]
    pair.receive(datagrams)
    pair.receive(datagrams)
    pair.b.handle_train(b"".join(datagrams), len(datagrams[0]), 0, ADDRESS_A, 1.0)
    pair.receive([seal(b"\x01" + LARGE[0], number=9000), datagrams[0]])
    assert len(pair.received()) == 11
    assert drops(pair.b) == {"replay": 20, "too-old": 1}


def test_a_forged_number_moves_no_window() -> None:
    pair = Pair()
    forged = bytearray(pair.datagrams([LARGE[0]])[0])
    forged[8:16] = b"\xff" * 8
    pair.receive([bytes(forged), *pair.datagrams([LARGE[1]])])
    assert pair.received() == [LARGE[1]]


def test_one_bad_datagram_in_a_train_costs_itself() -> None:
    pair = Pair()
    datagrams = pair.datagrams(LARGE)
    bad = bytearray(datagrams[4])
    bad[100] ^= 1
    datagrams[4] = bytes(bad)
    pair.b.handle_train(b"".join(datagrams), len(datagrams[0]), 0, ADDRESS_A, 1.0)
    assert pair.received() == LARGE[:4] + LARGE[5:]
    assert drops(pair.b) == {"authentication": 1}


def test_a_train_mixed_of_everything_is_taken_apart() -> None:
    pair = Pair()
    mine = pair.datagrams(LARGE[:5])
    size = len(mine[0])
    control, unknown = b"\x84" + pattern(99), b"\x80" + b"\x01" * (size - 1)
    train = [mine[0], unknown, mine[1], b"\x77" * size, mine[2], mine[3], build_relay(Relay(1, 2), mine[4])[:size]]
    pair.b.handle_train(b"".join(train) + control, size, 0, ADDRESS_A, 1.0)
    assert pair.received() == LARGE[:4]
    events = drain_events(pair.b)
    assert ControlDatagram(control, *ADDRESS_A) in events
    (counters,) = [event for event in events if isinstance(event, Counters)]
    assert counters.drops == {"header": 1, "type": 1, "authentication": 1}


def test_trains_through_a_relay_open_as_trains() -> None:
    pair = Pair()
    relayed = [build_relay(Relay(7, 8), datagram) for datagram in pair.datagrams(LARGE)]
    pair.b.handle_train(b"".join(relayed), len(relayed[0]), 0, ADDRESS_A, 1.0)
    assert pair.received() == LARGE


def test_unknown_senders_are_told_of_ten_times_a_second_at_most() -> None:
    pair = Pair()
    for index in range(100):
        pair.receive([b"\x80" + bytes(3) + (1000 + index).to_bytes(4, "big") + bytes(24)], now=1.0 + index / 1000)
    events = drain_events(pair.b)
    assert events == [UnknownSender(*ADDRESS_A, 1000 + index) for index in range(UNKNOWN_PER_S)]
    pair.receive([b"\x80" + bytes(3) + b"\0\0\x09\x99" + bytes(24)], now=2.5)
    assert len([e for e in drain_events(pair.b) if isinstance(e, UnknownSender)]) == 1
    assert drops(pair.b) == {"unknown-session": 101}


def test_control_datagrams_that_nobody_fetches_are_bounded() -> None:
    pair = Pair()
    for _ in range(100):
        pair.b.handle_train((b"\x84" + bytes(99)) * 100, 100, 0, ADDRESS_A, 1.0)
    assert len(drain_events(pair.b)) == CONTROL_QUEUE_MAX
    assert drops(pair.b) == {"queue-full": 10000 - CONTROL_QUEUE_MAX}


def test_a_relayed_path_is_not_taken_for_a_direct_one() -> None:
    node = Forwarder()
    node.handle_train(build_relay(Relay(5, 6), b"\x00\x01stun"), 0, 0, ADDRESS_B, 1.0)
    assert drain_events(node) == [ControlDatagram(b"\x00\x01stun", *ADDRESS_B, 0, (5, 6))]


def test_events_have_hosts_as_text_for_ipv6_too() -> None:
    node = Forwarder()
    node.handle_train(b"\x84", 0, 0, Address("2001:db8::1", 7), 1.0)
    assert drain_events(node) == [ControlDatagram(b"\x84", "2001:db8::1", 7)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 80))
def test_any_train_of_a_stranger_raises_nothing_and_reaches_no_tap(train: bytes, segment: int) -> None:
    pair = Pair()
    pair.b.handle_train(train, segment, 0, ADDRESS_A, 1.0)
    pair.b.handle_datagram(train, 0, ADDRESS_A, 1.0)
    assert pair.received() == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=200)
        | st.builds(
            lambda start, cut, tail: start[:cut] + tail,
            st.sampled_from(
                [
                    b"\x02\x00\x00\x00\x01" + tcp_super(pattern(900), mss=300),
                    b"\x01" + plain_frame(100),
                    b"\x04\x00\x4a" + plain_frame(64),
                    b"\x03\x00\x01" + bytes(4) + b"\0\0\0\x4a" + plain_frame(64),
                ]
            ),
            st.integers(0, 200),
            st.binary(max_size=100),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_plaintext_of_a_member_raises_nothing_and_claims_nobody_else(plains: list[bytes]) -> None:
    pair = Pair()
    sealed = [seal(plain, number) for number, plain in enumerate(plains)]
    pair.receive(sealed)
    for frame in pair.received():
        assert len(frame) >= 24
        assert frame[16:22] != MAC_B
        assert frame[16:22] == MAC_A or not frame[16] & 1
    assert pair.a.poll_send() is None
    pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=MAC_A)], 2.0)
    assert len(drain_sends(pair.b)) == 1
