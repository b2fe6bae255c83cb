"""Who is in which community now, and where: the supernode's memory, rebuilt after a restart by the nodes' next contact.

A resident is one node in one community. It has a relay id, by which others send to it through this supernode; ids
follow from a secret of the supernode and from both keys, so after a restart everybody has the one it had. A resident
that is not heard of for three keepalives is gone.

Everything is found by a dictionary; nothing here grows without a bound, and a bound that is reached refuses the
newcomer and never those who are there.
"""

import hashlib
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from typing import Final

from ntvl.errors import PeerError, UsageError
from ntvl.identity.keys import parse_key
from ntvl.proto.machine import Random, Wakeup
from ntvl.proto.roster import RosterLog
from ntvl.wire.control import Member

__all__ = ["EXPIRY_S", "FOUND_MAX", "Directory", "Hall", "Resident"]

EXPIRY_S: Final = 65.0
"""Three keepalives of 20 s, and time for the last one to come."""
FOUND_MAX: Final = 8
RESIDENTS_MAX: Final = 20_000
HALL_RESIDENTS_MAX: Final = 4_096
HALLS_MAX: Final = 4_096


class Resident:
    """Is one node in one community.

    Attributes:
        relay_id: 1..2^32-1, unique at this supernode.
        addresses: CIDR text, the leased one first.
        incarnation: which run of the node's program registered it, 8 bytes.
        last_contact: machine's clock, seconds.
        told: the roster version that its node has been sent, 0 for none; `settled` belongs to it (`RosterLog.step`).
        restarted_at: when `told` was last set to 0.
    """

    __slots__ = (
        "addresses",
        "certificate",
        "hall",
        "incarnation",
        "last_contact",
        "mac",
        "name",
        "node",
        "relay_id",
        "restarted_at",
        "settled",
        "told",
    )

    def __init__(self, hall: "Hall", node: bytes, relay_id: int) -> None:
        self.hall = hall
        self.node = node
        self.relay_id = relay_id
        self.name = ""
        self.mac = b""
        self.addresses: tuple[str, ...] = ()
        self.certificate = b""
        self.incarnation = b""
        self.last_contact = 0.0
        self.told = 0
        self.settled = 0
        self.restarted_at = float("-inf")

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Returns (community, node)."""
        return self.hall.community, self.node

    def as_member(self) -> Member:
        """Returns the resident as rosters and answers show it."""
        return Member(self.node, self.relay_id, self.name, self.addresses)


class Hall:
    """Is one community that has residents: `number` is its short name towards the data plane."""

    def __init__(self, number: int, community: bytes, name: str, version: int) -> None:
        self.number = number
        self.community = community
        self.name = name
        self.residents: dict[bytes, Resident] = {}
        self.roster = RosterLog(community, version)
        self._by_address: dict[str, Resident] = {}
        self._by_mac: dict[bytes, Resident] = {}
        self._by_name: dict[str, dict[bytes, Resident]] = {}

    def find(self, by: str, value: str) -> list[Resident]:
        """Returns who matches, at most 8, as `wire.control.Lookup` says; a value that makes no sense finds nobody."""
        found: Resident | None = None
        match by:
            case "address":
                found = self._by_address.get(_parse_host(value) or "")
            case "mac":
                found = self._by_mac.get(_parse_mac(value))
            case "node":
                try:
                    found = self.residents.get(parse_key(value))
                except UsageError:
                    pass
            case "name":
                named = self._by_name.get(value, {})
                return [resident for resident, _ in zip(named.values(), range(FOUND_MAX), strict=False)]
        return [] if found is None else [found]

    def index(self, resident: Resident) -> None:
        """Makes a resident findable by what it shows."""
        self._by_mac[resident.mac] = resident
        self._by_name.setdefault(resident.name, {})[resident.node] = resident
        for address in resident.addresses:
            self._by_address[address.partition("/")[0]] = resident

    def forget(self, resident: Resident) -> None:
        """Undoes `index`; call it before anything that it shows changes."""
        if self._by_mac.get(resident.mac) is resident:
            del self._by_mac[resident.mac]
        named = self._by_name.get(resident.name)
        if named is not None:
            named.pop(resident.node, None)
            if not named:
                del self._by_name[resident.name]
        for address in resident.addresses:
            host = address.partition("/")[0]
            if self._by_address.get(host) is resident:
                del self._by_address[host]


class Directory:
    """Keeps all halls and residents.

    Args:
        secret: what relay ids follow from, the same after a restart; at most 64 bytes.
        random: gives each hall the version to count from.
        expiry_s: how long a resident is kept without contact.
    """

    def __init__(self, secret: bytes, random: Random, *, expiry_s: float = EXPIRY_S) -> None:
        self._secret = secret
        self._random = random
        self._expiry_s = expiry_s
        self._halls: dict[bytes, Hall] = {}
        self._by_relay_id: dict[int, Resident] = {}
        self._contacts: dict[tuple[bytes, bytes], Resident] = {}
        """In the order of `last_contact`, oldest first."""
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._contacts)

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._contacts.values())

    def halls(self) -> list[Hall]:
        """Returns every community that has residents."""
        return list(self._halls.values())

    def hall(self, community: bytes) -> Hall | None:
        """Returns a community if it has residents."""
        return self._halls.get(community)

    def find(self, community: bytes, node: bytes) -> Resident | None:
        """Returns a resident, or None."""
        return self._contacts.get((community, node))

    def find_relay_id(self, relay_id: int) -> Resident | None:
        """Returns who has a relay id, or None."""
        return self._by_relay_id.get(relay_id)

    def check_room(self, community: bytes, node: bytes) -> None:
        """Passes a node that is here already or may come in.

        Raises:
            PeerError: reason "queue-full" with a sentence.
        """
        if (community, node) in self._contacts:
            return
        hall = self._halls.get(community)
        if len(self._contacts) >= RESIDENTS_MAX or (hall is None and len(self._halls) >= HALLS_MAX):
            raise PeerError("queue-full", "the supernode serves as many nodes as it can: use another one")
        if hall is not None and len(hall.residents) >= HALL_RESIDENTS_MAX:
            raise PeerError("queue-full", f"the supernode serves at most {HALL_RESIDENTS_MAX} members of a community")

    def enter(
        self,
        community: bytes,
        community_name: str,
        node: bytes,
        *,
        name: str,
        mac: bytes,
        addresses: tuple[str, ...],
        certificate: bytes,
        now: float,
    ) -> tuple[Resident, bool]:
        """Returns a resident, new or with what changed, and whether the roster has news.

        Args:
            community: its id; `community_name` is kept from its first resident.
            node: the node's public key.
            name: what the node is called.
            mac: 6 bytes.
            addresses: at most 8, CIDR text; no two residents of a community have one in common.
            certificate: the bytes to hand to those who ask.
            now: machine's clock.
        Raises:
            PeerError: reason "queue-full".
        """
        self.check_room(community, node)
        hall = self._halls.get(community)
        if hall is None:
            self._numbers += 1
            version = 1 + int.from_bytes(self._random(7), "big")
            hall = self._halls[community] = Hall(self._numbers, community, community_name, version)
        resident = self._contacts.get((community, node))
        if resident is None:
            resident = Resident(hall, node, self._new_relay_id(community, node))
            self._by_relay_id[resident.relay_id] = hall.residents[node] = resident
            self._contacts[resident.key] = resident
        else:
            hall.forget(resident)
        resident.name = name
        resident.mac = mac
        resident.addresses = addresses
        resident.certificate = certificate
        hall.index(resident)
        self.touch(resident, now)
        return resident, hall.roster.join(resident.as_member())

    def touch(self, resident: Resident, now: float) -> None:
        """Notes that a resident was heard of."""
        resident.last_contact = now
        del self._contacts[resident.key]
        self._contacts[resident.key] = resident

    def leave(self, resident: Resident) -> None:
        """Forgets a resident, and its community with the last one."""
        if self._contacts.pop(resident.key, None) is None:
            return
        hall = resident.hall
        hall.forget(resident)
        hall.roster.leave(resident.node)
        del hall.residents[resident.node], self._by_relay_id[resident.relay_id]
        if not hall.residents:
            del self._halls[hall.community]

    def expire(self, now: float) -> list[Resident]:
        """Returns the residents that were not heard of for too long, and forgets them."""
        gone: list[Resident] = []
        for resident in self._contacts.values():
            if resident.last_contact + self._expiry_s > now:
                break
            gone.append(resident)
        for resident in gone:
            self.leave(resident)
        return gone

    def poll_timeout(self) -> Wakeup | None:
        """Returns when the next resident expires."""
        for resident in self._contacts.values():
            return Wakeup(resident.last_contact + self._expiry_s, "member-expiry")
        return None

    def _new_relay_id(self, community: bytes, node: bytes) -> int:
        count = 0
        while True:
            digest = hashlib.blake2s(
                community + node + count.to_bytes(4, "big"), key=self._secret, digest_size=4, person=b"ntvlrely"
            ).digest()
            relay_id = int.from_bytes(digest, "big")
            if relay_id and relay_id not in self._by_relay_id:
                return relay_id
            count += 1


def _parse_host(text: str) -> str | None:
    try:
        return str(ip_interface(text).ip if "/" in text else ip_address(text))
    except ValueError:
        return None


def _parse_mac(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        return b""
