"""Paths through a TURN server, ours and the peer's."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.proto.alone import PASSWORD, RELAY, THERE, UFRAG, Alone

from ntvl.dataplane.interface import Target
from ntvl.proto.events import TurnPeersWanted
from ntvl.proto.far_ends import FarEnds
from ntvl.proto.path import PathState
from ntvl.proto.turn_paths import PEERS_MAX, TurnPaths
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Answer, Candidate, Offer
from ntvl.wire.stun import parse_stun

RELAYED = Address("203.0.113.50", 50000)
PEER = Address("198.51.100.7", 7000)
CARRIER = Address("127.70.1.2", 40001)


def turn_paths(relayed: Address | None = RELAYED) -> tuple[TurnPaths, list[TurnPeersWanted], FarEnds]:
    wanted: list[TurnPeersWanted] = []
    ends = FarEnds()
    paths = TurnPaths(wanted.append, ends)
    paths.handle_allocation(relayed)
    return paths, wanted, ends


def candidates(*hosts: str, kind: str = "srflx") -> tuple[Candidate, ...]:
    return tuple(Candidate(kind, host, 4000 + place) for place, host in enumerate(hosts))


# --- by itself ---


def test_carriers_are_wanted_for_addresses_on_the_internet_of_the_relays_family() -> None:
    paths, wanted, _ = turn_paths()
    paths.want(candidates("192.168.1.2", "10.0.0.1", "100.64.0.1", "2001:db8::1", "198.51.100.7", "198.51.100.7"))
    assert wanted == [TurnPeersWanted((Address("198.51.100.7", 4004), Address("198.51.100.7", 4005)))]


def test_a_private_server_may_relay_into_private_networks() -> None:
    paths, wanted, _ = turn_paths(Address("10.0.0.9", 50000))
    paths.want(candidates("192.168.1.2"))
    assert wanted == [TurnPeersWanted((Address("192.168.1.2", 4000),))]


def test_what_others_see_of_a_peer_comes_first_and_no_more_than_eight_are_wanted() -> None:
    paths, wanted, _ = turn_paths()
    hosts = [f"198.51.100.{last}" for last in range(20)]
    paths.want((*candidates(*hosts, kind="host"), Candidate("srflx", "203.0.113.7", 1)))
    assert wanted[0].peers[0] == Address("203.0.113.7", 1)
    assert len(wanted[0].peers) == PEERS_MAX


@pytest.mark.parametrize("relayed", [None, RELAYED])
def test_nothing_is_wanted_without_a_relay_or_without_anybody(relayed: Address | None) -> None:
    paths, wanted, _ = turn_paths(relayed)
    paths.want(() if relayed else candidates("198.51.100.7"))
    assert wanted == []


def test_a_carrier_is_one_until_it_is_closed_replaced_or_the_relay_is_lost() -> None:
    paths, _, ends = turn_paths()
    assert not ends.is_carrier(CARRIER)
    paths.handle_carrier(PEER, CARRIER)
    assert ends.is_carrier(CARRIER)
    assert not ends.is_carrier(CARRIER._replace(port=1))
    assert ends.unveil(Origin(CARRIER)) == Origin(PEER)
    paths.handle_carrier(PEER, CARRIER._replace(port=2))
    assert not ends.is_carrier(CARRIER)
    paths.handle_carrier(PEER, None)
    paths.handle_carrier(PEER, None)
    assert not ends.is_carrier(CARRIER._replace(port=2))
    paths.handle_carrier(PEER, CARRIER)
    assert paths.handle_allocation(None)
    assert not paths.handle_allocation(None)
    assert not ends.is_carrier(CARRIER)
    assert ends.unveil(Origin(CARRIER)) == Origin(CARRIER)


def test_a_candidate_is_reached_as_the_network_goes_and_by_its_carrier() -> None:
    paths, _, _ = turn_paths()
    paths.handle_carrier(PEER, CARRIER)
    aim = Candidate("srflx", *PEER)
    assert paths.ways(aim, 0) == [(Target(*PEER), "srflx"), (Target(*CARRIER), "turn")]
    assert paths.ways(aim, 5) == [(Target(*PEER, 5), "srflx")]
    assert paths.ways(Candidate("relay", *RELAYED), 0) == [(Target(*RELAYED), "turn")]


def test_a_path_is_by_turn_where_either_end_has_a_server_in_it() -> None:
    paths, _, ends = turn_paths()
    paths.handle_carrier(PEER, CARRIER)
    remote = (Candidate("relay", *RELAYED), Candidate("srflx", *PEER))
    assert [ends.kind(address, remote) for address in (CARRIER, RELAYED, PEER)] == ["turn", "turn", "prflx"]
    assert ends.kind(RELAYED._replace(port=1), remote) == "prflx"


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3) | st.none()),
        max_size=30,
    )
)
def test_whatever_is_told_each_carrier_leads_to_one_peer_and_back(steps: list[tuple[int, int | None]]) -> None:
    paths, _, ends = turn_paths()
    ports = itertools.count(40000)
    last: dict[Address, Address] = {}
    for host, carrier in steps:
        peer = Address(f"198.51.100.{host}", 1)
        found = None if carrier is None else Address(f"127.64.0.{carrier}", next(ports))
        paths.handle_carrier(peer, found)
        last.pop(peer, None)
        if found is not None:
            last[peer] = found
    for peer, carrier_address in last.items():
        assert ends.unveil(Origin(carrier_address)).address == peer
        assert paths.ways(Candidate("srflx", *peer), 0)[1][0] == Target(*carrier_address)
    assert len(last) <= 4


# --- with a pathfinder ---


def relayed_alone(*, controlling: bool = True) -> Alone:
    alone = Alone(controlling=controlling)
    turn = alone.turn
    turn.handle_allocation(RELAYED)
    alone.offer(100.0, PEER)
    turn.handle_carrier(PEER, CARRIER)
    return alone


def test_an_offer_has_its_candidates_permitted_and_an_answer_too() -> None:
    alone = relayed_alone()
    assert list(alone.context.events) == [TurnPeersWanted((PEER,))]
    alone = Alone()
    alone.turn.handle_allocation(RELAYED)
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 100.0)
    (offer,) = alone.messages(Offer)
    assert isinstance(offer, Offer)
    alone.pathfinder.negotiation.handle_answer(
        Answer(offer.attempt, UFRAG, PASSWORD, candidates("198.51.100.9")), 100.1
    )
    assert list(alone.context.events) == [TurnPeersWanted((Address("198.51.100.9", 4000),))]


def test_checks_go_by_the_network_and_by_the_carrier() -> None:
    alone = relayed_alone()
    alone.play(100.0, 101.1)
    assert {to for to, _ in alone.sent()} == {PEER, CARRIER}


def test_a_check_by_a_carrier_is_answered_there_and_names_the_address_that_the_server_sees() -> None:
    alone = relayed_alone()
    alone.sent()
    alone.check(100.1, CARRIER)
    (to, data), (asked, _) = alone.sent()
    assert (to, asked) == (CARRIER, CARRIER)
    assert parse_stun(data).address == PEER
    path = alone.pathfinder.paths.find(Target(*CARRIER))
    assert path is not None
    assert (path.kind, path.is_direct, path.word) == ("turn", False, "turn")


def test_a_check_from_any_other_loopback_address_makes_no_path() -> None:
    alone = relayed_alone()
    for other in (CARRIER._replace(port=1), Address("127.0.0.1", 40001), Address("127.70.1.3", 40001)):
        alone.check(100.1, other)
        assert alone.pathfinder.paths.find(Target(*other)) is None


@pytest.mark.parametrize("controlling", [True, False])
def test_the_supernode_relays_on_until_it_is_silent_and_then_the_turn_server_does(controlling: bool) -> None:
    alone = relayed_alone(controlling=controlling)
    alone.check(100.1, CARRIER)
    alone.answer_all(100.2, CARRIER)
    path = alone.pathfinder.paths.find(Target(*CARRIER))
    assert path is not None
    assert path.state is PathState.VALID
    assert alone.pathfinder.paths.targets() == (RELAY,)
    assert not alone.pathfinder.is_direct
    alone.pathfinder.handle_relay_silent(0)
    alone.pathfinder.settle(100.3)
    assert alone.pathfinder.paths.targets() == (Target(*CARRIER),)
    assert not alone.pathfinder.is_direct


def test_a_direct_path_is_preferred_to_one_by_turn() -> None:
    alone = relayed_alone()
    alone.check(100.1, CARRIER)
    alone.answer_all(100.2, CARRIER)
    alone.pathfinder.handle_relay_silent(0)
    alone.pathfinder.settle(100.3)
    alone.check(100.4, THERE)
    alone.answer_all(100.5, THERE)
    assert alone.pathfinder.paths.targets() == (Target(*THERE),)
    assert alone.pathfinder.is_direct


def test_a_path_to_the_peers_relayed_address_is_never_direct() -> None:
    alone = Alone()
    alone.offer_candidates(100.0, Candidate("relay", *RELAYED))
    alone.check(100.1, RELAYED)
    alone.answer_all(100.2, RELAYED)
    path = alone.pathfinder.paths.find(Target(*RELAYED))
    assert path is not None
    assert (path.state, path.word, path.technique) == (PathState.VALID, "turn", "turn")
    assert not alone.pathfinder.is_direct
    assert alone.pathfinder.paths.targets() == (RELAY,)


@pytest.mark.parametrize("controlling", [True, False])
def test_a_path_through_a_turn_server_that_falls_silent_is_asked_again_and_taken_again(controlling: bool) -> None:
    alone = relayed_alone(controlling=controlling)
    alone.check(100.1, CARRIER)
    alone.answer_all(100.2, CARRIER)
    alone.pathfinder.handle_relay_silent(0)
    alone.pathfinder.settle(100.3)
    alone.play(100.3, 120.0)
    path = alone.pathfinder.paths.find(Target(*CARRIER))
    assert path is not None
    assert path.state is PathState.DEAD
    alone.sent()
    alone.said.clear()
    for second in range(120, 132):
        alone.play(second, second + 1.0)
        alone.answer_all(second + 1.0, CARRIER)
    assert alone.pathfinder.paths.find(Target(*CARRIER)) is path
    assert path.state is PathState.VALID
    assert alone.pathfinder.paths.targets() == (Target(*CARRIER),)
