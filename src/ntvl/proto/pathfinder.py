"""Finds and keeps the paths to one peer: offers, attempts, checks, doubt, and the way back to the relay.

The peer hands in what concerns paths and asks where data shall go; the pathfinder sends through the peer, since what
it says to the other side is sealed under the peer's session. Whoever changes something here calls `settle`
afterwards, through the peer.
"""

from collections.abc import Callable
from typing import Final

from ntvl.dataplane.interface import Activity, Target
from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.attempt import Attempt, AttemptState
from ntvl.proto.candidates import Network, is_underlay, usable_candidates
from ntvl.proto.checks import Checks
from ntvl.proto.context import Context
from ntvl.proto.path import (
    ACTIVE_CHECK_S,
    DEAD_AFTER_S,
    IDLE_CHECK_S,
    RELAY_RETRY_S,
    TRUST_S,
    Path,
    PathSet,
    PathSignal,
    PathState,
)
from ntvl.proto.technique import Outcome
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Answer, Candidate, Fire, Message, Offer, Probe
from ntvl.wire.stun import Stun

__all__ = ["ACTIVE_S", "IDLE_AFTER_S", "Pathfinder", "Surroundings", "answer_target"]

ACTIVE_S: Final = 10.0
"""Data within this time makes a peer active: its path is checked often."""
IDLE_AFTER_S: Final = 300.0
"""Without data for this long a peer is let go."""
ATTEMPT_RETRY_S: Final = (5.0, 15.0)
"""Waits between full attempts; after the last one `ATTEMPT_HOURLY_S`. A network change starts over."""
ATTEMPT_RETURN_S: Final = (5.0, 15.0, 60.0, 120.0, 300.0, 900.0)
"""The same where a direct path has worked before: what was in its way may go as it came."""
ATTEMPT_HOURLY_S: Final = 3600.0
NO_ANSWER_WAIT_S: Final = 15.0
"""Before the next offer to a peer that did not answer the last three."""
ANSWERER_PATIENCE_S: Final = 3.0
"""How long the side that answered the handshake waits for an offer before it makes one itself."""
OUTCOMES_MAX: Final = 16
PROBES_MAX: Final = 64
PROBE_LIFE_S: Final = 10.0


class Surroundings:
    """Is what a peer may ask of its node.

    Args:
        key: our static key.
        overlay: the subnets of all our communities.
        candidates: returns our candidates now.
        refresh: asks the supernodes to look at our address again.
        url: returns the URL of supernode `via`, for people.
    """

    def __init__(
        self,
        key: NodeKey,
        *,
        aes: bool,
        direct: bool,
        tie_breaker: int,
        overlay: tuple[Network, ...] = (),
        candidates: Callable[[], tuple[Candidate, ...]],
        refresh: Callable[[float], None],
        url: Callable[[int], str],
    ) -> None:
        self.key = key
        self.aes = aes
        self.direct = direct
        self.tie_breaker = tie_breaker
        self.overlay = overlay
        self.candidates = candidates
        self.refresh = refresh
        self.url = url


Send = Callable[[Message, Target | None], bool]
"""Seals a message and sends it one way, or by the paths of data where the target is None; False without a session."""


