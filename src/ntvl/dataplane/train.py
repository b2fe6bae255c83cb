"""Trains: datagrams that one system call sends.

The kernel cuts what one `sendmsg` with `UDP_SEGMENT` hands over every so many bytes, so the datagrams of a train are
equally long but for the last, which may be shorter. The limits are the kernel's: so many segments, so many bytes.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ntvl.wire.address import Address
from ntvl.wire.header import HEADER_BYTES, RELAY_HEADER_BYTES, TAG_BYTES

__all__ = ["TRAIN_BYTES_MAX", "TRAIN_SEGMENTS_MAX", "Train", "TrainBuilder", "split_by_prefix"]

TRAIN_SEGMENTS_MAX: Final = 64
"""UDP_MAX_SEGMENTS of Linux before 6.9 (128 since)."""
TRAIN_BYTES_MAX: Final = 65507
"""Largest UDP payload over IPv4."""

_OVERHEAD_BYTES: Final = RELAY_HEADER_BYTES + HEADER_BYTES + TAG_BYTES


class Train(NamedTuple):
    """Is what one system call sends: the concatenation of `buffers`, cut every `segment_bytes`, from `socket` to
    `address`.

    The buffers may lie in what came from `Forwarder.handle_train`: send before handing in the next train.
    """

    socket: int
    address: Address
    buffers: "Sequence[bytes | memoryview]"
    segment_bytes: int

    def datagrams(self) -> list[bytes]:
        """Returns the datagrams one by one, for those without a kernel that cuts."""
        data = b"".join(self.buffers)
        step = self.segment_bytes
        return [data[start : start + step] for start in range(0, len(data), step)]


class TrainBuilder:
    """Sorts plaintexts, in order, into groups of which each fits one train when sealed, relay prefix included."""

    __slots__ = ("_length", "_room", "groups")

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self._length = 0
        self._room = 0

    def add(self, plain: bytes) -> None:
        """Appends one plaintext, to the last group if it fits."""
        length = len(plain)
        if self._room == 0 or length > self._length:
            self.groups.append([plain])
            self._length = length
            self._room = min(TRAIN_SEGMENTS_MAX, TRAIN_BYTES_MAX // (length + _OVERHEAD_BYTES)) - 1
            return
        self.groups[-1].append(plain)
        self._room = self._room - 1 if length == self._length else 0

    def add_run(self, plains: list[bytes]) -> None:
        """Appends plaintexts that are equally long but for the last, which may be shorter; at least one."""
        length = len(plains[0])
        start, count = 0, len(plains)
        if self._room and length == self._length:
            start = min(self._room, count)
            self.groups[-1] += plains[:start]
            self._room -= start
        room = min(TRAIN_SEGMENTS_MAX, TRAIN_BYTES_MAX // (length + _OVERHEAD_BYTES))
        while start < count:
            group = plains[start : start + room]
            self.groups.append(group)
            self._length, self._room = length, room - len(group)
            start += room
        if len(plains[-1]) < length:
            self._room = 0


def split_by_prefix(train: bytes, segment_bytes: int, prefix_bytes: int) -> Iterator[bytes]:
    """Yields the parts of a train whose datagrams share their first `prefix_bytes` bytes, in order; usually all of
    it.
    """
    size = len(train)
    if size <= segment_bytes:
        yield train
        return
    if segment_bytes < prefix_bytes:
        for start in range(0, size, segment_bytes):
            yield train[start : start + segment_bytes]
        return
    count = size // segment_bytes
    prefixes = _prefix_parser(count, segment_bytes, prefix_bytes).unpack_from(train)
    if count * segment_bytes < size:
        start = count * segment_bytes
        prefixes += (train[start : start + prefix_bytes],)
    if prefixes.count(prefixes[0]) == len(prefixes):
        yield train
        return
    first = 0
    for index in range(1, len(prefixes) + 1):
        if index == len(prefixes) or prefixes[index] != prefixes[first]:
            yield train[first * segment_bytes : index * segment_bytes]
            first = index


@lru_cache(maxsize=256)
def _prefix_parser(count: int, segment_bytes: int, prefix_bytes: int) -> struct.Struct:
    return struct.Struct(f"{prefix_bytes}s{segment_bytes - prefix_bytes}x" * count)
