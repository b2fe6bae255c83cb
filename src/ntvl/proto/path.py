"""The ways to one peer, how sure we are of each, and which of them carry the data.

A relay path is usable from the start; a direct path only once a check and a sealed datagram went there and back on it,
so "direct" always means confirmed in both directions, for data too. Each path has a state out of a table:

    NEW    never confirmed          VALID  answered lately
    DOUBT  asked without answer     DEAD   silent for too long; a direct one is forgotten

One path is selected. While it is in doubt, data goes over it and the best other one at once: the receiver's replay
window drops the copies, so doubt costs bandwidth and no packet. The controlling side (the larger node key) chooses
and nominates (RFC 8445 section 8.1.1, "regular nomination"), relays as well as direct paths; the other side follows,
so both show the same.

The first direct path takes the data from a relay at once, and for a few seconds after its first answer a path may
replace another at once. Later a path that works is left for another only by evidence: the controlling side goes on
measuring a few alternatives, and `ranking` says what is better and for how long it has to be.

Times are faster than RFC 7675's consent (5 s, 30 s) and than the field's usual 6.5 s of trust, at the same cost: one
small packet every 2 s while data flows.
"""

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from ntvl.dataplane.interface import Target
from ntvl.proto.far_ends import TURN
from ntvl.proto.ranking import Patience, Quality, is_better
from ntvl.wire.address import Origin

__all__ = [
    "ACTIVE_CHECK_S",
    "DEAD_AFTER_S",
    "DOUBT_AFTER_S",
    "MEASURE_S",
    "TRANSITIONS",
    "Path",
    "PathSet",
    "PathSignal",
    "PathState",
    "answer_target",
]

