"""One port that listens and connects at once."""

import asyncio
import socket

import pytest
from tests.runtime.namespace import in_namespace, ip

from ntvl.runtime.shared_port import SharedPort
from ntvl.wire.address import Address

Opened = asyncio.Queue[tuple[socket.socket, Address]]


def at(port: SharedPort, host: str = "127.0.0.1") -> Address:
    return Address(host, port.port)


def test_two_ends_open_connections_from_and_to_the_ports_that_were_named() -> None:
    async def scenario() -> None:
        left, right, opened = SharedPort(), SharedPort(), Opened()
        listening = asyncio.create_task(right.listen({"127.0.0.1"}, lambda *found: opened.put_nowait(found)))
        sock = await asyncio.wait_for(left.connect(at(right)), 5)
        taken, source = await asyncio.wait_for(opened.get(), 5)
        assert source == at(left) == Address(*taken.getpeername())
        assert Address(*sock.getpeername()) == at(right)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        for each in (sock, taken, left, right):
            each.close()

    asyncio.run(scenario())


def test_a_refused_connect_is_tried_again_until_it_opens() -> None:
    async def scenario() -> None:
        left, later = SharedPort(), socket.socket()
        later.bind(("127.0.0.1", 0))
        connecting = asyncio.create_task(left.connect(Address(*later.getsockname())))
        await asyncio.sleep(0.15)  # It was refused by now: the port is bound, and nobody listens.
        assert not connecting.done()
        later.listen()
        (await asyncio.wait_for(connecting, 5)).close()
        later.close()
        left.close()

    asyncio.run(scenario())


def test_other_hosts_are_turned_away() -> None:
    async def scenario() -> None:
        port, opened = SharedPort(), Opened()
        listening = asyncio.create_task(port.listen({"198.51.100.1"}, lambda *found: opened.put_nowait(found)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert opened.empty()
        writer.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        port.close()

    asyncio.run(scenario())


def test_a_port_that_would_connect_to_itself_does_not() -> None:
    async def scenario() -> None:
        port = SharedPort()
        with pytest.raises((OSError, TimeoutError)):
            await asyncio.wait_for(port.connect(at(port)), 0.3)
        port.close()

    asyncio.run(scenario())


def test_both_families_have_the_same_number() -> None:
    port = SharedPort()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            sock.settimeout(5)
            sock.connect((host, port.port))
    port.close()
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(("127.0.0.1", port.port or 1))


def test_an_address_that_leads_nowhere_is_an_error_at_once() -> None:
    async def scenario() -> None:
        port = SharedPort()
        with pytest.raises(OSError):
            await asyncio.wait_for(port.connect(Address("255.255.255.255", 4000)), 5)
        port.close()

    asyncio.run(scenario())


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_an_address_that_a_box_calls_unreachable_is_tried_again_until_it_opens() -> None:
    async def scenario() -> None:
        ip("route add unreachable 192.0.2.1")
        left, right = SharedPort(), SharedPort()
        connecting = asyncio.create_task(left.connect(at(right, "192.0.2.1")))
        await asyncio.sleep(0.05)
        assert not connecting.done()
        ip("address add 192.0.2.1/32 dev lo")
        (await asyncio.wait_for(connecting, 5)).close()
        left.close()
        right.close()

    in_namespace(scenario)
