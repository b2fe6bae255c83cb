"""Direct TCP in an attempt, the runtime and the peer being the test."""

from typing import Any

import pytest
from tests.proto.alone import PASSWORD, RELAY, THERE, UFRAG, Alone

from ntvl.dataplane.interface import Target
from ntvl.proto.events import DialPortWanted, DialUnwanted, DialWanted, StreamUnwanted
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import UNKNOWN_NAT, Answer, Candidate, Dial, Nat, Offer

SEEN = Address("203.0.113.9", 52000)
FAR = Address("198.51.100.9", 61000)
CARRIER = Address("127.64.0.1", 40000)
COUNTING = Nat("address-and-port-dependent", "address-and-port-dependent", "sequential", 1)


class Dialled(Alone):
    """Is a pathfinder whose peer says that it has no UDP."""

    def __init__(self, *, udp: bool = False, nat: Nat = UNKNOWN_NAT, **options: Any) -> None:
        super().__init__(**options)
        self.surroundings.stream_servers = lambda: (Address("192.0.2.1", 1971),)
        self._origin = Origin(Address("192.0.2.1", 1971), 0, Relay(71, 72))
        offer = Offer(5, UFRAG, PASSWORD, (Candidate("host", *THERE),), nat, udp=udp)
        self.pathfinder.negotiation.handle_offer(offer, self._origin, 100.0)
        self.settle(100.0)
        self.play(100.0, 102.1)  # The answerer waits a second for the moment, and UDP has one for a LAN.

    def settle(self, now: float) -> None:
        self.pathfinder.settle(now)

    def told(self) -> list[Any]:
        told = list(self.context.events)
        self.context.events.clear()
        return told

    def hear(self, dial: Dial, now: float) -> None:
        self.pathfinder.negotiation.handle_message(dial, self._origin, now)
        self.settle(now)

    def open(self, now: float, carrier: Address = CARRIER, number: int = 1) -> None:
        self.surroundings.streams.handle_stream(number, FAR, carrier, now)
        self.settle(now)


def their_dial(attempt: int = 5) -> Dial:
    return Dial(attempt, (Candidate("host", "10.0.0.9", 41000, 9), Candidate("srflx", *FAR, 5)))


def test_a_port_is_asked_for_and_the_peer_is_told_of_it_thrice() -> None:
    alone = Dialled()
    assert alone.told() == [DialPortWanted(1, (Address("192.0.2.1", 1971),))]
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    (dial,) = alone.messages(Dial)
    assert isinstance(dial, Dial)
    assert dial.attempt == 5
    assert [(c.kind, c.host, c.port) for c in dial.candidates] == [
        ("host", "198.51.100.1", 41001),
        ("srflx", *SEEN),
    ]
    alone.play(102.2, 104.0)
    assert alone.messages(Dial) == [dial] * 3


@pytest.mark.parametrize("is_early", [False, True])
def test_connections_are_wanted_once_both_sides_know(is_early: bool) -> None:
    alone = Dialled()
    alone.told()
    if is_early:
        alone.hear(their_dial(), 102.1)
        assert alone.told() == []
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    if not is_early:
        alone.hear(their_dial(), 102.3)
    wanted = DialWanted(1, (FAR, Address("10.0.0.9", 41000)))
    assert alone.told() == [wanted]
    alone.hear(their_dial(), 102.4)
    assert alone.told() == []


def test_of_a_counting_nat_the_next_ports_are_wanted_too() -> None:
    alone = Dialled(nat=COUNTING)
    alone.told()
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    alone.hear(their_dial(), 102.3)
    (wanted,) = alone.told()
    assert wanted.remotes[0] == FAR._replace(port=FAR.port + 1)
    assert len(wanted.remotes) == 18


def test_what_a_peer_says_of_another_attempt_or_of_ourselves_is_nothing() -> None:
    alone = Dialled()
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    alone.told()
    alone.hear(their_dial(attempt=6), 102.3)
    ours = (Candidate("host", "198.51.100.1", 41001), Candidate("host", "127.0.0.1", 41001))
    overlay = (Candidate("host", "10.77.0.9", 41001), Candidate("host", "224.0.0.1", 41001))
    alone.hear(Dial(5, ours + overlay), 102.4)
    assert alone.told() == []


