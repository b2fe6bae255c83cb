"""The members of our communities, as the supernodes tell: handles for the data plane, and the ways in through each
relay.

An entry is cheap, for a community may have thousands; a `Peer` with a link and paths exists only for those who are
talked to. An entry lasts while any supernode lists it or its session lives, so a supernode that forgets cannot part
two nodes that talk.
"""

from collections.abc import Iterator
from typing import Final

from ntvl.dataplane.interface import AddPeer, RemovePeer
from ntvl.errors import PeerError
from ntvl.identity.keys import derive_mac
from ntvl.proto.context import Context
from ntvl.proto.events import PeerGone, PeerSeen
from ntvl.proto.membership import Membership
from ntvl.proto.peer import Peer
from ntvl.proto.text import printable
from ntvl.wire.control import Member

__all__ = ["MEMBERS_MAX", "Entry", "Members"]

MEMBERS_MAX: Final = 4096
"""Most members of one community that a node keeps; a supernode does not list more either."""


class Entry:
    """Is one member: `relay_ids` maps a supernode's index to the member's relay id there."""

    __slots__ = ("addresses", "handle", "key", "name", "peer", "relay_ids")

    def __init__(self, handle: int, key: bytes, name: str, addresses: tuple[str, ...]) -> None:
        self.handle = handle
        self.key = key
        self.name = name
        self.addresses = addresses
        self.relay_ids: dict[int, int] = {}
        self.peer: Peer | None = None


class Members:
    """Keeps one community's members."""

    def __init__(self, context: Context, membership: Membership) -> None:
        self._context = context
        self.membership = membership
        self._entries: dict[bytes, Entry] = {}
        self._stale: dict[int, set[bytes]] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes) -> Entry | None:
        """Returns the entry for a node key, or None."""
        return self._entries.get(key)

    def add(self, handle: int, key: bytes, name: str, addresses: tuple[str, ...]) -> Entry:
        """Adds a member under a fresh handle and tells the data plane and the person.

        Raises:
            PeerError: reason "queue-full": more members than anybody has; count it.
        """
        if len(self._entries) >= MEMBERS_MAX:
            raise PeerError("queue-full", "too many members")
        name = printable(name)
        entry = self._entries[key] = Entry(handle, key, name, addresses)
        self._add_peer(entry)
        self._context.events.append(PeerSeen(self.membership.community.name, key, name))
        return entry

    def _add_peer(self, entry: Entry) -> None:
        self._context.commands.append(
            AddPeer(
                entry.handle,
                self.membership.settings.device,
                (derive_mac(self.membership.community.id, entry.key),),
                tuple(a.split("/")[0] for a in entry.addresses),
                certified=False,
            )
        )

    def update(self, entry: Entry, member: Member, via: int) -> bool:
        """Takes what supernode `via` says of a member; returns whether its relay id there is news."""
        self._stale.get(via, set()).discard(entry.key)
        certified = entry.peer is not None and entry.peer.certificate is not None
        name = printable(member.name)
        if not certified and (entry.name, entry.addresses) != (name, member.addresses):
            entry.name, entry.addresses = name, member.addresses
            self._add_peer(entry)
            if entry.peer is not None:
                entry.peer.name, entry.peer.addresses = entry.name, entry.addresses
        if entry.relay_ids.get(via) == member.relay_id:
            return False
        entry.relay_ids[via] = member.relay_id
        return True

    def begin_full(self, via: int) -> None:
        """Starts a roster from nothing: whom supernode `via` does not name again is stale."""
        self._stale[via] = {e.key for e in self._entries.values() if via in e.relay_ids}

    def end_full(self, via: int) -> set[bytes]:
        """Returns, once, the keys that a full roster did not name again."""
        return self._stale.pop(via, set())

    def leave(self, entry: Entry, via: int, now: float) -> None:
        """Takes the word of supernode `via` that a member left."""
        entry.relay_ids.pop(via, None)
        if entry.peer is not None:
            entry.peer.drop_relay(via, now)
            if entry.peer.link.sending is None:
                entry.peer.close(now)  # A session that nobody confirmed is no reason to keep somebody who left.
        self.tidy(entry, now)

    def tidy(self, entry: Entry, now: float) -> None:
        """Forgets an entry that no supernode lists and no session keeps."""
        if entry.relay_ids or (entry.peer is not None and entry.peer.is_live()):
            return
        if entry.peer is not None:
            entry.peer.close(now)
            entry.peer = None
        del self._entries[entry.key]
        self._context.commands.append(RemovePeer(entry.handle))
        self._context.events.append(PeerGone(self.membership.community.name, entry.key, entry.name))
