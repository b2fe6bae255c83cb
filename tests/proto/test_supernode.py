"""The supernode as its nodes, strangers and enemies meet it, on virtual time."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proto.visitors import HOME, START, WORK, Guest, World

from ntvl.dataplane.interface import ControlDatagram, Counters, RelayMember, RemoveRelayMember, UnknownSender
from ntvl.errors import REASONS
from ntvl.identity.certificate import parse_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey, format_key
from ntvl.proto.supernode_events import (
    CommunityKnown,
    MemberJoined,
    MemberLeft,
    MemberMoved,
    Refusal,
    StoreFailed,
)
from ntvl.registry.base import Claim, StoreError
from ntvl.registry.memory import MemoryStore
from ntvl.registry.sqlite import SqliteStore
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import (
    Found,
    Keepalive,
    KeepaliveReply,
    Leave,
    Left,
    Lookup,
    Probe,
    Refused,
    Registered,
    Roster,
    RosterRequest,
    Unsupported,
)
from ntvl.wire.header import Kind
from ntvl.wire.service import build_key_request, parse_key_reply
from ntvl.wire.stun import StunClass, build_binding_request, parse_stun

STRANGER = Address("198.51.100.7", 4242)


def refused(guest: Guest, reason: str, **changes: object) -> Refused:
    answer = guest.register(**changes)
    assert isinstance(answer, Refused), answer
    assert answer.reason == reason
    assert answer.request == 7
    assert 0 < len(answer.detail) <= 256
    assert answer.server_time == guest.world.wall
    assert guest.world.told(Refusal)[-1].reason == reason
    return answer


# --- joining ---


def test_a_node_registers_and_learns_all_that_it_needs() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    answer = ann.register(subnet="10.77.0.0/16")
    assert isinstance(answer, Registered)
    assert answer.request == 7
    assert answer.community == HOME.id
    assert answer.relay_id > 0
    assert answer.address.startswith("10.77.")
    assert Address(answer.observed_host, answer.observed_port) == ann.address
    assert answer.server_time == world.wall
    assert answer.keepalive_s == 20.0
    assert world.relays == {answer.relay_id: RelayMember(answer.relay_id, 1, *ann.address)}
    assert world.told(CommunityKnown) == [CommunityKnown("home", format_key(HOME.id))]
    assert world.told(MemberJoined) == [
        MemberJoined("home", format_key(ann.key.public), "ann", answer.address, str(ann.address))
    ]
    assert ann.members == {ann.key.public: "ann"}
    assert ann.version == answer.roster_version


def test_everybody_hears_of_everybody() -> None:
    world = World()
    guests = [world.member(f"n{n}") for n in range(5)]
    world.run(1.0)
    everybody = {guest.key.public: guest.name for guest in guests}
    assert all(guest.members == everybody for guest in guests)


def test_a_lost_answer_costs_a_repeat_and_nothing_more() -> None:
    world = World()
    ann = world.member("ann")
    version = ann.version
    first, again = ann.register(), ann.register()
    assert first == again
    world.run(1.0)
    assert ann.version == version
    assert len(world.told(MemberJoined)) == 1


def test_a_new_certificate_with_the_leased_address_is_no_news_to_others() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    world.run(1.0)
    version = bob.version
    answer = ann.register()
    assert isinstance(answer, Registered)
    mac6 = parse_certificate(ann.certificate()).addresses
    ann.register(certificate=ann.certificate(addresses=(answer.address, *mac6)))
    world.run(1.0)
    assert bob.version == version
    found = bob.ask(Lookup(1, HOME.id, "name", "ann"), Found)
    assert answer.address in parse_certificate(found.certificate).addresses


def test_one_session_serves_all_communities_of_a_node() -> None:
    world = World()
    ann = world.member("ann")
    world.member("bob", WORK)
    answer = ann.register(certificate=ann.certificate(community=WORK))
    assert isinstance(answer, Registered)
    [reply] = ann.keepalive(HOME, WORK)
    assert isinstance(reply, KeepaliveReply)
    assert {community for community, _ in reply.versions} == {HOME.id, WORK.id}
    assert len({relay.community for relay in world.relays.values()}) == 2


def test_no_lease_where_none_is_wanted() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    answer = ann.register(lease="none")
    assert isinstance(answer, Registered)
    assert answer.address == ""


def test_the_roster_shows_leased_and_derived_addresses_alone() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    derived = parse_certificate(ann.certificate()).addresses[0]
    claimed = ("10.77.9.9/16", "2001:db8::1/64", derived)
    answer = ann.register(certificate=ann.certificate(addresses=claimed))
    assert isinstance(answer, Registered)
    [roster] = [m for m in ann.inbox if isinstance(m, Roster)]
    assert roster.joined[0].addresses == (answer.address, derived)


# --- refusals ---


def test_a_node_with_another_secret_is_told_so_in_words() -> None:
    world = World()
    world.member("ann")
    mallory = world.guest("mallory", Community.from_seed("home", b"another secret!!"))
    mallory.connect()
    answer = refused(mallory, "community-key")
    assert "'home' under another key: the secret differs, or somebody else uses the name" in answer.detail
    assert answer.community == mallory.community.id
    assert len(world.relays) == 1


def test_a_name_stays_the_first_keys_after_everybody_left_and_after_a_restart() -> None:
    world = World()
    ann = world.member("ann")
    ann.ask(Leave(1, HOME.id), Left)
    world.restart()
    mallory = world.guest("mallory", Community.from_seed("home", b"another secret!!"))
    mallory.connect()
    refused(mallory, "community-key")
    world.wall += 31 * 86400
    assert isinstance(mallory.register(), Registered)


def test_an_address_of_somebody_else_is_refused_with_his_name() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    ann.register(lease="static", address="10.77.0.5/16")
    bob = world.guest("bob")
    bob.connect()
    assert "'ann'" in refused(bob, "address-taken", lease="static", address="10.77.0.5/16").detail
    refused(bob, "address-outside", lease="static", address="10.99.0.5/16", subnet="10.77.0.0/16")
    refused(bob, "subnet-differs", subnet="10.99.0.0/16")


def test_a_clock_that_is_wrong_is_told_by_how_much() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    day = 86400
    early = ann.certificate(not_before=int(START) + day, not_after=int(START) + 9 * day)
    assert (
        "begins 24 hours after the supernode's time"
        in refused(ann, "certificate-not-yet-valid", certificate=early).detail
    )
    late = ann.certificate(not_before=int(START) - 9 * day, not_after=int(START) - 3 * day)
    assert "ended 3 days before the supernode's time" in refused(ann, "certificate-expired", certificate=late).detail


def test_times_beyond_all_reason_are_refused_like_others() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    refused(ann, "certificate-not-yet-valid", certificate=ann.certificate(not_before=2**63 - 1, not_after=2**63 - 1))
    refused(ann, "certificate-expired", certificate=ann.certificate(not_before=0, not_after=0))


def test_another_version_of_the_protocol_is_refused() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    refused(ann, "version", version=99)


def test_a_node_may_be_in_sixteen_communities() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    for number in range(16):
        world.run(60.0)
        ann.connect()
        ann.keepalive()
        community = Community.from_seed(f"c{number}", b"0123456789abcdef" + bytes((number,)))
        assert isinstance(ann.register(certificate=ann.certificate(community=community), lease="none"), Registered)
        for other in range(number):
            ann.register(
                certificate=ann.certificate(
                    community=Community.from_seed(f"c{other}", b"0123456789abcdef" + bytes((other,)))
                ),
                lease="none",
            )
    refused(ann, "queue-full")


def test_new_communities_of_one_network_come_at_a_rate() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    answers = [
        ann.register(
            certificate=ann.certificate(community=Community.from_seed(f"c{n}", b"0123456789abcdef" + bytes((n,))))
        )
        for n in range(12)
    ]
    assert [type(answer) for answer in answers] == [Registered] * 10 + [Refused] * 2
    assert isinstance(answers[-1], Refused)
    assert answers[-1].reason == "rate"
    world.member("bob")


# --- keepalives, roaming, expiry ---


def test_a_node_that_comes_by_stays_and_one_that_does_not_is_gone() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    for _ in range(8):
        world.run(20.0)
        assert isinstance(ann.keepalive()[0], KeepaliveReply)
    assert ann.members == {ann.key.public: "ann"}
    assert world.told(MemberLeft) == [MemberLeft("home", format_key(bob.key.public), "bob", "silent")]
    assert [type(command) for command in world.commands].count(RemoveRelayMember) == 1
    assert len(world.relays) == 1


def test_a_silent_node_is_gone_after_65_seconds_not_before() -> None:
    world = World()
    world.member("ann")
    world.run(64.9)
    assert world.status()["members"] == 1
    world.run(0.2)
    assert world.status()["members"] == 0


def test_a_keepalive_tells_versions_and_communities_that_are_unknown() -> None:
    world = World()
    ann = world.member("ann")
    [reply] = ann.keepalive(HOME, WORK)
    assert reply == KeepaliveReply(9, *ann.address, world.wall, ((HOME.id, ann.version),), (WORK.id,))


def test_a_sealed_message_from_a_new_address_moves_the_node() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    [relay_id] = [relay for relay, member in world.relays.items() if member.host == ann.address.host]
    ann.move(Address("198.51.100.99", 5000))
    [reply] = ann.keepalive()
    assert isinstance(reply, KeepaliveReply)
    assert (reply.observed_host, reply.observed_port) == ("198.51.100.99", 5000)
    assert world.relays[relay_id] == RelayMember(relay_id, 1, "198.51.100.99", 5000)
    assert world.told(MemberMoved) == [MemberMoved(format_key(ann.key.public), "ann", "198.51.100.99:5000")]
    bob.ask(Leave(1, HOME.id), Left)
    world.run(1.0)
    assert ann.members == {ann.key.public: "ann"}


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


# --- leaving, restarting ---


def test_leaving_is_at_once_and_the_address_stays_ones_own() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    before = ann.register()
    assert isinstance(before, Registered)
    assert ann.ask(Leave(5, HOME.id), Left) == Left(5, HOME.id)
    assert world.told(MemberLeft) == [MemberLeft("home", format_key(ann.key.public), "ann", "left")]
    world.run(1.0)
    assert bob.members == {bob.key.public: "bob"}
    assert ann.ask(Leave(6, HOME.id), Left) == Left(6, HOME.id)
    world.wall += 29 * 86400
    after = ann.register()
    assert isinstance(after, Registered)
    assert (after.address, after.relay_id) == (before.address, before.relay_id)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_restart_is_over_with_the_nodes_next_contact(kind: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db") if kind == "sqlite" else MemoryStore()
    world = World(store=store)
    guests = [world.member(f"n{n}") for n in range(3)]
    before = [guest.register() for guest in guests]
    world.restart()
    for guest in guests:
        assert guest.keepalive() == []
        assert guest.channel is not None
        assert guest.resets == [guest.channel.send_index]
        guest.connect()
        [reply] = guest.keepalive()
        assert isinstance(reply, KeepaliveReply)
        assert reply.unknown == (HOME.id,)
    after = [guest.register() for guest in guests]
    for old, new in zip(before, after, strict=True):
        assert isinstance(old, Registered)
        assert isinstance(new, Registered)
        assert (old.address, old.relay_id) == (new.address, new.relay_id)
    world.run(1.0)
    assert all(len(guest.members) == 3 for guest in guests)
    store.close()


def test_a_node_that_restarts_is_a_new_one_at_its_old_place() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    first = ann.register()
    ann.incarnation = b"another1"
    ann.version = 0
    ann.members.clear()
    ann.connect()
    [reply] = ann.keepalive()
    assert isinstance(reply, KeepaliveReply)
    assert reply.unknown == (HOME.id,)
    second = ann.register()
    assert isinstance(first, Registered)
    assert isinstance(second, Registered)
    assert (first.address, first.relay_id) == (second.address, second.relay_id)
    world.run(1.0)
    assert set(ann.members) == {ann.key.public, bob.key.public}


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
    refused(ann, "duplicate-node")
    ann.connect()
    refused(ann, "duplicate-node")
    assert ann.keepalive()[0] == told
    assert ann.ask(Leave(1, HOME.id), Left)
    assert {relay.host for relay in world.relays.values()} == {twin.address.host}
    bob = world.member("bob")
    world.run(1.0)
    assert bob.key.public in twin.members
    assert bob.key.public not in ann.members
    assert isinstance(twin.keepalive()[0], KeepaliveReply)


# --- questions ---


def test_a_member_finds_others_with_their_certificate() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    shown = parse_certificate(bob.certificate())
    for by, value in [
        ("name", "bob"),
        ("node", format_key(bob.key.public)),
        ("mac", shown.mac.hex(":")),
        ("address", shown.addresses[0].split("/")[0]),
    ]:
        found = ann.ask(Lookup(3, HOME.id, by, value), Found)
        assert (found.request, found.community) == (3, HOME.id)
        assert [member.node for member in found.members] == [bob.key.public]
        assert parse_certificate(found.certificate).node == bob.key.public
    assert ann.ask(Lookup(4, HOME.id, "name", "nobody"), Found) == Found(4, HOME.id)


def test_answers_fit_into_a_message_however_long_names_and_certificates_are() -> None:
    world = World()
    name = "n" * 63
    guests = [world.guest(name) for _ in range(9)]
    for guest in guests:
        guest.connect()
        groups = tuple(f"{letter}" * 60 for letter in "abcdefg")
        guest.register(certificate=guest.certificate(groups=groups))
    found = guests[0].ask(Lookup(3, HOME.id, "name", name), Found)
    assert 1 <= len(found.members) <= 8
    assert parse_certificate(found.certificate).node == found.members[0].node


def test_a_lost_roster_is_healed_by_asking() -> None:
    world = World()
    ann = world.member("ann")
    version = ann.version
    bobs = [world.member(f"bob{n}") for n in range(3)]
    world.run(1.0)
    ann.version, ann.members = version, {ann.key.public: "ann"}
    [reply] = ann.keepalive()
    assert isinstance(reply, KeepaliveReply)
    assert reply.versions[0][1] > version
    ann.say(RosterRequest(HOME.id, version))
    world.run(1.0)
    assert len(ann.members) == 1 + len(bobs)
    assert ann.version == reply.versions[0][1]
    ann.say(RosterRequest(HOME.id, ann.version))
    assert ann.inbox[-1] == Roster(HOME.id, ann.version, ann.version)


def test_a_message_of_a_later_version_is_answered() -> None:
    world = World()
    ann = world.member("ann")
    assert ann.channel is not None
    ann.give(ann.channel.seal(b"\x92\x11\x01"))
    assert ann.inbox[-1] == Unsupported(0x11)


def test_what_makes_no_sense_here_is_counted() -> None:
    world = World()
    ann = world.member("ann")
    assert ann.say(Probe(1)) == []
    assert world.drops("type") == 1
    assert ann.channel is not None
    ann.give(ann.channel.seal(b"\xff\xff"))
    assert world.drops("format") == 1
    assert ann.say(Unsupported(3)) == []


# --- enemies with a session ---


def test_somebody_elses_certificate_is_refused() -> None:
    world = World()
    ann = world.member("ann")
    mallory = world.guest("mallory")
    mallory.connect()
    refused(mallory, "certificate-key", certificate=ann.certificate())
    assert {relay.host for relay in world.relays.values()} == {ann.address.host}


def test_a_forged_certificate_is_refused() -> None:
    world = World()
    world.member("ann")
    mallory = world.guest("mallory")
    mallory.connect()
    good = mallory.certificate()
    forged = bytearray(good)
    forged[-1] ^= 1
    refused(mallory, "signature", certificate=bytes(forged))
    renamed = good.replace(b"mallory", b"marjory")
    refused(mallory, "signature", certificate=renamed)
    own = Community.from_seed("home", b"mallory's secret")
    transplanted = mallory.certificate(community=own).replace(own.id, HOME.id)
    refused(mallory, "signature", certificate=transplanted)
    for rubbish in (b"x", b"\x00" * 800, good[:-70]):
        answer = mallory.register(certificate=rubbish)
        assert isinstance(answer, Refused)
        assert answer.reason in ("short", "format", "version", "signature")
    assert len(world.relays) == 1


def test_a_registration_overheard_is_no_use_to_another() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    registration = ann.registration()
    sealed = ann.seal(registration)
    ann.give(sealed)
    assert world.give(sealed, STRANGER) == []
    assert world.drops("replay") == 1
    mallory = world.guest("mallory")
    mallory.connect()
    [answer] = mallory.say(registration)
    assert isinstance(answer, Refused)
    assert answer.reason == "certificate-key"
    assert {relay.host for relay in world.relays.values()} == {ann.address.host}


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


# --- strangers ---


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


def test_an_unknown_relay_sender_is_hinted_to_look_after_its_registration() -> None:
    world = World()
    ann = world.member("ann")
    host, port = ann.address
    world.supernode.handle_plane_event(UnknownSender(host, port, 0, 0, (1, 2)), world.now)
    world.supernode.handle_plane_event(UnknownSender(host, port, 5, 0, None), world.now)
    world.supernode.handle_plane_event(UnknownSender(host, port, 0, 0, None), world.now)
    world.collect()
    assert ann.resets == [0]


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


def test_refusals_do_not_flood_the_log() -> None:
    world = World()
    world.member("ann")
    before = len(world.events)
    for _ in range(3):
        mallory = world.guest("mallory", Community.from_seed("home", b"another secret!!"))
        mallory.connect()
        for _ in range(90):
            mallory.register()
    assert len(world.events) - before <= 50


# --- leases over time, failures, status ---


def test_leases_of_those_who_are_there_are_put_off() -> None:
    world = World(lease_s=7200.0)
    ann = world.member("ann")
    for _ in range(3 * 3600 // 20):
        world.run(20.0)
        if world.now % 100 < 20:
            ann.connect()
        ann.keepalive()
    lease = world.store.lease_of(HOME.id, ann.key.public)
    assert lease is not None
    assert lease.expires_at >= world.wall + 3600
    claim = world.store.claim_of_name("home")
    assert claim is not None
    assert claim.expires_at >= world.wall + 3600


def test_a_lease_counts_from_the_last_contact() -> None:
    world = World(lease_s=7200.0)
    ann = world.member("ann")
    for _ in range(90):
        world.run(20.0)
        if world.now % 100 < 20:
            ann.connect()
        ann.keepalive()
    last = world.wall
    world.run(100.0)
    lease = world.store.lease_of(HOME.id, ann.key.public)
    assert lease is not None
    assert last + 7200 <= lease.expires_at <= last + 7300


def test_what_expired_long_ago_is_forgotten() -> None:
    world = World(lease_s=600.0)
    bob = world.member("bob", WORK)
    world.run(1300.0)
    ann = world.member("ann")
    for _ in range(400):
        world.run(20.0)
        if world.now % 100 < 20:
            ann.connect()
        ann.keepalive()
    assert world.store.claim_of_name("work") is None
    assert world.store.lease_of(WORK.id, bob.key.public) is None
    assert world.store.lease_of(HOME.id, ann.key.public) is not None


class FailingStore(MemoryStore):
    failing = False

    def put_claim(self, claim: Claim, now: float) -> bool:
        if self.failing:
            raise StoreError("the disk is full.")
        return super().put_claim(claim, now)

    def extend(self, *args: object) -> None:
        if self.failing:
            raise StoreError("the disk is full.")


def test_a_store_that_fails_costs_the_request_and_is_reported() -> None:
    store = FailingStore()
    world = World(store=store)
    ann = world.member("ann")
    store.failing = True
    bob = world.guest("bob", WORK)
    bob.connect()
    assert bob.say(bob.registration()) == []
    assert world.told(StoreFailed) == [StoreFailed("the disk is full.")]
    assert isinstance(ann.keepalive()[0], KeepaliveReply)
    assert ann.ask(Leave(1, HOME.id), Left)
    assert len(world.told(StoreFailed)) == 2
    store.failing = False
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
