"""The second port of a supernode, over real sockets of this host, and what happens where it cannot be had."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest
from tests.runtime.program import run_program

from ntvl.runtime.second_port import SecondPort
from ntvl.wire.address import Address, Transmit
from ntvl.wire.stun import Change, build_binding_request, parse_stun


def free_pair() -> int:
    """Returns a UDP port that is free, and so is the next."""
    for _ in range(100):
        with (
            closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as one,
            closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as next_one,
        ):
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise AssertionError("no two free ports in a row")


class Engine:
    """Stands for an engine: a port, and what it was told to send."""

    name = "python"

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent: list[Transmit] = []

    def transmit(self, datagrams: list[Transmit]) -> None:
        self.sent += datagrams


def test_datagrams_go_out_by_the_port_that_they_name() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(2.0)
        target = Address(*client.getsockname())
        engine = Engine(free_pair())
        second = SecondPort(engine, [Address("127.0.0.1", engine.port)])  # type: ignore[arg-type]
        assert second.port == engine.port + 1, second.reason
        second.transmit([Transmit(b"main", target, 0), Transmit(b"second", target, 1)])
        data, source = client.recvfrom(100)
        assert (data, source) == (b"second", ("127.0.0.1", second.port))
        assert engine.sent == [Transmit(b"main", target, 0)]
        for sock in second._sockets.values():
            sock.close()


@pytest.mark.parametrize(("hosts", "towards"), [(["127.0.0.1"], "127.0.0.1"), (["0.0.0.0"], "127.0.0.1")])
def test_its_own_address_is_that_of_the_route(hosts: list[str], towards: str) -> None:
    second = SecondPort(Engine(65535), [Address(host, 1) for host in hosts])  # type: ignore[arg-type]
    assert second.place.host_towards(Address("127.0.0.9", 5)) == towards
    assert second.place.host_towards(Address("2001:db8::1", 5)) is None


def test_there_is_none_after_the_last_one() -> None:
    second = SecondPort(Engine(65535), [Address("127.0.0.1", 65535)])  # type: ignore[arg-type]
    assert (second.port, second.place.other_port) == (0, 0)
    assert "65535" in second.reason


def test_a_port_that_is_taken_is_done_without() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))
        second = SecondPort(Engine(other.getsockname()[1] - 1), [Address("127.0.0.1", 1)])  # type: ignore[arg-type]
    assert second.port == 0
    assert "cannot be had" in second.reason


@pytest.mark.parametrize("taken", [False, True])
def test_a_supernode_answers_from_its_second_port_where_it_has_one(tmp_path: Path, taken: bool) -> None:
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as blocker,
    ):
        port = free_pair()
        if taken:
            blocker.bind(("127.0.0.1", port + 1))
        client.bind(("127.0.0.1", 0))
        client.settimeout(5.0)
        asyncio.run(ask(tmp_path, client, port, taken))


async def ask(state: Path, client: socket.socket, port: int, taken: bool) -> None:
    arguments = ("supernode", "--json", "--listen", f"127.0.0.1:{port}", "--state", str(state))
    async with run_program(*arguments) as program:
        await program.event(lambda event: event["event"] == "ready")
        notices = [event["code"] for event in program.events if event["event"] == "notice"]
        assert notices == (["no-second-port"] if taken else [])
        client.sendto(build_binding_request(b"transaction1", change=Change.PORT), ("127.0.0.1", port))
        data, source = client.recvfrom(1500)
        stun = parse_stun(data)
        if taken:
            assert (source[1], stun.error_code) == (port, 420)
        else:
            assert (source[1], stun.origin) == (port + 1, Address("127.0.0.1", port + 1))
            client.sendto(build_binding_request(b"transaction2"), ("127.0.0.1", port + 1))
            assert parse_stun(client.recvfrom(1500)[0]).other == Address("127.0.0.1", port)
        assert await program.end() == 0
