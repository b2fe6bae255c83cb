"""A community's members as a log of changes, cut into messages that each lead one version further.

Every change has the next version. The log holds (version, join) and (version, leave) entries in order; a join counts
only while it is its member's latest. So what has happened since version v is simply what stands behind v, a full roster
is what has happened since 0, and however it is cut into messages, each prefix is a version that can be continued from.

    log     ... | 41 ann joins | 42 bob joins | 43 ann leaves | 44 bob changes | ...
    since 0     ... bob (44)                  since 42     ann left, bob (44)

The log is bounded. Where it is over its bound, each new change takes the two oldest entries away: a join that still
counts is told again at the end, so that all of the log together always holds every member, and the cost of forgetting
is spread over many changes. Whoever holds a version from before the log starts from 0.

Messages are made of members that are encoded once, and kept until the next `announce`, since every member of a
community is told the same.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ntvl.wire.control import MESSAGE_BYTES_MAX, Member, Roster

__all__ = ["LOG_ENTRIES_MAX", "RosterLog"]

LOG_ENTRIES_MAX: Final = 4096
"""Changes kept, or twice the members where that is more."""
_ITEMS_MAX: Final = 64
"""Most joins, and most leaves, in one message (`wire.control.Roster`)."""
_ENCODER: Final = msgspec.msgpack.Encoder()


class _EncodedRoster(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Is `wire.control.Roster` with members encoded already."""

    community: bytes
    since: int
    version: int
    joined: tuple[msgspec.Raw, ...]
    left: Annotated[tuple[bytes, ...], Meta(max_length=_ITEMS_MAX)]


_LEAVE_BYTES: Final = len(_ENCODER.encode(bytes(32)))
_EMPTY_BYTES: Final = 4 + len(_ENCODER.encode(Roster(bytes(32), 2**63 - 1, 2**63 - 1)))
"""Of a message without members, with 2 bytes to spare in each list's length."""


class RosterLog:
    """Keeps one community's changes.

    Args:
        community: the community's id, 32 bytes.
        version: where to count from, at least 1; another one each time, so that nobody's old version is taken for new.

    Attributes:
        version: of the latest change.
        announced: the version that members are told of; `step` leads up to it.
    """

    def __init__(self, community: bytes, version: int) -> None:
        self.version = version
        self.announced = version
        self._community = community
        self._entries: list[tuple[bytes, bytes]] = []
        self._first = version + 1
        self._latest: dict[bytes, int] = {}
        self._steps: dict[tuple[int, int], tuple[bytes, int]] = {}

    def join(self, member: Member) -> bool:
        """Adds a member, or replaces what was told of it; returns whether anything is new."""
        encoded = _ENCODER.encode(member)
        version = self._latest.get(member.node)
        if version is not None and self._entries[version - self._first][1] == encoded:
            return False
        self._append(member.node, encoded)
        self._trim()
        return True

    def leave(self, node: bytes) -> None:
        """Takes a member away; an unknown one is fine."""
        if self._latest.pop(node, None) is not None:
            self._append(node, b"")
            self._trim()

    def announce(self) -> bool:
        """Makes the latest version the one that `step` leads to; returns whether it was not."""
        if self.announced == self.version:
            return False
        self.announced = self.version
        self._steps.clear()
        return True

    def resume(self, since: int) -> int:
        """Returns the version to continue from for whoever claims to hold `since`: that, or 0."""
        return since if self._first - 1 <= since <= self.announced else 0

    def step(self, since: int, settled: int = 0) -> tuple[bytes, int]:
        """Returns an encoded Roster message from `since` on, and the version that it leads to.

        Args:
            since: 0, or a version that `resume` passed or an earlier step led to.
            settled: leaves up to this version are left out: for who began at 0 when this was announced.
        """
        key = (since, settled)
        made = self._steps.get(key)
        if made is None:
            made = self._steps[key] = self._make_step(since, settled)
        return made

    def _make_step(self, since: int, settled: int) -> tuple[bytes, int]:
        joined: list[msgspec.Raw] = []
        left: list[bytes] = []
        room = MESSAGE_BYTES_MAX - _EMPTY_BYTES
        first = max(since + 1, self._first)
        reached = self.announced
        for version in range(first, self.announced + 1):
            node, encoded = self._entries[version - self._first]
            if encoded:
                if self._latest.get(node) != version:
                    continue
                size = len(encoded)
                if size > room or len(joined) == _ITEMS_MAX:
                    reached = version - 1
                    break
                joined.append(msgspec.Raw(encoded))
            else:
                if version <= settled or node in self._latest:
                    continue
                size = _LEAVE_BYTES
                if size > room or len(left) == _ITEMS_MAX:
                    reached = version - 1
                    break
                left.append(node)
            room -= size
        message = _EncodedRoster(self._community, since, reached, tuple(joined), tuple(left))
        return _ENCODER.encode(message), reached

    def _append(self, node: bytes, encoded: bytes) -> None:
        self.version += 1
        self._entries.append((node, encoded))
        if encoded:
            self._latest[node] = self.version

    def _trim(self) -> None:
        """Takes up to two entries off the old end, while the log is over its bound."""
        for _ in range(2):
            if len(self._entries) <= LOG_ENTRIES_MAX:
                return
            node, encoded = self._entries[0]
            del self._entries[0]
            self._first += 1
            if encoded and self._latest.get(node) == self._first - 1:
                self._append(node, encoded)
