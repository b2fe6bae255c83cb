"""Programs that mean ill: a supernode that lies, and nodes that are not members.

They speak the protocol from its messages alone and share nothing with the honest supernode.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from ntvl.errors import PeerError
from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Established, Initiation, Listener
from ntvl.sim.host import Host
from ntvl.wire.address import Address, Relay
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Leave,
    Left,
    Member,
    Register,
    Registered,
    Roster,
    RosterRequest,
    build_message,
    parse_message,
)
from ntvl.wire.header import RELAY_HEADER_BYTES, Kind, build_relay, parse_header, parse_relay


class Guest:
    """Is a registered node as the lying supernode sees it."""

    def __init__(self, key: bytes, channel: Channel, address: Address, relay_id: int) -> None:
        self.key = key
        self.channel = channel
        self.address = address
        self.relay_id = relay_id
        self.certificate = b""
        self.lease = ""
        self.shown: set[bytes] = set()
        """The members that it was told of."""


class LyingSupernode:
    """Registers and relays like an honest one, but shows each guest whatever `roster` returns.

    `inbox` takes what is relayed to ids that belong to no guest: (the sender's relay id, the datagram).
    """

    def __init__(self, host: Host, random: Random, community: Community) -> None:
        self.host = host
        self.key = NodeKey.generate(random.randbytes)
        self.community = community.id
        self.guests: dict[bytes, Guest] = {}
        self.relayed: list[bytes] = []
        self.roster: Callable[[Guest], list[Member]] = self.honest_roster
        self.inbox: dict[int, Callable[[int, bytes], None]] = {}
        self._random = random
        self._listener = Listener(self.key, random.randbytes, aes=True)
        self._by_index: dict[int, Guest] = {}
        self._version = 1
        host.program = self

    @property
    def url(self) -> SupernodeUrl:
        return SupernodeUrl(self.host.addresses[0], self.host.ports[0], self.key.public)

    @property
    def address(self) -> Address:
        return Address(self.host.addresses[0], self.host.ports[0])

    def guest(self, key: bytes) -> Guest:
        return self.guests[key]

    def honest_roster(self, guest: Guest) -> list[Member]:
        return [
            Member(g.key, g.relay_id, "member", (g.lease,))
            for g in self.guests.values()
            if g.certificate and g is not guest
        ]

    def tell_rosters(self) -> None:
        """Shows everybody what changed in what it wants them to see."""
        before = self._version
        self._version += 1
        for guest in self.guests.values():
            if guest.certificate:
                self._show(guest, before)

    def relay_to(self, guest: Guest, source: int, datagram: bytes) -> None:
        """Hands a guest a datagram as if the member `source` had sent it."""
        self.host.send(build_relay(Relay(guest.relay_id, source), datagram), guest.address)

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        try:
            if data[0] == Kind.RELAY:
                self._handle_relay(data)
            elif data[0] == Kind.INITIATION:
                self._handle_initiation(data, source)
            elif data[0] == Kind.CONTROL:
                self._handle_control(data, source)
        except PeerError:
            pass

    def handle_wake(self) -> None:
        pass

    def handle_interfaces(self) -> None:
        pass

    def _handle_relay(self, data: bytes) -> None:
        self.relayed.append(data)
        relay = parse_relay(data)
        for guest in self.guests.values():
            if guest.relay_id == relay.target:
                self.host.send(data, guest.address)
        if relay.target in self.inbox:
            self.inbox[relay.target](relay.source, data[RELAY_HEADER_BYTES:])

    def _handle_initiation(self, data: bytes, source: Address) -> None:
        received = self._listener.handle_initiation(data, str(source).encode(), self.host.now)
        assert not isinstance(received, bytes)
        index = self._random.getrandbits(32)
        response, established = received.respond(psk=None, payload=b"", index=index)
        known = self.guests.get(received.remote)
        relay_id = known.relay_id if known is not None else 1 + len(self.guests)
        guest = Guest(received.remote, Channel(established.keys), source, relay_id)
        if known is not None:
            guest.certificate, guest.lease = known.certificate, known.lease
        self.guests[received.remote] = self._by_index[index] = guest
        self.host.send(response, source)

    def _handle_control(self, data: bytes, source: Address) -> None:
        guest = self._by_index.get(parse_header(data)[1])
        if guest is None:
            return
        message = parse_message(guest.channel.open(data))
        guest.address = source
        now = self.host.wall()
        if isinstance(message, Register):
            news = guest.certificate == b""
            guest.certificate = message.certificate
            guest.lease = message.address or f"10.77.0.{guest.relay_id}/16"
            self._say(
                guest,
                Registered(message.request, self.community, guest.relay_id, guest.lease, *source, self._version, now),
            )
            if news:
                self.tell_rosters()
        elif isinstance(message, Keepalive):
            versions = ((self.community, self._version),)
            self._say(guest, KeepaliveReply(message.request, *source, now, versions))
        elif isinstance(message, RosterRequest):
            self._show(guest, message.since)
        elif isinstance(message, Leave):
            self._say(guest, Left(message.request, self.community))

    def _show(self, guest: Guest, since: int) -> None:
        members = tuple(self.roster(guest))
        gone = guest.shown - {member.node for member in members}
        guest.shown = {member.node for member in members}
        self._say(guest, Roster(self.community, since, self._version, members, tuple(gone)))

    def _say(self, guest: Guest, message: Registered | KeepaliveReply | Roster | Left) -> None:
        self.host.send(guest.channel.seal(build_message(message)), guest.address)


class Impostor:
    """Is a node that no community key vouches for, behind a relay id of a lying supernode.

    Args:
        psk: the community's, for one who got hold of it, or anything.
        certificate: what it shows, given its own key.
    """

    RELAY_ID = 666

    def __init__(
        self, supernode: LyingSupernode, random: Random, *, psk: bytes, certificate: Callable[[bytes], bytes]
    ) -> None:
        self.key = NodeKey.generate(random.randbytes)
        self.certificate = certificate(self.key.public)
        self.supernode = supernode
        self.psk = psk
        self.sessions: list[Established] = []
        """What it could agree on with members that answered it."""
        self.got: list[bytes] = []
        """Everything that came for it."""
        self._random = random
        self._listener = Listener(self.key, random.randbytes, aes=True)
        self._initiations: list[Initiation] = []
        supernode.inbox[self.RELAY_ID] = self.handle

    @property
    def kinds(self) -> set[int]:
        """Returns the first bytes of what came for it."""
        return {datagram[0] for datagram in self.got}

    def member(self, address: str) -> Member:
        """Returns the roster entry under which it is shown."""
        return Member(self.key.public, self.RELAY_ID, "impostor", (address,))

    def initiate(self, guest: Guest) -> None:
        """Tries to open a session with a member."""
        attempt = Initiation(
            self.key,
            guest.key,
            psk=self.psk,
            payload=self.certificate,
            aes=True,
            index=self._random.getrandbits(32),
            random=self._random.randbytes,
        )
        self._initiations.append(attempt)
        self.supernode.relay_to(guest, self.RELAY_ID, attempt.datagram)

    def handle(self, source: int, datagram: bytes) -> None:
        """Takes what was relayed to it: answers initiations, and tries to finish its own."""
        self.got.append(datagram)
        if datagram[0] == Kind.INITIATION:
            received = self._listener.handle_initiation(datagram, b"", self.supernode.host.now)
            assert not isinstance(received, bytes)
            index = self._random.getrandbits(32)
            response, established = received.respond(psk=self.psk, payload=self.certificate, index=index)
            self.sessions.append(established)
            guest = next(g for g in self.supernode.guests.values() if g.relay_id == source)
            self.supernode.relay_to(guest, self.RELAY_ID, response)
        elif datagram[0] == Kind.RESPONSE:
            for attempt in self._initiations:
                try:
                    self.sessions.append(attempt.handle_response(datagram))
                except PeerError:
                    continue


def foreign(random: Random, name: str, address: str) -> Callable[[bytes], bytes]:
    """Returns a maker of certificates that are in order, but of another community of the same name."""
    own = Community.from_seed("home", random.randbytes(32))
    return lambda key: issue_certificate(own, node=key, name=name, addresses=(address,), not_before=0, not_after=2**32)


def forged(random: Random, victim: Community, name: str, address: str) -> Callable[[bytes], bytes]:
    """Returns a maker of certificates that name the true community, but that another key signed."""
    own = Community.from_seed("home", random.randbytes(32))
    lie = replace(victim, signing_key=own.signing_key)
    return lambda key: issue_certificate(lie, node=key, name=name, addresses=(address,), not_before=0, not_after=2**32)
