import pytest
from tests.proto.alone import ELSEWHERE, PASSWORD, RELAY, THERE, UFRAG, Alone, Desk
from tests.proto.peering import Net, lose_direct, lose_nothing

from ntvl.dataplane.interface import CloseSocket, OpenSocket
from ntvl.errors import PeerError
from ntvl.proto.attempt import OFFERS_MAX
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import Aim, Answer, Candidate, Fire, Nat, Offer, PunchReply
from ntvl.wire.stun import StunClass, build_binding_response, parse_stun


def test_the_side_that_began_offers_at_once_and_the_other_after_three_seconds_of_quiet() -> None:
    for initiator, at in ((True, 100.0), (False, 103.0)):
        alone = Alone()
        alone.pathfinder.handle_session(100.0, initiator=initiator, fresh=True)
        alone.play(100.0, at - 0.01)
        assert alone.messages(Offer) == []
        alone.play(at, at)
        assert len(alone.messages(Offer)) == 1


def test_an_offer_names_our_credentials_and_candidates_and_goes_the_way_of_data() -> None:
    alone = Alone()
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 100.0)
    ((offer, target),) = alone.said
    checks = alone.pathfinder.checks
    assert isinstance(offer, Offer)
    assert (offer.ufrag, offer.password, offer.candidates) == (checks.ufrag, checks.password, alone.candidates)
    assert target is None


def test_an_offer_is_answered_by_the_way_that_it_came_and_again_when_it_comes_again() -> None:
    alone = Alone()
    for _ in range(2):
        alone.offer(100.0, THERE)
    (answer, target), again = alone.said
    assert isinstance(answer, Answer)
    assert answer.attempt == 5
    assert target == RELAY
    assert again == (answer, target)
    alone.play(100.0, 101.0)
    assert [to for to, _ in alone.sent()] == [THERE]


def test_an_answer_is_followed_by_fire_once_and_an_answer_to_nothing_is_ignored() -> None:
    alone = Alone()
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 100.0)
    (offer,) = alone.messages(Offer)
    candidates = (Candidate("host", *THERE),)
    alone.pathfinder.negotiation.handle_answer(Answer(offer.attempt ^ 1, UFRAG, PASSWORD, candidates), 100.04)
    assert not alone.pathfinder.checks.is_ready
    for _ in range(2):
        alone.pathfinder.negotiation.handle_answer(Answer(offer.attempt, UFRAG, PASSWORD, candidates), 100.04)
    assert alone.messages(Fire) == [Fire(offer.attempt)]
    alone.play(100.04, 100.05)
    assert alone.sent() == []
    alone.play(100.05, 100.06)
    assert [to for to, _ in alone.sent()] == [THERE]


def test_fire_starts_the_checks_and_fire_for_another_attempt_does_not() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.pathfinder.negotiation.handle_fire(Fire(6), 100.1)
    alone.play(100.1, 100.1)
    assert alone.sent() == []
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.2)
    alone.play(100.2, 100.2)
    assert [to for to, _ in alone.sent()] == [THERE]


def test_of_two_offers_that_cross_the_controlling_sides_stands() -> None:
    for controlling in (True, False):
        alone = Alone(controlling=controlling)
        alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
        alone.play(100.0, 100.0)
        (offer,) = alone.messages(Offer)
        alone.offer(100.01, THERE)
        assert bool(alone.messages(Answer)) is not controlling
        answer = Answer(offer.attempt, UFRAG, PASSWORD, (Candidate("host", *THERE),))
        alone.pathfinder.negotiation.handle_answer(answer, 100.04)
        assert bool(alone.messages(Fire)) is controlling


def test_a_newer_attempt_of_the_peer_takes_the_place_of_one_that_runs() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.play(100.0, 102.0)
    alone.sent()
    alone.offer(102.0, ELSEWHERE, number=6)
    alone.pathfinder.negotiation.handle_fire(Fire(6), 102.1)
    alone.play(102.1, 103.0)
    assert {to for to, _ in alone.sent()} == {ELSEWHERE}


