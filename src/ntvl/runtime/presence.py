"""Which port-mapping protocols the gateways of this machine speak, on real sockets and without a mapping made.

PCP and NAT-PMP are asked what makes nothing; UPnP is searched for, and counts where the gateway describes a connection
whose ports can be mapped.
"""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field

from ntvl.proto.presence import PRESENCE_S, Presence
from ntvl.runtime.clock import boot_time
from ntvl.runtime.gateway import Gateway, read_gateways
from ntvl.runtime.mapping_session import UPNP, open_unicast
from ntvl.runtime.netlink import NetlinkError
from ntvl.runtime.upnp import UpnpGateway, UpnpRefusedError
from ntvl.wire.address import Address, Origin
from ntvl.wire.pcp import PCP_BYTES_MAX

__all__ = ["GatewayProtocols", "read_protocols"]


@dataclass(frozen=True, slots=True)
class GatewayProtocols:
    """Is a gateway's literal address, and the protocols that it speaks: of "PCP", "NAT-PMP" and "UPnP".

    `drops` counts what came and was no answer of the gateway, by reason.
    """

    gateway: str
    protocols: tuple[str, ...]
    drops: Counter[str] = field(default_factory=Counter)


async def read_protocols() -> tuple[GatewayProtocols, ...]:
    """Returns each gateway of this machine, IPv4 first; takes `PRESENCE_S`, less where all answer sooner."""
    try:
        gateways = await read_gateways()
    except (NetlinkError, OSError):
        return ()
    return tuple(await asyncio.gather(*map(_look, gateways)))


async def _look(gateway: Gateway) -> GatewayProtocols:
    drops: Counter[str] = Counter()
    asked, has_upnp = await asyncio.gather(_ask(gateway, drops), _has_upnp(gateway, drops))
    return GatewayProtocols(gateway.host, (*asked, UPNP) if has_upnp else asked, drops)


async def _has_upnp(gateway: Gateway, drops: Counter[str]) -> bool:
    if gateway.is_ipv6:
        return False
    upnp = UpnpGateway(gateway, 1, random=os.urandom)
    try:
        async with asyncio.timeout(PRESENCE_S):
            await upnp.find()
    except (UpnpRefusedError, TimeoutError):
        return False
    finally:
        drops.update(upnp.drops)
    return True


async def _ask(gateway: Gateway, drops: Counter[str]) -> tuple[str, ...]:
    machine = Presence(gateway.host, gateway.client)
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    try:
        opened = open_unicast(gateway)
    except OSError:  # our address is gone
        return ()
    with closing(opened):
        loop.add_reader(opened, _reader(opened, machine, came))
        try:
            machine.start(boot_time())
            while True:
                while (sent := machine.poll_transmit()) is not None:
                    scope = (0, gateway.index) if gateway.is_ipv6 else ()
                    with suppress(OSError):  # no route: the same as silence
                        opened.sendto(sent.data, (*sent.address, *scope))
                wakeup = machine.poll_timeout()
                if wakeup is None:
                    return tuple(protocol for protocol, speaks in machine.speaks.items() if speaks)
                came.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, wakeup.at - boot_time())):
                        await came.wait()
                machine.handle_timeout(boot_time())
        finally:
            loop.remove_reader(opened)
            drops.update(machine.drops)


def _reader(opened: socket.socket, machine: Presence, came: asyncio.Event) -> Callable[[], None]:
    def receive() -> None:
        with suppress(OSError):
            data, source = opened.recvfrom(PCP_BYTES_MAX + 1)
            machine.handle_datagram(data, Origin(Address(source[0].partition("%")[0], source[1])), boot_time())
        came.set()

    return receive
