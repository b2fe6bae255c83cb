import ipaddress
import random
from collections.abc import Callable

import pytest
from tests.proto.peering import COMMUNITY, SUPERNODE, Net, joined, lose_all, lose_direct, lose_nothing

from ntvl.dataplane.interface import Activity, Target
from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.attempt import OFFERS_MAX
from ntvl.proto.context import Context
from ntvl.proto.path import PathState
from ntvl.proto.pathfinder import Pathfinder, Surroundings, answer_target
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import Answer, Candidate, Fire, Message, Offer, Probe
from ntvl.wire.header import Kind
from ntvl.wire.stun import StunClass, build_binding_request, build_binding_response, parse_stun

RELAY = Target(*SUPERNODE, 0, (72, 71))
THERE, ELSEWHERE = Address("198.51.100.2", 4002), Address("198.51.100.3", 4003)
OVERLAY = (ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd12::/64"))
UFRAG, PASSWORD = "theirs00", "p" * 24


class Alone:
    """Is a pathfinder without a peer: the test is the other side."""

    def __init__(self, *, controlling: bool = True, relay: bool = True) -> None:
        chance = random.Random(1).randbytes
        keys = sorted((NodeKey.generate(chance) for _ in range(2)), key=lambda key: key.public)
        ours, theirs = (keys[1], keys[0]) if controlling else keys
        self.context = Context(chance, lambda: 0.0)
        self.said: list[tuple[Message, Target | None]] = []
        self.refreshed: list[float] = []
        self.candidates = (Candidate("host", "198.51.100.1", 4001, 9),)
        surroundings = Surroundings(
            ours,
            aes=True,
            direct=True,
            tie_breaker=1,
            candidates=lambda: self.candidates,
            refresh=self.refreshed.append,
            url=str,
        )
        self.pathfinder = Pathfinder(
            self.context, surroundings, handle=7, remote=theirs.public, overlay=OVERLAY, send=self._send
        )
        if relay:
            self.pathfinder.set_relay(0, RELAY)

    def _send(self, message: Message, target: Target | None) -> bool:
        self.said.append((message, target))
        return True

    def play(self, start: float, end: float) -> None:
        """Lets time pass as a peer would, that is in use all along."""
        self.pathfinder.last_data = start
        self.pathfinder.settle(start)
        for _ in range(10_000):
            at = self.pathfinder.poll_timeout(start)
            if at is None or at > end:
                return
            start = max(at, start)
            self.pathfinder.last_data = start
            self.pathfinder.handle_timeout(start)
            self.pathfinder.settle(start)
        raise AssertionError("the pathfinder never comes to rest")

    def sent(self) -> list[tuple[Address, bytes]]:
        """Takes the STUN messages that went out."""
        taken = [(t.address, t.data) for t in self.context.transmits]
        self.context.transmits.clear()
        return taken

    def messages(self, kind: type) -> list[Message]:
        return [message for message, _ in self.said if isinstance(message, kind)]

    def offer(self, now: float, *hosts: Address, number: int = 5, password: str = PASSWORD) -> None:
        candidates = tuple(Candidate("host", *host) for host in hosts)
        origin = Origin(SUPERNODE, 0, Relay(71, 72))
        self.pathfinder.handle_offer(Offer(number, UFRAG, password, candidates), origin, now)
        self.pathfinder.settle(now)

    def check(self, now: float, origin: Address = THERE, *, use: bool = False, password: str = "") -> None:
        checks = self.pathfinder.checks
        data = build_binding_request(
            random.Random(now).randbytes(12),
            username=f"{checks.ufrag}:{UFRAG}",
            password=password or checks.password,
            priority=1,
            controlling=2,
            use_candidate=use,
        )
        self.pathfinder.handle_check(parse_stun(data), data, Origin(origin), now)
        self.pathfinder.settle(now)

    def answer_all(self, now: float, *hosts: Address) -> None:
        """Answers the checks that went to these hosts."""
        for to, data in self.sent():
            if to in hosts and parse_stun(data).cls is StunClass.REQUEST:
                answer = build_binding_response(
                    parse_stun(data).transaction, Address("198.51.100.1", 4001), password=PASSWORD
                )
                self.pathfinder.handle_check_answer(parse_stun(answer), answer, Origin(to), now)
                self.pathfinder.settle(now)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as error:
        call()
    return error.value.reason


# --- attempts ---


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
    alone.pathfinder.handle_answer(Answer(offer.attempt ^ 1, UFRAG, PASSWORD, candidates), 100.04)
    assert not alone.pathfinder.checks.is_ready
    for _ in range(2):
        alone.pathfinder.handle_answer(Answer(offer.attempt, UFRAG, PASSWORD, candidates), 100.04)
    assert alone.messages(Fire) == [Fire(offer.attempt)]
    alone.play(100.04, 100.05)
    assert alone.sent() == []
    alone.play(100.05, 100.06)
    assert [to for to, _ in alone.sent()] == [THERE]


def test_fire_starts_the_checks_and_fire_for_another_attempt_does_not() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.pathfinder.handle_fire(Fire(6), 100.1)
    alone.play(100.1, 100.1)
    assert alone.sent() == []
    alone.pathfinder.handle_fire(Fire(5), 100.2)
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
        alone.pathfinder.handle_answer(answer, 100.04)
        assert bool(alone.messages(Fire)) is controlling


def test_a_newer_attempt_of_the_peer_takes_the_place_of_one_that_runs() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.play(100.0, 102.0)
    alone.sent()
    alone.offer(102.0, ELSEWHERE, number=6)
    alone.pathfinder.handle_fire(Fire(6), 102.1)
    alone.play(102.1, 103.0)
    assert {to for to, _ in alone.sent()} == {ELSEWHERE}


def test_an_attempt_that_fails_is_repeated_after_5_and_15_s_and_then_hourly() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    begun = net.now
    for _ in range(1100):
        net.exchange()
        net.run(4.0)
    bursts = sorted({round(at - begun) for at, _, relayed, _ in net.log if not relayed})
    starts = [at for at, before in zip(bursts, [-100, *bursts], strict=False) if at - before > 3]
    assert starts[:3] == [0, pytest.approx(10, abs=1), pytest.approx(30, abs=1)]
    assert starts[3] == pytest.approx(3635, abs=10)
    for side in net.sides:
        outcomes = side.peer.pathfinder.outcomes
        assert {(o.technique, o.verdict) for o in outcomes} == {("simultaneous-udp", "no-reply")}
        assert all(0 < o.ended - o.started < 6 for o in outcomes)


def test_what_was_tried_is_kept_for_the_last_sixteen() -> None:
    alone = Alone()
    for number in range(30):
        alone.offer(100.0 + 10 * number, THERE, number=number)
        alone.play(100.0 + 10 * number, 109.0 + 10 * number)
    assert len(alone.pathfinder.outcomes) == 16
    assert alone.pathfinder.outcomes[-1].started > alone.pathfinder.outcomes[0].started


def test_offers_without_an_answer_are_recorded_too() -> None:
    alone = Alone()
    alone.pathfinder.handle_session(100.0, initiator=True, fresh=True)
    alone.play(100.0, 106.0)
    assert len(alone.messages(Offer)) >= OFFERS_MAX
    assert (alone.pathfinder.outcomes[0].technique, alone.pathfinder.outcomes[0].verdict) == ("offer", "no-answer")


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


# --- checks ---


def test_a_check_from_an_unknown_address_makes_it_a_candidate_and_is_returned() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.check(100.5, ELSEWHERE)
    answer, back = alone.sent()
    assert (answer[0], parse_stun(answer[1]).cls) == (ELSEWHERE, StunClass.SUCCESS)
    assert (back[0], parse_stun(back[1]).cls) == (ELSEWHERE, StunClass.REQUEST)
    path = alone.pathfinder.paths.find(Target(*ELSEWHERE))
    assert path is not None
    assert (path.kind, path.state) == ("prflx", PathState.NEW)


def test_a_check_with_wrong_credentials_is_not_answered_and_teaches_nothing() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    assert refusal(lambda: alone.check(100.5, ELSEWHERE, password="x" * 24)) == "integrity"
    assert alone.sent() == []
    assert alone.pathfinder.paths.find(Target(*ELSEWHERE)) is None


def test_a_check_before_any_offer_is_not_answered() -> None:
    alone = Alone()
    assert refusal(lambda: alone.check(100.0)) == "integrity"
    assert alone.sent() == []


@pytest.mark.parametrize("host", ["10.77.0.2", "fd12::2"])
def test_what_comes_through_the_virtual_network_itself_makes_no_path(host: str) -> None:
    alone = Alone()
    alone.offer(100.0, THERE, Address(host, 4002))
    alone.check(100.5, Address(host, 4002))
    alone.pathfinder.handle_heard(Target(host, 4002), 100.6, 100.6)
    assert alone.pathfinder.paths.find(Target(host, 4002)) is None
    alone.play(100.6, 103.0)
    assert all(to.host != host or parse_stun(data).cls is StunClass.SUCCESS for to, data in alone.sent())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "224.0.0.1", "fe80::1", "255.255.255.255"])
