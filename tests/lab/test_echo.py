"""Pings between machines of a lab."""

import time
from collections.abc import Iterator

import pytest

from ntvl.lab.echo import Echo, EchoReport
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites({}, publics=("a", "b"))) as built:
        yield built


def test_every_ping_is_answered_and_timed(stage: Stage) -> None:
    first: list[float | None] = []
    echo = Echo(
        stage.namespace("a"), stage.address("b"), on_first_reply=lambda report: first.append(report.first_reply_s)
    )
    time.sleep(0.3)
    report = echo.stop()
    assert report.lost == 0
    assert 10 <= len(report.sent) <= 20
    assert first == [report.first_reply_s]
    rtt_s = report.rtt_s()
    assert rtt_s is not None
    assert 0 < rtt_s < 0.05


def test_a_loss_is_counted(stage: Stage) -> None:
    echo = Echo(stage.namespace("a"), stage.address("b"), interval_s=0.01)
    time.sleep(0.1)
    stage.run("b", ["nft", "add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }"])
    time.sleep(0.2)
    stage.run("b", ["nft", "delete table ip t"])
    time.sleep(0.1)
    report = echo.stop()
    assert 5 <= report.lost < len(report.sent) - 5


def test_an_address_that_nobody_has_gives_no_reply(stage: Stage) -> None:
    echo = Echo(stage.namespace("a"), "192.0.2.1")
    time.sleep(0.05)
    report = echo.stop()
    assert report.first_reply_s is None
    assert report.rtt_s() is None
    assert report.lost == len(report.sent) > 0


def test_the_round_trip_is_the_median_of_the_newest() -> None:
    report = EchoReport({number: float(number) for number in range(5)}, {0: 9.0, 2: 2.1, 3: 3.3, 4: 4.2})
    assert report.first_reply_s == pytest.approx(2.1)
    assert report.rtt_s(last=3) == pytest.approx(0.2)
    assert report.lost == 1
