"""Paths through a TURN server, as a node without sockets sees them.

For each address of a peer with whom our allocation speaks the runtime opens a carrier (`far_ends`): what the engine
sends there goes out of the allocation to that peer, and what the peer sends to the relayed address comes in from there.
A path to such a carrier is never direct.

    attempt: peer's candidates ── TurnPeersWanted ──► runtime: permissions, carriers ── handle_carrier ──► here
    a peer behind a NAT with a port for each of its peers comes from one that nobody named ── handle_carrier ──► here

The other end needs no TURN: to it the relayed address is a candidate of kind "relay", and a path to it is one through
a TURN server too.

Source: RFC 8656 sections 9 and 12; RFC 8445 sections 5.1.1.2 and 5.1.2.2. Deviation: permissions are asked for at most
8 addresses of one attempt, where the relayed address is public for public ones alone: nobody makes a server on the
Internet send into its owner's network by our account.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ntvl.dataplane.interface import Target
from ntvl.proto.events import TurnPeersWanted
from ntvl.proto.far_ends import TURN, FarEnds
from ntvl.wire.address import Address, is_public
from ntvl.wire.control import Candidate

__all__ = ["PEERS_MAX", "TurnPaths"]

PEERS_MAX: Final = 8
"""Addresses of one peer that an attempt has permitted."""
_RELAY: Final = "relay"
"""The kind of the candidate that a TURN server lends (RFC 8445 section 5.1.1.2)."""


class TurnPaths:
    """Knows our relayed address, and by which carrier each peer is reached from it; bounded by what the runtime opens.

    Args:
        tell: takes the event for the runtime.
        ends: hears of the carriers.
    Attributes:
        relayed: the address that our server lends us, None without one.
    """

    def __init__(self, tell: Callable[[TurnPeersWanted], None], ends: FarEnds) -> None:
        self.relayed: Address | None = None
        self._tell = tell
        self._ends = ends
        self._carriers: dict[Address, Address] = {}

    # --- what the runtime tells ---

    def handle_allocation(self, relayed: Address | None) -> bool:
        """Takes the address that is lent from now on, None for none; returns whether that is another than before."""
        changed = relayed != self.relayed
        self.relayed = relayed
        if changed:
            for peer in list(self._carriers):
                self.handle_carrier(peer, None)
        return changed

    def handle_carrier(self, peer: Address, carrier: Address | None) -> None:
        """Takes where the carrier to a peer is, None where it was closed."""
        before = self._carriers.pop(peer, None)
        if before is not None:
            self._ends.remove(before)
        if carrier is not None:
            self._carriers[peer] = carrier
            self._ends.add(carrier, TURN, peer)

    # --- what paths ask ---

    def want(self, candidates: Sequence[Candidate]) -> None:
        """Asks for carriers to a peer's usable candidates, those first that others see of it."""
        relayed = self.relayed
        if relayed is None:
            return
        found = [
            Address(c.host, c.port)
            for c in sorted(candidates, key=lambda c: (c.kind == "host", -c.priority))
            if (":" in c.host) == relayed.is_ipv6 and (is_public(c.host) or not is_public(relayed.host))
        ]
        peers = tuple(dict.fromkeys(found))[:PEERS_MAX]
        if peers:
            self._tell(TurnPeersWanted(peers))

    def ways(self, aim: Candidate, socket: int) -> list[tuple[Target, str]]:
        """Returns the ways to a candidate, each with its kind: the network's, and our server's where it has a carrier.

        Args:
            socket: from which to send; only the main port (0) has carriers beside it.
        """
        ways = [(Target(aim.host, aim.port, socket), TURN if aim.kind == _RELAY else aim.kind)]
        carrier = self._carriers.get(Address(aim.host, aim.port))
        if carrier is not None and socket == 0:
            ways.append((Target(carrier.host, carrier.port), TURN))
        return ways