class Pathfinder:
    """Keeps one peer's paths.

    Args:
        handle: the peer's handle, in the checks' transaction ids.
        remote: the peer's static key: the larger key controls.
        overlay: the subnets of the community: never an underlay.
        send: seals and sends a control message to the peer.
    """

    def __init__(
        self,
        context: Context,
        surroundings: Surroundings,
        *,
        handle: int,
        remote: bytes,
        overlay: tuple[Network, ...],
        send: Send,
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
        self.outcomes: list[Outcome] = []
        self.last_data = float("-inf")
        """When frames last went either way, seconds."""
        self._context = context
        self._node = surroundings
        self._overlay = overlay
        self._send = send
        self._attempt: Attempt | None = None
        self._attempts = 0
        self._has_worked = False
        self._next_attempt: float | None = None
        self._probes: dict[int, tuple[Path, float]] = {}

    @property
    def is_direct(self) -> bool:
        """Returns whether data goes by a direct path."""
        return self.paths.selected is not None and self.paths.selected.is_direct

    def is_used(self, now: float) -> bool:
        """Returns whether the peer is worth keepalives and new keys."""
        return now - self.last_data < IDLE_AFTER_S

    # --- sessions come and go ---

    def handle_session(self, now: float, *, initiator: bool, fresh: bool) -> None:
        """Takes the news of a session: an attempt starts where there is no direct path.

        `initiator` starts at once, the other side if it hears no offer; `fresh`: there was none before, or the peer
        lost what it knew of us, so that even a direct path is in doubt and attempts start over.
        """
        if fresh:
            self._attempts = 0
            self.disturb(now)
        elif self.is_direct or self._attempts:
            return
        at = now if initiator else now + ANSWERER_PATIENCE_S
        if self._next_attempt is None or at < self._next_attempt:
            self._next_attempt = at

    def handle_end(self) -> None:
        """Takes the peer's goodbye: only its relays are left."""
        for path in self.paths.directs():
            self.paths.remove(path)
        self._attempt = None
        self._attempts = 0
        self._next_attempt = None

    def handle_network_change(self, now: float) -> None:
        """Takes the news that our addresses changed: every direct path is in doubt and attempts start over."""
        self.disturb(now)
        self._attempts = 0
        self._attempt = None
        if self.is_used(now):
            self._next_attempt = now

    def disturb(self, now: float) -> None:
        """Puts every direct path in doubt: data goes by the relay as well until it answers."""
        for path in self.paths.directs():
            path.signal(PathSignal.DISTURBED)
            path.next_check = now

    # --- offers ---

    def handle_offer(self, offer: Offer, origin: Origin, now: float) -> None:
        """Takes the peer's offer and answers it."""
        mine = self._attempt
        if mine is not None and mine.ours and mine.state is AttemptState.OFFERED and self.paths.controlling:
            return  # Both offered at once: the controlling side's attempt stands, and it is on its way to the peer.
        if not self._node.direct:
            return
        if self._set_credentials(offer):
            self.disturb(now)
        if mine is None or mine.ours or mine.number != offer.attempt:
            self.paths.forget_unconfirmed()
            self._attempts += 1
            mine = Attempt(offer.attempt, self._attempts, ours=False, local=self._node.candidates(), now=now)
            mine.handle_offer(self._usable(offer.candidates, mine), now)
            self._attempt = mine
        self._next_attempt = None
        self._send(Answer(mine.number, self.checks.ufrag, self.checks.password, mine.local), answer_target(origin))

    def handle_answer(self, answer: Answer, now: float) -> None:
        """Takes the answer to our offer and tells the peer the moment."""
        mine = self._attempt
        if mine is None or mine.number != answer.attempt:
            return
        self._set_credentials(answer)
        if mine.handle_answer(self._usable(answer.candidates, mine), now):
            self._send(Fire(mine.number), None)

    def handle_fire(self, fire: Fire, now: float) -> None:
        """Takes the agreed moment."""
        if self._attempt is not None and self._attempt.number == fire.attempt:
            self._attempt.handle_fire(now)

    def _set_credentials(self, offer: Offer | Answer) -> bool:
        """Returns whether they are others than before: then the peer has started anew."""
        changed = self.checks.is_ready and self.checks.remote_password != offer.password
        self.checks.remote_ufrag = offer.ufrag
        self.checks.remote_password = offer.password
        return changed

    def _usable(self, candidates: tuple[Candidate, ...], mine: Attempt) -> tuple[Candidate, ...]:
        return usable_candidates(candidates, mine.local, self._overlay)

    def _start_attempt(self, now: float) -> None:
        self._next_attempt = None
        if not self._node.direct or not self.is_used(now) or (self.is_direct and self._attempts):
            return
        self._attempts += 1
        self.paths.forget_unconfirmed()
        number = int.from_bytes(self._context.random(4), "big")
        self._attempt = Attempt(number, self._attempts, ours=True, local=self._node.candidates(), now=now)

    def _run_attempt(self, now: float) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        offer, aims = attempt.handle_timeout(now)
        if offer:
            self._send(Offer(attempt.number, self.checks.ufrag, self.checks.password, attempt.local), None)
        for aim in aims:
            path = self.paths.add_direct(Target(aim.host, aim.port), aim.kind)
            if path is not None and path.state is not PathState.VALID:
                self._check(path, now)
        self._close_attempt(now)

    def _close_attempt(self, now: float) -> None:
        attempt = self._attempt
        if attempt is None or attempt.state is not AttemptState.ENDED:
            return
        self._attempt = None
        self.outcomes = (self.outcomes + attempt.outcomes)[-OUTCOMES_MAX:]
        if any(p.state is PathState.VALID for p in self.paths.directs()):
            return
        self.paths.forget_unconfirmed()
        if attempt.outcomes[-1].verdict == "no-answer":
            self._attempts -= 1  # The peer was out of reach altogether: that says nothing about its NAT.
            self._next_attempt = now + NO_ANSWER_WAIT_S
            return
        place = self._attempts - 1
        waits = ATTEMPT_RETURN_S if self._has_worked else ATTEMPT_RETRY_S
        wait = waits[place] if place < len(waits) else ATTEMPT_HOURLY_S
        # The side that did not offer comes in later, and only if the other stays quiet.
        self._next_attempt = now + wait + (0.0 if attempt.ours else ANSWERER_PATIENCE_S)

    # --- checks ---

    def _check(self, path: Path, now: float) -> None:
        """Asks on a path: STUN on a direct one, a sealed probe on a relay."""
        if path.is_direct:
            if not self.checks.is_ready:
                return
            nominate = path is self.paths.selected
            self._context.send(self.checks.build_request(path, now, nominate=nominate), path.target)
        else:
            number = int.from_bytes(self._context.random(7), "big") & ~1
            if not self._send(Probe(number), path.target):
                return
            while len(self._probes) >= PROBES_MAX:
                del self._probes[next(iter(self._probes))]
            self._probes[number] = (path, now)
        if path.asked_since is None:
            path.asked_since = now
        path.next_check = now + (RELAY_RETRY_S if path.state is PathState.DEAD else path.recheck_s())

    def handle_probe_reply(self, number: int, now: float) -> None:
        """Takes the answer to a probe of a relay.

        Raises:
            PeerError: reason "transaction": no such probe.
        """
        path, sent = self._probes.pop(number, (None, 0.0))
        if path is None or now - sent > PROBE_LIFE_S:
            raise PeerError("transaction", "a reply to no probe")
        self._confirm(path, now - sent, now)

    def handle_check(self, message: Stun, data: bytes, origin: Origin, now: float) -> None:
        """Takes a check of the peer's: answers it, and asks back on a path that we have not confirmed.

        Raises:
            PeerError: as `Checks.handle_request`.
        Source:
            RFC 8445 sections 7.3.1.3 (peer-reflexive candidates), 7.3.1.4 (triggered checks) and 7.3.1.5 (nomination).
        """
        answer, understood = self.checks.handle_request(message, data, origin)
        target = answer_target(origin)
        self._context.send(answer, target)
        usable = understood and is_underlay(origin.address, self._overlay)
        path = self.paths.add_direct(target, "prflx") if usable else None
        if path is None:
            return
        path.last_rx = now
        if message.use_candidate and not self.paths.controlling:
            self.paths.nominate(path)
        if path.state is not PathState.VALID and (path.asked_since is None or now >= (path.next_check or now)):
            self._check(path, now)

    def handle_check_answer(self, message: Stun, data: bytes, origin: Origin, now: float) -> None:
        """Takes the answer to a check of ours: the path is confirmed.

        Raises:
            PeerError: as `Checks.handle_response`.
        """
        path, rtt_s, _ = self.checks.handle_response(message, data, origin, now)
        self._confirm(path, rtt_s, now)

    def _confirm(self, path: Path, rtt_s: float, now: float) -> None:
        if self.paths.find(path.target) is not path:
            raise PeerError("transaction", "a path given up meanwhile")
        path.handle_answer(rtt_s, now)
        self._has_worked = self._has_worked or path.is_direct
        path.next_check = now + self._interval_s(path, now)
        if self.paths.select() and path is self.paths.selected and path.is_direct and self.paths.controlling:
            self._check(path, now)  # with USE-CANDIDATE: the peer follows at once

    def _interval_s(self, path: Path, now: float) -> float:
        active = now - self.last_data < ACTIVE_S or not path.is_direct
        return ACTIVE_CHECK_S if active else IDLE_CHECK_S

    def _judge(self, path: Path, now: float) -> None:
        """Draws the conclusion from a silence."""
        asked = path.asked_since if path.asked_since is not None else now
        if now >= asked + DEAD_AFTER_S:
            path.signal(PathSignal.SILENT)
            path.asked_since = None
            path.next_check = now + RELAY_RETRY_S
            if path.is_direct:
                selected = path is self.paths.selected
                self.paths.remove(path)
                if selected:
                    self._attempts = 0
                    self._next_attempt = now
        elif now >= asked + path.doubt_s() and path.signal(PathSignal.UNANSWERED):
            self._node.refresh(now)

    # --- what is heard ---

    def handle_heard(self, target: Target, at: float, now: float) -> None:
        """Notes that something authentic came by `target` at time `at`; an unknown address is where the peer moved
        to.
        """
        path = self.paths.find(target)
        if path is None and target.relay is None and is_underlay(Address(target.host, target.port), self._overlay):
            path = self.paths.add_direct(target, "prflx") if self._node.direct else None
            if path is not None:
                self._check(path, now)
        if path is not None:
            path.last_rx = max(path.last_rx or at, at)

    def handle_activity(self, activity: Activity, *, moved: bool, now: float) -> None:
        """Takes when what came by which way; `moved`: frames went either way since the last time."""
        for seen in activity.paths:
            if self.paths.find(seen.target) is not None or now - seen.last_rx < 1.0:
                self.handle_heard(seen.target, seen.last_rx, now)
        if moved:
            self._wake(activity, now)
            self.last_data = now
            if self._node.direct and not self.is_direct and self._attempt is None and self._next_attempt is None:
                self._next_attempt = now  # One that came due while nobody used the peer.

    def _wake(self, activity: Activity, now: float) -> None:
        """Looks at the path as data starts to flow: not confirmed lately means in doubt until it is."""
        path = self.paths.selected
        if path is None:
            return
        confirmed = path.confirmed_at if path.confirmed_at is not None else float("-inf")
        if now - self.last_data >= ACTIVE_S:
            if path.is_direct and now - confirmed > TRUST_S:
                path.signal(PathSignal.DISTURBED)
            path.next_check = now if path.is_direct or path.next_check is None else path.next_check
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
        if self._attempt is None:
            self._forget_stale(now)
        for path in list(self.paths):
            if self._is_kept(path, now) and path.next_check is not None and now >= path.next_check:
                self._check(path, now)
        if self._next_attempt is not None and now >= self._next_attempt and self._attempt is None:
            self._start_attempt(now)
        self._run_attempt(now)

    def _forget_stale(self, now: float) -> None:
        """Forgets direct paths that were confirmed and not chosen: only the selected one is checked, so no other is
        sure.
        """
        for path in self.paths.directs():
            confirmed = path.confirmed_at
            if path is not self.paths.selected and confirmed is not None and now >= confirmed + TRUST_S:
                self.paths.remove(path)

    def _is_kept(self, path: Path, now: float) -> bool:
        """Returns whether a path is worth a check: a relay only while it carries data."""
        if path is not self.paths.selected and path.state is not PathState.DOUBT:
            return False
        return now - self.last_data < (IDLE_AFTER_S if path.is_direct else ACTIVE_S)

    def settle(self, now: float) -> None:
        """Selects, ends an attempt that has succeeded, and arms the checks of what is selected."""
        self.paths.select()
        selected = self.paths.selected
        if selected is None:
            return
        sure = selected.is_direct and selected.state is PathState.VALID
        attempt, confirmed = self._attempt, selected.confirmed_at
        # Confirmed before the attempt began proves nothing about now.
        if sure and attempt is not None and confirmed is not None and confirmed >= attempt.started:
            attempt.handle_confirmed(now)
            self._close_attempt(now)
        if selected.next_check is None:
            selected.next_check = now + self._interval_s(selected, now)

    def poll_timeout(self, now: float) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        times: list[float] = []
        if self._attempt is not None:
            wake = self._attempt.poll_timeout()
            if wake is not None:
                times.append(wake)
        elif self._next_attempt is not None:
            times.append(self._next_attempt)
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
    return not (path.is_direct and path.state is PathState.NEW)


def answer_target(origin: Origin) -> Target:
    """Returns where an answer goes: back by the way that the question came."""
    relay = None if origin.relay is None else (origin.relay.source, origin.relay.target)
    return Target(origin.address.host, origin.address.port, origin.socket, relay)
