"""A network namespace of a test's own, in a thread of its own: gone with the thread, whatever happens in it."""

import asyncio
import ctypes
import os
import subprocess
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

CLONE_NEWNET: Final = 0x40000000
T = TypeVar("T")


def in_namespace(scenario: Callable[[], Coroutine[Any, Any, T]], timeout_s: float = 20.0) -> T:
    """Returns what `scenario` returns when run in a fresh network namespace, which has a loopback interface only."""

    def run() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        ip("link set lo up")
        return asyncio.run(asyncio.wait_for(scenario(), timeout_s))

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(run).result()


def ip(arguments: str) -> str:
    """Runs `ip` in the calling thread's namespace and returns what it prints."""
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {arguments}: {done.stderr}"
    return done.stdout


def set_sysctl(path: str, value: str) -> None:
    """Writes a kernel setting of the calling thread's namespace: "net/ipv6/conf/all/disable_ipv6"."""
    (Path("/proc/sys") / path).write_text(value)
