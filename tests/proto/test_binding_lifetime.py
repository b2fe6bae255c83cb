"""The search for a mapping's lifetime, against a NAT of a script."""

import pytest
from tests.proto.asked import Reply, chance, play

from ntvl.proto.binding_lifetime import BindingLifetime, LifetimeReport
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.stun import Stun, build_binding_error, build_binding_response

SERVER = Address("203.0.113.1", 1971)


class Script:
    """Is a NAT that forgets after `lifetime_s`, before a server that may do RESPONSE-PORT."""

    def __init__(self, lifetime_s: float, *, does: str = "response-port", public: int = 4000) -> None:
        self.lifetime_s = lifetime_s
        self.does = does
        self.port = public
        self.fresh = -1e9
        self.sent = 0

    def __call__(self, sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        self.sent += 1
        assert sent.address == SERVER
        if self.does == "nothing":
            return []
        answer = build_binding_response(stun.transaction, Address("198.51.100.9", self.port + sent.socket))
        if sent.socket == 0:
            if now - self.fresh > self.lifetime_s:
                self.port += 2
                answer = build_binding_response(stun.transaction, Address("198.51.100.9", self.port))
            self.fresh = now
            return [(answer, Origin(SERVER, 0))]
        assert stun.response_port is not None
        if self.does == "error":
            return [(build_binding_error(stun.transaction, 420, "Unknown", unknown=(0x27,)), Origin(SERVER, 1))]
        if self.does == "ignores":
            return [(answer, Origin(SERVER, 1))]
        if stun.response_port != self.port or now - self.fresh > self.lifetime_s:
            return []
        self.fresh = now
        return [(answer, Origin(SERVER, 0))]


def search(script: Script) -> LifetimeReport:
    machine = BindingLifetime(SERVER, random=chance())
    machine.start(100.0)
    play(machine, script)
    assert machine.report is not None
    return machine.report


@pytest.mark.parametrize("lifetime_s", [25.0, 30.0, 60.0, 119.0, 180.0, 295.0])
def test_the_lifetime_is_found_to_ten_seconds(lifetime_s: float) -> None:
    script = Script(lifetime_s)
    report = search(script)
    assert report.dead_s is not None
    assert report.alive_s <= lifetime_s <= report.dead_s + 1
    assert report.dead_s - report.alive_s <= 10.0
    assert script.sent < 50


class Linux(Script):
    """Forgets a flow after 30 s, one that carried answers over more than two seconds after 120 s."""

    def __call__(self, sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        if sent.socket == 0:
            if now - self.fresh > self.lifetime_s:
                self.made, self.lifetime_s = now, 30.0
            elif now - self.made > 2.0:
                self.lifetime_s = 120.0
        return super().__call__(sent, stun, now)


def test_a_mapping_is_measured_as_one_that_keepalives_use() -> None:
    report = search(Linux(30.0))
    assert report.dead_s is not None
    assert 110.0 <= report.alive_s <= 120.0 <= report.dead_s


def test_a_trial_that_ends_late_is_made_again() -> None:
    script, machine = Script(60.0), BindingLifetime(SERVER, random=chance())
    machine.start(100.0)
    asleep = [True]

    def answer(sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        return script(sent, stun, now)

    class Sleepy:
        """Misses the end of the first long trial by an hour."""

        handle_datagram, poll_timeout, poll_transmit = (
            machine.handle_datagram,
            machine.poll_timeout,
            machine.poll_transmit,
        )

        def handle_timeout(self, now: float) -> None:
            if asleep and machine.proven_s == 20.0 and now > 130.0:
                asleep.clear()
                now += 3600.0
            machine.handle_timeout(now)

    play(Sleepy(), answer)
    assert not asleep
    assert machine.report is not None
    assert machine.report.alive_s >= 50.0


def test_beyond_the_ends_it_is_known_to_be_beyond() -> None:
    assert search(Script(10.0)) == LifetimeReport(0.0, 20.0)
    assert search(Script(3600.0)) == LifetimeReport(300.0, None)


@pytest.mark.parametrize("does", ["error", "ignores"])
def test_a_server_that_cannot_answer_to_another_port_measures_nothing(does: str) -> None:
    assert search(Script(60.0, does=does)) == LifetimeReport(problem="no-response-port")


def test_a_silent_server_is_told() -> None:
    assert search(Script(60.0, does="nothing")) == LifetimeReport(problem="server-silent")


def test_rubbish_is_counted() -> None:
    machine = BindingLifetime(SERVER, random=chance())
    machine.start(0.0)
    machine.handle_datagram(b"\x01" * 40, Origin(SERVER), 0.0)
    assert machine.drops.total() == 1


def test_an_empty_range_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nothing to search"):
        BindingLifetime(SERVER, random=chance(), shortest_s=30.0, longest_s=20.0)
