"""What a hostile member can cost."""

from tests.proto.alone import ELSEWHERE, THERE, Alone

from ntvl.errors import PeerError
from ntvl.proto.check_budget import HOST_BURST, HOST_PER_S
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import Candidate, Fire, Nat

EASY = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")


def test_a_peer_that_offers_for_ever_has_us_make_few_attempts() -> None:
    alone = Alone()
    refused = checks = 0
    for number in range(200):
        now = 100.0 + number * 0.5
        try:
            alone.offer(now, *(THERE._replace(port=5000 + port) for port in range(24)), number=number)
        except PeerError as error:
            assert error.reason == "rate"
            refused += 1
        alone.play(now, now + 0.49)
        checks += len(alone.sent())
    assert refused == 200 - 8 - 9, "eight at once, then one in ten seconds"
    assert checks < 17 * 168


def test_a_peer_that_fires_for_ever_has_us_punch_six_times_and_then_once_in_ten_minutes() -> None:
    alone = Alone(nat=EASY)
    origin = Origin(Address("192.0.2.1", 1971), 0, Relay(71, 72))
    sent = refused = 0
    now = 100.0
    for number in range(60):
        alone.offer_candidates(now, Candidate("srflx", "203.0.113.77", 5000), number=number, nat=RANDOM)
        alone.pathfinder.negotiation.handle_fire(Fire(number), now)
        alone.play(now, now + 1.5)
        try:
            alone.pathfinder.negotiation.handle_message(Fire(number, heavy=True), origin, now + 1.5)
        except PeerError as error:
            assert error.reason == "rate"
            refused += 1
        alone.play(now + 1.5, now + 19.0)
        sent += len(alone.sent())
        now += 20.0
    assert refused == 60 - 6 - 1, "twenty minutes hold one more"
    cut = alone.surroundings.budget.drops["check-host"]
    assert 7 * 1500 < sent + cut < 7 * 2000 + 60 * 10
    assert sent < HOST_BURST + HOST_PER_S * 1200, "and its host does not answer"


def test_checks_beyond_the_nodes_budget_stay_out_but_for_what_is_heard_from() -> None:
    alone = Alone()
    budget = alone.surroundings.budget
    alone.offer(100.0, THERE, ELSEWHERE)
    while budget.take(THERE.host, 100.0):
        pass
    budget.drops.clear()
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.01)
    assert {to for to, _ in alone.sent()} == {ELSEWHERE}
    assert budget.drops == {"check-host": 1}
    # Who sends from there is asked back all the same, and the answer clears the host.
    alone.check(100.01, THERE)
    alone.answer_all(100.02, THERE)
    assert all(budget.take(THERE.host, 100.02) for _ in range(900))


def test_guesses_are_in_the_budget_too() -> None:
    alone = Alone(nat=EASY)
    origin = Origin(Address("192.0.2.1", 1971), 0, Relay(71, 72))
    budget = alone.surroundings.budget
    alone.offer_candidates(100.0, Candidate("srflx", "203.0.113.77", 5000), nat=RANDOM)
    while budget.take("203.0.113.77", 100.0):
        pass
    budget.drops.clear()
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 101.5)
    alone.pathfinder.negotiation.handle_message(Fire(5, heavy=True), origin, 101.5)
    alone.play(101.5, 120.0)
    assert len(alone.sent()) <= HOST_PER_S * 20.0
    assert budget.drops["check-host"] > 1500
