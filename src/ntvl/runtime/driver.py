"""The one driver: moves datagrams, time and events between a sans-IO machine and a data plane.

    plane.drain()        -> machine.handle_datagram, machine.handle_plane_event, on_plane_event
    the clock            -> machine.handle_timeout
    machine.poll_command -> plane.apply
    machine.poll_transmit-> plane.transmit
    machine.poll_event   -> on_event

Commands go down before datagrams: a responder's session is installed before the response that lets its peer use it.

asyncio sleeps by CLOCK_MONOTONIC, which stops in suspend, while machines live by CLOCK_BOOTTIME, which does not. So the
driver wakes at least every second and looks at its own clock: after an hour's sleep the machine hears of it within a
second.

One bad datagram must not end a program that forwards for others: an exception out of a machine is a bug, which is
logged once with its traceback, counted, and survived. An exception out of the data plane, or a `UsageError` out of a
callback, ends `run`: without its engine a program is of no use.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from ntvl.dataplane.interface import Command, ControlDatagram, DataPlane, Event
from ntvl.errors import UsageError
from ntvl.proto.machine import Machine
from ntvl.runtime.clock import Clock, boot_time
from ntvl.wire.address import Address, Origin, Relay, Transmit

__all__ = ["DrivenMachine", "Driver"]

SLEEP_S_MAX: Final = 1.0
"""Longest sleep: how late a machine may learn that its computer was suspended."""
RETRY_S: Final = 0.1
"""Wait after a `handle_timeout` that failed or left its wake-up in the past: a bug must not take a whole CPU."""
BATCH_MAX: Final = 4096
"""Most datagrams, commands or events taken from a machine in one go; the rest follows after other tasks' turn."""

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
T = TypeVar("T")
_log = logging.getLogger("ntvl.driver")


class DrivenMachine(Machine[E_co], Protocol[E_co]):
    """Is a machine that also talks to a data plane: `Node` and `Supernode`."""

    def handle_plane_event(self, event: Event, now: float) -> None:
        """Takes everything that the engine tells except control datagrams."""

    def poll_command(self) -> Command | None:
        """Returns the next command for the engine, or None; call until None."""


class Driver(Generic[E]):
    """Runs one machine on one data plane until stopped.

    Args:
        machine: the sans-IO machine; whoever calls its verbs from outside goes through `call`.
        plane: its engine; the driver never closes it.
        on_event: takes each event of the machine.
        on_plane_event: takes each engine event but control datagrams, after the machine has.
        clock: the machine's time, seconds.
    """

    def __init__(
        self,
        machine: DrivenMachine[E],
        plane: DataPlane,
        *,
        on_event: Callable[[E], None],
        on_plane_event: Callable[[Event], None] | None = None,
        clock: Clock = boot_time,
    ) -> None:
        self.machine = machine
        self.plane = plane
        self.clock = clock
        self.faults: dict[str, int] = {}
        """Exceptions survived so far, by place: "module:line type"."""
        self._on_event = on_event
        self._on_plane_event = on_plane_event
        self._ended: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._stopped = False

    async def run(self) -> None:
        """Drives the machine until `stop`, which may have come before.

        Raises:
            UsageError: what a callback or the engine found fatal, in one sentence.
            OSError: the engine is gone.
        """
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        descriptor = self.plane.fileno()
        loop.add_reader(descriptor, self._wake)
        try:
            self._wake()
            await self._ended
        finally:
            loop.remove_reader(descriptor)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._ended = None

    def stop(self) -> None:
        """Ends `run`, after what the machine still has to send has been handed to the engine."""
        self._stopped = True
        if self._ended is not None and not self._ended.done():
            try:
                self.flush()
            except (UsageError, OSError) as error:
                self._ended.set_exception(error)
            else:
                self._ended.set_result(None)

    def call(self, verb: Callable[..., T], *arguments: Any) -> T:
        """Calls `verb(*arguments, now)`, a verb of the machine, and returns its result; output goes out soon."""
        result = verb(*arguments, self.clock())
        self.wake_soon()
        return result

    def tell(self, verb: Callable[..., object], *arguments: object) -> None:
        """Calls `verb(*arguments, now)` as `call` does, but survives and counts a bug in it, as of a datagram."""
        self._guard(verb, *arguments, self.clock())
        self.wake_soon()

    def wake_soon(self) -> None:
        """Has the machine polled in the loop's next turn; does nothing before `run` and after `stop`."""
        if self._ended is not None and not self._ended.done():
            self._sleep(0.0)

    def flush(self) -> None:
        """Hands on what the machine has to say now, with `run` or without.

        Raises:
            UsageError: what a callback or the engine found fatal.
            OSError: the engine is gone.
        """
        while self._flush(self.clock()):
            pass

    def step(self) -> float:
        """Does what is due now; returns how long there is nothing to do, in seconds, at most `SLEEP_S_MAX`."""
        now = self.clock()
        for event in self.plane.drain():
            self._handle(event, now)
        wakeup = self.machine.poll_timeout()
        if wakeup is not None and max(wakeup.at, self._not_before) <= now:
            if self._guard(self.machine.handle_timeout, now):
                again = self.machine.poll_timeout()
                self._not_before = now + RETRY_S if again is not None and again.at <= now else 0.0
            else:
                self._not_before = now + RETRY_S
        if self._flush(now):
            return 0.0
        wakeup = self.machine.poll_timeout()
        if wakeup is None:
            return SLEEP_S_MAX
        return min(SLEEP_S_MAX, max(0.0, max(wakeup.at, self._not_before) - self.clock()))

    def _wake(self) -> None:
        ended = self._ended
        if ended is None or ended.done():
            return
        try:
            delay_s = self.step()
        except Exception as error:  # the engine's, or meant for the caller of run()
            if not ended.done():
                ended.set_exception(error)
            return
        if not ended.done():
            self._sleep(delay_s)

    def _sleep(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, ControlDatagram):
            relay = None if event.relay is None else Relay(*event.relay)
            origin = Origin(Address(event.host, event.port), event.socket, relay)
            self._guard(self.machine.handle_datagram, event.data, origin, now)
            return
        self._guard(self.machine.handle_plane_event, event, now)
        if self._on_plane_event is not None:
            self._guard(self._on_plane_event, event)

    def _flush(self, now: float) -> bool:
        commands: list[Command]
        commands, more_commands = self._take(self.machine.poll_command)
        if commands:
            self.plane.apply(commands)
        transmits: list[Transmit]
        transmits, more_transmits = self._take(self.machine.poll_transmit)
        if transmits:
            self.plane.transmit(transmits)
        events, more_events = self._take(self.machine.poll_event)
        for event in events:
            self._guard(self._on_event, event)
        return more_commands or more_transmits or more_events

    def _take(self, poll: Callable[[], T | None]) -> tuple[list[T], bool]:
        taken: list[T] = []
        try:
            while len(taken) < BATCH_MAX:
                item = poll()
                if item is None:
                    return taken, False
                taken.append(item)
        except Exception as error:  # a bug in the machine; what it gave before is still good
            self._survive(error)
            return taken, False
        return taken, True

    def _guard(self, function: Callable[..., object], *arguments: object) -> bool:
        try:
            function(*arguments)
        except UsageError:
            raise
        except Exception as error:  # a bug in the machine or a callback
            self._survive(error)
            return False
        return True

    def _survive(self, error: Exception) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {type(error).__name__}"
        self.faults[place] = self.faults.get(place, 0) + 1
        if self.faults[place] == 1:
            _log.error("a bug, survived; please report it (%s)", place, exc_info=error)
