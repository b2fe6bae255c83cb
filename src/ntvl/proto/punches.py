"""Where a supernode lets heavy punches happen one at a time: a home router bears one, and takes several for an attack.

A node asks for leave, for itself and the peer; both public addresses are then taken until it says that it is done, or
`LEAVE_S` later. Whoever comes meanwhile is told when to come back. Only members that are registered here count, so
nobody can take the address of others.
"""

from typing import Final

__all__ = ["LEAVE_S", "WAIT_S", "Punches"]

LEAVE_S: Final = 15.0
"""How long one punch has an address for itself: longer than the longest takes."""
WAIT_S: Final = 5.0
"""The longest wait that anybody is told: most punches are over long before their time."""
_ADDRESSES_MAX: Final = 10_000
"""Addresses with a punch at one time; more are told to come back."""

Holder = tuple[bytes, bytes]
"""Who punches: two node keys."""


class Punches:
    """Keeps who punches behind which address."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[float, Holder]] = {}

    def take(self, hosts: frozenset[str], holder: Holder, now: float) -> float:
        """Takes all these addresses, if they are free or the same two nodes have them.

        Returns:
            0.0 with the leave to punch, else the seconds after which to ask again.
        """
        self._expire(now)
        others = [until for host, (until, who) in self._taken.items() if host in hosts and not _same(who, holder)]
        if others:
            return min(max(others) - now, WAIT_S)
        if len(self._taken) + len(hosts) > _ADDRESSES_MAX:
            return WAIT_S
        for host in hosts:
            self._taken[host] = (now + LEAVE_S, holder)
        return 0.0

    def give_back(self, holder: Holder) -> None:
        """Frees what these two have."""
        self._taken = {host: kept for host, kept in self._taken.items() if not _same(kept[1], holder)}

    def _expire(self, now: float) -> None:
        if any(now >= until for until, _ in self._taken.values()):
            self._taken = {host: kept for host, kept in self._taken.items() if now < kept[0]}


def _same(left: Holder, right: Holder) -> bool:
    return left in (right, right[::-1])
