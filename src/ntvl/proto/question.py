"""Questions to STUN servers: asked again while there is no answer, within a budget, and matched with what comes.

    ask -> sent at 0, R, 3 R -> answered, or given up at 7 R        R: the retransmission timeout of RFC 8489

A question has a topic, by which its asker knows the answer. One whose answer may come from elsewhere, as RFC 5780 has
it, or that a NAT shall turn back to us, says so; any other is answered only from where it went, on the socket from
which it went.

Source: RFC 8489 section 6.2.1. Deviations: three transmissions instead of seven and a last wait of four times R instead
of sixteen, since a person waits for the report; R is the caller's.
"""

from collections import deque
from typing import Final, Literal, NamedTuple

from ntvl.errors import PeerError
from ntvl.proto.machine import Random, Wakeup
from ntvl.proto.timers import Timers
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.stun import BINDING, TRANSACTION_BYTES, Change, Stun, StunClass, build_binding_request, parse_stun

__all__ = ["Answer", "Expected", "Questions", "Topic"]

Expected = Literal["there", "anywhere", "itself"]
"""What counts as an answer: one from where the question went, one from anywhere, or the question come back."""

TRANSMISSIONS: Final = 3
LAST_WAIT: Final = 4


class Topic(NamedTuple):
    """Names a question: `what` it is for, the server or other address that it is about, and a local socket."""

    what: str
    about: Address
    socket: int = 0


class Answer(NamedTuple):
    """Is what came for a question: a success, an error, or the question itself (a NAT turned it back).

    `rtt_s` is None where it was asked more than once, since then nobody knows which one was answered (Karn).
    """

    topic: Topic
    stun: Stun
    origin: Origin
    rtt_s: float | None


class _Question:
    __slots__ = ("asked", "data", "expected", "rto_s", "target", "topic", "transaction", "when")

    def __init__(self, topic: Topic, transaction: bytes, data: bytes, target: Origin, rto_s: float) -> None:
        self.topic = topic
        self.transaction = transaction
        self.data = data
        self.target = target
        self.rto_s = rto_s
        self.expected: Expected = "there"
        self.asked = 0
        self.when = 0.0


class Questions:
    """Asks and waits.

    Args:
        random: draws transaction ids.
        budget_pkts: most datagrams sent in all; what is over it stays unsent, and the question unanswered.
    """

    def __init__(self, random: Random, budget_pkts: int) -> None:
        self.sent_pkts = 0
        """Datagrams sent so far."""
        self.is_exhausted = False
        """Whether something was left unsent for want of budget."""
        self._random = random
        self._budget_pkts = budget_pkts
        self._open: dict[bytes, _Question] = {}
        self._topics: set[Topic] = set()
        self._timers = Timers()
        self._transmits: deque[Transmit] = deque()

    @property
    def open(self) -> frozenset[str]:
        """Returns what the questions that are still open are for."""
        return frozenset(question.topic.what for question in self._open.values())

    def ask(
        self,
        topic: Topic,
        target: Address,
        socket: int,
        now: float,
        *,
        rto_s: float,
        delay_s: float = 0.0,
        change: Change | None = None,
        response_port: int | None = None,
        expected: Expected = "there",
    ) -> None:
        """Asks, once on each topic.

        Args:
            topic: by which the caller knows the answer.
            target: whom.
            socket: from which local socket.
            now: machine's clock.
            rto_s: R, seconds.
            delay_s: when to begin, from now.
            change, response_port: as `build_binding_request` takes them.
            expected: what counts as an answer.
        """
        if topic in self._topics:
            return
        self._topics.add(topic)
        transaction = self._random(TRANSACTION_BYTES)
        data = build_binding_request(transaction, change=change, response_port=response_port)
        question = _Question(topic, transaction, data, Origin(target, socket), rto_s)
        question.expected = expected
        self._open[transaction] = question
        self._timers.set(("ask", transaction), now + delay_s)
        if not delay_s:
            self.handle_timeout(now)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> Answer:
        """Returns the answer in a datagram; its question is closed.

        Args:
            data: any bytes.
            origin: where they came from, and to which socket.
            now: machine's clock.
        Raises:
            PeerError: reasons of `parse_stun`; "type" (neither answer nor a question of ours), "transaction" (no open
                question, or not from where it was asked), "format" (attributes that must be understood and are not) or
                "no-address"; count it and keep waiting.
        """
        stun = parse_stun(data)
        question = self._open.get(stun.transaction)
        if question is None:
            raise PeerError("transaction")
        if stun.method != BINDING or stun.cls == StunClass.INDICATION:
            raise PeerError("type", "STUN")
        if question.expected == "there" and origin[:2] != question.target[:2]:
            raise PeerError("transaction", "an answer from elsewhere")
        if (stun.cls == StunClass.REQUEST) != (question.expected == "itself"):
            raise PeerError("type", "a request")
        if stun.cls == StunClass.REQUEST:
            if bytes(data) != question.data:
                raise PeerError("type", "a request that is not ours")
        elif stun.unknown:
            raise PeerError("format", "attributes that must be understood")
        elif stun.cls == StunClass.SUCCESS and stun.address is None:
            raise PeerError("no-address")
        self._close(question)
        return Answer(question.topic, stun, origin, now - question.when if question.asked == 1 else None)

    def handle_timeout(self, now: float) -> list[Topic]:
        """Asks again where it is time; returns the topics that were given up."""
        given_up = []
        for _, transaction in self._timers.due(now):
            question = self._open.get(transaction)  # type: ignore[call-overload]
            if question is None:
                continue
            if question.asked < TRANSMISSIONS and self.sent_pkts < self._budget_pkts:
                self._send(question, now)
                continue
            self.is_exhausted |= question.asked < TRANSMISSIONS
            self._close(question)
            given_up.append(question.topic)
        return given_up

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None."""
        return self._timers.next()

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send, or None."""
        return self._transmits.popleft() if self._transmits else None

    def _send(self, question: _Question, now: float) -> None:
        question.asked += 1
        question.when = now
        self.sent_pkts += 1
        self._transmits.append(Transmit(question.data, question.target.address, question.target.socket))
        waits = question.rto_s * (LAST_WAIT if question.asked == TRANSMISSIONS else 2 ** (question.asked - 1))
        self._timers.set(("ask", question.transaction), now + waits)

    def _close(self, question: _Question) -> None:
        del self._open[question.transaction]
        self._timers.cancel(("ask", question.transaction))
