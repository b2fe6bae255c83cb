"""What strangers are answered, at what size and rate."""

import pytest
from tests.proto.visitors import World

from ntvl.proto.reception import AMPLIFICATION_MAX, OTHER_SOCKET, StunPlace
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.header import Kind
from ntvl.wire.service import build_key_request, parse_key_reply
from ntvl.wire.stun import CHANGE_REQUEST, Change, StunClass, build_binding_request, parse_stun

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
    request = bytearray(build_binding_request(b"transaction1") + b"\x00\x26\x00\x04\x00\x00\x00\x06")
    request[3] = 8
    [answer] = world.give(bytes(request), STRANGER)
    stun = parse_stun(answer)
    assert (stun.cls, stun.error_code, stun.unknown_attributes) == (StunClass.ERROR, 420, (0x26,))
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


OURS = "203.0.113.1"


def place(other_port: int = 1972, host: str | None = OURS) -> StunPlace:
    return StunPlace(1971, other_port, lambda address: host if not address.is_ipv6 else "2001:db8::1")


def ask(world: World, data: bytes, source: Address = STRANGER, socket: int = 0) -> list[Transmit]:
    before = len(world.strays)
    world.supernode.handle_datagram(data, Origin(source, socket), world.now)
    world.collect()
    return world.strays[before:]


@pytest.mark.parametrize("socket", [0, OTHER_SOCKET])
@pytest.mark.parametrize("change", [None, Change.NONE, Change.PORT])
def test_stun_answers_from_the_port_that_is_wanted_and_says_from_where(socket: int, change: Change | None) -> None:
    [sent] = ask(World(stun=place()), build_binding_request(b"transaction1", change=change), socket=socket)
    stun = parse_stun(sent.data)
    used = OTHER_SOCKET - socket if change else socket
    assert (sent.address, sent.socket) == (STRANGER, used)
    assert stun.origin == Address(OURS, 1971 + used)
    assert stun.other == Address(OURS, 1971 + OTHER_SOCKET - socket)
    assert stun.address == STRANGER


@pytest.mark.parametrize(
    ("other_port", "change"), [(0, Change.PORT), (1972, Change.ADDRESS), (1972, Change.PORT | Change.ADDRESS)]
)
def test_stun_refuses_to_answer_from_where_it_cannot(other_port: int, change: Change) -> None:
    [sent] = ask(World(stun=place(other_port)), build_binding_request(b"transaction1", change=change))
    stun = parse_stun(sent.data)
    assert (stun.error_code, stun.unknown_attributes) == (420, (CHANGE_REQUEST,))


def test_stun_answers_to_another_port_of_who_asks_and_to_no_other_host() -> None:
    [sent] = ask(World(stun=place()), build_binding_request(b"transaction1", response_port=777))
    assert sent.address == Address(STRANGER.host, 777)
    assert parse_stun(sent.data).address == STRANGER


def test_stun_without_a_second_port_names_none() -> None:
    [sent] = ask(World(stun=place(0)), build_binding_request(b"transaction1"))
    stun = parse_stun(sent.data)
    assert (stun.origin, stun.other) == (Address(OURS, 1971), None)


def test_stun_that_does_not_know_its_own_address_says_nothing_of_it() -> None:
    [sent] = ask(World(stun=place(host=None)), build_binding_request(b"transaction1"))
    stun = parse_stun(sent.data)
    assert (stun.origin, stun.other, stun.address) == (None, None, STRANGER)


@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8::7"])
@pytest.mark.parametrize("change", [None, Change.PORT])
def test_stun_says_no_more_than_the_question_allows(host: str, change: Change | None) -> None:
    request = build_binding_request(b"transaction1", change=change)
    [sent] = ask(World(stun=place()), request, Address(host, 4242))
    assert len(sent.data) <= AMPLIFICATION_MAX * len(request)
    assert parse_stun(sent.data).address == Address(host, 4242)


def test_the_second_port_answers_stun_alone() -> None:
    world = World(stun=place())
    assert ask(world, build_key_request(b"12345678"), socket=OTHER_SOCKET) == []
    assert ask(world, bytes((Kind.CONTROL, *bytes(40))), socket=OTHER_SOCKET) == []
    assert world.drops("type") == 2
