"""Receiver indices: the 32-bit numbers by which datagrams find their session, drawn at random, never zero."""

from typing import Generic, TypeVar

from ntvl.proto.machine import Random

__all__ = ["Indices"]

T = TypeVar("T")


class Indices(Generic[T]):
    """Maps each index in use to its owner; one table serves every session and handshake of a node."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._owners: dict[int, T] = {}

    def allocate(self, owner: T) -> int:
        """Returns a fresh index, 1..2^32-1, that leads to `owner`."""
        while True:
            index = int.from_bytes(self._random(4), "big")
            if index and index not in self._owners:
                self._owners[index] = owner
                return index

    def find(self, index: int) -> T | None:
        """Returns the owner of an index, or None."""
        return self._owners.get(index)

    def release(self, index: int) -> None:
        """Gives an index back; unknown ones are fine."""
        self._owners.pop(index, None)
