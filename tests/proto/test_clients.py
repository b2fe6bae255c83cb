"""Sessions: which one counts, how many there are, when they end."""

import pytest
from tests.proto.visitors import HOME, World

from ntvl.wire.address import Address
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Leave,
    Left,
    Refused,
    Registered,
)

STRANGER = Address("198.51.100.7", 4242)


def test_a_message_that_was_late_on_the_way_does_not_move_the_node_back() -> None:
    world = World()
    ann = world.member("ann")
    late = ann.seal(Keepalive(1, ann.incarnation, ((HOME.id, 0),)))
    ann.move(Address("198.51.100.99", 5000))
    ann.keepalive()
    world.give(late, Address("203.0.113.1", 1971))
    assert {relay.host for relay in world.relays.values()} == {"198.51.100.99"}


def test_a_replayed_message_does_not_move_the_node() -> None:
    world = World()
    ann = world.member("ann")
    message = ann.seal(Keepalive(1, ann.incarnation, ((HOME.id, 0),)))
    ann.give(message)
    assert world.give(message, STRANGER) == []
    assert world.drops("replay") == 1
    assert {relay.host for relay in world.relays.values()} == {ann.address.host}


def test_a_new_session_takes_over_where_it_is_used() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    ann.connect()
    ann.move(Address("198.51.100.99", 5000))
    ann.keepalive()
    assert "198.51.100.99" in {relay.host for relay in world.relays.values()}
    ann.previous = None
    bob.ask(Leave(1, HOME.id), Left)
    world.run(1.0)
    assert ann.members == {ann.key.public: "ann"}


def test_a_session_that_was_never_used_takes_nothing_over() -> None:
    world = World()
    ann = world.member("ann")
    initiation = ann.begin()
    assert len(world.give(initiation, STRANGER)) == 1
    bob = world.member("bob")
    world.run(1.0)
    assert bob.key.public in ann.members
    assert {relay.host for relay in world.relays.values()} == {ann.address.host, bob.address.host}


def test_sessions_end_after_three_minutes_and_the_node_is_told() -> None:
    world = World()
    ann = world.member("ann")
    for _ in range(8):
        world.run(20.0)
        ann.keepalive()
    world.run(20.0)
    assert ann.say(Keepalive(9, ann.incarnation, ())) == []
    assert ann.channel is not None
    assert ann.resets == [ann.channel.send_index]
    ann.connect()
    [reply] = ann.keepalive()
    assert isinstance(reply, KeepaliveReply)
    assert reply.unknown == ()


def test_a_client_keeps_few_sessions_and_never_loses_the_active_one() -> None:
    world = World()
    ann = world.member("ann")
    active = ann.channel
    for _ in range(6):
        ann.begin()
        assert ann.initiation is not None
        world.give(ann.initiation.datagram, STRANGER)
    assert world.status()["sessions"] == 4
    ann.channel = active
    assert isinstance(ann.keepalive()[0], KeepaliveReply)


def test_of_two_machines_with_one_key_the_later_one_wins_and_the_other_is_told() -> None:
    world = World()
    ann = world.member("ann")
    twin = world.guest("ann", key=ann.key)
    twin.connect()
    assert isinstance(twin.register(), Registered)
    assert {relay.host for relay in world.relays.values()} == {twin.address.host}
    [told] = ann.keepalive()
    assert isinstance(told, Refused)
    assert (told.request, told.community, told.reason) == (0, HOME.id, "duplicate-node")
    ann.refused("duplicate-node")
    ann.connect()
    ann.refused("duplicate-node")
    assert ann.keepalive()[0] == told
    assert ann.ask(Leave(1, HOME.id), Left)
    assert {relay.host for relay in world.relays.values()} == {twin.address.host}
    bob = world.member("bob")
    world.run(1.0)
    assert bob.key.public in twin.members
    assert bob.key.public not in ann.members
    assert isinstance(twin.keepalive()[0], KeepaliveReply)


def test_a_flood_of_true_handshakes_pushes_out_guests_and_no_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ntvl.proto.clients.GUESTS_MAX", 10)
    world = World()
    ann = world.member("ann")
    first = world.guest("first")
    first.connect()
    for _ in range(30):
        world.guest("mallory").connect()
    assert world.status()["sessions"] == 11
    assert isinstance(ann.keepalive()[0], KeepaliveReply)
    first.keepalive()
    assert len(first.resets) == 1


def test_one_key_cannot_begin_sessions_without_end() -> None:
    world = World()
    ann = world.guest("ann")
    answers = sum(len(world.give(ann.begin(), STRANGER)) for _ in range(50))
    assert answers == 10
    assert world.status()["sessions"] == 4
