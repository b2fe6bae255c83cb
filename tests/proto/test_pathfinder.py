import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proto.alone import ELSEWHERE, OVERLAY, PASSWORD, RELAY, THERE, UFRAG, Alone
from tests.proto.peering import (
    COMMUNITY,
    SUPERNODE,
    Net,
    Side,
    joined,
    keep,
    lose_all,
    lose_direct,
    lose_nothing,
)

from ntvl.dataplane.interface import Activity, Target
from ntvl.errors import PeerError
from ntvl.proto.candidates import is_underlay
from ntvl.proto.path import PathState, answer_target
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import Fire, Probe
from ntvl.wire.header import Kind, is_stun
from ntvl.wire.stun import (
    StunClass,
    build_binding_error,
    build_binding_request,
    build_binding_response,
    parse_stun,
)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as error:
        call()
    return error.value.reason


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
        alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
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
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.0)
    first = parse_stun(alone.context.transmits[0].data)
    assert not first.use_candidate
    alone.answer_all(100.03, THERE)
    ((to, data),) = alone.sent()
    assert to == THERE
    assert parse_stun(data).use_candidate


def test_a_reply_that_came_another_way_than_the_probe_proves_nothing() -> None:
    alone = Alone(controlling=True)
    alone.offer(100.0, THERE)
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.0)
    ((_, check),) = alone.sent()
    answer = build_binding_response(parse_stun(check).transaction, Address("198.51.100.1", 4001), password="p" * 24)
    alone.pathfinder.handle_check_answer(parse_stun(answer), answer, Origin(THERE), 100.03)
    alone.pathfinder.settle(100.03)
    assert not alone.pathfinder.is_direct, "STUN alone proves no data"
    (probe,) = alone.messages(Probe)
    assert refusal(lambda: alone.pathfinder.handle_probe_reply(probe.id, 100.05, RELAY)) == "transaction"
    assert not alone.pathfinder.is_direct


def test_an_answer_for_a_path_given_up_meanwhile_confirms_nothing() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
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
    assert all(re.fullmatch("[A-Za-z0-9+/]{22,256}", password) for password in drawn)
    assert all(re.fullmatch("[A-Za-z0-9+/]{4,256}", s.peer.pathfinder.checks.ufrag) for s in one.sides)
    assert COMMUNITY.name == "lan"


# --- what lets STUN through and nothing else ---


def lose_all_but_stun(data: bytes, relayed: bool, sender: Side, to: Address) -> bool:
    return not relayed and not is_stun(data)


def test_where_only_stun_gets_through_no_path_is_ever_called_direct() -> None:
    net = Net()
    net.lost = lose_all_but_stun
    net.left.peer.handle_wanted(net.now)
    keep(net, 600.0, step_s=0.5)
    for side in net.sides:
        assert set(side.paths_shown()) == {"relay"}
        assert len(side.peer.pathfinder.negotiation.outcomes) <= 12
    assert net.sent(relayed=False) < 600


def test_a_path_that_begins_to_swallow_data_is_doubted_within_8_s_and_left_for_good() -> None:
    net = joined()
    keep(net, 5.0)
    net.lost = lose_all_but_stun
    both_ways_at = net.now
    assert keep(net, 8.0, until=lambda: len(net.controlling.targets) == 2 or net.controlling.path == "relay")
    assert keep(net, 10.0, until=lambda: all(side.path == "relay" for side in net.sides))
    assert net.now - both_ways_at < 13.0
    keep(net, 300.0, step_s=0.5)
    assert [side.paths_shown()[-2:] for side in net.sides] == [["direct", "relay"]] * 2
    net.lost = lose_nothing
    net.left.peer.handle_network_change(net.now)
    assert keep(net, 10.0, until=lambda: all(side.path == "direct" for side in net.sides))


# --- agents of another make ---


def conflict(alone: Alone, now: float) -> int:
    """Refuses the role in every check that went out; returns how many there were."""
    count = 0
    for to, data in alone.sent():
        if parse_stun(data).cls is StunClass.REQUEST:
            count += 1
            error = build_binding_error(parse_stun(data).transaction, 487, "Role Conflict", password=PASSWORD)
            try:
                alone.pathfinder.handle_check_answer(parse_stun(error), error, Origin(to), now)
            except PeerError as refused:
                assert refused.reason == "rate"
            alone.pathfinder.settle(now)
    return count


def test_a_refused_role_is_given_up_and_the_path_checked_again_at_once() -> None:
    for controlling in (True, False):
        alone = Alone(controlling=controlling)
        alone.offer(100.0, THERE)
        alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
        alone.play(100.0, 100.02)
        assert conflict(alone, 100.03) == 1
        assert alone.pathfinder.paths.controlling is not controlling
        to, data = alone.context.transmits[0].address, alone.context.transmits[0].data
        assert to == THERE
        assert (parse_stun(data).ice_controlling is None) is controlling
        alone.answer_all(100.05, THERE)
        alone.check(100.06, THERE, use=controlling)
        assert alone.pathfinder.is_direct


def test_a_peer_that_refuses_every_role_makes_us_send_little() -> None:
    alone = Alone()
    alone.offer(100.0, THERE)
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 100.02)
    asked = 0
    while found := conflict(alone, 100.03):
        asked += found
        assert asked <= 5


def test_a_check_that_claims_our_role_is_refused_and_opens_no_path() -> None:
    alone = Alone(controlling=True)
    alone.offer(100.0)
    checks = alone.pathfinder.checks
    data = build_binding_request(
        bytes(12), username=f"{checks.ufrag}:{UFRAG}", password=checks.password, priority=1, controlling=0
    )
    alone.pathfinder.handle_check(parse_stun(data), data, Origin(THERE), 100.1)
    ((to, answer),) = alone.sent()
    assert (to, parse_stun(answer).error_code) == (THERE, 487)
    assert alone.pathfinder.paths.directs() == []
    assert alone.pathfinder.paths.controlling


@settings(max_examples=30)
@given(st.lists(st.tuples(st.ip_addresses().map(str), st.integers(1, 65535)), max_size=24))
def test_whatever_a_peer_offers_nothing_goes_where_no_peer_may_send_us(hosts: list[tuple[str, int]]) -> None:
    bad = [Address(host, 53) for host in ("127.0.0.1", "10.77.0.9", "fd12::9", "255.255.255.255", "ff02::1", "::1")]
    alone = Alone()
    alone.offer(100.0, *bad, *(Address(*each) for each in hosts[:18]))
    alone.pathfinder.negotiation.handle_fire(Fire(5), 100.0)
    alone.play(100.0, 101.0)
    assert all(is_underlay(to, OVERLAY) for to, _ in alone.sent())
