"""A relay at somebody's TURN server, kept up: connected, allocated, renewed, and made anew when it is lost.

    resolve -> connect -> TurnClient -> allocated ... lost -> wait -> resolve ...

`proto/turn.py` decides what is said; here are sockets, names, the clock and patience. After a failure it tries again
after 1, 2, 5, 10, 30 and then 60 s; where the server refused for good (a wrong password, a user who may not), every
five minutes, so that nobody is locked out for asking too often.
"""

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from ntvl.identity.turn_uri import TurnTransport, TurnUri
from ntvl.proto.bucket import TokenBucket
from ntvl.proto.machine import Random
from ntvl.proto.turn import TurnClient
from ntvl.proto.turn_events import Allocated, Closed, Data, Moved, TurnEvent, TurnFailed
from ntvl.runtime.clock import Clock, boot_time
from ntvl.runtime.resolver import Lookup, look_up, resolve
from ntvl.runtime.turn_link import TurnLink, explain_failure, find_source, open_link
from ntvl.wire.address import Address
from ntvl.wire.credential import Credentials

__all__ = ["RelayChange", "TurnRelay"]

CONNECT_S: Final = 10.0
CLOSE_S: Final = 1.5
"""How long `close` waits for the server to take the allocation back; it ends by itself otherwise."""
RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
REFUSED_RETRY_S: Final = 300.0
VERIFY_EVERY_S: Final = 10.0
VERIFY_BURST: Final = 4
"""A supernode that sees us elsewhere all the time costs the server a request so often and not more."""
SLEEP_S_MAX: Final = 1.0
"""Longest sleep: the clock goes on in suspend, while asyncio's does not."""


class RelayChange(NamedTuple):
    """Tells how a relay stands: with `relayed` it works, else `reason` says in words why not."""

    relayed: Address | None
    mapped: Address | None = None
    reason: str = ""


class _Outcome(NamedTuple):
    reason: str
    lasting: bool = False


