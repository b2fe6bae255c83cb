import random

import pytest

from ntvl.proto.machine import Wakeup
from ntvl.proto.timers import TimerKey, Timers


def due(timers: Timers, now: float) -> list[TimerKey]:
    return list(timers.due(now))


def test_without_a_timer_there_is_nothing_to_wait_for() -> None:
    timers = Timers()
    assert timers.next() is None
    assert due(timers, 1e9) == []


def test_the_earliest_is_next_and_names_its_reason() -> None:
    timers = Timers()
    timers.set(("rekey", 1), 5.0)
    timers.set(("keepalive",), 3.0)
    assert timers.next() == Wakeup(3.0, "keepalive")


def test_timers_come_in_order_of_time_each_once() -> None:
    timers = Timers()
    for place, at in enumerate((3.0, 1.0, 2.0, 9.0)):
        timers.set(("t", place), at)
    assert due(timers, 3.0) == [("t", 1), ("t", 2), ("t", 0)]
    assert due(timers, 3.0) == []
    assert timers.next() == Wakeup(9.0, "t")


def test_a_timer_is_due_at_its_very_time_and_not_before() -> None:
    timers = Timers()
    timers.set(("t",), 0.1 + 0.2)
    assert due(timers, 0.3) == []
    assert due(timers, 0.1 + 0.2) == [("t",)]


def test_setting_again_moves_a_timer_both_ways() -> None:
    timers = Timers()
    timers.set(("t",), 5.0)
    timers.set(("t",), 8.0)
    assert due(timers, 7.0) == []
    timers.set(("t",), 7.5)
    assert timers.next() == Wakeup(7.5, "t")
    assert due(timers, 100.0) == [("t",)]
    assert due(timers, 100.0) == []


def test_setting_back_and_forth_to_one_time_fires_once() -> None:
    timers = Timers()
    for at in (5.0, 8.0, 5.0, 8.0, 5.0):
        timers.set(("t",), at)
    assert due(timers, 10.0) == [("t",)]
    assert due(timers, 10.0) == []


def test_set_earlier_never_postpones() -> None:
    timers = Timers()
    timers.set_earlier(("t",), 5.0)
    timers.set_earlier(("t",), 8.0)
    assert timers.next() == Wakeup(5.0, "t")
    timers.set_earlier(("t",), 4.0)
    assert timers.next() == Wakeup(4.0, "t")


def test_a_cancelled_timer_never_comes() -> None:
    timers = Timers()
    timers.set(("t",), 5.0)
    timers.cancel(("t",))
    timers.cancel(("unknown",))
    assert timers.next() is None
    assert due(timers, 10.0) == []


def test_what_is_set_for_now_or_the_past_while_timers_run_waits_for_the_next_call() -> None:
    timers = Timers()
    timers.set(("t",), 5.0)
    seen = []
    for key in timers.due(6.0):
        seen.append(key)
        assert len(seen) < 10, "a machine that asks to be woken at once must not hold up all others for ever"
        timers.set(key, 6.0)
    assert seen == [("t",)]
    assert due(timers, 6.0) == [("t",)]


def test_one_timer_may_cancel_or_move_another_that_is_due_as_well() -> None:
    timers = Timers()
    for name in ("first", "second", "third"):
        timers.set((name,), 5.0)
    seen = []
    for key in timers.due(5.0):
        seen.append(key)
        timers.cancel(("second",))
        if key == ("first",):
            timers.set(("third",), 9.0)
    assert seen == [("first",)]
    assert timers.next() == Wakeup(9.0, "third")


def test_timers_that_a_failed_call_left_over_come_with_the_next() -> None:
    timers = Timers()
    for name in ("first", "second"):
        timers.set((name,), 5.0)
    with pytest.raises(ZeroDivisionError):
        for _ in timers.due(5.0):
            1 / 0  # noqa: B018
    assert timers.next() == Wakeup(5.0, "second")
    assert due(timers, 5.0) == [("second",)]


@pytest.mark.parametrize("seed", range(5))
def test_timers_are_as_a_plain_dictionary_would_have_them(seed: int) -> None:
    chance = random.Random(seed)
    timers, model = Timers(), dict[TimerKey, float]()
    now = 0.0
    for _ in range(2000):
        key, at = ("t", chance.randrange(20)), now + chance.randrange(10)
        match chance.randrange(4):
            case 0 | 1:
                timers.set(key, at)
                model[key] = at
            case 2:
                timers.cancel(key)
                model.pop(key, None)
            case _:
                now += chance.randrange(3)
                expected = {k for k, v in model.items() if v <= now}
                got = due(timers, now)
                assert set(got) == expected
                assert len(got) == len(expected)
                assert [model[k] for k in got] == sorted(model[k] for k in got)
                model = {k: v for k, v in model.items() if k not in expected}
        upcoming = timers.next()
        assert (upcoming.at if upcoming else None) == min(model.values(), default=None)
