"""The connection with a TURN server, and from where it goes."""

import asyncio
from contextlib import suppress

import pytest

from ntvl.identity.turn_uri import TurnTransport
from ntvl.runtime.turn_link import find_source, open_link
from ntvl.wire.address import Address
from ntvl.wire.turn import build_channel_data


def test_the_kernel_says_from_where_a_server_is_reached() -> None:
    assert find_source(Address("127.0.0.1", 3478)) == "127.0.0.1"
    assert find_source(Address("255.255.255.255", 3478)) == ""


@pytest.mark.parametrize("transport", [TurnTransport.UDP, TurnTransport.TCP])
def test_a_link_knows_its_source_until_it_is_closed_and_says_why_it_is_lost(transport: TurnTransport) -> None:
    async def scenario() -> None:
        lost: asyncio.Queue[str] = asyncio.Queue()
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            link = await open_link(
                transport,
                Address("127.0.0.1", port),
                "127.0.0.1",
                on_message=lambda message: None,
                on_lost=lost.put_nowait,
            )
            assert link.source() == "127.0.0.1"
            link.send(b"anybody")
            async with asyncio.timeout(5.0):
                reason = await lost.get()
            assert reason in ("nothing listens there", "it closed the connection", "connection reset by peer")
            link.close()
            await asyncio.sleep(0)
            assert not link.send(b"too late")

    asyncio.run(scenario())


def test_a_stream_of_something_else_is_ended() -> None:
    async def scenario() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(build_channel_data(0x4000, b"one", padded=True) + b"SSH-2.0-OpenSSH_9.6\r\n")
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            gone.set()

        gone = asyncio.Event()
        taken: list[bytes] = []
        lost: asyncio.Queue[str] = asyncio.Queue()
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await open_link(
                TurnTransport.TCP,
                Address("127.0.0.1", port),
                "127.0.0.1",
                on_message=taken.append,
                on_lost=lost.put_nowait,
            )
            async with asyncio.timeout(5.0):
                assert await lost.get() == "it sends what is no TURN"
                await gone.wait()
        assert taken == [build_channel_data(0x4000, b"one", padded=False)]

    asyncio.run(scenario())
