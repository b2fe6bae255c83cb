import random

from tests.proto.scripted import COMMUNITY, WALL, World, member, settings

from ntvl.dataplane.interface import Target
from ntvl.proto.context import Context
from ntvl.proto.events import PeerGone, PeerSeen
from ntvl.proto.leave import Leave
from ntvl.proto.membership import Membership
from ntvl.proto.roll import Roll
from ntvl.proto.sockets import Sockets
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.control import Roster

BOB, EVE = bytes(range(32)), bytes(range(1, 33))


def build() -> tuple[Context, Roll]:
    chosen = settings(World())
    context = Context(random.Random(1).randbytes, lambda: WALL)
    membership = Membership(chosen.communities[0], chosen.key.public, chosen.name, lambda: WALL)
    surroundings = Surroundings(
        chosen.key,
        aes=True,
        direct=True,
        tie_breaker=1,
        sockets=Sockets(context),
        candidates=tuple,
        leave=Leave(context, lambda community: None),
        refresh=lambda now: None,
        tell=context.events.append,
        url=str,
    )

    def relay_target(via: int, community: bytes, relay_id: int) -> Target | None:
        return Target("203.0.113.1", 1971, 0, (relay_id, 7)) if via == 0 else None

    return context, Roll(context, surroundings, [membership], relay_target=relay_target)


def listed(roll: Roll, *members: bytes, via: int = 0, left: tuple[bytes, ...] = (), since: int = 1) -> None:
    joined = tuple(member(key, 8 + place) for place, key in enumerate(members))
    roster = Roster(COMMUNITY.id, since, 2, joined, left)
    roll.handle_roster(via, COMMUNITY.id, roster, ourselves=EVE, now=100.0)


def test_a_member_is_found_by_handle_and_key_and_we_are_not_one() -> None:
    context, roll = build()
    listed(roll, BOB, EVE)
    found = roll.find_key("lan", BOB)
    assert found is not None
    assert found == roll.find(found[1].handle)
    assert roll.find_key("lan", EVE) is None
    assert roll.find_key("wan", BOB) is None
    assert [type(event) for event in context.events] == [PeerSeen]
    assert COMMUNITY.id in roll
    assert EVE not in roll


def test_a_peer_is_made_once_for_who_is_talked_to_and_has_the_relays_that_work() -> None:
    _, roll = build()
    listed(roll, BOB)
    listed(roll, BOB, via=1)
    found = roll.find_key("lan", BOB)
    assert found is not None
    handle = found[1].handle
    assert (roll.peers(), roll.find_peer(handle)) == ([], None)
    peer = roll.peer(*found, 100.0)
    assert roll.peer(*found, 101.0) is peer
    assert roll.peers() == [peer]
    assert roll.find_peer(handle) is peer
    assert roll.find_ufrag(peer.pathfinder.checks.ufrag) is peer
    assert [path.via for path in peer.pathfinder.paths.relays()] == [0]
    assert roll.find_session(5) is None


def test_who_left_is_forgotten_with_everything_that_leads_to_him() -> None:
    context, roll = build()
    listed(roll, BOB)
    found = roll.find_key("lan", BOB)
    assert found is not None
    ufrag = roll.peer(*found, 100.0).pathfinder.checks.ufrag
    listed(roll, left=(BOB,))
    assert roll.find(found[1].handle) is None
    assert roll.find_ufrag(ufrag) is None
    assert isinstance(context.events[-1], PeerGone)


def test_a_full_roster_ends_who_is_not_on_it() -> None:
    _, roll = build()
    listed(roll, BOB)
    listed(roll, since=0)
    roll.handle_roster_end(0, COMMUNITY.id, 100.0)
    assert roll.find_key("lan", BOB) is None
