"""Captive portals, played on loopback."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.portal import find_portal, parse_portal
from ntvl.wire.address import Address

HOST = "sn.example.org"


def ask(answer: bytes, *, limit_s: float = 2.0, close: bool = True) -> tuple[str, bytes]:
    async def scenario() -> tuple[str, bytes]:
        heard, writers = b"", list[asyncio.StreamWriter]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heard
            writers.append(writer)
            heard = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if close:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = await find_portal([(SupernodeUrl(HOST, 1971, None), [Address("127.0.0.1", 1971)])], limit_s, port=port)
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)
        return found, heard

    return asyncio.run(scenario())


def test_a_portal_is_known_by_a_way_to_somewhere_else_which_is_not_followed() -> None:
    found, heard = ask(b"HTTP/1.1 302 Found\r\nServer: x\r\nLOCATION: http://login.hotel.example/?a=b\r\n\r\n")
    assert found == "http://login.hotel.example/?a=b"
    assert heard.startswith(b"GET / HTTP/1.1\r\nHost: sn.example.org\r\n")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", "?"),
        (b"HTTP/1.1 511 X\r\nLocation: http://a.example/\r\n\r\n", "http://a.example/"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://SN.example.org/\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /welcome\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", ""),
        (b"SSH-2.0-OpenSSH\r\n", ""),
        (b"", ""),
    ],
)
def test_other_answers_are_what_they_are(answer: bytes, found: str) -> None:
    assert ask(answer)[0] == found


def test_an_endless_or_silent_answer_is_none_in_time() -> None:
    assert ask(b"HTTP/1.1 302 Found\r\nX: " + b"x" * 100_000, close=False)[0] == ""
    assert ask(b"", limit_s=0.1, close=False)[0] == ""


@given(st.binary(max_size=300))
def test_any_bytes_are_read_and_what_is_shown_cannot_move_a_cursor(data: bytes) -> None:
    for head in (data, b"HTTP/1.1 302 X\r\nLocation: http://" + data, b"HTTP/1.1 511 X\r\nLocation:" + data):
        found = parse_portal(head, HOST)
        assert found.isprintable()
        assert len(found) <= 200
