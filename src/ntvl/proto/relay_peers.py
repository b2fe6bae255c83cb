"""Whom a TURN server may relay for us: permissions by address, channels by address and port, each within a bound.

A permission lets a peer's datagrams in and ours out; it ends 300 s after it was granted. A channel makes them cheaper;
it ends 600 s after it was bound. Both are renewed while they are used, and left to end otherwise. What is full lets
the one go that was longest unused: of permissions at once, of channels once it has ended at the server and its number
has rested for 300 s more, for until then the number and the peer must not be bound to others.

Source: RFC 8656 sections 9 and 12.
"""

from collections import deque
from typing import Final

from ntvl.wire.address import Address
from ntvl.wire.turn import CHANNEL_MAX, CHANNEL_MIN

__all__ = ["CHANNELS_MAX", "PERMISSIONS_MAX", "RelayChannel", "RelayPeers", "RelayPermission"]

PERMISSIONS_MAX: Final = 64
CHANNELS_MAX: Final = 64
"""Channels that are bound or rest."""
WAITING_MAX: Final = 16
"""Payloads kept for one address until its permission is there; the oldest goes."""
PERMISSION_S: Final = 300.0
PERMISSION_REFRESH_S: Final = 240.0
CHANNEL_S: Final = 600.0
CHANNEL_REFRESH_S: Final = 540.0
CHANNEL_REST_S: Final = 300.0
REFUSED_S: Final = 60.0
"""Wait before a server that refused a permission or a channel is asked for it again."""


class RelayPermission:
    """Is a permission, granted, asked for or refused, for all ports of one address."""

    def __init__(self, host: str, now: float) -> None:
        self.host = host
        self.used = now
        self.asked = False
        self.granted_until = 0.0
        self.refresh_at = 0.0
        self.waiting: deque[tuple[Address, bytes]] = deque(maxlen=WAITING_MAX)

    def grant(self, since: float) -> None:
        """Notes that the server granted it; `since` is when it was asked, so ours never outlasts the server's."""
        self.asked = False
        self.granted_until = since + PERMISSION_S
        self.refresh_at = since + PERMISSION_REFRESH_S

    def refuse(self, now: float) -> None:
        """Notes that the server did not: it is not asked for a while."""
        self.asked = False
        self.refresh_at = now + REFUSED_S
        self.waiting.clear()

    def is_granted(self, now: float) -> bool:
        """Returns whether data may go."""
        return now < self.granted_until

    def wants_asking(self, now: float) -> bool:
        """Returns whether it is time to ask the server."""
        return not self.asked and now >= self.refresh_at


class RelayChannel:
    """Is a channel, bound, asked for, refused or at rest, for one peer."""

    def __init__(self, number: int, peer: Address, now: float) -> None:
        self.number = number
        self.peer = peer
        self.used = now
        self.asked = False
        self.bound_until = 0.0
        self.refresh_at = 0.0

    def bind(self, since: float) -> None:
        """Notes that the server bound it; `since` is when it was asked."""
        self.asked = False
        self.bound_until = since + CHANNEL_S
        self.refresh_at = since + CHANNEL_REFRESH_S

    def refuse(self, now: float) -> None:
        """Notes that the server did not: it may have all the same, so the number rests as if it had."""
        self.asked = False
        self.refresh_at = now + CHANNEL_S + CHANNEL_REST_S

    def is_bound(self, now: float) -> bool:
        """Returns whether data may go by it."""
        return now < self.bound_until

    def wants_asking(self, now: float) -> bool:
        """Returns whether it is time to ask the server."""
        return not self.asked and now >= self.refresh_at

    def is_forgotten(self, now: float) -> bool:
        """Returns whether number and peer are free again."""
        return not self.asked and now >= max(self.bound_until + CHANNEL_REST_S, self.refresh_at)


class RelayPeers:
    """Keeps permissions and channels of one allocation."""

    def __init__(self) -> None:
        self.permissions: dict[str, RelayPermission] = {}
        self._channels: dict[int, RelayChannel] = {}
        self._of_peer: dict[Address, RelayChannel] = {}
        self._next = CHANNEL_MIN

    def add_permission(self, host: str, now: float) -> RelayPermission:
        """Returns the permission for an address; a new one takes the place of the one longest unused if need be."""
        found = self.permissions.get(host)
        if found is None:
            if len(self.permissions) >= PERMISSIONS_MAX:
                oldest = min(self.permissions.values(), key=lambda permission: permission.used)
                del self.permissions[oldest.host]
            found = self.permissions[host] = RelayPermission(host, now)
        return found

    def add_channel(self, peer: Address, now: float) -> RelayChannel | None:
        """Returns the channel for a peer, a new one if there is none yet, or None while all places are taken."""
        found = self._of_peer.get(peer)
        if found is None:
            if len(self._channels) >= CHANNELS_MAX:
                self._forget(now)
            if len(self._channels) >= CHANNELS_MAX:
                return None
            while self._next in self._channels:
                self._advance()
            found = self._channels[self._next] = self._of_peer[peer] = RelayChannel(self._next, peer, now)
            self._advance()
        return found

    def channel_of(self, peer: Address) -> RelayChannel | None:
        """Returns the channel for a peer, or None."""
        return self._of_peer.get(peer)

    def channel(self, number: int) -> RelayChannel | None:
        """Returns the channel of a number, or None."""
        return self._channels.get(number)

    def _advance(self) -> None:
        self._next = CHANNEL_MIN if self._next == CHANNEL_MAX else self._next + 1

    def _forget(self, now: float) -> None:
        for channel in [channel for channel in self._channels.values() if channel.is_forgotten(now)]:
            del self._channels[channel.number]
            del self._of_peer[channel.peer]
