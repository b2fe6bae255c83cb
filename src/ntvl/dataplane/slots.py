"""Buffers with places: super-frames that are read already cut, and trains that are sealed and opened where they lie.

A bulk transfer spends more time on moving bytes between small objects, and on fetching them from memory again, than
on its cipher. So there is a lane for it in which no byte is copied in Python: a TAP's super-frame is read (`readv`)
into slots that leave room for each piece's head, sealed from there into one buffer that is a train; a train is
received into one buffer, opened into slots, and written (`writev`) to a TAP from there. Everything that cuts a buffer
into places is made once for each shape of traffic; a transfer keeps its shape for as long as it lasts.

    read       | head 0 | payload 0 | head 1 | payload 1 | ...       only the first head is read, the others are
    filled in sealed     | header, number | body | header, number | body ...  what `UDP_SEGMENT` cuts
"""

from collections import deque
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Final

from ntvl.dataplane.train import TRAIN_BYTES_MAX, TRAIN_SEGMENTS_MAX
from ntvl.wire.header import HEADER_BYTES, RELAY_HEADER_BYTES, TAG_BYTES
from ntvl.wire.plaintext import PIECE_HEADER_BYTES, piece_starts
from ntvl.wire.vnet import SUPER_BYTES_MAX

__all__ = ["FrameSlots", "PlainSlots", "TrainSlots", "consume"]

_OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES
_ALL: Final = slice(None)

consume: Final = deque[object](maxlen=0).extend
"""Runs an iterator to its end, without a step of the interpreter where it has none of its own."""


