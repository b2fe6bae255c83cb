"""Reaching into a network namespace by its name: sockets that live there, processes that run there.

A socket belongs for ever to the namespace in which it was opened, so a thread that enters, opens it and ends is all
that a test needs to speak from any host of a lab.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["NAMESPACES", "list_processes", "open_socket"]

NAMESPACES: Final = Path("/run/netns")
"""Where `ip netns` keeps the names."""

_CLONE_NEWNET: Final = 0x4000_0000


def open_socket(namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Returns a socket, open in the named namespace and usable from here.

    Raises:
        OSError: no such namespace, no privilege, or the kernel refuses the socket.
    """
    opened: list[socket.socket] = []
    failed: list[OSError] = []

    def enter() -> None:
        try:
            _enter(namespace)
            opened.append(socket.socket(family, kind, protocol))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=enter, name=f"socket in {namespace}")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return opened[0]


def list_processes(namespaces: Iterable[str]) -> list[int]:
    """Returns the ids of all processes that run in any of the named namespaces, or are about to enter one."""
    wanted = set()
    names = {os.fsencode(name) for name in namespaces}
    for name in names:
        try:
            status = os.stat(NAMESPACES / os.fsdecode(name))
        except OSError:
            continue
        wanted.add((status.st_dev, status.st_ino))
    found = []
    for entry in os.listdir("/proc") if wanted else ():
        if entry.isdigit():
            try:
                status = os.stat(f"/proc/{entry}/ns/net")
            except OSError:
                continue  # ended, or not ours to see
            if (status.st_dev, status.st_ino) in wanted or _enters(entry) in names:
                found.append(int(entry))
    return found


def _enters(pid: str) -> bytes:
    """Returns the namespace that a process is about to enter by `ip netns exec`, empty for any other process."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return b""
    return argv[3] if argv[:3] == [b"ip", b"netns", b"exec"] and len(argv) > 3 else b""


def _enter(namespace: str) -> None:
    descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    finally:
        os.close(descriptor)
