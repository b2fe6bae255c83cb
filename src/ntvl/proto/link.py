"""A link keeps sessions with one remote key: it shakes hands, rekeys, seals and opens, and forgets old keys.

Node and supernode, and two nodes, use the same link. It knows no addresses: its owner decides where the datagrams go.

    idle --start--> shaking --response--> established --120 s--> shaking (the old session still works)
                       |                                            |
                       +--8 tries without an answer--> idle         +--180 s after the keys were made: session dropped

The newest session that both sides are known to hold sends ("confirmed"): at once for the side that opened the
handshake, and for the other as soon as anything opens under it. Every session that is kept receives. Lifetimes are
WireGuard's (https://www.wireguard.com/papers/wireguard.pdf section 6.1).
"""

from collections.abc import Callable
from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Established, Initiation, Received, SessionKeys, handshake_index
from ntvl.proto.indices import Indices
from ntvl.proto.machine import Random

__all__ = ["REJECT_AFTER_S", "REKEY_AFTER_S", "Link", "Session"]

REKEY_AFTER_S: Final = 120.0
REJECT_AFTER_S: Final = 180.0
REKEY_GRACE_S: Final = 15.0
"""How much longer the side that answered waits before it opens the next handshake itself."""
RETRY_S: Final = (0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 5.0)
"""Waits between tries of a handshake; a try without an answer in time is followed by a new one."""
WAITING_MAX: Final = 3
"""Tries whose answer is taken: enough for a round trip of 2 s."""
SESSIONS_MAX: Final = 4
COOKIE_LIFE_S: Final = 110.0


class Session:
    """Is one pair of keys: the channel for control messages, and when and by whom it was made."""

    def __init__(self, keys: SessionKeys, now: float) -> None:
        self.keys = keys
        self.channel = Channel(keys)
        self.created = now
        self.confirmed = keys.initiator
        """Whether the other side is known to hold it."""
        self.heard = False
        """Whether anything came under it."""