def test_an_attempt_that_fails_is_repeated_after_5_and_35_s_and_then_hourly() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    begun = net.now
    for _ in range(1100):
        net.exchange()
        net.run(4.0)
    bursts = sorted({round(at - begun) for at, _, relayed, _ in net.log if not relayed})
    starts = [at for at, before in zip(bursts, [-100, *bursts], strict=False) if at - before > 3]
    assert starts[:3] == [0, pytest.approx(10, abs=1), pytest.approx(50, abs=1)]
    assert starts[3] == pytest.approx(3655, abs=10)
    for side in net.sides:
        outcomes = side.peer.pathfinder.negotiation.outcomes
        assert {o.verdict for o in outcomes if o.technique == "simultaneous-udp"} == {"no-reply"}
        outcomes = [o for o in outcomes if o.technique == "simultaneous-udp"]
        assert all(0 < o.ended - o.started < 6 for o in outcomes)


def test_what_was_tried_is_kept_for_the_last_sixteen() -> None:
    alone = Alone()
    for number in range(30):
        alone.offer(100.0 + 10 * number, THERE, number=number)
        alone.play(100.0 + 10 * number, 109.0 + 10 * number)
    assert len(alone.pathfinder.negotiation.outcomes) == 16
    assert alone.pathfinder.negotiation.outcomes[-1].started > alone.pathfinder.negotiation.outcomes[0].started


def test_offers_without_an_answer_are_recorded_too() -> None:
    alone = Alone()
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 106.0)
    assert len(alone.messages(Offer)) >= OFFERS_MAX
    assert (alone.pathfinder.negotiation.outcomes[0].technique, alone.pathfinder.negotiation.outcomes[0].verdict) == (
        "offer",
        "no-answer",
    )


def test_a_peer_that_nobody_uses_is_not_offered_anything() -> None:
    alone = Alone()
    alone.pathfinder.handle_session(1000.0, initiator=True, fresh=True)
    alone.pathfinder.last_data = 600.0
    alone.pathfinder.handle_timeout(1000.0)
    assert alone.said == []


def test_an_attempt_that_came_due_while_nobody_used_the_peer_is_made_when_data_flows() -> None:
    net = Net()
    net.left.peer.handle_reset(net.now)
    net.run(20.0)
    assert [side.path for side in net.sides] == ["relay", "relay"]
    for _ in range(8):
        net.exchange()
        net.run(0.5)
    assert [side.path for side in net.sides] == ["direct", "direct"]


def test_a_network_change_while_the_peer_rests_is_made_good_when_data_flows() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    for _ in range(60):
        net.exchange()
        net.run(1.0)
    net.run(301.0)
    net.left.peer.handle_network_change(net.now)
    net.lost = lose_nothing
    for side in net.sides:
        if side.peer.link.sending is None:
            side.peer.handle_wanted(net.now)
    for _ in range(12):
        net.exchange()
        net.run(0.5)
    assert [side.path for side in net.sides] == ["direct", "direct"]


def test_an_attempts_candidates_are_those_of_the_moment() -> None:
    alone = Alone()
    alone.candidates = (Candidate("host", "192.0.2.77", 4001),)
    alone.offer(100.0, THERE)
    (answer,) = alone.messages(Answer)
    assert answer.candidates == alone.candidates


# --- questions to a supernode ---

SERVER = Address("192.0.2.1", 1971)
COUNTING = Nat("address-and-port-dependent", "address-and-port-dependent", "sequential", 1)
EASY = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")


def asking() -> tuple[Alone, dict[int, bytes]]:
    """Returns a side that has just asked from two fresh sockets where its NAT's counter stands: transactions by
    socket.
    """
    alone = Alone(nat=COUNTING, server=SERVER)
    alone.offer(100.0, THERE, nat=EASY, kind="srflx")
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.99)
    alone.context.transmits.clear()
    alone.play(101.0, 101.05)
    sent = [t for t in alone.context.transmits if t.address == SERVER]
    return alone, {t.socket: parse_stun(t.data).transaction for t in sent}


def seen(alone: Alone, transaction: bytes, origin: Origin, port: int = 40_000) -> bool:
    answer = build_binding_response(transaction, Address("198.51.100.9", port))
    return alone.pathfinder.negotiation.handle_seen(parse_stun(answer), origin, 101.1)


