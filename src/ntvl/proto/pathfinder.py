"""Keeps the paths to one peer: checks, doubt, and the way back to the relay; `negotiation` finds new ones.

The peer hands in what concerns paths and asks where data shall go; the pathfinder sends through the peer, since what
it says to the other side is sealed under the peer's session. Whoever changes something here calls `settle`
afterwards, through the peer.
"""

from collections.abc import Callable
from typing import Final

from ntvl.dataplane.interface import Activity, Target
from ntvl.errors import PeerError
from ntvl.proto.candidates import Network, is_underlay
from ntvl.proto.checks import ROLE_CONFLICT, Checks
from ntvl.proto.context import Context
from ntvl.proto.inquiry import Inquiry
from ntvl.proto.negotiation import Negotiation
from ntvl.proto.path import (
    ACTIVE_CHECK_S,
    DEAD_AFTER_S,
    MEASURE_S,
    RELAY_RETRY_S,
    TRUST_S,
    Path,
    PathSet,
    PathSignal,
    PathState,
    answer_target,
)
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Message, Probe, ProbeReply
from ntvl.wire.stun import Stun

__all__ = ["ACTIVE_S", "IDLE_AFTER_S", "Pathfinder"]

ACTIVE_S: Final = 10.0
"""Data within this time makes a peer active: its path is checked often."""
IDLE_AFTER_S: Final = 300.0
"""Without data for this long a peer is let go."""
NOMINATIONS: Final = 2
RENOMINATE_S: Final = 0.5
"""After a change of path the peer is told again so often and so soon: it may have heard news in the wrong order."""
ALTERNATIVE_LIFE_S: Final = 30.0
"""A direct path that nobody asked about for so long is forgotten, unless it has the data."""
PROOF_S: Final = 5.0
"""Between proofs that a direct path carries more than STUN, while data flows."""
PROBES_MAX: Final = 64
PROBE_LIFE_S: Final = 10.0


Send = Callable[[Message, Target | None], bool]
"""Seals a message and sends it one way, or by the paths of data where the target is None; False without a session."""


