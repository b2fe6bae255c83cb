"""The sockets that a node opens besides its main port, for techniques that need many mappings.

All peers of a node share them: a home router holds few thousand flows, so a node never opens more than one technique's
worth at once. A socket lives as long as a path uses it, or its technique runs.
"""

from collections.abc import Iterable
from typing import Final

from ntvl.dataplane.interface import CloseSocket, OpenSocket
from ntvl.proto.context import Context

__all__ = ["PUNCHING_MAX", "Sockets"]

PUNCHING_MAX: Final = 128
"""Sockets of techniques under way, over all peers."""
_OPEN_MAX: Final = 512
_NUMBER_MAX: Final = 65535


class Sockets:
    """Gives out numbers of sockets and tells the data plane."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: set[int] = set()
        self._punching: set[int] = set()
        self._last = 0

    def open(self, count: int, family: int = 4) -> list[int]:
        """Returns the numbers of `count` new sockets; none where a technique for another peer has them all."""
        if count + len(self._punching) > PUNCHING_MAX:
            return []
        numbers = self.open_more(count, family)
        self._punching.update(numbers)
        return numbers

    def open_more(self, count: int, family: int = 4) -> list[int]:
        """Returns the numbers of `count` new sockets that are not for a technique; none where too many are open."""
        if count + len(self._open) > _OPEN_MAX:
            return []
        numbers: list[int] = []
        while len(numbers) < count:
            self._last = self._last % _NUMBER_MAX + 1
            if self._last not in self._open:
                numbers.append(self._last)
                self._open.add(self._last)
        self._context.commands.extend(OpenSocket(number, family) for number in numbers)
        return numbers

    def settle(self, numbers: Iterable[int], kept: Iterable[int]) -> None:
        """Ends a technique that had `numbers`: closes all that are not among `kept`, which paths use."""
        staying = set(kept)
        for number in numbers:
            self._punching.discard(number)
            if number not in staying:
                self.close(number)

    def close(self, number: int) -> None:
        """Closes one socket; twice is harmless."""
        if number in self._open:
            self._open.remove(number)
            self._punching.discard(number)
            self._context.commands.append(CloseSocket(number))
