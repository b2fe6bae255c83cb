"""Each peer behind a TURN server is a loopback address to the engine, and only to the engine."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import pytest
from tests.proto.turn_server import RELAYED, USER, TurnServer

from ntvl.identity.turn_uri import TurnTransport, TurnUri
from ntvl.runtime.turn import VERIFY_BURST
from ntvl.runtime.turn_carriers import CARRIERS_MAX, OF_ONE_HOST_MAX, TurnCarriers
from ntvl.wire.address import Address
from ntvl.wire.turn import TurnMethod

PEER = Address("198.51.100.7", 7000)
OTHER = Address("198.51.100.8", 8000)


class _Endpoint(asyncio.DatagramProtocol):
    """Lets a scripted server answer over UDP."""

    def __init__(self, server: TurnServer) -> None:
        self.server = server
        self.client: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.client = addr
        for answer in self.server.handle(data):
            self.transport.sendto(answer, addr)

    def tell(self, data: bytes) -> None:
        assert self.client is not None
        self.transport.sendto(data, self.client)


class Stage:
    """Is a server, an engine's socket, and the carriers between them."""

    def __init__(self) -> None:
        self.server = TurnServer()
        self.relayed: list[Address | None] = []
        self.carriers: dict[Address, Address] = {}
        self.closed: list[Address] = []
        self.notices: list[tuple[str, str, str]] = []
        self.engine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.engine.bind(("127.0.0.1", 0))

    async def play(self, scenario: Callable[["Stage"], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        _, self.endpoint = await loop.create_datagram_endpoint(
            lambda: _Endpoint(self.server), local_addr=("127.0.0.1", 0)
        )
        port = self.endpoint.transport.get_extra_info("sockname")[1]
        self.subject = TurnCarriers(
            TurnUri("127.0.0.1", port, TurnTransport.UDP),
            USER,
            Address(*self.engine.getsockname()),
            tell_relayed=self.relayed.append,
            tell_carrier=self._carrier,
            notice=lambda *words: self.notices.append(words),
        )
        try:
            async with asyncio.timeout(10.0):
                await self.subject.start()
                await self.until(lambda: self.relayed)
                await scenario(self)
        finally:
            await self.subject.close()
            self.endpoint.transport.close()
            self.engine.close()

    def _carrier(self, peer: Address, carrier: Address | None) -> None:
        if carrier is None:
            self.closed.append(peer)
            del self.carriers[peer]
        else:
            self.carriers[peer] = carrier

    async def until(self, wanted: Callable[[], object]) -> None:
        for _ in range(1000):
            if wanted():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it never comes")

    async def hear(self) -> tuple[bytes, Address]:
        data, source = await asyncio.get_running_loop().sock_recvfrom(self.engine, 2048)
        return data, Address(*source)


def run(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    asyncio.run(Stage().play(scenario))


def test_what_the_engine_sends_to_a_carrier_goes_to_its_peer_and_back() -> None:
    async def scenario(stage: Stage) -> None:
        assert stage.relayed == [RELAYED]
        assert stage.notices[0][:2] == ("info", "turn-relay")
        stage.subject.want([PEER])
        carrier = stage.carriers[PEER]
        assert carrier.host.startswith("127.")
        assert 64 <= int(carrier.host.split(".")[1]) < 128
        stage.engine.sendto(b"there", tuple(carrier))
        await stage.until(lambda: stage.server.data)
        assert stage.server.data == [(PEER, b"there")]
        stage.endpoint.tell(stage.server.indicate(PEER, b"back"))
        assert await stage.hear() == (b"back", carrier)

    run(scenario)


def test_a_new_port_of_a_permitted_address_gets_a_carrier_and_a_stranger_gets_none() -> None:
    async def scenario(stage: Stage) -> None:
        stage.subject.want([PEER])
        await stage.until(lambda: len(stage.server.requests) >= 3)
        stage.endpoint.tell(stage.server.indicate(OTHER, b"stranger"))
        stage.endpoint.tell(stage.server.indicate(PEER._replace(port=7001), b"new port"))
        data, source = await stage.hear()
        assert data == b"new port"
        assert stage.carriers[PEER._replace(port=7001)] == source
        assert set(stage.carriers) == {PEER, PEER._replace(port=7001)}

    run(scenario)


def test_only_the_engines_port_may_speak_through_a_carrier() -> None:
    async def scenario(stage: Stage) -> None:
        stage.subject.want([PEER])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, suppress(ConnectionRefusedError):
            other.bind(("127.0.0.1", 0))
            other.sendto(b"from a neighbour", tuple(stage.carriers[PEER]))
        stage.engine.sendto(b"from the engine", tuple(stage.carriers[PEER]))
        await stage.until(lambda: stage.server.data)
        assert stage.server.data == [(PEER, b"from the engine")]

    run(scenario)


def test_carriers_are_bounded_in_all_and_for_one_address() -> None:
    async def scenario(stage: Stage) -> None:
        stage.subject.want(PEER._replace(port=port) for port in range(1000, 1000 + 3 * OF_ONE_HOST_MAX))
        assert len(stage.carriers) == OF_ONE_HOST_MAX
        assert stage.closed[0] == PEER._replace(port=1000)
        stage.subject.want(Address(f"198.51.100.{last}", 1) for last in range(20, 20 + CARRIERS_MAX))
        assert len(stage.carriers) == CARRIERS_MAX

    run(scenario)


def test_made_up_ports_do_not_push_out_the_carrier_that_the_engine_sends_to() -> None:
    async def scenario(stage: Stage) -> None:
        stage.subject.want([PEER])
        carrier = stage.carriers[PEER]
        stage.engine.sendto(b"in use", tuple(carrier))
        await stage.until(lambda: stage.server.data)
        stage.subject.want(PEER._replace(port=port) for port in range(1000, 1000 + 3 * OF_ONE_HOST_MAX))
        stage.subject.want(Address(f"198.51.100.{last}", 1) for last in range(20, 20 + 2 * CARRIERS_MAX))
        assert stage.carriers[PEER] == carrier
        assert PEER not in stage.closed

    run(scenario)


def test_another_network_begins_anew_and_the_end_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        stage.subject.want([PEER])
        for source in ("127.0.0.1", "", "192.0.2.7"):  # the same, none for the moment, another
            assert len(stage.relayed) == 1
            monkeypatch.setattr("ntvl.runtime.turn.find_source", lambda server, source=source: source)
            stage.subject.handle_network_change()
            await asyncio.sleep(0.02)
        await stage.until(lambda: len(stage.relayed) == 2)
        assert stage.relayed[1] is None
        assert stage.carriers == {}
        assert "network changed" in stage.notices[-1][2]
        await stage.until(lambda: len(stage.relayed) == 3)
        assert stage.relayed[2] == RELAYED
        stage.subject.want([PEER])
        await stage.subject.close()
        assert stage.carriers == {}
        assert stage.server.requests[-1].lifetime == 0

    run(scenario)


def test_a_server_that_forgot_us_is_asked_for_another_relay_and_one_that_did_not_is_left_alone() -> None:
    async def scenario(stage: Stage) -> None:
        for _ in range(100):
            stage.subject.verify()
        await stage.until(lambda: stage.server.count(TurnMethod.REFRESH) == VERIFY_BURST)
        await asyncio.sleep(0.05)
        assert stage.server.count(TurnMethod.REFRESH) == VERIFY_BURST
        assert stage.relayed == [RELAYED]

    run(scenario)

    async def forgetful(stage: Stage) -> None:
        stage.server.refuse = lambda turn: 437 if turn.method == TurnMethod.REFRESH else None
        stage.subject.verify()
        await stage.until(lambda: len(stage.relayed) == 3)
        assert stage.relayed == [RELAYED, None, RELAYED]

    run(forgetful)


@pytest.mark.parametrize("peers", [[], [PEER]])
def test_nothing_is_opened_before_there_is_a_relay(peers: list[Address]) -> None:
    async def scenario(stage: Stage) -> None:
        idle = TurnCarriers(
            stage.subject.uri,
            USER,
            Address(*stage.engine.getsockname()),
            tell_relayed=stage.relayed.append,
            tell_carrier=stage._carrier,
            notice=lambda *words: None,
        )
        idle.want(peers)
        assert stage.carriers == {}

    run(scenario)


def test_why_there_is_no_relay_is_told_in_a_sentence_once() -> None:
    stage = Stage()
    stage.server.answer = lambda turn: stage.server.error(turn, 486, key=None)  # type: ignore[method-assign]

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: len(stage.relayed) == 2)  # tried again after a second
        reason = "the user has all the allocations that the server allows"
        text = f"The TURN server {stage.subject.uri} relays nothing for us: {reason}; trying again and again."
        assert stage.notices == [("warning", "turn-failed", text)]
        assert stage.subject.change.reason == reason

    asyncio.run(stage.play(scenario))


def test_what_the_relay_drops_is_counted_beyond_its_end() -> None:
    async def scenario(stage: Stage) -> None:
        stage.subject.want([PEER])
        await stage.until(lambda: len(stage.server.requests) >= 3)
        stage.endpoint.tell(stage.server.indicate(OTHER, b"stranger"))
        await stage.until(lambda: stage.subject.drops)
        assert stage.subject.drops == {"no-permission": 1}
        await stage.subject.close()
        assert stage.subject.drops == {"no-permission": 1}

    run(scenario)
