"""Our side of one supernode: its key, a session, a registration for each community, keepalives, the roster.

    resolving --address--> connecting --response--> registered <--reply-- (keepalive every 20 s)
                               ^                         |
                               +---- unreachable <-------+  three keepalives without an answer

A registration survives all of this: what the node leased and whom it knows stays, only the way through this supernode
goes. The session roams: the supernode follows our address by any sealed message, and a hint from it (RESET, or
"unknown" in a keepalive reply) makes us register again at once.
"""

from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.carriage import Carriage
from ntvl.proto.context import Context
from ntvl.proto.events import KeyLearned, SupernodeState
from ntvl.proto.keepalives import Keepalives
from ntvl.proto.key_question import KeyQuestion
from ntvl.proto.link import Link
from ntvl.proto.membership import Membership
from ntvl.proto.settings import NodeSettings
from ntvl.proto.skew import Skew
from ntvl.proto.standing import RegistrationOwner, Standing
from ntvl.wire.address import Address, Origin, parse_address
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Message,
    PunchReply,
    Refused,
    Registered,
    Roster,
    Unsupported,
    build_message,
    parse_message,
)

__all__ = ["Registration"]

RECONNECT_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
RESET_SPACING_S: Final = 1.0
REFRESH_SPACING_S: Final = 0.5
ADDRESSES_MAX: Final = 4


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
            m.community.id: Standing(context, settings, owner, via=via, membership=m, send=self.send)
            for m in memberships
        }
        self._addresses: tuple[Address, ...] = ()
        self._link: Link | None = None
        self._connect_at: float | None = None
        self._connects = 0
        self.question = KeyQuestion(self.url, context.random)
        self._keepalives = Keepalives()
        self._last_reset = float("-inf")
        self._last_refresh = float("-inf")
        self._refresh_at: float | None = None
        self._has_moved = False
        self._skew = Skew(self.url)
        self._handshake = b""
        proxy = settings.proxies[via] if settings.proxies else ""
        self.carriage = Carriage(context, via=via, url=str(self.url), streams=settings.streams, proxy=proxy)
        self._silence_told = False
        self._closed = False

    # --- what others see ---

    def relay_id(self, community: bytes) -> int | None:
        """Returns our relay id in a community, or None where this supernode cannot relay for us now."""
        standing = self.standings.get(community)
        return None if standing is None or self.state != "registered" else standing.relay_id

    @property
    def resolved(self) -> tuple[Address, ...]:
        """Returns every address at which it may answer over UDP, the one that did first."""
        first = () if self.address is None or self.carriage.way != "udp" else (self.address,)
        return tuple(dict.fromkeys((*first, *self._addresses)))

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Returns every address at which the supernode may answer."""
        return (*self.resolved, *self.carriage.addresses)

    def is_reachable(self) -> bool:
        """Returns whether it answered lately."""
        return self.state in ("registered", "refused")

    # --- inputs ---

    def handle_addresses(self, addresses: tuple[Address, ...], now: float) -> None:
        """Takes the addresses that the supernode's name resolves to now, none where the name does not resolve."""
        self._addresses = addresses[:ADDRESSES_MAX]
        if self.state != "resolving" or not (self._addresses or self.carriage.has_proxy):
            return
        self._set_state("connecting")
        self._connect(now)
        self._schedule()

    def handle_network(self, way: str, now: float) -> None:
        """Takes what carried to this supernode last on the network where we are: a kind of carrier, or empty."""
        self.carriage.remember(way, now)
        self._schedule()

    def handle_carrier(self, kind: str, address: Address | None, now: float) -> None:
        """Takes a carrier that is open at a loopback address, or (None) one that failed or broke."""
        if self.carriage.handle_carrier(kind, address, now):
            self.carriage.begin(now)
            if address is not None and self.key is None:
                self._context.send_to_all(self.question.build(), (address,))
            elif address is not None and self._link is not None and self._link.is_shaking:
                self._context.send_to_all(self._handshake, (address,))
            else:
                self._connect(now)
        self._schedule()

    def handle_key_reply(self, data: bytes, now: float) -> None:
        """Takes a KEY_REPLY: a first key is learned, another key than the known one is refused.

        Raises:
            PeerError: as `KeyQuestion.take`.
        """
        key = self.question.take(data)
        if self.key is None:
            self.question.settle()
            self.key = key
            self._context.events.append(KeyLearned(self.via, key))
            self._connect(now)
        elif key != self.key and (notice := self.question.warn(key, self.key)) is not None:
            self._set_state("refused")
            self._context.events.append(notice)
            self._context.count("supernode-key")
        self._schedule()

    def handle_response(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes the RESPONSE to our initiation; raises PeerError for the caller to count."""
        if self._link is None:
            raise PeerError("unknown-session")
        self._link.handle_response(data, now)
        self._link.dropped.clear()
        self._follow(origin.address, now)
        self.rtt_s = self._link.rtt_s
        self._connects = 0
        self._silence_told = False
        self._connect_at = None
        self.question.settle()
        self._keepalives.forget()
        lasting = self.state == "registered" or (self.state == "refused" and not self.question.warned)
        if not lasting:
            self.question.warned = b""
            self._set_state("connecting")
            for standing in self.standings.values():
                standing.ask(now)
        self._send_keepalive(now)
        self.handle_timeout(now)

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
        if not known or (self._keepalives.is_waiting if index == 0 else now - self._last_reset < RESET_SPACING_S):
            self._context.count("rate")
            return
        self._last_reset = now if index else self._last_reset
        self._connect(now) if index else self._send_keepalive(now)
        self._schedule()

    def refresh(self, now: float, *, moved: bool = False) -> None:
        """Has the supernode look at our address again, at most twice a second; `moved`: the network is another one."""
        if self._link is None:
            return
        moved = self._has_moved = moved or self._has_moved
        if now - self._last_refresh < REFRESH_SPACING_S:
            self._refresh_at = self._last_refresh + REFRESH_SPACING_S
            self._schedule()
            return
        self._last_refresh, self._refresh_at, self._has_moved = now, None, False
        hidden = self.carriage.hides_port(self.address, self.addresses)
        if moved:
            self.carriage.renew(now)
            if self._link.is_shaking:
                self._context.send_to_all(self._handshake, self.carriage.targets(self.addresses, 1, self._owner.hosts))
        if self._link.sending is not None:
            self._send_keepalive(now)
        if (moved and hidden) or (self._link.sending is None and self.addresses):
            self._connects = 0
            self._connect(now)
        self._schedule()

    def handle_control(self, data: bytes, index: int, origin: Origin, now: float) -> None:
        """Takes a CONTROL datagram of the supernode; raises PeerError for the caller to count."""
        if self._link is None:
            raise PeerError("unknown-session")
        body, _ = self._link.open(data, index)
        self._follow(origin.address, now)
        message = parse_message(body)
        if isinstance(message, int):
            self.send(Unsupported(message))
        else:
            self._handle_message(message, now)
        self.handle_timeout(now)

    def _follow(self, address: Address, now: float) -> None:
        """Takes the address of an authentic answer for the supernode's, for relays too."""
        if not self.carriage.handle_answer(address, now) or address == self.address:
            return
        self.address = address
        if self.state == "registered":
            self._tell_relays(now)

    def _tell_relays(self, now: float) -> None:
        for standing in self.standings.values():
            if standing.relay_id is not None:
                self._owner.handle_registered(self.via, standing.membership, "", now)

    def _handle_message(self, message: Message, now: float) -> None:
        if isinstance(message, KeepaliveReply):
            self._handle_keepalive_reply(message, now)
        elif isinstance(message, PunchReply):
            self._owner.handle_punch_reply(message, now)
        elif isinstance(message, Registered | Refused | Roster):
            self._handle_news(message, now)

    def _handle_news(self, message: Registered | Refused | Roster, now: float) -> None:
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
        self._keepalives.set_interval(message.keepalive_s)
        self._note_observed(message.observed_host, message.observed_port, now)
        self._note_time(message.server_time)

    def renew(self, now: float) -> None:
        """Registers again where our certificate changed."""
        for standing in self.standings.values():
            standing.renew(now)
        self.handle_timeout(now)

    # --- keepalives ---

    def _send_keepalive(self, now: float) -> None:
        request = int.from_bytes(self._context.random(4), "big") | 1
        self._keepalives.note_asked(request, now, self.rtt_s)
        held = tuple((community, s.version) for community, s in self.standings.items() if s.relay_id is not None)
        self.send(Keepalive(request, self._settings.incarnation, held))

    def _handle_keepalive_reply(self, message: KeepaliveReply, now: float) -> None:
        rtt_s = self._keepalives.note_answer(message.request, now, at_most_s=self._context.keepalive_s)
        if rtt_s is None:
            return
        self.rtt_s = rtt_s
        if self.state == "unreachable":
            self._set_state("registered" if any(s.relay_id for s in self.standings.values()) else "connecting")
            self._tell_relays(now)
        for community, standing in self.standings.items():
            if community in message.unknown:
                standing.handle_unknown(now)
        for community, version in message.versions:
            if community in self.standings:
                self.standings[community].note_version(version, now)
        self._note_observed(message.observed_host, message.observed_port, now)
        self._note_time(message.server_time)

    def _handle_unanswered(self, now: float) -> None:
        again = self._keepalives.give_up()
        self.carriage.begin(now)
        if again:
            self._send_keepalive(now)
            return
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
        if self.carriage.is_carried:
            # What it sees is the far end of a carrier, an address of its own host: nobody can reach us there.
            self.observed = None
        elif observed != self.observed:
            self.observed = observed
            self._owner.handle_observed(self.via, now)

    def _note_time(self, server_time: float) -> None:
        notice = self._skew.judge(self._context.wall() - server_time) if server_time else None
        if notice is not None:
            self._context.events.append(notice)

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
        """Sends to every address that is due; the first that answers is used from then on."""
        self._handshake = datagram
        tries = self._link.tries if self._link is not None else 0
        if self._link is None or self._link.sending is None:
            self.carriage.begin(now)
        self._context.send_to_all(datagram, self.carriage.targets(self.addresses, tries, self._owner.hosts))
        if tries == 3 and self.question.at is None:
            self._ask_key(now)  # A supernode with another key does not answer at all: see which key it shows.
        elif tries == 4:
            self._note_silence(now)

    def _note_silence(self, now: float) -> None:
        """Says once that nobody answers; said again after the next answer."""
        if self._silence_told or self.state == "refused":
            return
        self._silence_told = True
        self._mark_unreachable(now)
        self._context.events.append(self.carriage.silence(self.url, self._addresses, self._owner.hosts))

    def _ask_key(self, now: float) -> None:
        self.carriage.begin(now)
        self._context.send_to_all(self.question.build(), self.addresses)
        self.question.note_asked(now)

    def send(self, message: Message) -> None:
        """Seals and sends a message, if there is a session."""
        if self._link is None or self.address is None:
            return
        datagram = self._link.seal(build_message(message))
        if datagram is not None:
            self._context.send_to_all(datagram, (self.address,))

    # --- time ---

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        if self._closed:
            return
        self.carriage.handle_timeout(now)
        if self.carriage.take_probe(now):
            self._connect(now)
        if self._refresh_at is not None and now >= self._refresh_at:
            self.refresh(now)
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
        if self.question.at is not None and now >= self.question.at:
            if self.key is None:
                self._mark_unreachable(now)
                if self.question.tries == 3:
                    self._note_silence(now)
                self._ask_key(now)
            else:
                self.question.at = None
        self._schedule()

    def _run_session(self, now: float) -> None:
        if self._keepalives.at is not None and now >= self._keepalives.at:
            if self._keepalives.is_waiting:
                self._handle_unanswered(now)
            else:
                self._send_keepalive(now)
        for standing in self.standings.values():
            standing.handle_timeout(now)

    def _is_apart(self, link: Link) -> bool:
        """Returns whether there is nobody to talk to and no handshake under way to change that."""
        lost = self.state == "unreachable" or (self.state == "refused" and bool(self.question.warned))
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
        times: list[float | None] = [self.question.at, self.carriage.poll_timeout(), self._refresh_at]
        link = self._link
        if link is not None:
            times.append(link.poll_timeout())
            if not link.is_shaking:
                times.append(link.rekey_at())
            if self._is_apart(link):
                times.append(self._connect_at)
            if link.sending is not None:
                times.append(self._keepalives.at)
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
        self.carriage.close()
        self._closed = True
        self._context.timers.cancel(("supernode", self))