class FrameSlots:
    """Is where super-frames are read whose headers are `payload` bytes long, virtio header included, cut every `step`
    bytes.

    Attributes:
        views: for `readv`: the headers, the payload of each slot, and room for what is longer than a train.
    """

    __slots__ = ("_count", "_head", "_heads", "_plains", "payload", "step", "views")

    def __init__(self, payload: int, step: int) -> None:
        self.payload = payload
        self.step = step
        self._head = head = PIECE_HEADER_BYTES + payload
        slot = head + step
        room = TRAIN_BYTES_MAX // (slot + RELAY_HEADER_BYTES + _OVERHEAD_BYTES)
        self._count = count = min(TRAIN_SEGMENTS_MAX, room)
        view = memoryview(bytearray(count * slot + SUPER_BYTES_MAX))
        self._plains = [view[start : start + slot] for start in range(0, count * slot, slot)]
        self._heads = [plain[:head] for plain in self._plains]
        self.views = [
            view[PIECE_HEADER_BYTES:head],
            *(plain[head:] for plain in self._plains),
            view[count * slot : count * (slot - step) + SUPER_BYTES_MAX],
        ]

    def headers(self) -> bytes:
        """Returns virtio header and headers of what was read."""
        return bytes(self.views[0])

    def frame(self, size: int) -> bytes:
        """Returns the first `size` bytes that were read, whatever they are, in one piece."""
        return b"".join(self.views)[:size] if size > self.payload else bytes(self.views[0][:size])

    def pieces(self, headers: bytes, size: int, run: int) -> list[memoryview] | None:
        """Returns the PIECEs of a super-frame whose payload of `size` bytes has been read, None where they are too
        many.
        """
        count = -(-size // self.step)
        if count > self._count:
            return None
        heads = map(bytes.__add__, piece_starts(self.step)[:count], repeat(run.to_bytes(2, "big") + headers))
        consume(map(memoryview.__setitem__, self._heads[:count], repeat(_ALL), heads))
        plains = self._plains[:count]
        last = size - (count - 1) * self.step
        if last != self.step:
            plains[-1] = plains[-1][: self._head + last]
        return plains


class TrainSlots:
    """Is a train in one buffer: `count` datagrams of `segment_bytes` with a header at `skip`; cut for ciphers.

    Attributes:
        nonces: the 12 bytes in each header that are the nonce.
        bodies: the sealed rest of each datagram.
    """

    __slots__ = ("_constant", "_count", "_segment_bytes", "_skip", "_view", "bodies", "buffer", "nonces")

    def __init__(self, buffer: bytearray, segment_bytes: int, skip: int) -> None:
        self.buffer = buffer
        self._segment_bytes = segment_bytes
        self._skip = skip
        self._constant = b""
        self._view = view = memoryview(buffer)
        starts = range(skip, len(buffer) // segment_bytes * segment_bytes, segment_bytes)
        self._count = len(starts)
        self.nonces = [view[start + 4 : start + 16] for start in starts]
        self.bodies = [view[start + 16 : start + segment_bytes - skip] for start in starts]

    def write_headers(self, header: bytes, number: int, count: int) -> None:
        """Fills in what is before the bodies: `header` (8 bytes behind the prefix), and numbers from `number` on.

        Of a transfer's trains all but the low bytes of the numbers stay from the train before.
        """
        buffer, step = self.buffer, self._segment_bytes
        numbers = _numbers(count).pack(*range(number, number + count))
        constant = header + numbers[:6]
        end = count * step
        if constant != self._constant or numbers[-8:-2] != numbers[:6]:
            end = self._count * step
            for place, value in enumerate(header):
                buffer[place:end:step] = bytes((value,)) * self._count
            self._constant = constant if numbers[-8:-2] == numbers[:6] else b""
            for place in range(6):
                high = numbers[place::8]
                buffer[len(header) + place : end : step] = high + high[-1:] * (self._count - count)
            end = count * step
        for place in (6, 7):
            buffer[len(header) + place : end : step] = numbers[place::8]

    def body(self, index: int, size: int) -> memoryview:
        """Returns the first `size` bytes of a body."""
        return self.bodies[index][:size]

    def train(self, size: int) -> memoryview:
        """Returns the first `size` bytes, to be sent before anything else is done with the buffer."""
        return self._view[:size]

    def numbers(self, count: int) -> tuple[int, ...]:
        """Returns the packet numbers in the first `count` headers."""
        return _number_places(count, self._segment_bytes, self._skip).unpack_from(self.buffer)


class PlainSlots:
    """Is where the plaintexts of a train are opened, `plain_bytes` each.

    Attributes:
        plains: a view for each.
    """

    __slots__ = ("_buffer", "_payloads", "_plain_bytes", "plains")

    def __init__(self, plain_bytes: int, count: int) -> None:
        self._plain_bytes = plain_bytes
        self._buffer = bytearray(plain_bytes * count)
        view = memoryview(self._buffer)
        self.plains = [view[start : start + plain_bytes] for start in range(0, plain_bytes * count, plain_bytes)]
        self._payloads: dict[int, list[memoryview]] = {}

    def heads(self, count: int, head: int) -> tuple[bytes, ...]:
        """Returns the first `head` bytes of the first `count` plaintexts."""
        return _head_places(count, self._plain_bytes, head).unpack_from(self._buffer)

    def payloads(self, head: int) -> list[memoryview]:
        """Returns what is behind the first `head` bytes of each plaintext."""
        payloads = self._payloads.get(head)
        if payloads is None:
            self._payloads.clear()
            payloads = self._payloads[head] = [plain[head:] for plain in self.plains]
        return payloads


@lru_cache(maxsize=128)
def _numbers(count: int) -> Struct:
    return Struct(f"!{count}Q")


@lru_cache(maxsize=128)
def _number_places(count: int, segment_bytes: int, skip: int) -> Struct:
    return Struct("!" + f"{skip + 8}xQ{segment_bytes - skip - 16}x" * (count - 1) + f"{skip + 8}xQ")


@lru_cache(maxsize=128)
def _head_places(count: int, plain_bytes: int, head: int) -> Struct:
    return Struct(f"{head}s{plain_bytes - head}x" * (count - 1) + f"{head}s")
