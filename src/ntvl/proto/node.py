"""A node: its registrations at supernodes, its communities, its peers, behind the verbs of every machine.

The node routes what comes in to whom it concerns and holds what they share; each part decides for itself.

    STUN                  by user name or transaction id -> peer
    INITIATION            opened by the listener (cookies, replays), certificate verified -> peer
    RESPONSE, COOKIE      by receiver index -> peer or registration
    CONTROL               by receiver index -> peer or registration; unknown index: RESET back, within a rate
    RESET, KEY_REPLY      -> registration or peer, as hints
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from ntvl.dataplane.interface import (
    Activity,
    Command,
    Counters,
    DeviceOpened,
    Event,
    OpenDevice,
    SetAddresses,
    SocketOpened,
    Target,
    UnknownSender,
    Wanted,
)
from ntvl.errors import PeerError
from ntvl.identity.certificate import verify_certificate
from ntvl.identity.keys import format_key, short_id
from ntvl.proto.admission import cookie_source
from ntvl.proto.checks import HANDLE_BYTES
from ntvl.proto.context import Context
from ntvl.proto.events import AddressAssigned, NodeEvent, Notice
from ntvl.proto.explanation import Explainer
from ntvl.proto.handshake import Listener, handshake_index
from ntvl.proto.leave import Leave
from ntvl.proto.machine import Random, Wakeup, WallClock
from ntvl.proto.membership import Membership
from ntvl.proto.path import answer_target
from ntvl.proto.peer import Peer
from ntvl.proto.registration import Registration
from ntvl.proto.roll import Roll
from ntvl.proto.settings import NodeSettings
from ntvl.proto.sockets import Sockets
from ntvl.proto.status import community_status, supernode_status
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.text import explain, printable
from ntvl.proto.whereabouts import Whereabouts
from ntvl.wire.address import Address, Origin, Relay, Transmit
from ntvl.wire.control import PunchReply, Roster
from ntvl.wire.header import CONTROL_BYTES_MAX, Kind, is_stun, parse_header
from ntvl.wire.service import build_reset, parse_reset
from ntvl.wire.stun import Stun, StunClass, parse_stun

__all__ = ["Node"]

RENEW_CHECK_S: Final = 60.0
RESETS_PER_S: Final = 10
TIDY_S: Final = 30.0
NETWORK_SETTLE_S: Final = 0.3
"""After a change of our addresses, the wait for the supernodes' view of them before peers hear new candidates."""


