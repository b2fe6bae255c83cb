import random

import pytest
from tests.proto.peering import Net, joined
from tests.proto.scripted import COMMUNITY, WALL, World, member, settings

from ntvl.dataplane.interface import AddPeer, RemovePeer
from ntvl.errors import PeerError
from ntvl.identity.keys import derive_mac
from ntvl.proto.context import Context
from ntvl.proto.events import PeerGone, PeerSeen
from ntvl.proto.members import MEMBERS_MAX, Members
from ntvl.proto.membership import Membership
from ntvl.wire.control import Member

BOB, EVE = bytes(range(32)), bytes(range(1, 33))


def community() -> tuple[Context, Members]:
    chosen = settings(World())
    context = Context(random.Random(1).randbytes, lambda: WALL)
    membership = Membership(chosen.communities[0], chosen.key.public, chosen.name, lambda: WALL)
    return context, Members(context, membership)


def taken(context: Context) -> list[object]:
    """Takes commands and events, in this order."""
    found = [*context.commands, *context.events]
    context.commands.clear()
    context.events.clear()
    return found


def add(members: Members, told: Member, *vias: int, handle: int = 1) -> None:
    entry = members.add(handle, told.node, told.name, told.addresses)
    for via in vias:
        members.update(entry, told, via)


def test_a_new_member_is_told_to_the_data_plane_as_a_claim_and_to_the_person() -> None:
    context, members = community()
    add(members, member(BOB, 8, "bob", "10.77.0.2/16", "fd00::2/64"), 0, handle=5)
    command, event = taken(context)
    assert command == AddPeer(5, 0, (derive_mac(COMMUNITY.id, BOB),), ("10.77.0.2", "fd00::2"), certified=False)
    assert event == PeerSeen("lan", BOB, "bob")
    entry = members.find(BOB)
    assert entry is not None
    assert (entry.handle, entry.relay_ids, entry.peer) == (5, {0: 8}, None)
    assert (len(members), list(members)) == (1, [entry])
    assert members.find(EVE) is None


def test_a_relay_id_is_news_once() -> None:
    _, members = community()
    entry = members.add(1, BOB, "bob", ())
    assert members.update(entry, member(BOB, 8), 0)
    assert not members.update(entry, member(BOB, 8), 0)
    assert members.update(entry, member(BOB, 9), 0)
    assert members.update(entry, member(BOB, 8), 1)
    assert entry.relay_ids == {0: 9, 1: 8}


def test_another_name_or_address_replaces_the_claim() -> None:
    context, members = community()
    add(members, member(BOB, 8, "bob"), 0)
    taken(context)
    entry = members.find(BOB)
    assert entry is not None
    members.update(entry, member(BOB, 8, "bob", "10.77.0.9/16"), 0)
    (command,) = taken(context)
    assert isinstance(command, AddPeer)
    assert (command.peer, command.addresses, command.certified) == (1, ("10.77.0.9",), False)
    members.update(entry, member(BOB, 8, "bob", "10.77.0.9/16"), 1)
    assert taken(context) == []


def test_what_a_certificate_says_is_not_overruled_by_a_roster() -> None:
    net = joined()
    context, members = community()
    entry = members.add(1, net.right.key.public, "right", ("10.77.0.2/16",))
    entry.peer = net.left.peer
    taken(context)
    members.update(entry, member(net.right.key.public, 8, "impostor", "10.77.0.1/16"), 0)
    assert taken(context) == []
    assert entry.peer.name == "right"
    assert entry.peer.addresses[0] == "10.77.0.2/16"


def test_a_roster_tells_a_peer_that_is_not_proven_yet_its_new_name() -> None:
    net = Net()
    _, members = community()
    entry = members.add(1, net.right.key.public, "old", ())
    entry.peer = net.left.peer
    members.update(entry, member(net.right.key.public, 8, "new", "10.77.0.2/16"), 0)
    assert (entry.peer.name, entry.peer.addresses) == ("new", ("10.77.0.2/16",))


def test_a_member_that_left_is_forgotten_everywhere() -> None:
    context, members = community()
    add(members, member(BOB, 8), 0)
    taken(context)
    entry = members.find(BOB)
    assert entry is not None
    members.leave(entry, 0, 100.0)
    assert taken(context) == [RemovePeer(1), PeerGone("lan", BOB, "bob")]
    assert len(members) == 0


def test_a_member_stays_while_another_supernode_lists_it() -> None:
    context, members = community()
    add(members, member(BOB, 8), 0, 1)
    taken(context)
    entry = members.find(BOB)
    assert entry is not None
    members.leave(entry, 0, 100.0)
    assert (taken(context), entry.relay_ids) == ([], {1: 8})
    members.leave(entry, 1, 100.0)
    assert len(members) == 0


def test_a_member_that_we_talk_to_stays_though_every_supernode_forgot_it() -> None:
    net = joined()
    context, members = community()
    entry = members.add(1, net.right.key.public, "right", ())
    members.update(entry, member(net.right.key.public, 8), 0)
    entry.peer = net.left.peer
    members.leave(entry, 0, net.now)
    assert members.find(net.right.key.public) is entry
    assert net.left.path == "direct"
    net.right.peer.close(net.now)
    net.run(0.1)
    members.tidy(entry, net.now)
    assert len(members) == 0
    assert entry.peer is None
    assert RemovePeer(1) in context.commands


def test_tidying_leaves_those_alone_who_are_listed() -> None:
    context, members = community()
    add(members, member(BOB, 8), 0)
    taken(context)
    entry = members.find(BOB)
    assert entry is not None
    members.tidy(entry, 100.0)
    assert taken(context) == []


def test_a_full_roster_finds_whom_it_did_not_name() -> None:
    _, members = community()
    add(members, member(BOB, 8), 0, handle=1)
    add(members, member(EVE, 9), 0, 1, handle=2)
    members.begin_full(0)
    entry = members.find(BOB)
    assert entry is not None
    members.update(entry, member(BOB, 8), 0)
    assert members.end_full(0) == {EVE}
    assert members.end_full(0) == set()


def test_a_full_roster_of_one_supernode_says_nothing_about_members_of_another() -> None:
    _, members = community()
    add(members, member(BOB, 8), 1)
    members.begin_full(0)
    assert members.end_full(0) == set()
    assert members.end_full(1) == set()


def test_a_name_is_made_harmless_before_anybody_sees_it() -> None:
    context, members = community()
    add(members, member(BOB, 8, "bob\x1b[2J\n"), 0)
    entry = members.find(BOB)
    assert entry is not None
    assert entry.name == "bob[2J"
    assert [e.name for e in context.events if isinstance(e, PeerSeen)] == ["bob[2J"]
    assert sum(isinstance(c, AddPeer) for c in context.commands) == 1


def test_no_supernode_can_name_more_members_than_the_bound() -> None:
    _, members = community()
    for handle in range(MEMBERS_MAX):
        members.add(handle, handle.to_bytes(32), "x", ())
    with pytest.raises(PeerError, match="queue-full"):
        members.add(MEMBERS_MAX, BOB, "x", ())
    assert len(members) == MEMBERS_MAX
