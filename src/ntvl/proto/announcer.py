"""Tells every resident who joined and left, at a pace that a thousand joins in a second do not break.

The first change of a quiet community is told at once; while more come, they are told together, every 200 ms. A resident
has a position, the version that its node was sent last, and what it is sent next follows from that alone: there is no
queue that could grow, whoever is slow to be served just gets more in one message, and a node that lost something names
the version it holds and is put back there. Residents that are behind are served within a rate for all of them, in the
order they fell behind: a few at a time in turns, so that nobody's roster takes long once it has begun and nobody gets
more at once than his buffers hold.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ntvl.proto.bucket import TokenBucket
from ntvl.proto.directory import Hall, Resident
from ntvl.proto.machine import Wakeup, earliest

__all__ = ["Announcer"]

PACE_S: Final = 0.2
"""Least time between two announcements in a community."""
RATE_PER_S: Final = 10_000.0
BURST: Final = 2_000.0
"""Roster messages for all residents together: some 11 MB/s, and some tenths of a CPU."""
PAUSE_S: Final = 0.02
SERVED_AT_ONCE: Final = 8
REPEAT_S: Final = 0.5
"""A node that asks for everything again within this time is asking for what is on its way."""


class Announcer:
    """Decides who is sent which roster message next."""

    def __init__(self) -> None:
        self._due: dict[Hall, float] = {}
        self._announced_at: dict[Hall, float] = {}
        self._served: OrderedDict[Resident, None] = OrderedDict()
        self._waiting: OrderedDict[Resident, None] = OrderedDict()
        self._bucket = TokenBucket(RATE_PER_S, BURST)
        self._paused_until: float | None = None

    def welcome(self, resident: Resident, now: float) -> None:
        """Has a resident that knows nothing sent everything, with the next announcement."""
        self._restart(resident, now)
        self._schedule(resident.hall, now)

    def note_change(self, hall: Hall, now: float) -> None:
        """Has the residents of a community told that something changed."""
        self._schedule(hall, now)

    def note_departure(self, resident: Resident, now: float) -> None:
        """Stops sending to who left, and has the others told."""
        self._dequeue(resident)
        hall = resident.hall
        if hall.residents:
            self._schedule(hall, now)
        else:
            self._due.pop(hall, None)
            self._announced_at.pop(hall, None)

    def request(self, resident: Resident, since: int, now: float) -> bytes | None:
        """Takes a node's word on the version that it holds; returns an answer for at once, or has it sent in turn."""
        roster = resident.hall.roster
        since = roster.resume(since)
        if since == roster.announced:
            resident.told = since
            self._dequeue(resident)
            return roster.step(since)[0]
        if since == 0 and now - resident.restarted_at < REPEAT_S:
            return None
        if since == 0:
            self._restart(resident, now)
        else:
            resident.told = since
            resident.settled = 0
        self._queue(resident)
        return None

    def handle_timeout(self, now: float) -> None:
        """Announces what is due."""
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
        for hall in [hall for hall, at in self._due.items() if at <= now]:
            del self._due[hall]
            self._announced_at[hall] = now
            hall.roster.announce()
            for resident in hall.residents.values():
                if resident.told != hall.roster.announced:
                    self._queue(resident)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout` next."""
        return earliest(
            Wakeup(min(self._due.values()), "roster") if self._due else None,
            Wakeup(self._paused_until, "roster-pace") if self._paused_until is not None else None,
        )

    def poll(self, now: float, can_send: Callable[[Resident], bool]) -> tuple[Resident, bytes] | None:
        """Returns a resident and the Roster message to send it, or None for now; call until None.

        Args:
            now: machine's clock.
            can_send: whether there is a session to send under; who has none is left out until the next announcement.
        """
        while self._paused_until is None:
            while self._waiting and len(self._served) < SERVED_AT_ONCE:
                self._served[self._waiting.popitem(last=False)[0]] = None
            if not self._served:
                break
            resident = next(iter(self._served))
            if not can_send(resident):
                del self._served[resident]
            elif self._bucket.take(now):
                return resident, self._advance(resident, now)
            else:
                self._paused_until = now + PAUSE_S
        return None

    def _advance(self, resident: Resident, now: float) -> bytes:
        roster = resident.hall.roster
        since = roster.resume(resident.told)
        if since == 0 and resident.told:
            self._restart(resident, now)
        if since == 0:
            resident.settled = roster.announced
        message, resident.told = roster.step(since, resident.settled)
        if resident.told == roster.announced:
            del self._served[resident]
        else:
            self._served.move_to_end(resident)
        return message

    def _restart(self, resident: Resident, now: float) -> None:
        resident.told = 0
        resident.settled = resident.hall.roster.announced
        resident.restarted_at = now

    def _queue(self, resident: Resident) -> None:
        if resident not in self._served:
            self._waiting[resident] = None

    def _dequeue(self, resident: Resident) -> None:
        self._served.pop(resident, None)
        self._waiting.pop(resident, None)

    def _schedule(self, hall: Hall, now: float) -> None:
        if hall not in self._due:
            self._due[hall] = max(now, self._announced_at.get(hall, now - PACE_S) + PACE_S)
