"""The nodes that speak with a supernode: their sessions, where they are seen, and which run of theirs is the one.

A client is a node key. The node begins every session. A new one is answered where it is used, but becomes the client's
`active` one, by which it is sent news and followed to new addresses, only by a message that names the node's present
incarnation: so neither a replayed handshake nor a second machine with a copy of the key can turn a node's mail away.

    incarnation   unknown, at a Register   becomes the present one; the one before is superseded
                  superseded               is told "duplicate-node", whatever it asks

Clients with a registration are kept as long as that lasts. The others are guests, of whom a bounded number is kept, the
latest.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from ntvl.errors import PeerError
from ntvl.proto.bucket import TokenBucket
from ntvl.proto.channel import Channel
from ntvl.proto.directory import Resident
from ntvl.proto.handshake import Received
from ntvl.proto.indices import Indices
from ntvl.proto.machine import Random, Wakeup
from ntvl.wire.address import Address

__all__ = ["SESSION_S", "Client", "Clients", "Session"]

SESSION_S: Final = 180.0
"""How long a session is taken; nodes make a new one every 120 s (WireGuard paper section 6.1)."""
CLIENT_SESSIONS_MAX: Final = 4
GUESTS_MAX: Final = 4_096
SUPERSEDED_MAX: Final = 8
REQUEST_RATE_PER_S: Final = 20.0
REQUEST_BURST: Final = 100.0
"""Messages of one node: a start in 16 communities, with repeats, is far below."""
HANDSHAKE_RATE_PER_S: Final = 1.0
HANDSHAKE_BURST: Final = 10.0


class Session:
    """Is one handshake's outcome with a client.

    Attributes:
        begun_at: machine's clock.
        newest: the highest packet number that opened, -1 before the first.
        incarnation: what the node said under it, b"" before it did.
    """

    __slots__ = ("begun_at", "channel", "client", "incarnation", "newest")

    def __init__(self, client: "Client", begun_at: float) -> None:
        self.client = client
        self.begun_at = begun_at
        self.channel: Channel
        self.newest = -1
        self.incarnation = b""


class Client:
    """Is one node key that speaks with us.

    Attributes:
        address: where the active session's latest message came from; None before there was one.
        residents: its registrations, by community.
        requests: what holds its messages to a rate.
    """

    __slots__ = (
        "active",
        "address",
        "handshakes",
        "incarnation",
        "node",
        "requests",
        "residents",
        "sessions",
        "superseded",
    )

    def __init__(self, node: bytes) -> None:
        self.node = node
        self.sessions: deque[Session] = deque()
        self.active: Session | None = None
        self.address: Address | None = None
        self.incarnation = b""
        self.superseded: deque[bytes] = deque(maxlen=SUPERSEDED_MAX)
        self.residents: dict[bytes, Resident] = {}
        self.requests = TokenBucket(REQUEST_RATE_PER_S, REQUEST_BURST)
        self.handshakes = TokenBucket(HANDSHAKE_RATE_PER_S, HANDSHAKE_BURST)

    def is_superseded(self, session: Session) -> bool:
        """Returns whether a session is that of an earlier run of the node, or of another machine with its key."""
        return session.incarnation in self.superseded

    def begin(self, incarnation: bytes) -> None:
        """Takes an incarnation for the present one."""
        if incarnation != self.incarnation:
            if self.incarnation:
                self.superseded.append(self.incarnation)
            self.incarnation = incarnation

    def activate(self, session: Session) -> None:
        """Makes a session the active one, unless the one that is began later."""
        if self.active is None or session.begun_at >= self.active.begun_at:
            self.active = session


class Clients:
    """Keeps clients and finds sessions by the index in a datagram."""

    def __init__(self, random: Random) -> None:
        self._indices: Indices[Session] = Indices(random)
        self._guests: OrderedDict[bytes, Client] = OrderedDict()
        self._members: dict[bytes, Client] = {}
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        """By receive index, in the order of `begun_at`."""

    def __len__(self) -> int:
        return len(self._guests) + len(self._members)

    @property
    def session_count(self) -> int:
        """Returns how many sessions there are."""
        return len(self._sessions)

    def addresses(self) -> Iterator[Address]:
        """Returns where clients with a session are, as far as they have said anything under it."""
        for clients in (self._members, self._guests):
            for client in clients.values():
                if client.address is not None and client.sessions:
                    yield client.address

    def find(self, node: bytes) -> Client | None:
        """Returns a client, or None."""
        return self._members.get(node) or self._guests.get(node)

    def find_session(self, index: int) -> Session | None:
        """Returns the session that datagrams for an index belong to, or None."""
        return self._indices.find(index)

    def answer(self, received: Received, now: float) -> bytes:
        """Returns the RESPONSE to an initiation, and keeps the session.

        Raises:
            PeerError: reason "rate": this node begins sessions too often.
        """
        client = self.find(received.remote)
        if client is None:
            client = self._guests[received.remote] = Client(received.remote)
            if len(self._guests) > GUESTS_MAX:
                self._drop(next(iter(self._guests.values())))
        elif received.remote in self._guests:
            self._guests.move_to_end(received.remote)
        if not client.handshakes.take(now):
            raise PeerError("rate", "handshakes of one node")
        session = Session(client, now)
        index = self._indices.allocate(session)
        datagram, established = received.respond(psk=None, payload=b"", index=index)
        session.channel = Channel(established.keys)
        self._sessions[index] = session
        client.sessions.append(session)
        if len(client.sessions) > CLIENT_SESSIONS_MAX:
            self._end(next(s for s in client.sessions if s is not client.active))
        return datagram

    def enlist(self, client: Client, resident: Resident) -> None:
        """Notes a client's registration: it is a guest no more."""
        client.residents[resident.hall.community] = resident
        if self._guests.pop(client.node, None) is not None:
            self._members[client.node] = client

    def discharge(self, client: Client, community: bytes) -> None:
        """Notes the end of a registration; with the last one the client is a guest again."""
        client.residents.pop(community, None)
        if client.residents or self._members.pop(client.node, None) is None:
            return
        if client.sessions:
            self._guests[client.node] = client
            if len(self._guests) > GUESTS_MAX:
                self._drop(next(iter(self._guests.values())))

    def expire(self, now: float) -> None:
        """Ends the sessions that are too old, and forgets guests without any."""
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.begun_at + SESSION_S > now:
                return
            self._end(session)
            if not session.client.sessions and session.client.node in self._guests:
                del self._guests[session.client.node]

    def poll_timeout(self) -> Wakeup | None:
        """Returns when the oldest session ends."""
        for session in self._sessions.values():
            return Wakeup(session.begun_at + SESSION_S, "session-expiry")
        return None

    def _end(self, session: Session) -> None:
        client = session.client
        client.sessions.remove(session)
        if client.active is session:
            client.active = None
        index = session.channel.receive_index
        self._indices.release(index)
        del self._sessions[index]

    def _drop(self, client: Client) -> None:
        for session in [*client.sessions]:
            self._end(session)
        del self._guests[client.node]
