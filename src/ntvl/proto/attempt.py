"""One attempt at a direct path: offer, answer, the agreed moment, techniques, outcome.

    offerer   offered --Answer--> (half a round trip) --> running --> ended
    answerer  answered --Fire, or 1 s--------------------> running --> ended

The offerer learns the round trip through the relay from the answer, sends `Fire`, and waits half of it, so that both
sides send at the same instant (libp2p's DCUtR does the same). Techniques run one after the other until one confirms a
path.
"""

from enum import StrEnum
from typing import Final

from ntvl.proto.technique import Facts, Outcome, Schedule, Technique
from ntvl.proto.techniques import TECHNIQUES
from ntvl.wire.control import Candidate

__all__ = ["OFFERS_MAX", "Attempt", "AttemptState"]

OFFERS_MAX: Final = 3
OFFER_RETRY_S: Final = 0.7
"""Doubles with each offer."""
FIRE_WAIT_S: Final = 1.0


class AttemptState(StrEnum):
    """Says where an attempt stands."""

    OFFERED = "offered"
    ANSWERED = "answered"
    ARMED = "armed"
    RUNNING = "running"
    ENDED = "ended"


class Attempt:
    """Is one attempt, on either side.

    Args:
        number: the offerer's random number for it, 0..2^32-1.
        place: which attempt with this peer since the network last changed, from 1.
        ours: whether we offered.
        local: the candidates we named.
    """

    def __init__(self, number: int, place: int, *, ours: bool, local: tuple[Candidate, ...], now: float) -> None:
        self.number = number
        self.place = place
        self.ours = ours
        self.local = local
        self.remote: tuple[Candidate, ...] = ()
        self.state = AttemptState.OFFERED
        self.started = now
        self.outcomes: list[Outcome] = []
        self._offers = 0
        self._wake_at: float | None = now
        self._techniques: list[Technique] = list(TECHNIQUES)
        self._technique: Technique | None = None
        self._technique_at = 0.0
        self._schedule: Schedule = []
        self._packets = 0

    def poll_timeout(self) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        return self._wake_at

    def handle_answer(self, remote: tuple[Candidate, ...], now: float) -> bool:
        """Takes the peer's answer to our offer; returns whether to send `Fire` now."""
        if self.state is not AttemptState.OFFERED or not self.ours:
            return False
        self.remote = remote
        self.state = AttemptState.ARMED
        # The first offer may have been lost: its age bounds the round trip from above, which only fires a little late.
        self._wake_at = now + min(0.5, (now - self.started) / 2)
        return True

    def handle_offer(self, remote: tuple[Candidate, ...], now: float) -> None:
        """Takes the offer that opened this attempt; the caller sends the answer."""
        self.remote = remote
        self.state = AttemptState.ANSWERED
        self._wake_at = now + FIRE_WAIT_S

    def handle_fire(self, now: float) -> None:
        """Takes the agreed moment: the checks start now."""
        if self.state is AttemptState.ANSWERED:
            self._wake_at = now

    def handle_confirmed(self, now: float) -> None:
        """Takes the news that a path was confirmed: the technique under way has done it."""
        if self.state is AttemptState.ENDED:
            return
        name = self._technique.name if self._technique is not None else TECHNIQUES[0].name
        self.outcomes.append(Outcome(name, self._technique_at or now, now, self._packets, "direct"))
        self._end()

    def handle_timeout(self, now: float) -> tuple[bool, list[Candidate]]:
        """Returns whether to send (again) the offer, and the candidates to check now."""
        if self._wake_at is None or now < self._wake_at:
            return False, []
        if self.state is AttemptState.OFFERED:
            return self._offer(now), []
        if self.state in (AttemptState.ANSWERED, AttemptState.ARMED):
            self.state = AttemptState.RUNNING
            self._next_technique(now)
        if self.state is not AttemptState.RUNNING:
            return False, []
        return False, self._due(now)

    def _offer(self, now: float) -> bool:
        if self._offers >= OFFERS_MAX:
            self.outcomes.append(Outcome("offer", self.started, now, self._offers, "no-answer"))
            self._end()
            return False
        self._wake_at = now + OFFER_RETRY_S * 2**self._offers
        self._offers += 1
        return True

    def _next_technique(self, now: float) -> None:
        facts = Facts(self.local, self.remote, self.place)
        while self._techniques:
            technique = self._techniques.pop(0)
            obstacle = technique.obstacle(facts)
            if obstacle:
                self.outcomes.append(Outcome(technique.name, now, now, 0, "not-applicable", obstacle))
                continue
            self._technique, self._technique_at, self._packets = technique, now, 0
            self._schedule = technique.schedule(facts)
            self._wake_at = now
            return
        self._end()

    def _due(self, now: float) -> list[Candidate]:
        aims: list[Candidate] = []
        while self._technique is not None and self.state is AttemptState.RUNNING:
            while self._schedule and self._technique_at + self._schedule[0][0] <= now:
                aims.append(self._schedule.pop(0)[1])
                self._packets += 1
            end = self._technique_at + self._technique.duration_s
            if now < end:
                self._wake_at = min(end, self._technique_at + self._schedule[0][0]) if self._schedule else end
                break
            self.outcomes.append(Outcome(self._technique.name, self._technique_at, now, self._packets, "no-reply"))
            self._technique = None
            self._next_technique(now)
        return aims

    def _end(self) -> None:
        self.state = AttemptState.ENDED
        self._wake_at = None