def test_a_check_that_seems_to_come_from_nowhere_makes_no_path(host: str) -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.check(100.5, Address(host, 53))
    assert alone.pathfinder.paths.find(Target(host, 53)) is None
    assert all(parse_stun(data).cls is StunClass.SUCCESS for _, data in alone.sent())


def test_a_flood_of_checks_from_everywhere_keeps_few_paths() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    for port in range(1, 500):
        alone.check(100.5, Address("198.51.100.9", port))
    assert len(alone.pathfinder.paths.directs()) <= 48


def test_the_controlled_side_follows_use_candidate_and_the_controlling_side_does_not() -> None:
    for controlling in (True, False):
        alone = Alone(controlling=controlling)
        alone.offer(100.0, THERE, ELSEWHERE)
        alone.pathfinder.handle_fire(Fire(5), 100.0)
        alone.play(100.0, 100.02)
        alone.answer_all(100.03, THERE)
        assert alone.pathfinder.is_direct is controlling
        alone.check(100.05, THERE, use=True)
        assert alone.pathfinder.is_direct
        path = alone.pathfinder.paths.selected
        assert path is not None
        assert path.nominated is not controlling


def test_the_controlling_side_nominates_what_it_selects_at_once() -> None:
    alone = Alone(controlling=True)
    alone.offer(100.0, THERE)
    alone.pathfinder.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.0)
    first = parse_stun(alone.context.transmits[0].data)
    assert not first.use_candidate
    alone.answer_all(100.03, THERE)
    ((to, data),) = alone.sent()
    assert to == THERE
    assert parse_stun(data).use_candidate


