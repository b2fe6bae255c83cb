"""Every pair of NAT kinds: all talk, and exactly those go direct that the oracle calls possible."""

import pytest

from ntvl.nat import MATRIX
from ntvl.sim.matrix import run_pair


@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_a_pair_talks_within_a_second_and_ends_on_the_best_path_its_nats_allow(left: str, right: str) -> None:
    result = run_pair(left, right, seed=7, limit_s=8.0)
    assert result.is_as_expected
    assert result.first_reply_s is not None
    assert result.first_reply_s < 1.0
    if result.expected_direct:
        assert result.direct_after_s is not None
        assert result.direct_after_s < 2.0


@pytest.mark.parametrize("seed", range(5))
def test_loss_delays_a_pair_and_changes_nothing_else(seed: int) -> None:
    assert run_pair("eim-apdf", "double", seed=seed, limit_s=20.0, loss=0.05).is_as_expected
