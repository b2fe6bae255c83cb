"""What both directions of a forwarder share: who is known, what goes out, what is counted."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from ntvl.dataplane.peer import Device, Peer
from ntvl.dataplane.pending import Pending
from ntvl.dataplane.relay import RelayTable
from ntvl.dataplane.reporter import Reporter
from ntvl.dataplane.session import Session
from ntvl.dataplane.train import Train
from ntvl.wire.address import Address

__all__ = ["NEVER", "Buffers", "Hub", "Note"]

NEVER: Final = float("inf")


Buffers = Sequence[bytes | memoryview]
"""What makes one frame or train when written or sent together."""

Note = tuple[Peer, int, Address | None, int, float]
"""Peer, bytes, sender's address (None: we sent), socket, and when."""


class Hub:
    """Is plain shared state; each part of a forwarder changes only what is its business.

    Attributes:
        sessions: by receive index, with the peer.
        sends: trains for the network, in order.
        writes: (device, buffers of one frame) for the TAPs, in order.
        notes: what single frames and datagrams have still to be counted for; see `settle`.
        sweep_at: when old things are next looked for.
    """

    __slots__ = (
        "_send_indices",
        "devices",
        "notes",
        "peers",
        "pending",
        "relay",
        "reporter",
        "sends",
        "sessions",
        "sweep_at",
        "writes",
    )

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}
        self.peers: dict[int, Peer] = {}
        self.sessions: dict[int, tuple[Session, Peer]] = {}
        self._send_indices: Counter[int] = Counter()
        self.notes: list[Note] = []
        self.sends: deque[Train] = deque()
        self.writes: deque[tuple[int, Buffers]] = deque()
        self.pending = Pending()
        self.relay = RelayTable()
        self.reporter = Reporter(self.relay)
        self.sweep_at = NEVER

    def add_session(self, session: Session, peer: Peer) -> None:
        """Has datagrams for the session's receive index opened by it."""
        self.drop_session(session.receive_index)
        self.sessions[session.receive_index] = (session, peer)
        self._send_indices[session.send_index] += 1

    def drop_session(self, receive_index: int) -> None:
        """Forgets a session, if it is known."""
        known = self.sessions.pop(receive_index, None)
        if known is not None:
            index = known[0].send_index
            self._send_indices[index] -= 1
            if not self._send_indices[index]:
                del self._send_indices[index]

    def is_ours(self, index: int) -> bool:
        """Returns whether we send under this index, so that a datagram with it is one of ours come back."""
        return index in self._send_indices

    def sweep_by(self, at: float) -> None:
        """Has old things looked for at `at` at the latest."""
        self.sweep_at = min(self.sweep_at, at)

    def settle(self) -> None:
        """Does the counting that was put off until the frames were on their way."""
        for peer, size, address, socket, now in self.notes:
            if address is None:
                peer.tx_bytes += size
                peer.tx_packets += 1
                peer.last_tx = now
            else:
                peer.rx_bytes += size
                peer.rx_packets += 1
                peer.note_path(address, socket, None, 1, now)
            self.reporter.touch(peer, now)
        self.notes.clear()
