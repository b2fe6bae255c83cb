import asyncio
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from ntvl.config import CommunityConfig
from ntvl.dataplane.choice import Engine
from ntvl.errors import UsageError
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey, format_key
from ntvl.identity.url import parse_supernode_url
from ntvl.proto.events import NodeEvent, PingReply, WhyReply
from ntvl.proto.node import Node
from ntvl.proto.settings import CommunitySettings, NodeSettings
from ntvl.runtime import service
from ntvl.runtime.device import Device
from ntvl.runtime.driver import Driver
from ntvl.runtime.portmapper import PortMapper
from ntvl.runtime.report import Reporter
from ntvl.runtime.service import NodeService
from ntvl.runtime.turn import RelayChange
from ntvl.runtime.turn_carriers import TurnCarriers

BOB = bytes(range(32))
HUB = "ntvl://" + "A" * 43 + "@hub.example:1971"


class Peers:
    """Is a node with one peer that answers pings as a test says."""

    def __init__(self) -> None:
        self.here = True
        self.pinged: list[tuple[str, bytes]] = []
        self.asked: list[int] = []
        self.on_asked: dict[int, Callable[[], object]] = {}
        self.explainer = self

    def ask(self, community: str, key: bytes, now: float) -> int | None:
        if not self.here:
            return None
        self.asked.append(len(self.asked) + 1)
        self.on_asked.get(len(self.asked), int)()
        return self.asked[-1]

    def explain(self, community: str, key: bytes, reply: WhyReply | None, now: float) -> dict[str, Any] | None:
        return {"of": (community, key), "reply": reply} if self.here else None

    def status(self, now: float) -> dict[str, Any]:
        peer = {"name": "bob", "id": format_key(BOB), "addresses": ["10.77.0.2/16"], "mac": "", "via": HUB}
        return {
            "node": {"name": "desk", "id": "S"},
            "drops": {"replay": 1, "rate": 2},
            "communities": [{"name": "home", "mac": "", "addresses": [], "peers": [peer]}],
        }

    def ping(self, community: str, key: bytes, now: float) -> int | None:
        self.pinged.append((community, key))
        return len(self.pinged) if self.here else None


