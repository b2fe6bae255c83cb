"""Whose a MAC is: the forwarding table of one device.

A MAC is a peer's by certificate, by the supernode's claim, or because frames with it came from there (a peer may
bridge). The first outranks the second, the second the third. What was learned ages, moves only so often, and is
bounded; what is certified is never learned against, and frames that claim it for another peer are dropped. The same
holds for addresses, and for our own.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Generic, TypeVar

from ntvl.wire.ethernet import is_group

__all__ = ["LEARNED_AGE_S", "LEARNED_MAX", "MOVES_MAX", "MOVES_WITHIN_S", "Table", "pack_addresses"]

LEARNED_AGE_S: Final = 300.0
LEARNED_MAX: Final = 4096
VOUCHED_MAX: Final = 1024
MOVES_MAX: Final = 5
"""So often a learned MAC may change its peer within `MOVES_WITHIN_S`; after that it stays where it is."""
MOVES_WITHIN_S: Final = 60.0

P = TypeVar("P")


class _Learned(Generic[P]):
    __slots__ = ("moves", "peer", "seen", "since")

    def __init__(self, peer: P, now: float) -> None:
        self.peer = peer
        self.seen = now
        self.since = now
        self.moves = 0


class Table(Generic[P]):
    """Maps MACs and addresses to peers; `P` is whatever stands for a peer, compared by identity.

    Attributes:
        routes: the peer for each MAC, whatever the source of that knowledge.
        owners: the peer that a MAC is certified for, None for our own.
        address_owners: the same for binary addresses.
        resolvers: whom to ask for an address, certified or claimed.
        vouched: the peer for which a source MAC, ethertype and IPv4 source address (12 bytes) have passed all checks.
    """

    __slots__ = ("_learned", "_learned_from", "_noted", "address_owners", "owners", "resolvers", "routes", "vouched")

    def __init__(self, mac: bytes) -> None:
        self.routes: dict[bytes, P] = {}
        self.owners: dict[bytes, P | None] = {mac: None}
        self.address_owners: dict[bytes, P | None] = {}
        self.resolvers: dict[bytes, P] = {}
        self.vouched: dict[bytes, P] = {}
        self._noted: dict[P, tuple[list[bytes], list[bytes]]] = {}
        self._learned: dict[bytes, _Learned[P]] = {}
        self._learned_from: dict[P, int] = {}

    def set_own_addresses(self, addresses: Iterable[bytes]) -> None:
        """Replaces what is known of our own addresses; they outrank any member's certificate."""
        self.vouched.clear()
        for address in [address for address, owner in self.address_owners.items() if owner is None]:
            del self.address_owners[address]
        for address in addresses:
            self.address_owners[address] = None

    def add(self, peer: P, macs: Iterable[bytes], addresses: Iterable[bytes], certified: bool) -> None:
        """Notes what a peer has by certificate or claim, in place of what was noted before.

        What is ours or certified for another peer stays so; a claim does not displace an earlier claim.
        """
        self._strike(peer)
        self.vouched.clear()
        macs, addresses = list(macs), list(addresses)
        self._noted[peer] = (macs, addresses)
        for mac in macs:
            if mac in self.owners or is_group(mac):
                continue
            self.forget(mac)
            if certified:
                self.owners[mac] = self.routes[mac] = peer
            else:
                self.routes.setdefault(mac, peer)
        for address in addresses:
            if address in self.address_owners:
                continue
            if certified:
                self.address_owners[address] = self.resolvers[address] = peer
            else:
                self.resolvers.setdefault(address, peer)

    def remove(self, peer: P) -> None:
        """Forgets what is noted of a peer and what was learned from it."""
        self._strike(peer)
        self.vouched.clear()
        if self._learned_from.get(peer):
            for mac in [mac for mac, entry in self._learned.items() if entry.peer is peer]:
                self.forget(mac)
        self._learned_from.pop(peer, None)

    def learn(self, mac: bytes, peer: P, now: float) -> None:
        """Notes that a frame with this source came from a peer, where nothing stronger says otherwise.

        A peer may fill a quarter of the table; what finds no room is flooded, as before it was seen.
        """
        entry = self._learned.get(mac)
        if entry is not None:
            if entry.peer is not peer:
                if now - entry.since >= MOVES_WITHIN_S:
                    entry.since, entry.moves = now, 0
                if entry.moves >= MOVES_MAX:
                    return
                entry.moves += 1
                self._learned_from[entry.peer] -= 1
                self._learned_from[peer] = self._learned_from.get(peer, 0) + 1
                entry.peer = self.routes[mac] = peer
            entry.seen = now
            return
        if mac in self.routes or mac in self.owners or is_group(mac):
            return
        count = self._learned_from.get(peer, 0)
        if count >= LEARNED_MAX // 4 or len(self._learned) >= LEARNED_MAX:
            return
        self._learned_from[peer] = count + 1
        self._learned[mac] = _Learned(peer, now)
        self.routes[mac] = peer

    def vouch(self, source: bytes, peer: P) -> None:
        """Remembers that a certified source has passed all checks, until the table changes."""
        if len(self.vouched) >= VOUCHED_MAX:
            self.vouched.clear()
        self.vouched[source] = peer

    def forget(self, mac: bytes) -> None:
        """Unlearns a MAC, if it was learned: it has shown up on our side."""
        if self._unlearn(mac):
            del self.routes[mac]

    def expire(self, now: float) -> None:
        """Unlearns what has not been seen for `LEARNED_AGE_S`."""
        for mac in [mac for mac, entry in self._learned.items() if now - entry.seen >= LEARNED_AGE_S]:
            self.forget(mac)

    @property
    def learned(self) -> int:
        """Returns how many MACs are known only by having been seen."""
        return len(self._learned)

    def _unlearn(self, mac: bytes) -> bool:
        entry = self._learned.pop(mac, None)
        if entry is None:
            return False
        self._learned_from[entry.peer] -= 1
        return True

    def _strike(self, peer: P) -> None:
        macs, addresses = self._noted.pop(peer, ([], []))
        for mac in macs:
            if self.owners.get(mac) is peer:
                del self.owners[mac]
            if self.routes.get(mac) is peer and mac not in self._learned:
                del self.routes[mac]
        for address in addresses:
            if self.address_owners.get(address) is peer:
                del self.address_owners[address]
            if self.resolvers.get(address) is peer:
                del self.resolvers[address]


def pack_addresses(addresses: Iterable[str]) -> list[bytes]:
    """Returns literals as 4 or 16 bytes; what is no literal is left out (a certificate was checked before)."""
    return [packed for packed in map(_pack, addresses) if packed]


@lru_cache(maxsize=8192)
def _pack(address: str) -> bytes:
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return b""
