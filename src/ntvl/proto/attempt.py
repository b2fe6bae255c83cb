"""One attempt at a direct path: offer, answer, the agreed moment, techniques, outcome.

    offerer   offered --Answer--> openers, half a round trip --> running --> ended
    answerer  answered, openers --Fire, or 1 s----------------> running --> ended

The offerer learns the round trip through the relay from the answer, sends `Fire`, and waits half of it, so that both
sides send at the same instant (libp2p's DCUtR does the same). Techniques run one after the other until one confirms a
path. Before a heavy one the offerer asks a supernode for leave (ASKING) and fires again, for which the answerer waits.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Final

from ntvl.proto.technique import SEEN_MAX, Evidence, Facts, Outcome, Schedule, Shot, Technique, punched_hosts
from ntvl.proto.techniques import TECHNIQUES
from ntvl.wire.address import Address
from ntvl.wire.control import UNKNOWN_NAT, Aim, Candidate, Nat

__all__ = ["NO_SOCKETS", "OFFERS_MAX", "PUT_OFF_S", "Attempt", "AttemptState"]

OFFERS_MAX: Final = 3
OFFER_RETRY_S: Final = 0.7
"""Doubles with each offer."""
FIRE_WAIT_S: Final = 1.0
NO_SOCKETS: Final = "another peer's technique has all sockets"
"""The detail of a technique that could not have the sockets it needs."""
LEAVE_WAIT_S: Final = 2.0
"""How long the offerer waits for a supernode's leave."""
HEAVY_FIRE_WAIT_S: Final = 5.0
"""How long the answerer waits for the offerer's word of it: a technique before may have applied on one side only."""
STARVED_S: Final = 30.0
"""When an attempt is made again whose checks did not all go out: the budget of a whole node is full again by then."""
PUT_OFF_S: Final = 15.0
"""When the answerer expects the offerer back that got no leave."""


class AttemptState(StrEnum):
    """Says where an attempt stands."""

    OFFERED = "offered"
    ANSWERED = "answered"
    ARMED = "armed"
    RUNNING = "running"
    ASKING = "asking"
    ENDED = "ended"


