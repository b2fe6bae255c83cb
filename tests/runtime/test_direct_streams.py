"""Connections between two nodes, as carriers between two engines, on loopback."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.runtime.test_stream_server import Bench, serve

from ntvl.runtime import direct_streams
from ntvl.runtime.direct_streams import STREAMS_MAX, DirectStreams
from ntvl.wire.address import Address


class Side:
    """Is a node's streams, and what they tell."""

    def __init__(self, engine: Address) -> None:
        self.news: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.streams = DirectStreams(
            engine,
            tell_port=lambda *news: self.news.put_nowait(("port", *news)),
            tell_stream=lambda *news: self.news.put_nowait(("stream", *news)),
            tell_end=lambda *news: self.news.put_nowait(("end", *news)),
        )

    async def next(self) -> tuple[Any, ...]:
        return await asyncio.wait_for(self.news.get(), 5)

    async def port(self, number: int = 1, *servers: Address) -> Address:
        self.streams.want_port(number, servers)
        what, got, port, observed = await self.next()
        assert (what, got) == ("port", number)
        assert port
        return observed or Address("127.0.0.1", port)


def play(scenario: Callable[[Bench, Side, Side], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with serve() as bench:
            left, right = Side(bench.here.address), Side(bench.there.address)
            try:
                await scenario(bench, left, right)
            finally:
                await left.streams.close()
                await right.streams.close()

    asyncio.run(whole())
    gc.collect()  # A socket that was forgotten makes itself heard, and pytest makes that a failure.


def test_two_engines_speak_by_a_connection_between_their_nodes() -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        server = Address("127.0.0.1", bench.tcp)
        here, there = await left.port(1, server), await right.port(7, server)
        left.streams.dial(1, [there])
        right.streams.dial(7, [here])
        (what, number, remote, carrier), far = await left.next(), await right.next()
        assert (what, number, remote) == ("stream", 1, there)
        assert far[:3] == ("stream", 7, here)
        bench.here.send(b"there", carrier)
        data, source = await bench.there.receive()
        assert (data, source) == (b"there", far[3])
        bench.there.send(b"and back", source)
        assert (await bench.here.receive()) == (b"and back", carrier)
        left.streams.unwant(1)
        right.streams.unwant(7)
        bench.here.send(b"still", carrier)
        assert (await bench.there.receive())[0] == b"still"
        left.streams.close_stream(carrier)
        assert await right.next() == ("end", far[3])
        assert left.news.empty()
        assert not left.streams.drops
        assert not right.streams.drops

    play(scenario)


def test_the_port_is_told_without_an_address_where_no_server_tells_one() -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        left.streams.want_port(1, [Address("127.0.0.1", 1)])
        what, number, port, observed = await left.next()
        assert (what, number, observed) == ("port", 1, None)
        assert port > 0
        left.streams.want_port(2, [Address("127.0.0.1", 1), Address("127.0.0.1", bench.tcp)])
        _, _, port, observed = await left.next()
        assert observed == Address("127.0.0.1", port)

    play(scenario)


def test_no_port_to_have_is_told_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("no descriptors")

    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        monkeypatch.setattr(direct_streams, "SharedPort", refuse)
        left.streams.want_port(1, [])
        assert await left.next() == ("port", 1, 0, None)
        left.streams.dial(1, [Address("127.0.0.1", 9)])

    play(scenario)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "type"),
        (b"ntvl-stream/2\n", "version"),
        (b"ntvl-stream/1 nonsense\n", "format"),
        (b"ntvl-stream/1\n\x00\x00", "short"),
        (b"", "short"),
    ],
)
def test_who_does_not_greet_is_closed_and_counted(said: bytes, reason: str) -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        here = await left.port()
        left.streams.dial(1, [Address("127.0.0.1", 1)])
        reader, writer = await asyncio.open_connection(*here)
        writer.write(said)
        if not said:
            writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        for _ in range(100):
            if left.streams.drops:
                break
            await asyncio.sleep(0.01)
        assert left.streams.drops == {reason: 1}
        assert left.news.empty()

    play(scenario)


def test_who_says_nothing_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_streams, "GREET_S", 0.1)

    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        here = await left.port()
        left.streams.dial(1, [Address("127.0.0.1", 1)])
        reader, writer = await asyncio.open_connection(*here)
        assert await asyncio.wait_for(reader.read(), 5) == b"ntvl-stream/1\n"
        writer.close()

    play(scenario)


def test_no_more_than_some_connections_are_taken_at_once() -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        here = await left.port()
        left.streams.dial(1, [Address("127.0.0.1", 1)])
        opened = [await asyncio.open_connection(*here) for _ in range(STREAMS_MAX + 2)]
        for place, (reader, _) in enumerate(opened):
            first = await asyncio.wait_for(reader.read(100), 5)
            assert first == (b"ntvl-stream/1\n" if place < STREAMS_MAX else b"")
        for _, writer in opened:
            writer.close()

    play(scenario)


def test_a_dialling_that_nobody_ends_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_streams, "LIFE_S", 0.1)

    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        here = await left.port()
        left.streams.dial(1, [Address("127.0.0.1", 1)])
        await asyncio.sleep(0.3)
        with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(here)

    play(scenario)


def test_the_end_waits_for_nobody_and_forgets_no_connection() -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        here = await left.port()
        left.streams.dial(1, [Address("127.0.0.1", 1)])
        reader, writer = await asyncio.open_connection(*here)
        assert await asyncio.wait_for(reader.readline(), 5) == b"ntvl-stream/1\n"  # and it waits for ours
        began = asyncio.get_running_loop().time()
        await left.streams.close()
        assert asyncio.get_running_loop().time() - began < direct_streams.GREET_S / 2
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    play(scenario)


@pytest.mark.parametrize("passes", range(6))
def test_an_end_at_any_moment_of_an_opening_connection_closes_it(passes: int) -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        here = await left.port()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(here)
            left.streams.dial(1, [Address("127.0.0.1", 1)])
            for _ in range(passes):
                await asyncio.sleep(0)
            await left.streams.close()

    play(scenario)


def test_a_server_that_greets_as_a_node_tells_nothing_and_the_next_is_asked() -> None:
    async def scenario(bench: Bench, left: Side, right: Side) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"ntvl-stream/1\n")
            await reader.read()
            writer.close()

        node = await asyncio.start_server(greet, "127.0.0.1", 0)
        left.streams.want_port(1, [Address(*node.sockets[0].getsockname()), Address("127.0.0.1", bench.tcp)])
        _, _, port, observed = await left.next()
        assert observed == Address("127.0.0.1", port)
        node.close()

    play(scenario)
