import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.runtime.test_dialler import answering
from tests.runtime.test_stream_server import Bench, serve

from ntvl.identity.url import SupernodeUrl
from ntvl.runtime import carriers as module
from ntvl.runtime.carriers import Carriers
from ntvl.runtime.proxy import Proxy
from ntvl.wire.address import Address

NAME = "sn.example.org"


class Heard:
    """Is the carriers of one supernode, and what they tell."""

    def __init__(self, bench: Bench, proxies: Sequence[Proxy | None] = (None,)) -> None:
        self.news: asyncio.Queue[tuple[int, str, Address | None]] = asyncio.Queue()
        self.warnings: list[str] = []
        self.carriers = Carriers(
            [SupernodeUrl(NAME, bench.tcp, None, bench.wss)],
            proxies,
            bench.here.address,
            tell=lambda *news: self.news.put_nowait(news),
            warn=self.warnings.append,
        )

    async def next(self) -> tuple[int, str, Address | None]:
        return await asyncio.wait_for(self.news.get(), 5)


def test_carriers_open_as_wanted_and_their_end_is_told_unless_it_was_wanted() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            heard = Heard(bench)
            heard.carriers.set_addresses(0, [Address("127.0.0.1", bench.tcp)])
            heard.carriers.want(0, "tcp")
            index, kind, address = await heard.next()
            assert (index, kind) == (0, "tcp")
            bench.here.send(b"there", address)
            assert (await bench.there.receive())[0] == b"there"
            heard.carriers.want(0, "wss")
            assert (await heard.next())[1] == "wss"
            heard.carriers.unwant(0, "tcp")
            await bench.server.close()
            assert await heard.next() == (0, "wss", None)
            await heard.carriers.close()
            assert heard.news.empty()

    asyncio.run(scenario())


def test_a_carrier_that_cannot_be_opened_is_told_as_failed() -> None:
    async def scenario() -> None:
        async with serve() as bench:
            heard = Heard(bench)
            heard.carriers.want(0, "tcp")
            assert await heard.next() == (0, "tcp", None)
            await heard.carriers.close()

    asyncio.run(scenario())


def test_what_a_proxy_refuses_is_said_once() -> None:
    async def scenario() -> None:
        async with serve() as bench, answering(b"HTTP/1.1 403 No\r\n\r\n") as (proxy, _):
            heard = Heard(bench, [proxy])
            for _ in range(2):
                heard.carriers.want(0, "proxy")
                assert await heard.next() == (0, "proxy", None)
            assert len(heard.warnings) == 1
            assert "status 403" in heard.warnings[0]
            await heard.carriers.close()

    asyncio.run(scenario())


class Losing:
    """Is a carrier that has lost something and goes on."""

    address = Address("127.1.2.3", 5)

    def __init__(self) -> None:
        self.drops = Counter({"queue-full": 3})

    async def run(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None:
        self.drops["queue-full"] += 1


def test_losses_are_counted_while_a_carrier_runs_and_once_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(*_: object, **__: object) -> Losing:
        return Losing()

    async def scenario() -> None:
        async with serve() as bench:
            heard = Heard(bench)
            heard.carriers.want(0, "tcp")
            await heard.next()
            assert heard.carriers.drops == {"queue-full": 3}
            await heard.carriers.close()
            assert heard.carriers.drops == {"queue-full": 4}

    monkeypatch.setattr(module, "dial", dial)
    asyncio.run(scenario())