class Node:
    """Is the sans-IO node.

    Args:
        settings: who we are and where the supernodes are.
        random: for keys, indices, jitter.
        wall: for certificates.
    """

    def __init__(self, settings: NodeSettings, *, random: Random, wall: WallClock) -> None:
        self.settings = settings
        self._context = Context(random, wall)
        self._listener = Listener(settings.key, random, aes=settings.aes)
        self._memberships = [Membership(c, settings.key.public, settings.name, wall) for c in settings.communities]
        self._resets: tuple[int, int] = (0, 0)
        self._plane_drops: dict[str, int] = {}
        self._device_names = {m.settings.device: m.settings.device_name for m in self._memberships}
        self._offloads: dict[int, tuple[str, ...]] = {}
        self._refused: set[tuple[bytes, str]] = set()
        self._surroundings = Surroundings(
            settings.key,
            aes=settings.aes,
            direct=settings.direct,
            tie_breaker=int.from_bytes(random(8), "big"),
            sockets=Sockets(self._context),
            overlay=tuple(network for m in self._memberships for network in m.overlay),
            candidates=lambda: self._whereabouts.candidates(),
            server=lambda: self._whereabouts.server(),
            leave=Leave(self._context, self._punch_supernode),
            guesses=settings.guesses,
            refresh=self._refresh,
            tell=self._context.events.append,
            stream_servers=lambda: self._whereabouts.servers(),
            is_connected=lambda: any(registration.is_reachable() for registration in self._registrations),
            url=lambda via: str(settings.supernodes[via]),
        )
        self._registrations = [
            Registration(self._context, settings, self, via=via, memberships=self._memberships)
            for via in range(len(settings.supernodes))
        ]
        self._roll = Roll(self._context, self._surroundings, self._memberships, relay_target=self._relay_target)
        self.explainer = Explainer(self._context, self._surroundings, self._roll)
        self._whereabouts = Whereabouts(
            self._context,
            self._surroundings,
            port=settings.port,
            registrations=self._registrations,
            on_nat=self._handle_nat,
        )
        for membership in self._memberships:
            s = membership.settings
            self._context.commands.append(OpenDevice(s.device, s.device_name, membership.mac, s.mtu))
            if s.lease != "auto":
                self._assign(membership)

    # --- verbs ---

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes one control datagram; whatever is wrong with it is counted, never raised."""
        try:
            self._route(data, origin, now)
        except PeerError as error:
            self._context.count(error.reason)

    def handle_plane_event(self, event: Event, now: float) -> None:
        """Takes the data plane's news."""
        match event:
            case Wanted(peer=handle):
                found = self._roll.find(handle)
                if found is not None:
                    self._roll.peer(*found, now).handle_wanted(now)
            case Activity(peer=handle):
                peer = self._roll.find_peer(handle)
                if peer is not None:
                    peer.handle_activity(event, now)
            case SocketOpened(socket=number, port=port):
                self._whereabouts.handle_socket(number, port, now)
            case UnknownSender(index=index) if index:
                relay = None if event.relay is None else Relay(*event.relay)
                self._reset(index, Origin(Address(event.host, event.port), event.socket, relay), now)
            case Counters(drops=drops):
                self._plane_drops = drops
            case DeviceOpened():
                self._device_names[event.device] = event.name
                self._offloads[event.device] = event.offloads
                for membership in self._memberships:
                    if membership.settings.device == event.device and (
                        membership.address or membership.settings.lease != "auto"
                    ):
                        self._assign(membership)

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        for key in self._context.timers.due(now):
            match key:
                case ("peer", Peer() as peer):
                    peer.handle_timeout(now)
                case ("supernode", Registration() as registration):
                    registration.handle_timeout(now)
                case ("renew",):
                    self._renew(now)
                case ("tidy",):
                    self._roll.tidy(now)
                    self._context.timers.set(("tidy",), now + TIDY_S)
                case ("nat",):
                    self._whereabouts.handle_nat_timeout(now)
                case ("lifetime",):
                    self._whereabouts.handle_lifetime_timeout(now)
                case ("network",):
                    self._network_changed(now)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when `handle_timeout` has something to do."""
        return self._context.timers.next()

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send."""
        return self._context.transmits.popleft() if self._context.transmits else None

    def poll_command(self) -> Command | None:
        """Returns the next command for the data plane."""
        return self._context.commands.popleft() if self._context.commands else None

    def poll_event(self) -> NodeEvent | None:
        """Returns the next event for the runtime."""
        return self._context.events.popleft() if self._context.events else None

    # --- what the runtime tells ---

    def handle_interfaces(self, hosts: Sequence[str], now: float) -> None:
        """Takes this machine's addresses (literals, the overlay's own excluded), at the start and after each change."""
        if self._whereabouts.handle_interfaces(hosts, now):
            self._refresh(now, moved=True)
            self._context.timers.set(("network",), now + NETWORK_SETTLE_S)

    def handle_mappings(self, mappings: Sequence[Address], now: float) -> None:
        """Takes at which addresses gateways let others in to our main port; who has no direct path yet is told."""
        before, self._surroundings.mappings = self._surroundings.mappings, tuple(mappings)
        for peer in self._roll.peers() if self._surroundings.mappings != before else ():
            if not peer.pathfinder.is_direct:
                peer.handle_network_change(now)  # An attempt under way knows nothing of them: a new one begins.

    def handle_turn(self, relayed: Address | None, now: float) -> None:
        """Takes which address our TURN server lends us, None for none; who has no direct path yet is told."""
        for peer in self._roll.peers() if self._surroundings.turn.handle_allocation(relayed) else ():
            if not peer.pathfinder.is_direct:
                peer.handle_network_change(now)

    def handle_turn_carrier(self, peer: Address, carrier: Address | None, now: float) -> None:
        """Takes by which loopback address a peer's address is reached through our TURN server, None for no more."""
        self._surroundings.turn.handle_carrier(peer, carrier)

    def handle_dial_port(self, number: int, port: int, observed: Address | None, now: float) -> None:
        """Takes the answer to `DialPortWanted`: our TCP port, 0 for none, and as which address a supernode sees it."""
        self._surroundings.streams.handle_port(number, port, observed, now)

    def handle_stream(self, number: int, remote: Address, carrier: Address, now: float) -> None:
        """Takes a TCP connection to a peer that dialling `number` has opened, and its carrier's loopback address."""
        self._surroundings.streams.handle_stream(number, remote, carrier, now)

    def handle_stream_end(self, carrier: Address, now: float) -> None:
        """Takes the news that such a connection has broken."""
        self._surroundings.streams.handle_end(carrier, now)

    def handle_supernode_address(self, url_index: int, addresses: Sequence[Address], now: float) -> None:
        """Takes what a supernode's name resolves to, none where it does not; again whenever that may have changed."""
        self._registrations[url_index].handle_addresses(tuple(addresses), now)
        self._whereabouts.look_again(now)
        self._context.timers.set_earlier(("renew",), now + RENEW_CHECK_S)
        self._context.timers.set_earlier(("tidy",), now + TIDY_S)

    def handle_network(self, ways: Sequence[str], now: float) -> None:
        """Takes what carried to each supernode last on the network where we are; see `Registration.handle_network`."""
        for registration, way in zip(self._registrations, ways, strict=True):
            registration.handle_network(way, now)

    def handle_carrier(self, url_index: int, kind: str, address: Address | None, now: float) -> None:
        """Takes what became of a `CarrierWanted`: open at a loopback address, or (None) failed or broken."""
        self._registrations[url_index].handle_carrier(kind, address, now)

    def ping(self, community: str, key: bytes, now: float) -> int | None:
        """Probes a member by its path of now; returns an id for the `PingReply`, or None where nobody has that key."""
        found = self._roll.find_key(community, key)
        if found is not None:
            number = int.from_bytes(self._context.random(7), "big") | 1
            self._roll.peer(*found, now).ping(number, now)
            return number
        return None

    def close(self, now: float) -> None:
        """Says goodbye to peers and supernodes; the caller sends what `poll_transmit` still has and ends."""
        for peer in self._roll.peers():
            peer.close(now)
        for registration in self._registrations:
            registration.close()

    # --- routing ---

    def _route(self, data: bytes, origin: Origin, now: float) -> None:
        if not data:
            raise PeerError("short")
        if len(data) > CONTROL_BYTES_MAX:
            raise PeerError("long")
        if self._whereabouts.handle_datagram(data, origin, now):
            return
        if is_stun(data):
            self._handle_stun(data, origin, now)
            return
        kind = data[0]
        if kind == Kind.CONTROL:
            self._handle_control(data, origin, now)
        elif kind == Kind.INITIATION:
            self._handle_initiation(data, origin, now)
        elif kind in (Kind.RESPONSE, Kind.COOKIE):
            owner = self._context.indices.find(handshake_index(data))
            if not isinstance(owner, Peer | Registration):
                raise PeerError("unknown-session")
            if kind == Kind.COOKIE:
                owner.handle_cookie(data, now)
            else:
                owner.handle_response(data, origin, now)
        elif kind == Kind.RESET:
            self._handle_reset(data, origin, now)
        elif kind == Kind.KEY_REPLY:
            # By nonce, not by address: a server with several answers from the one that its routing prefers.
            for registration in self._registrations:
                if registration.question.expects(data):
                    registration.handle_key_reply(data, now)
                    return
            raise PeerError("transaction")
        else:
            raise PeerError("type")

    def _handle_stun(self, data: bytes, origin: Origin, now: float) -> None:
        message = parse_stun(data)
        if message.cls is StunClass.REQUEST:
            ufrag = (message.username or "").partition(":")[0]
            peer = self._roll.find_ufrag(ufrag)
            if peer is None or origin.relay is not None:
                raise PeerError("integrity", "a check for nobody here")
            peer.handle_check(message, data, origin, now)
        elif message.cls in (StunClass.SUCCESS, StunClass.ERROR):
            self._peer_of(message).handle_check_answer(message, data, origin, now)
        # An indication asks for nothing: it is a peer's opener, or some agent's keepalive (RFC 8445 section 11).

    def _peer_of(self, message: Stun) -> Peer:
        peer = self._roll.find_peer(int.from_bytes(message.transaction[:HANDLE_BYTES], "big"))
        if peer is None:
            raise PeerError("transaction")
        return peer

    def _handle_control(self, data: bytes, origin: Origin, now: float) -> None:
        _, index, _ = parse_header(data)
        owner = self._context.indices.find(index)
        if isinstance(owner, Peer | Registration):
            owner.handle_control(data, index, origin, now)
        else:
            self._reset(index, origin, now)
            raise PeerError("unknown-session")

    def _handle_initiation(self, data: bytes, origin: Origin, now: float) -> None:
        received = self._listener.handle_initiation(data, cookie_source(origin), now)
        if isinstance(received, bytes):
            self._context.count("under-load")
            self._context.send(received, answer_target(origin))
            return
        try:
            if not received.has_psk:
                raise PeerError("type", "this is a node, not a supernode")
            certificate = verify_certificate(received.payload, wall_time=self._context.wall(), node=received.remote)
            if certificate.community not in self._roll or received.remote == self.settings.key.public:
                raise PeerError("unknown-community")
        except PeerError as error:
            self._note_refused(received.remote, error)
            raise
        members = self._roll.members(certificate.community)
        entry = members.find(received.remote)
        if entry is None:
            entry = self._roll.add(members, received.remote, certificate.name, certificate.addresses)
        peer = self._roll.peer(members, entry, now)
        if origin.relay is not None:
            for via, registration in enumerate(self._registrations):
                if registration.address == origin.address and via not in entry.relay_ids:
                    # Not in the entry: only a roster makes a member, and only a roster takes it away.
                    peer.set_relay(via, answer_target(origin), now)
        peer.handle_initiation(received, certificate, origin, now)

    def _note_refused(self, key: bytes, error: PeerError) -> None:
        """Says once why a peer whose handshake opened was refused: for people, since it knows our key."""
        if (key, error.reason) not in self._refused and len(self._refused) < 1000:
            self._refused.add((key, error.reason))
            text = f"a handshake of node {short_id(key)} was refused: {explain(error)}"
            self._context.events.append(Notice("warning", error.reason, text))

    def _handle_reset(self, data: bytes, origin: Origin, now: float) -> None:
        index = parse_reset(data)
        if origin.relay is None:
            for registration in self._registrations:
                if registration.address == origin.address:
                    registration.handle_reset(index, now)
                    return
        peer = self._roll.find_session(index)
        if peer is not None:
            peer.handle_reset(now)
            return
        raise PeerError("unknown-session")

    def _reset(self, index: int, origin: Origin, now: float) -> None:
        """Hints to the sender that we know no such session; never more than `RESETS_PER_S`."""
        second, count = self._resets
        count = count + 1 if second == int(now) else 1
        self._resets = (int(now), count)
        if count <= RESETS_PER_S:
            self._context.send(build_reset(index), answer_target(origin))

    def _relay_target(self, via: int, community: bytes, relay_id: int) -> Target | None:
        registration = self._registrations[via]
        ours = registration.relay_id(community)
        if ours is None or registration.address is None:
            return None
        return Target(registration.address.host, registration.address.port, 0, (relay_id, ours))

    # --- what registrations tell, and ask ---

    @property
    def hosts(self) -> tuple[str, ...]:
        """Returns this machine's addresses, none before they were told."""
        return self._whereabouts.hosts or ()

    def handle_registered(self, via: int, membership: Membership, address: str, now: float) -> None:
        """Takes a lease, and the relay id that lets this supernode's relay carry us."""
        if address and not membership.accepts(address):
            self._context.count("address-outside")
            host, subnet = self.settings.supernodes[via].host, membership.settings.subnet
            text = (
                f"supernode {host} leased {printable(address)!r}, which is no host's address in {subnet}: ignored; "
                "ask its owner, or name another --subnet"
            )
            self._context.events.append(Notice("error", "address-outside", text))
            address = ""
        leases = bool(address) and membership.settings.lease == "auto"
        if leases and not membership.address:
            membership.leased_via = via
        if leases and membership.leased_via == via and membership.address != address:
            membership.address = address  # Another than before, if its supernode gave ours to somebody else meanwhile.
            self._assign(membership)
            for registration in self._registrations:
                registration.renew(now)
        elif leases and address != membership.address:
            text = (
                f"supernode {self.settings.supernodes[via].host} would give {membership.community.name!r} the address "
                f"{address}, but this node holds {membership.address}: the supernodes do not share their leases"
            )
            self._context.events.append(Notice("warning", "address-taken", text))
        self._roll.handle_relays(via, membership.community.id, now)

    def handle_roster(self, via: int, membership: Membership, roster: Roster, now: float) -> None:
        """Takes joins and leaves."""
        ourselves = self.settings.key.public
        self._roll.handle_roster(via, membership.community.id, roster, ourselves=ourselves, now=now)

    def handle_roster_end(self, via: int, membership: Membership, now: float) -> None:
        """Takes the end of a full roster."""
        self._roll.handle_roster_end(via, membership.community.id, now)

    def handle_punch_reply(self, reply: PunchReply, now: float) -> None:
        """Takes a supernode's word on a heavy punch."""
        self._surroundings.leave.handle_reply(reply, now)

    def handle_supernode_lost(self, via: int, now: float) -> None:
        """Takes the news that a supernode is silent: its relays are the last resort."""
        for peer in self._roll.peers():
            peer.handle_relay_silent(via, now)

    def handle_observed(self, via: int, now: float) -> None:
        """Takes the news that a supernode sees us elsewhere: peers without a direct path try again."""
        if self._whereabouts.hosts is not None:
            self._context.timers.set_earlier(("network",), now + NETWORK_SETTLE_S)
            self._whereabouts.handle_observed(via, now)

    # --- addresses ---

    def _punch_supernode(self, community: bytes) -> Registration | None:
        """Returns the supernode that all members ask who have it: the one with the least key."""
        usable = (r for r in self._registrations if r.relay_id(community) is not None)
        return min(usable, key=lambda registration: registration.key or b"", default=None)

    def _handle_nat(self, now: float) -> None:
        for peer in self._roll.peers():
            peer.handle_nat(now)

    def _refresh(self, now: float, *, moved: bool = False) -> None:
        for registration in self._registrations:
            registration.refresh(now, moved=moved)

    def _network_changed(self, now: float) -> None:
        for peer in self._roll.peers():
            peer.handle_network_change(now)

    def _assign(self, membership: Membership) -> None:
        device, addresses = membership.settings.device, membership.addresses
        self._context.commands.append(SetAddresses(device, tuple(a.split("/")[0] for a in addresses)))
        self._context.events.append(AddressAssigned(device, addresses))

    def _renew(self, now: float) -> None:
        for registration in self._registrations:
            registration.renew(now)
        self._context.timers.set(("renew",), now + RENEW_CHECK_S)

    def status(self, now: float) -> dict[str, Any]:
        """Returns what `ntvl status --json` shows, but for the engine and the uptime, which the runtime knows."""
        drops = Counter(self._context.drops) + Counter(self._plane_drops) + self._surroundings.budget.drops
        return {
            "node": {
                "name": self.settings.name,
                "id": format_key(self.settings.key.public),
                "version": self.settings.version,
                "punch": self.settings.punch,
                "mapping_lifetime_s": self._whereabouts.mapping_lifetime_s,
                "keepalive_s": self._context.keepalive_s,
            },
            "communities": [
                community_status(m, self._device_names[m.settings.device], self._roll.members(m.community.id), now)
                for m in self._memberships
            ],
            "supernodes": [supernode_status(r) for r in self._registrations],
            "drops": dict(sorted(drops.items())),
        }
