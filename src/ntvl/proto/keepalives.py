"""The questions by which a node sees that a supernode is still there, and when the next one is due."""

from typing import Final

__all__ = ["ANSWER_WAIT_S", "Keepalives"]

ANSWER_WAIT_S: Final = (1.0, 1.0, 2.0)
"""Waits for an answer to a keepalive; after the last the supernode is unreachable."""
PATIENCE_ROUNDS: Final = 2
"""Round trips that an answer has at least."""
INTERVAL_S: Final = 20.0
_ASKED_MAX: Final = 8


class Keepalives:
    """Keeps count of questions and answers; sends nothing.

    Attributes:
        at: when something is due: a question, or the end of the wait for its answer; None for never.
    """

    def __init__(self) -> None:
        self.at: float | None = None
        self._interval_s = INTERVAL_S
        self._asked: dict[int, float] = {}
        self._unanswered = 0

    @property
    def is_waiting(self) -> bool:
        """Returns whether a question has no answer yet."""
        return bool(self._asked)

    def set_interval(self, interval_s: float) -> None:
        """Takes what the supernode wants, within 5 to 120 s."""
        self._interval_s = min(max(interval_s, 5.0), 120.0)

    def note_asked(self, request: int, now: float, rtt_s: float | None = None) -> None:
        """Notes a question; asking again puts off no judgement. An answer has two round trips of time at least."""
        waits = self.at if self._asked else None
        self._asked[request] = now
        while len(self._asked) > _ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        wait_s = ANSWER_WAIT_S[min(self._unanswered, len(ANSWER_WAIT_S) - 1)]
        at = now + max(wait_s, PATIENCE_ROUNDS * (rtt_s or 0.0))
        self.at = at if waits is None else min(at, waits)

    def note_answer(self, request: int, now: float, *, at_most_s: float = float("inf")) -> float | None:
        """Returns the round trip in seconds, or None where nobody asked.

        Args:
            at_most_s: before the next question, for the sake of the NAT in front of us.
        """
        sent = self._asked.get(request)
        if sent is None:
            return None
        self.forget()
        self.at = now + min(self._interval_s, at_most_s)
        return now - sent

    def forget(self) -> None:
        """Takes every question for answered."""
        self._asked.clear()
        self._unanswered = 0

    def give_up(self) -> bool:
        """Notes that the wait is over; returns whether to ask once more."""
        self._unanswered += 1
        self.at = None
        return self._unanswered < len(ANSWER_WAIT_S)
