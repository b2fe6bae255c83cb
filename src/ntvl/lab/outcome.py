"""What a demonstration comes to: results of pairs, a proof, or the step that failed; and who is told on the way."""

from dataclasses import dataclass
from typing import Any, Protocol

from ntvl.errors import NtvlError
from ntvl.lab.proof import Proof

__all__ = ["Outcome", "PairResult", "StepError", "Teller"]


class StepError(NtvlError):
    """Says which step did not come true, and why; `log` has the last lines of the program that failed."""

    def __init__(self, sentence: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.log = log


class Teller(Protocol):
    """Is told what happens."""

    def step(self, text: str) -> None:
        """Takes what just came true."""

    def waiting(self, text: str) -> None:
        """Takes what is waited for now."""


@dataclass(frozen=True, slots=True)
class PairResult:
    """Is what was measured from `source` to `target`. Times are milliseconds; `direct_after_ms` is None on a relay.

    `lost` counts pings without reply, out of `pings`, from the first packet on and over any change of path.
    """

    source: str
    target: str
    path: str
    first_reply_ms: float
    direct_after_ms: float | None
    rtt_ms: float
    mbps: float
    pings: int
    lost: int

    def as_json(self) -> dict[str, Any]:
        """Returns the object that `ntvl demo --json` prints for a pair."""
        return {
            "from": self.source,
            "to": self.target,
            "path": self.path,
            "first_reply_ms": self.first_reply_ms,
            "direct_after_ms": self.direct_after_ms,
            "rtt_ms": self.rtt_ms,
            "mbps": self.mbps,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Is the result of a whole demonstration."""

    pairs: tuple[PairResult, ...]
    proof: Proof
