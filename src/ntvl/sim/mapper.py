"""The port mapping of a simulated node: `PortMap` on a socket of its host, driven as the runtime does."""

from collections.abc import Callable
from random import Random
from typing import Final

from ntvl.proto.portmap import MappingChanged, PortMap
from ntvl.sim.host import Host
from ntvl.sim.timeline import Timeline, Timer
from ntvl.wire.address import Address, Origin

__all__ = ["SimMapper"]

_SOCKET: Final = -1
"""The host's number for the socket that the gateway is asked from."""


class SimMapper:
    """Asks the gateway for the port of a host's main socket, from its making until `close` or `stop`.

    Args:
        gateway, client: the addresses of the gateway and of the host, on one segment.
        on_change: told where the port is mapped, None for nowhere.
    """

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        random: Random,
        *,
        gateway: str,
        client: str,
        on_change: Callable[[Address | None], None],
    ) -> None:
        self.gateway = gateway
        self.client = client
        self.machine = PortMap(host.ports[0], gateway, client, random=random.randbytes)
        self._host = host
        self._timeline = timeline
        self._on_change = on_change
        self._timer: Timer | None = None
        host.open_socket(_SOCKET)
        host.takers[_SOCKET] = self
        self.machine.start(host.now)
        self._pump()

    def verify(self) -> None:
        """Asks the gateway whether it has forgotten the mapping."""
        self.machine.verify(self._host.now)
        self._pump()

    def close(self) -> None:
        """Gives the mapping back; what the gateway says to that is still heard."""
        self.machine.close(self._host.now)
        self._pump()

    def stop(self) -> None:
        """Ends without a word."""
        if self._timer is not None:
            self._timer.cancel()
        if self._host.takers.get(_SOCKET) is self:
            del self._host.takers[_SOCKET]

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        """Takes what came to the socket."""
        self.machine.handle_datagram(data, Origin(source, socket), self._host.now)
        self._pump()

    def handle_wake(self) -> None:
        """Goes on after a suspend."""
        self._pump()

    def handle_interfaces(self) -> None:
        """Leaves changes of address to the node."""

    def _pump(self) -> None:
        if self._host.asleep:
            return
        now = self._host.now
        due = self.machine.poll_timeout()
        if due is not None and due.at <= now:
            self.machine.handle_timeout(now)
        while (sent := self.machine.poll_transmit()) is not None:
            self._host.send(sent.data, sent.address, _SOCKET)
        changes = [e for e in iter(self.machine.poll_event, None) if isinstance(e, MappingChanged)]
        if self._timer is not None:
            self._timer.cancel()
        due = self.machine.poll_timeout()
        self._timer = None if due is None else self._timeline.at(self._host.moment(due.at), self._pump)
        for change in changes:
            self._on_change(change.mapping.external if change.mapping is not None else None)
