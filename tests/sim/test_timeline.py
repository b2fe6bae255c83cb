from ntvl.sim.timeline import Timeline


def test_things_happen_in_the_order_of_their_moments_then_of_being_asked_for() -> None:
    timeline = Timeline()
    order: list[str] = []
    timeline.at(2.0, lambda: order.append("second"))
    timeline.at(1.0, lambda: order.append("first"))
    timeline.at(2.0, lambda: order.append("third"))
    timeline.run_until(2.0)
    assert order == ["first", "second", "third"]
    assert timeline.now == 2.0
    assert timeline.steps == 3


def test_the_clock_jumps_to_each_moment_and_stays_where_told() -> None:
    timeline = Timeline()
    seen: list[float] = []
    timeline.after(3600.0, lambda: seen.append(timeline.now))
    timeline.run_until(3599.0)
    assert seen == []
    timeline.run_until(4000.0)
    assert seen == [3600.0]
    assert timeline.now == 4000.0
    assert not timeline.step()


def test_what_is_planned_meanwhile_is_done_in_its_turn_and_the_past_is_now() -> None:
    timeline = Timeline(start=5.0)
    order: list[str] = []
    timeline.at(6.0, lambda: timeline.at(1.0, lambda: order.append(f"late {timeline.now}")))
    timeline.at(7.0, lambda: order.append("next"))
    timeline.run_until(10.0)
    assert order == ["late 6.0", "next"]


def test_a_cancelled_timer_does_nothing() -> None:
    timeline = Timeline()
    timer = timeline.at(1.0, lambda: 1 / 0)
    timer.cancel()
    assert timeline.next_at() is None
    timeline.run_until(2.0)
