"""The relay of one simulated node at its TURN server, over UDP, and the carriers to peers, as `runtime.turn` and
`runtime.turn_carriers` have them: `TurnClient` on a socket of its host.
"""

from collections.abc import Callable, Iterable
from itertools import count
from random import Random
from typing import Final

from ntvl.proto.turn import TurnClient
from ntvl.proto.turn_events import Allocated, Data, TurnFailed
from ntvl.sim.host import Host
from ntvl.sim.timeline import Timeline, Timer
from ntvl.wire.address import Address
from ntvl.wire.credential import Credentials

__all__ = ["SimTurnRelay"]

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""As `runtime.turn` has them."""
_SOCKET: Final = -2
"""The host's number for the socket that the server is asked from."""


class SimTurnRelay:
    """Keeps one allocation, from its making until `stop`.

    Args:
        server: where it is.
        tell_relayed: hears which address the server lends from now on, None for none.
        tell_carrier: hears where the carrier to a peer is, None where it was closed.
    """

    _numbers = count(1)

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        random: Random,
        *,
        server: Address,
        tell_relayed: Callable[[Address | None], None],
        tell_carrier: Callable[[Address, Address | None], None],
    ) -> None:
        self._host = host
        self._timeline = timeline
        self._random = random
        self._server = server
        self._tell_relayed = tell_relayed
        self._tell_carrier = tell_carrier
        self._client: TurnClient | None = None
        self._source: str | None = None
        self._failures = 0
        self._carriers: dict[Address, Address] = {}
        self._timer: Timer | None = None
        self._begin()

    def want(self, peers: Iterable[Address]) -> None:
        """Permits addresses of peers and opens a carrier to each."""
        client = self._client
        if client is not None and client.relayed is not None:
            for peer in peers:
                client.permit(peer.host, self._host.now)
                self._find(peer)
            self._pump()

    def verify(self) -> None:
        """Asks the server whether it still knows us."""
        if self._client is not None:
            self._client.verify(self._host.now)
            self._pump()

    def handle_network_change(self) -> None:
        """Begins anew if the server is now reached from another address."""
        if self._client is not None and self._host.find_source(self._server) not in (None, self._source):
            self._lose()

    def stop(self) -> None:
        """Ends without a word."""
        if self._timer is not None:
            self._timer.cancel()
        self._client = None
        for carrier in self._carriers.values():
            self._host.streams.pop(carrier, None)
        self._carriers.clear()
        if self._host.takers.get(_SOCKET) is self:
            del self._host.takers[_SOCKET]

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        """Takes what came to the socket."""
        if self._client is not None and source == self._server:
            self._client.handle_datagram(data, self._host.now)
            self._pump()

    def handle_wake(self) -> None:
        """Goes on after a suspend."""
        self._pump()

    def handle_interfaces(self) -> None:
        """Leaves changes of address to the node."""

    # --- the allocation ---

    def _begin(self) -> None:
        """Asks for an allocation from a new socket."""
        self._host.ports.pop(_SOCKET, None)
        self._host.open_socket(_SOCKET)
        self._host.takers[_SOCKET] = self
        self._source = self._host.find_source(self._server)
        self._client = TurnClient(self._server, Credentials("", ""), stream=False, random=self._random.randbytes)
        self._client.start(self._host.now)
        self._pump()

    def _lose(self) -> None:
        """Tells that the relay is lost, and comes back after a while."""
        self._client = None
        for peer in list(self._carriers):
            self._host.streams.pop(self._carriers.pop(peer), None)
            self._tell_carrier(peer, None)
        self._tell_relayed(None)
        wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._plan(self._timeline.now + wait_s, self._begin)

    def _pump(self) -> None:
        client, host = self._client, self._host
        if client is None or host.asleep:
            return
        due = client.poll_timeout()
        if due is not None and due.at <= host.now:
            client.handle_timeout(host.now)
        while (data := client.poll_transmit()) is not None:
            host.send(data, self._server, _SOCKET)
        while (event := client.poll_event()) is not None:
            match event:
                case Data():
                    self._hand_over(event.peer, event.payload)
                case Allocated():
                    self._failures = 0
                    self._tell_relayed(event.relayed)
                case TurnFailed():
                    self._lose()
                    return
        due = client.poll_timeout()
        if due is not None and client is self._client:
            self._plan(host.moment(due.at), self._pump)

    def _plan(self, at: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timeline.at(at, action)

    # --- carriers ---

    def _find(self, peer: Address) -> Address:
        """Returns the loopback address that stands for a peer, a new one if need be."""
        carrier = self._carriers.get(peer)
        if carrier is None:
            number = next(self._numbers)
            carrier = Address(f"127.67.{number >> 8 & 255}.{number & 255}", 1 + (number >> 16))
            self._carriers[peer] = carrier
            self._host.streams[carrier] = lambda data: self._send(peer, data)
            self._tell_carrier(peer, carrier)
        return carrier

    def _send(self, peer: Address, data: bytes) -> None:
        if self._client is not None:
            self._client.send(peer, data, self._host.now)
            self._pump()

    def _hand_over(self, peer: Address, payload: bytes) -> None:
        carrier = self._find(peer)
        if self._host.program is not None:
            self._host.received += 1
            self._host.program.handle_datagram(payload, carrier, 0)
