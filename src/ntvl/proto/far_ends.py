"""What lies behind the loopback addresses of our carriers.

The engine knows UDP alone. What reaches a peer by anything else, the runtime bridges with a loopback socket, a
*carrier*: to the engine its address is one more of the peer's. A path to it is checked as any other, and no loopback
address that is not a carrier's is ever a path.
"""

from collections.abc import Iterable
from typing import Final

from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Candidate

__all__ = ["TCP", "TURN", "FarEnds"]

TCP: Final = "tcp"
"""The kind of a path by a TCP connection of ours to the peer, or of the peer's to us."""
TURN: Final = "turn"
"""The kind of a path with a TURN server in it, ours or the peer's."""
_RELAY: Final = "relay"
"""The kind of the candidate that a TURN server lends (RFC 8445 section 5.1.1.2)."""


class FarEnds:
    """Knows the kind and the far end of each carrier that is open; bounded by what the runtime opens."""

    def __init__(self) -> None:
        self._ends: dict[Address, tuple[str, Address]] = {}

    def add(self, carrier: Address, kind: str, far: Address) -> None:
        """Takes a carrier that was opened."""
        self._ends[carrier] = (kind, far)

    def remove(self, carrier: Address) -> None:
        """Takes a carrier away that was closed; twice is harmless."""
        self._ends.pop(carrier, None)

    def is_carrier(self, address: Address) -> bool:
        """Returns whether an address is the near side of a carrier of ours."""
        return address in self._ends

    def kind(self, address: Address, remote: Iterable[Candidate]) -> str:
        """Returns the kind of a path whose far end shows as `address`: its carrier's, or "turn" where the peer named it
        among its candidates `remote` as lent by a server, else "prflx".
        """
        found = self._ends.get(address)
        if found is not None:
            return found[0]
        return TURN if any(c.kind == _RELAY and (c.host, c.port) == address for c in remote) else "prflx"

    def unveil(self, origin: Origin) -> Origin:
        """Returns where a datagram really came from, where it came by a carrier; else `origin`."""
        found = self._ends.get(origin.address)
        return origin if found is None else origin._replace(address=found[1])