class Link:
    """Is the sans-IO half of a secured conversation with the holder of one static key.

    Args:
        local: our static key.
        remote: the other's static public key.
        psk: the community's shared key between nodes, None towards a supernode.
        payload: makes our handshake payload (the certificate between nodes) when a handshake starts.
        indices: the table that leads datagrams here.
        owner: what `indices` shall return for our indices.
    """

    def __init__(
        self,
        local: NodeKey,
        remote: bytes,
        *,
        psk: bytes | None,
        payload: Callable[[], bytes],
        aes: bool,
        random: Random,
        indices: "Indices[object]",
        owner: object,
    ) -> None:
        self._local = local
        self.remote = remote
        self._psk = psk
        self._payload = payload
        self._aes = aes
        self._random = random
        self._indices = indices
        self._owner = owner
        self._waiting: list[tuple[Initiation, float]] = []
        """Tries whose answer counts, the latest last, and when each was sent."""
        self.rtt_s: float | None = None
        """How long the last answered try took."""
        self._tries = 0
        self._retry_at: float | None = None
        self._cookie: tuple[bytes, float] | None = None
        self.sessions: list[Session] = []
        """Newest first."""
        self.dropped: list[int] = []
        """Receive indices of sessions that ended; the owner takes them and tells the data plane."""

    # --- state ---

    @property
    def sending(self) -> Session | None:
        """Returns the session that seals what we send, or None."""
        return next((s for s in self.sessions if s.confirmed), None)

    @property
    def is_shaking(self) -> bool:
        """Returns whether a handshake of ours waits for its answer."""
        return self._retry_at is not None

    def age_s(self, now: float) -> float | None:
        """Returns the age of the session that sends, in seconds, or None."""
        session = self.sending
        return None if session is None else now - session.created

    def rekey_at(self) -> float | None:
        """Returns when the next handshake is ours to start if the link is still in use, or None without a session."""
        newest = self.sending
        if newest is None:
            return None
        grace = 0.0 if newest.keys.initiator else REKEY_GRACE_S
        return newest.created + REKEY_AFTER_S + grace

    def poll_timeout(self) -> float | None:
        """Returns when `handle_timeout` has something to do: a try to repeat or a session to drop."""
        times = [s.created + REJECT_AFTER_S for s in self.sessions]
        if self._retry_at is not None:
            times.append(self._retry_at)
        return min(times, default=None)

    # --- handshakes of ours ---

    def start(self, now: float) -> bytes | None:
        """Starts a handshake and returns the INITIATION to send.

        Returns None where one waits for its answer already, or where the remote key is unusable (then nothing waits).
        """
        if self._retry_at is not None:
            return None
        self._tries = 0
        return self._try(now)

    @property
    def tries(self) -> int:
        """Returns how many initiations the handshake under way has sent; 1 after `start`."""
        return self._tries

    def _try(self, now: float) -> bytes | None:
        self._retry_at = None
        self._forget(WAITING_MAX - 1)
        cookie = None
        if self._cookie is not None and now < self._cookie[1]:
            cookie = self._cookie[0]
        index = self._indices.allocate(self._owner)
        try:
            initiation = Initiation(
                self._local,
                self.remote,
                psk=self._psk,
                payload=self._payload(),
                aes=self._aes,
                index=index,
                random=self._random,
                cookie=cookie,
            )
        except PeerError:
            # Not a key that anybody could hold: somebody made it up, and there is no answer to wait for.
            self._indices.release(index)
            return None
        jitter = self._random(1)[0] / 1024
        self._retry_at = now + RETRY_S[min(self._tries, len(RETRY_S) - 1)] + jitter
        self._tries += 1
        self._waiting.append((initiation, now))
        return initiation.datagram

    def _forget(self, keep: int) -> None:
        """Takes no answer any more to all but the latest tries."""
        gone = self._waiting[: max(0, len(self._waiting) - keep)]
        for initiation, _ in gone:
            self._indices.release(initiation.index)
        del self._waiting[: len(gone)]

    def handle_response(self, data: bytes, now: float) -> Established:
        """Takes the RESPONSE to one of the last tries; the new session sends from now on.

        Where round trips are longer than the waits between tries, the answer to an earlier try comes first. A later one
        may have made the other side forget that session, so its answer is taken as well.

        Raises:
            PeerError: no such try ("unknown-session"), or as `Initiation.handle_response`; keep waiting.
        """
        index = handshake_index(data) if self._waiting else None
        place = next((place for place, (each, _) in enumerate(self._waiting) if each.index == index), None)
        if place is None:
            raise PeerError("unknown-session", "a response to no handshake")
        initiation, sent = self._waiting[place]
        established = initiation.handle_response(data)
        self._forget(len(self._waiting) - place)
        del self._waiting[0]
        self.rtt_s = now - sent
        self._retry_at = None
        self._add(Session(established.keys, now))
        return established

    def handle_cookie(self, data: bytes, now: float) -> bytes | None:
        """Takes a COOKIE and returns the next INITIATION, which carries it; None where it comes too often.

        Raises:
            PeerError: not for the handshake under way, or forged; keep waiting.
        """
        if self._retry_at is None:
            raise PeerError("unknown-session", "a cookie for no handshake")
        fresh = self._cookie is None or now >= self._cookie[1]
        self._cookie = (self._waiting[-1][0].handle_cookie(data), now + COOKIE_LIFE_S)
        return self._try(now) if fresh else None

    # --- handshakes of the other ---

    def accept(self, received: Received, now: float) -> tuple[bytes, Session]:
        """Answers a verified initiation; returns the RESPONSE to send and the new session, not yet confirmed.

        It takes the place of one that nobody confirmed: lost answers, or replayed initiations, cost no session in use.
        """
        index = self._indices.allocate(self._owner)
        datagram, established = received.respond(psk=self._psk, payload=self._payload(), index=index)
        for unconfirmed in [s for s in self.sessions if not s.confirmed]:
            self._drop(unconfirmed)
        session = Session(established.keys, now)
        self._add(session)
        return datagram, session

    # --- sessions ---

    def _add(self, session: Session) -> None:
        self.sessions.insert(0, session)
        sending = self.sending
        others = [s for s in self.sessions if s is not sending]
        for old in others[SESSIONS_MAX - (1 if sending is not None else 0) :]:
            self._drop(old)

    def _drop(self, session: Session) -> None:
        self.sessions.remove(session)
        self._indices.release(session.keys.receive_index)
        self.dropped.append(session.keys.receive_index)

    def close(self) -> None:
        """Forgets every key and the handshake under way."""
        self._retry_at = None
        self._forget(0)
        for session in list(self.sessions):
            self._drop(session)

    def seal(self, body: bytes) -> bytes | None:
        """Returns the CONTROL datagram that carries `body`, or None without a session that may send."""
        session = self.sending
        return None if session is None else session.channel.seal(body)

    def open(self, data: bytes, index: int) -> tuple[bytes, bool]:
        """Returns the body of a CONTROL datagram for our `index`, and whether that confirmed a session just now.

        Raises:
            PeerError: "unknown-session", or as `Channel.open`; count it.
        """
        for session in self.sessions:
            if session.keys.receive_index == index:
                body = session.channel.open(data)
                confirmed = not session.confirmed
                session.confirmed = session.heard = True
                return body, confirmed
        raise PeerError("unknown-session")

    def handle_timeout(self, now: float) -> bytes | None:
        """Drops what is too old and returns the next try of a handshake that had no answer, if it is due.

        After the last try the link is idle: `is_shaking` is False again.
        """
        for session in [s for s in self.sessions if now >= s.created + REJECT_AFTER_S]:
            self._drop(session)
        if self._retry_at is None or now < self._retry_at:
            return None
        if self._tries >= len(RETRY_S):
            self._retry_at = None
            self._forget(0)
            return None
        return self._try(now)
