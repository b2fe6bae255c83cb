"""A program that runs on a machine of a lab: its events as they come, its log, its end.

`ip netns exec` enters the namespace and becomes the program, so the process id is the program's own. It gets a process
group of its own: Ctrl-C in the terminal reaches whoever runs the lab, who then ends the programs in order. What it
prints goes to a file, which a thread reads: so nothing is lost on a slow reader, and a kept program has somewhere to
write when the process that started it is gone.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["Program", "ProgramEvent", "build_environment"]

_LOG_LINES: Final = 400
_READ_EVERY_S: Final = 0.01


class ProgramEvent(NamedTuple):
    """Is one JSON object that a program printed on a line of its own, and when it was read (monotonic clock)."""

    at: float
    fields: dict[str, Any]


class Program:
    """Is one running program.

    Args:
        name: what it is called in messages.
        log: the file that both its outputs go to.
        on_event: called for each event on a thread of the program's own; must not wait.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        argv: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[ProgramEvent], None] | None = None,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log_file = log
        self._on_event = on_event
        self._news = threading.Condition()
        self._events: list[ProgramEvent] = []
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._ended = False
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=build_environment({**(environment or {}), "PYTHONUNBUFFERED": "1"}),
                process_group=0,
            )
        self._reader = threading.Thread(target=self._read, name=f"{name} reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Returns the process id, which is also its group's."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Returns whether it has not ended."""
        return self._process.poll() is None

    @property
    def events(self) -> list[ProgramEvent]:
        """Returns all events so far, oldest first."""
        with self._news:
            return list(self._events)

    @property
    def log(self) -> list[str]:
        """Returns the last lines that it printed, on both outputs together."""
        with self._news:
            return list(self._log)

    def wait_event(
        self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float, what: str = "say so", since: int = 0
    ) -> ProgramEvent:
        """Returns the first event that `wanted` accepts, among those from number `since` on.

        Args:
            what: what the program does by that, for the message: "NAME did not WHAT within 5 s".
        Raises:
            TimeoutError: none came in time, or the program ended without; the message has its last lines.
        """
        until = time.monotonic() + timeout_s
        seen = since
        with self._news:
            while True:
                for event in self._events[seen:]:
                    seen += 1
                    if wanted(event.fields):
                        return event
                remaining = until - time.monotonic()
                if self._ended or remaining <= 0:
                    break
                self._news.wait(remaining)
        if self._ended:
            reason = f"did not {what}, it ended with status {self._process.wait()}"
        else:
            reason = f"did not {what} within {timeout_s:g} s"
        raise TimeoutError(f"{self.name} {reason}; its last lines:\n" + "\n".join(self.log[-12:]))

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.is_running:
            self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 5.0) -> int:
        """Sends a signal, waits, and returns the exit status (negative: the signal that ended it).

        What is left of its process group, or does not end in time, is killed.
        """
        self.send_signal(number)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        return self.kill()

    def kill(self) -> int:
        """Kills it and its process group at once, and returns the exit status."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        status = self._process.wait()
        self._reader.join()
        return status

    def wait(self, timeout_s: float) -> int:
        """Returns the exit status once it has ended.

        Raises:
            TimeoutError: it still runs.
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} still runs after {timeout_s:g} s") from error
        self._reader.join()
        return status

    def _read(self) -> None:
        rest = b""
        with self.log_file.open("rb") as file:
            while True:
                ended = self._process.poll() is not None
                data = file.read()
                if data:
                    *lines, rest = (rest + data).split(b"\n")
                    self._take([line.decode(errors="replace") for line in lines])
                elif ended:
                    break
                else:
                    time.sleep(_READ_EVERY_S)
        self._take([rest.decode(errors="replace")] if rest else [])
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _take(self, lines: list[str]) -> None:
        at = time.monotonic()
        events = [event for line in lines if (event := _parse_event(line, at)) is not None]
        with self._news:
            self._log.extend(lines)
            self._events.extend(events)
            self._news.notify_all()
        if self._on_event is not None:
            for event in events:
                self._on_event(event)


def build_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment with `more`, and with the directories of root's programs in its PATH."""
    environment = {**os.environ, **(more or {})}
    environment["PATH"] = environment.get("PATH", "") + ":/usr/sbin:/sbin"
    return environment


def _parse_event(line: str, at: float) -> ProgramEvent | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return ProgramEvent(at, fields) if isinstance(fields, dict) else None
