"""What the two ends tell each other of their attempts at a direct path, for people: `ntvl why`.

Each end knows half of why a path is as it is: where it sent, what came, what its own NAT does. A question goes by the
paths of data and is answered with what the other end has on record. Nothing is decided by an answer, so a peer that
lies misleads a person about itself and does no more. A peer that is too old says `Unsupported`.
"""

from typing import Final, Protocol

from ntvl.dataplane.interface import Target
from ntvl.errors import PeerError
from ntvl.proto.bucket import TokenBucket
from ntvl.proto.context import Context
from ntvl.proto.events import WhyReply
from ntvl.proto.negotiation import Negotiation
from ntvl.proto.path import PathSet, answer_target
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.technique import Outcome
from ntvl.wire.address import Origin
from ntvl.wire.control import Candidate, Message, Record, Records, RecordsRequest, Unsupported, build_message

__all__ = ["Inquiry", "Witness"]

ANSWERS_PER_S: Final = 1.0
ANSWERS_BURST: Final = 4.0
"""An answer is a hundred times the size of its question, so few are given."""
QUESTIONS_MAX: Final = 16
RECORDS_MAX: Final = 8
CANDIDATES_MAX: Final = 8
_REQUEST_TAG: Final = 27
_UNASKED: Final = 0
"""The id of records that answer no question."""
_U32_MAX: Final = 0xFFFFFFFF


class Witness(Protocol):
    """Is what an inquiry asks of the pathfinder that it belongs to."""

    paths: PathSet
    negotiation: Negotiation

    @property
    def is_direct(self) -> bool:
        """Returns whether data goes by a direct path."""

    def is_used(self, now: float) -> bool:
        """Returns whether the peer is worth keepalives and new keys."""

    def send(self, message: Message, target: Target | None) -> bool:
        """Seals and sends a message one way, or by the paths of data where the target is None."""


class Inquiry:
    """Asks one peer for its records, and answers it with ours."""

    def __init__(self, context: Context, surroundings: Surroundings, witness: Witness) -> None:
        self._context = context
        self._node = surroundings
        self._witness = witness
        self._open: dict[int, None] = {}
        self._answers = TokenBucket(ANSWERS_PER_S, ANSWERS_BURST)

    def ask(self, number: int) -> bool:
        """Asks for the peer's records, which come as a `WhyReply`; returns False without a session to ask by."""
        if not self._witness.send(RecordsRequest(number), None):
            return False
        while len(self._open) >= QUESTIONS_MAX:
            del self._open[next(iter(self._open))]
        self._open[number] = None
        return True

    def handle_nat(self, now: float) -> None:
        """Tells the peer what has become known of our NAT, which its last offer did not say: for its status."""
        if self._witness.is_used(now):
            self._witness.send(Records(_UNASKED, nat=self._node.nat), None)

    def handle_message(self, message: Message, origin: Origin, now: float) -> None:
        """Takes a question, an answer, or the news that the peer does not know the question; ignores all else.

        Raises:
            PeerError: reason "rate": too many questions; "transaction": an answer to none of ours.
        """
        match message:
            case RecordsRequest():
                if not self._answers.take(now):
                    raise PeerError("rate", "questions for records")
                self._witness.send(self.report(message.id, now), answer_target(origin))
            case Records():
                if message.id not in self._open and message.id != _UNASKED:
                    raise PeerError("transaction", "records that nobody asked for")
                if message.nat.mapping:
                    self._witness.negotiation.remote_nat = message.nat  # For people; an attempt goes by its offer.
                if message.id == _UNASKED:
                    return
                del self._open[message.id]
                self._context.events.append(WhyReply(message.id, message))
            case Unsupported(tag=tag) if tag == _REQUEST_TAG:
                asked, self._open = self._open, {}
                self._context.events.extend(WhyReply(number, None, "unsupported") for number in asked)

    def report(self, number: int, now: float) -> Records:
        """Returns our side, as much of it as a message holds: the oldest records are left out first."""
        negotiation, selected = self._witness.negotiation, self._witness.paths.selected
        state, retry_s = self._stage(now)
        candidates = sorted(self._node.candidates(), key=lambda c: (c.kind == "host", -c.priority))
        records = [_record(outcome, now) for outcome in negotiation.outcomes[-RECORDS_MAX:]]
        while True:
            found = Records(
                number,
                "none" if selected is None else selected.word,
                "" if selected is None else selected.technique[:32],
                state,
                retry_s,
                {None: "", True: "yes", False: "no"}[self._node.udp],
                self._node.nat,
                tuple(candidates[:CANDIDATES_MAX]),
                tuple(records),
            )
            try:
                build_message(found)
            except ValueError:
                records = records[1:]
                continue
            return found

    def _stage(self, now: float) -> tuple[str, float]:
        """Returns where attempts stand, and the seconds to the next one."""
        negotiation = self._witness.negotiation
        if not self._node.direct:
            return "off", 0.0
        if negotiation.is_running:
            return "trying", 0.0
        if self._witness.is_direct or negotiation.next_at is None or not self._witness.is_used(now):
            return "idle", 0.0
        return "waiting", max(0.0, negotiation.next_at - now)


def _record(outcome: Outcome, now: float) -> Record:
    return Record(
        outcome.attempt & _U32_MAX,
        outcome.technique[:32],
        outcome.verdict[:32],
        max(0.0, now - outcome.ended),
        max(0.0, outcome.ended - outcome.started),
        outcome.packets,
        outcome.detail[:80],
        tuple(map(_bare, outcome.aims)),
        tuple(map(_bare, outcome.answered)),
        tuple(map(_bare, outcome.observed)),
    )


def _bare(candidate: Candidate) -> Candidate:
    """Returns a candidate without its priority, which nobody reads here."""
    return Candidate(candidate.kind[:16], candidate.host, candidate.port)
