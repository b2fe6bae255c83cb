"""A heap of named wake-ups, so that a thousand idle peers cost nothing.

A timer is a key and a time; setting it again moves it. Keys are tuples whose first item is the reason.
"""

import heapq
from collections import deque
from collections.abc import Hashable, Iterator

from ntvl.proto.machine import Wakeup

__all__ = ["TimerKey", "Timers"]

TimerKey = tuple[Hashable, ...]


class Timers:
    """Keeps at most one time for each key."""

    def __init__(self) -> None:
        self._at: dict[TimerKey, float] = {}
        self._heap: list[tuple[float, int, TimerKey]] = []
        self._sequence = 0

    def set(self, key: TimerKey, at: float) -> None:
        """Sets or moves the timer `key` to `at`, in seconds on the machine's clock."""
        if self._at.get(key) == at:
            return
        self._at[key] = at
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, key))

    def set_earlier(self, key: TimerKey, at: float) -> None:
        """Sets the timer unless it is due before `at` already."""
        if self._at.get(key, at + 1.0) > at:
            self.set(key, at)

    def cancel(self, key: TimerKey) -> None:
        """Forgets a timer; unknown keys are fine."""
        self._at.pop(key, None)

    def due(self, now: float) -> Iterator[TimerKey]:
        """Yields each key that is due, earliest first, once; what is set meanwhile, even for now, waits for the next
        call.
        """
        popped: deque[tuple[float, TimerKey]] = deque()
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            popped.append((at, key))
        try:
            while popped:
                at, key = popped.popleft()
                if self._at.get(key) == at:
                    del self._at[key]
                    yield key
        finally:
            for at, key in popped:  # The caller stopped early: what it has not seen is still due.
                self._sequence += 1
                heapq.heappush(self._heap, (at, self._sequence, key))

    def next(self) -> Wakeup | None:
        """Returns the earliest wake-up, or None."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._at.get(key) == at:
                return Wakeup(at, str(key[0]))
            heapq.heappop(self._heap)
        return None
