"""Offers and attempts with one peer: when the next is due, who makes it, and what became of each.

    due --(offer)--> attempt under way --> ended: a path was confirmed, or a wait, longer each time

Either side may offer; where both do at once, the controlling side's offer stands. Waits grow from seconds to an hour,
and a change of network, a new NAT in front of us or a path that broke starts over.
"""

from typing import Final, Protocol

from ntvl.dataplane.interface import Target
from ntvl.errors import PeerError
from ntvl.proto.attempt import PUT_OFF_S, Attempt, AttemptState
from ntvl.proto.bucket import TokenBucket
from ntvl.proto.candidates import Network, usable_candidates
from ntvl.proto.checks import Checks
from ntvl.proto.context import Context
from ntvl.proto.dialling import Dialling
from ntvl.proto.path import Path, PathSet, PathState, answer_target
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.technique import Outcome
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import UNKNOWN_NAT, Aim, Answer, Candidate, Dial, Fire, Message, Nat, Offer
from ntvl.wire.stun import Stun, build_binding_indication, build_binding_request

__all__ = ["Negotiation", "PathKeeper"]

ATTEMPT_RETRY_S: Final = (5.0, 35.0)
"""Waits between full attempts, then `ATTEMPT_HOURLY_S`; a network change starts over. The last comes when NATs have
forgotten those before: Linux remembers a flow without an answer, and a wrong port with it, for 30 s."""
ATTEMPT_RETURN_S: Final = (5.0, 15.0, 60.0, 120.0, 300.0, 900.0)
"""The same where a direct path has worked before: what was in its way may go as it came."""
ATTEMPT_HOURLY_S: Final = 3600.0
NO_ANSWER_WAIT_S: Final = 15.0
"""Before the next offer to a peer that did not answer the last three."""
ANSWERER_PATIENCE_S: Final = 3.0
"""How long the side that answered the handshake waits for an offer before it makes one itself."""
OUTCOMES_MAX: Final = 16
LATE_S: Final = 3.0
"""A path that answers so soon after an attempt is still its work."""
QUESTIONS_MAX: Final = 32
SWAP_AT: Final = 3
"""The attempt for which the side makes the offer that answered before: roles matter to some NATs (DCUtR swaps too)."""
OFFERS_PER_S: Final = 0.1
OFFERS_BURST: Final = 8.0
"""Attempts that a peer may have us make: it sends where it says, some 200 checks each. Its own pace is far below."""
PUNCHES_PER_S: Final = 1 / 600
PUNCHES_BURST: Final = 6.0
"""The same of heavy techniques, of some 2,000 packets each: two rounds of three, for who changes networks."""
FIRE_AGAIN_S: Final = (0.2, 0.6)
"""`Fire` for a heavy technique is repeated: one lost datagram would waste thousands."""


class PathKeeper(Protocol):
    """Is what a negotiation asks of the pathfinder that it belongs to."""

    paths: PathSet
    checks: Checks

    @property
    def is_direct(self) -> bool:
        """Returns whether data goes by a direct path, or could and a relay is better."""

    def is_used(self, now: float) -> bool:
        """Returns whether the peer is worth keepalives and new keys."""

    def check(self, path: Path, now: float) -> None:
        """Asks on a path."""

    def drop(self, path: Path, now: float) -> None:
        """Forgets a path that has broken."""

    def disturb(self, now: float) -> None:
        """Puts every direct path in doubt."""

    def send(self, message: Message, target: Target | None) -> bool:
        """Seals and sends a message one way, or by the paths of data where the target is None."""

    def wake(self, now: float) -> None:
        """Has the timers set anew, after an input that came by another way than the peer."""


