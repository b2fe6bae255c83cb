"""Where a supernode lets heavy punches happen one at a time: a home router bears one, and takes several for an attack.

A node asks for leave, for itself and the peer; the addresses of both are then taken until it says that it is done, or
`LEAVE_S` later. Whoever comes meanwhile is told when to come back. Only members that are registered here count, so
nobody can take the address of others by the place where he is seen.

    seen      where the supernode sees the two; of an IPv6 address its network, for a home has many addresses and one
              router
    claimed   the IPv4 addresses that the asker says the punch goes between: a node that is seen at an IPv6 address
              punches by another one, and so does one that is seen by several supernodes differently

What is claimed may be a stranger's, so it weighs less. It puts others off, who see or claim the same, as what is seen
does, but nobody for longer than `CLAIM_PATIENCE_S` in all: then he gets leave in spite of it. Who claims holds no more
than two addresses at a time for each place where he is seen, and all claims together hold `CLAIMS_MAX`.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

__all__ = ["CLAIM_PATIENCE_S", "LEAVE_S", "WAIT_S", "Punches"]

LEAVE_S: Final = 15.0
"""How long one punch has an address for itself: longer than the longest takes."""
WAIT_S: Final = 5.0
"""The longest wait that anybody is told: most punches are over long before their time."""
CLAIM_PATIENCE_S: Final = 60.0
"""How long claims alone can put off two nodes: the time of some ten punches of others behind the same router."""
CLAIMS_MAX: Final = 2_000
"""Addresses that are held by a claim alone at one time; what else is claimed then does not count."""
_ADDRESSES_MAX: Final = 10_000
"""Addresses with a punch at one time; more are told to come back."""
_WAITING_MAX: Final = 10_000
"""Pairs of nodes that are put off by claims at one time; others are not put off by claims."""

Holder = tuple[bytes, bytes]
"""Who punches: two node keys."""


class _Taken(NamedTuple):
    until: float
    holder: Holder
    is_claim: bool


class _Wait(NamedTuple):
    since: float
    latest: float


class Punches:
    """Keeps who punches behind which address."""

    def __init__(self) -> None:
        self._taken: dict[str, _Taken] = {}
        self._waiting: dict[frozenset[bytes], _Wait] = {}

    def take(
        self, seen: Collection[str], holder: Holder, now: float, *, claimed: Collection[str] = frozenset()
    ) -> float:
        """Takes all these addresses, if they are free or the same two nodes have them.

        Args:
            seen: names of where the two are seen.
            claimed: where else they say that they punch from.
        Returns:
            0.0 with the leave to punch, else the seconds after which to ask again.
        """
        self._expire(now)
        wanted = {*seen, *claimed}
        others = [kept for host, kept in self._taken.items() if host in wanted and not _same(kept.holder, holder)]
        if any(not kept.is_claim for kept in others) or (others and self._is_patient(holder, now)):
            return min(max(kept.until for kept in others) - now, WAIT_S)
        free = CLAIMS_MAX - sum(kept.is_claim for kept in self._taken.values())
        taken = dict.fromkeys(seen, False)
        taken |= dict.fromkeys([host for host in claimed if host not in taken][: max(free, 0)], True)
        if len(self._taken) + len(taken) > _ADDRESSES_MAX:
            return WAIT_S
        self._waiting.pop(frozenset(holder), None)
        self.give_back(holder)
        for host, is_claim in taken.items():
            self._taken[host] = _Taken(now + LEAVE_S, holder, is_claim)
        return 0.0

    def give_back(self, holder: Holder) -> None:
        """Frees what these two have."""
        self._taken = {host: kept for host, kept in self._taken.items() if not _same(kept.holder, holder)}

    def _is_patient(self, holder: Holder, now: float) -> bool:
        """Returns whether claims may put these two off once more."""
        pair = frozenset(holder)
        wait = self._waiting.get(pair)
        if wait is None or now - wait.latest >= CLAIM_PATIENCE_S:
            if wait is None and len(self._waiting) >= _WAITING_MAX:
                return False
            wait = _Wait(now, now)
        self._waiting[pair] = wait._replace(latest=now)
        return now - wait.since < CLAIM_PATIENCE_S

    def _expire(self, now: float) -> None:
        if any(now >= kept.until for kept in self._taken.values()):
            self._taken = {host: kept for host, kept in self._taken.items() if now < kept.until}
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting = {p: w for p, w in self._waiting.items() if now - w.latest < CLAIM_PATIENCE_S}


def _same(left: Holder, right: Holder) -> bool:
    return left in (right, right[::-1])
