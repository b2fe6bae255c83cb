"""A program that runs on a machine of a lab: its events as they come, its log, its end.

`ip netns exec` enters the namespace and becomes the program, so the process id is the program's own. It gets a process
group of its own: Ctrl-C in the terminal reaches whoever runs the lab, who then ends the programs in order.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Program", "ProgramEvent"]

_LOG_LINES: Final = 400


class ProgramEvent(NamedTuple):
    """Is one JSON object that a program printed on a line of its own, and when it was read (monotonic clock)."""

    at: float
    fields: dict[str, Any]


class Program:
    """Is one running program. Threads read what it prints, so it never waits for its reader.

    Args:
        name: what it is called in messages.
        on_event: called for each event, on the reading thread, as soon as it is read.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[ProgramEvent], None] | None = None,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self._on_event = on_event
        self._news = threading.Condition()
        self._events: list[ProgramEvent] = []
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
            process_group=0,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), name=f"{name} reader", daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        for reader in self._readers:
            reader.start()

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

    def wait_event(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float, since: int = 0) -> ProgramEvent:
        """Returns the first event that `wanted` accepts, among those from number `since` on.

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
                ended = not any(reader.is_alive() for reader in self._readers)
                remaining = until - time.monotonic()
                if ended or remaining <= 0:
                    break
                self._news.wait(min(remaining, 0.2))
        what = f"ended with status {self._process.wait()}" if ended else f"did not say so within {timeout_s:g} s"
        raise TimeoutError(f"{self.name} {what}; its last lines:\n" + "\n".join(self.log[-12:]))

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 5.0) -> int:
        """Sends a signal, waits, and returns the exit status (negative: the signal that ended it).

        What is left of its process group, or does not end in time, is killed.
        """
        if self.is_running:
            self._process.send_signal(number)
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
        for reader in self._readers:
            reader.join(1.0)
        return status

    def wait(self, timeout_s: float) -> int:
        """Returns the exit status once it has ended.

        Raises:
            TimeoutError: it still runs.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} still runs after {timeout_s:g} s") from error
        finally:
            if not self.is_running:
                for reader in self._readers:
                    reader.join(1.0)

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                at = time.monotonic()
                event = _parse_event(line, at)
                with self._news:
                    self._log.append(line.rstrip("\n"))
                    if event is not None:
                        self._events.append(event)
                    self._news.notify_all()
                if event is not None and self._on_event is not None:
                    self._on_event(event)
        with self._news:
            self._news.notify_all()


def _parse_event(line: str, at: float) -> ProgramEvent | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return ProgramEvent(at, fields) if isinstance(fields, dict) else None
