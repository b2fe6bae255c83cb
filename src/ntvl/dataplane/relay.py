"""The relay of a supernode: trains of datagrams from one member to another of the same community, unchanged.

The prefix is the same on both legs, so a train whose datagrams all have one prefix is checked once and sent on as it
came, in one system call. The relay sees who talks to whom and how much; what is sealed stays sealed.
"""

from typing import Final

from ntvl.dataplane.train import Train
from ntvl.errors import PeerError
from ntvl.wire.address import Address
from ntvl.wire.header import parse_relay

__all__ = ["BURST_S", "RelayTable"]

BURST_S: Final = 0.25
_BURST_BYTES_MIN: Final = 128 * 1024


class _Member:
    __slots__ = ("address", "bytes", "community", "rate", "tokens", "updated")

    def __init__(self, community: int, address: Address, rate_bps: int) -> None:
        self.community = community
        self.address = address
        self.rate = rate_bps / 8
        self.bytes = 0
        self.tokens = self.burst
        self.updated = 0.0

    @property
    def burst(self) -> float:
        return max(self.rate * BURST_S, _BURST_BYTES_MIN)

    def take(self, size: int, segment_bytes: int, now: float) -> int:
        """Returns how many of `size` bytes, in whole segments, the rate lets through now, and takes them."""
        if self.rate:
            self.tokens = min(self.burst, self.tokens + (now - self.updated) * self.rate)
            self.updated = now
            if size > self.tokens:
                size = int(self.tokens // segment_bytes * segment_bytes)
            self.tokens -= size
        self.bytes += size
        return size


class RelayTable:
    """Knows the members that may use the relay, and counts what they do."""

    __slots__ = ("_members", "packets", "total_bytes")

    def __init__(self) -> None:
        self._members: dict[int, _Member] = {}
        self.packets = 0
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._members)

    def add(self, relay_id: int, community: int, address: Address, rate_bps: int, now: float) -> None:
        """Lets a member in, or moves it; its count of bytes goes on unless its community changed."""
        member = self._members.get(relay_id)
        if member is None or member.community != community:
            member = self._members[relay_id] = _Member(community, address, rate_bps)
            member.updated = now
        member.address = address
        if member.rate != rate_bps / 8:
            member.rate = rate_bps / 8
            member.tokens = min(member.tokens, member.burst)

    def remove(self, relay_id: int) -> None:
        """Takes a relay id back."""
        self._members.pop(relay_id, None)

    def member_bytes(self) -> dict[int, int]:
        """Returns the bytes relayed for each member that sent any."""
        return {relay_id: member.bytes for relay_id, member in self._members.items() if member.bytes}

    def forward(
        self, train: bytes, segment_bytes: int, socket: int, source: Address, now: float
    ) -> tuple[Train | None, int]:
        """Returns the train to send on, or None, and how many datagrams of it the sender's rate left out.

        Args:
            train: datagrams of `segment_bytes` (the last may be shorter) that share one prefix.
        Raises:
            PeerError: reason "short", "header", "relay-source" or "relay-target", for every datagram of the train.
        """
        relay = parse_relay(train)
        members = self._members
        sender = members.get(relay.source)
        if sender is None or sender.address != source:
            raise PeerError("relay-source")
        target = members.get(relay.target)
        if target is None or target.community != sender.community or target is sender:
            raise PeerError("relay-target")
        size = len(train)
        allowed = sender.take(size, segment_bytes, now)
        count = -(-allowed // segment_bytes)
        left_out = -(-size // segment_bytes) - count
        if allowed == 0:
            return None, left_out
        self.packets += count
        self.total_bytes += allowed
        return Train(socket, target.address, [train if allowed == size else train[:allowed]], segment_bytes), left_out
