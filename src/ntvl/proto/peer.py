"""One member of one community as we deal with it: its link, its certificate, its paths, and what it moved.

    wanted (frames wait, a ping, an initiation)
      -> handshake over the relay          one round trip; the first frames go with its end
      -> offer, answer, fire               over the relay, sealed (`pathfinder`)
      -> checks on every candidate         `simultaneous`, later techniques after it
      -> a confirmed path carries the data; the relay stays as the way out

A peer without data for five minutes is let go: no checks, no rekeying, and its session ends by age. The next frame
starts anew.
"""

import ipaddress
from typing import Final

from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    ConfirmSession,
    InstallSession,
    RetireSession,
    SetPath,
    Target,
)
from ntvl.errors import PeerError
from ntvl.identity.certificate import Certificate, verify_certificate
from ntvl.identity.keys import derive_ipv6, derive_mac, short_id
from ntvl.proto.context import Context
from ntvl.proto.events import Notice, PathChanged, PingReply
from ntvl.proto.handshake import Received
from ntvl.proto.link import Link, Session
from ntvl.proto.membership import Membership
from ntvl.proto.path import PathState, answer_target
from ntvl.proto.pathfinder import Pathfinder
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.text import explain
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import (
    Aim,
    Answer,
    Bye,
    Confirm,
    Dial,
    Fire,
    Message,
    Offer,
    Probe,
    ProbeReply,
    Unsupported,
    build_message,
    parse_message,
)
from ntvl.wire.stun import Stun

__all__ = ["Peer"]

REKEY_PACKETS: Final = 1 << 26
"""Data packets under one session before a rekey by count: within AES-GCM's margin at full-size packets (RFC 8446
section 5.5)."""
PINGS_MAX: Final = 64
PING_LIFE_S: Final = 10.0
CONFIRM_RETRY_S: Final = 0.3
"""Before a Confirm is repeated; doubles each time."""
CONFIRMS_MAX: Final = 6
REFUSED_WAIT_S: Final = 2.0
REFUSED_WAIT_S_MAX: Final = 300.0
RESET_SPACING_S: Final = 1.0
RESTART_WINDOW_S: Final = 5.0
"""A session that follows a RESET within this time means that the peer started anew."""


class _Ping:
    """Is a ping that was asked for and, once there was a session and a path, sent."""

    __slots__ = ("asked", "sent")

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.sent: float | None = None