class Attempt:
    """Is one attempt, on either side.

    Args:
        number: the offerer's random number for it, 0..2^32-1.
        place: which attempt with this peer since the network last changed, from 1.
        ours: whether we offered.
        local: the candidates we named.
        nat: what we know of our NAT.
        open_sockets: opens so many sockets for a technique and returns their numbers, or none.
        server: a supernode that tells as which port it sees a socket.
        guesses: whether we let ports be guessed.
        udp: whether UDP gets out here, as far as we know.
        ask_leave: asks for leave to punch heavily between public addresses; returns whether there was anybody to ask.
        dial: begins to open TCP connections; is told whether both sides let ports be guessed.
        dialled: returns what was connected to.
    """

    def __init__(
        self,
        number: int,
        place: int,
        *,
        ours: bool,
        local: tuple[Candidate, ...],
        now: float,
        nat: Nat = UNKNOWN_NAT,
        open_sockets: Callable[[int], list[int]] = lambda count: [],
        server: Address | None = None,
        guesses: bool = True,
        udp: bool = True,
        ask_leave: Callable[[tuple[str, ...]], bool] = lambda hosts: False,
        dial: Callable[[bool], None] = lambda guesses: None,
        dialled: Callable[[], tuple[Candidate, ...]] = tuple,
    ) -> None:
        self.number = number
        self.place = place
        self.ours = ours
        self.local = local
        self.remote: tuple[Candidate, ...] = ()
        self.nat = nat
        self.remote_nat = UNKNOWN_NAT
        self.state = AttemptState.OFFERED
        self.started = now
        self.outcomes: list[Outcome] = []
        self._offers = 0
        self._wake_at: float | None = now
        self._techniques: list[Technique] = list(TECHNIQUES)
        self._technique: Technique | None = None
        self._technique_at = 0.0
        self._technique_s = 0.0
        self._open_sockets = open_sockets
        self._numbers: list[int] = []
        self._schedule: Schedule = []
        self._aims: tuple[Candidate, ...] = ()
        self._server = server
        self.guesses = guesses
        self._remote_guesses = True
        self.udp = udp
        self._remote_udp = True
        self._ask_leave = ask_leave
        self._dial = dial
        self._dialled = dialled
        self.may_punch = False
        """Whether there is leave for a heavy technique."""
        self._half_round_s = 0.0
        self.put_off_s = 0.0
        """How long a heavy technique, or all of it, is put off; 0.0 where nothing was."""
        self._evidence = Evidence()
        self._told = self._reacted = False
        self._packets = 0
        self._observed: dict[Address, Candidate] = {}
        self._openers: Schedule = []
        self._begins_at = now
        """The agreed moment."""
        self._detail = ""

    @property
    def technique(self) -> str:
        """Returns the name of the technique that is under way or waits for leave, else of the first one."""
        asked_for = self._techniques[:1] if self.state is AttemptState.ASKING else []
        return (self._technique or next(iter(asked_for), TECHNIQUES[0])).name

    @property
    def maker(self) -> str:
        """Returns the name of the technique that has made a path which is confirmed now: the last to have sent here; of
        the first one where none has, for with that the peer begins.
        """
        if self._technique is not None and self._sent:
            return self._technique.name
        late = self._late
        return TECHNIQUES[0].name if late is None else self.outcomes[late].technique

    @property
    def _sent(self) -> int:
        """Returns what the technique under way has sent, connections included."""
        return self._packets + len(self._dialled_aims())

    @property
    def _late(self) -> int | None:
        """Returns the place of the last outcome whose answers may still come."""
        places = (place for place, outcome in enumerate(self.outcomes) if outcome.verdict == "no-reply")
        return max(places, default=None)

    def poll_timeout(self) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        return self._wake_at

    def handle_answer(
        self,
        remote: tuple[Candidate, ...],
        now: float,
        nat: Nat = UNKNOWN_NAT,
        *,
        guesses: bool = True,
        udp: bool = True,
    ) -> bool:
        """Takes the peer's answer to our offer; returns whether to send `Fire` now."""
        if self.state is not AttemptState.OFFERED or not self.ours:
            return False
        self.remote, self.remote_nat, self._remote_guesses, self._remote_udp = remote, nat, guesses, udp
        self.state = AttemptState.ARMED
        # The first offer may have been lost: its age bounds the round trip from above, which only fires a little late.
        self._half_round_s = min(0.5, (now - self.started) / 2)
        self._arm(now, self._half_round_s)
        return True

    def handle_offer(
        self,
        remote: tuple[Candidate, ...],
        now: float,
        nat: Nat = UNKNOWN_NAT,
        *,
        guesses: bool = True,
        udp: bool = True,
    ) -> None:
        """Takes the offer that opened this attempt; the caller sends the answer."""
        self.remote, self.remote_nat, self._remote_guesses, self._remote_udp = remote, nat, guesses, udp
        self.state = AttemptState.ANSWERED
        self._arm(now, FIRE_WAIT_S)

    def handle_fire(self, now: float, *, heavy: bool = False) -> None:
        """Takes the agreed moment: the checks start now, or those of a heavy technique as soon as it is its turn."""
        if heavy and not self.ours:
            self.may_punch = True
            if self.state is AttemptState.ASKING and self._wake_at is not None:
                self._wake_at = min(self._wake_at, now)
        elif self.state is AttemptState.ANSWERED:
            self._wake_at = self._begins_at = now

    def handle_observed(self, address: Address) -> None:
        """Notes where a check of the peer's came from."""
        if address not in self._observed and len(self._observed) < SEEN_MAX:
            self._observed[address] = Candidate("prflx", *address)

    def handle_leave(self, wait_s: float, now: float) -> bool:
        """Takes the supernode's answer about a heavy technique; returns whether to send `Fire` for it now."""
        if self.state is not AttemptState.ASKING or not self.ours:
            return False
        if wait_s > 0.0:
            self.put_off_s = wait_s
            self._skip("another punch is under way behind the same address", now, verdict="put-off")
            return False
        self.may_punch = True
        self._wake_at = now + self._half_round_s
        return True

    def handle_refused(self, count: int) -> None:
        """Takes the news that so many of the checks did not go out, for the node's budget is spent: that the peer did
        not answer says nothing of the NATs then, so the attempt counts for nothing and is made again.
        """
        if not count:
            return
        self._packets = max(0, self._packets - count)
        self._detail = "the budget of checks is spent"
        self.put_off_s = max(self.put_off_s, STARVED_S)

    def handle_aim(self, aim: Aim, now: float) -> None:
        """Takes the ports at which the peer wants us to aim; the technique that needs them may still be to come."""
        self._evidence.aim = aim
        self._react(now)

    def handle_seen(self, socket: int, port: int, now: float) -> Aim | None:
        """Takes as which port the supernode sees a socket; returns what to tell the peer, if it is time for that."""
        if self._technique is None or socket not in self._numbers:
            return None
        self._evidence.seen[1 + self._numbers.index(socket)] = port
        self._react(now)
        if self._told:
            return None
        aim = self._technique.announce(self._facts(), self._evidence)
        self._told = aim is not None
        return aim

    def handle_confirmed(self, now: float, answered: Candidate | None = None, *, is_new: bool = True) -> None:
        """Takes the news that a path was confirmed, and with which address: the last technique that sent has done it.

        Where none has sent anything yet, it was the peer's work, or the path was there before: then `is_new` is False,
        and openers have no part in it.
        """
        if self.state is AttemptState.ENDED:
            return
        has_part = self._sent > 0 and (is_new or self._technique is not None)
        late = None if has_part else self._late
        if late is None:
            verdict = "direct" if has_part else "not-needed"
            self._note(self.technique, self._technique_at or now, now, verdict, answered=answered)
        else:
            outcome = self.outcomes.pop(late)
            seen = dict.fromkeys((*outcome.observed, *self._observed.values()))
            self.outcomes.append(
                replace(
                    outcome,
                    ended=now,
                    verdict="direct",
                    answered=() if answered is None else (answered,),
                    observed=tuple(seen)[:SEEN_MAX],
                )
            )
        self._end()

    def give_up(self, now: float) -> None:
        """Ends it before its time: something has made it pointless, most of the time another attempt."""
        if self.state is not AttemptState.ENDED and self._sent:
            self._note(self.technique, self._technique_at or self.started, now, "given-up")
        self._end()

    def handle_timeout(self, now: float) -> tuple[bool, list[Shot]]:
        """Returns whether to send (again) the offer, and the checks to send now, their sockets by their own numbers."""
        if self._wake_at is None or now < self._wake_at:
            return False, []
        if self.state is AttemptState.OFFERED:
            return self._offer(now), []
        if self.state in (AttemptState.ANSWERED, AttemptState.ARMED):
            openers, self._openers = self._openers, []
            if openers and now < self._begins_at:
                self._packets, self._detail = len(openers), _describe(openers)
                self._wake_at = self._begins_at
                return False, openers
            self.state = AttemptState.RUNNING
            self._next_technique(now)
        elif self.state is AttemptState.ASKING:
            if self.may_punch:
                self.state = AttemptState.RUNNING
                self._next_technique(now)
            else:
                self._give_up_asking(now)
        if self.state is not AttemptState.RUNNING:
            return False, []
        return False, self._due(now)

    def _arm(self, now: float, wait_s: float) -> None:
        """Plans the agreed moment, and what goes out before it."""
        self._openers = self._techniques[0].openers(self._facts())
        self._begins_at = now + wait_s
        self._wake_at = now if self._openers else self._begins_at

    def _offer(self, now: float) -> bool:
        if self._offers >= OFFERS_MAX:
            self.outcomes.append(Outcome("offer", self.started, now, self._offers, "no-answer", attempt=self.number))
            self._end()
            return False
        self._wake_at = now + OFFER_RETRY_S * 2**self._offers
        self._offers += 1
        return True

    def _next_technique(self, now: float) -> None:
        facts = self._facts()
        while self._techniques:
            technique = self._techniques[0]
            obstacle = technique.obstacle(facts)
            if technique.is_heavy and not obstacle and not self.may_punch:
                self.state = AttemptState.ASKING
                self._wake_at = now + HEAVY_FIRE_WAIT_S
                if self.ours:
                    self._wake_at = now + (LEAVE_WAIT_S if self._ask_leave(punched_hosts(facts)) else 0.0)
                return
            self._techniques.pop(0)
            wanted = 0 if obstacle else technique.sockets(facts)
            self._numbers = self._open_sockets(wanted) if wanted else []
            if len(self._numbers) < wanted:
                obstacle = NO_SOCKETS
            if obstacle:
                self.outcomes.append(
                    Outcome(technique.name, now, now, 0, "not-applicable", obstacle, attempt=self.number)
                )
                continue
            if technique is not TECHNIQUES[0]:
                self._packets, self._detail = 0, ""
            self._technique, self._technique_at = technique, now
            self._technique_s = technique.duration_s(facts)
            self._schedule = technique.schedule(facts)
            self._detail = self._detail or _describe(self._schedule)
            self._aims = _first_aims(self._schedule)
            self._evidence.seen.clear()
            self._told = self._reacted = False
            if technique.dials:
                self._dial(facts.guesses)
            self._react(now)
            self._wake_at = now
            return
        self._end()

    def _give_up_asking(self, now: float) -> None:
        if self.ours:
            self._skip("no supernode gave leave", now)
        else:
            self.put_off_s = PUT_OFF_S
            self._skip("the peer got no leave", now, verdict="put-off")

    def _facts(self) -> Facts:
        return Facts(
            self.local,
            self.remote,
            self.place,
            self.nat,
            self.remote_nat,
            seed=self.number,
            ours=self.ours,
            server=self._server,
            guesses=self.guesses and self._remote_guesses,
            udp=self.udp and self._remote_udp,
        )

    def _skip(self, detail: str, now: float, *, verdict: str = "not-applicable") -> None:
        """Leaves the technique out whose turn it is."""
        technique = self._techniques.pop(0)
        self.outcomes.append(Outcome(technique.name, now, now, 0, verdict, detail, attempt=self.number))
        self.state = AttemptState.RUNNING
        self._next_technique(now)

    def _react(self, now: float) -> None:
        """Adds what the technique under way makes of new evidence."""
        if self._technique is None or self._reacted or self.state is not AttemptState.RUNNING:
            return
        more = self._technique.react(self._facts(), self._evidence)
        if more:
            self._reacted = True
            self._aims = tuple(dict.fromkeys((*self._aims, *_first_aims(more))))[:SEEN_MAX]
            since = now - self._technique_at
            later = [shot._replace(delay_s=shot.delay_s + since) for shot in more]
            self._schedule = sorted(self._schedule + later, key=lambda shot: shot.delay_s)
            self._wake_at = now

    def _due(self, now: float) -> list[Shot]:
        due: list[Shot] = []
        while self._technique is not None and self.state is AttemptState.RUNNING:
            while self._schedule and self._technique_at + self._schedule[0].delay_s <= now:
                shot = self._schedule.pop(0)
                due.append(shot._replace(socket=self._numbers[shot.socket - 1] if shot.socket else 0))
                self._packets += 1
            end = self._technique_at + self._technique_s
            if now < end:
                self._wake_at = min(end, self._technique_at + self._schedule[0].delay_s) if self._schedule else end
                break
            self._note(self._technique.name, self._technique_at, now, "no-reply")
            self._technique, self._packets, self._aims = None, 0, ()
            self._next_technique(now)
        return due

    def _note(
        self, technique: str, started: float, now: float, verdict: str, *, answered: Candidate | None = None
    ) -> None:
        dialled = self._dialled_aims()
        self.outcomes.append(
            Outcome(
                technique,
                started,
                now,
                self._packets + len(dialled),
                verdict,
                self._detail,
                attempt=self.number,
                aims=self._aims + dialled[:SEEN_MAX],
                answered=() if answered is None else (answered,),
                observed=tuple(self._observed.values()),
            )
        )
        self._observed.clear()

    def _dialled_aims(self) -> tuple[Candidate, ...]:
        return self._dialled() if self._technique is not None and self._technique.dials else ()

    def _end(self) -> None:
        self.state = AttemptState.ENDED
        self._wake_at = None


def _describe(schedule: Schedule) -> str:
    """Returns in words how the openers of a schedule go out, "" where it has none."""
    ttl = next((shot.ttl for shot in schedule if shot.ttl), 0)
    return f"opened with a time to live of {ttl}" if ttl else ""


def _first_aims(schedule: Schedule) -> tuple[Candidate, ...]:
    """Returns the first addresses of a schedule, of guesses one for each host; questions to supernodes are no aims."""
    aims: dict[tuple[str, int], Candidate] = {}
    for shot in (shot for shot in schedule if not shot.is_question):
        aim = shot.aim
        key = (aim.host, 0 if shot.is_guess else aim.port)
        if key not in aims and len(aims) < SEEN_MAX:
            aims[key] = Candidate("guess", aim.host, aim.port) if shot.is_guess else aim
    return tuple(aims.values())
