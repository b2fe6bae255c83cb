import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.dataplane.interface import Target
from ntvl.proto.path import (
    DEAD_AFTER_S,
    DOUBT_AFTER_S,
    TRANSITIONS,
    Path,
    PathSet,
    PathSignal,
    PathState,
)

LAN, NAT, SIX = Target("192.168.1.2", 1), Target("198.51.100.2", 2), Target("2001:db8::2", 3)
RELAY, STANDBY = Target("203.0.113.1", 1971, 0, (7, 8)), Target("203.0.113.2", 1971, 0, (9, 10))


def direct(paths: PathSet, target: Target, rtt_s: float | None = 0.05, kind: str = "srflx", now: float = 100.0) -> Path:
    path = paths.add_direct(target, kind)
    assert path is not None
    if rtt_s is not None:
        path.handle_answer(rtt_s, now)
    return path


# --- one path ---


def test_the_table_says_what_every_signal_does_in_every_state() -> None:
    assert set(TRANSITIONS) == set(itertools.product(PathState, PathSignal))
    assert set(TRANSITIONS.values()) == set(PathState)


@pytest.mark.parametrize(("state", "signal"), sorted(TRANSITIONS))
def test_a_path_follows_the_table_and_tells_whether_it_moved(state: PathState, signal: PathSignal) -> None:
    path = Path(NAT, "host", None)
    path.state = state
    assert path.signal(signal) is (TRANSITIONS[state, signal] is not state)
    assert path.state is TRANSITIONS[state, signal]


@pytest.mark.parametrize("state", PathState)
def test_an_answer_makes_any_path_valid_and_silence_ends_any(state: PathState) -> None:
    assert TRANSITIONS[state, PathSignal.ANSWERED] is PathState.VALID
    assert TRANSITIONS[state, PathSignal.SILENT] is PathState.DEAD


def test_no_path_becomes_valid_without_an_answer() -> None:
    made = {signal for (state, signal), to in TRANSITIONS.items() if to is PathState.VALID and state is not to}
    assert made == {PathSignal.ANSWERED}


def test_an_answer_is_noted_with_its_time_and_ends_the_waiting() -> None:
    path = Path(NAT, "host", None)
    path.asked_since = 99.0
    assert path.handle_answer(0.2, 100.0)
    assert (path.rtt_s, path.confirmed_at, path.last_rx, path.asked_since) == (0.2, 100.0, 100.0, None)
    assert not path.handle_answer(0.2, 101.0)


def test_round_trips_are_smoothed_by_an_eighth() -> None:
    path = Path(NAT, "host", None)
    path.handle_answer(0.100, 100.0)
    path.handle_answer(0.180, 101.0)
    assert path.rtt_s == pytest.approx(0.110)


@pytest.mark.parametrize(("rtt_s", "doubt_s"), [(None, 1.2), (0.01, 1.2), (0.3, 1.2), (0.6, 2.4), (1.0, 4.0)])
def test_a_long_way_is_given_more_time_before_it_is_doubted(rtt_s: float | None, doubt_s: float) -> None:
    path = Path(NAT, "host", None)
    if rtt_s is not None:
        path.handle_answer(rtt_s, 100.0)
    assert path.doubt_s() == pytest.approx(doubt_s)
    assert path.recheck_s() == pytest.approx(0.4 if rtt_s is None else max(0.4, 2 * rtt_s))
    assert DOUBT_AFTER_S < DEAD_AFTER_S


def test_a_path_with_a_supernode_is_a_relay() -> None:
    assert not Path(RELAY, "relay", 0).is_direct
    assert Path(NAT, "host", None).is_direct


def test_a_path_through_a_turn_server_is_checked_as_a_direct_one_and_is_none() -> None:
    path = Path(NAT, "turn", None)
    assert (path.is_checked, path.is_direct, path.word, path.technique) == (True, False, "turn", "turn")
    path.handle_answer(0.05, 100.0)
    assert path.quality is not None
    assert path.quality.is_relay
    assert [p.word for p in (Path(RELAY, "relay", 0), Path(LAN, "host", None))] == ["relay", "direct"]


# --- the set ---


def test_without_any_path_nothing_is_selected_and_data_waits() -> None:
    paths = PathSet(controlling=True)
    assert not paths.select()
    assert paths.selected is None
    assert paths.targets() == ()


def test_a_relay_carries_data_at_once() -> None:
    paths = PathSet(controlling=False)
    relay = paths.add_relay(0, RELAY)
    assert paths.select()
    assert paths.selected is relay
    assert paths.targets() == (RELAY,)
    assert not paths.select()


