"""Keeps one UDP port of this machine mapped at its gateways, whichever network it is in.

    mapper = PortMapper(engine.port, on_change=tell)      in the running loop
    mapper.start()                                        asks at once; `tell(mapping)` when there is one, or none
    await mapper.close()                                  gives the mapping back, within a second

There is one session for the IPv4 gateway and one for the IPv6 gateway. They are found by the default routes, and found
again after each change of links, addresses or routes: a session whose gateway or address changed ends, for a mapping
belongs to both.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Final

from ntvl.proto.bucket import TokenBucket
from ntvl.proto.machine import Random
from ntvl.proto.portmap import PortMapOutcome
from ntvl.runtime.clock import Clock, boot_time
from ntvl.runtime.gateway import Gateway, read_gateways
from ntvl.runtime.mapping_session import MappingSession
from ntvl.runtime.netlink import NetlinkError, watch_netlink
from ntvl.wire.address import Address

__all__ = ["PortMapper"]

DEBOUNCE_S: Final = 0.2
RETRY_S: Final = 5.0
TELL_EVERY_S: Final = 10.0
"""Each change makes peers try anew, so a gateway that changes its mind all the time is heard so often and not more."""
TELLS_BURST: Final = 4
VERIFY_EVERY_S: Final = 10.0
VERIFY_BURST: Final = 4
"""A supernode that sees us elsewhere all the time costs gateways a question so often and not more."""
_log = logging.getLogger("ntvl.portmapper")


class PortMapper:
    """Maps one UDP port.

    Args:
        port: our UDP port, 1..65535.
        on_change: called in the loop with `mapping` after each change of `mappings`; later after many of them.
        random, clock: chance and time.
    """

    def __init__(
        self,
        port: int,
        *,
        on_change: Callable[[Address | None], None],
        random: Random = os.urandom,
        clock: Clock = boot_time,
    ) -> None:
        self.port = port
        self._on_change = on_change
        self._random = random
        self._clock = clock
        self._sessions: dict[Gateway, MappingSession] = {}
        self._drops: Counter[str] = Counter()
        """Of sessions that ended."""
        self._told: tuple[Address, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._bucket = TokenBucket(1.0 / TELL_EVERY_S, TELLS_BURST)
        self._verifying = TokenBucket(1.0 / VERIFY_EVERY_S, VERIFY_BURST)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def mapping(self) -> Address | None:
        """Returns the public address at which our port is reached, IPv4 if there are two; None without a mapping."""
        return next(iter(self.mappings), None)

    @property
    def mappings(self) -> tuple[Address, ...]:
        """Returns the mapping of IPv4 and the pinhole of IPv6, as far as there are."""
        return tuple(s.mapping.external for s in self._ordered() if s.mapping is not None)

    @property
    def protocols(self) -> tuple[tuple[Address, str], ...]:
        """Returns each of `mappings` with the name of the protocol that holds it."""
        return tuple((s.mapping.external, s.protocol) for s in self._ordered() if s.mapping is not None)

    @property
    def outcomes(self) -> tuple[tuple[str, PortMapOutcome], ...]:
        """Returns for each gateway and protocol how it fares: the gateway's address, and the outcome."""
        return tuple((s.gateway.host, outcome) for s in self._ordered() for outcome in s.outcomes)

    @property
    def drops(self) -> Counter[str]:
        """Returns what was dropped since the start, by reason, whichever gateways there were."""
        return sum((session.drops for session in self._sessions.values()), self._drops)

    @property
    def description(self) -> str:
        """Returns in words what there is, or why there is nothing: one sentence without its full stop."""
        if not self._sessions:
            return f"UDP port {self.port} is not mapped: this machine has no gateway"
        fares = "; ".join(f"{outcome.protocol} at {host}: {outcome.text}" for host, outcome in self.outcomes)
        is_mapped = "is mapped" if self.mapping is not None else "is not mapped"
        return f"UDP port {self.port} {is_mapped}: {fares}"

    def start(self) -> None:
        """Begins, in the running loop; once."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="port mapping")

    def verify(self) -> None:
        """Asks the gateways whether they still know the mappings, if that was not asked just now."""
        if self._verifying.take(self._clock()):
            for session in self._sessions.values():
                session.verify()

    async def close(self) -> None:
        """Ends and removes the mappings, within a second; calling again is harmless."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions))

    async def _run(self) -> None:
        unwatch = watch_netlink(self._changed.set)
        try:
            while True:
                self._changed.clear()
                try:
                    await self._follow(await read_gateways())
                except (NetlinkError, OSError) as error:  # an address that went away between two questions
                    _log.debug("cannot look for a gateway: %s", error)
                    await asyncio.sleep(RETRY_S)
                    continue
                await self._changed.wait()
                await asyncio.sleep(DEBOUNCE_S)
        finally:
            unwatch()

    async def _follow(self, gateways: tuple[Gateway, ...]) -> None:
        gone = [self._sessions.pop(gateway) for gateway in list(self._sessions) if gateway not in gateways]
        counted = [session.drops for session in gone]
        self._drops = sum(counted, self._drops)
        self._tell()
        await asyncio.gather(*(session.close() for session in gone))
        for session, before in zip(gone, counted, strict=True):
            self._drops += session.drops - before
        for gateway in gateways:
            if gateway not in self._sessions:
                session = MappingSession(gateway, self.port, self._tell, random=self._random, clock=self._clock)
                session.open()
                self._sessions[gateway] = session

    def _ordered(self) -> list[MappingSession]:
        return sorted(self._sessions.values(), key=lambda session: session.gateway.is_ipv6)

    def _tell(self) -> None:
        mappings = self.mappings
        if mappings == self._told or self._closed or self._timer is not None:
            return
        if not self._bucket.take(self._clock()):
            self._timer = asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell_late)
            return
        self._told = mappings
        self._on_change(self.mapping)

    def _tell_late(self) -> None:
        self._timer = None
        self._tell()
