"""Judges a registration: certificate, name, room, address; and enters the node where all of it holds.

    incarnation      superseded: "duplicate-node"
    certificate      signed by its community, for the key that made the session, valid now
    name             the community's, here
    room             in the supernode, in the community, for the node
    address          leased, or none wanted

Each step costs more than the one before, and nothing is written before all of the cheaper ones have passed. What is
refused is a `PeerError` whose detail is a sentence for the person at the node.
"""

from typing import Final, NamedTuple

from ntvl.errors import REASONS, PeerError
from ntvl.identity.certificate import Certificate, parse_certificate, verify_certificate
from ntvl.identity.keys import derive_ipv6
from ntvl.proto.bucket import SourceBuckets
from ntvl.proto.clients import Client
from ntvl.proto.directory import Directory, Resident
from ntvl.proto.duration import format_duration
from ntvl.proto.leases import Leases
from ntvl.proto.machine import WallClock
from ntvl.wire.control import PROTOCOL_VERSION, Register

__all__ = ["CLIENT_COMMUNITIES_MAX", "Admission", "Registrar"]

CLIENT_COMMUNITIES_MAX: Final = 16
"""What a `Keepalive` can name."""
_NEW_COMMUNITY_RATE_PER_S: Final = 1 / 60
_NEW_COMMUNITY_BURST: Final = 10.0


class Admission(NamedTuple):
    """Is a registration that was granted.

    Attributes:
        resident: the node in its community.
        address: its lease, CIDR text, or "".
        is_new: it was not there before, or is there as another run of its program.
        is_news: the other members have something to hear.
        is_first: nobody had the community's name here before.
    """

    resident: Resident
    address: str
    is_new: bool
    is_news: bool
    is_first: bool


class Registrar:
    """Admits nodes to the directory.

    Args:
        leases: grants names and addresses.
        directory: where the node is entered.
        wall: judges certificates.
    """

    def __init__(self, leases: Leases, directory: Directory, wall: WallClock) -> None:
        self._leases = leases
        self._directory = directory
        self._wall = wall
        self._founders = SourceBuckets(_NEW_COMMUNITY_RATE_PER_S, _NEW_COMMUNITY_BURST)

    def register(self, message: Register, client: Client, source: bytes, now: float) -> Admission:
        """Returns the admission of a client.

        Args:
            message: what its node asks for, under a session with that node's key.
            client: who asks.
            source: names the network that it asks from, the same bytes for the same.
            now: machine's clock.
        Raises:
            PeerError: refused; `detail` is never empty.
            StoreError: the leases cannot be read or written.
        """
        try:
            return self._register(message, client, source, now)
        except PeerError as error:
            if error.detail:
                raise
            raise PeerError(error.reason, REASONS[error.reason]) from error

    def _register(self, message: Register, client: Client, source: bytes, now: float) -> Admission:
        if message.version != PROTOCOL_VERSION:
            raise PeerError(
                "version", f"the supernode speaks version {PROTOCOL_VERSION} of the protocol, not {message.version}"
            )
        if message.incarnation in client.superseded:
            raise PeerError(
                "duplicate-node",
                "another program with this node's key registered later: give each computer its own state directory",
            )
        wall = self._wall()
        certificate = _verify(message.certificate, client.node, wall)
        community, name = certificate.community, certificate.community_name
        if community not in client.residents and len(client.residents) >= CLIENT_COMMUNITIES_MAX:
            raise PeerError("queue-full", f"a node may be in {CLIENT_COMMUNITIES_MAX} communities at a supernode")
        self._directory.check_room(community, client.node)
        is_first = not self._leases.knows(name, community)
        claim = self._leases.admit(
            name,
            community,
            wall=wall,
            is_live=self._has_members,
            may_found=lambda: self._founders.take(source, now),
        )
        address = self._leases.grant(
            claim,
            client.node,
            certificate.name,
            lease=message.lease,
            address=message.address,
            subnet=message.subnet,
            wall=wall,
            live=lambda node: self._directory.find(community, node) is not None,
        )
        known = self._directory.find(community, client.node)
        is_new = known is None or known.incarnation != message.incarnation
        resident, is_news = self._directory.enter(
            community,
            name,
            client.node,
            name=certificate.name,
            mac=certificate.mac,
            addresses=_choose_addresses(certificate, address),
            certificate=message.certificate,
            now=now,
        )
        resident.incarnation = message.incarnation
        return Admission(resident, address, is_new, is_news, is_first)

    def _has_members(self, community: bytes) -> bool:
        return self._directory.hall(community) is not None


def _verify(data: bytes, node: bytes, wall: float) -> Certificate:
    try:
        return verify_certificate(data, wall_time=wall, node=node)
    except PeerError as error:
        if error.reason not in ("certificate-not-yet-valid", "certificate-expired"):
            raise PeerError(error.reason, REASONS[error.reason]) from error
        raise PeerError(error.reason, _describe_times(data, wall)) from error


def _describe_times(data: bytes, wall: float) -> str:
    """Returns by how much the time here misses a certificate's; its signature has been verified."""
    certificate = parse_certificate(data)
    if wall < certificate.not_before:
        return (
            f"the certificate begins {format_duration(certificate.not_before - wall)} after the supernode's time: the "
            "two clocks differ by that much or more; set the one that is wrong"
        )
    return (
        f"the certificate ended {format_duration(wall - certificate.not_after)} before the supernode's time: the two "
        "clocks differ by that much or more, or it needs a new one"
    )


def _choose_addresses(certificate: Certificate, leased: str) -> tuple[str, ...]:
    """Returns what the roster shows: what follows from a lease or from the keys, so that no two nodes share."""
    derived = derive_ipv6(certificate.community, certificate.mac)
    shown = (leased,) if leased else ()
    return (*shown, derived) if derived in certificate.addresses else shown
