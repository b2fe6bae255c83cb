"""Names of supernodes become addresses, again and again, since a laptop starts offline and a server moves.

A literal address needs no asking. A name is asked for at the start, after a change of network, every few minutes, and
at a falling rate while it does not resolve. Each question has a daemon thread of its own: getaddrinfo(3) may hang for
half a minute, which must delay neither the other names nor the end of the program.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.url import SupernodeUrl
from ntvl.wire.address import Address, parse_address

__all__ = ["Lookup", "Resolver", "look_up", "resolve"]

AGAIN_S: Final = 300.0
RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

Lookup = Callable[[str, int], list[Address]]
"""Returns the addresses of a host, or raises `socket.gaierror`; may block."""


def look_up(host: str, port: int) -> list[Address]:
    """Returns what the system's resolver knows of a name, in its order of preference (RFC 6724); blocks.

    Raises:
        socket.gaierror: it knows nothing.
    """
    found: list[Address] = []
    for _, _, _, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        try:
            found.append(parse_address(str(where[0]), port))
        except PeerError:  # a link-local address with its zone, which is no place for a supernode
            continue
    return list(dict.fromkeys(found))


async def resolve(host: str, port: int, lookup: Lookup = look_up) -> list[Address] | str:
    """Returns the addresses of a host, at least one, or in words why there are none."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address] | str] = loop.create_future()

    def tell(found: list[Address] | str) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        found: list[Address] | str
        try:
            found = lookup(host, port) or "it has no usable address"
        except OSError as error:
            found = (error.strerror or str(error)).lower()
        except UnicodeError:
            found = "it is no host name"
        try:
            loop.call_soon_threadsafe(tell, found)
        except RuntimeError:  # the loop closed meanwhile: nobody asks any more
            pass

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await answer


class Resolver:
    """Keeps one supernode's name resolved.

    Args:
        url: whose host to resolve.
        on_addresses: takes the addresses, none where the name does not resolve.
        on_failure: takes a reason once each time that a name stops to resolve.
        lookup: the system's resolver, or a test's.
    """

    def __init__(
        self,
        url: SupernodeUrl,
        *,
        on_addresses: Callable[[Sequence[Address]], None],
        on_failure: Callable[[str], None],
        lookup: Lookup = look_up,
        retry_s: Sequence[float] = RETRY_S,
    ) -> None:
        self.url = url
        self._on_addresses = on_addresses
        self._on_failure = on_failure
        self._lookup = lookup
        self._retry_s = retry_s
        self._asked = asyncio.Event()

    def ask_again(self) -> None:
        """Has the name resolved now: the network changed, or the supernode fell silent."""
        self._asked.set()

    async def run(self) -> None:
        """Resolves until cancelled; a literal address is told once."""
        try:
            literal = ipaddress.ip_address(self.url.host)
        except ValueError:
            await self._run()
        else:
            self._on_addresses([Address(str(literal), self.url.port)])

    async def _run(self) -> None:
        failures = 0
        while True:
            self._asked.clear()
            found = await resolve(self.url.host, self.url.port, self._lookup)
            if isinstance(found, str):
                if failures == 0:
                    self._on_failure(found)
                self._on_addresses([])
                delay_s = self._retry_s[min(failures, len(self._retry_s) - 1)]
                failures += 1
            else:
                self._on_addresses(found)
                failures, delay_s = 0, AGAIN_S
            try:
                async with asyncio.timeout(delay_s):
                    await self._asked.wait()
            except TimeoutError:
                pass
