"""Runs one machine and its data plane on a simulated host: the driver, on virtual time.

It makes the calls that `ntvl.runtime.driver` makes, in the same order, but survives nothing: an exception out of a
machine ends the simulation, since it is a bug.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from ntvl.dataplane.interface import Command, ControlDatagram, Event
from ntvl.proto.machine import Machine
from ntvl.sim.host import Host
from ntvl.sim.plane import SimPlane
from ntvl.sim.timeline import Timeline, Timer
from ntvl.wire.address import Address, Origin, Relay

__all__ = ["Driven", "Runner"]

_ROUNDS_MAX: Final = 10_000
"""Rounds of one pump before it counts as a machine that never comes to rest."""
_STALLS_MAX: Final = 1_000
"""Wake-ups in a row at one moment before a machine counts as one that asks to be woken in the past for ever."""

T = TypeVar("T")


class Driven(Machine[Any], Protocol):
    """Is a machine that also talks to a data plane: a node or a supernode."""

    def handle_plane_event(self, event: Event, now: float) -> None:
        """Takes everything that the engine tells except control datagrams."""

    def poll_command(self) -> Command | None:
        """Returns the next command for the engine, or None."""


class Runner:
    """Is the program on a host.

    Args:
        relay: whether the machine is a supernode.
        on_event: takes each event of the machine.
        on_interfaces: called when the host's addresses changed.
    """

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        machine: Driven,
        *,
        relay: bool = False,
        on_event: Callable[[Any], None],
        on_interfaces: Callable[[], None],
    ) -> None:
        self.host = host
        self.machine = machine
        self.plane = SimPlane(
            host, relay=relay, plan=timeline.after, clock=lambda: timeline.now, on_work=self._wake_soon
        )
        self.stopped = False
        self._timeline = timeline
        self._on_event = on_event
        self._on_interfaces = on_interfaces
        self._timer: Timer | None = None
        self._stalls = (0.0, 0)
        self._pumping = False
        host.program = self

    def start(self) -> None:
        """Lets the machine say its first words."""
        self._pump()

    def stop(self) -> None:
        """Ends the program at once, without a word to anybody."""
        self.stopped = True
        self.plane.close()
        if self._timer is not None:
            self._timer.cancel()
        if self.host.program is self:
            self.host.program = None
        self.host.end_streams()

    def call(self, verb: Callable[..., T], *arguments: Any) -> T:
        """Calls a verb of the machine with the host's time as its last argument, and lets out what comes of it."""
        result = verb(*arguments, self.host.now)
        self._pump()
        return result

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        """Takes a datagram from the network."""
        self.plane.handle_datagram(data, source, socket)
        self._pump()

    def handle_wake(self) -> None:
        """Takes up work after a suspend."""
        self._pump()

    def handle_interfaces(self) -> None:
        """Passes on that addresses changed."""
        self._on_interfaces()

    def _wake_soon(self) -> None:
        if not self._pumping:
            self._sleep(self._timeline.now)

    def _pump(self) -> None:
        if self.stopped or self.host.asleep or self._pumping:
            return
        self._pumping = True
        try:
            for _ in range(_ROUNDS_MAX):
                if not self._round():
                    break
            else:
                raise AssertionError(f"{self.host.name}: the machine never comes to rest")
        finally:
            self._pumping = False
        if not self.stopped:
            self._schedule()

    def _round(self) -> bool:
        now = self.host.now
        machine, plane = self.machine, self.plane
        plane.handle_timeout()
        busy = plane.pump()
        for event in plane.drain():
            busy = True
            if isinstance(event, ControlDatagram):
                relay = None if event.relay is None else Relay(*event.relay)
                machine.handle_datagram(event.data, Origin(Address(event.host, event.port), event.socket, relay), now)
            else:
                machine.handle_plane_event(event, now)
        wakeup = machine.poll_timeout()
        if wakeup is not None and wakeup.at <= now:
            moment, count = self._stalls
            self._stalls = (now, count + 1 if moment == now else 1)
            if self._stalls[1] > _STALLS_MAX:
                raise AssertionError(f"{self.host.name}: woken for ever at one moment: {wakeup}")
            machine.handle_timeout(now)
            busy = True
        commands = []
        while (command := machine.poll_command()) is not None:
            commands.append(command)
        if commands:
            plane.apply(commands)
            busy = True
        transmits = []
        while (transmit := machine.poll_transmit()) is not None:
            transmits.append(transmit)
        if transmits:
            plane.transmit(transmits)
            busy = True
        while (said := machine.poll_event()) is not None:
            self._on_event(said)
            busy = True
        return busy

    def _schedule(self) -> None:
        wakeups = (self.machine.poll_timeout(), self.plane.forwarder.poll_timeout())
        due = min((wakeup.at for wakeup in wakeups if wakeup is not None), default=None)
        if due is not None:
            self._sleep(self.host.moment(due))

    def _sleep(self, moment: float) -> None:
        # A timer that stands and is early enough stays: it costs a look, and re-planning would cost more.
        if self._timer is not None and self._timer.action is not None:
            if self._timer.at <= moment:
                return
            self._timer.cancel()
        self._timer = self._timeline.at(moment, self._pump)
