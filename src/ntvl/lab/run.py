"""Which labs exist on this machine, whose they are, and which nobody needs any more.

Each lab is a run with a name, PID-COUNT, that all its namespaces carry ("ntvl-PID-COUNT-MACHINE"), and a record that
says which process made it, when that process started (process ids come back), whether it is to outlive that process,
and which directory goes with it. A lab whose process has ended is stale unless it was kept; the next run removes it. A
living one, or a kept one, is left alone.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from ntvl.lab.namespace import NAMESPACES, list_processes
from ntvl.lab.program import build_environment

__all__ = ["Run", "end_processes", "find_runs", "new_run", "remove_own_runs", "remove_run", "remove_stale_runs"]

_RECORDS: Final = Path("/run/ntvl-lab")
_NAMESPACE: Final = re.compile(r"ntvl-(?P<run>(?P<pid>\d+)-\d+)-.+")
_END_S: Final = 2.0
_COUNT: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Run:
    """Is the record of one lab.

    Args:
        pid: the process that made it.
        started: when that process started, in clock ticks since boot.
        directory: what is removed with the lab, or empty.
        kept: whether the lab outlives its process.
        title: what it is, for people.
    """

    name: str
    pid: int
    started: int
    directory: str = ""
    kept: bool = False
    title: str = ""

    @property
    def prefix(self) -> str:
        """Returns what the names of its namespaces start with."""
        return f"ntvl-{self.name}"

    @property
    def is_stale(self) -> bool:
        """Returns whether nobody needs it any more."""
        return not self.kept and (self.started == 0 or _started(self.pid) != self.started)

    def namespaces(self) -> list[str]:
        """Returns its namespaces that exist now."""
        return [name for name, run in _namespaces() if run == self.name]

    def write(self) -> None:
        """Writes the record, readable by its owner alone."""
        _RECORDS.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = _RECORDS / f"{self.name}.json"
        # In one step: another lab that looks for what was left behind must never read half a record.
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    def keep(self) -> "Run":
        """Returns the run marked to outlive its process, and writes that down."""
        kept = replace(self, kept=True)
        kept.write()
        return kept


def new_run(title: str, directory: str = "") -> Run:
    """Returns a new run of this process, already recorded."""
    pid = os.getpid()
    run = Run(f"{pid}-{next(_COUNT)}", pid, _started(pid), directory, title=title)
    run.write()
    return run


def find_runs() -> list[Run]:
    """Returns every run that has a record or a namespace."""
    runs: dict[str, Run] = {}
    for path in sorted(_RECORDS.glob("*.json")):
        try:
            run = Run(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            run = Run(path.stem, 0, 0)
        runs[path.stem] = run
    for _, name in _namespaces():
        pid = int(name.partition("-")[0])
        runs.setdefault(name, Run(name, pid, _started(pid)))
    return list(runs.values())


def remove_run(run: Run) -> None:
    """Ends the processes of a run, deletes its namespaces and directory, forgets it; what is gone is no error."""
    namespaces = run.namespaces()
    end_processes(list_processes(namespaces))
    if namespaces:
        lines = "".join(f"netns delete {name}\n" for name in reversed(namespaces))
        subprocess.run(
            ["ip", "-force", "-batch", "-"],
            input=lines,
            text=True,
            capture_output=True,
            env=build_environment(),
            check=False,
            process_group=0,  # Ctrl-C at the terminal must not end it half-way
        )
    if run.directory:
        shutil.rmtree(run.directory, ignore_errors=True)
    (_RECORDS / f"{run.name}.json").unlink(missing_ok=True)


def remove_stale_runs() -> list[Run]:
    """Removes what killed runs left behind, and returns which they were."""
    stale = [run for run in find_runs() if run.is_stale]
    for run in stale:
        remove_run(run)
    return stale


def remove_own_runs() -> None:
    """Removes every run of this process, those that were kept too."""
    for run in find_runs():
        if run.pid == os.getpid():
            remove_run(run)


def end_processes(pids: Iterable[int]) -> None:
    """Asks processes to end, and kills those that do not within two seconds."""
    living = set(pids) - {os.getpid()}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in living:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        until = time.monotonic() + _END_S
        while living and time.monotonic() < until:
            living = {pid for pid in living if _started(pid)}
            time.sleep(0.01)


def _namespaces() -> list[tuple[str, str]]:
    try:
        names = sorted(os.listdir(NAMESPACES))
    except OSError:
        return []
    return [(name, match["run"]) for name in names if (match := _NAMESPACE.fullmatch(name))]


def _started(pid: int) -> int:
    """Returns when a process started, in clock ticks since boot; 0 if it does not run (any more)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
