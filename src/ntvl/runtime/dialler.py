"""Opens a stream to a supernode: TCP at its port, or a WebSocket over TLS, directly or through an HTTP proxy."""

import asyncio
from collections.abc import Sequence
from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.carrier import Carrier
from ntvl.runtime.framing import Framing, PlainFraming
from ntvl.runtime.proxy import Proxy
from ntvl.runtime.resolver import resolve
from ntvl.runtime.tls import client_context
from ntvl.runtime.websocket import WebSocketFraming
from ntvl.wire.address import Address
from ntvl.wire.connect import build_connect, parse_connect_answer

__all__ = ["TIME_LIMIT_S", "ProxyError", "dial"]

TIME_LIMIT_S: Final = 10.0
"""From the first packet to an open carrier: five round trips over a satellite, with one loss."""
_READ_BYTES: Final = 4096

_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ProxyError(OSError):
    """Says in one sentence that a proxy did not give us a tunnel."""


async def dial(
    kind: str, url: SupernodeUrl, addresses: Sequence[Address], engine: Address, *, proxy: Proxy | None = None
) -> Carrier:
    """Returns a carrier that is open; the caller runs and closes it.

    Args:
        kind: "tcp", "wss" or "proxy".
        url: the supernode's.
        addresses: what its name resolves to; a proxy resolves it by itself.
        engine: where our engine takes datagrams.
        proxy: for "proxy".
    Raises:
        ProxyError: what a person may have to do something about.
        OSError: no way there, or not within `TIME_LIMIT_S` (TimeoutError).
        PeerError: somebody else is there.
    """
    async with asyncio.timeout(TIME_LIMIT_S):
        framing: Framing
        if kind == "tcp":
            reader, writer = await _connect([Address(address.host, url.port) for address in addresses])
            framing = PlainFraming()
        else:
            if kind == "proxy" and proxy is not None:
                reader, writer = await _connect_through(proxy, url)
            else:
                reader, writer = await _connect([Address(address.host, url.wss) for address in addresses])
            await _secure(writer, url.host)
            framing = WebSocketFraming(url.host, url.wss)
        carrier = Carrier(reader, writer, framing, engine)
        try:
            await carrier.start()
        except BaseException:
            carrier.close()
            raise
        return carrier


async def _connect(addresses: Sequence[Address]) -> _Stream:
    """Returns a stream to the first of several addresses that takes one; all are tried at once."""
    if not addresses:
        raise OSError("the name does not resolve")
    tasks = {asyncio.create_task(asyncio.open_connection(*address)) for address in addresses}
    last: BaseException | None = None
    try:
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                last = task.exception()
                if last is None:
                    tasks |= done - {task}
                    return task.result()
        raise last or OSError("no address")
    finally:
        for task in tasks:
            task.add_done_callback(_close_late)
            task.cancel()


def _close_late(task: "asyncio.Task[_Stream]") -> None:
    """Closes a connection that nobody waits for any more."""
    if not task.cancelled() and task.exception() is None:
        task.result()[1].close()


async def _secure(writer: asyncio.StreamWriter, host: str) -> None:
    try:
        await writer.start_tls(client_context(), server_hostname=host)
    except BaseException:
        writer.transport.abort()
        raise


async def _connect_through(proxy: Proxy, url: SupernodeUrl) -> _Stream:
    """Returns a tunnel to the supernode's wss port."""
    found = await resolve(proxy.host, proxy.port)
    if isinstance(found, str):
        raise ProxyError(f"the name of the HTTP proxy {proxy} does not resolve ({found})")
    reader, writer = await _connect(found)
    try:
        writer.write(build_connect(url.host, url.wss, user=proxy.user, password=proxy.password))
        data = b""
        while (answer := parse_connect_answer(data)) is None:
            more = await reader.read(_READ_BYTES)
            if not more:
                raise PeerError("short", "the proxy hung up")
            data += more
        status, end = answer
        if status == 407:
            raise ProxyError(
                f"the HTTP proxy {proxy} "
                + ("refuses the user and password in https_proxy" if proxy.user else "wants a user and a password")
                + "; write them as http://USER:PASSWORD@HOST:PORT"
            )
        if not 200 <= status < 300:
            raise ProxyError(
                f"the HTTP proxy {proxy} refuses a tunnel to {Address(url.host, url.wss)} (status {status})"
            )
        if len(data) > end:
            raise PeerError("format", "a proxy's answer with something behind it")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer
