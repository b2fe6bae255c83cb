"""A port mapping at one gateway on real sockets: the machine of PCP and NAT-PMP, and UPnP beside it.

All three look for the gateway at once. UPnP's search makes nothing; it maps only when, half a second after the start,
neither of the others has a mapping or is about to, and gives way if one of them was quicker after all. Once UPnP holds
a mapping the others rest until it is lost.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from ntvl.proto.lessee import ABSENT_S, NOT_PUBLIC_S, PortMapping, Standing
from ntvl.proto.machine import Random
from ntvl.proto.portmap import PortMap, PortMapOutcome
from ntvl.runtime.clock import Clock
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.upnp import UpnpGateway, UpnpRefusedError
from ntvl.wire.address import Address, Origin
from ntvl.wire.pcp import PCP_BYTES_MAX, PCP_MULTICAST_PORT

__all__ = ["UPNP", "MappingSession", "open_unicast"]

CLOSE_S: Final = 1.0
UPNP_HOLD_S: Final = 0.5
UPNP_RENEW_S: Final = 900.0
"""Far under half a lease: UPnP has no epoch, so this is how soon a router that forgot everything is noticed, if nothing
else shows it."""
UPNP_REFUSED_S: Final = 1800.0
UPNP_RETURN_S: Final = (30.0, 60.0, 120.0, 300.0, 600.0)
"""Waits after a mapping was lost: a router that starts anew needs a few minutes."""
SLEEP_S_MAX: Final = 10.0
"""asyncio's clock stops in suspend and the machine's does not."""
BATCH_MAX: Final = 32
ANNOUNCED: Final = ("224.0.0.1", "ff02::1")
UPNP: Final = "UPnP"
_WAITS_S: Final = {Standing.ABSENT: ABSENT_S, Standing.NOT_PUBLIC: NOT_PUBLIC_S}


class MappingSession:
    """Maps one UDP port at one gateway, from `open` to `close`.

    Args:
        port: our UDP port.
        on_change: called after each change of mapping or outcomes.
        random, clock: chance and time.
    """

    def __init__(
        self, gateway: Gateway, port: int, on_change: Callable[[], None], *, random: Random, clock: Clock
    ) -> None:
        self.gateway = gateway
        self._on_change = on_change
        self._clock = clock
        self._machine = PortMap(port, gateway.host, gateway.client, random=random)
        self._upnp = None if gateway.is_ipv6 else UpnpGateway(gateway, port, random=random)
        self._upnp_outcome = PortMapOutcome(UPNP, Standing.ASKING, "no answer yet")
        self._sockets: list[socket.socket] = []
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Event()
        self._doubted = asyncio.Event()

    @property
    def mapping(self) -> PortMapping | None:
        """Returns the mapping that holds, or None."""
        return self._machine.mapping or (self._upnp.mapping if self._upnp is not None else None)

    @property
    def protocol(self) -> str:
        """Returns the name of the protocol that has the mapping, "" without one."""
        return next((each.protocol for each in self.outcomes if each.standing is Standing.MAPPED), "")

    @property
    def outcomes(self) -> tuple[PortMapOutcome, ...]:
        """Returns how each protocol fares."""
        return self._machine.outcomes + ((self._upnp_outcome,) if self._upnp is not None else ())

    @property
    def drops(self) -> Counter[str]:
        """Returns what was dropped, by reason."""
        return self._machine.drops + (self._upnp.drops if self._upnp is not None else Counter())

    def open(self) -> None:
        """Begins to ask.

        Raises:
            OSError: our address is gone, or there is no socket to be had.
        """
        loop = asyncio.get_running_loop()
        self._sockets.append(open_unicast(self.gateway))
        with suppress(OSError):  # another program may hold the port; without it a restart is noticed two minutes later
            self._sockets.append(_open_multicast(self.gateway))
        for opened in self._sockets:
            loop.add_reader(opened, self._receive, opened)
        self._machine.start(self._clock())
        self._step()
        if self._upnp is not None:
            self._task = loop.create_task(self._run_upnp(self._upnp))

    def verify(self) -> None:
        """Asks whether the gateway still knows the mapping, by whichever protocol there is one."""
        self._machine.verify(self._clock())
        self._step()
        self._doubted.set()

    async def close(self) -> None:
        """Removes what was mapped, within a second; sends that once where the gateway has never said a word."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._machine.close(self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._sockets:
                    self._step()
                if self._upnp is not None:
                    await self._upnp.remove()
                while self._sockets and self._machine.is_heard and not self._machine.is_idle:
                    self._turn.clear()
                    await self._turn.wait()
        if self._timer is not None:
            self._timer.cancel()
        for opened in self._sockets:
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        self._sockets.clear()

    # --- PCP and NAT-PMP ---

    def _receive(self, opened: socket.socket) -> None:
        for _ in range(BATCH_MAX):
            try:
                data, source = opened.recvfrom(PCP_BYTES_MAX + 1)
            except OSError:  # nothing more, or a message that the gateway does not listen
                break
            origin = Origin(Address(source[0].partition("%")[0], source[1]))
            self._machine.handle_datagram(data, origin, self._clock())
        self._step()

    def _step(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock()
        wakeup = self._machine.poll_timeout()
        if wakeup is not None and wakeup.at <= now:
            self._machine.handle_timeout(now)
        for transmit in iter(self._machine.poll_transmit, None):
            scope = (0, self.gateway.index) if self.gateway.is_ipv6 else ()
            with suppress(OSError):  # the network is gone, or the queue full: the machine asks again
                self._sockets[0].sendto(transmit.data, (*transmit.address, *scope))
        changed = bool(list(iter(self._machine.poll_event, None)))
        wakeup = self._machine.poll_timeout()
        delay_s = SLEEP_S_MAX if wakeup is None else min(SLEEP_S_MAX, max(0.01, wakeup.at - now))
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._step)
        self._turn.set()
        if changed:
            self._on_change()

    # --- UPnP ---

    async def _run_upnp(self, upnp: UpnpGateway) -> None:
        await asyncio.sleep(0)
        hold = asyncio.create_task(asyncio.sleep(UPNP_HOLD_S))
        try:
            waits_s: Iterator[float] = iter(())
            while True:
                try:
                    await upnp.find()
                    await hold
                    await self._map_by(upnp)
                except UpnpRefusedError as refused:
                    self._tell(refused.standing, str(refused))
                    wait_s = next(waits_s, _WAITS_S.get(refused.standing, UPNP_REFUSED_S))
                else:
                    waits_s = iter(UPNP_RETURN_S)
                    wait_s = next(waits_s)
                self._machine.start(self._clock())
                self._step()
                await asyncio.sleep(wait_s)
        finally:
            hold.cancel()

    async def _map_by(self, upnp: UpnpGateway) -> None:
        """Maps when nothing else does, and renews until the mapping is lost.

        Raises:
            UpnpRefusedError: there was none to lose.
        """
        mapping = await self._win_by(upnp)
        self._machine.close(self._clock(), f"not needed beside {UPNP}")
        try:
            while True:
                lasts = f"for {mapping.lifetime_s} s" if mapping.lifetime_s else "until it is removed"
                self._tell(Standing.MAPPED, f"mapped to {mapping.external} {lasts}")
                self._step()
                await self._rest()
                mapping = await upnp.add()
        except UpnpRefusedError as refused:
            self._tell(Standing.REFUSED, f"the mapping was lost: {refused}")

    async def _rest(self) -> None:
        """Waits until the mapping by UPnP has to be renewed, suspend included, or somebody doubts that it is there."""
        self._doubted.clear()
        until = self._clock() + UPNP_RENEW_S
        while not self._doubted.is_set() and (left_s := until - self._clock()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(SLEEP_S_MAX, left_s)):
                    await self._doubted.wait()

    async def _win_by(self, upnp: UpnpGateway) -> PortMapping:
        """Returns a mapping made when nothing else had one; waits for as long as something has."""
        while True:
            while self._machine.is_settled:
                winner = next((o.protocol for o in self._machine.outcomes if o.standing is Standing.MAPPED), "another")
                self._tell(Standing.STOPPED, f"not needed beside {winner}")
                self._turn.clear()
                await self._turn.wait()
            self._tell(Standing.ASKING, "no answer yet")
            mapping = await upnp.add()
            if not self._is_beaten():
                return mapping
            await upnp.remove()

    def _is_beaten(self) -> bool:
        return self._machine.is_settled

    def _tell(self, standing: Standing, text: str) -> None:
        outcome = PortMapOutcome(UPNP, standing, text)
        if outcome != self._upnp_outcome:
            self._upnp_outcome = outcome
            self._on_change()