def test_an_answer_for_a_path_given_up_meanwhile_confirms_nothing() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.pathfinder.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.0)
    (check,) = alone.sent()
    alone.pathfinder.handle_end()
    answer = build_binding_response(parse_stun(check[1]).transaction, THERE, password=PASSWORD)
    message = parse_stun(answer)
    assert refusal(lambda: alone.pathfinder.handle_check_answer(message, answer, Origin(THERE), 100.1)) == "transaction"
    assert not alone.pathfinder.is_direct


def test_a_reply_to_no_probe_or_to_one_long_ago_is_refused() -> None:
    alone = Alone()
    assert refusal(lambda: alone.pathfinder.handle_probe_reply(8, 100.0)) == "transaction"
    alone.play(100.0, 103.0)
    probe = alone.messages(Probe)[0]
    assert probe.id % 2 == 0
    assert refusal(lambda: alone.pathfinder.handle_probe_reply(probe.id, 200.0)) == "transaction"


def test_a_relay_that_carries_data_is_asked_every_two_seconds() -> None:
    alone = Alone()
    alone.pathfinder.last_data = 100.0
    alone.pathfinder.settle(100.0)
    for n in range(10):
        alone.play(100.0 + n, 101.0 + n)
        for probe in alone.messages(Probe):
            alone.pathfinder.handle_probe_reply(probe.id, 101.0 + n)
        alone.said = []
    relay = alone.pathfinder.paths.find(RELAY)
    assert relay is not None
    assert relay.state is PathState.VALID


