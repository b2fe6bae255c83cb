import asyncio
import socket
import threading
from collections.abc import Callable, Sequence

import pytest

from ntvl.identity.url import parse_supernode_url
from ntvl.runtime.resolver import Resolver, look_up
from ntvl.wire.address import Address


class Heard:
    """Runs one resolver and collects what it tells."""

    def __init__(self, url: str, lookup: Callable[[str, int], list[Address]]) -> None:
        self.told: asyncio.Queue[Sequence[Address]] = asyncio.Queue()
        self.failures: list[str] = []
        self.resolver = Resolver(
            parse_supernode_url(url),
            on_addresses=self.told.put_nowait,
            on_failure=self.failures.append,
            lookup=lookup,
            retry_s=(0.01, 0.02),
        )

    async def next(self) -> Sequence[Address]:
        return await asyncio.wait_for(self.told.get(), 5)


def test_a_literal_address_needs_no_asking() -> None:
    def fail(host: str, port: int) -> list[Address]:
        raise AssertionError("asked for a literal")

    async def scenario() -> None:
        for url, address in [("198.51.100.1:5", ("198.51.100.1", 5)), ("[2001:db8::1]:6", ("2001:db8::1", 6))]:
            heard = Heard(url, fail)
            await heard.resolver.run()
            assert await heard.next() == [Address(*address)]

    asyncio.run(scenario())


def test_a_name_that_does_not_resolve_is_told_once_and_tried_until_it_does() -> None:
    answers: list[OSError | list[Address]] = [
        socket.gaierror(-2, "Name or service not known"),
        socket.gaierror(-3, "Temporary failure"),
        [],
        [Address("198.51.100.1", 1971)],
    ]

    def answer(host: str, port: int) -> list[Address]:
        assert (host, port) == ("hub.example", 1971)
        found = answers.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    async def scenario() -> None:
        heard = Heard("hub.example", answer)
        running = asyncio.create_task(heard.resolver.run())
        assert [await heard.next() for _ in range(3)] == [[], [], []]
        assert await heard.next() == [Address("198.51.100.1", 1971)]
        assert heard.failures == ["name or service not known"]
        running.cancel()

    asyncio.run(scenario())


def test_asking_again_resolves_at_once() -> None:
    answers = [[Address("198.51.100.1", 1971)], [Address("198.51.100.2", 1971)]]

    async def scenario() -> None:
        heard = Heard("hub.example", lambda host, port: answers.pop(0))
        running = asyncio.create_task(heard.resolver.run())
        assert await heard.next() == [Address("198.51.100.1", 1971)]
        heard.resolver.ask_again()
        assert await heard.next() == [Address("198.51.100.2", 1971)]
        running.cancel()

    asyncio.run(scenario())


def test_a_hanging_lookup_delays_neither_another_name_nor_the_end() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[Address]:
        release.wait(30)
        return []

    async def scenario() -> None:
        hanging = Heard("slow.example", hang)
        quick = Heard("quick.example", lambda host, port: [Address("198.51.100.1", port)])
        tasks = [asyncio.create_task(heard.resolver.run()) for heard in (hanging, quick)]
        assert await quick.next() == [Address("198.51.100.1", 1971)]
        for task in tasks:
            task.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 5))
    release.set()


def test_the_systems_resolver_gives_each_address_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **hints: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        assert hints == {"type": socket.SOCK_DGRAM}
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", port, 0, 0)),
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("fe80::1%eth0", port, 0, 2)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("198.51.100.1", port)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("198.51.100.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert look_up("hub.example", 7) == [Address("2001:db8::1", 7), Address("198.51.100.1", 7)]
