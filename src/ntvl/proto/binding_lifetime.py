"""How long a NAT remembers a mapping without traffic: a binary search that takes minutes and a few datagrams.

    socket 0 asks, twice, 3 s apart                   the mapping is fresh, and its public port is known
    ... silence for the time on trial ...
    socket 1 asks that the answer go to that port     it comes in at socket 0: the mapping still lives

First without any silence, to see that the server does RESPONSE-PORT and that both sockets share a public address: else
silence would mean nothing. Then the shortest time, the longest, and the middle of what is left.

It asks twice because a keepalive is never the only exchange of its mapping: Linux, and so many a home router, keeps a
flow that carried answers over more than two seconds for 120 s, and any other for 30 s. A trial that ends late, because
the computer slept, is made again.

Source: RFC 5780 section 4.6, RFC 4787 section 4.3. Deviation: the answer comes from the address that socket 0 has
asked, so that filtering does not matter.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from ntvl.errors import PeerError
from ntvl.proto.machine import Random, Wakeup, earliest
from ntvl.proto.question import Answer, Questions, Topic
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.stun import StunClass

__all__ = ["LONGEST_S", "SHORTEST_S", "BindingLifetime", "LifetimeReport"]

SHORTEST_S: Final = 20.0
LONGEST_S: Final = 300.0
RESOLUTION_S: Final = 10.0
WARM_S: Final = 3.0
"""Between the two exchanges that make a mapping one in use."""
LATE_S: Final = 2.0
"""A trial that took this much longer than it should have says nothing."""
_RTO_S: Final = 0.5
_PACKETS_MAX: Final = 128
_HOLDER: Final = 0
_ASKER: Final = 1


@dataclass(frozen=True, slots=True)
class LifetimeReport:
    """Says that a mapping lives `alive_s` seconds, and is dead after `dead_s`, None for longer than was tried.

    `problem` is empty, "server-silent", or "no-response-port" where nothing could be measured: the server does not do
    RESPONSE-PORT, or the NAT gives two sockets different public addresses.
    """

    alive_s: float = 0.0
    dead_s: float | None = None
    problem: str = ""


class BindingLifetime:
    """Is one search; its sockets are numbered 0 and 1 and used for nothing else.

    Args:
        server: whom to ask; one that does RESPONSE-PORT, as ntvl's supernodes do.
        random: as `Machine` says.
        shortest_s, longest_s: what is searched between, seconds.
        resolution_s: how near the two ends are at the end.
    """

    def __init__(
        self,
        server: Address,
        *,
        random: Random,
        shortest_s: float = SHORTEST_S,
        longest_s: float = LONGEST_S,
        resolution_s: float = RESOLUTION_S,
    ) -> None:
        if not 0 < shortest_s < longest_s or resolution_s <= 0:
            raise ValueError(f"nothing to search from {shortest_s} to {longest_s} s by {resolution_s} s")
        self.drops: Counter[str] = Counter()
        """Datagrams that were no answers to ours, by reason."""
        self.report: LifetimeReport | None = None
        """The result, once there is one."""
        self.proven_s = 0.0
        """For how long a mapping lives at least, as far as is known yet, seconds."""
        self._server = server
        self._questions = Questions(random, _PACKETS_MAX)
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._resolution_s = resolution_s
        self._dead_s: float | None = None
        self._trial_s = 0.0
        self._trials = 0
        self._port = 0
        self._warmed = False
        self._warm_at: float | None = None
        self._ask_at: float | None = None

    def start(self, now: float) -> None:
        """Begins the search."""
        self._open(0.0, now)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes a datagram; raises nothing: what is no answer is counted."""
        if self.report is not None:
            return
        try:
            answer = self._questions.handle_datagram(data, origin, now)
        except PeerError as error:
            self.drops[error.reason] += 1
            return
        self._take(answer, now)

    def handle_timeout(self, now: float) -> None:
        """Does what is due; see `Machine`."""
        if self.report is not None:
            return
        for topic in self._questions.handle_timeout(now):
            if topic.what.startswith("open"):
                self._end("server-silent")
            else:
                self._judge(False, now)
        if self._warm_at is not None and self._warm_at <= now and self.report is None:
            self._warm_at = None
            self._ask_open(now)
        if self._ask_at is not None and self._ask_at <= now and self.report is None:
            late = now - self._ask_at > LATE_S
            self._ask_at = None
            if late:
                self._open(self._trial_s, now)
                return
            topic = Topic(f"ask-{self._trials}", self._server, _ASKER)
            self._questions.ask(
                topic, self._server, _ASKER, now, rto_s=_RTO_S, response_port=self._port, expected="anywhere"
            )

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, and why; None after the end."""
        if self.report is not None:
            return None
        waits = [Wakeup(at, "lifetime") for at in (self._warm_at, self._ask_at) if at is not None]
        return earliest(self._questions.poll_timeout(), *waits)

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send, or None."""
        return self._questions.poll_transmit()

    def _open(self, trial_s: float, now: float) -> None:
        """Makes the mapping fresh, and has it tried after `trial_s` seconds."""
        self._trial_s = trial_s
        self._warmed = not trial_s
        self._ask_open(now)

    def _ask_open(self, now: float) -> None:
        self._trials += 1
        topic = Topic(f"open-{self._trials}", self._server, _HOLDER)
        self._questions.ask(topic, self._server, _HOLDER, now, rto_s=_RTO_S)

    def _take(self, answer: Answer, now: float) -> None:
        stun = answer.stun
        if answer.topic.what.startswith("open"):
            if stun.cls == StunClass.ERROR or stun.address is None:
                self._end("server-silent")
                return
            self._port = stun.address.port
            if not self._warmed:
                self._warmed = True
                self._warm_at = now + WARM_S
                return
            self._ask_at = now + self._trial_s
            if not self._trial_s:
                self.handle_timeout(now)
        elif stun.cls == StunClass.ERROR or answer.origin.socket != _HOLDER:
            self._end("no-response-port")
        else:
            self._judge(True, now)

    def _judge(self, alive: bool, now: float) -> None:
        """Takes the outcome of a trial, and begins the next one."""
        if not self._trial_s and not alive:
            self._end("no-response-port")
            return
        if alive:
            self.proven_s = self._trial_s
        else:
            self._dead_s = self._trial_s
        if self._dead_s is None:
            if self.proven_s >= self._longest_s:
                self._end()
            else:
                self._open(self._shortest_s if not self.proven_s else self._longest_s, now)
        elif self._dead_s <= self._shortest_s or self._dead_s - self.proven_s <= self._resolution_s:
            self._end()
        else:
            self._open((self.proven_s + self._dead_s) / 2, now)

    def _end(self, problem: str = "") -> None:
        self.report = LifetimeReport(self.proven_s, self._dead_s, problem)
