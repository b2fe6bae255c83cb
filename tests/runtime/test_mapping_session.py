"""A mapping by UPnP that the gateway forgot is there again as soon as somebody doubts it, or it is due by the clock."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from tests.runtime.igd import HOST, Igd, running

from ntvl.proto.lessee import Standing
from ntvl.runtime import mapping_session as module
from ntvl.runtime import upnp
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.mapping_session import UPNP, UPNP_RENEW_S, MappingSession

PORT = 4000


class Place:
    """Is a session at a gateway on loopback, with a clock that a test may put on."""

    def __init__(self) -> None:
        self.igd = Igd()
        self.later_s = 0.0
        self.session = MappingSession(
            Gateway(HOST, HOST, 1, "lo"),
            PORT,
            lambda: None,
            random=random.Random(3).randbytes,
            clock=lambda: time.monotonic() + self.later_s,
        )

    async def until(self, wanted: Callable[[], object]) -> None:
        for _ in range(1000):
            if wanted():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(self.session.outcomes)

    def standing(self) -> Standing:
        return next(outcome.standing for outcome in self.session.outcomes if outcome.protocol == UPNP)


def play(scenario: Callable[[Place], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()

    async def search(gateway: Gateway, drops: Counter[str]) -> list[str]:
        return [place.igd.location]

    async def run() -> None:
        async with running(place.igd), asyncio.timeout(20.0):
            place.session.open()
            try:
                await place.until(lambda: place.igd.entries)
                await place.until(lambda: place.standing() is Standing.MAPPED)
                await scenario(place)
            finally:
                await place.session.close()

    monkeypatch.setattr(upnp, "search", search)
    monkeypatch.setattr(module, "UPNP_HOLD_S", 0.0)
    monkeypatch.setattr(module, "SLEEP_S_MAX", 0.05)
    asyncio.run(run())
    assert place.igd.entries == {}, "given back at the end"


def test_a_gateway_that_forgot_the_mapping_makes_it_again_when_that_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Place) -> None:
        for _ in range(3):
            place.igd.entries.clear()
            place.session.verify()
            await place.until(lambda: place.igd.entries)
        assert place.session.mapping is not None

    play(scenario, monkeypatch)


def test_a_mapping_is_renewed_on_time_though_the_computer_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Place) -> None:
        place.igd.entries.clear()
        await asyncio.sleep(0.2)
        assert not place.igd.entries
        place.later_s = UPNP_RENEW_S
        await place.until(lambda: place.igd.entries)

    play(scenario, monkeypatch)


def test_a_gateway_that_is_not_back_yet_is_found_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Place) -> None:
        act = place.igd.act
        place.igd.act = lambda action, given: b""  # type: ignore[method-assign]
        place.igd.entries.clear()
        place.session.verify()
        await place.until(lambda: place.standing() is not Standing.MAPPED)
        assert place.session.mapping is None
        place.igd.act = act  # type: ignore[method-assign]
        await place.until(lambda: place.igd.entries)

    monkeypatch.setattr(module, "UPNP_RETURN_S", (0.2,) * 5)
    play(scenario, monkeypatch)


def test_a_mapping_that_is_made_while_the_session_ends_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Place) -> None:
        act, closing = place.igd.act, list[asyncio.Task[None]]()

        def act_and_close(action: str, given: dict[str, str]) -> bytes:
            answer = act(action, given)
            if action.startswith("Add") and not closing:
                closing.append(asyncio.get_running_loop().create_task(place.session.close()))
            return answer

        place.igd.act = lambda action, given: b""  # type: ignore[method-assign]
        place.igd.entries.clear()
        place.session.verify()
        await place.until(lambda: place.standing() is not Standing.MAPPED)
        place.igd.act = act_and_close  # type: ignore[method-assign]
        await place.until(lambda: closing and closing[0].done())
        assert place.igd.entries == {}

    monkeypatch.setattr(module, "UPNP_RETURN_S", (0.2,) * 5)
    play(scenario, monkeypatch)
