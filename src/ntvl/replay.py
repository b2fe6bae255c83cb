"""The replay window: which packet numbers of a session have been seen.

A packet number is judged before its seal is opened (`check`, which changes nothing) and remembered after (`accept`), so
a forged number, however large, never moves the window. The window is a ring of one byte a number: a number in order
costs one store, nothing is shifted, and a gap costs one clearing of the slots that it skips.

A hot loop may inline the common case, a number above all before; it is the same as `check` and `accept`:

    if number == window.top + 1:              # new for sure
        ... open the seal, drop on failure ...
        window.seen[number & window.mask] = 1
        window.top = number

A train of datagrams numbered in a row is taken in one step with `accept_run`.
"""

from typing import Final

__all__ = ["WINDOW_DEFAULT", "WINDOW_MIN", "ReplayWindow"]

WINDOW_MIN: Final = 2048
WINDOW_DEFAULT: Final = 8192
"""More than a 64 KiB super-frame's datagrams on two paths of which one lags by a second at 100 Mbit/s."""


class ReplayWindow:
    """Tells new packet numbers from old ones and from copies.

    Args:
        size: how many numbers up to the highest are told apart; a power of two, at least 2048.

    Attributes:
        top: the highest number accepted, -1 before the first.
        seen: a byte for each number in the window, 1 where it was accepted, at `number & mask`.
        mask: `size` - 1.
    Source:
        RFC 6479 (a ring instead of shifting); RFC 4303 section 3.4.3 for the order of check, opening and update.
    """

    __slots__ = ("mask", "seen", "size", "top")

    def __init__(self, size: int = WINDOW_DEFAULT) -> None:
        if size < WINDOW_MIN or size & (size - 1):
            raise ValueError(f"a replay window has a power of two of at least {WINDOW_MIN} numbers, not {size}")
        self.size = size
        self.mask = size - 1
        self.top = -1
        self.seen = bytearray(size)

    def check(self, number: int) -> str | None:
        """Returns None for a new number, else "replay" (seen) or "too-old" (behind the window); changes nothing."""
        top = self.top
        if number > top:
            return None
        if top - number > self.mask:
            return "too-old"
        return "replay" if self.seen[number & self.mask] else None

    def accept(self, number: int) -> None:
        """Remembers a number for which `check` gave None and whose datagram opened."""
        top = self.top
        if number == top + 1:
            self.top = number
        elif number > top:
            self._clear(top + 1, number - top - 1)
            self.top = number
        elif top - number > self.mask:
            return
        self.seen[number & self.mask] = 1

    def accept_run(self, first: int, count: int) -> None:
        """Remembers `first` .. `first` + `count` - 1, all above `top`, all opened: a train without a gap in one step.

        Args:
            first: above `top`; there may be a gap between.
            count: at least 1.
        Raises:
            ValueError: a run that is not above `top`; the caller did not compare.
        """
        top = self.top
        if first <= top or count < 1:
            raise ValueError(f"a run of {count} from {first} is not above {top}")
        if first != top + 1:
            self._clear(top + 1, first - top - 1)
        self._fill(first, count, 1)
        self.top = first + count - 1

    def _clear(self, first: int, count: int) -> None:
        self._fill(first, count, 0)

    def _fill(self, first: int, count: int, value: int) -> None:
        size = self.size
        if count >= size:
            self.seen[:] = bytes((value,)) * size
            return
        start = first & self.mask
        end = start + count
        if end <= size:
            self.seen[start:end] = bytes((value,)) * count
        else:
            self.seen[start:] = bytes((value,)) * (size - start)
            self.seen[: end - size] = bytes((value,)) * (end - size)
