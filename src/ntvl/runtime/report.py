"""Events for people and for programs: one line each, at once.

With JSON every line is an object with "event" and "time" (seconds since the Unix epoch), keys as text:

    started            name, id, port, pid, socket: the node runs; nothing is joined yet
    address-assigned   community, device, addresses: the device is up and has them
    supernode-state    url, state: "resolving", "connecting", "registered", "unreachable" or "refused"
    supernode-reached  url, over: "udp", "tcp", "wss" or "wss through proxy HOST:PORT"
    key-learned        url, key: pinned from now on
    peer-seen          community, peer, name
    peer-gone          community, peer, name
    path-changed       community, peer, name, path ("direct", "turn", "relay", "none"), remote, via
    notice             level ("info", "warning", "error"), code, text
    stopped            nothing more

Without, a line is a time and a sentence. Names come from other machines, so what a terminal could take for a command is
replaced.
"""

import os
from collections.abc import Callable
from typing import Any, Final, TextIO

from ntvl.identity.keys import format_key, short_id
from ntvl.proto.events import (
    KeyLearned,
    NodeEvent,
    Notice,
    PathChanged,
    PeerGone,
    PeerSeen,
    SupernodeReached,
    SupernodeState,
)
from ntvl.runtime.clock import Clock, wall_time
from ntvl.runtime.lines import EventLines, printable

__all__ = ["Reporter", "supernode_label"]

NAMES_MAX: Final = 5
_OF_LEVEL: Final = {"warning": "middling", "error": "bad"}
_OF_STATE: Final = {"registered": "good", "unreachable": "bad", "refused": "bad"}


class Reporter:
    """Writes events to a stream, flushed line by line.

    Args:
        as_json: objects instead of sentences.
        stream: standard output by default; colours only on a terminal, and not where NO_COLOR is set.
        clock: the wall clock.
    """

    def __init__(self, *, as_json: bool = False, stream: TextIO | None = None, clock: Clock = wall_time) -> None:
        self._lines = EventLines(as_json=as_json, stream=stream, clock=clock)
        self._joined: dict[str, list[str]] = {}
        self._own_name = ""
        self._holders: dict[tuple[str, str], bytes] = {}
        self.on_deferred: Callable[[], None] | None = None
        """Called when a sentence waits for others like it: call `flush` soon."""

    def started(self, *, name: str, key: bytes, port: int, socket: str) -> None:
        """Tells that the node runs."""
        self._own_name = name
        self._tell(
            {
                "event": "started",
                "name": name,
                "id": format_key(key),
                "port": port,
                "pid": os.getpid(),
                "socket": socket,
            },
            f"node {printable(name)} ({short_id(key)}) runs on UDP port {port}",
        )

    def stopped(self) -> None:
        """Tells that the node has left, as the last line."""
        self._tell({"event": "stopped"}, "left; devices are gone")

    def assigned(self, community: str, device: str, addresses: tuple[str, ...]) -> None:
        """Tells that a device is up and has its addresses."""
        self._tell(
            {"event": "address-assigned", "community": community, "device": device, "addresses": list(addresses)},
            f"{community}: {device} is up with {', '.join(addresses)}" if addresses else f"{community}: {device} is up",
            "good",
        )

    def notice(self, level: str, code: str, text: str) -> None:
        """Tells one sentence of the runtime's own."""
        self.event(Notice(level, code, text))

    def learned(self, url: str, key: bytes) -> None:
        """Tells that a supernode's key was learned and pinned."""
        self._tell(
            {"event": "key-learned", "url": url, "key": format_key(key)},
            f"supernode {supernode_label(url)} shows the key {format_key(key)}; it is pinned from now on",
        )

    def event(self, event: NodeEvent) -> None:
        """Tells an event of the node that is for people; others are for the runtime, which tells what came of them."""
        match event:
            case PeerSeen():
                if self._lines.as_json:
                    self._tell(_peer_fields("peer-seen", event), "")
                else:
                    self._joined.setdefault(event.community, []).append(self._name(event))
                    if self.on_deferred is not None:
                        self.on_deferred()
                    else:
                        self.flush()
            case PeerGone():
                self._tell(_peer_fields("peer-gone", event), f"{event.community}: {self._name(event)} left", "dim")
                if self._holders.get((event.community, event.name)) == event.peer:
                    del self._holders[event.community, event.name]
            case PathChanged():
                fields = _peer_fields("path-changed", event)
                fields |= {"path": event.path, "remote": event.remote or None, "via": event.via or None}
                self._tell(
                    fields, f"{event.community}: {self._name(event)} {_path_words(event)}", _path_style(event.path)
                )
            case SupernodeState():
                text = f"supernode {supernode_label(event.url)}: {event.state}"
                fields = {"event": "supernode-state", "url": event.url, "state": event.state}
                self._tell(fields, text, _OF_STATE.get(event.state, ""))
            case SupernodeReached():
                fields = {"event": "supernode-reached", "url": event.url, "over": event.over}
                if event.before or event.over != "udp" or self._lines.as_json:
                    self._tell(fields, f"supernode {supernode_label(event.url)} {_reached_words(event)}")
            case Notice():
                text = event.text[:1].upper() + event.text[1:]
                word = "" if event.level == "info" else f"{event.level}: "
                fields = {"event": "notice", "level": event.level, "code": event.code, "text": event.text}
                self._tell(fields, word + text, _OF_LEVEL.get(event.level, ""))
            case KeyLearned() | _:
                pass

    def flush(self) -> None:
        """Tells who joined: all that came at about the same time in one line."""
        joined, self._joined = self._joined, {}
        for community, names in joined.items():
            shown = (
                names if len(names) <= NAMES_MAX else [*names[: NAMES_MAX - 1], f"{len(names) - NAMES_MAX + 1} more"]
            )
            words = " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
            self._tell({}, f"{community}: {words} {'is' if len(names) == 1 else 'are'} here")

    def _name(self, event: PeerSeen | PeerGone | PathChanged) -> str:
        if not event.name:
            return short_id(event.peer)
        holder = self._holders.setdefault((event.community, event.name), event.peer)
        is_unique = event.name != self._own_name and holder == event.peer
        return event.name if is_unique else f"{event.name} ({short_id(event.peer)})"

    def _tell(self, fields: dict[str, Any], text: str, style: str = "") -> None:
        if fields and self._joined:
            self.flush()
        self._lines.tell(fields, text, style)


def supernode_label(url: str) -> str:
    """Returns host and port of a supernode's URL, without its key."""
    return url.removeprefix("ntvl://").rpartition("@")[2].partition("?")[0]


def _peer_fields(word: str, event: PeerSeen | PeerGone | PathChanged) -> dict[str, Any]:
    return {"event": word, "community": event.community, "peer": format_key(event.peer), "name": event.name}


def _reached_words(event: SupernodeReached) -> str:
    if event.over == "udp":
        return f"is reached over UDP again, no more over {event.before}"
    return f"is reached over {event.over}, as UDP has no answer"


def _path_words(event: PathChanged) -> str:
    if event.path == "direct":
        return f"is reached directly at {event.remote}"
    if event.path == "turn":
        return f"is reached through a TURN server at {event.remote}"
    if event.path == "relay":
        return f"is reached through supernode {supernode_label(event.via)}"
    return "is out of reach"


def _path_style(path: str) -> str:
    return {"direct": "good", "turn": "middling", "relay": "middling"}.get(path, "bad")
