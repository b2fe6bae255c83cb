"""What became of the pairs of a matrix, and whether that is as good as theory allows.

Simulator and laboratory fill the same records; tables, drawings and exit statuses are made of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ntvl.kind import SITE_KINDS, Expectation, expect

__all__ = ["PairOutcome", "Verdict", "describe_shortfall", "describe_success", "technique_of"]


class Verdict(StrEnum):
    """Says how a pair compares with the oracle: NONE never talked, BELOW is on a relay where a direct path is
    possible, LATE took longer than it may, ABOVE is direct where theory sees no way, AS_EXPECTED the rest.
    """

    AS_EXPECTED = "as-expected"
    ABOVE = "above"
    LATE = "late"
    BELOW = "below"
    NONE = "none"

    @property
    def is_shortfall(self) -> bool:
        """Returns whether the pair got less than theory allows."""
        return self in (Verdict.LATE, Verdict.BELOW, Verdict.NONE)


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """Is one pair's outcome.

    Args:
        left, right: names of kinds.
        path: "direct" if both ends show it, else "relay", or "none".
        technique: what found the direct path, or what carries the relay; the path where that is not told.
        first_reply_s: from the first packet to the first reply, None for never.
        direct_after_s: from the first packet until both ends showed a direct path, None for never.
        packets: the checks that both ends spent on looking for a direct path.
        note: why there is nothing to show, if so.
        tries: 2 for a pair whose first try fell short, and whose nodes were started anew for this one.
        first_verdict: what the first try came to, where there was a second one.
    """

    left: str
    right: str
    path: str
    technique: str
    first_reply_s: float | None
    direct_after_s: float | None
    packets: int
    note: str = ""
    tries: int = 1
    first_verdict: Verdict | None = None

    @property
    def expected(self) -> Expectation:
        """Returns what theory allows."""
        return expect(SITE_KINDS[self.left], SITE_KINDS[self.right])

    def judge(self, slack: float = 1.0) -> Verdict:
        """Compares with the oracle; its times are multiplied by `slack`, for a machine that has other work."""
        wanted = self.expected
        if self.path == "none" or self.first_reply_s is None:
            return Verdict.NONE
        if wanted.path == "direct" and self.path != "direct":
            return Verdict.BELOW
        if self.first_reply_s > wanted.first_reply_s * slack:
            return Verdict.LATE
        if wanted.direct_s is None:
            return Verdict.ABOVE if self.path == "direct" else Verdict.AS_EXPECTED
        late = self.direct_after_s is None or self.direct_after_s > wanted.direct_s * slack
        return Verdict.LATE if late else Verdict.AS_EXPECTED

    def as_json(self, slack: float = 1.0) -> dict[str, Any]:
        """Returns the object that `ntvl lab matrix --json` prints for the pair."""
        return {**asdict(self), "expected": self.expected._asdict(), "verdict": str(self.judge(slack))}


def describe_shortfall(outcomes: Sequence[PairOutcome], slack: float = 1.0) -> str:
    """Returns a sentence that names each pair that got less than theory allows, and how; empty if there is none."""
    short = [(outcome, verdict) for outcome in outcomes if (verdict := outcome.judge(slack)).is_shortfall]
    if not short:
        return ""
    kinds = {kind for outcome in outcomes for kind in (outcome.left, outcome.right) if not SITE_KINDS[kind].shared}
    words = []
    for wanted, what in ((Verdict.NONE, "do not talk"), (Verdict.BELOW, "stay on the relay without need")):
        pairs = [(outcome.left, outcome.right) for outcome, verdict in short if verdict is wanted]
        if pairs:
            words.append(f"{what}: {', '.join(_gather(pairs, kinds))}")
    words += [_describe_late(outcome) for outcome, verdict in short if verdict is Verdict.LATE]
    count = "1 pair is" if len(short) == 1 else f"{len(short)} pairs are"
    return f"{count} below what theory allows; {'; '.join(words)}"


def describe_success(outcomes: Sequence[PairOutcome], slack: float = 1.0) -> str:
    """Returns a sentence that counts the pairs that got what theory allows, and those that did at the second try."""
    good = [outcome for outcome in outcomes if not outcome.judge(slack).is_shortfall]
    again = sum(outcome.tries > 1 for outcome in good)
    late = f", {again} of them at the second try only" if again else ""
    pairs = "1 pair" if len(outcomes) == 1 else f"{len(outcomes)} pairs"
    return f"As good as theory allows: {len(good)} of {pairs}{late}."


def technique_of(here: dict[str, Any], there: dict[str, Any]) -> tuple[str, int]:
    """Returns what found the path between two nodes, and the checks that both spent.

    Args:
        here, there: the entries that the two have of each other in `ntvl status --json`.
    """
    attempts = [attempt for peer in (here, there) for attempt in peer.get("attempts", ())]
    found = [attempt["technique"] for attempt in attempts if attempt["verdict"] == "direct"]
    path = str(here.get("path", "none"))
    technique = here.get("technique") or (found[-1] if found and path == "direct" else path)
    return str(technique), sum(attempt["packets"] for attempt in attempts)


def _gather(pairs: list[tuple[str, str]], kinds: set[str]) -> list[str]:
    """Returns pairs in words, those of one kind together, the kind with most pairs first."""
    words = []
    rest = pairs
    while rest:
        counts = Counter(kind for pair in rest for kind in dict.fromkeys(pair))
        most = max(counts, key=lambda kind: counts[kind])
        mine = [pair for pair in rest if most in pair]
        others = [right if left == most else left for left, right in mine]
        fails_with_all = kinds <= {kind for pair in pairs if most in pair for kind in pair} and len(kinds) > 2
        words.append(f"{most} with {'every kind' if fails_with_all else ' and '.join(others)}")
        rest = [pair for pair in rest if most not in pair]
    return words


def _describe_late(outcome: PairOutcome) -> str:
    pair, wanted = f"{outcome.left} and {outcome.right}", outcome.expected
    direct_s = outcome.direct_after_s
    if direct_s is not None and wanted.direct_s is not None and direct_s > wanted.direct_s:
        return f"{pair} are direct after {direct_s:.1f} s, {wanted.direct_s:g} s are allowed"
    return f"{pair} have a reply only after {outcome.first_reply_s:.1f} s, {wanted.first_reply_s:g} s are allowed"
