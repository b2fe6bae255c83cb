import asyncio
import errno
import ssl

import pytest
from tests.runtime.test_dialler import answering
from tests.runtime.test_stream_server import serve

from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.dialler import ProxyError
from ntvl.runtime.stream_check import (
    CUT,
    NO_ROUTE,
    NO_TLS,
    REFUSED,
    SILENT,
    SOMEBODY,
    WORKS,
    check_streams,
    describe_failure,
)
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
            assert found[1]["tcp"] == REFUSED
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
        assert found[0]["tcp"] == SOMEBODY
        assert found[0]["wss"] in (NO_TLS, CUT), "it depends on whether the end or the words come first"
        server.close()

    asyncio.run(scenario())


def test_a_proxy_that_cannot_be_used_counts_as_none() -> None:
    found = asyncio.run(check_streams([(SupernodeUrl("sn.example", 9, None), HERE)], {"all_proxy": "socks5://p"}, 0.2))
    assert set(found[0]) == {"tcp", "wss"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 9)"), REFUSED),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 9)"), NO_ROUTE),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), NO_ROUTE),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), SILENT),
        (TimeoutError(), SILENT),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"), NO_TLS),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), CUT),
        (ConnectionResetError(), CUT),
        (ProxyError("the HTTP proxy p:1 refuses a tunnel"), "the HTTP proxy p:1 refuses a tunnel"),
        (OSError("the name does not resolve"), "the name does not resolve"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
)
def test_a_failure_is_told_in_words(error: OSError, words: str) -> None:
    assert describe_failure(error) == words
