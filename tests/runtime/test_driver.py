import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ntvl.dataplane.interface import CloseDevice, Command, ControlDatagram, Event, RemovePeer, Wanted
from ntvl.errors import UsageError
from ntvl.proto.machine import Wakeup
from ntvl.runtime.driver import SLEEP_S_MAX, Driver
from ntvl.wire.address import Address, Origin, Relay, Transmit

PEER = Address("198.51.100.7", 4000)


class Plane:
    """Is an engine that remembers what it was told, and tells what a test puts in."""

    name = "memory"

    def __init__(self) -> None:
        self.told: list[Command | Transmit] = []
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK)
        self._events: list[Event] = []
        self.broken: Exception | None = None

    def put(self, *events: Event) -> None:
        self._events.extend(events)
        os.eventfd_write(self._descriptor, 1)

    def apply(self, commands: Sequence[Command]) -> None:
        self.told.extend(commands)

    def transmit(self, datagrams: Sequence[Transmit]) -> None:
        self.told.extend(datagrams)

    def drain(self) -> list[Event]:
        if self.broken is not None:
            raise self.broken
        if self._events:
            os.eventfd_read(self._descriptor)
        events, self._events = self._events, []
        return events

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass
class Echo:
    """Is a machine that answers each datagram with a command, the datagram itself and an event."""

    wakeup: Wakeup | None = None
    datagrams: list[tuple[bytes, Origin, float]] = field(default_factory=list)
    plane_events: list[tuple[Event, float]] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    on_timeout: Callable[[float], None] = lambda now: None
    commands: deque[Command] = field(default_factory=deque)
    transmits: deque[Transmit] = field(default_factory=deque)
    events: deque[str] = field(default_factory=deque)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        if data == b"poison":
            raise IndexError("a bug")
        self.datagrams.append((data, origin, now))
        self.transmits.append(Transmit(data, origin.address, origin.socket))
        self.commands.append(RemovePeer(len(data)))
        self.events.append(data.decode())

    def handle_plane_event(self, event: Event, now: float) -> None:
        self.plane_events.append((event, now))

    def handle_timeout(self, now: float) -> None:
        self.timeouts.append(now)
        self.wakeup = None
        self.on_timeout(now)

    def speak(self, text: str, now: float) -> float:
        self.events.append(text)
        return now

    def poll_timeout(self) -> Wakeup | None:
        return self.wakeup

    def poll_transmit(self) -> Transmit | None:
        return self.transmits.popleft() if self.transmits else None

    def poll_command(self) -> Command | None:
        return self.commands.popleft() if self.commands else None

    def poll_event(self) -> str | None:
        return self.events.popleft() if self.events else None


class Rig:
    def __init__(self) -> None:
        self.now = 100.0
        self.plane = Plane()
        self.machine = Echo()
        self.events: list[str] = []
        self.plane_events: list[Event] = []
        self.driver = Driver[str](
            self.machine,
            self.plane,
            on_event=self.events.append,
            on_plane_event=self.plane_events.append,
            clock=lambda: self.now,
        )


