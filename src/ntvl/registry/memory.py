"""The registry that forgets at exit: for the simulator and for tests."""

from collections.abc import Iterable
from dataclasses import replace

from ntvl.registry.base import Claim, Lease

__all__ = ["MemoryStore"]


class MemoryStore:
    """Is a `LeaseStore` in dictionaries."""

    def __init__(self) -> None:
        self._by_name: dict[str, Claim] = {}
        self._by_key: dict[bytes, Claim] = {}
        self._by_node: dict[bytes, dict[bytes, Lease]] = {}
        self._by_address: dict[bytes, dict[str, Lease]] = {}

    def claim_of_name(self, name: str) -> Claim | None:
        """See `LeaseStore`."""
        return self._by_name.get(name)

    def claim_of_key(self, key: bytes) -> Claim | None:
        """See `LeaseStore`."""
        return self._by_key.get(key)

    def put_claim(self, claim: Claim, now: float) -> bool:
        """See `LeaseStore`."""
        in_the_way = []
        for other in (self._by_name.get(claim.name), self._by_key.get(claim.key)):
            if other is not None and (other.name, other.key) != (claim.name, claim.key):
                if other.expires_at > now:
                    return False
                in_the_way.append(other)
        for other in in_the_way:
            self._remove_claim(other)
        self._by_name[claim.name] = self._by_key[claim.key] = claim
        return True

    def lease_of(self, community: bytes, node: bytes) -> Lease | None:
        """See `LeaseStore`."""
        return self._by_node.get(community, {}).get(node)

    def lease_at(self, community: bytes, address: str) -> Lease | None:
        """See `LeaseStore`."""
        return self._by_address.get(community, {}).get(address)

    def put_lease(self, lease: Lease, now: float) -> bool:
        """See `LeaseStore`."""
        holder = self.lease_at(lease.community, lease.address)
        if holder is not None and holder.node != lease.node:
            if holder.expires_at > now:
                return False
            self._remove_lease(holder)
        own = self.lease_of(lease.community, lease.node)
        if own is not None:
            self._remove_lease(own)
        self._by_node.setdefault(lease.community, {})[lease.node] = lease
        self._by_address.setdefault(lease.community, {})[lease.address] = lease
        return True

    def leases(self, community: bytes) -> list[Lease]:
        """See `LeaseStore`."""
        return list(self._by_node.get(community, {}).values())

    def lease_count(self, community: bytes) -> int:
        """See `LeaseStore`."""
        return len(self._by_node.get(community, {}))

    def claim_count(self) -> int:
        """See `LeaseStore`."""
        return len(self._by_name)

    def extend(self, members: Iterable[tuple[bytes, bytes]], expires_at: float) -> None:
        """See `LeaseStore`."""
        for community, node in members:
            claim = self._by_key.get(community)
            if claim is not None and claim.expires_at < expires_at:
                self._by_name[claim.name] = self._by_key[claim.key] = replace(claim, expires_at=expires_at)
            lease = self.lease_of(community, node)
            if lease is not None and lease.expires_at < expires_at:
                lease = replace(lease, expires_at=expires_at)
                self._by_node[community][node] = self._by_address[community][lease.address] = lease

    def purge(self, before: float) -> None:
        """See `LeaseStore`."""
        for leases in [*self._by_node.values()]:
            for lease in [*leases.values()]:
                if lease.expires_at < before:
                    self._remove_lease(lease)
        for claim in [*self._by_name.values()]:
            if claim.expires_at < before and not self._by_node.get(claim.key):
                self._remove_claim(claim)

    def close(self) -> None:
        """See `LeaseStore`."""

    def _remove_claim(self, claim: Claim) -> None:
        del self._by_name[claim.name], self._by_key[claim.key]
        self._by_node.pop(claim.key, None)
        self._by_address.pop(claim.key, None)

    def _remove_lease(self, lease: Lease) -> None:
        del self._by_node[lease.community][lease.node], self._by_address[lease.community][lease.address]
        if not self._by_node[lease.community]:
            del self._by_node[lease.community], self._by_address[lease.community]