def test_a_direct_path_carries_data_only_once_confirmed() -> None:
    paths = PathSet(controlling=True)
    paths.add_relay(0, RELAY)
    path = direct(paths, NAT, None)
    paths.select()
    assert paths.targets() == (RELAY,)
    path.handle_answer(0.05, 100.0)
    assert paths.select()
    assert paths.targets() == (NAT,)


def test_the_controlled_side_waits_for_the_nomination() -> None:
    paths = PathSet(controlling=False)
    paths.add_relay(0, RELAY)
    nat, lan = direct(paths, NAT), direct(paths, LAN)
    paths.select()
    assert paths.targets() == (RELAY,)
    paths.nominate(lan)
    paths.select()
    assert paths.targets() == (LAN,)
    paths.nominate(nat)
    assert (nat.nominated, lan.nominated) == (True, False)
    paths.select()
    assert paths.targets() == (NAT,)


def test_a_nominated_path_waits_for_our_own_confirmation() -> None:
    paths = PathSet(controlling=False)
    paths.add_relay(0, RELAY)
    path = direct(paths, NAT, None)
    paths.nominate(path)
    paths.select()
    assert paths.targets() == (RELAY,)
    path.handle_answer(0.05, 100.0)
    paths.select()
    assert paths.targets() == (NAT,)


def test_paths_of_like_length_do_not_take_turns() -> None:
    paths = PathSet(controlling=True)
    direct(paths, NAT, 0.050)
    paths.select()
    direct(paths, Target("198.51.100.3", 3), 0.040)
    assert not paths.select()
    direct(paths, Target("198.51.100.4", 4), 0.002)
    assert paths.select()
    assert paths.targets() == (Target("198.51.100.4", 4),)


def test_a_few_milliseconds_are_no_reason_to_change() -> None:
    paths = PathSet(controlling=True)
    direct(paths, NAT, 0.009)
    paths.select()
    direct(paths, Target("198.51.100.3", 3), 0.001)
    assert not paths.select()


def test_of_two_alike_the_lan_is_nearer_and_ipv6_before_ipv4() -> None:
    paths = PathSet(controlling=True)
    direct(paths, NAT, 0.020)
    paths.select()
    direct(paths, SIX, 0.020)
    paths.select()
    assert paths.targets() == (SIX,)
    direct(paths, LAN, 0.020, kind="host")
    paths.select()
    assert paths.targets() == (LAN,)


def test_a_lan_address_that_is_clearly_farther_does_not_win() -> None:
    paths = PathSet(controlling=True)
    direct(paths, NAT, 0.020)
    paths.select()
    direct(paths, LAN, 0.200, kind="host")
    assert not paths.select()


def test_in_doubt_data_goes_by_the_direct_path_and_by_the_relay() -> None:
    paths = PathSet(controlling=True)
    paths.add_relay(0, RELAY)
    path = direct(paths, NAT)
    paths.select()
    path.signal(PathSignal.UNANSWERED)
    paths.select()
    assert paths.selected is path
    assert paths.targets() == (NAT, RELAY)
    path.handle_answer(0.05, 101.0)
    assert paths.targets() == (NAT,)


def test_in_doubt_without_a_relay_the_direct_path_is_all_there_is() -> None:
    paths = PathSet(controlling=True)
    path = direct(paths, NAT)
    paths.select()
    path.signal(PathSignal.UNANSWERED)
    assert paths.targets() == (NAT,)


def test_a_path_in_doubt_gives_way_to_one_that_was_answered() -> None:
    paths = PathSet(controlling=True)
    old = direct(paths, NAT, 0.010)
    paths.select()
    old.signal(PathSignal.UNANSWERED)
    direct(paths, SIX, 0.300)
    assert paths.select()
    assert paths.targets() == (SIX,)


@pytest.mark.parametrize("controlling", [True, False])
def test_a_dead_path_gives_way_to_the_relay(controlling: bool) -> None:
    paths = PathSet(controlling=controlling)
    paths.add_relay(0, RELAY)
    path = direct(paths, NAT)
    paths.nominate(path)
    paths.select()
    assert paths.targets() == (NAT,)
    path.signal(PathSignal.SILENT)
    assert paths.select()
    assert paths.targets() == (RELAY,)


