import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.proto.ranking import PATIENCE_S, Patience, Quality, costs_s, is_better


def direct(rtt_s: float, lost: int = 0, kind: str = "srflx", *, is_ipv6: bool = False) -> Quality:
    return Quality(False, rtt_s, lost, 100, kind, is_ipv6)


def relay(rtt_s: float, lost: int = 0, kind: str = "relay") -> Quality:
    return Quality(True, rtt_s, lost, 100, kind)


QUALITIES = st.builds(
    lambda is_relay, rtt_s, asked, share, kind, is_ipv6: Quality(
        is_relay, rtt_s, round(asked * share), asked, kind, is_ipv6
    ),
    st.booleans(),
    st.floats(0.0001, 3.0),
    st.integers(0, 200),
    st.floats(0.0, 1.0),
    st.sampled_from(["host", "srflx", "relay", "turn"]),
    st.booleans(),
)


def test_a_lost_packet_in_a_hundred_costs_ten_milliseconds() -> None:
    assert costs_s(direct(0.050, 20), relay(0.050)) == (pytest.approx(0.250), pytest.approx(0.050))


@pytest.mark.parametrize(("ours", "theirs"), [(3, 0), (8, 2), (0, 0), (50, 40)])
def test_losses_that_chance_may_explain_count_for_neither(ours: int, theirs: int) -> None:
    assert costs_s(direct(0.050, ours), relay(0.050, theirs)) == (0.050, 0.050)


def test_where_nothing_was_asked_yet_only_the_round_trip_counts() -> None:
    assert costs_s(Quality(False, 0.050, 3, 3), Quality(True, 0.080)) == (0.050, 0.080)


@pytest.mark.parametrize(
    ("relayed_s", "direct_s", "wins"),
    [(0.066, 0.100, True), (0.068, 0.100, False), (0.001, 0.010, False), (0.001, 0.012, True), (0.1, 0.1, False)],
)
def test_a_relay_wins_by_a_third_and_ten_milliseconds(relayed_s: float, direct_s: float, wins: bool) -> None:
    assert is_better(relay(relayed_s), direct(direct_s)) is wins


def test_a_relay_wins_over_a_direct_way_that_loses_packets() -> None:
    assert is_better(relay(0.080), direct(0.020, 15))
    assert not is_better(relay(0.080), direct(0.020, 2))


@pytest.mark.parametrize(
    ("direct_s", "relayed_s", "returns"), [(0.150, 0.100, False), (0.110, 0.100, True), (0.014, 0.010, True)]
)
def test_a_direct_way_is_taken_again_when_the_relays_lead_is_small(
    direct_s: float, relayed_s: float, returns: bool
) -> None:
    assert is_better(direct(direct_s), relay(relayed_s)) is returns


def test_of_two_alike_the_lan_is_nearer_and_ipv6_before_ipv4_and_relays_are_all_alike() -> None:
    assert is_better(direct(0.020, kind="host"), direct(0.020))
    assert is_better(direct(0.020, is_ipv6=True), direct(0.020))
    assert not is_better(direct(0.020, is_ipv6=True), direct(0.020, kind="host"))
    for one, other in itertools.permutations(("relay", "turn"), 2):
        assert not is_better(relay(0.020, kind=one), relay(0.020, kind=other))


@given(QUALITIES, QUALITIES)
def test_no_two_ways_are_each_better_than_the_other(one: Quality, other: Quality) -> None:
    assert not (is_better(one, other) and is_better(other, one))


@given(QUALITIES)
def test_no_way_is_better_than_itself(one: Quality) -> None:
    assert not is_better(one, one)


def test_each_change_of_late_doubles_the_patience() -> None:
    patience = Patience()
    waits = []
    for n in range(6):
        waits.append(patience.wait_s(100.0 + n))
        patience.note_change(100.0 + n)
    assert waits == [PATIENCE_S * factor for factor in (1, 2, 4, 8, 16, 16)]
    assert patience.wait_s(100.0 + 1300.0) == PATIENCE_S
    patience.note_change(2000.0)
    patience.clear()
    assert patience.wait_s(2000.0) == PATIENCE_S
