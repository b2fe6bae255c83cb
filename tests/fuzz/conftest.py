"""Starts fuzzing beside the other tests where --fuzz-seconds asks for it; `test_fuzzing` waits for the outcome."""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pytest

FUZZ: Final = Path(__file__).parent / "fuzz.py"
STARTS_S: Final = 60
"""How long all targets together may take to load, on a busy machine."""


@dataclass
class FuzzRun:
    """Is a fuzz run under way: its process, and the file that takes what it says."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    seconds: int

    def wait(self) -> tuple[int, str]:
        """Returns exit status and output, when it has ended."""
        status = self.process.wait(self.seconds * 2 + STARTS_S)
        self.output.seek(0)
        return status, self.output.read().decode(errors="replace")


RUN: Final = pytest.StashKey[FuzzRun]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long test out of a run that does not ask for it; the seeds are tested in every run."""
    if not config.getoption("--fuzz-seconds"):
        config.hook.pytest_deselected(items=[item for item in items if _waits_for_fuzzing(item)])
        items[:] = [item for item in items if not _waits_for_fuzzing(item)]


def pytest_collection_finish(session: pytest.Session) -> None:
    seconds = session.config.getoption("--fuzz-seconds")
    if seconds and not session.config.option.collectonly and any(map(_waits_for_fuzzing, session.items)):
        output = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            ["nice", sys.executable, str(FUZZ), "--seconds", str(seconds)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        session.config.stash[RUN] = FuzzRun(process, output, seconds)


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is None:
        return
    if run.process.poll() is None:
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()
    run.output.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is not None and run.process.poll() is not None:
        terminalreporter.line(run.wait()[1].rstrip().rpartition("\n")[2])


@pytest.fixture
def fuzz_run(pytestconfig: pytest.Config) -> FuzzRun:
    """Gives the fuzz run that began with the tests."""
    return pytestconfig.stash[RUN]


def _waits_for_fuzzing(item: pytest.Item) -> bool:
    return "fuzz_run" in getattr(item, "fixturenames", ())
