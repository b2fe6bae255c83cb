"""The loop of the Python engine, on one thread around a `Mover`: devices, commands, reports, timeouts.

One thread, because a second one would wait for the first's interpreter lock after every system call.
"""

import select
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ntvl.dataplane.channel import CommandChannel, Dropped
from ntvl.dataplane.forwarder import Forwarder
from ntvl.dataplane.interface import (
    CloseDevice,
    CloseSocket,
    Command,
    InstallSession,
    OpenDevice,
    OpenSocket,
    SendDatagram,
    SocketOpened,
)
from ntvl.dataplane.mover import Mover
from ntvl.dataplane.rehearsal import REHEARSAL_S, WARM_S, Rehearsal
from ntvl.dataplane.tap import Tap, open_tap
from ntvl.dataplane.train import Train
from ntvl.dataplane.udp import bind_udp, send_datagram
from ntvl.errors import UsageError
from ntvl.wire.address import Address

__all__ = ["Pump"]

_NEVER: Final = float("inf")
IPV6: Final = 6
RETRY_S: Final = 0.02
BOOKS_S: Final = 0.001
"""So long, at most, frames go on moving before anything else is looked after."""
CALM_BOOKS_S: Final = 0.02
"""The same where nothing waits for more: to set a timer for so soon takes a tenth of the time that an answer does."""
_EVENTS_MAX: Final = 16
_FAULTS_MAX: Final = 20


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Pump:
    """Runs an engine until its control plane goes away.

    Args:
        sockets: bound, non-blocking UDP sockets of the main port; the first of each family sends.
        channel: commands from, and events to, the control plane.
        relay: whether this is a supernode's engine.
    """

    def __init__(self, sockets: Sequence[socket.socket], channel: CommandChannel, *, relay: bool) -> None:
        self._forwarder = Forwarder(relay=relay)
        self._mover = Mover(self._forwarder, sockets, on_blocked=self._watch, on_lost=self._lose)
        self._channel = channel
        self._sockets = list(sockets)
        self._warm_until = -_NEVER
        self._rehearsal: Rehearsal | None = None
        self._faults: set[tuple[str, int | None]] = set()
        self._others: dict[int, socket.socket] = {}
        self._ended = False
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[float], object]] = {}
        self._add(channel, self._read_channel)
        for sock in self._sockets:
            self._add(sock, partial(self._mover.read_udp, sock))

    def run(self) -> None:
        """Runs until the channel ends; then every TAP is gone."""
        forwarder, mover, poll, handlers = self._forwarder, self._mover, self._epoll.poll, self._handlers
        wait: float | None = 0.0
        unbooked_since = _NEVER
        try:
            while not self._ended:
                ready = poll(wait, _EVENTS_MAX)
                now = _clock()
                for descriptor, _ in ready:
                    handler = handlers.get(descriptor)
                    if handler is not None:
                        try:
                            handler(now)
                        except Exception as error:
                            self._survive(error)
                if mover.has_moved:
                    mover.has_moved = False
                    self._warm_until = now + WARM_S
                    unbooked_since = min(unbooked_since, now)
                    books_s = BOOKS_S if forwarder.is_joining else CALM_BOOKS_S
                    if now - unbooked_since < books_s and not forwarder.has_events:
                        # Whoever waits for what has moved may well wait for this processor, too: the books come later.
                        wait = books_s
                        continue
                elif not ready and self._warm_until > now and self._rehearsal is not None:
                    self._rehearsal.step(now)
                unbooked_since = _NEVER
                wait = self._keep_books(now)
        finally:
            for tap in mover.taps.values():
                tap.close()
            if self._rehearsal is not None:
                self._rehearsal.close()

    def _keep_books(self, now: float) -> float | None:
        """Does all that is due besides moving frames; returns how long to sleep at most, None for without end."""
        forwarder, mover = self._forwarder, self._mover
        wakeup = forwarder.poll_timeout()
        if wakeup is not None and wakeup.at <= now:
            forwarder.handle_timeout(now)
            mover.write_out()
            wakeup = forwarder.poll_timeout()
        if mover.is_blocked:
            mover.retry()
        self._report()
        wait = _NEVER if wakeup is None else wakeup.at - now
        if self._channel.has_backlog or mover.is_blocked:
            wait = min(wait, RETRY_S)
        if self._warm_until > now:
            wait = min(wait, REHEARSAL_S)
        return None if wait == _NEVER else max(wait, 0.0)

    def _add(self, source: "CommandChannel | socket.socket | Tap", handler: Callable[[float], object]) -> None:
        self._handlers[source.fileno()] = handler
        self._epoll.register(source, select.EPOLLIN)

    def _watch(self, blocked: bool) -> None:
        for sock in self._sockets:
            self._epoll.modify(sock, select.EPOLLIN | select.EPOLLOUT if blocked else select.EPOLLIN)
        for tap in self._mover.taps.values():
            self._epoll.modify(tap, 0 if blocked else select.EPOLLIN)

    def _read_channel(self, now: float) -> None:
        commands = self._channel.receive()
        if commands is None:
            self._ended = True
        else:
            self._apply(commands, now)

    def _apply(self, commands: Sequence[Command | Dropped], now: float) -> None:
        forwarder = self._forwarder
        for command in commands:
            if isinstance(command, OpenDevice):
                self._open(command)
            elif isinstance(command, CloseDevice):
                self._lose(command.device, "")
            elif isinstance(command, Dropped):
                forwarder.count(command.reason, command.count)
            elif isinstance(command, OpenSocket):
                self._open_socket(command)
            elif isinstance(command, CloseSocket):
                self._close_socket(command.socket)
            elif isinstance(command, SendDatagram):
                self._send_datagram(command)
            else:
                if isinstance(command, InstallSession):
                    self._prepare_rehearsal(command.cipher)
                forwarder.apply((command,), now)
        self._mover.send_out()

    def _open_socket(self, command: OpenSocket) -> None:
        if command.socket in self._others:
            return
        try:
            (sock,) = bind_udp([Address("::" if command.family == IPV6 else "0.0.0.0", 0)])
        except UsageError:
            return  # What is sent there will be counted.
        self._others[command.socket] = sock
        self._sockets.append(sock)
        self._mover.add_socket(command.socket, sock)
        self._add(sock, partial(self._mover.read_udp, sock, number=command.socket))
        self._forwarder.report(SocketOpened(command.socket, sock.getsockname()[1]))

    def _send_datagram(self, command: SendDatagram) -> None:
        address = Address(command.host, command.port)
        sock = self._others.get(command.socket)
        if not command.ttl or sock is None:
            self._mover.send(Train(command.socket, address, [command.data], len(command.data)))
            return
        try:
            send_datagram(sock, command.data, address, command.ttl)
        except OSError:
            self._forwarder.count("send-failed")

    def _close_socket(self, number: int) -> None:
        sock = self._others.pop(number, None)
        if sock is not None:
            self._sockets.remove(sock)
            self._mover.remove_socket(number)
            self._epoll.unregister(sock)
            del self._handlers[sock.fileno()]
            sock.close()

    def _open(self, command: OpenDevice) -> None:
        tap = self._mover.taps.get(command.device)
        if tap is None:
            try:
                tap = open_tap(command.name, command.mac, command.mtu)
            except UsageError as error:
                self._forwarder.close_device(command.device, str(error))
                return
            self._mover.taps[command.device] = tap
            self._add(tap, partial(self._mover.read_tap, command.device, tap))
        self._forwarder.open_device(command, tap.name, tap.offloads, writes_uso="uso" in tap.offloads)

    def _lose(self, handle: int, reason: str) -> None:
        tap = self._mover.taps.get(handle)
        if tap is not None:
            self._mover.forget(handle)
            self._epoll.unregister(tap.descriptor)
            del self._handlers[tap.descriptor]
            tap.close()
        self._forwarder.close_device(handle, reason)

    def _prepare_rehearsal(self, cipher: str) -> None:
        if self._rehearsal is None or self._rehearsal.cipher != cipher:
            if self._rehearsal is not None:
                self._rehearsal.close()
            self._rehearsal = Rehearsal(cipher)

    def _survive(self, error: Exception) -> None:
        # One bad frame must not end the forwarding for all others. A bug shows in the log and in the counters.
        self._forwarder.count("fault")
        place = traceback.extract_tb(error.__traceback__)[-1]
        if (place.filename, place.lineno) not in self._faults and len(self._faults) < _FAULTS_MAX:
            self._faults.add((place.filename, place.lineno))
            traceback.print_exception(error)

    def _report(self) -> None:
        poll_event, send = self._forwarder.poll_event, self._channel.send
        if self._channel.has_backlog and not self._channel.flush():
            return
        while (event := poll_event()) is not None:
            if not send(event):
                return
        self._channel.flush()
