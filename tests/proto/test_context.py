import random

from ntvl.dataplane.interface import Target
from ntvl.proto.context import Context
from ntvl.wire.address import Address, Relay, Transmit
from ntvl.wire.header import RELAY_HEADER_BYTES, Kind, parse_relay


def context() -> Context:
    return Context(random.Random(1).randbytes, lambda: 0.0)


def test_a_datagram_straight_to_somebody_goes_as_it_is() -> None:
    shared = context()
    shared.send(b"hello", Target("198.51.100.1", 4000, 3))
    assert list(shared.transmits) == [Transmit(b"hello", Address("198.51.100.1", 4000), 3)]


def test_a_datagram_by_a_relay_has_the_prefix_of_receiver_and_sender() -> None:
    shared = context()
    shared.send(b"hello", Target("203.0.113.1", 1971, 0, (7, 8)))
    transmit = shared.transmits.popleft()
    assert transmit.address == Address("203.0.113.1", 1971)
    assert transmit.data[0] == Kind.RELAY
    assert parse_relay(transmit.data) == Relay(target=7, source=8)
    assert transmit.data[RELAY_HEADER_BYTES:] == b"hello"


def test_drops_are_counted_by_reason() -> None:
    shared = context()
    for reason in ("replay", "replay", "short"):
        shared.count(reason)
    assert dict(shared.drops) == {"replay": 2, "short": 1}


def test_random_text_is_of_ice_characters_and_uses_all_of_them() -> None:
    shared = context()
    text = shared.random_text(5000)
    assert len(text) == 5000
    assert len(set(text)) == 64
    assert all(c.isascii() and (c.isalnum() or c in "+/") for c in text)
    assert shared.random_text(8) != shared.random_text(8)


def test_a_time_to_live_goes_with_the_datagram() -> None:
    shared = context()
    shared.send(b"opener", Target("198.51.100.1", 4000), ttl=2)
    assert list(shared.transmits) == [Transmit(b"opener", Address("198.51.100.1", 4000), 0, 2)]