def test_an_answer_from_anybody_but_who_was_asked_is_refused_and_the_true_one_still_counts() -> None:
    alone, asked = asking()
    (before, first), (after, second) = sorted(asked.items())
    for origin in (Origin(THERE, before), Origin(SERVER, after), Origin(SERVER, before, Relay(71, 72))):
        with pytest.raises(PeerError) as caught:
            seen(alone, first, origin)
        assert caught.value.reason == "transaction"
    assert not seen(alone, bytes(12), Origin(SERVER, before)), "no question of ours"
    assert seen(alone, first, Origin(SERVER, before), 40_000)
    assert alone.messages(Aim) == []
    assert seen(alone, second, Origin(SERVER, after), 40_002)
    assert alone.messages(Aim) == [Aim(5, 40_000, 1, 2)]
    assert not seen(alone, first, Origin(SERVER, before)), "it is answered already"


def test_an_answer_to_an_attempt_that_is_over_says_nothing() -> None:
    alone, asked = asking()
    alone.pathfinder.negotiation.handle_end()
    for socket, transaction in asked.items():
        assert not seen(alone, transaction, Origin(SERVER, socket))
    assert alone.messages(Aim) == []


def test_an_aim_of_a_peer_that_cannot_predict_makes_nobody_send() -> None:
    alone = Alone(nat=EASY, server=SERVER)
    alone.offer(100.0, THERE, nat=EASY, kind="srflx")
    alone.pathfinder.negotiation.handle_aim(Aim(5, 40_000, 1, 64), 100.0)
    alone.pathfinder.negotiation.handle_aim(Aim(6, 40_000, 1, 64), 100.0)
    alone.play(100.0, 115.0)
    assert {to for to, _ in alone.sent()} == {THERE}


def test_an_aim_costs_at_most_64_checks_three_times_to_the_peers_own_address() -> None:
    alone = Alone(nat=EASY, server=SERVER)
    alone.offer(100.0, THERE, nat=COUNTING, kind="srflx")
    for port in (40_000, 50_000, 60_000):
        alone.pathfinder.negotiation.handle_aim(Aim(5, port, 1, 64), 100.0)
    alone.play(100.0, 115.0)
    guessed = [to for to, _ in alone.sent() if to != THERE]
    assert {to.host for to in guessed} == {THERE.host}
    assert len(guessed) == 64 * 3
    assert len(set(guessed)) == 64


# --- leave for a heavy technique ---


def punching(*, leave: bool = True, wait_s: float = 0.0) -> tuple[Alone, Desk]:
    """Returns the offerer that has asked for leave at 101.1, and has it if `leave`."""
    desk = Desk()
    alone = Alone(nat=RANDOM, server=SERVER, desk=desk)
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 100.0)
    (offer,) = alone.messages(Offer)
    answer = Answer(offer.attempt, UFRAG, PASSWORD, (Candidate("srflx", *THERE),), EASY)
    alone.pathfinder.negotiation.handle_answer(answer, 100.1)
    alone.play(100.1, 101.2)
    if leave:
        alone.surroundings.leave.handle_reply(PunchReply(desk.said[-1].request, wait_s), 101.2)
    return alone, desk


def opened(alone: Alone) -> set[int]:
    """Returns the sockets that are open as the data plane was told."""
    numbers = set[int]()
    for command in alone.context.commands:
        numbers |= {command.socket} if isinstance(command, OpenSocket) else set()
        numbers -= {command.socket} if isinstance(command, CloseSocket) else set()
    return numbers


def test_with_leave_the_peer_is_told_three_times_and_the_punch_begins() -> None:
    alone, desk = punching()
    (asked,) = desk.said
    assert not asked.done
    assert asked.hosts == (THERE.host,)
    assert alone.woken == [101.2]
    alone.play(101.2, 102.5)
    number = alone.messages(Offer)[0].attempt
    assert alone.messages(Fire) == [Fire(number), *[Fire(number, heavy=True)] * 3]
    assert len(opened(alone)) == 128