class Call:
    """Is the part of a driver that a service uses."""

    faults: dict[str, int] = {}  # noqa: RUF012

    def clock(self) -> float:
        return 100.0

    def call(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        return verb(*arguments, self.clock())


class NoEngine:
    name = "none"


class Rig:
    def __init__(self) -> None:
        self.node = Peers()
        driver = cast(Driver[NodeEvent], Call())
        self.service = NodeService(cast(Node, self.node), driver, cast(Engine, NoEngine()), [])

    async def ping(self, replies: list[PingReply | None], **question: Any) -> list[dict[str, Any]]:
        """Returns the answers to one question while `replies` come, None for one that never does."""
        waiting = list(replies)
        answers = []
        asked = {
            "verb": "ping",
            "peer": "bob",
            "interval_s": 0.02,
            "timeout_s": 0.05,
            "count": len(replies),
            **question,
        }

        async def reply_soon() -> None:
            while waiting:
                await asyncio.sleep(0)
                if len(self.node.pinged) > len(replies) - len(waiting):
                    reply = waiting.pop(0)
                    if reply is not None:
                        self.service.handle_reply(reply)

        answering = asyncio.create_task(reply_soon())
        async for answer in self.service.handlers["ping"](asked):
            answers.append(answer)
        answering.cancel()
        return answers


def test_each_ping_says_what_came_of_it() -> None:
    rig = Rig()
    replies = [PingReply(1, 0.0401, "relay", ""), None, PingReply(3, 0.002, "direct", "203.0.113.5:4242")]
    answers = asyncio.run(rig.ping(replies))
    assert answers == [
        {"to": {"community": "home", "name": "bob", "id": format_key(BOB), "addresses": ["10.77.0.2/16"]}},
        {"sequence": 1, "rtt_ms": 40.1, "path": "relay", "remote": None, "via": HUB},
        {"sequence": 2, "rtt_ms": None, "reason": "timeout"},
        {"sequence": 3, "rtt_ms": 2.0, "path": "direct", "remote": "203.0.113.5:4242", "via": None},
    ]
    assert rig.node.pinged == [("home", BOB)] * 3


def why(rig: Rig, replies_to: int | None, **question: Any) -> list[dict[str, Any]]:
    """Returns the answers to `why` where the peer's side comes after so many questions, or never."""

    async def run() -> list[dict[str, Any]]:
        def reply() -> None:
            rig.service.handle_why(WhyReply(1, None, "unsupported"))

        if replies_to is not None:
            rig.node.on_asked[replies_to] = lambda: asyncio.get_running_loop().call_soon(reply)
        return [answer async for answer in rig.service.handlers["why"]({"verb": "why", "peer": "bob", **question})]

    return asyncio.run(run())


@pytest.mark.parametrize("replies_to", [1, 2])
def test_why_waits_for_the_peers_side_and_asks_again_for_it(monkeypatch: pytest.MonkeyPatch, replies_to: int) -> None:
    monkeypatch.setattr(service, "WHY_WAITS_S", (0.01, 5.0))
    rig = Rig()
    (answer,) = why(rig, replies_to)
    assert answer == {"of": ("home", BOB), "reply": WhyReply(1, None, "unsupported")}
    assert len(rig.node.asked) == replies_to
    rig.service.handle_why(WhyReply(1, None))  # Too late, and so nobody's.


def test_why_tells_our_side_alone_where_the_peers_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WHY_WAITS_S", (0.01, 0.01, 0.01))
    rig = Rig()
    (answer,) = why(rig, None)
    assert (answer["reply"], rig.node.asked) == (None, [1, 2, 3])
    with pytest.raises(UsageError, match="why needs a peer"):
        why(rig, None, peer=7)
    with pytest.raises(UsageError, match="No peer is called"):
        why(rig, None, peer="dave")
    rig.node.here = False
    with pytest.raises(UsageError, match="has left meanwhile"):
        why(rig, None)


def test_a_peer_that_left_is_told_and_asked_again() -> None:
    rig = Rig()
    rig.node.here = False
    answers = asyncio.run(rig.ping([], count=2))
    assert answers[1:] == [
        {"sequence": 1, "rtt_ms": None, "reason": "gone"},
        {"sequence": 2, "rtt_ms": None, "reason": "gone"},
    ]


def test_a_reply_that_comes_too_late_is_dropped() -> None:
    rig = Rig()
    assert asyncio.run(rig.ping([None]))[1]["rtt_ms"] is None
    rig.service.handle_reply(PingReply(1, 0.1, "direct", ""))


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"peer": None}, "needs a peer"),
        ({"peer": "dave"}, "No peer is called 'dave'"),
        ({"count": -1}, "count is a number from 0 to"),
        ({"count": True}, "count is a number"),
        ({"interval_s": 0}, "interval_s is a number from 0.02"),
        ({"interval_s": "1"}, "interval_s is a number"),
        ({"timeout_s": 60}, "timeout_s is a number from 0.01 to 9"),
        ({"timeout_s": float("nan")}, "timeout_s is a number"),
    ],
)
def test_a_wrong_question_is_refused_in_words(question: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asyncio.run(Rig().ping([], **question))


class Part:
    """Is a part of the program that has dropped something, and has nothing else to tell."""

    mappings = outcomes = ()
    uri = "turn:turn.example"
    change = RelayChange(None)

    def __init__(self, **drops: int) -> None:
        self.drops = Counter(drops)


def test_drops_of_every_part_of_the_program_are_added_up_by_reason() -> None:
    parts = [Part(rate=10), Part(integrity=20), Part(short=30), Part(rate=40, type=50)]
    mapper, turn, *streams = parts
    served = NodeService(
        cast(Node, Peers()),
        cast(Driver[NodeEvent], Call()),
        cast(Engine, NoEngine()),
        [],
        cast(PortMapper, mapper),
        cast(TurnCarriers, turn),
        streams,
    )

    async def ask() -> list[dict[str, Any]]:
        return [answer async for answer in served.handlers["status"]({"verb": "status"})]

    for _ in range(2):
        (status,) = asyncio.run(ask())
        assert list(status["drops"].items()) == [
            ("integrity", 20),
            ("rate", 52),
            ("replay", 1),
            ("short", 30),
            ("type", 50),
        ]


def test_the_status_of_a_real_node_has_the_documented_keys_in_order() -> None:
    settings = NodeSettings(
        key=NodeKey.generate(os.urandom),
        name="desk",
        communities=(CommunitySettings(Community.from_seed("home", b"x" * 16), 0, "ntvl0"),),
        supernodes=(parse_supernode_url("hub.example"),),
        incarnation=b"x" * 8,
        version="1",
    )
    node = Node(settings, random=os.urandom, wall=lambda: 1_700_000_000.0)
    config = CommunityConfig("home", None, "auto", "", "10.77.0.0/16", "ntvl0", 1360)
    device = Device(config, Reporter(as_json=True))
    device.opened("ntvl0", ("csum", "tso4"))
    served = NodeService(node, cast(Driver[NodeEvent], Call()), cast(Engine, NoEngine()), [device])
    status = served.status()
    assert list(status) == ["node", "engine", "port_mapping", "turn", "communities", "supernodes", "drops", "faults"]
    assert list(status["node"]) == ["name", "id", "version", "punch", "mapping_lifetime_s", "keepalive_s", "uptime_s"]
    assert status["engine"] == {"name": "none", "offloads": ["csum", "tso4"]}
    (community,) = status["communities"]
    assert list(community) == ["name", "id", "device", "mac", "addresses", "mtu", "peers"]
    assert list(status["supernodes"][0]) == ["url", "state", "rtt_ms", "observed", "over"]
