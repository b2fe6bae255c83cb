"""The ways to one peer, how sure we are of each, and which of them carry the data.

A relay path is usable from the start; a direct path only once a check went there and back on it, so "direct" always
means confirmed in both directions. Each path has a state out of a table:

    NEW    never confirmed          VALID  answered lately
    DOUBT  asked without answer     DEAD   silent for too long; a direct one is forgotten

One path is selected. While it is in doubt, data goes over it and the best other one at once: the receiver's replay
window drops the copies, so doubt costs bandwidth and no packet. The controlling side (the larger node key) chooses
between direct paths and nominates (RFC 8445 section 8.1.1, "regular nomination"); the other side follows, so both
show the same.

Times are faster than RFC 7675's consent (5 s, 30 s) and than the field's usual 6.5 s of trust, at the same cost: one
small packet every 2 s while data flows.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from ntvl.dataplane.interface import Target

__all__ = [
    "ACTIVE_CHECK_S",
    "DEAD_AFTER_S",
    "DOUBT_AFTER_S",
    "IDLE_CHECK_S",
    "TRANSITIONS",
    "Path",
    "PathSet",
    "PathSignal",
    "PathState",
]

ACTIVE_CHECK_S: Final = 2.0
"""Between checks of the selected path while data flows."""
IDLE_CHECK_S: Final = 20.0
"""Between checks of a selected direct path without data: under the 30 s after which some NATs forget (RFC 4787 REQ-5
asks for 120 s)."""
RECHECK_S: Final = 0.4
"""Between checks while one is unanswered, or twice the round trip where that is longer."""
DOUBT_AFTER_S: Final = 1.2
DEAD_AFTER_S: Final = 5.0
RELAY_RETRY_S: Final = 5.0
"""Between checks of a relay that is dead, while there is nothing better."""
TRUST_S: Final = 5.0
"""A path confirmed longer ago than this is in doubt when data starts to flow again."""
DIRECT_MAX: Final = 48
"""Direct paths kept for one peer, confirmed or under check."""


class PathState(StrEnum):
    """Says how sure we are of a path."""

    NEW = "new"
    VALID = "valid"
    DOUBT = "doubt"
    DEAD = "dead"


class PathSignal(StrEnum):
    """Names what changes a path's state."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    SILENT = "silent"
    DISTURBED = "disturbed"


TRANSITIONS: Final[dict[tuple[PathState, PathSignal], PathState]] = {
    (PathState.NEW, PathSignal.ANSWERED): PathState.VALID,
    (PathState.NEW, PathSignal.UNANSWERED): PathState.DOUBT,
    (PathState.NEW, PathSignal.SILENT): PathState.DEAD,
    (PathState.NEW, PathSignal.DISTURBED): PathState.NEW,
    (PathState.VALID, PathSignal.ANSWERED): PathState.VALID,
    (PathState.VALID, PathSignal.UNANSWERED): PathState.DOUBT,
    (PathState.VALID, PathSignal.SILENT): PathState.DEAD,
    (PathState.VALID, PathSignal.DISTURBED): PathState.DOUBT,
    (PathState.DOUBT, PathSignal.ANSWERED): PathState.VALID,
    (PathState.DOUBT, PathSignal.UNANSWERED): PathState.DOUBT,
    (PathState.DOUBT, PathSignal.SILENT): PathState.DEAD,
    (PathState.DOUBT, PathSignal.DISTURBED): PathState.DOUBT,
    (PathState.DEAD, PathSignal.ANSWERED): PathState.VALID,
    (PathState.DEAD, PathSignal.UNANSWERED): PathState.DEAD,
    (PathState.DEAD, PathSignal.SILENT): PathState.DEAD,
    (PathState.DEAD, PathSignal.DISTURBED): PathState.DEAD,
}


class Path:
    """Is one way to a peer. `via` is the supernode's index for a relay path and None for a direct one."""

    __slots__ = (
        "asked_since",
        "confirmed_at",
        "kind",
        "last_rx",
        "next_check",
        "nominated",
        "rtt_s",
        "state",
        "target",
        "via",
    )

    def __init__(self, target: Target, kind: str, via: int | None) -> None:
        self.target = target
        self.kind = kind
        self.via = via
        self.state = PathState.NEW
        self.rtt_s: float | None = None
        self.confirmed_at: float | None = None
        self.last_rx: float | None = None
        self.asked_since: float | None = None
        self.next_check: float | None = None
        self.nominated = False

    @property
    def is_direct(self) -> bool:
        """Returns whether no relay is involved."""
        return self.via is None

    def signal(self, signal: PathSignal) -> bool:
        """Applies a signal by the table; returns whether the state changed."""
        state = TRANSITIONS[self.state, signal]
        changed = state is not self.state
        self.state = state
        return changed

    def handle_answer(self, rtt_s: float, now: float) -> bool:
        """Takes the answer to a check; returns whether the state changed. Round trips are smoothed as in RFC 6298."""
        self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) / 8
        self.confirmed_at = now
        self.last_rx = now
        self.asked_since = None
        return self.signal(PathSignal.ANSWERED)

    def recheck_s(self) -> float:
        """Returns the wait before an unanswered check is repeated."""
        return RECHECK_S if self.rtt_s is None else max(RECHECK_S, 2 * self.rtt_s)

    def doubt_s(self) -> float:
        """Returns how long a check may go unanswered before the path is in doubt."""
        return DOUBT_AFTER_S if self.rtt_s is None else max(DOUBT_AFTER_S, 4 * self.rtt_s)