class Negotiation:
    """Makes offers, answers them and runs the attempts.

    Args:
        keeper: whose paths these are.
        community, remote: the community's id and the peer's static key.
        overlay: the subnets of the community: never an underlay.
    """

    def __init__(
        self,
        context: Context,
        surroundings: Surroundings,
        keeper: PathKeeper,
        *,
        community: bytes,
        remote: bytes,
        overlay: tuple[Network, ...],
    ) -> None:
        self.outcomes: list[Outcome] = []
        """What became of the last techniques, oldest first."""
        self.remote_nat = UNKNOWN_NAT
        self.remote: tuple[Candidate, ...] = ()
        """The peer's NAT and candidates, as it said last."""
        self._context = context
        self._node = surroundings
        self._keeper = keeper
        self._community = community
        self._remote = remote
        self._overlay = overlay
        self._dialling = Dialling(surroundings, keeper, overlay=overlay)
        self._attempt: Attempt | None = None
        self._offers = TokenBucket(OFFERS_PER_S, OFFERS_BURST)
        self._punches = TokenBucket(PUNCHES_PER_S, PUNCHES_BURST)
        self._attempts = 0
        self._has_worked = False
        self._recent = ("", float("-inf"))  # The technique that sent last, and when.
        self._next_attempt: float | None = None
        self._has_leave = False
        self._numbers: set[int] = set()
        self._fires: list[float] = []
        self._questions: dict[bytes, tuple[Address, int]] = {}

    @property
    def is_running(self) -> bool:
        """Returns whether an attempt is under way."""
        return self._attempt is not None

    @property
    def technique(self) -> str:
        """Returns the name of the technique under way, "" for none."""
        return "" if self._attempt is None else self._attempt.technique

    @property
    def nats(self) -> tuple[Nat, Nat]:
        """Returns what is known of both ends' NATs, ours first."""
        return self._node.nat, self.remote_nat

    @property
    def next_at(self) -> float | None:
        """Returns when the next attempt is due, None where none is planned."""
        return self._next_attempt

    # --- when the next is due ---

    def handle_session(self, now: float, *, initiator: bool, fresh: bool) -> None:
        """Takes the news of a session; see `Pathfinder.handle_session`."""
        if fresh:
            self._attempts = 0
        elif self._keeper.is_direct or self._attempts:
            return
        at = now if initiator else now + ANSWERER_PATIENCE_S
        if self._next_attempt is None or at < self._next_attempt:
            self._next_attempt = at

    def handle_end(self) -> None:
        """Takes the peer's goodbye."""
        self._end_attempt()
        self._settle_sockets()
        self._attempts = 0
        self._next_attempt = None

    def handle_network_change(self, now: float) -> None:
        """Takes the news that our addresses changed: attempts start over."""
        self._attempts = 0
        self._drop_attempt(now)
        if self._keeper.is_used(now):
            self._next_attempt = now

    def handle_nat(self, now: float) -> None:
        """Takes the news that more is known of our NAT: attempts that were in vain start over, and so does one that
        runs without that knowledge.
        """
        is_wanted = self._attempt is not None or not self._keeper.is_direct
        if is_wanted and self._keeper.is_used(now):
            self._drop_attempt(now)
            self._attempts, self._next_attempt = 0, now

    def handle_lost(self, now: float) -> None:
        """Takes the news that the direct path in use has died: the next attempt is the first again, and now."""
        self._attempts = 0
        self._next_attempt = now

    def handle_data(self, now: float) -> None:
        """Takes the news that data flows: an attempt that came due while nobody used the peer is made up for."""
        if self._node.direct and not self._keeper.is_direct and self._attempt is None and self._next_attempt is None:
            self._next_attempt = now

    def handle_confirmed(self, path: Path, now: float) -> None:
        """Takes the news that a path answered."""
        self._has_worked = self._has_worked or self._keeper.paths.carries(path)
        path.technique = path.technique or self._technique_of(path, now)

    def _technique_of(self, path: Path, now: float) -> str:
        """Returns what made a path: one that an attempt named, or the peer, by a check from a new address."""
        if self._attempt is not None:
            return self._attempt.maker
        name, at = self._recent
        return name if name and (now - at < LATE_S or path.kind != "prflx") else "peer-reflexive"

    def handle_observed(self, origin: Origin) -> None:
        """Notes where a check of the peer's came from."""
        if self._attempt is not None:
            self._attempt.handle_observed(origin.address)

    # --- offers ---

    def handle_message(self, message: Offer | Answer | Aim | Dial | Fire, origin: Origin, now: float) -> None:
        """Takes what the peer says of an attempt."""
        match message:
            case Offer():
                self.handle_offer(message, origin, now)
            case Answer():
                self.handle_answer(message, now)
            case Aim():
                self.handle_aim(message, now)
            case Dial():
                if self._attempt is not None and self._attempt.number == message.attempt:
                    self._dialling.handle_dial(message, now)
            case Fire():
                self.handle_fire(message, now)

    def handle_offer(self, offer: Offer, origin: Origin, now: float) -> None:
        """Takes the peer's offer and answers it.

        Raises:
            PeerError: reason "rate": it makes more than an honest peer does.
        """
        mine = self._attempt
        if mine is not None and mine.ours and mine.state is AttemptState.OFFERED and self._keeper.paths.controlling:
            return  # Both offered at once: the controlling side's attempt stands, and it is on its way to the peer.
        checks = self._keeper.checks
        if not self._node.direct:
            # An answer without an address keeps the peer from asking again and again.
            nowhere = Answer(offer.attempt, checks.ufrag, checks.password, guesses=False)
            self._keeper.send(nowhere, answer_target(origin))
            return
        is_new = mine is None or mine.ours or mine.number != offer.attempt
        if is_new and not self._offers.take(now):
            raise PeerError("rate", "offers")
        self._set_credentials(offer)
        if mine is None or is_new:
            self._keeper.disturb(now)  # Who seeks a path anew has no trust in the one in use: it moved, or began anew.
            self._drop_attempt(now)
            self._keeper.paths.forget_unconfirmed()
            self._attempts += mine is None  # One that began anew is still the same one.
            mine = self._new_attempt(offer.attempt, now, ours=False)
            remote = self._usable(offer.candidates, mine)
            mine.handle_offer(remote, now, offer.nat, guesses=offer.guesses, udp=offer.udp)
            self._attempt = mine
        self._next_attempt = None
        answer = Answer(mine.number, checks.ufrag, checks.password, mine.local, mine.nat, mine.guesses, mine.udp)
        self._keeper.send(answer, answer_target(origin))

    def handle_answer(self, answer: Answer, now: float) -> None:
        """Takes the answer to our offer and tells the peer the moment."""
        mine = self._attempt
        if mine is None or mine.number != answer.attempt:
            return
        self._set_credentials(answer)
        remote = self._usable(answer.candidates, mine)
        if mine.handle_answer(remote, now, answer.nat, guesses=answer.guesses, udp=answer.udp):
            self._keeper.send(Fire(mine.number), None)

    def handle_fire(self, fire: Fire, now: float) -> None:
        """Takes the agreed moment.

        Raises:
            PeerError: reason "rate": a heavy technique too many.
        """
        attempt = self._attempt
        if attempt is None or attempt.number != fire.attempt:
            return
        if fire.heavy and not attempt.ours and not attempt.may_punch:
            if not self._node.leave.begin(self):
                return
            if not self._punches.take(now):
                raise PeerError("rate", "heavy techniques")
        attempt.handle_fire(now, heavy=fire.heavy)

    def _ask_leave(self, number: int, hosts: tuple[str, ...]) -> bool:
        return self._node.leave.ask(
            self._community, self._remote, hosts, lambda wait_s, now: self._handle_leave(number, wait_s, now)
        )

    def _handle_leave(self, number: int, wait_s: float, now: float) -> None:
        """Takes a supernode's word on a heavy technique of the attempt `number`: tells the peer to begin."""
        attempt = self._attempt if self._attempt is not None and self._attempt.number == number else None
        given = wait_s == 0.0
        if given and attempt is not None and not self._node.leave.begin(self):
            wait_s = PUT_OFF_S
        if attempt is not None and attempt.handle_leave(wait_s, now):
            self._has_leave = True
            self._fires = [now + again_s for again_s in FIRE_AGAIN_S]
            self._keeper.send(Fire(number, heavy=True), None)
        elif given:
            self._return_leave()  # It comes too late, or this node punches with somebody else.
        self._close_attempt(now)  # One that is put off is over.
        self._keeper.wake(now)

    def _return_leave(self) -> None:
        self._has_leave = False
        self._node.leave.give_back(self._community, self._remote)

    def _end_attempt(self) -> None:
        """Lets go of the attempt under way, and of what it has taken; keeps its outcomes."""
        if self._attempt is not None:
            self.outcomes = (self.outcomes + self._attempt.outcomes)[-OUTCOMES_MAX:]
        self._attempt = None
        self._fires.clear()
        self._questions.clear()
        self._dialling.end()
        self._node.leave.end(self)
        if self._has_leave:
            self._return_leave()

    def _drop_attempt(self, now: float) -> None:
        """Gives up the attempt under way: something has made it pointless."""
        if self._attempt is not None:
            self._attempt.give_up(now)
            self._end_attempt()
        self._settle_sockets()

    def handle_aim(self, aim: Aim, now: float) -> None:
        """Takes the ports at which the peer wants us to aim."""
        if self._attempt is not None and self._attempt.number == aim.attempt:
            self._attempt.handle_aim(aim, now)

    def handle_seen(self, message: Stun, origin: Origin, now: float) -> bool:
        """Takes a supernode's answer to a question of ours; returns whether it was one."""
        asked = self._questions.get(message.transaction)
        if asked is None:
            return False
        server, socket = asked
        if origin != Origin(server, socket) or message.address is None:
            raise PeerError("transaction", "an answer from somebody else")
        del self._questions[message.transaction]
        aim = None if self._attempt is None else self._attempt.handle_seen(socket, message.address.port, now)
        if aim is not None:
            self._keeper.send(aim, None)
        return True

    def _ask(self, server: Address, socket: int) -> None:
        transaction = self._keeper.checks.draw_transaction()
        while len(self._questions) >= QUESTIONS_MAX:
            del self._questions[next(iter(self._questions))]
        self._questions[transaction] = (server, socket)
        self._context.send(build_binding_request(transaction), Target(server.host, server.port, socket))

    def _set_credentials(self, offer: Offer | Answer) -> None:
        self._keeper.checks.remote_ufrag = offer.ufrag
        self._keeper.checks.remote_password = offer.password
        self.remote_nat, self.remote = offer.nat, offer.candidates

    def _usable(self, candidates: tuple[Candidate, ...], mine: Attempt) -> tuple[Candidate, ...]:
        usable = usable_candidates(candidates, mine.local, self._overlay)
        self._node.turn.want(usable)
        return usable

    def _start_attempt(self, now: float) -> None:
        self._next_attempt = None
        if not self._node.direct or not self._keeper.is_used(now) or (self._keeper.is_direct and self._attempts):
            return
        self._attempts += 1
        self._keeper.paths.forget_unconfirmed()
        number = int.from_bytes(self._context.random(4), "big")
        self._attempt = self._new_attempt(number, now, ours=True)

    def _new_attempt(self, number: int, now: float, *, ours: bool) -> Attempt:
        return Attempt(
            number,
            self._attempts,
            ours=ours,
            local=self._node.candidates(),
            now=now,
            nat=self._node.nat,
            open_sockets=self._open_sockets,
            server=self._node.server(),
            guesses=self._node.guesses,
            udp=self._node.udp is not False,
            ask_leave=lambda hosts: self._ask_leave(number, hosts),
            dial=lambda guesses: self._dialling.begin(number, self.remote_nat, guesses=guesses),
            dialled=lambda: self._dialling.aims,
        )

    def _open_sockets(self, count: int) -> list[int]:
        self._settle_sockets()  # Those of the technique before make room.
        numbers = self._node.sockets.open(count)
        self._numbers.update(numbers)
        return numbers

    def _settle_sockets(self) -> None:
        """Keeps the sockets that paths use."""
        used = {path.target.socket for path in self._keeper.paths}
        self._node.sockets.settle(self._numbers, used)
        self._numbers &= used

    def _run_attempt(self, now: float) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        offer, shots = attempt.handle_timeout(now)
        self._recent = (attempt.maker, now)
        if offer:
            checks = self._keeper.checks
            mine = (attempt.local, attempt.nat, attempt.guesses, attempt.udp)
            self._keeper.send(Offer(attempt.number, checks.ufrag, checks.password, *mine), None)
        refused = 0
        for _, aim, socket, is_guess, is_question, ttl in shots:
            if is_question:
                self._ask(Address(aim.host, aim.port), socket)
                continue
            target = Target(aim.host, aim.port, socket)
            if ttl:
                if self._node.budget.take(aim.host, now):
                    self._context.send(build_binding_indication(self._context.random(12)), target, ttl=ttl)
                else:
                    refused += 1
                continue
            if is_guess:
                if self._keeper.paths.find(target) is not None or not self._keeper.checks.is_ready:
                    continue
                if self._node.budget.take(aim.host, now):
                    request = self._keeper.checks.build_request(Path(target, "guess", None), now, nominate=False)
                    self._context.send(request, target)
                else:
                    refused += 1
                continue
            for way, kind in self._node.turn.ways(aim, socket):
                path = self._keeper.paths.add_direct(way, kind)
                if path is None or path.state is PathState.VALID:
                    continue
                if path.first_at is not None or self._node.budget.take(aim.host, now):
                    self._keeper.check(path, now)
                else:
                    refused += 1
        attempt.handle_refused(refused)
        self._close_attempt(now)

    def _close_attempt(self, now: float) -> None:
        attempt = self._attempt
        if attempt is None or attempt.state is not AttemptState.ENDED:
            return
        self._end_attempt()
        if any(self._keeper.paths.carries(p) for p in self._keeper.paths.directs()):
            return
        self._keeper.paths.forget_unconfirmed()
        if attempt.outcomes[-1].verdict == "no-answer":
            self._attempts -= 1  # The peer was out of reach altogether: that says nothing about its NAT.
            self._next_attempt = now + NO_ANSWER_WAIT_S
            return
        is_next = attempt.ours
        if attempt.put_off_s:
            self._attempts -= 1
            wait = attempt.put_off_s + self._context.random(1)[0] / 256
        else:
            place = max(0, self._attempts - 1)  # A path that was lost meanwhile starts over.
            waits = ATTEMPT_RETURN_S if self._has_worked else ATTEMPT_RETRY_S
            wait = waits[place] if place < len(waits) else ATTEMPT_HOURLY_S
            is_next ^= self._attempts + 1 == SWAP_AT
        # The side whose turn it is not comes in later, and only if the other stays quiet.
        self._next_attempt = now + wait + (0.0 if is_next else ANSWERER_PATIENCE_S)

    # --- time ---

    def settle(self, now: float) -> None:
        """Ends an attempt that has succeeded, and closes sockets that nobody uses."""
        if self._attempt is None:
            if self._numbers:
                self._settle_sockets()
            self._dialling.settle()
        paths, attempt = self._keeper.paths, self._attempt
        found = paths.spare_direct() or paths.selected
        if found is None or attempt is None or not found.is_direct or found.state is not PathState.VALID:
            return
        # Confirmed before the attempt began proves nothing about now.
        if found.confirmed_at is not None and found.confirmed_at >= attempt.started:
            where = self._node.ends.unveil(Origin(Address(found.target.host, found.target.port)))
            is_new = found.since is not None and found.since >= attempt.started
            attempt.handle_confirmed(now, Candidate(found.kind, *where.address), is_new=is_new)
            self._close_attempt(now)

    def handle_timeout(self, now: float) -> None:
        """Starts the attempt that is due, or goes on with the one under way."""
        if self._next_attempt is not None and now >= self._next_attempt and self._attempt is None:
            self._start_attempt(now)
        if self._fires and self._attempt is not None and now >= self._fires[0]:
            self._fires.pop(0)
            self._keeper.send(Fire(self._attempt.number, heavy=True), None)
        self._dialling.handle_timeout(now)
        self._run_attempt(now)

    def poll_timeout(self) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        if self._attempt is None:
            return self._next_attempt
        times = (self._attempt.poll_timeout(), self._dialling.poll_timeout(), *self._fires[:1])
        return min((t for t in times if t is not None), default=None)
