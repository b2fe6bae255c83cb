"""The command `ntvl` as a test runs it: a process whose JSON lines are read as they come."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

__all__ = ["Node", "Program", "ntvl", "run_program"]

SOURCE = Path(__file__).parents[2] / "src"


def _environment(more: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NTVL_")}
    return {**clean, "PYTHONPATH": str(SOURCE), **more}


def ntvl(*arguments: str, wrapper: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `ntvl` to its end in the calling thread's network namespace, started by `wrapper`, if there is one."""
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "ntvl", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
        env=_environment(environ),
    )


class Program:
    """Is one running `ntvl`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def event(self, wanted: Callable[[dict[str, Any]], object], timeout_s: float = 10.0) -> dict[str, Any]:
        """Returns the next event that `wanted` accepts, skipping others."""
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout_s):
            async for line in self.process.stdout:
                event: dict[str, Any] = json.loads(line)
                self.events.append(event)
                if wanted(event):
                    return event
        raise AssertionError(f"the program ended with {await self.process.wait()}: {self.events} {await self.errors()}")

    async def errors(self) -> str:
        """Returns what it said on standard error, once it has ended."""
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 5.0) -> int:
        """Returns the exit status after a signal."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), timeout_s)


@asynccontextmanager
async def run_program(*arguments: str, **environ: str) -> AsyncIterator[Program]:
    """Gives a running `ntvl`, killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ntvl", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(environ),
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Node:
    """Holds the arguments of a node: state, socket and secret in a directory of its own."""

    def __init__(self, path: Path, name: str = "alice", supernode: str = "127.0.0.1:9") -> None:
        self.state = path / name
        self.socket = path / f"{name}.sock"
        self.secret = path / "secret"
        self.secret.write_text("correct horse battery staple\n")
        self.secret.chmod(0o600)
        self.arguments = (
            *("node", "--json", "--community", "home", "--supernode", supernode, "--secret-file", str(self.secret)),
            *("--state", str(self.state), "--socket", str(self.socket), "--name", name),
        )
