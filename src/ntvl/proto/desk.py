"""Where registered nodes are served: registrations, keepalives, questions about members, and leaving.

What a message does to the node's own standing follows from the session that it came by: a session of an earlier run of
the node, or of a second machine with its key, is told "duplicate-node" and changes nothing. Where the node is follows
from its active session's latest message.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from ntvl.dataplane.interface import RelayMember, RemoveRelayMember
from ntvl.errors import REASONS, PeerError
from ntvl.identity.certificate import Certificate, parse_certificate
from ntvl.identity.keys import format_key
from ntvl.proto.announcer import Announcer
from ntvl.proto.bucket import TokenBucket
from ntvl.proto.clients import Client, Clients, Session
from ntvl.proto.directory import Directory, Resident
from ntvl.proto.leases import Leases
from ntvl.proto.machine import Wakeup, WallClock, earliest
from ntvl.proto.outbox import Outbox
from ntvl.proto.punches import Punches
from ntvl.proto.reception import network_of
from ntvl.proto.registrar import Registrar
from ntvl.proto.supernode_events import CommunityKnown, MemberJoined, MemberLeft, MemberMoved, Refusal, StoreFailed
from ntvl.registry.base import StoreError
from ntvl.wire.address import Address, Origin, Transmit, is_usable_target, parse_address
from ntvl.wire.control import (
    Found,
    Keepalive,
    KeepaliveReply,
    Leave,
    Left,
    Lookup,
    Message,
    PunchReply,
    PunchRequest,
    Refused,
    Register,
    Registered,
    RosterRequest,
    Unsupported,
    build_message,
)

__all__ = ["Desk"]

RENEW_S: Final = 3600.0
"""How often the leases of those who are there are put off."""
_REFUSALS_LOGGED: Final = (5.0, 50.0)
_DETAIL_CHARS_MAX: Final = 256


class Desk:
    """Serves nodes by their messages.

    Args:
        clients: who speaks with us.
        directory: who is registered.
        leases: the names and addresses.
        outbox: takes what there is to say.
        wall: seconds since the Unix epoch.
        keepalive_s: how often nodes are asked to come by.
        relay_rate_bps: what one node may send by the relay, 0 for no bound.
    """

    def __init__(
        self,
        clients: Clients,
        directory: Directory,
        leases: Leases,
        outbox: Outbox,
        *,
        wall: WallClock,
        keepalive_s: float,
        relay_rate_bps: int,
    ) -> None:
        self._clients = clients
        self._directory = directory
        self._leases = leases
        self._outbox = outbox
        self._wall = wall
        self._keepalive_s = keepalive_s
        self._relay_rate_bps = relay_rate_bps
        self._registrar = Registrar(leases, directory, wall)
        self._announcer = Announcer()
        self._punches = Punches()
        self._refusals_logged = TokenBucket(*_REFUSALS_LOGGED)
        self._renew_at: float | None = None

    def handle_message(self, session: Session, number: int, message: Message, origin: Origin, now: float) -> None:
        """Serves one message.

        Args:
            session: the one that it came under.
            number: its packet number there, to tell late ones.
            message: of any kind.
            origin: where it came from.
            now: machine's clock.
        Raises:
            PeerError: it makes no sense here; `StoreError`: the leases failed it.
        """
        try:
            self._handle_message(session, number, message, origin, now)
        finally:
            self._settle(now)

    def handle_timeout(self, now: float) -> None:
        """Lets go of who is silent, puts leases off, has news told."""
        gone = self._directory.expire(now)
        for resident in gone:
            self._part(resident, "silent", now)
        self._extend(gone)
        if self._renew_at is not None and now >= self._renew_at:
            self._renew_at = None
            self._extend(self._directory)
            self._purge()
        self._settle(now)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout` next."""
        return earliest(
            self._directory.poll_timeout(),
            self._announcer.poll_timeout(),
            Wakeup(self._renew_at, "lease-renewal") if self._renew_at is not None else None,
        )

    def poll_roster(self, now: float) -> Transmit | None:
        """Returns the next piece of news for a node, or None as long as their rate does not allow."""
        told = self._announcer.poll(now, self._can_tell)
        if told is None:
            return None
        resident, message = told
        client = self._clients.find(resident.node)
        assert client is not None
        assert client.active is not None
        assert client.address is not None
        return Transmit(client.active.channel.seal(message), client.address)

    def close(self) -> None:
        """Counts the leases of all who are there from now on."""
        self._extend(self._directory)

    def _handle_message(self, session: Session, number: int, message: Message, origin: Origin, now: float) -> None:
        match message:
            case Register():
                self._handle_register(session, number, message, origin, now)
            case Keepalive():
                self._handle_keepalive(session, number, message, origin, now)
            case Lookup():
                self._handle_lookup(session, message, origin)
            case RosterRequest():
                self._handle_roster_request(session, message, origin, now)
            case Leave():
                resident = session.client.residents.get(message.community)
                if resident is not None and not session.client.is_superseded(session):
                    self._directory.leave(resident)
                    self._part(resident, "left", now)
                    self._extend([resident])
                self._outbox.reply(session, Left(message.request, message.community), origin)
            case PunchRequest():
                self._handle_punch(session, message, origin, now)
            case Unsupported():
                pass
            case _:
                raise PeerError("type", type(message).__name__)
        self._follow(session, number, origin)

    # --- registration ---

    def _handle_register(self, session: Session, number: int, message: Register, origin: Origin, now: float) -> None:
        client = session.client
        session.incarnation = message.incarnation
        try:
            admission = self._registrar.register(message, client, network_of(origin.address), now)
        except PeerError as error:
            self._refuse(session, message, error, origin, now)
            return
        client.begin(message.incarnation)
        client.activate(session)
        resident = admission.resident
        self._clients.enlist(client, resident)
        self._follow(session, number, origin)
        if admission.is_first:
            self._outbox.tell(CommunityKnown(resident.hall.name, format_key(resident.hall.community)))
        if admission.is_new:
            self._command_relay(client, resident)
            self._announcer.welcome(resident, now)
            self._outbox.tell(
                MemberJoined(
                    resident.hall.name,
                    format_key(client.node),
                    resident.name,
                    admission.address,
                    str(client.address),
                )
            )
        elif admission.is_news:
            self._announcer.note_change(resident.hall, now)
        self._announcer.handle_timeout(now)
        self._outbox.reply(
            session,
            Registered(
                message.request,
                resident.hall.community,
                resident.relay_id,
                admission.address,
                origin.address.host,
                origin.address.port,
                resident.hall.roster.announced,
                self._wall(),
                self._keepalive_s,
            ),
            origin,
        )

    def _refuse(self, session: Session, message: Register, error: PeerError, origin: Origin, now: float) -> None:
        self._outbox.drops[error.reason] += 1
        claimed = _claims(message.certificate)
        community = claimed.community if claimed is not None else bytes(32)
        detail = error.detail[:_DETAIL_CHARS_MAX]
        self._outbox.reply(session, Refused(message.request, community, error.reason, detail, self._wall()), origin)
        if self._refusals_logged.take(now):
            self._outbox.tell(
                Refusal(
                    claimed.community_name if claimed is not None else "",
                    format_key(session.client.node),
                    claimed.name if claimed is not None else "",
                    error.reason,
                    detail,
                    str(origin.address),
                )
            )

    def _handle_keepalive(self, session: Session, number: int, message: Keepalive, origin: Origin, now: float) -> None:
        client = session.client
        session.incarnation = message.incarnation
        if client.is_superseded(session):
            self._outbox.drops["duplicate-node"] += 1
            for community, _ in message.communities:
                refused = Refused(0, community, "duplicate-node", REASONS["duplicate-node"], self._wall())
                self._outbox.reply(session, refused, origin)
            return
        versions: list[tuple[bytes, int]] = []
        unknown: list[bytes] = []
        if message.incarnation == client.incarnation:
            client.activate(session)
            self._follow(session, number, origin)
        for community, _ in message.communities:
            resident = client.residents.get(community)
            if resident is None or resident.incarnation != message.incarnation:
                unknown.append(community)
            else:
                self._directory.touch(resident, now)
                versions.append((community, resident.hall.roster.announced))
        host, port = origin.address
        reply = KeepaliveReply(message.request, host, port, self._wall(), tuple(versions), tuple(unknown))
        self._outbox.reply(session, reply, origin)

    def _follow(self, session: Session, number: int, origin: Origin) -> None:
        """Takes the address of a message for the node's present one, if no later message has come already."""
        client = session.client
        is_latest = number > session.newest
        session.newest = max(session.newest, number)
        if session is not client.active or not (is_latest or client.address is None):
            return
        if client.address == origin.address:
            return
        had_address = client.address is not None
        client.address = origin.address
        for resident in client.residents.values():
            self._command_relay(client, resident)
        if had_address and client.residents:
            name = next(iter(client.residents.values())).name
            self._outbox.tell(MemberMoved(format_key(client.node), name, str(origin.address)))

    def _command_relay(self, client: Client, resident: Resident) -> None:
        if client.address is not None:
            host, port = client.address
            number = resident.hall.number
            self._outbox.commands.append(RelayMember(resident.relay_id, number, host, port, self._relay_rate_bps))

    def _part(self, resident: Resident, reason: str, now: float) -> None:
        """Follows up on a resident that the directory has let go."""
        client = self._clients.find(resident.node)
        if client is not None:
            self._clients.discharge(client, resident.hall.community)
        self._announcer.note_departure(resident, now)
        self._outbox.commands.append(RemoveRelayMember(resident.relay_id))
        self._outbox.tell(MemberLeft(resident.hall.name, format_key(resident.node), resident.name, reason))

    # --- questions ---

    def _handle_lookup(self, session: Session, message: Lookup, origin: Origin) -> None:
        resident = session.client.residents.get(message.community)
        if resident is None:
            self._outbox.drops["not-a-member"] += 1
            detail = "only a registered member of a community may ask about it"
            refused = Refused(message.request, message.community, "not-a-member", detail, self._wall())
            self._outbox.reply(session, refused, origin)
            return
        found = resident.hall.find(message.by, message.value)
        self._outbox.reply(session, _fit(message, found), origin)

    def _handle_roster_request(self, session: Session, message: RosterRequest, origin: Origin, now: float) -> None:
        client = session.client
        resident = client.residents.get(message.community)
        if resident is None or client.is_superseded(session):
            raise PeerError("not-a-member", "roster")
        answer = self._announcer.request(resident, message.since, now)
        if answer is not None:
            self._outbox.send(session.channel.seal(answer), origin)

    def _handle_punch(self, session: Session, message: PunchRequest, origin: Origin, now: float) -> None:
        """Gives leave for a heavy punch, one at a time behind each public address."""
        client = session.client
        resident = client.residents.get(message.community)
        if resident is None or client.is_superseded(session):
            raise PeerError("not-a-member", "punch")
        holder = (client.node, message.peer)
        if message.done:
            self._punches.give_back(holder)
            return
        peer = self._clients.find(message.peer)
        known = peer is not None and message.community in peer.residents
        both = [client.address, peer.address if peer is not None and known else None]
        seen = {_place_of(address) for address in both if address is not None}
        named = [parse_address(host, 1) for host in message.hosts]
        claimed = dict.fromkeys(address.host for address in named if not address.is_ipv6 and is_usable_target(address))
        wait_s = self._punches.take(seen, holder, now, claimed=claimed)
        self._outbox.reply(session, PunchReply(message.request, wait_s), origin)

    def _can_tell(self, resident: Resident) -> bool:
        client = self._clients.find(resident.node)
        return client is not None and client.active is not None and client.address is not None

    def _settle(self, now: float) -> None:
        self._announcer.handle_timeout(now)
        if self._renew_at is None and len(self._directory):
            self._renew_at = now + RENEW_S

    # --- leases ---

    def _extend(self, residents: Iterable[Resident]) -> None:
        pairs = [resident.key for resident in residents]
        if pairs:
            with self._reporting():
                self._leases.extend(pairs, self._wall())

    def _purge(self) -> None:
        with self._reporting():
            self._leases.purge(self._wall())

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turns a failure of the store into a fact for the log, where no request waits for it."""
        try:
            yield
        except StoreError as error:
            self._outbox.tell(StoreFailed(str(error)))


def _place_of(address: Address) -> str:
    """Returns what stands for the router before an address: that of IPv4 itself, the network of an IPv6 one."""
    return network_of(address).hex() if address.is_ipv6 else address.host


def _claims(certificate: bytes) -> Certificate | None:
    try:
        return parse_certificate(certificate)
    except PeerError:
        return None


def _fit(message: Lookup, found: list[Resident]) -> Found:
    """Returns the answer to a lookup: the first one's certificate, and as many members as fit beside it."""
    members = tuple(resident.as_member() for resident in found)
    for certificate in (found[0].certificate, b"") if found else ():
        for count in range(len(members), 0, -1):
            answer = Found(message.request, message.community, members[:count], certificate)
            try:
                build_message(answer)
            except ValueError:
                continue
            return answer
    return Found(message.request, message.community)
