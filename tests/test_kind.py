"""The kinds of places, the oracle with its times, and pairs in waves."""

from itertools import pairwise

import pytest

from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS, Expectation, expect, parse_kinds, plan_pairs, plan_waves
from ntvl.nat import KINDS, MATRIX, direct_path_possible

ALL = list(SITE_KINDS.values())
CROSSED = [kind for kind in ALL if not kind.shared]
SIMULTANEOUS = Expectation("direct", "simultaneous-udp", 1.0, 2.0)
PREDICTION = Expectation("direct", "port-prediction", 1.0, 5.0)
BIRTHDAY = Expectation("direct", "birthday", 1.0, 15.0)
RELAY = Expectation("relay", "", 1.0, None)
BY_STREAM = Expectation("relay", "", 5.0, None)
BY_TCP = Expectation("direct", "tcp-simultaneous-open", 5.0, 5.0)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("eim-apdf", "double", SIMULTANEOUS),
        ("short-lifetime", "triple", SIMULTANEOUS),
        ("apdm-random", "open", SIMULTANEOUS),
        ("apdm-sequential", "eim-apdf", PREDICTION),
        ("apdm-sequential", "apdm-sequential-2", PREDICTION),
        ("apdm-sequential", "apdm-random", RELAY),
        ("apdm-random", "eim-apdf", BIRTHDAY),
        ("cgn", "firewall", BIRTHDAY),
        ("apdm-block", "apdm-random", RELAY),
        ("upnp", "apdm-random", SIMULTANEOUS),
        ("pcp", "cgn", SIMULTANEOUS),
        ("no-udp", "open", BY_TCP),
        ("no-udp", "no-udp", BY_TCP),
        ("no-udp", "triple", BY_TCP),
        ("no-udp", "upnp", BY_TCP),
        ("no-udp", "apdm-sequential-2", BY_TCP),
        ("no-udp", "apdm-random", BY_STREAM),
        ("no-udp", "cgn", BY_STREAM),
        ("no-udp", "ipv6-only", BY_STREAM),
        ("tcp-443", "no-udp", BY_STREAM),
        ("http-proxy", "eim-eif", BY_STREAM),
        ("ipv6-only", "ipv6-only", SIMULTANEOUS),
        ("ipv6-only", "open", SIMULTANEOUS),
        ("ipv6-only", "eim-eif", RELAY),
        ("same-nat", "same-nat", SIMULTANEOUS),
        ("same-nat-no-hairpin", "same-nat-no-hairpin", SIMULTANEOUS),
        ("carrier-hairpin", "carrier-hairpin", SIMULTANEOUS),
        ("carrier-no-hairpin", "carrier-no-hairpin", RELAY),
    ],
)
def test_the_oracle_says_what_people_know(left: str, right: str, expected: Expectation) -> None:
    assert expect(SITE_KINDS[left], SITE_KINDS[right]) == expected
    assert expect(SITE_KINDS[right], SITE_KINDS[left]) == expected


@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_chains_alone_are_judged_as_before(left: str, right: str) -> None:
    expected = expect(SITE_KINDS[left], SITE_KINDS[right])
    assert (expected.path == "direct") == direct_path_possible(KINDS[left], KINDS[right], techniques="all")
    assert (expected == SIMULTANEOUS) == direct_path_possible(KINDS[left], KINDS[right])


def test_a_kind_that_shares_boxes_is_no_pair_with_another() -> None:
    with pytest.raises(ValueError, match="share no box"):
        expect(SITE_KINDS["same-nat"], SITE_KINDS["open"])


@pytest.mark.parametrize("count", range(len(CROSSED) + 1))
def test_waves_have_each_pair_once_and_each_side_at_most_once(count: int) -> None:
    kinds = CROSSED[:count] + [kind for kind in ALL if kind.shared]
    waves = plan_waves(kinds)
    run = [frozenset((left.name, right.name)) for wave in waves for left, right in wave]
    assert sorted(map(sorted, run)) == sorted(sorted({a.name, b.name}) for a, b in plan_pairs(kinds))
    for wave in waves:
        for side in zip(*wave, strict=True):
            assert len({kind.name for kind in side}) == len(wave)


def test_no_kinds_make_no_waves() -> None:
    assert plan_waves([]) == plan_pairs([]) == []


def test_kinds_are_chosen_by_name_and_come_in_the_order_of_the_table() -> None:
    names = [kind.name for kind in parse_kinds(["cgn", "open", "upnp", "open"])]
    assert names == ["open", "cgn", "upnp"]
    places = [list(SITE_KINDS).index(name) for name in names]
    assert all(before < after for before, after in pairwise(places))
    with pytest.raises(UsageError, match=r"no kind 'cone': choose from open, firewall"):
        parse_kinds(["cone"])
