"""Every pair of kinds that the simulator builds: all talk, and each is as good as theory allows, in its time."""

import pytest

from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS, plan_pairs
from ntvl.matrix import Verdict
from ntvl.sim.matrix import run_pair

PAIRS = [
    (left.name, right.name)
    for left, right in plan_pairs(list(SITE_KINDS.values()))
    if left.simulated and right.simulated
]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_a_pair_talks_within_a_second_and_ends_on_the_best_path_its_nats_allow(left: str, right: str) -> None:
    assert run_pair(left, right, seed=7).judge() is Verdict.AS_EXPECTED


@pytest.mark.parametrize("seed", range(5))
def test_loss_delays_a_pair_and_changes_nothing_else(seed: int) -> None:
    assert run_pair("eim-apdf", "double", seed=seed, limit_s=20.0, loss=0.05).judge(10.0) is Verdict.AS_EXPECTED


def test_a_pair_whose_nodes_cannot_join_is_told_as_one_that_does_not_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ntvl.sim.net.Net.resolve", lambda net, url: ())
    found = run_pair("open", "eim-apdf")
    assert found.judge() is Verdict.NONE
    assert found.note == "a and b did not join"


def test_a_kind_that_only_the_laboratory_builds_is_refused() -> None:
    with pytest.raises(UsageError, match="the simulator has no 'upnp'"):
        run_pair("open", "upnp")
