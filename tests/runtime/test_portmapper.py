"""What the mapper says and does without a gateway, and with one that is silent; tests/interop has a real one."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest
from tests.runtime.namespace import in_namespace, ip

from ntvl.proto.lessee import PortMapping, Standing
from ntvl.runtime import portmapper as module
from ntvl.runtime import upnp
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.portmapper import PortMapper
from ntvl.wire.address import Address

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("ip")]


async def until(mapper: PortMapper, gateways: set[str]) -> None:
    for _ in range(250):
        if {host for host, _ in mapper.outcomes} == gateways:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(mapper.description)


def test_a_machine_without_a_gateway_has_no_mapping() -> None:
    async def scenario() -> None:
        told: list[Address | None] = []
        mapper = PortMapper(4000, on_change=told.append)
        mapper.start()
        await asyncio.sleep(0.1)
        assert mapper.description == "UDP port 4000 is not mapped: this machine has no gateway"
        assert (mapper.mapping, mapper.mappings, mapper.outcomes, told) == (None, (), (), [])
        await mapper.close()
        await mapper.close()

    in_namespace(scenario)


def test_the_mapper_follows_the_default_route_and_counts_what_each_gateway_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def search(gateway: Gateway, drops: Counter[str]) -> list[str]:
        drops["elsewhere"] += gateway.host == "192.168.1.1"
        await asyncio.Event().wait()  # until the session ends
        return []

    monkeypatch.setattr(upnp, "search", search)

    async def scenario() -> None:
        mapper = PortMapper(4000, on_change=lambda mapping: None)
        mapper.start()
        ip("link add eth0 type veth peer name far")
        ip("link set far up")
        ip("link set eth0 up")
        ip("address add 192.168.1.5/24 dev eth0")
        ip("route add default via 192.168.1.1")
        await until(mapper, {"192.168.1.1"})
        assert {outcome.protocol for _, outcome in mapper.outcomes} == {"PCP", "NAT-PMP", "UPnP"}
        assert all(outcome.standing is Standing.ASKING for _, outcome in mapper.outcomes)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.168.1.5"))
            stranger.sendto(b"no announcement", ("224.0.0.1", 5350))
        for _ in range(250):
            if len(mapper.drops) == 2:
                break
            await asyncio.sleep(0.02)
        assert mapper.drops == {"transaction": 1, "elsewhere": 1}
        ip("route replace default via 192.168.1.2")
        await until(mapper, {"192.168.1.2"})
        assert mapper.drops == {"transaction": 1, "elsewhere": 1}, "those of a gateway that is gone count on"
        ip("link set eth0 down")
        await until(mapper, set())
        started = asyncio.get_running_loop().time()
        ip("link set eth0 up")
        ip("route add default via 192.168.1.3")
        await until(mapper, {"192.168.1.3"})
        await mapper.close()
        assert asyncio.get_running_loop().time() - started < 5.0

    in_namespace(scenario)


def test_closing_waits_for_no_gateway_that_never_said_a_word() -> None:
    async def scenario() -> None:
        ip("link add eth0 type veth peer name far")
        ip("link set far up")
        ip("link set eth0 up")
        ip("address add 192.168.1.5/24 dev eth0")
        ip("route add default via 192.168.1.1")
        mapper = PortMapper(4000, on_change=lambda mapping: None)
        mapper.start()
        await until(mapper, {"192.168.1.1"})
        started = asyncio.get_running_loop().time()
        await mapper.close()
        assert asyncio.get_running_loop().time() - started < 0.5

    in_namespace(scenario)


class Fickle:
    """Is a session with a gateway that has another mapping whenever a test says so."""

    made: ClassVar[asyncio.Queue["Fickle"]] = asyncio.Queue()
    protocol = "PCP"
    outcomes = ()
    drops: ClassVar[Counter[str]] = Counter()

    def __init__(self, gateway: Gateway, port: int, on_change: Callable[[], None], **_: object) -> None:
        self.gateway, self.on_change = gateway, on_change
        self.mapping: PortMapping | None = None
        self.doubts = 0
        self.made.put_nowait(self)

    def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def verify(self) -> None:
        self.doubts += 1


def test_a_gateway_that_changes_its_mind_all_the_time_is_heard_and_asked_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MappingSession", Fickle)
    monkeypatch.setattr(module, "TELL_EVERY_S", 0.05)

    async def scenario() -> None:
        told: list[Address | None] = []
        now = 100.0
        mapper = PortMapper(4000, on_change=told.append, clock=lambda: now)
        mapper.start()
        ip("link add eth0 type veth peer name far")
        ip("link set far up")
        ip("link set eth0 up")
        ip("address add 192.168.1.5/24 dev eth0")
        ip("route add default via 192.168.1.1")
        session = await asyncio.wait_for(Fickle.made.get(), 5.0)
        for port in range(1, 100):
            session.mapping = PortMapping(Address("203.0.113.7", port), 7200)
            session.on_change()
        assert told == [Address("203.0.113.7", port) for port in range(1, 5)]
        now += 60.0
        await asyncio.sleep(0.15)
        assert told[4:] == [Address("203.0.113.7", 99)], "the last word is heard"
        for later_s in (0.0, 60.0):
            now += later_s
            for _ in range(100):
                mapper.verify()
        assert session.doubts == 2 * module.VERIFY_BURST, "nor is it asked without end"
        await mapper.close()

    in_namespace(scenario)