def test_a_removed_path_is_not_selected_any_more() -> None:
    paths = PathSet(controlling=True)
    paths.add_relay(0, RELAY)
    path = direct(paths, NAT)
    paths.select()
    paths.remove(path)
    assert paths.selected is None
    paths.select()
    assert paths.targets() == (RELAY,)
    assert paths.find(NAT) is None


def test_a_new_relay_id_replaces_the_old_way_through_that_supernode() -> None:
    paths = PathSet(controlling=True)
    old = paths.add_relay(0, RELAY)
    assert paths.add_relay(0, RELAY) is old
    fresh = paths.add_relay(0, Target(RELAY.host, RELAY.port, 0, (17, 18)))
    assert fresh is not old
    assert paths.relays() == [fresh]


def test_relays_come_surest_first_and_then_in_the_order_of_the_supernodes() -> None:
    paths = PathSet(controlling=True)
    standby, first = paths.add_relay(1, STANDBY), paths.add_relay(0, RELAY)
    assert paths.relays() == [first, standby]
    first.signal(PathSignal.UNANSWERED)
    assert paths.relays() == [standby, first]
    standby.signal(PathSignal.SILENT)
    assert paths.relays() == [first, standby]


def test_a_relay_in_doubt_is_left_for_a_sound_one() -> None:
    paths = PathSet(controlling=True)
    first = paths.add_relay(0, RELAY)
    paths.select()
    paths.add_relay(1, STANDBY)
    assert not paths.select()
    first.signal(PathSignal.UNANSWERED)
    assert paths.select()
    assert paths.targets() == (STANDBY,)


def test_the_only_relay_is_used_even_when_it_is_dead() -> None:
    paths = PathSet(controlling=True)
    paths.add_relay(0, RELAY).signal(PathSignal.SILENT)
    paths.select()
    assert paths.targets() == (RELAY,)


def test_no_peer_can_make_us_keep_more_than_48_direct_paths() -> None:
    paths = PathSet(controlling=True)
    kept = [paths.add_direct(Target("198.51.100.2", port), "prflx") for port in range(1, 100)]
    assert sum(path is not None for path in kept) == 48 == len(paths.directs())
    assert paths.add_direct(Target("198.51.100.2", 1), "prflx") is kept[0]
    paths.add_relay(0, RELAY)
    assert len(list(paths)) == 49


def test_the_end_of_an_attempt_forgets_what_never_answered_and_nothing_else() -> None:
    paths = PathSet(controlling=True)
    relay = paths.add_relay(0, RELAY)
    good, doubtful, silent = direct(paths, NAT), direct(paths, LAN), direct(paths, SIX, None)
    doubtful.signal(PathSignal.UNANSWERED)
    paths.forget_unconfirmed()
    assert set(paths) == {relay, good, doubtful}
    assert silent not in set(paths)


@given(
    controlling=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from([*PathSignal, "nominate", "remove", "add"]), st.floats(0.001, 2.0)
        ),
        max_size=40,
    ),
)
def test_whatever_happens_data_goes_to_known_paths_and_never_to_an_unconfirmed_one(
    controlling: bool, steps: list[tuple[int, str, float]]
) -> None:
    paths = PathSet(controlling=controlling)
    targets = [LAN, NAT, SIX, RELAY, STANDBY]
    for place, step, rtt_s in steps:
        target = targets[place]
        path = paths.find(target)
        if path is None:
            paths.add_direct(target, "host") if place < 3 else paths.add_relay(place - 3, target)
        elif step == "remove":
            paths.remove(path)
        elif step == "nominate":
            paths.nominate(path)
        elif step == PathSignal.ANSWERED:
            path.handle_answer(rtt_s, 100.0)
        elif step != "add":
            path.signal(PathSignal(step))
        paths.select()
        used = [paths.find(t) for t in paths.targets()]
        assert None not in used
        assert len(set(paths.targets())) == len(used) <= 2
        assert all(p is None or not p.is_direct or p.state in (PathState.VALID, PathState.DOUBT) for p in used)
        if paths.relays():
            assert used
            if used[0] is not None and used[0].state is PathState.DOUBT and used[0].is_direct:
                assert len(used) == 2
        assert not paths.select()


# --- through a TURN server ---


def turn(paths: PathSet, *, proven: bool = True) -> Path:
    path = paths.add_direct(NAT, "turn")
    assert path is not None
    path.handle_answer(0.05, 100.0, sealed=proven)
    return path


