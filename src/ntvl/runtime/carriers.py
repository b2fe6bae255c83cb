"""The carriers of a node: opened and closed as its machine asks, each run by a task of its own."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

from ntvl.errors import PeerError
from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.carrier import Carrier
from ntvl.runtime.dialler import ProxyError, dial
from ntvl.runtime.proxy import Proxy
from ntvl.wire.address import Address

__all__ = ["Carriers"]

Tell = Callable[[int, str, Address | None], None]
"""Takes a supernode's place, a kind, and where its carrier is, or None where it failed or broke."""


class Carriers:
    """Keeps the carriers to a node's supernodes.

    Args:
        urls: the supernodes.
        proxies: the proxy towards each, or None.
        engine: where the node's engine takes datagrams.
        tell: hears what becomes of each carrier that was wanted, but not of its end by `unwant`.
        warn: takes a sentence for the person, each once.
    """

    def __init__(
        self,
        urls: Sequence[SupernodeUrl],
        proxies: Sequence[Proxy | None],
        engine: Address,
        *,
        tell: Tell,
        warn: Callable[[str], None],
    ) -> None:
        self._urls = urls
        self._proxies = proxies
        self._engine = engine
        self._tell = tell
        self._warn = warn
        self._warned: set[str] = set()
        self._addresses: dict[int, Sequence[Address]] = {}
        self._tasks: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._drops: Counter[str] = Counter()
        """Of carriers that ended."""
        self._running: set[Carrier] = set()

    @property
    def drops(self) -> Counter[str]:
        """Returns what carriers lost since the start, and why streams ended that did not break, by reason."""
        return sum((carrier.drops for carrier in self._running), self._drops)

    def set_addresses(self, index: int, addresses: Sequence[Address]) -> None:
        """Takes what a supernode's name resolves to."""
        self._addresses[index] = tuple(addresses)

    def want(self, index: int, kind: str) -> None:
        """Opens a carrier, in place of the one of that kind."""
        self.unwant(index, kind)
        self._tasks[index, kind] = asyncio.get_running_loop().create_task(self._carry(index, kind))

    def unwant(self, index: int, kind: str) -> None:
        """Closes a carrier, if it is there."""
        task = self._tasks.pop((index, kind), None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Closes all."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, index: int, kind: str) -> None:
        try:
            carrier = await dial(
                kind,
                self._urls[index],
                self._addresses.get(index, ()),
                self._engine,
                proxy=self._proxies[index],
            )
            self._running.add(carrier)
            try:
                self._tell(index, kind, carrier.address)
                await carrier.run()
            finally:
                carrier.close()
                self._running.discard(carrier)
                self._drops.update(carrier.drops)
        except ProxyError as error:
            self._warn_once(str(error))
        except PeerError as error:
            self._drops[error.reason] += 1
        except (OSError, ssl.SSLError, EOFError):
            pass  # Refused, unreachable, broken, too slow: there is nothing to count, and the machine tries others.
        if self._tasks.get((index, kind)) is asyncio.current_task():
            del self._tasks[index, kind]
            self._tell(index, kind, None)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)