def test_leave_is_given_back_and_sockets_are_closed_when_the_punch_is_over() -> None:
    alone, desk = punching()
    alone.play(101.2, 120.0)
    assert [said.done for said in desk.said][:2] == [False, True]
    assert len(opened(alone)) == 0
    assert alone.pathfinder.negotiation.outcomes[-1].verdict == "no-reply"


@pytest.mark.parametrize("when", [101.3, 103.0])
@pytest.mark.parametrize("event", ["bye", "network", "nat", "offer"])
def test_whatever_ends_a_punch_gives_leave_back_and_closes_its_sockets(event: str, when: float) -> None:
    alone, desk = punching()
    alone.play(101.2, when)
    negotiation = alone.pathfinder.negotiation
    match event:
        case "bye":
            alone.pathfinder.handle_end()
        case "network":
            alone.pathfinder.handle_network_change(when)
        case "nat":
            negotiation.handle_nat(when)
        case "offer":
            alone.offer(when, THERE, number=77)
    assert [said.done for said in desk.said] == [False, True]
    assert opened(alone) == set()
    assert alone.surroundings.leave.begin(object())


@pytest.mark.parametrize("event", ["bye", "network"])
def test_leave_for_an_attempt_that_ended_while_it_was_asked_for_is_given_back(event: str) -> None:
    alone, desk = punching(leave=False)
    if event == "bye":
        alone.pathfinder.handle_end()
    else:
        alone.pathfinder.handle_network_change(101.2)
        alone.play(101.2, 101.3)
    (asked,) = desk.said
    alone.surroundings.leave.handle_reply(PunchReply(asked.request, 0.0), 101.3)
    assert [said.done for said in desk.said] == [False, True]
    assert not [fire for fire in alone.messages(Fire) if fire.heavy]


def test_leave_that_comes_too_late_is_given_back() -> None:
    alone, desk = punching(leave=False)
    alone.play(101.2, 104.0)
    alone.surroundings.leave.handle_reply(PunchReply(desk.said[0].request, 0.0), 104.0)
    assert [said.done for said in desk.said] == [False, True]
    assert alone.pathfinder.negotiation.outcomes[-1].detail == "no supernode gave leave"


def test_an_attempt_that_is_put_off_is_not_one_of_the_three() -> None:
    alone, desk = punching(wait_s=6.0)
    assert desk.said[-1].done is False
    for number in range(5):
        began = alone.pathfinder.negotiation.outcomes[-1].ended
        alone.play(began, began + 7.1)
        assert len({offer.attempt for offer in alone.messages(Offer)}) == number + 2
        answer = Answer(alone.messages(Offer)[-1].attempt, UFRAG, PASSWORD, (Candidate("srflx", *THERE),), EASY)
        alone.pathfinder.negotiation.handle_answer(answer, began + 7.2)
        alone.play(began + 7.2, began + 9.0)
        alone.surroundings.leave.handle_reply(PunchReply(desk.said[-1].request, 6.0), began + 9.0)
        alone.pathfinder.settle(began + 9.0)
        assert alone.pathfinder.negotiation.outcomes[-1].verdict == "put-off"


def test_a_node_that_punches_already_gives_leave_back_and_comes_later() -> None:
    alone, desk = punching(leave=False)
    other = object()
    assert alone.surroundings.leave.begin(other)
    alone.surroundings.leave.handle_reply(PunchReply(desk.said[0].request, 0.0), 101.2)
    assert [said.done for said in desk.said] == [False, True]
    assert opened(alone) == set()
    alone.play(101.2, 101.3)
    assert alone.pathfinder.negotiation.outcomes[-1].verdict == "put-off"


def test_the_peers_word_of_leave_begins_nothing_while_the_node_punches_with_another() -> None:
    alone = Alone(nat=EASY)
    other = object()
    assert alone.surroundings.leave.begin(other)
    alone.offer(100.0, THERE, nat=RANDOM, kind="srflx")
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.pathfinder.negotiation.handle_fire(Fire(5, heavy=True), 100.0)
    alone.play(100.0, 120.0)
    assert {to for to, _ in alone.sent()} == {THERE}


# --- the third attempt, and nodes that stay on relays ---


