"""What a supernode has to say: datagrams, commands to the engine, facts for the log, and counts, each within bounds."""

from collections import Counter, deque
from typing import Final

from ntvl.dataplane.interface import Command
from ntvl.proto.clients import Session
from ntvl.proto.supernode_events import SupernodeEvent
from ntvl.wire.address import Origin, Transmit
from ntvl.wire.control import Message, build_message

__all__ = ["Outbox"]

TRANSMITS_MAX: Final = 16_384
EVENTS_MAX: Final = 1_024


class Outbox:
    """Keeps what waits to be polled.

    Attributes:
        commands: for the engine; as bounded as what is registered.
        drops: what was dropped or refused, by reason.
    """

    def __init__(self) -> None:
        self.transmits: deque[Transmit] = deque()
        self.commands: deque[Command] = deque()
        self.events: deque[SupernodeEvent] = deque()
        self.drops: Counter[str] = Counter()

    def send(self, data: bytes, origin: Origin) -> None:
        """Sends a datagram back to where one came from."""
        self.transmit(Transmit(data, origin.address, origin.socket))

    def transmit(self, transmit: Transmit) -> None:
        """Sends a datagram to anywhere."""
        if len(self.transmits) >= TRANSMITS_MAX:
            self.drops["queue-full"] += 1
            return
        self.transmits.append(transmit)

    def reply(self, session: Session, message: Message, origin: Origin) -> None:
        """Sends a message under the session that it answers."""
        self.send(session.channel.seal(build_message(message)), origin)

    def tell(self, event: SupernodeEvent) -> None:
        """Adds a fact for the log; the oldest goes where nobody takes them."""
        if len(self.events) >= EVENTS_MAX:
            self.events.popleft()
            self.drops["queue-full"] += 1
        self.events.append(event)
