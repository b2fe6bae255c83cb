"""Pairs that are near each other and far from a busy supernode, so that they hardly ever fire at one moment."""

from collections.abc import Iterator

import pytest

from ntvl.nat import KINDS, Chain, NatBehaviour
from ntvl.proto.simultaneous import Simultaneous
from ntvl.proto.technique import Facts, Schedule
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.packet import WAN

HOME = KINDS["eim-apdf"]
TAKER: Chain = (NatBehaviour(takes_unsolicited=True),)
SEEDS = range(12)
ONE_ATTEMPT_S = 4.0
SECOND_ATTEMPT_S = 30.0
FAR_AND_BUSY = WAN.but(delay_s=0.040, jitter_s=0.080)


def pair(seed: int, left: Chain, right: Chain) -> tuple[Net, SimNode, SimNode]:
    net = Net(seed, delay_s=0.004)
    net.supernode(link=FAR_AND_BUSY)
    a, b = net.node("a", behind=left), net.node("b", behind=right)
    net.join()
    net.run(4.0)
    return net, a, b


def direct_after_s(seed: int, left: Chain, right: Chain, limit_s: float = ONE_ATTEMPT_S) -> float | None:
    net, a, b = pair(seed, left, right)
    start = net.now
    assert any(net.ping(a, b, limit_s=1.0) is not None for _ in range(5))
    while not net.is_direct(a, b) and net.now < start + limit_s:
        net.run(0.05)
    return net.now - start if net.is_direct(a, b) else None


@pytest.fixture
def without_openers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def none(technique: Simultaneous, facts: Facts) -> Schedule:
        return []

    with monkeypatch.context() as patch:
        patch.setattr(Simultaneous, "openers", none)
        yield


def test_two_nats_that_are_upset_by_early_checks_are_crossed_in_the_first_attempt() -> None:
    assert None not in [direct_after_s(seed, TAKER, TAKER) for seed in SEEDS]


@pytest.mark.usefixtures("without_openers")
def test_without_openers_most_of_these_pairs_are_not() -> None:
    found = [direct_after_s(seed, TAKER, TAKER) for seed in SEEDS]
    assert found.count(None) > len(SEEDS) / 2


def test_other_pairs_are_direct_sooner_for_the_first_check_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with_openers = [direct_after_s(seed, HOME, HOME) for seed in SEEDS]
    monkeypatch.setattr(Simultaneous, "openers", lambda technique, facts: [])
    without = [direct_after_s(seed, HOME, HOME) for seed in SEEDS]
    assert sum(s for s in with_openers if s is not None) < sum(s for s in without if s is not None)
    assert None not in with_openers + without


@pytest.mark.parametrize("kind", ["apdm-sequential", "apdm-block"])
def test_where_ports_are_guessed_such_a_nat_is_crossed_in_the_second_attempt(kind: str) -> None:
    for seed in SEEDS[:3]:
        assert direct_after_s(seed, TAKER, KINDS[kind], SECOND_ATTEMPT_S) is not None


def test_no_opener_reaches_anybody() -> None:
    net, a, b = pair(1, TAKER, HOME)
    a.host.capture, b.host.capture = [], []
    assert net.ping(a, b, limit_s=2.0) is not None
    net.run(1.0)
    assert net.internet.segment.drops["ttl"] == 2
    assert {
        tuple(each.data[:2]) for node in (a, b) for each in node.host.capture or () if not each.outgoing
    }.isdisjoint({(0x00, 0x11)})
