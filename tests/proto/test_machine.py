import pytest

from ntvl.proto.machine import Wakeup, earliest


def test_the_earliest_of_several_wake_ups_counts() -> None:
    assert earliest(Wakeup(3.0, "c"), None, Wakeup(1.0, "a"), Wakeup(2.0, "b")) == Wakeup(1.0, "a")


@pytest.mark.parametrize("wakeups", [(), (None,), (None, None)])
def test_where_nobody_asks_to_be_woken_there_is_no_wake_up(wakeups: tuple[None, ...]) -> None:
    assert earliest(*wakeups) is None


def test_of_two_at_one_time_the_first_named_counts() -> None:
    assert earliest(Wakeup(1.0, "first"), Wakeup(1.0, "second")) == Wakeup(1.0, "first")
