"""SSDP: where a gateway has its UPnP description.

Everybody on the link can answer a search, so an answer counts only if it comes from the gateway's own address and names
a place there. The search goes out by the interface of the default route alone, to the group, and to the gateway itself
for links that lose multicast.

Source: UPnP Device Architecture 1.1 section 1.3.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from async_upnp_client.ssdp import build_ssdp_search_packet, decode_ssdp_packet

from ntvl.errors import PeerError
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.requester import is_of_gateway

__all__ = ["SearchListener", "search"]

SSDP_PORT: Final = 1900
SSDP_HOST: Final = "239.255.255.250"
SEARCH_S: Final = (1.0, 2.0)
"""Wait for answers after each of two searches; they ask for an answer within 1 s (MX)."""
TARGETS: Final = tuple(f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2))
LOCATIONS_MAX: Final = 4


async def search(gateway: Gateway, drops: Counter[str]) -> list[str]:
    """Returns where the gateway's descriptions are, at most four, by its own word.

    Args:
        drops: counts the answers that were dropped, by reason.
    """
    loop = asyncio.get_running_loop()
    found: dict[str, None] = {}
    came = asyncio.Event()

    def take(location: str) -> None:
        if len(found) < LOCATIONS_MAX or location in found:
            found[location] = None
            came.set()
        else:
            drops["queue-full"] += 1

    try:
        opened = _open_socket(gateway)
    except OSError:
        return []
    transport, _ = await loop.create_datagram_endpoint(lambda: SearchListener(gateway.host, take, drops), sock=opened)
    try:
        for wait_s in SEARCH_S:
            for target in TARGETS:
                for host in (SSDP_HOST, gateway.host):
                    transport.sendto(build_ssdp_search_packet((host, SSDP_PORT), 1, target), (host, SSDP_PORT))
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await came.wait()
            if found:
                break
    finally:
        transport.close()
    return list(found)


def _open_socket(gateway: Gateway) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        with suppress(PermissionError):  # an old kernel wants privilege; the address below binds to the link as well
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, gateway.device.encode())
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(gateway.client))
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        opened.bind((gateway.client, 0))
    except OSError:
        opened.close()
        raise
    return opened


class SearchListener(asyncio.DatagramProtocol):
    """Hears the answers to a search.

    Args:
        gateway: its literal address.
        on_location: takes each place that the gateway names.
        drops: counts what was dropped, by reason.
    """

    def __init__(self, gateway: str, on_location: Callable[[str], None], drops: Counter[str]) -> None:
        self._gateway = gateway
        self._on_location = on_location
        self._drops = drops

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Takes an answer of the gateway itself that names a place at the gateway itself; counts any other."""
        try:
            location = self._read(data, addr)
        except PeerError as error:
            self._drops[error.reason] += 1
        else:
            self._on_location(location)

    def _read(self, data: bytes, addr: tuple[Any, ...]) -> str:
        if addr[0] != self._gateway:
            raise PeerError("transaction", f"from {addr[0]}")
        if not data.startswith(b"HTTP/1.1 200"):
            raise PeerError("type")
        try:
            location = str(decode_ssdp_packet(data, None, (addr[0], addr[1]))[1]["location"])
        except Exception as error:  # whatever a stranger's datagram makes of the package
            raise PeerError("format") from error
        if not is_of_gateway(location, self._gateway):
            raise PeerError("elsewhere")
        return location

    def error_received(self, exc: Exception) -> None:
        """Goes on: nobody may listen at the port of searches."""
