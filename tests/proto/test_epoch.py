import pytest

from ntvl.proto.epoch import Epoch


@pytest.mark.parametrize(
    ("strict", "second", "at", "went_on"),
    [
        (True, 1060, 60.0, True),
        (True, 1056, 60.0, True),  # a clock that is a sixteenth slow
        (True, 1050, 60.0, False),
        (True, 1066, 60.0, True),
        (True, 1070, 60.0, False),  # fast: another gateway, or a start between
        (True, 999, 0.0, True),  # answers that overtook each other
        (True, 998, 0.0, False),
        (True, 3, 60.0, False),
        (False, 1051, 60.0, True),
        (False, 1050, 60.0, False),
        (False, 9999, 60.0, True),
        (False, 3, 60.0, False),
    ],
)
def test_a_clock_that_went_as_far_as_ours_went_on(strict: bool, second: int, at: float, went_on: bool) -> None:
    epoch = Epoch(strict=strict)
    assert epoch.went_on(1000, 0.0), "the first is as good as any"
    assert epoch.went_on(second, at) is went_on


@pytest.mark.parametrize("strict", [True, False])
def test_what_comes_after_a_restart_is_judged_by_the_restart(strict: bool) -> None:
    epoch = Epoch(strict=strict)
    epoch.went_on(1000, 0.0)
    assert not epoch.went_on(5, 100.0)
    assert epoch.went_on(15, 110.0)
