import random

import pytest
from tests.proto.test_binding_lifetime import Script

from ntvl.dataplane.interface import CloseSocket, OpenSocket
from ntvl.proto.context import Context
from ntvl.proto.lifetime_probe import (
    AGAIN_S,
    DELAY_S,
    KEEPALIVE_START_S,
    LifetimeProbe,
    keepalive_s,
)
from ntvl.proto.sockets import Sockets
from ntvl.wire.address import Address, Origin
from ntvl.wire.stun import parse_stun

SERVER = Address("203.0.113.1", 1971)
HOME, CAFE = ("192.168.1.7",), ("10.0.0.9",)


@pytest.mark.parametrize(
    ("lifetime_s", "interval_s"),
    [(None, 15.0), (0.0, 10.0), (12.0, 10.0), (20.0, 16.0), (30.0, 24.0), (120.0, 96.0), (300.0, 100.0)],
)
def test_a_mapping_is_refreshed_after_four_fifths_of_its_life(lifetime_s: float | None, interval_s: float) -> None:
    assert keepalive_s(lifetime_s) == pytest.approx(interval_s)


class Probing:
    """Is a probe behind a NAT of a script, whose data plane opens every socket."""

    def __init__(self, script: Script, *, opens: bool = True) -> None:
        self.script = script
        self.opens = opens
        self.context = Context(random.Random(1).randbytes, lambda: 0.0)
        self.open: set[int] = set()
        self.opened = 0
        self.now = 100.0
        self.probe = LifetimeProbe(self.context, Sockets(self.context), server=lambda: SERVER)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            self.exchange()
            wakeup = self.context.timers.next()
            if wakeup is None or wakeup.at > until:
                self.now = until
                return
            self.now = max(self.now, wakeup.at)
            self.context.timers.due(self.now)
            self.probe.handle_timeout(self.now)

    def exchange(self) -> None:
        while self.context.commands or self.context.transmits:
            while self.context.commands:
                command = self.context.commands.popleft()
                if isinstance(command, OpenSocket):
                    self.opened += 1
                    self.open.add(command.socket)
                    if self.opens:
                        self.probe.handle_socket(command.socket, self.now)
                elif isinstance(command, CloseSocket):
                    self.open.remove(command.socket)
            while self.context.transmits:
                sent = self.context.transmits.popleft()
                if not self.probe.expects(sent.socket):
                    continue
                places = sorted(self.open)
                ours = sent._replace(socket=places.index(sent.socket))
                for data, origin in self.script(ours, parse_stun(sent.data), self.now):
                    self.probe.handle_datagram(data, Origin(origin.address, places[origin.socket]), self.now)


@pytest.mark.parametrize(
    ("lifetime_s", "least_s", "most_s"), [(25.0, 16.0, 20.0), (65.0, 44.0, 52.0), (600.0, 100, 100)]
)
def test_a_search_in_the_background_sets_the_pace(lifetime_s: float, least_s: float, most_s: float) -> None:
    probing = Probing(Script(lifetime_s))
    assert probing.context.keepalive_s == KEEPALIVE_START_S
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(DELAY_S - 0.1)
    assert probing.opened == 0
    probing.run(900.0)
    assert least_s <= probing.context.keepalive_s <= most_s
    assert probing.probe.lifetime_s == pytest.approx(probing.context.keepalive_s / 0.8)
    assert probing.open == set()


def test_a_nat_that_forgets_within_20_s_is_met_at_the_shortest_pace() -> None:
    probing = Probing(Script(15.0))
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(100.0)
    assert (probing.probe.lifetime_s, probing.context.keepalive_s) == (0.0, 10.0)


def test_what_is_proven_counts_before_the_search_is_over() -> None:
    probing = Probing(Script(600.0))
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(60.0)
    assert probing.probe.lifetime_s == 20.0
    assert len(probing.open) == 2


def test_a_network_is_measured_once() -> None:
    probing = Probing(Script(60.0))
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(900.0)
    found = probing.probe.lifetime_s
    assert found is not None
    probing.probe.handle_change()
    assert probing.context.keepalive_s == KEEPALIVE_START_S
    probing.probe.handle_network(CAFE, ["192.0.2.44"], probing.now)
    probing.run(100.0)
    assert len(probing.open) == 2
    probing.probe.handle_change()
    probing.run(0.0)
    assert probing.open == set()
    opened = probing.opened
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    assert probing.probe.lifetime_s == found
    probing.run(900.0)
    assert probing.opened == opened == 4


@pytest.mark.parametrize("does", ["nothing", "error"])
def test_where_nothing_can_be_measured_it_is_tried_again_in_an_hour(does: str) -> None:
    probing = Probing(Script(60.0, does=does))
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(1000.0)
    assert probing.opened == 2
    assert probing.context.keepalive_s == KEEPALIVE_START_S
    probing.script.does = "response-port"
    probing.run(AGAIN_S)
    assert probing.probe.lifetime_s is not None


def test_a_computer_that_gives_no_sockets_sends_nothing() -> None:
    probing = Probing(Script(60.0), opens=False)
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(1000.0)
    assert probing.open == set()
    assert probing.script.sent == 0


def test_rubbish_is_counted() -> None:
    probing = Probing(Script(60.0))
    probing.probe.handle_network(HOME, ["198.51.100.9"], probing.now)
    probing.run(DELAY_S + 1.0)
    probing.probe.handle_datagram(b"\x01" * 30, Origin(SERVER, min(probing.open)), probing.now)
    assert sum(probing.context.drops.values()) == 1
