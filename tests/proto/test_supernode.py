"""The supernode as a whole: what comes in from whom, floods, enemies, status, a crowd."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proto.visitors import HOME, WORK, Guest, World

from ntvl.dataplane.interface import ControlDatagram, Counters, UnknownSender
from ntvl.errors import REASONS
from ntvl.identity.keys import NodeKey, format_key
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import (
    Found,
    KeepaliveReply,
    Leave,
    Left,
    Lookup,
    Refused,
    Registered,
    Roster,
    RosterRequest,
)
from ntvl.wire.header import Kind
from ntvl.wire.stun import build_binding_request

STRANGER = Address("198.51.100.7", 4242)


def test_a_member_of_one_community_learns_nothing_of_another() -> None:
    world = World()
    ann = world.member("ann")
    bob = world.member("bob", WORK)
    answer = bob.ask(Lookup(3, HOME.id, "name", "ann"), Refused)
    assert (answer.request, answer.reason) == (3, "not-a-member")
    assert bob.say(RosterRequest(HOME.id, 0)) == []
    assert bob.say(RosterRequest(bytes(32), 0)) == []
    assert bob.ask(Lookup(3, WORK.id, "name", "ann"), Found).members == ()
    assert bob.ask(Leave(1, HOME.id), Left)
    bob.keepalive(HOME, WORK)
    world.run(1.0)
    assert ann.key.public not in bob.members
    assert not any(ann.key.public in str(message).encode() for message in bob.inbox)
    assert not any(isinstance(m, Roster) and m.community == HOME.id for m in bob.inbox)
    assert world.status()["members"] == 2


def test_the_relay_is_told_apart_by_community() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob", WORK)
    numbers = {relay.host: relay.community for relay in world.relays.values()}
    assert numbers[ann.address.host] != numbers[bob.address.host]


def test_who_has_a_session_but_no_registration_may_do_nothing() -> None:
    world = World()
    ann = world.member("ann")
    mallory = world.guest("mallory")
    mallory.connect()
    assert mallory.ask(Lookup(1, HOME.id, "name", "ann"), Refused).reason == "not-a-member"
    assert mallory.say(RosterRequest(HOME.id)) == []
    mallory.keepalive()
    assert [relay.host for relay in world.relays.values()] == [ann.address.host]
    assert not any(isinstance(m, Roster) for m in mallory.inbox)


def test_a_node_that_asks_too_much_is_held_to_a_rate_and_others_are_not() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    answers = sum(len(ann.say(Lookup(1, HOME.id, "name", "bob"))) for _ in range(300))
    assert 90 <= answers <= 100
    assert world.drops("rate") >= 200
    assert len(bob.say(Lookup(1, HOME.id, "name", "ann"))) == 1
    world.run(5.0)
    assert len(ann.say(Lookup(1, HOME.id, "name", "bob"))) == 1


def test_a_peers_handshake_is_not_for_a_supernode() -> None:
    from ntvl.proto.handshake import Initiation

    world = World()
    key = NodeKey.generate(world.random.randbytes)
    initiation = Initiation(
        key, world.key.public, psk=HOME.psk, payload=b"", aes=True, index=1, random=world.random.randbytes
    )
    assert world.give(initiation.datagram, STRANGER) == []
    assert world.drops("type") == 1


def test_an_unknown_relay_sender_is_hinted_to_look_after_its_registration() -> None:
    world = World()
    ann = world.member("ann")
    host, port = ann.address
    world.supernode.handle_plane_event(UnknownSender(host, port, 0, 0, (1, 2)), world.now)
    world.supernode.handle_plane_event(UnknownSender(host, port, 5, 0, None), world.now)
    world.supernode.handle_plane_event(UnknownSender(host, port, 0, 0, None), world.now)
    world.collect()
    assert ann.resets == [0, 0]


def test_a_relayed_datagram_for_the_supernode_itself_is_dropped() -> None:
    world = World()
    world.supernode.handle_datagram(build_binding_request(bytes(12)), Origin(STRANGER, 0, Relay(1, 2)), world.now)
    world.collect()
    assert world.strays == []
    assert world.drops("relay-target") == 1


def test_the_engine_hands_datagrams_in_as_events_too() -> None:
    world = World()
    event = ControlDatagram(build_binding_request(b"transaction1"), *STRANGER)
    world.supernode.handle_plane_event(event, world.now)
    world.collect()
    assert len(world.strays) == 1


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=1300), st.sampled_from([b"", *(bytes((kind, 0, 0, 0)) for kind in Kind), b"\x00\x01\x00\x00"])
)
def test_any_bytes_cost_a_count_and_nothing_else(data: bytes, head: bytes) -> None:
    world = World()
    for answer in world.give(head + data, STRANGER):
        assert len(answer) <= 3 * len(head + data)
    assert set(world.status()["drops"]) <= set(REASONS)
    assert world.status()["members"] == 0


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=1156), min_size=1, max_size=5))
def test_any_bytes_under_a_session_cost_a_count_and_nothing_else(bodies: list[bytes]) -> None:
    world = World()
    ann, mallory = world.member("ann"), world.guest("mallory")
    mallory.connect()
    assert mallory.channel is not None
    for body in bodies:
        world.give(mallory.channel.seal(body), mallory.address)
    assert set(world.status()["drops"]) <= set(REASONS)
    assert len(ann.say(Lookup(1, HOME.id, "name", "ann"))) == 1


def test_registered_nodes_are_served_during_a_flood_of_handshakes() -> None:
    world = World(handshakes_per_s=20)
    ann = world.member("ann")
    answers = dict.fromkeys((Kind.RESPONSE, Kind.COOKIE), 0)
    for number in range(400):
        mallory = Guest(world, "mallory", HOME, address=Address(f"198.51.{number >> 8}.{number & 255}", 9))
        data = mallory.begin()
        del world.guests[mallory.address]
        for answer in world.give(data, mallory.address):
            assert len(answer) <= len(data)
            answers[Kind(answer[0])] += 1
        if number % 20 == 0:
            assert isinstance(ann.keepalive()[0], KeepaliveReply)
    assert answers[Kind.RESPONSE] <= 20
    assert answers[Kind.COOKIE] >= 380
    bob = world.guest("bob")
    bob.give(bob.begin())
    assert bob.channel is None
    assert bob.cookie is not None
    bob.connect()
    assert isinstance(bob.register(), Registered)


def test_status_says_who_is_there_and_what_was_dropped() -> None:
    world = World()
    ann = world.member("ann")
    [relay_id] = world.relays
    world.supernode.handle_plane_event(Counters({"relay-source": 3, "short": 1}, 5, 5000, {relay_id: 4000}), world.now)
    world.give(b"", STRANGER)
    world.run(3.0)
    status = world.status()
    assert status["key"] == format_key(world.key.public)
    assert (status["members"], status["sessions"]) == (1, 1)
    assert (status["relayed_packets"], status["relayed_bytes"]) == (5, 5000)
    assert status["drops"] == {"relay-source": 3, "short": 2}
    [community] = status["communities"]
    assert (community["name"], community["id"]) == ("home", format_key(HOME.id))
    [member] = community["members"]
    assert member["name"] == "ann"
    assert member["observed"] == str(ann.address)
    assert member["relayed_bytes"] == 4000
    assert member["silent_s"] == 3.0


def test_every_wakeup_has_a_reason_and_an_idle_supernode_has_none() -> None:
    world = World()
    assert world.supernode.poll_timeout() is None
    world.member("ann")
    seen = set()
    for _ in range(20):
        wakeup = world.supernode.poll_timeout()
        if wakeup is None:
            break
        seen.add(wakeup.reason)
        world.run(wakeup.at - world.now)
    assert {"member-expiry", "session-expiry"} <= seen
    world.run(8000.0)
    assert world.supernode.poll_timeout() is None
    assert world.status()["sessions"] == 0


def test_hundreds_join_within_a_second_and_all_know_all() -> None:
    world = World(handshakes_per_s=10_000)
    guests = []
    for number in range(300):
        guest = world.guest(f"n{number}")
        guest.connect()
        answer = guest.register()
        assert isinstance(answer, Registered)
        guests.append(guest)
        world.run(0.002)
    world.run(30.0)
    assert {len(guest.members) for guest in guests} == {300}
    assert {guest.version for guest in guests} == {guests[0].version}
    assert sum(guest.lost for guest in guests) == 0
    addresses = [lease.address for lease in world.store.leases(HOME.id)]
    assert len(set(addresses)) == 300
