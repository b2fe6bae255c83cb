"""What a registry is: a store of claims and leases, which decides nothing but who was first.

    Claim   a community's name on this supernode belongs to one community key, until it expires
    Lease   an address of a community belongs to one node key, until it expires

Policy (which address to offer, what to refuse, in which words) lives in `ntvl.proto.leases`. A store only keeps two
promises, atomically, so that several supernodes may one day share one: a name has one key and a key one name; an
address has one node and a node one address. Wall-clock time is handed in. What has expired stays until somebody else
wants its place or `purge` is called, so a node that comes back late still finds its address where nobody took it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ntvl.errors import UsageError

__all__ = ["Claim", "Lease", "LeaseStore", "StoreError"]


class StoreError(UsageError):
    """Says in one sentence why the store cannot be used; at start it ends the program, later it costs one request."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Is a community as a supernode knows it.

    Attributes:
        name: 1..63 characters.
        key: the community's id, 32 bytes.
        subnet: the IPv4 network of its leases like "10.77.0.0/16", "" before the first lease.
        expires_at: seconds since the Unix epoch; from then on another key may have the name.
    """

    name: str
    key: bytes
    subnet: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Is an address that a node holds.

    Attributes:
        community: the community's id, 32 bytes.
        node: the node's public key, 32 bytes.
        address: an IPv4 literal in canonical text, without prefix length.
        name: the node's name when it leased, for people.
        expires_at: seconds since the Unix epoch.
    """

    community: bytes
    node: bytes
    address: str
    name: str
    expires_at: float


class LeaseStore(Protocol):
    """Is a store of claims and leases; every method may raise `StoreError`."""

    def claim_of_name(self, name: str) -> Claim | None:
        """Returns who has a name, expired or not."""

    def claim_of_key(self, key: bytes) -> Claim | None:
        """Returns what name a key has, expired or not."""

    def put_claim(self, claim: Claim, now: float) -> bool:
        """Writes a claim, new or changed, and returns whether it stands.

        It does not where another key holds the name, or the key another name, and that has not expired at `now`. An
        expired claim in the way goes, with its leases.
        """

    def lease_of(self, community: bytes, node: bytes) -> Lease | None:
        """Returns the lease of a node, expired or not."""

    def lease_at(self, community: bytes, address: str) -> Lease | None:
        """Returns the lease of an address, expired or not."""

    def put_lease(self, lease: Lease, now: float) -> bool:
        """Writes a lease, the node's only one from now on, and returns whether it stands.

        It does not where another node leases the address and that has not expired at `now`. An expired lease in the
        way goes.
        """

    def leases(self, community: bytes) -> list[Lease]:
        """Returns all leases of a community, expired or not, in no order."""

    def lease_count(self, community: bytes) -> int:
        """Returns how many leases a community has, expired or not."""

    def claim_count(self) -> int:
        """Returns how many claims there are, expired or not."""

    def extend(self, members: Iterable[tuple[bytes, bytes]], expires_at: float) -> None:
        """Moves the end of the leases of (community, node) pairs and of the communities' claims out to `expires_at`.

        Nothing ends earlier than before, so a clock that steps back takes nobody's address. Unknown pairs are fine.
        """

    def purge(self, before: float) -> None:
        """Deletes leases that expired before a time, and claims that did and have no lease left."""

    def close(self) -> None:
        """Ends the use of the store; closing twice is harmless."""