# --- several ways ---


def many(seed: int = 3) -> Net:
    """Returns two sides that reach each other by four pairs of addresses, direct and settled."""
    net = Net(seed)
    for side, place in ((net.left, 1), (net.right, 2)):
        side.others = [Address(f"{network}.{place}", 5000 + place) for network in ("192.0.2", "192.168.7", "172.16.7")]
    net.left.peer.handle_wanted(net.now)
    assert net.run(3.0, until=lambda: all(side.path == "direct" for side in net.sides))
    for _ in range(40):
        net.exchange()
        net.run(0.25)
    return net


def test_both_sides_choose_the_same_of_several_ways() -> None:
    for seed in range(5):
        net = many(seed)
        left, right = net.left.targets, net.right.targets
        assert len(left) == len(right) == 1
        ways = list(zip((net.left.address, *net.left.others), (net.right.address, *net.right.others), strict=True))
        assert (Address(right[0].host, right[0].port), Address(left[0].host, left[0].port)) in ways


def test_when_every_way_is_cut_data_is_never_left_to_an_unproven_one() -> None:
    net = many()
    net.lost = lose_direct
    alone_s = dict.fromkeys(("left", "right"), 0.0)
    for _ in range(100):
        net.exchange()
        net.run(0.1)
        for side in net.sides:
            if all(target.relay is None for target in side.targets):
                alone_s[side.name] += 0.1
    assert max(alone_s.values()) < 3.5
    assert [side.path for side in net.sides] == ["relay", "relay"]


def test_when_the_chosen_way_is_cut_another_one_is_found() -> None:
    net = many()
    used = {Address(side.targets[0].host, side.targets[0].port) for side in net.sides}
    net.lost = lambda data, relayed, sender, to: to in used
    for _ in range(60):
        net.exchange()
        net.run(0.25)
    for side in net.sides:
        assert side.path == "direct"
        assert Address(side.targets[0].host, side.targets[0].port) not in used
        assert "none" not in side.paths_shown()


def test_the_death_of_another_way_does_not_disturb_the_one_in_use() -> None:
    net = many()
    used = {Address(side.targets[0].host, side.targets[0].port) for side in net.sides}
    net.lost = lambda data, relayed, sender, to: not relayed and to not in used
    net.left.peer.handle_network_change(net.now)
    net.run(0.5)
    doubts = 0
    for _ in range(100):
        net.exchange()
        net.run(0.1)
        doubts += any(len(side.targets) > 1 for side in net.sides)
    assert doubts == 0


def test_a_nat_that_shows_an_unheard_address_is_met_by_returning_its_checks() -> None:
    for hidden in ("left", "right"):
        net = Net()
        side = getattr(net, hidden)
        side.seen_as = Address("203.0.113.99", 61000)
        net.left.peer.handle_wanted(net.now)
        for _ in range(20):
            net.exchange()
            net.run(0.25)
        assert [s.path for s in net.sides] == ["direct", "direct"]
        assert net.other(side).targets == (Target("203.0.113.99", 61000),)


