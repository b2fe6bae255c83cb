import io
import json
import re
from typing import Any

from ntvl.identity.keys import format_key, short_id
from ntvl.proto.events import (
    AddressAssigned,
    KeyLearned,
    NodeEvent,
    Notice,
    PathChanged,
    PeerGone,
    PeerSeen,
    PingReply,
    SupernodeState,
)
from ntvl.runtime.report import Reporter

KEY = bytes(range(32))
URL = f"ntvl://{format_key(KEY)}@198.51.100.1:1971"
EVENTS: list[NodeEvent] = [
    SupernodeState(0, URL, "registered"),
    PeerSeen("home", KEY, "bob"),
    PathChanged("home", KEY, "bob", "relay", "", URL),
    PathChanged("home", KEY, "bob", "direct", "203.0.113.5:4242", ""),
    PathChanged("home", KEY, "bob", "none", "", ""),
    PeerGone("home", KEY, "bob"),
    Notice("warning", "clock", "the clock is late"),
]


def report(events: list[NodeEvent], *, as_json: bool = False) -> list[str]:
    stream = io.StringIO()
    reporter = Reporter(as_json=as_json, stream=stream, clock=lambda: 1_700_000_000.12345)
    for event in events:
        reporter.event(event)
    return stream.getvalue().splitlines()


def test_each_event_is_a_time_and_a_sentence() -> None:
    lines = report(EVENTS)
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
    assert [line[9:] for line in lines] == [
        "supernode 198.51.100.1:1971: registered",
        "home: bob is here",
        "home: bob is reached through supernode 198.51.100.1:1971",
        "home: bob is reached directly at 203.0.113.5:4242",
        "home: bob is out of reach",
        "home: bob left",
        "warning: The clock is late",
    ]


def test_two_of_one_name_are_told_apart() -> None:
    other, stream = bytes(reversed(KEY)), io.StringIO()
    reporter = Reporter(stream=stream, clock=lambda: 0.0)
    reporter.started(name="me", key=KEY, port=1, socket="-")
    for key, name in ((KEY, "bob"), (other, "bob"), (other, "me")):
        reporter.event(PeerSeen("home", key, name))
    reporter.event(PeerGone("home", KEY, "bob"))
    reporter.event(PeerGone("home", other, "bob"))
    assert [line[9:] for line in stream.getvalue().splitlines()][1:] == [
        "home: bob is here",
        f"home: bob ({short_id(other)}) is here",
        f"home: me ({short_id(other)}) is here",
        "home: bob left",
        "home: bob left",
    ]


def test_with_json_each_event_is_an_object_with_stable_keys() -> None:
    objects: list[dict[str, Any]] = [json.loads(line) for line in report(EVENTS, as_json=True)]
    assert all(event.pop("time") == 1_700_000_000.123 for event in objects)
    who = {"community": "home", "peer": format_key(KEY), "name": "bob"}
    assert objects == [
        {"event": "supernode-state", "url": URL, "state": "registered"},
        {"event": "peer-seen", **who},
        {"event": "path-changed", **who, "path": "relay", "remote": None, "via": URL},
        {"event": "path-changed", **who, "path": "direct", "remote": "203.0.113.5:4242", "via": None},
        {"event": "path-changed", **who, "path": "none", "remote": None, "via": None},
        {"event": "peer-gone", **who},
        {"event": "notice", "level": "warning", "code": "clock", "text": "the clock is late"},
    ]


def test_events_for_the_runtime_alone_are_not_told_twice() -> None:
    quiet: list[NodeEvent] = [
        AddressAssigned(0, ("10.77.0.5/16",)),
        KeyLearned(0, KEY),
        PingReply(1, 0.1, "direct", ""),
    ]
    assert report(quiet) == []
    assert report(quiet, as_json=True) == []


def test_the_runtimes_own_events_have_the_documented_keys() -> None:
    stream = io.StringIO()
    reporter = Reporter(as_json=True, stream=stream)
    reporter.started(name="desk", key=KEY, port=4242, socket="/run/ntvl.sock")
    reporter.assigned("home", "ntvl0", ("10.77.0.5/16",))
    reporter.learned(URL, KEY)
    reporter.stopped()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [list(event) for event in events] == [
        ["event", "time", "name", "id", "port", "pid", "socket"],
        ["event", "time", "community", "device", "addresses"],
        ["event", "time", "url", "key"],
        ["event", "time"],
    ]
    assert [event["event"] for event in events] == ["started", "address-assigned", "key-learned", "stopped"]


def test_those_who_join_together_share_a_line_that_comes_before_what_follows() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream=stream)
    deferred: list[str] = []
    reporter.on_deferred = lambda: deferred.append("soon")
    for number in range(9):
        reporter.event(PeerSeen("home", bytes([number]) * 32, f"peer{number}"))
    reporter.event(PeerSeen("work", KEY, ""))
    assert stream.getvalue() == ""
    assert deferred
    reporter.event(PeerGone("home", bytes([3]) * 32, "peer3"))
    assert [line[9:] for line in stream.getvalue().splitlines()] == [
        "home: peer0, peer1, peer2, peer3 and 5 more are here",
        f"work: {format_key(KEY)[:8]} is here",
        "home: peer3 left",
    ]
    reporter.flush()
    assert len(stream.getvalue().splitlines()) == 3


def test_a_peers_name_cannot_command_the_terminal() -> None:
    (line,) = report([PeerGone("home", KEY, "\x1b]0;owned\x07\u202ebob\n")])
    assert line[9:] == "home: ?]0;owned??bob? left"
