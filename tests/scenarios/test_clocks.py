"""Wall clocks step and are wrong; only certificates care."""

import pytest

from ntvl.proto.events import Notice
from ntvl.sim.net import Net

DAY_S = 86400.0


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_clock_stepped_by_a_day_disturbs_no_running_session(step_s: float) -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    net.stream(a, b, packets=1000, spacing_s=0.1)
    net.stream(b, a, packets=1000, spacing_s=0.1)
    net.run(5.0)
    net.step_clock(a, step_s)
    net.run(100.0)
    for node in (a, b):
        assert net.received(node) == list(range(1000))
    assert net.is_direct(a, b)


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_a_clock_stepped_by_a_day_is_said_in_words_and_does_not_end_the_node(step_s: float) -> None:
    net = Net(seed=2)
    supernode = net.supernode()
    a, b = net.node(), net.node()
    net.join()
    net.step_clock(a, step_s)
    net.restart_supernode(supernode)
    a.restart()
    net.run(60.0)
    clock = [event for event in a.said(Notice) if event.code == "clock"]
    assert len(clock) == 1
    assert ("ahead" in clock[0].text) == (step_s > 0)
    assert "24 hours" in clock[0].text
    assert a.failed is None
    net.step_clock(a, -step_s)
    net.run(90.0)
    assert a.supernode_state() == "registered"
    assert net.ping(a, b) is not None


def test_a_clock_that_was_wrong_at_the_start_and_is_set_later() -> None:
    net = Net(seed=3)
    net.supernode()
    b = net.node()
    a = net.node()
    a.stop()
    net.step_clock(a, -365 * DAY_S)
    a.start()
    net.run(20.0)
    assert "certificate-expired" in a.notices()
    assert a.supernode_state() == "refused"
    net.step_clock(a, 365 * DAY_S)
    net.run_until(lambda: a.supernode_state() == "registered", 120.0)
    net.join(a, b)
    assert net.ping(a, b) is not None


def test_a_peer_with_a_clock_far_ahead_is_refused_with_a_reason_and_accepted_once_it_is_right() -> None:
    net = Net(seed=4)
    net.supernode()
    a = net.node()
    a.stop()
    net.step_clock(a, 40 * DAY_S)
    a.start()
    net.run(20.0)
    assert "certificate-not-yet-valid" in a.notices()
    net.step_clock(a, -40 * DAY_S)
    net.run_until(lambda: a.supernode_state() == "registered", 120.0)


def test_certificates_are_renewed_long_before_they_end() -> None:
    net = Net(seed=5)
    supernode = net.supernode()
    a, b = net.node(), net.node()
    net.join()
    net.ping(a, b)
    for _ in range(5):
        # Five days in which nothing happens, as wall clocks see it; a certificate lasts seven.
        for member in (a, b, supernode):
            net.step_clock(member, 5 * DAY_S)
        net.run(200.0)
        assert net.ping(a, b) is not None
    newcomer = net.node()
    newcomer.stop()
    net.step_clock(newcomer, 25 * DAY_S)
    newcomer.start()
    net.join(newcomer, a, b)
    assert net.ping(newcomer, a) is not None
    assert net.ping(newcomer, b) is not None
    assert a.notices() == b.notices() == newcomer.notices() == []
