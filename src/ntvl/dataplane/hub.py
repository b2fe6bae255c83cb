"""What both directions of a forwarder share: who is known, what goes out, what is counted."""

from collections import deque
from typing import Final

from ntvl.dataplane.peer import Device, Peer
from ntvl.dataplane.pending import Pending
from ntvl.dataplane.relay import RelayTable
from ntvl.dataplane.reporter import Reporter
from ntvl.dataplane.session import Session
from ntvl.dataplane.train import Train

__all__ = ["NEVER", "Hub"]

NEVER: Final = float("inf")


class Hub:
    """Is plain shared state; each part of a forwarder changes only what is its business.

    Attributes:
        sessions: by receive index, with the peer.
        sends: trains for the network, in order.
        writes: (device, buffers of one frame) for the TAPs, in order.
        sweep_at: when old things are next looked for.
    """

    __slots__ = ("devices", "peers", "pending", "relay", "reporter", "sends", "sessions", "sweep_at", "writes")

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}
        self.peers: dict[int, Peer] = {}
        self.sessions: dict[int, tuple[Session, Peer]] = {}
        self.sends: deque[Train] = deque()
        self.writes: deque[tuple[int, list[bytes]]] = deque()
        self.pending = Pending()
        self.relay = RelayTable()
        self.reporter = Reporter(self.relay)
        self.sweep_at = NEVER

    def sweep_by(self, at: float) -> None:
        """Has old things looked for at `at` at the latest."""
        self.sweep_at = min(self.sweep_at, at)
