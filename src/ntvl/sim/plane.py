"""The data plane of a simulated host: the Python engine's forwarder between simulated sockets and simulated TAPs.

It stands where the Python engine stands in production and makes the same calls on the forwarder; a TAP is a `Station`,
a socket is the host's.
"""

from collections.abc import Callable, Sequence

from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import (
    CloseDevice,
    CloseSocket,
    Command,
    Event,
    OpenDevice,
    OpenSocket,
    SendDatagram,
    SocketOpened,
)
from ntvl.sim.host import Host
from ntvl.sim.station import Plan, Station
from ntvl.wire.address import Address, Transmit
from ntvl.wire.vnet import PLAIN, VNET_BYTES

__all__ = ["SimPlane"]


class SimPlane:
    """Is a `DataPlane` on virtual time.

    Args:
        host: whose sockets and clock it uses.
        relay: whether it is a supernode's.
        plan: how the stations wait.
        clock: the simulator's time, for what stations note.
        on_work: called when frames came out of a station, so that somebody pumps.
    """

    name = "python"

    def __init__(
        self, host: Host, *, relay: bool, plan: Plan, clock: Callable[[], float], on_work: Callable[[], None]
    ) -> None:
        self.forwarder = Forwarder(relay=relay)
        self.stations: dict[int, Station] = {}
        self._host = host
        self._station_plan = plan
        self._clock = clock
        self._on_work = on_work
        self._frames: list[tuple[int, bytes]] = []

    def apply(self, commands: Sequence[Command]) -> None:
        """Hands commands to the forwarder, and makes or removes stations."""
        self.forwarder.apply(commands, self._host.now)
        for command in commands:
            if isinstance(command, OpenDevice):
                station = Station(self._sender(command.device), self._station_plan, self._clock)
                station.mac = command.mac
                self.stations[command.device] = station
            elif isinstance(command, CloseDevice):
                self.stations.pop(command.device, None)
            elif isinstance(command, OpenSocket):
                self._host.open_socket(command.socket)
                self.forwarder.report(SocketOpened(command.socket, self._host.ports[command.socket]))
            elif isinstance(command, CloseSocket):
                self._host.ports.pop(command.socket, None)
            elif isinstance(command, SendDatagram):
                self._host.send(command.data, Address(command.host, command.port), command.socket, command.ttl)

    def transmit(self, datagrams: Sequence[Transmit]) -> None:
        """Sends control datagrams."""
        for datagram in datagrams:
            self._host.send(datagram.data, datagram.address, datagram.socket, datagram.ttl)

    def drain(self) -> list[Event]:
        """Returns what happened since it was last asked."""
        events: list[Event] = []
        while (event := self.forwarder.poll_event()) is not None:
            events.append(event)
        return events

    def fileno(self) -> int:
        """Has no descriptor: returns -1."""
        return -1

    def close(self) -> None:
        """Takes every station away."""
        self.stations.clear()

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        """Takes a datagram from the network."""
        self.forwarder.handle_train(data, len(data), socket, source, self._host.now)

    def handle_timeout(self) -> None:
        """Does what the forwarder has to do by now."""
        due = self.forwarder.poll_timeout()
        if due is not None and due.at <= self._host.now:
            self.forwarder.handle_timeout(self._host.now)

    def pump(self) -> bool:
        """Moves frames and datagrams until nothing is left to move; returns whether anything was."""
        moved = False
        while True:
            frames, self._frames = self._frames, []
            for device, frame in frames:
                self.forwarder.handle_frames(device, [PLAIN + frame], self._host.now)
            busy = bool(frames)
            while (train := self.forwarder.poll_send()) is not None:
                busy = True
                for datagram in train.datagrams():
                    self._host.send(datagram, train.address, train.socket)
            while (written := self.forwarder.poll_write()) is not None:
                busy = True
                device, buffers = written
                frame = b"".join(buffers)[VNET_BYTES:]
                if device in self.stations:
                    self.stations[device].handle_frame(frame)
            if not busy:
                return moved
            moved = True

    def _sender(self, device: int) -> Callable[[bytes], None]:
        def send(frame: bytes) -> None:
            self._frames.append((device, frame))
            self._on_work()

        return send