ACTIVE_CHECK_S: Final = 2.0
"""Between checks of the selected path while data flows."""
MEASURE_S: Final = 10.0
"""Between checks of an alternative while data flows by a path that loses nothing."""
RECHECK_S: Final = 0.4
"""Between checks while one is unanswered, or twice the round trip where that is longer."""
DOUBT_AFTER_S: Final = 1.2
DEAD_AFTER_S: Final = 5.0
RELAY_RETRY_S: Final = 5.0
"""Between checks of a relay that is dead, while there is nothing better."""
TRUST_S: Final = 5.0
"""A path confirmed longer ago than this is in doubt when data starts to flow again."""
NEWCOMER_S: Final = 5.0
"""For so long after its first answer a path may take the data at once: candidates of one attempt answer together."""
ALTERNATIVES_MAX: Final = 2
"""Direct paths measured besides the selected one, and as many relays."""
LOSS_OVER_S: Final = 240.0
"""How far back the checks lie by which loss is judged."""
LOSSES_MIN: Final = 2
"""Fewer lost ones of these are chance."""
SMOOTHED_OVER_S: Final = 16.0
"""A round trip counts for an eighth of what is known; for more, up to half, where the last is long ago."""
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
    """Is one way to a peer. `via` is the supernode's index for a relay path and None for one that is checked, directly
    or, with the kind "turn", through a TURN server; `technique` is what made it, "" before the first confirmation,
    which was at `since`.
    """

    __slots__ = (
        "_checks",
        "_is_open",
        "asked_since",
        "better_since",
        "confirmed_at",
        "first_at",
        "is_newcomer",
        "kind",
        "last_rx",
        "next_check",
        "nominated",
        "proof_asked",
        "proven_at",
        "rtt_s",
        "since",
        "state",
        "target",
        "technique",
        "via",
    )

    def __init__(self, target: Target, kind: str, via: int | None) -> None:
        self.target = target
        self.kind = kind
        self.via = via
        self.technique = "relay" if via is not None else TURN if kind == TURN else ""
        self.since: float | None = None
        self.state = PathState.NEW
        self.rtt_s: float | None = None
        self.confirmed_at: float | None = None
        self.last_rx: float | None = None
        self.asked_since: float | None = None
        self.next_check: float | None = None
        self.nominated = False
        self.first_at: float | None = None
        self.is_newcomer = True
        """Whether its first answer, `first_at`, is so fresh that it may take the data at once."""
        self.proven_at: float | None = None
        """When a sealed datagram last went there and one came back: on a direct path checks alone prove no data."""
        self.proof_asked: float | None = None
        """Since when such a proof is asked for, if it is."""
        self.better_since: float | None = None
        """Since when it is better than the selected path."""
        self._checks: deque[tuple[float, bool]] = deque()
        """When each regular check of late went out, and whether it was lost; repeated ones say no more than the
        first."""
        self._is_open = False

    @property
    def is_checked(self) -> bool:
        """Returns whether it is checked by STUN, as all are but those through supernodes."""
        return self.via is None

    @property
    def is_direct(self) -> bool:
        """Returns whether no relay is involved, a supernode's or a TURN server's."""
        return self.via is None and self.kind != TURN

    @property
    def word(self) -> str:
        """Returns what people are told of it: "direct", "turn" or "relay"."""
        return "direct" if self.is_direct else TURN if self.is_checked else "relay"

    def signal(self, signal: PathSignal) -> bool:
        """Applies a signal by the table; returns whether the state changed."""
        state = TRANSITIONS[self.state, signal]
        changed = state is not self.state
        self.state = state
        return changed

    @property
    def loss(self) -> float:
        """Returns the share of checks lost of late, 0..1; one alone is chance."""
        lost = sum(lost for _, lost in self._checks)
        return lost / len(self._checks) if lost >= LOSSES_MIN else 0.0

    @property
    def quality(self) -> Quality | None:
        """Returns what is known of it, or None where it never answered."""
        if self.rtt_s is None:
            return None
        lost = sum(lost for _, lost in self._checks)
        is_ipv6 = ":" in self.target.host
        return Quality(not self.is_direct, self.rtt_s, lost, len(self._checks), self.kind, is_ipv6)

    def handle_asked(self, now: float) -> bool:
        """Notes that a check goes out; returns whether it is the second one in a row, so that the first is lost."""
        if self.asked_since is None:
            self.asked_since = now
            self._is_open = True
        elif self._is_open:
            self._note_check(True, now)
            return True
        return False

    def handle_answer(self, rtt_s: float, now: float, *, sealed: bool = True) -> bool:
        """Takes the answer to a check; returns whether the state changed. Round trips are smoothed as in RFC 6298.

        Args:
            sealed: whether the answer was sealed like data, not STUN.
        """
        if sealed:
            self.proven_at, self.proof_asked = now, None
        if self.rtt_s is None or self.confirmed_at is None:
            self.rtt_s = rtt_s
        else:
            share = min(max((now - self.confirmed_at) / SMOOTHED_OVER_S, 1 / 8), 1 / 2)
            self.rtt_s += (rtt_s - self.rtt_s) * share
        if self._is_open:
            self._note_check(False, now)
        if self.first_at is None:
            self.first_at = now
        self.is_newcomer = now - self.first_at < NEWCOMER_S
        self.confirmed_at = now
        self.since = now if self.since is None else self.since
        self.last_rx = now
        self.asked_since = None
        return self.signal(PathSignal.ANSWERED)

    def _note_check(self, lost: bool, now: float) -> None:
        self._is_open = False
        self._checks.append((now, lost))
        while self._checks[0][0] < now - LOSS_OVER_S:
            self._checks.popleft()

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
        self._patience = Patience()
        self._preferred: Path | None = None
        """The relay that won over direct paths, or over other relays."""

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths.values())

    def find(self, target: Target) -> Path | None:
        """Returns the path with this target, or None."""
        return self._paths.get(target)

    def relays(self) -> list[Path]:
        """Returns the relay paths, the surest first, and among equals in the order of the supernodes; then come those
        through TURN servers that were confirmed.
        """
        order = {PathState.VALID: 0, PathState.NEW: 0, PathState.DOUBT: 1, PathState.DEAD: 2}
        relays = [p for p in self._paths.values() if not p.is_checked or (p.kind == TURN and self._is_proven(p))]
        return sorted(relays, key=lambda p: (order[p.state], p.is_checked, p.via or 0))

    def directs(self) -> list[Path]:
        """Returns the direct paths, confirmed or under check."""
        return [p for p in self._paths.values() if p.is_direct]

    def checked(self) -> list[Path]:
        """Returns the direct paths and those through TURN servers, confirmed or under check."""
        return [p for p in self._paths.values() if p.is_checked]

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
        """Adds a path to check, or returns the one that is there; None where too many are."""
        path = self._paths.get(target)
        if path is not None:
            return path
        if len(self.checked()) >= DIRECT_MAX:
            return None
        path = self._paths[target] = Path(target, kind, None)
        return path

    def adopt(self, path: Path) -> None:
        """Adds a path that was guessed and has answered, whatever room there is."""
        self._paths[path.target] = path

    def remove(self, path: Path) -> None:
        """Forgets a path; select again afterwards."""
        self._paths.pop(path.target, None)
        if self.selected is path:
            self.selected = None

    def forget_unconfirmed(self) -> None:
        """Forgets the paths under check that never answered, at the end of an attempt.

        Of those through TURN servers that fell silent the one heard of last stays: where no supernode is left, it may
        be the only way on which anybody asks again.
        """
        silent = [p for p in self.checked() if p.kind == TURN and p.state is PathState.DEAD and self._is_proven(p)]
        kept = max(silent, key=lambda p: p.last_rx or 0.0, default=None)
        for path in self.checked():
            if path.state in (PathState.NEW, PathState.DEAD) and path is not kept:
                self.remove(path)

    # --- selection ---

    def select(self) -> bool:
        """Selects the path for data; returns whether it is another one than before.

        A path that works stays until it dies, or a better one was found (`weigh`) or nominated; a relay that has won
        nothing gives way to any direct path.
        """
        before = self.selected
        if before is not None and before.state is PathState.DEAD:
            self.selected = None
        self.selected = self._choose() if self.controlling else self._follow()
        if self.selected is not before:
            self.forget_evidence()
        return self.selected is not before

    def _choose(self) -> Path | None:
        current = self.selected
        self._preferred = None if current is None or current is not self._preferred else self._successor(current)
        if self._preferred is not None:
            return self._preferred
        best = current if current is not None and current.is_direct else None
        for path in self.directs():
            if self.carries(path) and (best is None or _replaces(path, best)):
                best = path
        return best or next(iter(self.relays()), None)

    def _successor(self, current: Path) -> Path | None:
        """Returns the path for the data of a relay that won: itself while it works. In place of one through a TURN
        server that is in doubt, one to another port of the peer, whose NAT may have started anew: that one has answered
        since, while nobody knows whether the supernode still reaches the peer. Without such a one it stays, for each
        attempt casts doubt on it, and data goes both ways meanwhile.
        """
        if current.state is PathState.VALID:
            return current
        if current.kind != TURN:
            return None
        since = current.confirmed_at or 0.0
        working = [p for p in self.relays() if p.is_checked and p.state is PathState.VALID]
        return next((p for p in working if (p.confirmed_at or 0.0) > since), current)

    def _follow(self) -> Path | None:
        for path in self._paths.values():
            if path.nominated and _is_usable(path):
                return path
        if self.selected is not None and self.selected.is_direct:
            return self.selected
        return next(iter(self.relays()), None)

    def carries(self, path: Path) -> bool:
        """Returns whether a direct path works and data is known to get through it: proven by us, or chosen by the side
        that proves.
        """
        known = path.proven_at is not None if self.controlling else path.nominated
        return path.is_direct and path.state is PathState.VALID and known

    def _is_proven(self, path: Path) -> bool:
        """Returns whether a path has answered, and is known to carry data as far as it is ours to prove that."""
        return path.first_at is not None and (path.proven_at is not None or not self.controlling)

    def alternatives(self) -> list[Path]:
        """Returns the paths that the controlling side measures, though they carry nothing; on the other side one
        through a TURN server, while its relay is in doubt: who is behind a NAT has to ask there, to be heard.
        """
        selected = self.selected
        if selected is None:
            return []
        relays = [p for p in self.relays() if p is not selected]
        turns = [p for p in relays if p.is_checked][:1]
        if not self.controlling:
            return [] if selected.is_direct or selected.state is PathState.VALID else turns
        alive = (PathState.VALID, PathState.DOUBT)
        directs = [p for p in self.directs() if p is not selected and p.state in alive]
        directs.sort(key=lambda p: p.rtt_s or 0.0)
        measured = relays[:ALTERNATIVES_MAX]
        return measured + [p for p in turns if p not in measured] + directs[:ALTERNATIVES_MAX]

    def weigh(self, now: float) -> bool:
        """Compares the alternatives with the selected path after something was measured (controlling side only).

        Returns:
            whether one has been better for long enough and is selected now.
        """
        current = self.selected
        for path in self.directs():
            path.is_newcomer = path.first_at is None or now - path.first_at < NEWCOMER_S
        quality = None if current is None or current.state is not PathState.VALID else current.quality
        if quality is None:
            return False
        for path in self.alternatives():
            if path.state is PathState.DOUBT:
                # An attempt asks everything anew, which speaks neither for a path nor against it; silence does.
                if path.asked_since is not None and now - path.asked_since >= path.doubt_s():
                    path.better_since = None
                continue
            is_sure = self.carries(path) if path.is_direct else path.state is PathState.VALID
            fresh = is_sure and now - (path.confirmed_at or now) < 2 * MEASURE_S
            theirs = path.quality if fresh else None
            if theirs is None or not is_better(theirs, quality):
                path.better_since = None
            elif path.better_since is None:
                path.better_since = now
            elif now - path.better_since >= self._patience.wait_s(now):
                self._patience.note_change(now)
                self._prefer(path)
                return True
        return False

    def _prefer(self, path: Path) -> None:
        self.selected = path
        self._preferred = None if path.is_direct else path
        self.forget_evidence()

    def forget_evidence(self) -> None:
        """Begins the comparison of paths anew: after a change, and after a pause in which nothing was measured."""
        for path in self._paths.values():
            path.better_since = None

    def handle_network_change(self) -> None:
        """Forgets what was found out by comparing: the ways are others now."""
        self._preferred = None
        self._patience.clear()

    def spare_direct(self) -> Path | None:
        """Returns a direct path that works, where a relay has the data because it is better; or None."""
        selected = self.selected
        if selected is None or selected.is_direct or not (selected is self._preferred or selected.nominated):
            return None
        usable = (PathState.VALID,) if self.controlling else (PathState.VALID, PathState.DOUBT)
        found = (p for p in self.directs() if p.state in usable)
        return next((p for p in found if p.proven_at is not None or not self.controlling), None)

    def nominate(self, path: Path) -> None:
        """Marks the path that the controlling side chose; any other is no longer nominated."""
        for other in self._paths.values():
            other.nominated = other is path

    def targets(self) -> tuple[Target, ...]:
        """Returns where data goes: the selected path, with the best other one while it is in doubt."""
        if self.selected is None:
            return ()
        if self.selected.state is not PathState.DOUBT:
            return (self.selected.target,)
        others = [p for p in self.relays() if p is not self.selected]
        if not self.selected.is_direct:
            others = [p for p in self.directs() if p.state is PathState.VALID] + others
        return (self.selected.target, *(p.target for p in others[:1]))


def _is_usable(path: Path) -> bool:
    """Returns whether a path may carry data: a direct one that was confirmed, a relay that nothing speaks against."""
    return path.state is PathState.VALID or (not path.is_checked and path.state is PathState.NEW)


def _replaces(new: Path, old: Path) -> bool:
    """Returns whether a confirmed path takes the data from another at once."""
    if old.state is not PathState.VALID:
        return True
    ours, theirs = new.quality, old.quality
    return new.is_newcomer and ours is not None and theirs is not None and is_better(ours, theirs)


def answer_target(origin: Origin) -> Target:
    """Returns where an answer goes: back by the way that the question came."""
    relay = None if origin.relay is None else (origin.relay.source, origin.relay.target)
    return Target(origin.address.host, origin.address.port, origin.socket, relay)
