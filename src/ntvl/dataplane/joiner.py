"""From plaintexts back to frames: super-frames joined from pieces, jumbo frames from fragments.

Pieces of one super-frame come in a row unless the network lost or reordered some. So there is one open run: a piece
that continues it is appended, anything else closes it, and so does the time after which no more can be hoped for.
What is closed complete is written exactly as the other side read it; what is closed incomplete is delivered as far as
it is there. A piece that comes late opens a run of its own and is delivered alone.
"""

import struct
from itertools import repeat
from operator import itemgetter
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.plaintext import PIECE_HEADER_BYTES, PIECE_STEP_MIN, Fragment, Piece, parse_piece, piece_starts
from ntvl.wire.vnet import build_part

__all__ = ["FRAGMENT_AGE_S", "FRAGMENT_BYTES_MAX", "FRAGMENT_FRAMES_MAX", "RUN_AGE_S", "Reassembly", "RunJoiner"]

RUN_AGE_S: Final = 0.002
"""How long an incomplete run waits for more. A super-frame's trains leave back to back, so more is a matter of
microseconds."""

FRAGMENT_AGE_S: Final = 1.0
FRAGMENT_FRAMES_MAX: Final = 16
FRAGMENT_BYTES_MAX: Final = 512 * 1024

_OFFSET: Final = struct.Struct("!xH")


class RunJoiner:
    """Joins the pieces of one peer. Its buffers, once closed, are to be written together as one frame."""

    __slots__ = ("_buffers", "_cut", "_first", "_next", "_piece", "_skip", "_tail")

    def __init__(self) -> None:
        self._tail: bytes = b""
        self._first = b""
        self._buffers: list[bytes] = []
        self._next = 0
        self._skip = 0
        self._cut = itemgetter(slice(0, None))
        self._piece: Piece | None = None

    @property
    def is_open(self) -> bool:
        """Returns whether a run waits for more."""
        return self._piece is not None

    def append(self, plain: bytes) -> bool:
        """Takes a PIECE that continues the open run; returns False for any other, which then changes nothing."""
        if self._piece is None or not plain.startswith(self._tail, 3):
            return False
        skip = self._skip
        size = len(plain) - skip
        if size <= 0 or _OFFSET.unpack_from(plain)[0] != self._next:
            return False
        layout = self._piece.layout
        end = self._next + size
        if end > layout.size or (not layout.is_tcp and end % layout.gso_size and end != layout.size):
            return False
        self._buffers.append(plain[skip:])
        self._next = end
        return True

    def extend(self, plains: list[bytes]) -> int:
        """Takes as many of `plains`, from the first on, as continue the open run in perfect order, all in one go.

        Returns:
            How many; 0 where anything is odd, then `append` finds out what. The result is the same, only sooner.
        """
        piece = self._piece
        skip = self._skip
        step = len(plains[0]) - skip
        if piece is None or step < PIECE_STEP_MIN or self._next % step:
            return 0
        layout = piece.layout
        missing = layout.size - self._next
        run = plains[: -(-missing // step)]
        lengths = list(map(len, run))
        count, last = len(run), lengths[-1] - skip
        end = self._next + (count - 1) * step + last
        if not 0 < last <= step or end > layout.size or lengths[:-1].count(lengths[0]) != count - 1:
            return 0
        if not layout.is_tcp and (step % layout.gso_size or (end % layout.gso_size and end != layout.size)):
            return 0
        index = self._next // step
        heads = map(bytes.__add__, piece_starts(step)[index : index + count], repeat(self._tail))
        if not all(map(bytes.startswith, run, heads)):
            return 0
        self._buffers.extend(map(self._cut, run))
        self._next = end
        return count

    def open(self, plain: bytes) -> bytes:
        """Starts a run, after `close`, with any of its pieces; returns virtio header and headers of the super-frame.

        Raises:
            PeerError: reason "short" or "header"; the piece is good for nothing.
        """
        piece = parse_piece(plain)
        self._skip = skip = PIECE_HEADER_BYTES + piece.layout.payload
        self._tail = plain[3:skip]
        self._cut = itemgetter(slice(skip, None))
        self._first = plain[PIECE_HEADER_BYTES:]
        self._buffers = []
        self._next = piece.offset + len(plain) - skip
        self._piece = piece
        return self._first

    @property
    def is_complete(self) -> bool:
        """Returns whether the open run has come to the end of its super-frame, so that it may be closed."""
        return self._piece is not None and self._next == self._piece.layout.size

    def close(self) -> list[bytes]:
        """Ends the open run; returns the buffers to write as one frame, none where no run was open."""
        piece = self._piece
        if piece is None:
            return []
        buffers = self._buffers
        first = self._first
        size = self._next - piece.offset
        layout = piece.layout
        self._piece = None
        self._buffers = []
        if size != layout.size:
            headers = build_part(first, layout, piece.offset, size)
            return [headers, first[layout.payload :], *buffers]
        buffers.insert(0, first)
        return buffers


class _Partial:
    __slots__ = ("deadline", "parts", "received", "total")

    def __init__(self, total: int, deadline: float) -> None:
        self.total = total
        self.deadline = deadline
        self.received = 0
        self.parts: dict[int, bytes] = {}


class Reassembly:
    """Puts the fragments of one peer together again, within bounds of number, bytes and age."""

    __slots__ = ("_bytes", "_partials", "incomplete")

    def __init__(self) -> None:
        self._partials: dict[int, _Partial] = {}
        self._bytes = 0
        self.incomplete = 0
        """How many frames have been given up; the caller takes and resets it."""

    def __len__(self) -> int:
        return len(self._partials)

    def add(self, fragment: Fragment, now: float) -> bytes | None:
        """Takes a fragment; returns virtio header and frame when it was the last one missing.

        Raises:
            PeerError: reason "header": the fragment contradicts those before it; its frame is given up.
        """
        partial = self._partials.get(fragment.run)
        if partial is not None and (partial.total != fragment.total or partial.deadline <= now):
            self._forget(fragment.run)
            partial = None
        if partial is None:
            partial = self._partials[fragment.run] = _Partial(fragment.total, now + FRAGMENT_AGE_S)
        if fragment.offset in partial.parts or partial.received + len(fragment.data) > partial.total:
            self._forget(fragment.run)
            raise PeerError("header", "fragments overlap")
        partial.parts[fragment.offset] = fragment.data
        partial.received += len(fragment.data)
        self._bytes += len(fragment.data)
        if partial.received == partial.total:
            return self._finish(fragment.run, partial)
        while self._bytes > FRAGMENT_BYTES_MAX or len(self._partials) > FRAGMENT_FRAMES_MAX:
            self._forget(next(iter(self._partials)))
        return None

    def expire(self, now: float) -> None:
        """Gives up the frames whose time is over."""
        for run in [run for run, partial in self._partials.items() if partial.deadline <= now]:
            self._forget(run)

    def _finish(self, run: int, partial: _Partial) -> bytes:
        position, parts = 0, []
        for offset, data in sorted(partial.parts.items()):
            if offset != position:
                self._forget(run)
                raise PeerError("header", "fragments overlap")
            parts.append(data)
            position += len(data)
        del self._partials[run]
        self._bytes -= partial.received
        return b"".join(parts)

    def _forget(self, run: int) -> None:
        self._bytes -= self._partials.pop(run).received
        self.incomplete += 1
