import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from ntvl.errors import REASONS, PeerError
from ntvl.runtime.websocket import WebSocketFraming

MASK = True
NO_SUBPROTOCOL = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
WRONG_ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: bm9ib2R5\r\n\r\n"
)


def pair() -> tuple[WebSocketFraming, WebSocketFraming]:
    client, server = WebSocketFraming("sn.example.org", 8443), WebSocketFraming()
    assert server.feed(client.begin()) == []
    assert client.feed(server.take_output()) == []
    assert client.is_open
    assert server.is_open
    return client, server


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=6), st.integers(1, 500))
def test_datagrams_come_out_however_the_stream_is_cut(datagrams: list[bytes], size: int) -> None:
    client, server = pair()
    for one, other in ((client, server), (server, client)):
        stream = b"".join(map(one.frame, datagrams))
        assert [d for at in range(0, len(stream), size) for d in other.feed(stream[at : at + size])] == datagrams


def test_the_request_names_host_port_path_and_subprotocol_and_no_compression() -> None:
    request = WebSocketFraming("2001:db8::1", 8443).begin().decode()
    assert request.startswith("GET /ntvl HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n")
    assert "Sec-WebSocket-Protocol: ntvl\r\n" in request
    assert "Sec-WebSocket-Extensions" not in request


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: sn.example.org\r\n\r\n", b"HTTP/1.1 426 "),
        (
            NO_SUBPROTOCOL,
            b"HTTP/1.1 400 ",
        ),
        (b"POST /x HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    ],
)
def test_whoever_wants_something_else_gets_a_harmless_answer(request_: bytes, status: bytes) -> None:
    server = WebSocketFraming()
    with pytest.raises(PeerError, match="type"):
        server.feed(request_)
    assert server.take_output().startswith(status)
    assert not server.is_open


def test_a_client_takes_no_other_answer_than_an_upgrade() -> None:
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\nContent-Length: 0\r\n\r\n",
        WRONG_ACCEPT,
    ):
        client = WebSocketFraming("sn.example.org")
        client.begin()
        with pytest.raises(PeerError, match="type"):
            client.feed(answer)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.TEXT, b"hello"),
        Frame(Opcode.BINARY, b"part", fin=False),
        Frame(Opcode.CONT, b"nothing before"),
        Frame(Opcode.CLOSE, b"\x03\xe8"),
        Frame(Opcode.BINARY, bytes(65536)),
    ],
)
def test_what_is_no_datagram_ends_the_stream(frame: Frame) -> None:
    _, server = pair()
    with pytest.raises(PeerError) as caught:
        server.feed(frame.serialize(mask=MASK))
    assert caught.value.reason in ("format", "expired")
    assert server.frame(b"late") == b""


def test_a_ping_is_answered() -> None:
    client, server = pair()
    assert server.feed(Frame(Opcode.PING, b"there?").serialize(mask=MASK)) == []
    assert client.feed(server.take_output()) == []
    assert client.is_open


def test_headers_without_end_are_given_up() -> None:
    server = WebSocketFraming()
    with pytest.raises(PeerError):
        server.feed(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
    endless = WebSocketFraming()
    with pytest.raises(PeerError):
        for _ in range(100):
            endless.feed(b"GET /" + b"a" * 1000)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_datagrams_or_a_listed_reason(data: bytes, opened: bool) -> None:
    server = pair()[1] if opened else WebSocketFraming()
    try:
        server.feed(data)
    except PeerError as error:
        assert error.reason in REASONS
