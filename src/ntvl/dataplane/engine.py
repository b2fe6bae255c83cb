"""The Python engine as its control plane sees it: a process of its own behind a pair of sockets.

Forwarding then waits neither for the control plane nor for its interpreter lock. The UDP sockets belong to both: the
control plane sends on them itself, so its datagrams never queue behind data, and everything is received by the
engine.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from ntvl.dataplane.channel import Dropped, pair_channels
from ntvl.dataplane.interface import Command, Event, SendDatagram
from ntvl.dataplane.udp import send_datagram
from ntvl.errors import UsageError
from ntvl.wire.address import Transmit

__all__ = ["IGNORED_SIGNALS", "PythonEngine"]

IGNORED_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that mean the control plane, which then closes its engine, though they reach the whole process group."""

_CLOSE_S = 1.5


class PythonEngine:
    """Starts and drives one engine process; a `DataPlane`.

    Args:
        sockets: bound UDP sockets of the main port; the engine's from now on, and closed with it.
        relay: whether it serves a supernode.
    """

    name = "python"

    def __init__(self, sockets: Sequence[socket.socket], *, relay: bool = False) -> None:
        self._sockets = list(sockets)
        self._by_family = {sock.family: sock for sock in reversed(self._sockets)}
        self.port: int = self._sockets[0].getsockname()[1]
        """The UDP port of socket 0."""
        self._channel, theirs = pair_channels()
        self._closed = False
        descriptors = (theirs.fileno(), *(sock.fileno() for sock in self._sockets))
        source = str(pathlib.Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        # The process is born deaf to them, and stays so: see the worker.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ntvl.dataplane.worker"]
                + (["--relay"] if relay else [])
                + [str(descriptor) for descriptor in descriptors],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            self._channel.close()
            raise UsageError(
                f"the engine's process cannot start ({sys.executable}): {(error.strerror or str(error)).lower()}"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    def apply(self, commands: Sequence[Command]) -> None:
        """Hands commands down, in order; returns at once."""
        for command in commands:
            self._channel.send(command)
        self._channel.flush()

    def transmit(self, datagrams: Sequence[Transmit]) -> None:
        """Sends control datagrams from the engine's sockets; what the kernel refuses is counted, never raised."""
        refused = 0
        for datagram in datagrams:
            sock = self._by_family.get(socket.AF_INET6 if datagram.address.is_ipv6 else socket.AF_INET)
            if datagram.socket:
                # A socket that only the engine has.
                host, port = datagram.address
                self._channel.send(SendDatagram(datagram.socket, host, port, datagram.data, datagram.ttl))
                continue
            try:
                if sock is None:
                    refused += 1
                else:
                    send_datagram(sock, datagram.data, datagram.address, datagram.ttl)
            except OSError:
                refused += 1
        if refused:
            self._channel.send(Dropped("send-failed", refused))
        self._channel.flush()

    def drain(self) -> list[Event]:
        """Returns the events that wait, oldest first; never blocks.

        Raises:
            OSError: the engine's process is gone; nothing but `close` is left to do.
        """
        if self._closed:
            return []
        self._channel.flush()
        events = self._channel.receive()
        if events is None:
            raise ConnectionResetError(f"the engine's process has ended with status {self._process.poll()}")
        return events

    def fileno(self) -> int:
        """Returns a descriptor that is readable while `drain` has something."""
        return self._channel.fileno()

    def close(self) -> None:
        """Ends the engine: devices gone, sockets closed, process joined within 2 s; twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._channel.flush()
        self._channel.close()
        for sock in self._sockets:
            sock.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