async def until(condition: Callable[[], object]) -> None:
    """Gives other tasks their turns until `condition` is true; the caller's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - the code under test has nothing to set an event with
        await asyncio.sleep(0)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_datagram_goes_in_with_its_origin_and_all_that_follows_comes_out(rig: Rig) -> None:
    rig.plane.put(ControlDatagram(b"hello", *PEER, socket=3, relay=(8, 9)), Wanted(5))
    assert rig.driver.step() == SLEEP_S_MAX
    assert rig.machine.datagrams == [(b"hello", Origin(PEER, 3, Relay(8, 9)), 100.0)]
    assert rig.machine.plane_events == [(Wanted(5), 100.0)]
    assert rig.plane_events == [Wanted(5)], "the runtime sees engine events, but no datagrams"
    assert rig.plane.told == [RemovePeer(5), Transmit(b"hello", PEER, 3)], "commands go down before datagrams"
    assert rig.events == ["hello"]


def test_a_timeout_is_handled_when_due_and_not_before(rig: Rig) -> None:
    rig.machine.wakeup = Wakeup(100.4, "rekey")
    assert rig.driver.step() == pytest.approx(0.4)
    assert rig.machine.timeouts == []
    rig.now = 100.4
    rig.driver.step()
    assert rig.machine.timeouts == [100.4]


def test_a_suspended_machine_hears_of_the_lost_hour_within_a_second(rig: Rig) -> None:
    rig.machine.wakeup = Wakeup(3000.0, "rekey")
    assert rig.driver.step() == SLEEP_S_MAX
    rig.now += 3600.0
    rig.driver.step()
    assert rig.machine.timeouts == [3700.0]


def test_a_poisonous_datagram_costs_only_itself_and_is_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            rig.plane.put(ControlDatagram(b"poison", *PEER), ControlDatagram(b"fine", *PEER))
            rig.driver.step()
    assert rig.events == ["fine"] * 3
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
    ((place, times),) = rig.driver.faults.items()
    assert times == 3
    assert place.startswith("test_driver.py:")
    assert place.endswith(" IndexError")


def test_a_failing_timeout_does_not_take_the_whole_cpu(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail(now: float) -> None:
        rig.machine.wakeup = Wakeup(now - 5.0, "again")
        raise ValueError("a bug")

    rig.machine.on_timeout = fail
    rig.machine.wakeup = Wakeup(0.0, "now")
    assert rig.driver.step() == pytest.approx(0.1)
    assert rig.driver.step() == pytest.approx(0.1)
    assert len(rig.machine.timeouts) == 1
    rig.now += 0.1
    rig.driver.step()
    assert len(rig.machine.timeouts) == 2


def test_a_machine_that_wants_to_be_called_in_the_past_waits_a_little(rig: Rig) -> None:
    rig.machine.on_timeout = lambda now: setattr(rig.machine, "wakeup", Wakeup(now - 1.0, "late"))
    rig.machine.wakeup = Wakeup(0.0, "now")
    assert rig.driver.step() == pytest.approx(0.1)


def test_a_flood_of_output_leaves_other_tasks_their_turn(rig: Rig) -> None:
    rig.machine.transmits.extend([Transmit(b"x", PEER)] * 5000)
    assert rig.driver.step() == 0.0
    assert 0 < len(rig.plane.told) < 5000
    assert rig.driver.step() == SLEEP_S_MAX
    assert len(rig.plane.told) == 5000


def test_run_wakes_for_events_and_stop_sends_what_is_left(rig: Rig) -> None:
    async def scenario() -> None:
        running = asyncio.create_task(rig.driver.run())
        await asyncio.sleep(0)
        rig.plane.put(ControlDatagram(b"one", *PEER))
        await until(lambda: rig.events)
        rig.machine.transmits.append(Transmit(b"bye", PEER))
        rig.machine.commands.append(CloseDevice(0))
        rig.driver.stop()
        rig.driver.stop()
        await running

    asyncio.run(asyncio.wait_for(scenario(), 5))
    assert rig.plane.told[-2:] == [CloseDevice(0), Transmit(b"bye", PEER)]


def test_a_stop_that_comes_before_run_is_not_forgotten(rig: Rig) -> None:
    rig.driver.stop()
    asyncio.run(asyncio.wait_for(rig.driver.run(), 1))


def test_a_verb_called_from_outside_gets_the_time_and_is_followed_by_its_output(rig: Rig) -> None:
    async def scenario() -> None:
        running = asyncio.create_task(rig.driver.run())
        await asyncio.sleep(0)
        assert rig.driver.call(rig.machine.speak, "word") == 100.0
        assert rig.events == []
        await until(lambda: rig.events)
        rig.driver.stop()
        await running

    asyncio.run(asyncio.wait_for(scenario(), 0.9))
    assert rig.events == ["word"]
    rig.driver.call(rig.machine.speak, "after the end")


def test_a_bug_in_a_verb_that_is_told_is_survived_and_in_one_that_is_called_is_raised(rig: Rig) -> None:
    def broken(argument: int, now: float) -> None:
        raise ValueError(f"{argument} at {now}")

    rig.driver.tell(broken, 7)
    ((place, times),) = rig.driver.faults.items()
    assert (place.endswith(" ValueError"), times) == (True, 1)
    with pytest.raises(ValueError, match="7 at 100"):
        rig.driver.call(broken, 7)


def test_an_engine_that_fails_ends_run_with_its_error(rig: Rig) -> None:
    async def scenario() -> None:
        running = asyncio.create_task(rig.driver.run())
        await asyncio.sleep(0)
        rig.plane.broken = OSError("engine gone")
        os.eventfd_write(rig.plane.fileno(), 1)
        await running

    with pytest.raises(OSError, match="engine gone"):
        asyncio.run(asyncio.wait_for(scenario(), 5))


def test_a_usage_error_in_a_callback_ends_run_and_any_other_is_survived(rig: Rig) -> None:
    def take(event: str) -> None:
        if event == "fatal":
            raise UsageError("the device is taken")
        raise RuntimeError(event)

    async def scenario() -> None:
        driver = Driver[str](rig.machine, rig.plane, on_event=take)
        running = asyncio.create_task(driver.run())
        await asyncio.sleep(0)
        rig.plane.put(ControlDatagram(b"harmless", *PEER))
        await until(lambda: driver.faults)
        assert not running.done()
        rig.plane.put(ControlDatagram(b"fatal", *PEER))
        await running

    with pytest.raises(UsageError, match="the device is taken"):
        asyncio.run(asyncio.wait_for(scenario(), 5))
