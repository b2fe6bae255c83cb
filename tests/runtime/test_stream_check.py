import asyncio

import pytest
from tests.runtime.test_dialler import answering
from tests.runtime.test_stream_server import serve

from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.stream_check import SILENT, SOMEBODY, WORKS, check_streams
from ntvl.wire.address import Address

HERE = [Address("127.0.0.1", 1)]


def test_ways_that_work_and_ways_that_do_not_are_told_apart() -> None:
    async def scenario() -> None:
        async with (
            serve() as bench,
            answering(b"HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n") as (portal, _),
            answering(b"", hold=True) as (silent, _),
        ):
            urls = [
                SupernodeUrl("one.example", bench.tcp, None, bench.wss),
                SupernodeUrl("two.example", 9, None, portal.port),
                SupernodeUrl("three.example", silent.port, None, 9),
            ]
            environ = {"https_proxy": f"http://{portal}", "no_proxy": "one.example,three.example"}
            found = await check_streams([(url, HERE) for url in urls], environ, 0.3)
            assert found[0] == {"tcp": WORKS, "wss": WORKS}
            assert "connect" in found[1]["tcp"]
            assert "status 302" in found[1]["proxy"]
            assert found[2]["tcp"] == SILENT

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n<html>", b"220 mail.example ESMTP\r\n"])
def test_somebody_else_in_the_place_of_a_supernode_is_called_so(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read(1)
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(say, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = await check_streams([(SupernodeUrl("sn.example", port, None, port), HERE)], {}, 1.0)
        assert found == [{"tcp": SOMEBODY, "wss": SOMEBODY}]
        server.close()

    asyncio.run(scenario())


def test_a_proxy_that_cannot_be_used_counts_as_none() -> None:
    found = asyncio.run(check_streams([(SupernodeUrl("sn.example", 9, None), HERE)], {"all_proxy": "socks5://p"}, 0.2))
    assert set(found[0]) == {"tcp", "wss"}