def test_a_path_through_a_turn_server_comes_after_the_supernodes_that_relay() -> None:
    paths = PathSet(controlling=True)
    relay, standby = paths.add_relay(0, RELAY), paths.add_relay(1, STANDBY)
    path = turn(paths)
    assert paths.relays() == [relay, standby, path]
    paths.select()
    assert paths.targets() == (RELAY,)
    for each in (relay, standby):
        each.signal(PathSignal.SILENT)
    assert paths.select()
    assert paths.targets() == (NAT,)
    relay.handle_answer(0.05, 101.0)
    assert paths.select()
    assert paths.targets() == (RELAY,)


def test_a_path_through_a_turn_server_that_proved_nothing_is_no_relay() -> None:
    paths = PathSet(controlling=True)
    assert paths.add_direct(LAN, "turn") is not None
    path = turn(paths, proven=False)
    assert paths.relays() == []
    assert not paths.select()
    path.handle_answer(0.05, 101.0)
    assert paths.relays() == [path]


def test_a_path_through_a_turn_server_is_measured_however_many_supernodes_there_are() -> None:
    paths = PathSet(controlling=True)
    for via in range(4):
        paths.add_relay(via, Target(RELAY.host, 1000 + via, 0, (7, 8)))
    path = turn(paths)
    paths.select()
    assert path in paths.alternatives()
    assert len(paths.alternatives()) == 3


def test_a_path_through_a_turn_server_that_is_much_better_for_long_takes_the_data_from_a_supernode() -> None:
    paths = PathSet(controlling=True)
    relay = paths.add_relay(0, RELAY)
    path = turn(paths)
    paths.select()
    changed = 0.0
    for second in range(101, 180):
        relay.handle_answer(0.4, second)
        path.handle_answer(0.05, second)
        if paths.weigh(second):
            changed = second
            break
    assert paths.selected is path
    assert not paths.select()
    assert 30 <= changed - 101 <= 40


def test_paths_under_check_through_a_turn_server_are_forgotten_with_the_others() -> None:
    paths = PathSet(controlling=True)
    paths.add_direct(LAN, "turn")
    path = turn(paths)
    paths.forget_unconfirmed()
    assert list(paths) == [path]


@pytest.mark.parametrize("successor", [True, False])
def test_a_path_through_a_turn_server_that_won_goes_on_at_the_port_where_the_peer_has_answered_since(
    successor: bool,
) -> None:
    paths = PathSet(controlling=True)
    relay = paths.add_relay(0, RELAY)
    won = turn(paths)
    other = paths.add_direct(Target("127.70.0.9", 4009), "turn")
    assert other is not None
    other.handle_answer(0.05, 99.0)
    paths.select()
    for second in range(101, 140):
        relay.handle_answer(0.4, second)
        won.handle_answer(0.05, second)
        paths.weigh(second)
    assert paths.selected is won
    if successor:
        other.handle_answer(0.05, 140.0)
    assert not paths.select()
    won.signal(PathSignal.UNANSWERED)
    assert paths.select() is successor
    now = other if successor else won
    for _ in range(2):
        assert paths.selected is now
        assert not paths.select()
    now.signal(PathSignal.UNANSWERED)
    assert not paths.select()
    assert paths.targets() == (now.target, relay.target), "in doubt data goes both ways"
    now.signal(PathSignal.SILENT)
    assert paths.select()
    assert paths.selected is relay


def test_an_attempt_costs_a_path_through_a_turn_server_neither_the_data_nor_what_speaks_for_it() -> None:
    paths = PathSet(controlling=True)
    relay = paths.add_relay(0, RELAY)
    path = turn(paths)
    paths.select()
    for second in range(101, 150):
        relay.handle_answer(0.4, second)
        path.signal(PathSignal.DISTURBED)
        paths.weigh(second)
        paths.select()
        path.handle_answer(0.05, second)
        paths.weigh(second)
        paths.select()
        assert (paths.selected is path) is (second >= 131)


def test_a_path_that_keeps_losing_checks_does_not_take_the_data_from_one_that_loses_none() -> None:
    paths = PathSet(controlling=True)
    relay = paths.add_relay(0, RELAY)
    path = turn(paths)
    paths.select()
    for second in range(101, 400, 2):
        relay.handle_answer(0.1, second)
        path.handle_asked(second)
        if second % 4 == 1:
            path.handle_answer(0.02, second)
        else:
            path.signal(PathSignal.UNANSWERED)
            path.handle_asked(second + 0.5)
            paths.weigh(second + 1.5)
            path.handle_answer(0.02, second + 1.8)
        paths.weigh(second + 1.9)
        assert not paths.select()
    assert paths.selected is relay
