import io
import json
import os
from pathlib import Path
from typing import Any

from ntvl.identity.keys import format_key
from ntvl.proto.supernode_events import (
    CommunityKnown,
    MemberJoined,
    MemberLeft,
    MemberMoved,
    Refusal,
    StoreFailed,
    SupernodeEvent,
)
from ntvl.runtime.supernode_report import SupernodeReporter

KEY = bytes(range(32))
TEXT = format_key(KEY)
EVENTS: list[SupernodeEvent] = [
    CommunityKnown("home", TEXT),
    MemberJoined("home", TEXT, "ann", "10.77.0.5/16", "198.51.100.7:4242"),
    MemberJoined("home", TEXT, "", "", "198.51.100.7:4242"),
    MemberMoved(TEXT, "ann", "198.51.100.8:4242"),
    MemberLeft("home", TEXT, "ann", "left"),
    MemberLeft("home", TEXT, "ann", "silent"),
    Refusal("home", TEXT, "bo\x1bb", "community-key", "another key", "198.51.100.9:1"),
    Refusal("", TEXT, "", "short", "too short", "198.51.100.9:1"),
    StoreFailed("the disk is full."),
]


def report(*events: SupernodeEvent, as_json: bool = False) -> list[str]:
    stream = io.StringIO()
    reporter = SupernodeReporter(as_json=as_json, stream=stream, clock=lambda: 1_700_000_000.12345)
    for event in events:
        reporter.event(event)
    return stream.getvalue().splitlines()


def ready(public: list[str], others: list[str], *, as_json: bool = False) -> list[str]:
    stream = io.StringIO()
    reporter = SupernodeReporter(as_json=as_json, stream=stream, clock=lambda: 0.0)
    reporter.ready(key=KEY, public=public, others=others, port=1971, state=Path("/s"), socket=Path("/s/sock"))
    reporter.stopped()
    return stream.getvalue().splitlines()


def test_each_event_is_a_time_and_a_sentence() -> None:
    assert [line[9:] for line in report(*EVENTS)] == [
        "home: a new community; the name is now that of the key AAECAwQF",
        "home: ann (AAECAwQF) joined as 10.77.0.5/16 from 198.51.100.7:4242",
        "home: AAECAwQF joined from 198.51.100.7:4242",
        "ann (AAECAwQF) is now at 198.51.100.8:4242",
        "home: ann (AAECAwQF) left",
        "home: ann (AAECAwQF) went silent",
        "home: bo?b (AAECAwQF) at 198.51.100.9:1 refused: another key (community-key)",
        "AAECAwQF at 198.51.100.9:1 refused: too short (short)",
        "error: The disk is full.",
    ]


def test_with_json_each_event_is_an_object_with_stable_keys() -> None:
    objects: list[dict[str, Any]] = [json.loads(line) for line in report(*EVENTS, as_json=True)]
    assert all(found.pop("time") == 1_700_000_000.123 for found in objects)
    assert objects[0] == {"event": "community-known", "community": "home", "id": TEXT}
    assert objects[1] == {
        "event": "member-joined",
        "community": "home",
        "node": TEXT,
        "name": "ann",
        "address": "10.77.0.5/16",
        "observed": "198.51.100.7:4242",
    }
    assert objects[3] == {"event": "member-moved", "node": TEXT, "name": "ann", "observed": "198.51.100.8:4242"}
    assert objects[5] == {"event": "member-left", "community": "home", "node": TEXT, "name": "ann", "reason": "silent"}
    assert set(objects[6]) == {"event", "community", "node", "name", "reason", "detail", "observed"}
    assert objects[8] == {"event": "notice", "level": "error", "code": "store", "text": "the disk is full."}


def test_the_start_tells_nodes_what_to_say() -> None:
    lines = [line[9:] for line in ready(["203.0.113.5", "2001:db8::5"], ["10.0.0.5"])]
    assert lines == [
        "supernode runs on UDP port 1971, state in /s",
        f"nodes reach it with:  --supernode ntvl://{TEXT}@203.0.113.5:1971",
        f"nodes with IPv6, with:  --supernode ntvl://{TEXT}@[2001:db8::5]:1971",
        f"from its own network:  --supernode ntvl://{TEXT}@10.0.0.5:1971",
        "stopped; names and addresses are kept",
    ]


def test_without_a_public_address_it_tells_what_to_do_about_that() -> None:
    lines = ready([], ["10.0.0.5"])
    assert f"have that forward UDP port 1971 to it, and give nodes  --supernode ntvl://{TEXT}@PUBLIC-" in lines[1]
    assert "from its own network" in lines[2]
    assert [line[9:26] for line in ready([], ["127.0.0.1"])[1:2]] == ["from this compute"]


def test_with_json_ready_is_one_object_with_every_url() -> None:
    first, last = (json.loads(line) for line in ready(["203.0.113.5"], ["10.0.0.5"], as_json=True))
    assert first == {
        "event": "ready",
        "time": 0.0,
        "key": TEXT,
        "urls": [f"ntvl://{TEXT}@203.0.113.5:1971", f"ntvl://{TEXT}@10.0.0.5:1971"],
        "port": 1971,
        "pid": os.getpid(),
        "state": "/s",
        "socket": "/s/sock",
        "wss": 0,
    }
    assert last == {"event": "stopped", "time": 0.0}
