"""Our side of one supernode: its key, a session, a registration for each community, keepalives, the roster.

    resolving --address--> connecting --response--> registered <--reply-- (keepalive every 20 s)
                               ^                         |
                               +---- unreachable <-------+  three keepalives without an answer

A registration survives all of this: what the node leased and whom it knows stays, only the way through this supernode
goes. The session roams: the supernode follows our address by any sealed message, and a hint from it (RESET, or
"unknown" in a keepalive reply) makes us register again at once.
"""

from typing import Final, Protocol

from ntvl.dataplane.interface import Target
from ntvl.errors import PeerError
from ntvl.identity.keys import format_key
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.context import Context
from ntvl.proto.duration import format_duration
from ntvl.proto.events import KeyLearned, Notice, SupernodeState
from ntvl.proto.link import Link
from ntvl.proto.membership import Membership
from ntvl.proto.settings import NodeSettings
from ntvl.proto.standing import Standing, StandingOwner
from ntvl.wire.address import Address, Origin, parse_address
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Message,
    Refused,
    Registered,
    Roster,
    Unsupported,
    build_message,
    parse_message,
)
from ntvl.wire.service import build_key_request, parse_key_reply

__all__ = ["Registration", "RegistrationOwner"]

ANSWER_WAIT_S: Final = (1.0, 1.0, 2.0)
"""Waits for an answer to a keepalive; after the last the supernode is unreachable."""
RECONNECT_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
KEY_WAIT_S: Final = (1.0, 2.0, 4.0, 8.0, 30.0)
RESET_SPACING_S: Final = 1.0
REFRESH_SPACING_S: Final = 0.5
SKEW_MAX_S: Final = 300.0
ADDRESSES_MAX: Final = 4


class RegistrationOwner(StandingOwner, Protocol):
    """Is what a registration tells its node."""

    def handle_supernode_lost(self, via: int, now: float) -> None:
        """The supernode does not answer any more."""

    def handle_observed(self, via: int, now: float) -> None:
        """The supernode sees us at another address than before."""