def test_a_dead_relay_is_asked_every_few_seconds_while_there_is_nothing_better() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    for _ in range(80):
        net.exchange()
        net.run(0.25)
    net.lost = lose_all
    for _ in range(60):
        net.exchange()
        net.run(0.25)
    since = net.now
    for _ in range(80):
        net.exchange()
        net.run(0.25)
    sealed = [at for at, sender, _, data in net.log if at > since and sender == "left" and data[0] == Kind.CONTROL]
    assert 3 <= len(sealed) <= 20
    net.lost = lose_direct
    for _ in range(60):
        net.exchange()
        net.run(0.25)
    assert [path.state for path in net.left.peer.pathfinder.paths.relays()] == [PathState.VALID]


def test_a_new_relay_id_is_used_from_then_on() -> None:
    alone = Alone()
    alone.pathfinder.settle(100.0)
    fresh = Target(*SUPERNODE, 0, (99, 98))
    alone.pathfinder.set_relay(0, fresh)
    alone.pathfinder.settle(100.0)
    assert alone.pathfinder.paths.targets() == (fresh,)
    alone.pathfinder.drop_relay(0)
    alone.pathfinder.settle(100.0)
    assert alone.pathfinder.paths.targets() == ()


def test_a_relay_said_to_be_silent_is_trusted_again_when_said_to_work() -> None:
    alone = Alone()
    alone.pathfinder.handle_relay_silent(0)
    (relay,) = alone.pathfinder.paths.relays()
    assert relay.state is PathState.DEAD
    alone.pathfinder.set_relay(0, RELAY)
    (relay,) = alone.pathfinder.paths.relays()
    assert relay.state is PathState.NEW


# --- doubt ---


def test_as_data_starts_again_a_path_unconfirmed_for_5_s_is_doubted_until_it_answers() -> None:
    for age_s, targets in ((1.0, 1), (10.0, 2)):
        net = joined()
        net.run(60.0)
        path = net.left.peer.pathfinder.paths.selected
        assert path is not None
        last = path.confirmed_at
        assert net.run(25.0, until=lambda path=path, last=last: path.confirmed_at != last)
        net.run(age_s)
        net.left.move()
        assert len(net.left.targets) == targets
        net.run(0.2)
        assert len(net.left.targets) == 1


def test_in_doubt_the_supernodes_are_asked_how_they_see_us() -> None:
    net = joined()
    for _ in range(8):
        net.exchange()
        net.run(0.25)
    net.lost = lose_direct
    for _ in range(16):
        net.exchange()
        net.run(0.25)
    assert all(side.refreshes >= 1 for side in net.sides)


def test_an_activity_without_new_bytes_is_no_use_of_the_peer() -> None:
    alone = Alone()
    activity = Activity(7, 1, 1, 1, 1, 100.0, 1, ())
    alone.pathfinder.handle_activity(activity, moved=False, now=100.0)
    assert not alone.pathfinder.is_used(100.0)
    alone.pathfinder.handle_activity(activity, moved=True, now=100.0)
    assert alone.pathfinder.is_used(399.9)
    assert not alone.pathfinder.is_used(400.1)


def test_the_larger_key_controls() -> None:
    net = Net()
    assert net.controlling.peer.pathfinder.paths.controlling
    assert not net.controlled.peer.pathfinder.paths.controlling


def test_an_answer_goes_back_by_the_way_that_the_question_came() -> None:
    assert answer_target(Origin(THERE, 3)) == Target(*THERE, 3)
    assert answer_target(Origin(SUPERNODE, 0, Relay(target=71, source=72))) == RELAY


def test_credentials_are_drawn_for_each_peer_and_as_long_as_ice_asks() -> None:
    one, two = Net(1), Net(2)
    drawn = {s.peer.pathfinder.checks.password for net in (one, two) for s in net.sides}
    assert len(drawn) == 4
    assert all(len(password) >= 22 for password in drawn)
    assert all(len(s.peer.pathfinder.checks.ufrag) >= 4 for s in one.sides)
    assert COMMUNITY.name == "lan"