class Peer:
    """Is one member; created when it is first wanted or first heard.

    Args:
        handle: the data plane's number for it.
        key: its static public key.
        name, addresses: as the roster says, until its certificate does.
    """

    def __init__(
        self,
        context: Context,
        surroundings: Surroundings,
        membership: Membership,
        *,
        handle: int,
        key: bytes,
        name: str,
        addresses: tuple[str, ...],
    ) -> None:
        self._context = context
        self._url = surroundings.url
        self._ends = surroundings.ends
        self.membership = membership
        self.handle = handle
        self.key = key
        self.mac = derive_mac(membership.community.id, key)
        self.name = name
        self.addresses = addresses
        self.certificate: Certificate | None = None
        self.activity: Activity | None = None
        self.link = Link(
            surroundings.key,
            key,
            psk=membership.community.psk,
            payload=membership.certificate,
            aes=surroundings.aes,
            random=context.random,
            indices=context.indices,
            owner=self,
        )
        self.pathfinder = Pathfinder(
            context,
            surroundings,
            handle=handle,
            remote=key,
            overlay=(*membership.overlay, *surroundings.overlay),
            community=membership.community.id,
            send=self._send,
            wake=self._settle,
        )
        self._was_up = False
        self._last_reset = float("-inf")
        self._targets: tuple[Target, ...] = ()
        self._shown = ("none", "", "")
        self._unproven: tuple[Session, Certificate] | None = None
        """Of an initiation that we answered: it may be a recording until something comes under its session."""
        self._refusals = 0
        self._refused_until = float("-inf")
        self._refused_for = ""
        self._confirm_at: float | None = None
        self._confirms = 0
        self._pings: dict[int, _Ping] = {}

    # --- what others see ---

    @property
    def path(self) -> tuple[str, str, str]:
        """Returns (path, remote, via) as in status: "direct", "turn" with an address, "relay" with a URL, or "none"."""
        selected = self.pathfinder.paths.selected
        if selected is None or self.link.sending is None:
            return ("none", "", "")
        if selected.via is not None:
            return ("relay", "", self._url(selected.via))
        where = self._ends.unveil(Origin(Address(selected.target.host, selected.target.port)))
        return (selected.word, str(where.address), "")

    def is_live(self) -> bool:
        """Returns whether there are a session and a way, so that the peer is kept even if every supernode forgot it."""
        return bool(self.link.sessions) and self.pathfinder.paths.selected is not None

    # --- reasons to talk ---

    def handle_wanted(self, now: float) -> None:
        """Takes the news that frames wait for this peer."""
        self.pathfinder.last_data = now
        self._start(now)
        self._settle(now)

    def ping(self, number: int, now: float) -> None:
        """Sends a probe by the path of now, after a handshake if need be; its reply becomes a `PingReply`.

        Args:
            number: the id for the reply, odd.
        """
        if len(self._pings) >= PINGS_MAX:
            self._context.count("queue-full")
            return
        self.pathfinder.handle_interest(now)
        self._pings[number] = _Ping(now)
        self._start(now)
        self._settle(now)

    def handle_reset(self, now: float) -> None:
        """Takes an unauthenticated hint that the peer does not know our session: a handshake tells, at most 1/s."""
        if now - self._last_reset < RESET_SPACING_S:
            raise PeerError("rate", "resets")
        self._last_reset = now
        self._start(now, force=True)
        self._settle(now)

    def _start(self, now: float, *, force: bool = False) -> None:
        if now >= self._refused_until and (force or self.link.sending is None):
            datagram = self.link.start(now)
            if datagram is not None:
                self._send_handshake(datagram)

    def _send_handshake(self, datagram: bytes) -> None:
        """Sends by the path of data, the first relay where there is none; from the second try on by every relay too."""
        paths = self.pathfinder.paths
        targets = list(paths.targets())
        relays = [p.target for p in paths.relays()]
        wanted = relays if self.link.tries > 1 else relays[: 0 if targets else 1]
        targets += [t for t in wanted if t not in targets]
        if not targets:
            targets = [p.target for p in paths.directs() if p.state is not PathState.NEW]
        for target in targets:
            self._context.send(datagram, target)

    # --- handshakes ---

    def handle_initiation(self, received: Received, certificate: Certificate, origin: Origin, now: float) -> None:
        """Takes an initiation whose certificate was verified; answers it where it came from."""
        gap = self.link.sending is None
        datagram, session = self.link.accept(received, now)
        self._unproven = (session, certificate)
        self._install(session)
        self._context.send(datagram, answer_target(origin))
        self.pathfinder.handle_session(now, initiator=False, fresh=gap)
        self._settle(now)

    def handle_response(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes the RESPONSE to our initiation.

        Raises:
            PeerError: not the answer to it, or of somebody whom the community's key did not certify; count it.
        """
        gap = self.link.sending is None
        established = self.link.handle_response(data, now)
        try:
            certificate = verify_certificate(
                established.payload,
                wall_time=self._context.wall(),
                community=self.membership.community.id,
                node=self.key,
            )
        except PeerError as error:
            self._refuse(error, now)
            raise
        self._certify(certificate)
        self._install(self.link.sessions[0])
        self._send(Confirm(), answer_target(origin))
        self._confirms = 1
        self._confirm_at = now + CONFIRM_RETRY_S
        restarted = now - self._last_reset < RESTART_WINDOW_S
        self.pathfinder.handle_session(now, initiator=True, fresh=gap or restarted)
        self._settle(now)

    def _refuse(self, error: PeerError, now: float) -> None:
        """Ends what a bad certificate began; says so once, and tries again at a falling rate."""
        self.link.close()
        self._refused_until = now + min(REFUSED_WAIT_S * 2**self._refusals, REFUSED_WAIT_S_MAX)
        self._refusals += 1
        if self._refused_for != error.reason:
            self._refused_for = error.reason
            text = f"peer {self.name or short_id(self.key)} was refused: {explain(error)}"
            self._context.events.append(Notice("warning", error.reason, text))
        self._settle(now)

    def handle_cookie(self, data: bytes, now: float) -> None:
        """Takes a COOKIE: the peer is under load and wants to see that we are where we say."""
        datagram = self.link.handle_cookie(data, now)
        if datagram is not None:
            self._send_handshake(datagram)
        self._settle(now)

    def _certify(self, certificate: Certificate) -> None:
        self._refusals = 0
        self._refused_until = float("-inf")
        self._refused_for = ""
        if self.certificate == certificate:
            return
        self.certificate = certificate
        self.name = certificate.name
        self.addresses = certificate.addresses
        hosts = tuple(a.split("/")[0] for a in certificate.addresses if self._may_hold(a))
        device = self.membership.settings.device
        self._context.commands.append(AddPeer(self.handle, device, (certificate.mac,), hosts, certified=True))

    def _may_hold(self, address: str) -> bool:
        """Returns whether a certified address may be the peer's: inside the community's IPv6 prefix only the derived
        one.
        """
        interface = ipaddress.ip_interface(address)
        ours = any(interface.version == 6 and interface.ip in n for n in self.membership.overlay if n.version == 6)
        return not ours or address == derive_ipv6(self.membership.community.id, self.mac)

    def _repeat_confirm(self, now: float) -> None:
        """Confirms our newest session again until something came under it: the first may have been lost."""
        session = self.link.sending
        if session is None or session.heard or not session.keys.initiator or self._confirms >= CONFIRMS_MAX:
            self._confirm_at = None
            return
        relays = [p.target for p in self.pathfinder.paths.relays()[:1]]
        for target in dict.fromkeys((*self.pathfinder.paths.targets(), *relays)):
            self._send(Confirm(), target)
        self._confirm_at = now + CONFIRM_RETRY_S * 2**self._confirms
        self._confirms += 1

    def _install(self, session: Session) -> None:
        self._retire()
        keys = session.keys
        self._context.commands.append(
            InstallSession(
                self.handle,
                keys.cipher,
                keys.send_index,
                keys.receive_index,
                keys.send_key,
                keys.receive_key,
                session.confirmed,
            )
        )

    # --- messages ---

    def handle_control(self, data: bytes, index: int, origin: Origin, now: float) -> None:
        """Takes a CONTROL datagram for one of our sessions; raises PeerError for the caller to count."""
        body, confirmed = self.link.open(data, index)
        if confirmed:
            self._context.commands.append(ConfirmSession(index))
            if self._unproven is not None and self._unproven[0] is self.link.sending:
                self._certify(self._unproven[1])
                self._unproven = None
        self.pathfinder.handle_heard(answer_target(origin), now, now)
        try:
            message = parse_message(body)
            if isinstance(message, int):
                self._send(Unsupported(message), answer_target(origin))
            else:
                self._handle_message(message, index, origin, now)
        finally:
            self._settle(now)

    def _handle_message(self, message: Message, index: int, origin: Origin, now: float) -> None:
        match message:
            case Confirm():
                session = self.link.sending
                if session is not None and session.keys.receive_index == index and not session.keys.initiator:
                    self._send(Confirm(), answer_target(origin))
            case Probe():
                self.pathfinder.handle_probe(message, answer_target(origin), now)
            case ProbeReply():
                self._handle_probe_reply(message.id, origin, now)
            case Offer() | Answer() | Aim() | Dial() | Fire():
                self.pathfinder.negotiation.handle_message(message, origin, now)
            case Bye():
                self._end(now)
            case _:
                self.pathfinder.inquiry.handle_message(message, origin, now)

    def _handle_probe_reply(self, number: int, origin: Origin, now: float) -> None:
        if not number & 1:
            self.pathfinder.handle_probe_reply(number, now, answer_target(origin))
            return
        ping = self._pings.pop(number, None)
        if ping is None or ping.sent is None:
            raise PeerError("transaction", "a reply to no ping")
        by = self.pathfinder.paths.find(answer_target(origin))
        word = by.word if by is not None else "direct" if origin.relay is None else "relay"
        remote = str(self._ends.unveil(origin).address) if origin.relay is None else ""
        self._context.events.append(PingReply(number, now - ping.sent, word, remote))

    def _send(self, message: Message, target: Target | None = None) -> bool:
        """Seals and sends a message one way, or by the paths that data takes; returns whether a session was there."""
        datagram = self.link.seal(build_message(message))
        if datagram is None:
            return False
        for each in (target,) if target is not None else self.pathfinder.paths.targets():
            self._context.send(datagram, each)
        return True

    def handle_check(self, message: Stun, data: bytes, origin: Origin, now: float) -> None:
        """Takes a check of the peer's; raises PeerError for the caller to count."""
        self.pathfinder.handle_check(message, data, origin, now)
        self._settle(now)

    def handle_check_answer(self, message: Stun, data: bytes, origin: Origin, now: float) -> None:
        """Takes the answer to a check of ours; raises PeerError for the caller to count."""
        if not self.pathfinder.negotiation.handle_seen(message, origin, now):
            self.pathfinder.handle_check_answer(message, data, origin, now)
        self._settle(now)

    # --- what the node and the data plane tell ---

    def handle_activity(self, activity: Activity, now: float) -> None:
        """Takes what the peer moved."""
        before, self.activity = self.activity, activity
        moved = before is None or (activity.rx_bytes, activity.tx_bytes) != (before.rx_bytes, before.tx_bytes)
        self.pathfinder.handle_activity(activity, moved=moved, now=now)
        if activity.session_packets > REKEY_PACKETS:
            self._start(now, force=True)
        self._settle(now)

    def handle_network_change(self, now: float) -> None:
        """Takes the news that our own addresses changed."""
        self.pathfinder.handle_network_change(now)
        self._settle(now)

    def handle_nat(self, now: float) -> None:
        """Takes the news that more is known of our NAT."""
        self.pathfinder.negotiation.handle_nat(now)
        self.pathfinder.inquiry.handle_nat(now)
        self._settle(now)

    def set_relay(self, via: int, target: Target, now: float) -> None:
        """Tells that supernode `via` relays to the peer by `target`."""
        self.pathfinder.set_relay(via, target)
        self._settle(now)

    def drop_relay(self, via: int, now: float) -> None:
        """Tells that supernode `via` does not know the peer, or us, any more."""
        self.pathfinder.drop_relay(via)
        self._settle(now)

    def handle_relay_silent(self, via: int, now: float) -> None:
        """Tells that supernode `via` does not answer."""
        self.pathfinder.handle_relay_silent(via)
        self._settle(now)

    # --- time ---

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        datagram = self.link.handle_timeout(now)
        if datagram is not None:
            self._send_handshake(datagram)
        rekey_at = self.link.rekey_at()
        if rekey_at is not None and now >= rekey_at and self.pathfinder.is_used(now):
            self._start(now, force=True)
        for number in [n for n, ping in self._pings.items() if now >= ping.asked + PING_LIFE_S]:
            del self._pings[number]
        if self._confirm_at is not None and now >= self._confirm_at:
            self._repeat_confirm(now)
        if self.link.sending is not None:
            self.pathfinder.handle_timeout(now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Brings data plane, events and timer in line with what the last input changed."""
        self._retire()
        if self._was_up and self.link.sending is None:
            self.pathfinder.disturb(now)  # Whatever was sure of the paths ends with the session.
        self._was_up = self.link.sending is not None
        self.pathfinder.settle(now)
        targets = self.pathfinder.paths.targets()
        if targets != self._targets:
            self._targets = targets
            self._context.commands.append(SetPath(self.handle, targets))
        self._send_pings(now)
        if self.path != self._shown:
            self._shown = self.path
            self._context.events.append(PathChanged(self.membership.community.name, self.key, self.name, *self._shown))
        self._schedule(now)

    def _retire(self) -> None:
        for index in self.link.dropped:
            self._context.commands.append(RetireSession(index))
        self.link.dropped.clear()

    def _send_pings(self, now: float) -> None:
        selected = self.pathfinder.paths.selected
        if self.link.sending is None or selected is None:
            return
        for number, ping in self._pings.items():
            if ping.sent is None and self._send(Probe(number), selected.target):
                ping.sent = now

    def _schedule(self, now: float) -> None:
        times: list[float | None] = [self.link.poll_timeout()]
        if self.link.sending is not None:
            times.append(self.pathfinder.poll_timeout(now))
        rekey_at = self.link.rekey_at()
        if self.pathfinder.is_used(now) and not self.link.is_shaking and rekey_at is not None:
            times.append(max(rekey_at, self._refused_until))
        times.append(self._confirm_at)
        times += [ping.asked + PING_LIFE_S for ping in self._pings.values()]
        at = min((t for t in times if t is not None), default=None)
        if at is None:
            self._context.timers.cancel(("peer", self))
        else:
            self._context.timers.set(("peer", self), at)

    # --- ends ---

    def _end(self, now: float) -> None:
        self.link.close()
        self.pathfinder.handle_end()
        self._settle(now)

    def close(self, now: float) -> None:
        """Says goodbye and forgets the keys."""
        self._send(Bye())
        self._end(now)
        self._context.timers.cancel(("peer", self))
