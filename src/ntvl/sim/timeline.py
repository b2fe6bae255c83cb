"""Virtual time: a queue of things to do, each at its moment, and a clock that jumps from one to the next."""

import heapq
from collections.abc import Callable

__all__ = ["Timeline", "Timer"]


class Timer:
    """Is one thing to do later; `cancel` makes it not happen."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forgets the action; harmless when it has happened already."""
        self.action = None


class Timeline:
    """Runs actions in the order of their moments, and of being asked for where moments are equal.

    `now` is in seconds and starts at `start`; nothing here knows any other clock.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self.steps = 0
        """Actions run so far."""
        self._queue: list[tuple[float, int, Timer]] = []
        self._sequence = 0

    def at(self, moment: float, action: Callable[[], None]) -> Timer:
        """Plans an action for a moment; one in the past happens next, at the present time."""
        timer = Timer(max(moment, self.now), action)
        self._sequence += 1
        heapq.heappush(self._queue, (timer.at, self._sequence, timer))
        return timer

    def after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Plans an action in `delay_s` seconds."""
        return self.at(self.now + delay_s, action)

    def next_at(self) -> float | None:
        """Returns the moment of the next action, or None where nothing is planned."""
        while self._queue and self._queue[0][2].action is None:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def step(self) -> bool:
        """Jumps to the next action and runs it; returns False where there is none."""
        if self.next_at() is None:
            return False
        moment, _, timer = heapq.heappop(self._queue)
        self.now = max(self.now, moment)
        self.steps += 1
        action, timer.action = timer.action, None
        if action is not None:
            action()
        return True

    def run_until(self, moment: float) -> None:
        """Runs everything that is due up to and at `moment`, and leaves the clock there."""
        while (due := self.next_at()) is not None and due <= moment:
            self.step()
        self.now = max(self.now, moment)