class Pathfinder:
    """Keeps one peer's paths.

    Args:
        handle: the peer's handle, in the checks' transaction ids.
        remote: the peer's static key: the larger key controls.
        community: its id.
        overlay: the subnets of the community: never an underlay.
        send: seals and sends a control message to the peer.
        wake: has the peer take stock of what changed.
    """

    def __init__(
        self,
        context: Context,
        surroundings: Surroundings,
        *,
        handle: int,
        remote: bytes,
        community: bytes,
        overlay: tuple[Network, ...],
        send: Send,
        wake: Callable[[float], None],
    ) -> None:
        controlling = surroundings.key.public > remote
        self.paths = PathSet(controlling=controlling)
        self.checks = Checks(
            handle,
            controlling=controlling,
            ufrag=context.random_text(8),
            password=context.random_text(24),
            tie_breaker=surroundings.tie_breaker,
            random=context.random,
        )
        self.last_data = float("-inf")
        """When frames last went either way, seconds."""
        self._last_heard: float | None = None
        self._context = context
        self._node = surroundings
        self._overlay = overlay
        self.send = send
        self.wake = wake
        self._probes: dict[int, tuple[Path, float]] = {}
        self.negotiation = Negotiation(context, surroundings, self, community=community, remote=remote, overlay=overlay)
        self.inquiry = Inquiry(context, surroundings, self)
        self._nominations_left = 0
        self._nominated_at = float("-inf")
        """When the last nomination that we follow was sent, as far as the round trip tells."""

    @property
    def is_direct(self) -> bool:
        """Returns whether data goes by a direct path, or could and a relay is better."""
        selected = self.paths.selected
        return selected is not None and (selected.is_direct or self.paths.spare_direct() is not None)

    def is_used(self, now: float) -> bool:
        """Returns whether the peer is worth keepalives and new keys."""
        return now - self.last_data < IDLE_AFTER_S

    def silence_s(self, now: float) -> float | None:
        """Returns how long nothing has come from the peer by any way that there is, None where nothing ever did."""
        return None if self._last_heard is None else now - self._last_heard

    # --- sessions come and go ---

    def handle_session(self, now: float, *, initiator: bool, fresh: bool) -> None:
        """Takes the news of a session: an attempt starts where there is no direct path.

        `initiator` starts at once, the other side if it hears no offer; `fresh`: there was none before, or the peer
        lost what it knew of us, so that even a direct path is in doubt and attempts start over.
        """
        if fresh:
            self._nominated_at = float("-inf")
            self.disturb(now)
        self.negotiation.handle_session(now, initiator=initiator, fresh=fresh)

    def handle_end(self) -> None:
        """Takes the peer's goodbye: only its relays are left."""
        for path in self.paths.checked():
            self.paths.remove(path)
        self.negotiation.handle_end()

    def handle_network_change(self, now: float) -> None:
        """Takes the news that our addresses changed: every direct path is in doubt and attempts start over."""
        self.paths.handle_network_change()
        self.disturb(now)
        self.negotiation.handle_network_change(now)

    def disturb(self, now: float) -> None:
        """Puts every direct path in doubt: data goes by the relay as well until it answers."""
        for path in self.paths.checked():
            path.signal(PathSignal.DISTURBED)
            path.next_check = now

    # --- checks ---

    def check(self, path: Path, now: float) -> None:
        """Asks on a path: STUN on a direct one, a sealed probe on a relay. Both can nominate it."""
        nominate = path is self.paths.selected and self.paths.controlling
        if path.is_checked:
            if not self.checks.is_ready:
                return
            self._context.send(self.checks.build_request(path, now, nominate=nominate), path.target)
            self._ask_proof(path, now)
        elif not self._probe(path, now):
            return
        if path.handle_asked(now) and path is self.paths.selected:
            self._node.refresh(now)  # Not first when it is in doubt: then the relay may need our new address already.
        wait_s = RELAY_RETRY_S if path is self.paths.selected else MEASURE_S
        path.next_check = now + (wait_s if path.state is PathState.DEAD else path.recheck_s())

    def _probe(self, path: Path, now: float) -> bool:
        number = int.from_bytes(self._context.random(7), "big") & ~1
        if not self.send(Probe(number, path is self.paths.selected and self.paths.controlling), path.target):
            return False
        while len(self._probes) >= PROBES_MAX:
            del self._probes[next(iter(self._probes))]
        self._probes[number] = (path, now)
        return True

    def _ask_proof(self, path: Path, now: float) -> None:
        """Asks by a direct path that answers STUN whether it lets through what looks like data."""
        if not self.paths.controlling or path.first_at is None:
            return
        if path.proven_at is not None:
            active = path is self.paths.selected and now - self.last_data < ACTIVE_S
            if not active or now - path.proven_at < PROOF_S:
                return
        if self._probe(path, now) and path.proof_asked is None:
            path.proof_asked = now

    def handle_nomination(self, target: Target, now: float) -> None:
        """Takes the news that the controlling side has chosen the path with this target."""
        path = self.paths.find(target)
        if path is None or self.paths.controlling:
            return
        sent = now - (path.rtt_s or 0.0) / 2
        if sent < self._nominated_at:
            return  # Overtaken on a shorter way by what was decided later.
        self._nominated_at = sent
        self.paths.nominate(path)

    def handle_probe(self, probe: Probe, target: Target, now: float) -> None:
        """Takes a probe of the peer's that came by `target`: answers it, and follows where it nominates."""
        self.send(ProbeReply(probe.id), target)
        if probe.nominates:
            self.handle_nomination(target, now)

    def handle_probe_reply(self, number: int, now: float, target: Target | None = None) -> None:
        """Takes the answer to a probe, which came by `target`.

        Raises:
            PeerError: reason "transaction": no such probe, or not by the way that was asked about.
        """
        path, sent = self._probes.pop(number, (None, 0.0))
        if path is None or now - sent > PROBE_LIFE_S:
            raise PeerError("transaction", "a reply to no probe")
        if path.is_checked and target != path.target:
            raise PeerError("transaction", "answered another way")
        self._confirm(path, now - sent, now)

    def handle_check(self, message: Stun, data: bytes, origin: Origin, now: float) -> None:
        """Takes a check of the peer's: answers it, and asks back on a path that we have not confirmed.

        Raises:
            PeerError: as `Checks.handle_request`.
        Source:
            RFC 8445 sections 7.3.1.3 (peer-reflexive candidates), 7.3.1.4 (triggered checks) and 7.3.1.5 (nomination).
        """
        if not self._node.direct:
            raise PeerError("integrity", "a check where all goes by relay")
        seen = self._node.ends.unveil(origin)
        answer, counts = self.checks.handle_request(message, data, seen)
        self.paths.controlling = self.checks.controlling
        target = answer_target(origin)
        self._context.send(answer, target)
        path = self._add_heard(target) if counts else None
        if path is None:
            return
        path.last_rx = self._last_heard = now
        self.negotiation.handle_observed(seen)
        if path is not self.paths.selected and now - (path.confirmed_at or now) > TRUST_S:
            path.signal(PathSignal.DISTURBED)  # An alternative that only the other side measures.
        if message.use_candidate:
            self.handle_nomination(target, now)
        if path.state is not PathState.VALID and (path.asked_since is None or now >= (path.next_check or now)):
            self.check(path, now)

    def handle_check_answer(self, message: Stun, data: bytes, origin: Origin, now: float) -> None:
        """Takes the answer to a check of ours: the path is confirmed, or asked about again in the other role.

        Raises:
            PeerError: as `Checks.handle_response` and `Checks.handle_conflict`.
        """
        if message.error_code == ROLE_CONFLICT:
            path = self.checks.handle_conflict(message, data, origin, now)
            self.paths.controlling = self.checks.controlling
            if self.paths.find(path.target) is path:
                self.check(path, now)
            return
        path, rtt_s, _ = self.checks.handle_response(message, data, origin, now)
        if path.proof_asked is not None and now - path.proof_asked > path.doubt_s():
            return  # STUN gets through and nothing else does: that is no path for data.
        self._confirm(path, rtt_s, now, sealed=False)

    def _confirm(self, path: Path, rtt_s: float, now: float, *, sealed: bool = True) -> None:
        if path.kind == "guess" and self.paths.find(path.target) is None:
            self.paths.adopt(path)
        if self.paths.find(path.target) is not path:
            raise PeerError("transaction", "a path given up meanwhile")
        if path.is_checked and path.first_at is None:
            far = self._node.ends.unveil(Origin(Address(path.target.host, path.target.port)))
            self._node.budget.handle_answer(far.address.host)
        path.handle_answer(rtt_s, now, sealed=sealed)
        self._last_heard = now
        self.negotiation.handle_confirmed(path, now)
        if path.is_checked and path.proven_at is None and self.paths.controlling:
            self._ask_proof(path, now)
            path.next_check = now + path.recheck_s()
        else:
            path.next_check = now + self._interval_s(path, now)
        if self.paths.select() or self.paths.weigh(now):
            self._nominate(now)

    def _nominate(self, now: float) -> None:
        """Tells the peer of another choice at once, by the way that was chosen."""
        if self.paths.controlling and self.paths.selected is not None:
            self._nominations_left = NOMINATIONS
            self.check(self.paths.selected, now)

    def _interval_s(self, path: Path, now: float) -> float:
        selected = self.paths.selected
        if path is not selected:
            return MEASURE_S if selected is None or not selected.loss else ACTIVE_CHECK_S
        if self._nominations_left:
            self._nominations_left -= 1
            return RENOMINATE_S
        active = now - self.last_data < ACTIVE_S or not path.is_checked
        return ACTIVE_CHECK_S if active else self._context.keepalive_s

    def _judge(self, path: Path, now: float) -> None:
        """Draws the conclusion from a silence."""
        asked = path.asked_since if path.asked_since is not None else now
        if now >= asked + DEAD_AFTER_S:
            path.signal(PathSignal.SILENT)
            path.asked_since = None
            path.next_check = now + RELAY_RETRY_S
            if path.is_checked:
                path.proof_asked = None
                self.drop(path, now)
        elif now >= asked + path.doubt_s() and path.signal(PathSignal.UNANSWERED) and path is self.paths.selected:
            self._node.refresh(now)

    def drop(self, path: Path, now: float) -> None:
        """Forgets a direct path that is dead; one through a TURN server is asked again, as a supernode's relay is."""
        was_direct, selected = self.is_direct, path is self.paths.selected
        if path.is_direct:
            self.paths.remove(path)
        if selected or (was_direct and not self.is_direct):
            self.negotiation.handle_lost(now)

    # --- what is heard ---

    def handle_heard(self, target: Target, at: float, now: float) -> None:
        """Notes that something authentic came by `target` at time `at`; an unknown address is where the peer moved
        to.
        """
        self._last_heard = max(self._last_heard or at, at)
        path = self.paths.find(target)
        if path is None and target.relay is None and self._node.direct:
            path = self._add_heard(target)
            if path is not None:
                self.check(path, now)
        if path is not None:
            path.last_rx = max(path.last_rx or at, at)

    def _add_heard(self, target: Target) -> Path | None:
        """Returns the path that something authentic came by; None where none may lead there, or too many are."""
        address, ends = Address(target.host, target.port), self._node.ends
        if not (ends.is_carrier(address) or is_underlay(address, self._overlay)):
            return None
        return self.paths.add_direct(target, ends.kind(address, self.negotiation.remote))

    def handle_activity(self, activity: Activity, *, moved: bool, now: float) -> None:
        """Takes when what came by which way; `moved`: frames went either way since the last time."""
        for seen in activity.paths:
            if self.paths.find(seen.target) is not None or now - seen.last_rx < 1.0:
                self.handle_heard(seen.target, seen.last_rx, now)
        if moved:
            self._wake(activity, now)
            self.last_data = now
            self.negotiation.handle_data(now)

    def handle_interest(self, now: float) -> None:
        """Takes the news that somebody asks after the peer: as data does, it keeps the path checked."""
        path = self.paths.selected
        if path is not None and path.is_checked and now - (path.confirmed_at or now) > ACTIVE_CHECK_S:
            path.next_check = min(path.next_check or now, now)
        self.last_data = now
        self.negotiation.handle_data(now)

    def _wake(self, activity: Activity, now: float) -> None:
        """Looks at the path as data starts to flow: not confirmed lately means in doubt until it is."""
        path = self.paths.selected
        if path is None:
            return
        confirmed = path.confirmed_at if path.confirmed_at is not None else float("-inf")
        if now - self.last_data >= ACTIVE_S:
            self.paths.forget_evidence()
            if path.is_checked and now - confirmed > TRUST_S:
                path.signal(PathSignal.DISTURBED)
            path.next_check = now if path.is_checked or path.next_check is None else path.next_check
        elif path.next_check is None or path.next_check > now + ACTIVE_CHECK_S:
            path.next_check = now + ACTIVE_CHECK_S
        # We send and hear nothing: ask now rather than at the next regular check.
        heard = path.last_rx if path.last_rx is not None else float("-inf")
        if activity.last_tx - heard > 1.0 and path.asked_since is None and now - confirmed > 1.0:
            path.next_check = now

    # --- relays ---

    def set_relay(self, via: int, target: Target) -> None:
        """Tells that supernode `via` relays to the peer by `target`, and that it works as far as anybody knows."""
        path = self.paths.add_relay(via, target)
        if path.state is PathState.DEAD:
            self.paths.remove(path)
            self.paths.add_relay(via, target)

    def drop_relay(self, via: int) -> None:
        """Tells that supernode `via` does not know the peer, or us, any more."""
        for path in self.paths.relays():
            if path.via == via:
                self.paths.remove(path)

    def handle_relay_silent(self, via: int) -> None:
        """Tells that supernode `via` does not answer: its relay is the last resort."""
        for path in self.paths.relays():
            if path.via == via:
                path.signal(PathSignal.SILENT)
                path.asked_since = None

    # --- time ---

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        for path in list(self.paths):
            if _is_judged(path) and self._is_kept(path, now):
                self._judge(path, now)
            elif path.state is not PathState.NEW:
                path.asked_since = None
        if not self.negotiation.is_running:
            self._forget_stale(now)
        for path in list(self.paths):
            if self._is_kept(path, now) and path.next_check is not None and now >= path.next_check:
                self.check(path, now)
        self.negotiation.handle_timeout(now)

    def _forget_stale(self, now: float) -> None:
        """Forgets paths under check that were confirmed, not chosen, and are not measured by either side."""
        for path in self.paths.checked():
            if path is self.paths.selected or path.confirmed_at is None or now < path.confirmed_at + TRUST_S:
                continue
            if path not in self.paths.alternatives() and now >= (path.last_rx or now) + ALTERNATIVE_LIFE_S:
                self.paths.remove(path)

    def _is_kept(self, path: Path, now: float) -> bool:
        """Returns whether a path is worth a check: a relay, or an alternative, only while there is data."""
        if path is self.paths.selected or (path.is_checked and path.state is PathState.DOUBT):
            return now - self.last_data < (IDLE_AFTER_S if path.is_checked else ACTIVE_S)
        if path.proof_asked is not None and path.proven_at is None:
            return True
        measured = path.state is PathState.DOUBT or path in self.paths.alternatives()
        return measured and now - self.last_data < ACTIVE_S

    def settle(self, now: float) -> None:
        """Selects, ends an attempt that has succeeded, and arms the checks of what is selected."""
        before = self.paths.selected
        if self.paths.select() and before is not None:
            self._nominate(now)
        self.negotiation.settle(now)
        selected = self.paths.selected
        if selected is None:
            return
        for path in (selected, *self.paths.alternatives()):
            if path.next_check is None:
                path.next_check = now + self._interval_s(path, now)

    def poll_timeout(self, now: float) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        wake = self.negotiation.poll_timeout()
        times = [] if wake is None else [wake]
        for path in self.paths:
            kept = self._is_kept(path, now)
            if kept and path.asked_since is not None and _is_judged(path):
                wait = DEAD_AFTER_S if path.state is PathState.DOUBT else min(path.doubt_s(), DEAD_AFTER_S)
                times.append(path.asked_since + wait)
            if kept and path.next_check is not None:
                times.append(path.next_check)
        return min(times, default=None)


def _is_judged(path: Path) -> bool:
    """Returns whether silence on a path means something: not while its attempt is under way, nor once it is dead."""
    if path.asked_since is None or path.state is PathState.DEAD:
        return False
    return not (path.is_checked and path.state is PathState.NEW)
