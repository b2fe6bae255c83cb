"""Paths by TCP connections between two nodes, as a node without sockets sees them.

    a dialling of a peer begins ── DialPortWanted ──► runtime: a port ── handle_port ──► tells the peer
    both know the other's addresses ── DialWanted ──► runtime: connections ── handle_stream ──► a carrier, a path
    the dialling is over ── DialUnwanted; a connection that no path uses any more ── StreamUnwanted

All peers of a node share what is here; each decides for itself in `dialling`.
"""

from collections.abc import Callable, Container, Sequence
from typing import Final, Protocol

from ntvl.proto.events import DialPortWanted, DialUnwanted, DialWanted, StreamUnwanted
from ntvl.proto.far_ends import TCP, FarEnds
from ntvl.wire.address import Address

__all__ = ["DIALLINGS_MAX", "SERVERS_MAX", "Dialler", "StreamPaths"]

DIALLINGS_MAX: Final = 8
"""With so many peers at once a node opens connections: each has a port that listens."""
SERVERS_MAX: Final = 2
"""Supernodes of which one has to tell as which address it sees us."""


class Dialler(Protocol):
    """Is whoever asked for a dialling."""

    def handle_port(self, port: int, observed: Address | None, now: float) -> None:
        """Takes our port, and as which address a supernode sees it."""

    def handle_stream(self, carrier: Address, now: float) -> None:
        """Takes the carrier of a connection that has opened."""

    def handle_end(self, carrier: Address, now: float) -> None:
        """Takes the news that a connection has broken."""


class StreamPaths:
    """Gives out numbers of diallings, and knows whose carriers are whose.

    Args:
        tell: takes events for the runtime.
        ends: hears of the carriers.
    """

    def __init__(
        self,
        tell: Callable[[DialPortWanted | DialWanted | DialUnwanted | StreamUnwanted], None],
        ends: FarEnds,
    ) -> None:
        self._tell = tell
        self._ends = ends
        self._last = 0
        self._diallers: dict[int, Dialler] = {}
        self._carriers: dict[Address, Dialler] = {}

    def begin(self, dialler: Dialler, servers: Sequence[Address]) -> int:
        """Returns the number of a new dialling, whose port is told later; 0 where too many are under way."""
        if len(self._diallers) >= DIALLINGS_MAX:
            return 0
        self._last += 1
        self._diallers[self._last] = dialler
        self._tell(DialPortWanted(self._last, tuple(servers[:SERVERS_MAX])))
        return self._last

    def dial(self, number: int, remotes: Sequence[Address]) -> None:
        """Has connections opened to these addresses, in this order."""
        self._tell(DialWanted(number, tuple(remotes)))

    def end(self, number: int) -> None:
        """Ends a dialling; its connections stay."""
        if self._diallers.pop(number, None) is not None:
            self._tell(DialUnwanted(number))

    def settle(self, dialler: Dialler, used: Container[Address]) -> None:
        """Closes the connections of a dialler's whose carriers are not among the used."""
        for carrier in [c for c, owner in self._carriers.items() if owner is dialler and c not in used]:
            self._forget(carrier)
            self._tell(StreamUnwanted(carrier))

    # --- what the runtime tells ---

    def handle_port(self, number: int, port: int, observed: Address | None, now: float) -> None:
        """Takes the port of a dialling; news of one that has ended is ignored."""
        dialler = self._diallers.get(number)
        if dialler is not None:
            dialler.handle_port(port, observed, now)

    def handle_stream(self, number: int, remote: Address, carrier: Address, now: float) -> None:
        """Takes a connection that has opened; one that comes too late is closed."""
        dialler = self._diallers.get(number)
        if dialler is None:
            self._tell(StreamUnwanted(carrier))
            return
        self._carriers[carrier] = dialler
        self._ends.add(carrier, TCP, remote)
        dialler.handle_stream(carrier, now)

    def handle_end(self, carrier: Address, now: float) -> None:
        """Takes the news that a connection has broken."""
        dialler = self._carriers.get(carrier)
        if dialler is not None:
            self._forget(carrier)
            dialler.handle_end(carrier, now)

    def _forget(self, carrier: Address) -> None:
        del self._carriers[carrier]
        self._ends.remove(carrier)