def open_unicast(gateway: Gateway) -> socket.socket:
    """Returns a UDP socket, not blocking, for PCP and NAT-PMP at a gateway.

    Raises:
        OSError: our address is gone, or there is no socket to be had.
    """
    opened = _new_socket(gateway)
    try:
        # PCP's answers must come back to the address that the request names (RFC 6887 section 8.1).
        opened.bind((gateway.client, 0))
    except OSError:
        opened.close()
        raise
    return opened


def _open_multicast(gateway: Gateway) -> socket.socket:
    opened = _new_socket(gateway)
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            opened.setsockopt(socket.SOL_SOCKET, option, 1)
        group = ANNOUNCED[gateway.is_ipv6]
        opened.bind((group, PCP_MULTICAST_PORT, *((0, gateway.index) if gateway.is_ipv6 else ())))
        if gateway.is_ipv6:
            member = struct.pack("16sI", socket.inet_pton(socket.AF_INET6, group), gateway.index)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        else:
            member = socket.inet_aton(group) + socket.inet_aton(gateway.client)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    except OSError:
        opened.close()
        raise
    return opened


def _new_socket(gateway: Gateway) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if gateway.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    with suppress(PermissionError):  # an old kernel wants privilege; the address binds to the link nearly as well
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, gateway.device.encode())
    return opened
