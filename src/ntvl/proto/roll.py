"""Everybody in our communities, by handle, by key and by the user name of their checks.

Supernodes name members and where their relays reach them, handshakes name the rest; those we talk to have a peer.
"""

from collections.abc import Callable, Sequence

from ntvl.dataplane.interface import Target
from ntvl.proto.context import Context
from ntvl.proto.members import Entry, Members
from ntvl.proto.membership import Membership
from ntvl.proto.peer import Peer
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.control import Roster

__all__ = ["RelayTarget", "Roll"]

RelayTarget = Callable[[int, bytes, int], Target | None]
"""Returns the way to a member through a supernode: (supernode's index, community's id, member's relay id there)."""


class Roll:
    """Keeps the members of all our communities.

    Args:
        relay_target: None where that supernode cannot relay for us now.
    """

    def __init__(
        self,
        context: Context,
        surroundings: Surroundings,
        memberships: Sequence[Membership],
        *,
        relay_target: RelayTarget,
    ) -> None:
        self._context = context
        self._surroundings = surroundings
        self._relay_target = relay_target
        self._members = {m.community.id: Members(context, m) for m in memberships}
        self._entries: dict[int, tuple[Members, Entry]] = {}
        self._ufrags: dict[str, Peer] = {}
        self._next_handle = 1

    # --- who is there ---

    def members(self, community: bytes) -> Members:
        """Returns the members of one of our communities; KeyError for another's id."""
        return self._members[community]

    def __contains__(self, community: bytes) -> bool:
        return community in self._members

    def find(self, handle: int) -> tuple[Members, Entry] | None:
        """Returns the member with a handle."""
        return self._entries.get(handle)

    def find_key(self, community: str, key: bytes) -> tuple[Members, Entry] | None:
        """Returns the member of a community, by its name, with a key."""
        for members in self._members.values():
            entry = members.find(key)
            if members.membership.community.name == community and entry is not None:
                return members, entry
        return None

    def find_peer(self, handle: int) -> Peer | None:
        """Returns the peer with a handle, None where nobody has it or we never talked."""
        found = self._entries.get(handle)
        return None if found is None else found[1].peer

    def find_ufrag(self, ufrag: str) -> Peer | None:
        """Returns the peer whose checks name us so."""
        return self._ufrags.get(ufrag)

    def find_session(self, index: int) -> Peer | None:
        """Returns the peer to which we send under this index of its own."""
        for peer in self.peers():
            session = peer.link.sending
            if session is not None and session.keys.send_index == index:
                return peer
        return None

    def peers(self) -> list[Peer]:
        """Returns everybody that we talk to."""
        return [entry.peer for members in self._members.values() for entry in members if entry.peer is not None]

    # --- who comes and goes ---

    def add(self, members: Members, key: bytes, name: str, addresses: tuple[str, ...]) -> Entry:
        """Adds a member; raises as `Members.add`."""
        handle = self._next_handle
        self._next_handle += 1
        entry = members.add(handle, key, name, addresses)
        self._entries[handle] = (members, entry)
        return entry

    def peer(self, members: Members, entry: Entry, now: float) -> Peer:
        """Returns the member's peer, a new one where there is none."""
        if entry.peer is None:
            entry.peer = Peer(
                self._context,
                self._surroundings,
                members.membership,
                handle=entry.handle,
                key=entry.key,
                name=entry.name,
                addresses=entry.addresses,
            )
            self._ufrags[entry.peer.pathfinder.checks.ufrag] = entry.peer
        self._set_relays(members, entry, now)
        return entry.peer

    def handle_relays(self, via: int, community: bytes, now: float) -> None:
        """Takes the news that supernode `via` relays for us in a community."""
        members = self._members[community]
        for entry in members:
            if via in entry.relay_ids:
                self._set_relays(members, entry, now)

    def handle_roster(self, via: int, community: bytes, roster: Roster, *, ourselves: bytes, now: float) -> None:
        """Takes joins and leaves as supernode `via` tells them."""
        members = self._members[community]
        if roster.since == 0:
            members.begin_full(via)
        for member in roster.joined:
            if member.node == ourselves:
                continue
            entry = members.find(member.node) or self.add(members, member.node, member.name, member.addresses)
            if members.update(entry, member, via):
                self._set_relays(members, entry, now)
        self._leave(members, roster.left, via, now)

    def handle_roster_end(self, via: int, community: bytes, now: float) -> None:
        """Takes the end of a full roster: who was not named again has left."""
        members = self._members[community]
        self._leave(members, tuple(members.end_full(via)), via, now)

    def tidy(self, now: float) -> None:
        """Forgets whom no supernode lists and no session keeps."""
        for members in self._members.values():
            for entry in list(members):
                members.tidy(entry, now)
            self._forget_gone(members)

    def _leave(self, members: Members, keys: Sequence[bytes], via: int, now: float) -> None:
        for key in keys:
            entry = members.find(key)
            if entry is not None:
                members.leave(entry, via, now)
        if keys:
            self._forget_gone(members)

    def _forget_gone(self, members: Members) -> None:
        gone = [h for h, (m, e) in self._entries.items() if m is members and m.find(e.key) is not e]
        for handle in gone:
            del self._entries[handle]
        if gone:
            alive = {e.peer for _, e in self._entries.values() if e.peer is not None}
            self._ufrags = {u: p for u, p in self._ufrags.items() if p in alive}

    def _set_relays(self, members: Members, entry: Entry, now: float) -> None:
        if entry.peer is None:
            return
        for via, relay_id in entry.relay_ids.items():
            target = self._relay_target(via, members.membership.community.id, relay_id)
            if target is not None:
                entry.peer.set_relay(via, target, now)