def test_a_connection_is_a_direct_path_once_it_is_checked() -> None:
    alone = Dialled()
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    alone.hear(their_dial(), 102.3)
    alone.sent()
    alone.open(102.4)
    path = alone.pathfinder.paths.find(Target(*CARRIER))
    assert path is not None
    assert (path.kind, path.is_direct, path.word) == ("tcp", True, "direct")
    assert not alone.pathfinder.is_direct
    assert [to for to, _ in alone.sent()] == [CARRIER]
    alone.pathfinder.check(path, 102.5)
    alone.answer_all(102.6, CARRIER)
    assert alone.pathfinder.paths.targets() == (Target(*CARRIER),)
    assert path.technique == "tcp-simultaneous-open"
    (outcome,) = [o for o in alone.pathfinder.negotiation.outcomes if o.verdict == "direct"]
    assert outcome.technique == "tcp-simultaneous-open"
    assert outcome.packets == 2
    assert outcome.answered == (Candidate("tcp", *FAR),)
    assert [c.host for c in outcome.aims] == [FAR.host, "10.0.0.9"]
    assert alone.told()[-1] == DialUnwanted(1)


def test_when_it_breaks_data_goes_by_the_relay_and_a_new_attempt_begins() -> None:
    alone = Dialled()
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    alone.open(102.4)
    alone.answer_all(102.6, CARRIER)
    assert alone.pathfinder.is_direct
    alone.surroundings.streams.handle_end(CARRIER, 110.0)
    alone.settle(110.0)
    assert alone.pathfinder.paths.targets() == (RELAY,)
    alone.said.clear()
    alone.play(110.0, 110.1)
    (offer,) = alone.messages(Offer)
    assert isinstance(offer, Offer)
    assert offer.udp


def test_a_connection_that_answers_no_check_is_closed_with_the_attempt() -> None:
    alone = Dialled()
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    alone.hear(their_dial(), 102.3)
    alone.told()
    alone.open(102.4)
    alone.play(102.4, 109.0)
    assert alone.told() == [DialUnwanted(1), StreamUnwanted(CARRIER)]
    assert ("tcp-simultaneous-open", "no-reply") in [
        (o.technique, o.verdict) for o in alone.pathfinder.negotiation.outcomes
    ]
    alone.check(109.1, CARRIER)
    assert alone.pathfinder.paths.find(Target(*CARRIER)) is None


def test_no_port_is_no_end_of_the_world() -> None:
    alone = Dialled()
    alone.surroundings.streams.handle_port(1, 0, None, 102.2)
    alone.hear(their_dial(), 102.3)
    alone.play(102.3, 109.0)
    assert alone.messages(Dial) == []
    assert alone.told()[-1] == DialUnwanted(1)


def test_where_udp_gets_out_at_both_ends_nothing_is_dialled() -> None:
    alone = Dialled(udp=True)
    alone.play(102.1, 115.0)
    assert not [event for event in alone.told() if isinstance(event, DialPortWanted)]


def test_our_own_lack_of_udp_is_told_in_offers_and_answers() -> None:
    alone = Alone()
    alone.surroundings.udp = False
    alone.offer(100.0, THERE)
    (answer,) = alone.messages(Answer)
    assert isinstance(answer, Answer)
    assert not answer.udp
    alone = Alone()
    alone.surroundings.udp = False
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 100.0)
    (offer,) = alone.messages(Offer)
    assert isinstance(offer, Offer)
    assert not offer.udp


def test_connections_beyond_the_nodes_budget_of_checks_are_not_wanted() -> None:
    alone = Dialled()
    alone.surroundings.streams.handle_port(1, 41001, SEEN, 102.2)
    alone.told()
    while alone.surroundings.budget.take(FAR.host, 102.3):
        pass
    alone.hear(their_dial(), 102.3)
    assert alone.told() == [DialWanted(1, (Address("10.0.0.9", 41000),))]
