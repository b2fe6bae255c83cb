"""What a supernode says, one line an event, at once.

With JSON every line is an object with "event" and "time" (seconds since the Unix epoch), keys as text:

    ready               key, urls, port, wss, pid, state, socket: nodes may come
    community-known     community, id: a name is taken here, by this key
    member-joined       community, node, name, address, observed
    member-left         community, node, name, reason ("left" or "silent")
    member-moved        node, name, observed
    refusal             community, node, name, reason, detail, observed
    notice              level ("warning", "error"), code, text
    stopped             nothing more

Without, a line is a time and a sentence.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO

from ntvl.identity.keys import format_key
from ntvl.identity.url import WSS_PORT_DEFAULT, SupernodeUrl
from ntvl.proto.supernode_events import (
    CommunityKnown,
    MemberJoined,
    MemberLeft,
    MemberMoved,
    Refusal,
    StoreFailed,
    SupernodeEvent,
)
from ntvl.runtime.clock import Clock, wall_time
from ntvl.runtime.lines import EventLines

__all__ = ["SupernodeReporter"]


class SupernodeReporter:
    """Writes a supernode's events.

    Args:
        as_json: objects instead of sentences.
        stream: standard output by default.
        clock: the wall clock.
    """

    def __init__(self, *, as_json: bool = False, stream: TextIO | None = None, clock: Clock = wall_time) -> None:
        self._lines = EventLines(as_json=as_json, stream=stream, clock=clock)

    def ready(
        self,
        *,
        key: bytes,
        public: Sequence[str],
        others: Sequence[str],
        port: int,
        state: Path,
        socket: Path | None,
        wss: int = 0,
    ) -> None:
        """Tells that nodes may come, and by which URLs.

        Args:
            key: the supernode's public key.
            public: its addresses that anybody may reach; `others` those that only near computers reach.
            port: its UDP port.
            wss: its port for WebSockets, 0 for none.
            state: its state directory.
            socket: its control socket, if it has one.
        """
        # A newcomer copies the first one: IPv4 is what nearly all have.
        public, others = (sorted(hosts, key=lambda host: ":" in host) for hosts in (public, others))
        urls = [str(SupernodeUrl(host, port, key, wss or WSS_PORT_DEFAULT)) for host in (*public, *others)]
        fields = {
            "event": "ready",
            "key": format_key(key),
            "urls": urls,
            "port": port,
            "wss": wss,
            "pid": os.getpid(),
            "state": str(state),
            "socket": "" if socket is None else str(socket),
        }
        self._lines.tell(
            fields, f"supernode runs on UDP port {port}{f', wss port {wss}' if wss else ''}, state in {state}", "good"
        )
        if self._lines.as_json:
            return
        near = [host for host in others if not ip_address(host).is_loopback]
        if not public and near:
            self._lines.tell(
                {},
                f"this computer has no public address: if it is behind a router, have that forward UDP port {port} to "
                f"it, and give nodes  --supernode ntvl://{format_key(key)}@PUBLIC-ADDRESS:{port}",
                "middling",
            )
        for host, url in zip((*public, *others), urls, strict=True):
            whence = "nodes reach it with" if host in public else "from its own network"
            if host in public and ":" in host and ":" not in public[0]:
                whence = "nodes with IPv6, with"
            whence = whence if host in public or host in near else "from this computer"
            self._lines.tell({}, f"{whence}:  --supernode {url}")

    def stopped(self) -> None:
        """Tells the end, as the last line."""
        self._lines.tell({"event": "stopped"}, "stopped; names and addresses are kept")

    def notice(self, level: str, code: str, text: str) -> None:
        """Tells one sentence: `level` is "warning" or "error", `code` a kebab-case word."""
        fields = {"event": "notice", "level": level, "code": code, "text": text}
        self._lines.tell(fields, f"{level}: {text[:1].upper()}{text[1:]}", "bad" if level == "error" else "middling")

    def event(self, event: SupernodeEvent) -> None:
        """Tells an event of the machine."""
        match event:
            case CommunityKnown():
                text = f"{event.community}: a new community; the name is now that of the key {event.id[:8]}"
                self._lines.tell({"event": "community-known", **asdict(event)}, text)
            case MemberJoined():
                address = f" as {event.address}" if event.address else ""
                text = f"{event.community}: {_who(event)} joined{address} from {event.observed}"
                self._lines.tell({"event": "member-joined", **asdict(event)}, text, "good")
            case MemberLeft():
                text = f"{event.community}: {_who(event)} " + ("left" if event.reason == "left" else "went silent")
                self._lines.tell({"event": "member-left", **asdict(event)}, text, "dim")
            case MemberMoved():
                self._lines.tell(
                    {"event": "member-moved", **asdict(event)}, f"{_who(event)} is now at {event.observed}"
                )
            case Refusal():
                community = f"{event.community}: " if event.community else ""
                text = f"{community}{_who(event)} at {event.observed} refused: {event.detail} ({event.reason})"
                self._lines.tell({"event": "refusal", **asdict(event)}, text, "middling")
            case StoreFailed():
                self.notice("error", "store", event.text)


def _who(event: MemberJoined | MemberLeft | MemberMoved | Refusal) -> str:
    return f"{event.name} ({event.node[:8]})" if event.name else event.node[:8]
