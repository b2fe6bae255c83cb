"""What registered nodes are served: joining, coming by, moving, asking, leaving, and leases over time."""

from pathlib import Path

import pytest
from tests.proto.visitors import HOME, WORK, Guest, World

from ntvl.dataplane.interface import RelayMember, RemoveRelayMember
from ntvl.identity.certificate import parse_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import format_key
from ntvl.proto.supernode_events import (
    CommunityKnown,
    MemberJoined,
    MemberLeft,
    MemberMoved,
    StoreFailed,
)
from ntvl.registry.base import Claim, StoreError
from ntvl.registry.memory import MemoryStore
from ntvl.registry.sqlite import SqliteStore
from ntvl.wire.address import Address
from ntvl.wire.control import (
    Found,
    KeepaliveReply,
    Leave,
    Left,
    Lookup,
    Probe,
    PunchReply,
    PunchRequest,
    Registered,
    Roster,
    RosterRequest,
    Unsupported,
)


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


# --- leave for heavy punches ---


def move_behind(host: str, *guests: Guest) -> None:
    """Has guests come by from ports of one address, as they do behind a router that they share."""
    for port, guest in enumerate(guests, 5000):
        guest.move(Address(host, port))
        guest.keepalive()


def wait_s(asker: Guest, peer: Guest) -> float:
    return asker.ask(PunchRequest(3, HOME.id, peer.key.public), PunchReply).wait_s


def test_a_member_gets_leave_to_punch_and_its_request_is_named() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    assert ann.ask(PunchRequest(9, HOME.id, bob.key.public), PunchReply) == PunchReply(9, 0.0)


def test_two_pairs_behind_one_address_punch_one_after_the_other() -> None:
    world = World()
    ann, bob, cay, dan = (world.member(name) for name in ("ann", "bob", "cay", "dan"))
    move_behind("198.51.100.200", ann, cay)
    assert wait_s(ann, bob) == 0.0
    assert wait_s(cay, dan) == 5.0
    assert wait_s(dan, cay) == 5.0
    assert wait_s(dan, bob) == 5.0
    assert wait_s(bob, ann) == 0.0
    assert bob.say(PunchRequest(0, HOME.id, ann.key.public, done=True)) == []
    assert wait_s(cay, dan) == 0.0


def test_leave_that_is_not_given_back_ends_after_15_seconds() -> None:
    world = World()
    ann, bob, cay = (world.member(name) for name in ("ann", "bob", "cay"))
    assert wait_s(ann, bob) == 0.0
    world.run(14.0)
    assert wait_s(cay, bob) == pytest.approx(1.0)
    world.run(1.0)
    assert wait_s(cay, bob) == 0.0


def test_who_is_not_a_member_gets_no_leave() -> None:
    world = World()
    world.member("ann")
    stranger = world.guest("stranger")
    stranger.connect()
    before = world.drops("not-a-member")
    assert stranger.say(PunchRequest(3, HOME.id, bytes(32))) == []
    bob = world.member("bob")
    assert bob.say(PunchRequest(3, WORK.id, bytes(32))) == []
    assert world.drops("not-a-member") == before + 2


def test_a_peer_that_is_in_another_community_or_nowhere_takes_nobodys_address() -> None:
    world = World()
    ann, bob, cay = world.member("ann"), world.member("bob"), world.member("cay")
    elsewhere = world.member("elsewhere", WORK)
    assert wait_s(ann, elsewhere) == 0.0
    assert ann.ask(PunchRequest(3, HOME.id, bytes(32)), PunchReply).wait_s > 0.0, "its own address is taken by then"
    other = world.member("other", WORK)
    assert elsewhere.ask(PunchRequest(3, WORK.id, other.key.public), PunchReply).wait_s == 0.0
    assert wait_s(bob, cay) == 0.0


def test_nobody_gives_back_the_leave_of_others() -> None:
    world = World()
    ann, bob, eve = (world.member(name) for name in ("ann", "bob", "eve"))
    assert wait_s(ann, bob) == 0.0
    for peer in (ann, bob):
        assert eve.say(PunchRequest(0, HOME.id, peer.key.public, done=True)) == []
    assert wait_s(eve, bob) == 5.0


def claim(asker: Guest, peer: Guest, *hosts: str) -> float:
    return asker.ask(PunchRequest(3, HOME.id, peer.key.public, hosts=hosts), PunchReply).wait_s


def test_a_pair_that_is_seen_over_ipv6_waits_for_one_behind_the_address_that_it_names() -> None:
    world = World()
    ann, bob, cay, dan, eve, fay = (world.member(name) for name in ("ann", "bob", "cay", "dan", "eve", "fay"))
    move_behind("198.51.100.200", ann)
    move_behind("2001:db8:1::7", cay)
    assert claim(cay, dan, "198.51.100.200", "198.51.100.3") == 0.0
    assert wait_s(ann, bob) == 5.0
    assert cay.say(PunchRequest(0, HOME.id, dan.key.public, done=True)) == []
    assert claim(ann, bob, "198.51.100.200") == 0.0
    assert claim(cay, dan, "::ffff:198.51.100.200") == 5.0
    assert claim(cay, dan, "2001:db8::200", "127.0.0.1") == 0.0, "no heavy punch goes to such"
    move_behind("2001:db8:1::8", eve)
    assert claim(eve, fay) == 5.0, "two of one network over IPv6 have one router"


def test_a_name_in_place_of_an_address_is_dropped_and_counted() -> None:
    world = World()
    ann, bob = world.member("ann"), world.member("bob")
    before = world.drops("format")
    assert ann.say(PunchRequest(3, HOME.id, bob.key.public, hosts=("localhost",))) == []
    assert world.drops("format") == before + 1
