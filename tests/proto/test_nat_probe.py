import itertools
import random

import pytest

from ntvl.dataplane.interface import CloseSocket, OpenSocket
from ntvl.nat import Filtering, Mapping, PortAllocation
from ntvl.proto.classification import SOCKETS
from ntvl.proto.context import Context
from ntvl.proto.nat_probe import AGAIN_S, OPEN_LIMIT_S, SETTLE_S, NatProbe, summarise
from ntvl.proto.nat_report import NatReport
from ntvl.proto.sockets import Sockets
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import UNKNOWN_NAT, Nat
from ntvl.wire.stun import build_binding_response, parse_stun

EIM, ADM, APDM = Mapping
STRICT = (Filtering.ADDRESS_AND_PORT_DEPENDENT,)
SERVER = Address("198.51.100.1", 1971)


def report(mappings: tuple[Mapping, ...], allocation: PortAllocation | None = None, **more: object) -> NatReport:
    facts = {"udp": True, "translated": True, "filterings": STRICT} | more
    return NatReport(mappings=mappings, allocation=allocation, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (NatReport(False), UNKNOWN_NAT),
        (report((EIM, ADM, APDM)), UNKNOWN_NAT),
        (report((EIM,), translated=False), Nat(EIM, STRICT[0], "preserving")),
        (report((EIM, ADM, APDM), PortAllocation.PRESERVING), Nat(EIM, STRICT[0], "preserving")),
        (report((EIM, ADM), PortAllocation.RANDOM, notes=("mapping-one-address",)), Nat(EIM, STRICT[0], "random", 1)),
        (report((APDM,), PortAllocation.RANDOM), Nat(APDM, STRICT[0], "random", 1)),
        (report((APDM,), None), Nat(APDM, STRICT[0], "random", 1)),
        (report((APDM,), PortAllocation.SEQUENTIAL, step=-2), Nat(APDM, STRICT[0], "sequential", -2)),
        (
            report((APDM,), PortAllocation.BLOCK_RANDOM, ports=(40_100, 40_900), block_ports=1024),
            Nat(APDM, STRICT[0], "block-random", 1, 39_877, 41_123),
        ),
        (
            report((APDM,), PortAllocation.BLOCK_RANDOM, ports=(1100, 1900), block_ports=1024),
            Nat(APDM, STRICT[0], "block-random", 1, 1024, 2123),
        ),
    ],
)
def test_peers_are_told_the_worst_that_is_likely(found: NatReport, told: Nat) -> None:
    assert summarise(found) == told


class Looking:
    """Is a probe whose data plane opens every socket, and a server that answers from behind no NAT."""

    def __init__(self, *, opens: bool = True, answers: bool = True, translated: bool = False) -> None:
        self.context = Context(random.Random(1).randbytes, lambda: 0.0)
        self.reports: list[tuple[NatReport, float]] = []
        self.opens, self.answers, self.translated = opens, answers, translated
        self.servers: tuple[Address, ...] = (SERVER,)
        self.open: set[int] = set()
        self.opened = 0
        self.probe = NatProbe(
            self.context,
            Sockets(self.context),
            hosts=lambda: ("198.51.100.9",),
            servers=lambda: self.servers,
            on_report=lambda report, now: self.reports.append((report, now)),
        )

    def play(self, now: float, until: float) -> None:
        while True:
            self.exchange(now)
            wakeup = self.context.timers.next()
            if wakeup is None or wakeup.at > until:
                return
            now = max(now, wakeup.at)
            self.context.timers.due(now)
            self.probe.handle_timeout(now)

    def exchange(self, now: float) -> None:
        while self.context.commands or self.context.transmits:
            while self.context.commands:
                command = self.context.commands.popleft()
                if isinstance(command, OpenSocket):
                    self.opened += 1
                    self.open.add(command.socket)
                    if self.opens:
                        self.probe.handle_socket(command.socket, 5000 + command.socket, now)
                elif isinstance(command, CloseSocket):
                    self.open.remove(command.socket)
            while self.context.transmits:
                sent = self.context.transmits.popleft()
                if self.answers and self.probe.expects(sent.socket):
                    seen = Address("198.51.100.9", 5000 + sent.socket)
                    if self.translated:
                        seen = Address("198.51.100.77", 2000 + sent.socket * 7919 % 60_000)
                    answer = build_binding_response(parse_stun(sent.data).transaction, seen)
                    self.probe.handle_datagram(answer, Origin(sent.address, sent.socket), now)


def test_a_change_makes_a_look_once_changes_have_settled() -> None:
    looking = Looking()
    looking.probe.handle_change(100.0)
    looking.probe.handle_change(100.2)
    looking.play(100.2, 100.2 + SETTLE_S - 0.01)
    assert looking.opened == 0
    looking.play(100.5, 106.0)
    ((found, at),) = looking.reports
    assert found.udp
    assert found.translated is False
    assert at < 105.5
    assert looking.opened == SOCKETS
    assert looking.open == set()


def test_a_change_while_looking_throws_the_look_away() -> None:
    looking = Looking(answers=False)
    looking.probe.handle_change(100.0)
    looking.play(100.0, 100.6)
    assert len(looking.open) == SOCKETS
    looking.answers = True
    looking.probe.handle_change(100.6)
    looking.play(100.6, 107.0)
    assert [found.udp for found, _ in looking.reports] == [True]
    assert looking.open == set()


def test_where_nobody_answers_it_looks_again_soon_and_then_each_minute() -> None:
    looking = Looking(answers=False)
    looking.probe.handle_change(100.0)
    looking.play(100.0, 400.0)
    times = [at for _, at in looking.reports]
    waits = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert waits[:4] == pytest.approx([wait + times[0] - 100.0 - SETTLE_S for wait in (*AGAIN_S, AGAIN_S[-1])], abs=0.1)
    looking.answers = True
    looking.play(400.0, 405.0 + AGAIN_S[-1])
    assert [found.udp for found, _ in looking.reports][-2:] == [False, True]


def test_a_look_that_does_not_tell_the_mapping_is_repeated_three_times() -> None:
    looking = Looking(translated=True)
    looking.probe.handle_change(100.0)
    looking.play(100.0, 1000.0)
    assert {summarise(found) for found, _ in looking.reports} == {UNKNOWN_NAT}
    assert len(looking.reports) == 1 + len(AGAIN_S)


def test_without_a_server_or_sockets_nothing_is_sent() -> None:
    looking = Looking(opens=False)
    looking.servers = ()
    looking.probe.handle_change(100.0)
    looking.play(100.0, 110.0)
    assert looking.opened == 0
    looking.servers = (SERVER,)
    looking.probe.handle_change(110.0)
    looking.play(110.0, 111.0 + OPEN_LIMIT_S)
    assert looking.opened == SOCKETS
    assert looking.open == set()
    assert looking.reports == []


def test_what_comes_to_its_sockets_and_is_no_answer_is_counted() -> None:
    looking = Looking(answers=False)
    looking.probe.handle_change(100.0)
    looking.play(100.0, 100.4)
    (first, *_) = looking.open
    looking.probe.handle_datagram(b"\x00", Origin(SERVER, first), 100.4)
    assert sum(looking.context.drops.values()) == 1
