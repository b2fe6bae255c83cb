"""Opening streams over real sockets of this host: proxies of all kinds, and those that are none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.runtime.test_stream_server import serve

from ntvl.errors import PeerError
from ntvl.identity.url import SupernodeUrl
from ntvl.runtime import dialler
from ntvl.runtime.dialler import ProxyError, dial
from ntvl.runtime.proxy import Proxy
from ntvl.wire.address import Address

ENGINE = Address("127.0.0.1", 9)


@asynccontextmanager
async def answering(
    answer: bytes, *, forward_to: int = 0, hold: bool = False
) -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """Gives a proxy that says `answer` to everything, and then is a tunnel to a port of this host."""
    requests: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            if forward_to:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", forward_to)
                try:
                    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
                finally:
                    far_writer.close()
            elif hold:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield Proxy("127.0.0.1", server.sockets[0].getsockname()[1], "user", "word"), requests
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def url(port: int = 443) -> SupernodeUrl:
    return SupernodeUrl("sn.example.org", port, None, port)


def test_a_proxy_is_asked_for_a_tunnel_by_name_and_the_stream_goes_through_it() -> None:
    async def scenario() -> None:
        async with serve() as bench, answering(b"HTTP/1.0 200 OK\r\n\r\n", forward_to=bench.wss) as (proxy, requests):
            carrier = await dial("proxy", url(), (), bench.here.address, proxy=proxy)
            running = asyncio.create_task(carrier.run())
            bench.here.send(b"through", carrier.address)
            assert (await bench.there.receive())[0] == b"through"
            assert requests[0].startswith(b"CONNECT sn.example.org:443 HTTP/1.1\r\n")
            assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n" in requests[0]
            running.cancel()
            carrier.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refuses the user and password"),
        (b"HTTP/1.1 403 Filtered\r\n\r\n", r"refuses a tunnel to sn.example.org:443 \(status 403\)"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n", r"\(status 302\)"),
    ],
)
def test_a_proxy_that_refuses_is_told_in_a_sentence(answer: bytes, words: str) -> None:
    async def scenario() -> None:
        async with answering(answer) as (proxy, _):
            with pytest.raises(ProxyError, match=words) as caught:
                await dial("proxy", url(), (), ENGINE, proxy=proxy)
            assert "word;" not in str(caught.value)

    asyncio.run(scenario())


def test_a_proxy_that_wants_a_password_where_there_is_none_is_told_so() -> None:
    async def scenario() -> None:
        async with answering(b"HTTP/1.1 407 No\r\n\r\n") as (proxy, _):
            with pytest.raises(ProxyError, match="wants a user and a password"):
                await dial("proxy", url(), (), ENGINE, proxy=Proxy(proxy.host, proxy.port))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "short"),
        (b"SSH-2.0-OpenSSH\r\n", "format"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4000, "long"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "format"),
    ],
)
def test_a_proxy_that_answers_nonsense_is_counted(answer: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with answering(answer) as (proxy, _):
            with pytest.raises(PeerError) as caught:
                await dial("proxy", url(), (), ENGINE, proxy=proxy)
            assert caught.value.reason == reason

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_proxy_that_falls_silent_is_not_waited_for(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialler, "TIME_LIMIT_S", 0.2)

    async def scenario() -> None:
        async with answering(answer, hold=True) as (proxy, _):
            with pytest.raises(TimeoutError):
                await dial("proxy", url(), (), ENGINE, proxy=proxy)

    asyncio.run(scenario())


def test_what_is_no_supernode_is_left() -> None:
    async def scenario() -> None:
        async with answering(b"") as (other, _):
            for kind, error in (("tcp", TimeoutError), ("wss", OSError)):
                with pytest.raises(error):
                    async with asyncio.timeout(0.3):
                        await dial(kind, url(other.port), [Address("127.0.0.1", other.port)], ENGINE)

    asyncio.run(scenario())


def test_the_first_address_that_answers_is_taken_and_none_is_an_error() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            addresses = [Address("127.0.0.2", bench.tcp), Address("127.0.0.1", bench.tcp), Address("127.0.0.3", 9)]
            carrier = await dial("tcp", url(bench.tcp), addresses, bench.here.address)
            carrier.close()
            with pytest.raises(OSError, match=r"refused|Refused|failed"):
                await dial("tcp", url(bench.tcp), addresses[:1], bench.here.address)
            with pytest.raises(OSError, match="does not resolve"):
                await dial("tcp", url(), (), bench.here.address)

    asyncio.run(scenario())
