"""The real programs on a lab's machines, and what their events say: a node as the lab sees it, and a supernode."""

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ntvl.lab.program import Program, ProgramEvent
from ntvl.lab.stage import Stage

__all__ = ["NTVL", "Member", "PathSeen", "start_supernode"]

NTVL: Final = (sys.executable, "-m", "ntvl")
"""The command `ntvl` of this very installation."""

_START_S: Final = 30.0


class PathSeen(NamedTuple):
    """Is how a node reaches a peer since `at` (monotonic clock): "direct" (then `remote` is where it is), "relay" or
    "none".
    """

    at: float
    path: str
    remote: str


def start_supernode(
    stage: Stage, machine: str = "supernode", *arguments: str, state: Path | None = None
) -> tuple[Program, str]:
    """Returns a running supernode and its URL on the lab's Internet.

    Raises:
        TimeoutError: it did not start; the message has its last lines.
    """
    state = state or stage.directory / f"{machine}.state"
    argv = [*NTVL, "supernode", "--state", str(state), "--json", *arguments]
    program = stage.start(machine, argv, name=f"supernode on {machine}")
    ready = program.wait_event(lambda fields: _is(fields, "ready"), _START_S, "get ready")
    return program, next(url for url in ready.fields["urls"] if stage.address(machine) in url)


class Member:
    """Is a node program on a machine, under the machine's name, with a state directory and socket of its own.

    Args:
        arguments: further arguments of `ntvl node`.
        environment: more variables.
    """

    def __init__(
        self,
        stage: Stage,
        machine: str,
        *,
        community: str,
        supernode: str,
        secret_file: Path,
        arguments: Sequence[str] = (),
        device: str = "ntvl0",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.stage = stage
        self.machine = machine
        self.device = device
        self.state = stage.directory / f"{machine}.state"
        self.socket = stage.directory / f"{machine}.sock"
        self.script = stage.directory / f"{machine}.sh"
        argv = [*NTVL, "node", "--json", "--community", community, "--supernode", supernode, "--name", machine]
        argv += ["--secret-file", str(secret_file), "--device", device]
        argv += ["--state", str(self.state), "--socket", str(self.socket), *arguments]
        self._argv = argv
        self._environment = environment
        self.program = self._start()

    def restart(self) -> None:
        """Starts the node again with the same arguments; it has ended before."""
        self.program = self._start()

    def write_script(self) -> None:
        """Writes into `script` what starts this node again at a terminal, once it has ended: too much to type."""
        argv = ["ip", "netns", "exec", self.stage.namespace(self.machine), *self._argv]
        line = shlex.join(word for word in argv if word != "--json")
        self.script.write_text(f'exec {line} "$@"\n')

    def _start(self) -> Program:
        return self.stage.start(self.machine, self._argv, name=f"node on {self.machine}", environment=self._environment)

    @property
    def address(self) -> str:
        """Returns the overlay's IPv4 address of this node now, empty before it has one."""
        addresses = [found for event in self.program.events if (found := _ipv4_of(event.fields))]
        return addresses[-1] if addresses else ""

    def wait_address(self, timeout_s: float = _START_S) -> str:
        """Returns the overlay's IPv4 address of this node, once the device has it.

        Raises:
            TimeoutError: it did not join; the message has its last lines.
        """
        return _ipv4_of(self.program.wait_event(lambda fields: bool(_ipv4_of(fields)), timeout_s, "join").fields)

    def wait_peers(self, names: Sequence[str], timeout_s: float = _START_S) -> None:
        """Waits until this node has heard of these members.

        Raises:
            TimeoutError: it did not; the message has its last lines.
        """
        for name in names:
            self._wait_peer(name, timeout_s)

    def _wait_peer(self, name: str, timeout_s: float) -> None:
        self.program.wait_event(
            lambda fields: _is(fields, "peer-seen") and fields["name"] == name, timeout_s, f"hear of {name}"
        )

    def path_to(self, name: str, at: float | None = None) -> PathSeen:
        """Returns how this node reaches a member now, or how it did at a time on the monotonic clock."""
        paths = [path for path in self._paths_to(name) if at is None or path.at <= at]
        return paths[-1] if paths else PathSeen(0.0, "none", "")

    def reply_path(self, name: str, at: float) -> PathSeen:
        """Returns by which path a reply came that arrived at a time on the monotonic clock.

        A node tells of a new path a moment after the first frame has gone by it, so a reply may be ahead of the news.
        """
        seen = self.path_to(name, at)
        if seen.path == "none":
            self.program.wait_event(
                lambda fields: _is(fields, "path-changed") and fields["name"] == name, 2.0, f"have a path to {name}"
            )
            seen = self.first_path_to(name) or seen
        return seen

    def first_path_to(self, name: str) -> PathSeen | None:
        """Returns the first path that this node had to a member, or None before any."""
        return next(iter(self._paths_to(name)), None)

    def _paths_to(self, name: str) -> list[PathSeen]:
        return [
            PathSeen(_monotonic(event), event.fields["path"], event.fields["remote"] or "")
            for event in self.program.events
            if _is(event.fields, "path-changed") and event.fields["name"] == name
        ]

    def status(self) -> dict[str, Any]:
        """Returns what `ntvl status --json` says."""
        argv = [*NTVL, "status", "--json", "--socket", str(self.socket)]
        answer: dict[str, Any] = json.loads(self.stage.run(self.machine, argv).stdout)
        return answer


def _is(fields: dict[str, Any], event: str) -> bool:
    return fields.get("event") == event


def _monotonic(event: ProgramEvent) -> float:
    """Returns when an event was, rather than when it was read: its own time is on the wall clock."""
    return float(event.fields["time"]) - time.time() + time.monotonic()


def _ipv4_of(fields: dict[str, Any]) -> str:
    """Returns the IPv4 address that an event says a device got, empty for any other event."""
    if not _is(fields, "address-assigned"):
        return ""
    return next((cidr.partition("/")[0] for cidr in fields["addresses"] if ":" not in cidr), "")