class TurnRelay:
    """Keeps one allocation at one server.

    Args:
        uri: the server.
        credentials: user name and password.
        on_data: takes each datagram of a peer, with the peer's address.
        on_change: takes how the relay stands, once it is up and each time that it is lost or cannot be had.
        tls: for `turns:` URIs; by default the system's trust roots.
        ipv6: lends an IPv6 address, for IPv6 peers, instead of an IPv4 one.
    """

    def __init__(
        self,
        uri: TurnUri,
        credentials: Credentials,
        *,
        on_data: Callable[[Address, bytes], None],
        on_change: Callable[[RelayChange], None],
        tls: ssl.SSLContext | None = None,
        ipv6: bool = False,
        lookup: Lookup = look_up,
        clock: Clock = boot_time,
        random: Random = os.urandom,
    ) -> None:
        self.uri = uri
        self._credentials = credentials
        self._on_data = on_data
        self._on_change = on_change
        self._tls = tls
        self._ipv6 = ipv6
        self._lookup = lookup
        self._clock = clock
        self._random = random
        self._task: asyncio.Task[None] | None = None
        self._client: TurnClient | None = None
        self._link: TurnLink | None = None
        self._ended: asyncio.Future[_Outcome | Moved] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._was_up = False
        self._verifying = TokenBucket(1.0 / VERIFY_EVERY_S, VERIFY_BURST)
        self._drops: Counter[str] = Counter()
        """Of clients that ended."""

    @property
    def relayed(self) -> Address | None:
        """Returns the address that the server lends us now, or None."""
        return None if self._client is None else self._client.relayed

    @property
    def drops(self) -> Counter[str]:
        """Returns what was dropped since the start, by reason."""
        return self._drops + (Counter() if self._client is None else self._client.drops)

    async def start(self) -> None:
        """Begins; returns at once, and `on_change` tells how it goes."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"relay {self.uri}")

    def send(self, peer: Address, payload: bytes) -> None:
        """Sends a datagram to a peer by the relay; without a relay it is dropped, as a network would."""
        if self._client is not None:
            self._client.send(peer, payload, self._clock())
            self._flush()

    def permit(self, host: str) -> None:
        """Lets in what a peer sends from an address, whatever its port."""
        if self._client is not None:
            self._client.permit(host, self._clock())
            self._flush()

    def handle_network_change(self) -> None:
        """Begins anew where the way to the server now begins at another address of ours: it would answer the old one.

        Where it does not, or there is none for the moment, the allocation is worth more than a new one with another
        address, of which peers would have to hear first.
        """
        client, link, ended = self._client, self._link, self._ended
        if client is None or link is None or ended is None or ended.done():
            return
        if find_source(client.server) not in ("", link.source()):
            ended.set_result(_Outcome("this computer's network changed"))

    def verify(self) -> None:
        """Asks the server whether it still knows the allocation, if that was not asked just now."""
        if self._client is not None and self._verifying.take(self._clock()):
            self._client.verify(self._clock())
            self._flush()

    async def close(self) -> None:
        """Gives the allocation back and ends; calling again is harmless."""
        client, ended, task = self._client, self._ended, self._task
        self._task = None
        if client is not None and ended is not None and self._link is not None:
            client.close(self._clock())
            self._flush()
            try:
                async with asyncio.timeout(CLOSE_S):
                    await asyncio.shield(ended)
            except TimeoutError:
                pass
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()  # a bug in it is its caller's to see

    # --- life ---

    async def _run(self) -> None:
        failures = 0
        while True:
            self._was_up = False
            outcome = await self._session()
            if self._task is None:  # closed: there is nothing to tell
                return
            self._on_change(RelayChange(None, reason=outcome.reason))
            failures = 0 if self._was_up else failures
            await asyncio.sleep(REFUSED_RETRY_S if outcome.lasting else RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    async def _session(self) -> _Outcome:
        """Returns why the relay is lost, or could not be had."""
        found = await resolve(self.uri.host, self.uri.port, self._lookup)
        if isinstance(found, str):
            return _Outcome(f"the server's name does not resolve: {found}")
        stream = self.uri.transport is not TurnTransport.UDP
        client = TurnClient(found[0], self._credentials, stream=stream, random=self._random, ipv6=self._ipv6)
        name = self.uri.host
        try:
            while True:
                outcome = await self._connect(client, name)
                if not isinstance(outcome, Moved):
                    return outcome
                name = outcome.domain or name
        finally:
            self._client = None
            self._drops.update(client.drops)

    async def _connect(self, client: TurnClient, name: str) -> _Outcome | Moved:
        """Returns how one connection with `client.server` ended."""
        ended: asyncio.Future[_Outcome | Moved] = asyncio.get_running_loop().create_future()

        def lose(reason: str) -> None:
            if not ended.done():
                ended.set_result(_Outcome(f"the connection with the server is lost: {reason}"))

        def take(message: bytes) -> None:
            client.handle_datagram(message, self._clock())
            self._flush()

        self._ended = ended
        try:
            async with asyncio.timeout(CONNECT_S):
                self._link = await open_link(
                    self.uri.transport, client.server, name, on_message=take, on_lost=lose, tls=self._tls
                )
        except OSError as error:  # TimeoutError is one
            return _Outcome(f"the server cannot be reached: {explain_failure(error)}")
        try:
            self._client = client
            client.start(self._clock())
            self._wake()
            return await ended
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._link.close()
            self._link = None

    def _wake(self) -> None:
        """Has the client do what is due, and comes back when more is."""
        client = self._client
        if client is None or self._ended is None or self._ended.done():
            return
        client.handle_timeout(self._clock())
        self._flush()

    def _flush(self) -> None:
        """Hands on what the client has to say, and sleeps until it has more."""
        client, link, ended = self._client, self._link, self._ended
        if client is None or link is None or ended is None:
            return
        while (data := client.poll_transmit()) is not None:
            if not link.send(data):
                client.drops["send-failed"] += 1
        while (event := client.poll_event()) is not None:
            self._handle_event(event, ended)
        if ended.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        wakeup = client.poll_timeout()
        delay_s = SLEEP_S_MAX if wakeup is None else min(SLEEP_S_MAX, max(0.0, wakeup.at - self._clock()))
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _handle_event(self, event: TurnEvent, ended: asyncio.Future[_Outcome | Moved]) -> None:
        match event:
            case Data():
                self._on_data(event.peer, event.payload)
            case Allocated():
                self._was_up = True
                self._on_change(RelayChange(event.relayed, event.mapped))
            case Moved() if not ended.done():
                ended.set_result(event)
            case TurnFailed() if not ended.done():
                ended.set_result(_Outcome(event.reason, event.lasting))
            case Closed() if not ended.done():
                ended.set_result(_Outcome("closed"))
