"""What a technique for opening a direct path is, and what is recorded of it.

A technique is a schedule of checks over candidate paths: a pure plan that knows the facts of the attempt and nothing
of sockets, sessions or peers. Each is a module of its own; `proto/techniques.py` lists them in the order in which
they are tried. All that surrounds one (offer and answer, the agreed moment, checks, nomination, outcomes, status) is
shared.
"""

from dataclasses import dataclass
from typing import Protocol

from ntvl.wire.control import Candidate

__all__ = ["Facts", "Outcome", "Schedule", "Technique"]

Schedule = list[tuple[float, Candidate]]
"""When, in seconds after the agreed moment, to send a check to which remote candidate; in order of time."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Is what a technique may know when it plans: both sides' candidates, and the number of this attempt, from 1."""

    local: tuple[Candidate, ...]
    remote: tuple[Candidate, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Records one technique in one attempt, for status and for people.

    `verdict` is "direct" (a path was confirmed), "no-reply" (checks went out, none was answered), "no-answer" (the
    peer did not answer the offer) or "not-applicable" (`detail` says why). Times are seconds on the machine's clock.
    """

    technique: str
    started: float
    ended: float
    packets: int
    verdict: str
    detail: str = ""


class Technique(Protocol):
    """Is one way to open NATs."""

    name: str
    """A kebab-case word, equal in status, log and docs."""
    duration_s: float
    """How long after the agreed moment its last answer may come."""

    def obstacle(self, facts: Facts) -> str:
        """Returns why the technique cannot apply here, in words, or ""."""

    def schedule(self, facts: Facts) -> Schedule:
        """Returns the checks to send, empty where there is an obstacle."""
