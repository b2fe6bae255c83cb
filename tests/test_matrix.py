"""Outcomes of pairs, compared with what theory allows."""

from dataclasses import replace

import pytest

from ntvl.matrix import PairOutcome, Verdict, describe_shortfall, describe_success, technique_of


def outcome(left: str, right: str, path: str, reply_s: float | None, direct_s: float | None = None) -> PairOutcome:
    return PairOutcome(left, right, path, path, reply_s, direct_s, 6)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (outcome("open", "eim-apdf", "direct", 0.1, 1.9), Verdict.AS_EXPECTED),
        (outcome("open", "eim-apdf", "direct", 0.1, 2.1), Verdict.LATE),
        (outcome("open", "eim-apdf", "direct", 1.1, 1.2), Verdict.LATE),
        (outcome("open", "eim-apdf", "relay", 0.1), Verdict.BELOW),
        (outcome("open", "eim-apdf", "none", None), Verdict.NONE),
        (outcome("cgn", "eim-apdf", "direct", 0.1, 14.0), Verdict.AS_EXPECTED),
        (outcome("cgn", "cgn", "relay", 0.1), Verdict.AS_EXPECTED),
        (outcome("cgn", "cgn", "relay", 1.1), Verdict.LATE),
        (outcome("cgn", "cgn", "direct", 0.1, 1.0), Verdict.ABOVE),
        (outcome("tcp-443", "open", "relay", 4.9), Verdict.AS_EXPECTED),
    ],
)
def test_a_pair_is_judged_by_path_and_time(found: PairOutcome, verdict: Verdict) -> None:
    assert found.judge() is verdict
    assert found.as_json()["verdict"] == verdict


def test_slack_stretches_the_times_and_nothing_else() -> None:
    assert outcome("open", "eim-apdf", "direct", 1.5, 3.9).judge(2.0) is Verdict.AS_EXPECTED
    assert outcome("open", "eim-apdf", "relay", 0.1).judge(100.0) is Verdict.BELOW


def test_better_than_theory_is_no_shortfall() -> None:
    assert describe_shortfall([outcome("cgn", "cgn", "direct", 0.1, 1.0)]) == ""


def test_the_sentence_names_every_pair_and_what_it_lacks() -> None:
    found = [
        outcome("open", "open", "direct", 0.1, 0.2),
        outcome("open", "eim-apdf", "relay", 0.1),
        outcome("cgn", "eim-apdf", "direct", 0.1, 17.0),
        outcome("cgn", "cgn", "relay", 3.0),
    ]
    assert describe_shortfall(found) == (
        "3 pairs are below what theory allows; stay on the relay without need: open with eim-apdf; cgn and eim-apdf are"
        " direct after 17.0 s, 15 s are allowed; cgn and cgn have a reply only after 3.0 s, 1 s are allowed"
    )


def test_a_kind_that_fails_with_all_is_named_once() -> None:
    kinds = ("open", "cgn", "no-udp")
    found = [outcome("no-udp", kind, "none", None) for kind in kinds] + [outcome("open", "cgn", "direct", 0.1, 0.2)]
    assert describe_shortfall(found) == "3 pairs are below what theory allows; do not talk: no-udp with every kind"
    assert describe_shortfall(found[:1]) == "1 pair is below what theory allows; do not talk: no-udp with open"


def test_what_took_a_second_try_is_counted_apart_and_keeps_what_the_first_came_to() -> None:
    good = outcome("open", "open", "direct", 0.1, 0.2)
    again = replace(good, tries=2, first_verdict=Verdict.BELOW)
    in_vain = replace(outcome("open", "cgn", "relay", 0.1), tries=2, first_verdict=Verdict.NONE)
    assert describe_success([good]) == "As good as theory allows: 1 of 1 pair."
    assert describe_success([good, again, in_vain]) == (
        "As good as theory allows: 2 of 3 pairs, 1 of them at the second try only."
    )
    assert (again.as_json()["tries"], again.as_json()["first_verdict"]) == (2, "below")
    assert (good.as_json()["tries"], good.as_json()["first_verdict"]) == (1, None)


def test_the_technique_is_that_which_succeeded_last_at_either_end() -> None:
    here = {"path": "direct", "attempts": [{"technique": "simultaneous-udp", "verdict": "no-reply", "packets": 6}]}
    there = {"path": "direct", "attempts": [{"technique": "birthday", "verdict": "direct", "packets": 80}]}
    assert technique_of(here, there) == ("birthday", 86)
    assert technique_of(here | {"technique": "upnp"}, there) == ("upnp", 86)
    assert technique_of(here | {"path": "relay"}, there) == ("relay", 86)
    assert technique_of({}, {}) == ("none", 0)