def test_the_third_attempt_is_offered_by_the_side_that_answered_before() -> None:
    offerer, answerer = Alone(), Alone()
    offerer.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    for number, at in enumerate((100.0, 110.0)):
        offerer.play(at, at)
        assert len(offerer.messages(Offer)) == number + 1
        answer = Answer(offerer.messages(Offer)[-1].attempt, UFRAG, PASSWORD, (Candidate("host", *THERE),))
        offerer.pathfinder.negotiation.handle_answer(answer, at)
        offerer.play(at, at + 6.0)
        answerer.offer(at, THERE, number=number)
        answerer.pathfinder.negotiation.handle_fire(Fire(number), at)
        answerer.play(at, at + 6.0)
        assert [o.pathfinder.negotiation.is_running for o in (offerer, answerer)] == [False, False]
    assert answerer.messages(Offer) == []
    answerer.play(116.0, 115.0 + 35.1)
    assert len(answerer.messages(Offer)) == 1
    offerer.play(116.0, 115.0 + 35.1)
    assert len(offerer.messages(Offer)) == 2
    offerer.play(150.1, 115.0 + 38.1)
    assert len(offerer.messages(Offer)) == 3, "if the other stays quiet"


def test_a_node_that_stays_on_relays_offers_no_address_and_answers_no_check() -> None:
    alone = Alone(direct=False)
    alone.offer(100.0, THERE)
    alone.play(100.0, 130.0)
    ((answer, target),) = [(said, to) for said, to in alone.said if isinstance(said, Offer | Answer | Fire)]
    assert isinstance(answer, Answer)
    assert (answer.candidates, answer.guesses, target) == ((), False, RELAY)
    with pytest.raises(PeerError):
        alone.check(101.0)
    assert alone.sent() == []


def test_a_path_that_is_lost_during_an_attempt_is_tried_again_after_the_shortest_wait() -> None:
    alone = Alone()
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 100.0)
    answer = Answer(alone.messages(Offer)[-1].attempt, UFRAG, PASSWORD, (Candidate("host", *THERE),))
    alone.pathfinder.negotiation.handle_answer(answer, 100.1)
    alone.play(100.1, 102.0)
    alone.pathfinder.negotiation.handle_lost(102.0)
    alone.play(102.0, 112.0)
    assert len({offer.attempt for offer in alone.messages(Offer)}) == 2


def test_more_knowledge_of_the_nat_starts_an_attempt_anew_even_while_a_direct_path_is_in_doubt() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.play(100.0, 101.0)
    alone.answer_all(101.0, THERE)
    assert alone.pathfinder.is_direct
    alone.pathfinder.handle_network_change(110.0)
    alone.play(110.0, 110.1)
    (first,) = alone.messages(Offer)
    alone.surroundings.nat = RANDOM
    alone.pathfinder.negotiation.handle_nat(110.2)
    alone.play(110.2, 110.3)
    _, second = alone.messages(Offer)
    assert (first.attempt != second.attempt, first.nat, second.nat) == (True, Nat(), RANDOM)


def test_an_attempt_during_which_the_old_path_answers_before_a_check_was_sent_is_no_second_success() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.play(100.0, 101.0)
    alone.answer_all(101.0, THERE)
    alone.play(101.0, 103.0)
    alone.sent()
    alone.offer(103.5, THERE, number=6)
    alone.play(103.5, 104.2)
    assert alone.pathfinder.negotiation.is_running, "its moment comes after a second"
    alone.answer_all(104.2, THERE)
    assert [(o.attempt, o.verdict, o.packets) for o in alone.pathfinder.negotiation.outcomes] == [
        (5, "direct", 2),
        (6, "not-needed", 1),
    ]


# --- openers ---


def test_openers_are_indications_that_leave_with_the_answer_and_are_no_paths() -> None:
    alone = Alone()
    alone.offer_candidates(100.0, Candidate("srflx", *THERE), Candidate("host", "192.168.7.7", 4002))
    alone.play(100.0, 100.0)
    (opener,) = alone.context.transmits
    assert (opener.address, opener.socket, opener.ttl) == (THERE, 0, 2)
    assert parse_stun(opener.data).cls is StunClass.INDICATION
    assert list(alone.pathfinder.paths.directs()) == []
    assert len(alone.messages(Answer)) == 1
