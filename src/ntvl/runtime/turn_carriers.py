"""The relay of a node at its TURN server, and a loopback socket for each peer that is reached through it.

    engine ── UDP to 127.x.y.z ──► carrier of a peer ── channel ──► TURN server ── UDP ──► that peer
           ◄── UDP to its port ──                    ◄──                        ◄──

To the engine each peer behind the relay is one more address (see carrier.py). A carrier is opened when the machine
wants one for an address of a peer, and when something comes from a new port of an address that was permitted, for a NAT
may show the relay a port that nobody could name. The one that was used least lately makes room for another; first
those go that the engine never sent to, for whoever forges the address of a peer can make up ports without end.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from ntvl.identity.turn_uri import TurnUri
from ntvl.runtime.carrier import open_loopback
from ntvl.runtime.turn import RelayChange, TurnRelay
from ntvl.wire.address import Address
from ntvl.wire.credential import Credentials
from ntvl.wire.header import DATAGRAM_BYTES_MAX

__all__ = ["CARRIERS_MAX", "TurnCarriers"]

CARRIERS_MAX: Final = 64
OF_ONE_HOST_MAX: Final = 16
"""Ports of one address: whoever is permitted can make up as many as there are."""
_BATCH_MAX: Final = 64


@dataclass(slots=True)
class _Carrier:
    peer: Address
    socket: socket.socket
    address: Address
    is_spoken: bool = False
    """Whether the engine has sent to it."""


class TurnCarriers:
    """Keeps the allocation and the carriers to peers.

    Args:
        uri, credentials: the server, and how it knows us.
        engine: where the node's engine takes datagrams.
        tell_relayed: hears which address the server lends from now on, None for none.
        tell_carrier: hears where the carrier to a peer is, None where it was closed.
        notice: takes level, code and sentence for the person.
        options: of `TurnRelay`, for tests.
    """

    def __init__(
        self,
        uri: TurnUri,
        credentials: Credentials,
        engine: Address,
        *,
        tell_relayed: Callable[[Address | None], None],
        tell_carrier: Callable[[Address, Address | None], None],
        notice: Callable[[str, str, str], None],
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        self._drops: Counter[str] = Counter()
        self.change = RelayChange(None, reason="not asked yet")
        """How the relay stands."""
        self.uri = uri
        self._engine = engine
        self._tell_relayed = tell_relayed
        self._tell_carrier = tell_carrier
        self.notice = notice
        self._carriers: dict[Address, _Carrier] = {}
        """By peer, the one that was used least lately first."""
        self._relay = TurnRelay(
            uri, credentials, on_data=self._hand_over, on_change=self._handle_change, tls=tls, **options
        )

    @property
    def drops(self) -> Counter[str]:
        """Returns what was dropped since the start, here and by the relay, by reason."""
        return self._drops + self._relay.drops

    async def start(self) -> None:
        """Begins; what becomes of it is told."""
        await self._relay.start()

    async def close(self) -> None:
        """Closes the carriers and gives the allocation back."""
        for peer in list(self._carriers):
            self._close(peer)
        await self._relay.close()

    def want(self, peers: Iterable[Address]) -> None:
        """Permits addresses of peers and opens a carrier to each."""
        if self._relay.relayed is None:
            return
        for peer in peers:
            self._relay.permit(peer.host)
            self._find(peer)

    def handle_network_change(self) -> None:
        """Begins anew if this computer now reaches the server from another address."""
        self._relay.handle_network_change()

    def verify(self) -> None:
        """Asks the server whether it still knows us, where a router on the way may have started anew."""
        self._relay.verify()

    # --- the relay ---

    def _handle_change(self, change: RelayChange) -> None:
        before, self.change = self.change, change
        for peer in list(self._carriers):
            self._close(peer)
        self._tell_relayed(change.relayed)
        if change.relayed is not None:
            self.notice("info", "turn-relay", f"The TURN server {self.uri} lends us {change.relayed}.")
        elif change.reason != before.reason:
            text = f"The TURN server {self.uri} relays nothing for us: {change.reason}; trying again and again."
            self.notice("warning", "turn-failed", text)

    def _hand_over(self, peer: Address, payload: bytes) -> None:
        carrier = self._find(peer)
        if carrier is None or not payload:
            return
        try:
            carrier.socket.send(payload)
        except OSError:
            self._drops["send-failed"] += 1

    # --- carriers ---

    def _find(self, peer: Address) -> _Carrier | None:
        """Returns the carrier to a peer, a new one if need be; None where this computer has no socket to give."""
        found = self._carriers.pop(peer, None)
        if found is None:
            self._make_room(peer)
            try:
                sock = open_loopback(self._engine)
            except OSError:
                self._drops["send-failed"] += 1
                return None
            name = sock.getsockname()
            found = _Carrier(peer, sock, Address(name[0], name[1]))
            asyncio.get_running_loop().add_reader(sock, self._send_on, found)
            self._tell_carrier(peer, found.address)
        self._carriers[peer] = found
        return found

    def _make_room(self, peer: Address) -> None:
        alike = [other for other in self._carriers if other.host == peer.host]
        if len(alike) >= OF_ONE_HOST_MAX:
            self._close(self._choose(alike))
        elif len(self._carriers) >= CARRIERS_MAX:
            self._close(self._choose(self._carriers))

    def _choose(self, peers: Collection[Address]) -> Address:
        """Returns which of some peers' carriers, in order of use, is missed least."""
        return next((peer for peer in peers if not self._carriers[peer].is_spoken), next(iter(peers)))

    def _close(self, peer: Address) -> None:
        carrier = self._carriers.pop(peer)
        asyncio.get_running_loop().remove_reader(carrier.socket)
        carrier.socket.close()
        self._tell_carrier(peer, None)

    def _send_on(self, carrier: _Carrier) -> None:
        """Sends to the peer what the engine sent."""
        for _ in range(_BATCH_MAX):
            try:
                datagram = carrier.socket.recv(DATAGRAM_BYTES_MAX + 1)
            except OSError:  # nothing more, or an ICMP error: the engine is not there, and its runtime will notice
                return
            if datagram:
                carrier.is_spoken = True
                self._relay.send(carrier.peer, datagram)
