"""Streams to a supernode over real sockets: what they carry, and what strangers meet."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ntvl.errors import UsageError
from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.carrier import Carrier
from ntvl.runtime.dialler import dial
from ntvl.runtime.stream_server import StreamServer
from ntvl.runtime.tls import client_context, server_context
from ntvl.wire.address import Address
from ntvl.wire.stream import build_frame, build_greeting

HERE = Address("127.0.0.1", 0)


class Engine:
    """Stands for an engine: its UDP port."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(("127.0.0.1", 0))
        self.address = Address(*self.socket.getsockname())

    async def receive(self) -> tuple[bytes, Address]:
        data, source = await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(self.socket, 65536), 5)
        return data, Address(*source)

    def send(self, data: bytes, to: Address | None) -> None:
        assert to is not None
        self.socket.sendto(data, to)


class Bench:
    def __init__(self, **limits: Any) -> None:
        self.here, self.there = Engine(), Engine()
        self.present: Iterable[Address] = ()
        self.server = StreamServer(self.there.address, lambda: self.present, **limits)
        self.tcp = self.wss = 0

    async def open(self, kind: str) -> Carrier:
        url = SupernodeUrl("127.0.0.1", self.tcp, None, self.wss)
        return await dial(kind, url, [Address("127.0.0.1", self.tcp)], self.here.address)

    async def connect(self, kind: str = "tcp") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if kind == "tcp":
            return await asyncio.open_connection("127.0.0.1", self.tcp)
        return await asyncio.open_connection("127.0.0.1", self.wss, ssl=client_context(), server_hostname="x")


@asynccontextmanager
async def serve(**limits: Any) -> AsyncIterator[Bench]:
    bench = Bench(**limits)
    bench.tcp = await bench.server.listen([HERE])
    bench.wss = await bench.server.listen([HERE], server_context())
    try:
        yield bench
    finally:
        await bench.server.close()
        bench.here.socket.close()
        bench.there.socket.close()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except (ConnectionError, ssl.SSLError):
        return b""


@pytest.mark.parametrize("kind", ["tcp", "wss"])
def test_datagrams_go_both_ways_between_two_engines_and_each_sees_an_address(kind: str) -> None:
    async def scenario() -> None:
        async with serve() as bench:
            one, two = await bench.open(kind), await bench.open(kind)
            running = [asyncio.create_task(carrier.run()) for carrier in (one, two)]
            assert one.address is not None
            assert two.address is not None
            assert one.address.host != two.address.host
            bench.here.send(b"first", one.address)
            data, seen = await bench.there.receive()
            assert data == b"first"
            assert seen.host.startswith("127.")
            assert bench.server.find(str(seen)).startswith(f"{kind} 127.0.0.1:")
            assert bench.server.count(kind) == 2
            bench.there.send(b"x" * 9000, seen)
            assert await bench.here.receive() == (b"x" * 9000, one.address)
            for carrier, task in zip((one, two), running, strict=True):
                task.cancel()
                carrier.close()

    asyncio.run(scenario())


def test_a_carrier_takes_nothing_but_from_its_engine() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            carrier = await bench.open("tcp")
            running = asyncio.create_task(carrier.run())
            stranger = Engine()
            stranger.send(b"smuggled", carrier.address)
            bench.here.send(b"real", carrier.address)
            assert (await bench.there.receive())[0] == b"real"
            running.cancel()
            carrier.close()
            stranger.socket.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "type"),
        (b"\x16\x03\x01\x02\x00\x01", "type"),
        (b"ntvl-stream/2\n", "version"),
        (build_greeting() + b"\x00\x00", "short"),
    ],
)
def test_a_stranger_at_the_tcp_port_is_told_nothing_and_counted(said: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with serve() as bench:
            reader, writer = await bench.connect()
            writer.write(said)
            assert (await read_to_end(reader)).replace(b"ntvl-stream/1 127.0.0.1:", b"")[5:] in (b"", b"\n")
            assert bench.server.drops[reason] == 1
            writer.close()

    asyncio.run(scenario())


def test_a_browser_at_the_wss_port_gets_a_harmless_answer() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            reader, writer = await bench.connect("wss")
            writer.write(b"GET / HTTP/1.1\r\nHost: sn.example.org\r\n\r\n")
            assert (await read_to_end(reader)).startswith(b"HTTP/1.1 426 ")
            assert bench.server.drops["type"] == 1
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["tcp", "wss"])
def test_who_says_nothing_or_goes_on_for_ever_is_not_waited_for(kind: str) -> None:
    async def scenario() -> None:
        async with serve(agree_s=0.2) as bench:
            reader, writer = await bench.connect(kind)
            writer.write(b"ntvl-str" if kind == "tcp" else b"GET /ntvl HTTP/1.1\r\nX: ")
            await read_to_end(reader)
            assert bench.server.count(kind) == 0
            writer.close()

    asyncio.run(scenario())


def test_plain_text_at_the_wss_port_and_half_a_tls_handshake_leave_nothing_behind() -> None:
    async def scenario() -> None:
        async with serve(agree_s=0.2) as bench:
            for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
                reader, writer = await asyncio.open_connection("127.0.0.1", bench.wss)
                writer.write(said)
                await read_to_end(reader)
                writer.close()
            assert bench.server.count("wss") == 0

    asyncio.run(scenario())


def test_a_stream_in_which_no_node_proves_itself_is_ended_and_others_stay() -> None:
    async def scenario() -> None:
        async with serve(silent_s=0.2, sweep_s=0.05) as bench:
            honest, idle = await bench.open("tcp"), await bench.open("tcp")
            bench.here.send(b"I am", honest.address)
            bench.present = [(await bench.there.receive())[1]]
            running = asyncio.create_task(honest.run())
            with pytest.raises(Exception, match="hung up"):
                await asyncio.wait_for(idle.run(), 5)
            assert bench.server.drops["unknown-session"] == 1
            assert bench.server.count("tcp") == 1
            running.cancel()
            honest.close()
            idle.close()

    asyncio.run(scenario())


def test_streams_from_one_network_and_in_all_are_bounded() -> None:
    async def scenario() -> None:
        for limits in ({"per_network_max": 2}, {"streams_max": 2}):
            async with serve(**limits) as bench:
                carriers = [await bench.open("tcp") for _ in range(2)]
                reader, writer = await bench.connect()
                writer.write(build_greeting())
                assert await read_to_end(reader) == b""
                assert bench.server.drops["rate"] == 1
                for carrier in carriers:
                    carrier.close()
                writer.close()

    asyncio.run(scenario())


def test_what_a_slow_reader_does_not_take_is_dropped_and_counted() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            _, writer = await bench.connect()
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(build_greeting() + build_frame(b"here"))
            _, seen = await bench.there.receive()
            for _ in range(400):
                for _ in range(4):
                    bench.there.send(bytes(16000), seen)
                await asyncio.sleep(0)
            stream = next(iter(bench.server._streams))
            assert stream.carrier is not None
            assert stream.carrier.drops["queue-full"] > 0
            writer.transport.abort()

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            with pytest.raises(UsageError, match=f"TCP port {bench.tcp} cannot be had"):
                await StreamServer(bench.there.address, tuple).listen([Address("127.0.0.1", bench.tcp)])

    asyncio.run(scenario())