class Registration:
    """Keeps one supernode.

    Args:
        via: its place in the settings; names it towards the owner.
    """

    def __init__(
        self,
        context: Context,
        settings: NodeSettings,
        owner: RegistrationOwner,
        *,
        via: int,
        memberships: list[Membership],
    ) -> None:
        self._context = context
        self._settings = settings
        self._owner = owner
        self.via = via
        self.url: SupernodeUrl = settings.supernodes[via]
        self.key = self.url.key
        self.state = "resolving"
        self.address: Address | None = None
        """Where it answered last."""
        self.observed: Address | None = None
        self.rtt_s: float | None = None
        self.standings = {
            m.community.id: Standing(context, settings, owner, via=via, membership=m, send=self._send)
            for m in memberships
        }
        self._addresses: tuple[Address, ...] = ()
        self._link: Link | None = None
        self._connect_at: float | None = None
        self._connects = 0
        self._handshake_sent = 0.0
        self._key_at: float | None = None
        self._key_tries = 0
        self._key_nonce = b""
        self._key_warned = b""
        self._keepalive_s = 20.0
        self._keepalive_at: float | None = None
        self._asked: dict[int, float] = {}
        self._unanswered = 0
        self._last_reset = float("-inf")
        self._last_refresh = float("-inf")
        self._skew_warned = False
        self._silence_told = False
        self._closed = False

    # --- what others see ---

    def relay_id(self, community: bytes) -> int | None:
        """Returns our relay id in a community, or None where this supernode cannot relay for us now."""
        standing = self.standings.get(community)
        return None if standing is None or self.state != "registered" else standing.relay_id

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Returns every address at which the supernode may answer."""
        if self.address is None or self.address in self._addresses:
            return self._addresses
        return (self.address, *self._addresses)

    def is_reachable(self) -> bool:
        """Returns whether it answered lately."""
        return self.state in ("registered", "refused")

    # --- inputs ---

    def handle_addresses(self, addresses: tuple[Address, ...], now: float) -> None:
        """Takes the addresses that the supernode's name resolves to now, none where the name does not resolve."""
        self._addresses = addresses[:ADDRESSES_MAX]
        if not self._addresses or self.state != "resolving":
            return
        self._set_state("connecting")
        self._connect(now)
        self._schedule()

    def expects_key(self, data: bytes) -> bool:
        """Returns whether a KEY_REPLY answers our question."""
        return bool(self._key_nonce) and parse_key_reply(data)[0] == self._key_nonce

    def handle_key_reply(self, data: bytes, now: float) -> None:
        """Takes a KEY_REPLY: a first key is learned, another key than the known one is refused.

        Raises:
            PeerError: as `parse_key_reply`, or reason "transaction".
        """
        nonce, key = parse_key_reply(data)
        if not self._key_nonce or nonce != self._key_nonce:
            raise PeerError("transaction", "a key nobody asked for")
        if self.key is None:
            self._key_nonce = b""
            self._key_at = None
            self.key = key
            self._context.events.append(KeyLearned(self.via, key))
            self._connect(now)
        elif key != self.key and self._key_warned != key:
            self._key_warned = key
            self._set_state("refused")
            text = (
                f"supernode {self.url.host}:{self.url.port} shows the key {format_key(key)} instead of "
                f"{format_key(self.key)}: refused, for it may be an impostor; if its owner did change the key, "
                "remove the old one from known_supernodes.json in the state directory, or correct the URL"
            )
            self._context.events.append(Notice("error", "supernode-key", text))
            self._context.count("supernode-key")
        self._schedule()

    def handle_response(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes the RESPONSE to our initiation; raises PeerError for the caller to count."""
        if self._link is None:
            raise PeerError("unknown-session")
        sent = self._handshake_sent
        self._link.handle_response(data, now)
        self._link.dropped.clear()
        self.address = origin.address
        self.rtt_s = now - sent
        self._connects = 0
        self._silence_told = False
        self._connect_at = None
        self._key_at = None
        self._key_nonce = b""
        self._unanswered = 0
        self._asked.clear()
        lasting = self.state == "registered" or (self.state == "refused" and not self._key_warned)
        if not lasting:
            self._key_warned = b""
            self._set_state("connecting")
            for standing in self.standings.values():
                standing.ask(now)
        self._send_keepalive(now)
        self._run(now)

    def handle_cookie(self, data: bytes, now: float) -> None:
        """Takes a COOKIE: the supernode is under load."""
        if self._link is not None:
            datagram = self._link.handle_cookie(data, now)
            if datagram is not None:
                self._send_handshake(datagram, now)
        self._schedule()

    def handle_reset(self, index: int, now: float) -> None:
        """Takes a hint from the supernode's address that it lost our session (`index`) or our address (0)."""
        session = self._link.sending if self._link is not None else None
        known = session is not None and index in (0, session.keys.send_index)
        # Neither uses up the other's rate: 0 makes us ask, and that brings the news of the lost session.
        if not known or (self._asked if index == 0 else now - self._last_reset < RESET_SPACING_S):
            self._context.count("rate")
            return
        self._last_reset = now if index else self._last_reset
        self._connect(now) if index else self._send_keepalive(now)
        self._schedule()

    def refresh(self, now: float) -> None:
        """Has the supernode look at our address again, at most twice a second; on a change of network for one."""
        if self._link is None or now - self._last_refresh < REFRESH_SPACING_S:
            return
        self._last_refresh = now
        if self._link.sending is not None:
            self._send_keepalive(now)
        elif self._addresses:
            self._connects = 0
            self._connect(now)
        self._schedule()

    def handle_control(self, data: bytes, index: int, origin: Origin, now: float) -> None:
        """Takes a CONTROL datagram of the supernode; raises PeerError for the caller to count."""
        if self._link is None:
            raise PeerError("unknown-session")
        body, _ = self._link.open(data, index)
        self.address = origin.address
        message = parse_message(body)
        if isinstance(message, int):
            self._send(Unsupported(message))
        else:
            self._handle_message(message, now)
        self._run(now)

    def _handle_message(self, message: Message, now: float) -> None:
        if isinstance(message, KeepaliveReply):
            self._handle_keepalive_reply(message, now)
            return
        if not isinstance(message, Registered | Refused | Roster):
            return
        standing = self.standings.get(message.community)
        if standing is None and isinstance(message, Refused):
            # The supernode could not read our certificate, so it does not know for which community it was.
            standing = next((s for s in self.standings.values() if s.expects(message.request)), None)
        if standing is None:
            raise PeerError("unknown-community")
        match message:
            case Registered():
                self._handle_registered(standing, message, now)
            case Refused():
                standing.handle_refused(message, now)
                self._note_time(message.server_time)
                if all(s.refusal for s in self.standings.values()):
                    self._set_state("refused")
            case Roster():
                standing.handle_roster(message, now)

    def _handle_registered(self, standing: Standing, message: Registered, now: float) -> None:
        if not standing.expects(message.request):
            return
        self._set_state("registered")  # First: the node asks for relay ids when it hears of the registration.
        standing.handle_registered(message, now)
        self._keepalive_s = min(max(message.keepalive_s, 5.0), 120.0)
        self._note_observed(message.observed_host, message.observed_port, now)
        self._note_time(message.server_time)

    def renew(self, now: float) -> None:
        """Registers again where our certificate changed."""
        for standing in self.standings.values():
            standing.renew(now)
        self._run(now)

    # --- keepalives ---

    def _send_keepalive(self, now: float) -> None:
        request = int.from_bytes(self._context.random(4), "big") | 1
        waits = self._keepalive_at if self._asked else None
        self._asked[request] = now
        while len(self._asked) > 8:
            del self._asked[next(iter(self._asked))]
        held = tuple((community, s.version) for community, s in self.standings.items() if s.relay_id is not None)
        self._send(Keepalive(request, self._settings.incarnation, held))
        at = now + ANSWER_WAIT_S[min(self._unanswered, len(ANSWER_WAIT_S) - 1)]
        self._keepalive_at = at if waits is None else min(at, waits)  # Asking again puts off no judgement.

    def _handle_keepalive_reply(self, message: KeepaliveReply, now: float) -> None:
        sent = self._asked.pop(message.request, None)
        if sent is None:
            return
        self.rtt_s = now - sent
        self._unanswered = 0
        self._asked.clear()
        self._keepalive_at = now + self._keepalive_s
        if self.state == "unreachable":
            self._set_state("registered" if any(s.relay_id for s in self.standings.values()) else "connecting")
            for standing in self.standings.values():
                if standing.relay_id is not None:
                    self._owner.handle_registered(self.via, standing.membership, "", now)
        for community, standing in self.standings.items():
            if community in message.unknown:
                standing.handle_unknown(now)
        for community, version in message.versions:
            if community in self.standings:
                self.standings[community].note_version(version, now)
        self._note_observed(message.observed_host, message.observed_port, now)
        self._note_time(message.server_time)

    def _handle_unanswered(self, now: float) -> None:
        self._unanswered += 1
        self._keepalive_at = None
        if self._unanswered < len(ANSWER_WAIT_S):
            self._send_keepalive(now)
            return
        self._keepalive_at = None
        if self.is_reachable() or self.state == "connecting":
            self._set_state("unreachable")
            self._owner.handle_supernode_lost(self.via, now)
        self._connect(now)

    def _note_observed(self, host: str, port: int, now: float) -> None:
        try:
            observed = parse_address(host, port)
        except PeerError as error:
            self._context.count(error.reason)
            return
        if observed != self.observed:
            self.observed = observed
            self._owner.handle_observed(self.via, now)

    def _note_time(self, server_time: float) -> None:
        skew = self._context.wall() - server_time
        if server_time and abs(skew) > SKEW_MAX_S and not self._skew_warned:
            self._skew_warned = True
            ahead = "ahead of" if skew > 0 else "behind"
            text = (
                f"this machine's clock is {format_duration(abs(skew))} {ahead} that of supernode {self.url.host}: "
                "certificates may be refused until both are right; set the clock, or run a time service"
            )
            self._context.events.append(Notice("warning", "clock", text))

    # --- session ---

    def _connect(self, now: float) -> None:
        """Starts a handshake, or asks for the key where none is known."""
        if self.key is None:
            self._ask_key(now)
            return
        if self._link is None:
            self._link = Link(
                self._settings.key,
                self.key,
                psk=None,
                payload=lambda: b"",
                aes=self._settings.aes,
                random=self._context.random,
                indices=self._context.indices,
                owner=self,
            )
        datagram = self._link.start(now)
        if datagram is not None:
            self._send_handshake(datagram, now)

    def _send_handshake(self, datagram: bytes, now: float) -> None:
        """Sends to every address that the name resolves to; the first that answers is used from then on."""
        self._handshake_sent = now
        for address in self.addresses:
            self._context.send(datagram, Target(address.host, address.port))
        if self._link is not None and self._link.tries == 3 and self._key_at is None:
            self._ask_key(now)  # A supernode with another key does not answer at all: see which key it shows.
        elif self._link is not None and self._link.tries == 4:
            self._note_silence(now)

    def _note_silence(self, now: float) -> None:
        """Says once that nobody answers; said again after the next answer."""
        if self._silence_told or self.state == "refused":
            return
        self._silence_told = True
        self._mark_unreachable(now)
        text = (
            f"supernode {self.url.host}:{self.url.port} does not answer: is it running, is its UDP port open, "
            "and does this network let UDP out? Trying on"
        )
        self._context.events.append(Notice("warning", "no-answer", text))

    def _ask_key(self, now: float) -> None:
        if not self._key_nonce:
            self._key_nonce = self._context.random(8)
        request = build_key_request(self._key_nonce)
        for address in self.addresses:
            self._context.send(request, Target(address.host, address.port))
        self._key_at = now + KEY_WAIT_S[min(self._key_tries, len(KEY_WAIT_S) - 1)]
        self._key_tries += 1

    def _send(self, message: Message) -> None:
        if self._link is None or self.address is None:
            return
        datagram = self._link.seal(build_message(message))
        if datagram is not None:
            self._context.send(datagram, Target(self.address.host, self.address.port))

    # --- time ---

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        self._run(now)

    def _run(self, now: float) -> None:
        if self._closed:
            return
        link = self._link
        if link is not None:
            datagram = link.handle_timeout(now)
            link.dropped.clear()
            if datagram is not None:
                self._send_handshake(datagram, now)
            rekey_at = link.rekey_at()
            if rekey_at is not None and now >= rekey_at and not link.is_shaking:
                self._connect(now)
            if self._is_apart(link):
                self._reconnect(now)
            else:
                self._connect_at = None
            if link.sending is not None:
                self._run_session(now)
        if self._key_at is not None and now >= self._key_at:
            if self.key is None:
                self._mark_unreachable(now)
                if self._key_tries == 3:
                    self._note_silence(now)
                self._ask_key(now)
            else:
                self._key_at = None
        self._schedule()

    def _run_session(self, now: float) -> None:
        if self._keepalive_at is not None and now >= self._keepalive_at:
            if self._asked:
                self._handle_unanswered(now)
            else:
                self._send_keepalive(now)
        for standing in self.standings.values():
            standing.handle_timeout(now)

    def _is_apart(self, link: Link) -> bool:
        """Returns whether there is nobody to talk to and no handshake under way to change that."""
        lost = self.state == "unreachable" or (self.state == "refused" and bool(self._key_warned))
        return not link.is_shaking and (lost or not link.sessions)

    def _reconnect(self, now: float) -> None:
        """Waits longer with each handshake that found nobody."""
        self._mark_unreachable(now)
        if self._connect_at is None:
            self._connect_at = now + RECONNECT_S[min(self._connects, len(RECONNECT_S) - 1)]
            self._connects += 1
        elif now >= self._connect_at:
            self._connect_at = None
            self._connect(now)

    def _mark_unreachable(self, now: float) -> None:
        if self.state in ("connecting", "registered"):
            self._set_state("unreachable")
            self._owner.handle_supernode_lost(self.via, now)

    def _schedule(self) -> None:
        times: list[float | None] = [self._key_at]
        link = self._link
        if link is not None:
            times.append(link.poll_timeout())
            if not link.is_shaking:
                times.append(link.rekey_at())
            if self._is_apart(link):
                times.append(self._connect_at)
            if link.sending is not None:
                times.append(self._keepalive_at)
                times += [standing.poll_timeout() for standing in self.standings.values()]
        key = ("supernode", self)
        at = min((t for t in times if t is not None), default=None)
        if at is None:
            self._context.timers.cancel(key)
        else:
            self._context.timers.set(key, at)

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._context.events.append(SupernodeState(self.via, str(self.url), state))

    def close(self) -> None:
        """Leaves every community and says nothing more."""
        for standing in self.standings.values():
            standing.leave()
        self._closed = True
        self._context.timers.cancel(("supernode", self))