class PathSet:
    """Keeps the paths to one peer and selects.

    Args:
        controlling: whether this side chooses between direct paths.
    """

    def __init__(self, *, controlling: bool) -> None:
        self.controlling = controlling
        self.selected: Path | None = None
        self._paths: dict[Target, Path] = {}

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths.values())

    def find(self, target: Target) -> Path | None:
        """Returns the path with this target, or None."""
        return self._paths.get(target)

    def relays(self) -> list[Path]:
        """Returns the relay paths, the surest first, and among equals in the order of the supernodes."""
        order = {PathState.VALID: 0, PathState.NEW: 0, PathState.DOUBT: 1, PathState.DEAD: 2}
        relays = [p for p in self._paths.values() if not p.is_direct]
        return sorted(relays, key=lambda p: (order[p.state], p.via))

    def directs(self) -> list[Path]:
        """Returns the direct paths, confirmed or under check."""
        return [p for p in self._paths.values() if p.is_direct]

    def add_relay(self, via: int, target: Target) -> Path:
        """Adds or replaces the relay path through supernode `via`."""
        old = next((p for p in self._paths.values() if p.via == via), None)
        if old is not None and old.target == target:
            return old
        if old is not None:
            self.remove(old)
        path = self._paths[target] = Path(target, "relay", via)
        return path

    def add_direct(self, target: Target, kind: str) -> Path | None:
        """Adds a direct path to check, or returns the one that is there; None where too many are."""
        path = self._paths.get(target)
        if path is not None:
            return path
        if len(self.directs()) >= DIRECT_MAX:
            return None
        path = self._paths[target] = Path(target, kind, None)
        return path

    def remove(self, path: Path) -> None:
        """Forgets a path; select again afterwards."""
        self._paths.pop(path.target, None)
        if self.selected is path:
            self.selected = None

    def forget_unconfirmed(self) -> None:
        """Forgets the direct paths that never answered, at the end of an attempt."""
        for path in self.directs():
            if path.state in (PathState.NEW, PathState.DEAD):
                self.remove(path)

    # --- selection ---

    def select(self) -> bool:
        """Selects the path for data; returns whether it is another one than before.

        A direct path that works stays until it dies or a better one is nominated; a relay gives way to any direct path.
        """
        before = self.selected
        if before is not None and before.state is PathState.DEAD:
            self.selected = None
        best = self._best_direct()
        if best is not None:
            self.selected = best
        elif self.selected is None or not self.selected.is_direct:
            self.selected = next(iter(self.relays()), None)
        return self.selected is not before

    def _best_direct(self) -> Path | None:
        current = self.selected if self.selected is not None and self.selected.is_direct else None
        usable = [p for p in self.directs() if p.state is PathState.VALID]
        if not self.controlling:
            return next((p for p in usable if p.nominated), current)
        best = current
        for path in usable:
            if best is None or _is_better(path, best):
                best = path
        return best

    def nominate(self, path: Path) -> None:
        """Marks the path that the controlling side chose; any other is no longer nominated."""
        for other in self.directs():
            other.nominated = other is path

    def targets(self) -> tuple[Target, ...]:
        """Returns where data goes: the selected path, with the best other one while it is in doubt."""
        if self.selected is None:
            return ()
        if self.selected.state is not PathState.DOUBT:
            return (self.selected.target,)
        others = [p for p in self.relays() if p is not self.selected]
        return (self.selected.target, *(p.target for p in others[:1]))


def _is_better(new: Path, old: Path) -> bool:
    """Returns whether a confirmed path shall replace another: by state, then clearly shorter, then nearer by kind.

    "Clearly" is a third and 10 ms, so that paths of like length do not take turns.
    """
    if old.state is not PathState.VALID:
        return True
    if new.rtt_s is None or old.rtt_s is None:
        return False
    if new.rtt_s < old.rtt_s * 0.67 and old.rtt_s - new.rtt_s > 0.010:
        return True
    if old.rtt_s < new.rtt_s * 0.67 and new.rtt_s - old.rtt_s > 0.010:
        return False
    return _nearness(new) < _nearness(old)


def _nearness(path: Path) -> tuple[int, int]:
    """Ranks a LAN address before any other, and IPv6 before IPv4."""
    return (0 if path.kind == "host" else 1, 0 if ":" in path.target.host else 1)
