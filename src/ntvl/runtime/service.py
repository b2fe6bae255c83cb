"""What a running node answers at its control socket.

    {"verb": "status"}                                  -> one object, as docs/operations.md describes it
    {"verb": "ping", "peer": TEXT, "count": N, "interval_s": S, "timeout_s": S}
        -> {"to": {community, name, id, addresses}}
           {"sequence", "rtt_ms", "path", "remote", "via"} for each, in order; without reply "rtt_ms" is null and
           "reason" says "timeout" or "gone"

    {"verb": "why", "peer": TEXT}                       -> one object, as docs/operations.md describes it

A count of 0 pings until the client leaves.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol

from ntvl.dataplane.choice import Engine
from ntvl.errors import UsageError
from ntvl.identity.keys import parse_key
from ntvl.proto.events import NodeEvent, PingReply, WhyReply
from ntvl.proto.node import Node
from ntvl.runtime.control_socket import Handler
from ntvl.runtime.device import Device
from ntvl.runtime.driver import Driver
from ntvl.runtime.lookup import FoundPeer, find_peer
from ntvl.runtime.portmapper import PortMapper
from ntvl.runtime.turn_carriers import TurnCarriers

__all__ = ["Dropping", "NodeService", "describe_mapper", "describe_turn"]

COUNT_MAX: Final = 1_000_000
INTERVAL_S_MIN: Final = 0.02
PATIENCE_S_MAX: Final = 9.0
"""Below the machine's own limit for a ping, and below a client's patience."""
WHY_WAITS_S: Final = (0.4, 0.5, 0.6)
"""The peer is asked so often for its side, with so long to answer each; then ours alone is told."""


class Dropping(Protocol):
    """Is a part of the program that counts what it dropped, by reason."""

    @property
    def drops(self) -> Mapping[str, int]:
        """Returns the counts since the start."""


class NodeService:
    """Answers for one node.

    Args:
        node: the machine.
        driver: what runs it.
        engine: what it runs on.
        devices: in the order of its communities.
        mapper: what maps its port, None where that is switched off.
        turn: its relay at a TURN server, None without.
        streams: what carries its datagrams over TCP.
    """

    def __init__(
        self,
        node: Node,
        driver: Driver[NodeEvent],
        engine: Engine,
        devices: Sequence[Device],
        mapper: PortMapper | None = None,
        turn: TurnCarriers | None = None,
        streams: Sequence[Dropping] = (),
    ) -> None:
        self._node = node
        self._driver = driver
        self._engine = engine
        self._devices = devices
        self._mapper = mapper
        self._turn = turn
        self._streams = streams
        self._started = driver.clock()
        self._pings: dict[int, asyncio.Future[PingReply]] = {}
        self._whys: dict[int, asyncio.Future[WhyReply]] = {}
        self.handlers: dict[str, Handler] = {"status": self._status, "ping": self._ping, "why": self._why}
        """Verb to handler, for a `ControlSocket`."""

    def status(self) -> dict[str, Any]:
        """Returns everything that `ntvl status --json` shows, keys in the documented order."""
        now = self._driver.clock()
        status = self._node.status(now)
        drops = Counter(status["drops"])
        for part in (self._mapper, self._turn, *self._streams):
            if part is not None:
                drops.update(part.drops)
        of_engine: tuple[str, ...] = getattr(self._engine, "offloads", ())
        offloads = dict.fromkeys((*of_engine, *(each for device in self._devices for each in device.offloads)))
        return {
            "node": {**status.pop("node"), "uptime_s": round(now - self._started, 1)},
            "engine": {"name": self._engine.name, "offloads": list(offloads)},
            "port_mapping": describe_mapper(self._mapper),
            "turn": describe_turn(self._turn),
            **status,
            "drops": dict(sorted(drops.items())),
            "faults": dict(self._driver.faults),
        }

    def handle_reply(self, reply: PingReply) -> None:
        """Takes a reply from the machine; one that nobody waits for any more is dropped."""
        waiting = self._pings.pop(reply.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def handle_why(self, reply: WhyReply) -> None:
        """Takes a peer's side from the machine; one that nobody waits for any more is dropped."""
        waiting = self._whys.pop(reply.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def _status(self, question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield self.status()

    async def _ping(self, question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        text = question.get("peer")
        if not isinstance(text, str):
            raise UsageError("A ping needs a peer, as text.")
        count = int(_number(question, "count", 4, 0, COUNT_MAX))
        interval_s = _number(question, "interval_s", 1.0, INTERVAL_S_MIN, 3600.0)
        patience_s = _number(question, "timeout_s", 2.0, 0.01, PATIENCE_S_MAX)
        found = find_peer(self.status(), text)
        yield {"to": {"community": found.community, **{k: found.peer[k] for k in ("name", "id", "addresses")}}}
        loop = asyncio.get_running_loop()
        sequence = 0
        while True:
            sequence += 1
            began = loop.time()
            yield {"sequence": sequence, **await self._ping_once(found, patience_s)}
            if sequence == count:
                return
            await asyncio.sleep(max(0.0, began + interval_s - loop.time()))

    async def _ping_once(self, found: FoundPeer, patience_s: float) -> dict[str, Any]:
        number = self._driver.call(self._node.ping, found.community, parse_key(found.peer["id"]))
        if number is None:
            return {"rtt_ms": None, "reason": "gone"}
        waiting = self._pings[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(patience_s):
                reply = await waiting
        except TimeoutError:
            return {"rtt_ms": None, "reason": "timeout"}
        finally:
            self._pings.pop(number, None)
        via = self._via(found) if reply.path == "relay" else None
        return {
            "rtt_ms": round(reply.rtt_s * 1000, 3),
            "path": reply.path,
            "remote": reply.remote or None,
            "via": via,
        }

    async def _why(self, question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        text = question.get("peer")
        if not isinstance(text, str):
            raise UsageError("A question why needs a peer, as text.")
        found = find_peer(self.status(), text)
        key = parse_key(found.peer["id"])
        reply = await self._ask_why(found.community, key)
        explained = self._driver.call(self._node.explainer.explain, found.community, key, reply)
        if explained is None:
            raise UsageError(f"{found.label} has left meanwhile; ask for another peer.")
        yield explained

    async def _ask_why(self, community: str, key: bytes) -> WhyReply | None:
        """Returns the peer's side, None where it does not come in time."""
        waiting: asyncio.Future[WhyReply] = asyncio.get_running_loop().create_future()
        numbers: list[int] = []
        try:
            for wait_s in WHY_WAITS_S:
                number = self._driver.call(self._node.explainer.ask, community, key)
                if number is None:
                    return None
                numbers.append(number)
                self._whys[number] = waiting
                done, _ = await asyncio.wait([waiting], timeout=wait_s)
                if done:
                    return waiting.result()
        finally:
            for number in numbers:
                self._whys.pop(number, None)
        return None

    def _via(self, found: FoundPeer) -> str | None:
        """Returns the URL of the supernode that relays for a peer now."""
        for community in self._node.status(self._driver.clock())["communities"]:
            for peer in community["peers"]:
                if community["name"] == found.community and peer["id"] == found.peer["id"]:
                    via: str | None = peer["via"]
                    return via
        return None


def describe_mapper(mapper: PortMapper | None) -> dict[str, Any]:
    """Returns what status says of the mapping of our port: where it is, and how each protocol fares at each gateway."""
    if mapper is None:
        return {"enabled": False, "mapped": [], "outcomes": []}
    return {
        "enabled": True,
        "mapped": [str(address) for address in mapper.mappings],
        "outcomes": [
            {"gateway": gateway, "protocol": each.protocol, "state": str(each.standing), "text": each.text}
            for gateway, each in mapper.outcomes
        ],
    }


def describe_turn(turn: TurnCarriers | None) -> dict[str, Any]:
    """Returns what status says of our TURN server: which it is, what it lends, or why nothing."""
    if turn is None:
        return {"server": None, "relayed": None, "reason": None}
    relayed = turn.change.relayed
    return {
        "server": str(turn.uri),
        "relayed": None if relayed is None else str(relayed),
        "reason": turn.change.reason or None,
    }


def _number(question: dict[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = question.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(f"{key} is a number from {least:g} to {most:g}.")
    return float(value)
