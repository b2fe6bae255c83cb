"""Frames that wait for a way to their peer, within bounds: of each peer, of all together, and of time."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from ntvl.dataplane.peer import QUEUE_AGE_S, QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX, Peer

__all__ = ["TOTAL_BYTES_MAX", "TOTAL_FRAMES_MAX", "Pending"]

TOTAL_FRAMES_MAX: Final = 16384
TOTAL_BYTES_MAX: Final = 32 * 1024 * 1024


class Pending:
    """Holds the queues of all peers; full, a peer's oldest frame goes, and the newcomer where everything is full."""

    __slots__ = ("_bytes", "_frames", "_peers")

    def __init__(self) -> None:
        self._peers: dict[Peer, None] = {}
        self._frames = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._frames

    def add(self, peer: Peer, frames: Sequence[bytes], now: float) -> int:
        """Queues frames; returns how many, old or new, were dropped for it."""
        if peer.queue is None:
            peer.queue = deque()
        queue = peer.queue
        self._peers[peer] = None
        dropped = 0
        for frame in frames:
            size = len(frame)
            while queue and (len(queue) >= QUEUE_FRAMES_MAX or peer.queue_bytes + size > QUEUE_BYTES_MAX):
                self._drop_oldest(peer, queue)
                dropped += 1
            if self._frames >= TOTAL_FRAMES_MAX or self._bytes + size > TOTAL_BYTES_MAX:
                dropped += 1
                continue
            queue.append((now, frame))
            peer.queue_bytes += size
            self._frames += 1
            self._bytes += size
        return dropped

    def take(self, peer: Peer, now: float) -> tuple[list[bytes], int]:
        """Empties a peer's queue; returns its frames in order, and how many were too old."""
        queue = peer.queue or ()
        frames = [frame for since, frame in queue if now - since < QUEUE_AGE_S]
        expired = len(queue) - len(frames)
        self.discard(peer)
        return frames, expired

    def discard(self, peer: Peer) -> None:
        """Drops a peer's queue."""
        if peer.queue is None:
            return
        self._frames -= len(peer.queue)
        self._bytes -= peer.queue_bytes
        peer.queue, peer.queue_bytes = None, 0
        self._peers.pop(peer, None)

    def expire(self, now: float) -> int:
        """Drops what has waited too long; returns how many frames that were."""
        expired = 0
        for peer in list(self._peers):
            queue = peer.queue
            while queue and now - queue[0][0] >= QUEUE_AGE_S:
                self._drop_oldest(peer, queue)
                expired += 1
            if not queue:
                self.discard(peer)
        return expired

    def _drop_oldest(self, peer: Peer, queue: deque[tuple[float, bytes]]) -> None:
        size = len(queue.popleft()[1])
        peer.queue_bytes -= size
        self._frames -= 1
        self._bytes -= size
