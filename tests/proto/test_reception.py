"""What strangers are answered, at what size and rate."""

import pytest
from tests.proto.visitors import World

from ntvl.wire.address import Address
from ntvl.wire.header import Kind
from ntvl.wire.service import build_key_request, parse_key_reply
from ntvl.wire.stun import StunClass, build_binding_request, parse_stun

STRANGER = Address("198.51.100.7", 4242)


@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8::7"])
def test_stun_tells_where_one_is_seen(host: str) -> None:
    world = World()
    [answer] = world.give(build_binding_request(b"transaction1"), Address(host, 4242))
    stun = parse_stun(answer)
    assert stun.cls == StunClass.SUCCESS
    assert stun.transaction == b"transaction1"
    assert stun.xor_mapped == Address(host, 4242)
    assert len(answer) <= 60


def test_stun_with_what_it_does_not_know_is_an_error_420() -> None:
    world = World()
    request = bytearray(build_binding_request(b"transaction1") + b"\x00\x03\x00\x04\x00\x00\x00\x06")
    request[3] = 8
    [answer] = world.give(bytes(request), STRANGER)
    stun = parse_stun(answer)
    assert (stun.cls, stun.error_code, stun.unknown_attributes) == (StunClass.ERROR, 420, (3,))
    assert len(answer) <= 3 * len(request)


def test_checks_answers_and_rubbish_get_no_stun_answer() -> None:
    world = World()
    check = build_binding_request(b"transaction1", username="a:b", password="c" * 22, priority=1, controlling=1)
    [answer] = world.give(build_binding_request(b"transaction1"), STRANGER)
    for data in (check, answer, b"\x00\x01", b"\x03" * 40):
        assert world.give(data, STRANGER) == []
    assert world.drops("integrity") == 1


def test_a_flood_of_stun_from_one_network_is_held_to_a_rate_and_others_are_served() -> None:
    world = World()
    request = build_binding_request(b"transaction1")
    answers = sum(len(world.give(request, Address("198.51.100.7", 1024 + n))) for n in range(1000))
    assert answers == 200
    assert len(world.give(request, Address("198.51.100.8", 1))) == 1


def test_the_key_is_told_to_who_asks_and_the_answer_is_no_longer_than_the_question() -> None:
    world = World()
    request = build_key_request(b"12345678")
    [reply] = world.give(request, STRANGER)
    assert parse_key_reply(reply) == (b"12345678", world.key.public)
    assert len(reply) <= len(request)
    assert world.give(request[:63], STRANGER) == []
    replies = sum(len(world.give(request, STRANGER)) for _ in range(100))
    assert replies < 25


def test_a_reset_is_shorter_than_what_it_answers_and_comes_at_a_rate() -> None:
    world = World()
    unknown = bytes((Kind.CONTROL, 0, 0, 0)) + (77).to_bytes(4, "big") + bytes(8 + 16)
    [reset] = world.give(unknown, STRANGER)
    assert reset == bytes((Kind.RESET, 0, 0, 0)) + (77).to_bytes(4, "big")
    assert sum(len(world.give(unknown, STRANGER)) for _ in range(100)) < 25
    spoofed = sum(len(world.give(unknown, Address(f"198.51.{n >> 8}.{n & 255}", 9))) for n in range(1000))
    assert spoofed <= 200
    assert world.drops("unknown-session") == 1101
    world.run(2.0)
    assert len(world.give(unknown, STRANGER)) == 1
