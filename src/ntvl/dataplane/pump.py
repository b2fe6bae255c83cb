"""The loop of the Python engine: TAPs, UDP sockets and the control plane's socket on one thread around a `Forwarder`.

One thread, because a second one would wait for the first's interpreter lock after every system call. Whatever came is
passed on before more is read, in batches small enough that nothing waits long and large enough that system calls are
shared. When the network takes no more, TAPs are not read until it does, so that their queue holds back those who send.
"""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from ntvl.dataplane.channel import CommandChannel, Dropped
from ntvl.dataplane.forwarder import Forwarder, Train
from ntvl.dataplane.interface import CloseDevice, Command, InstallSession, OpenDevice
from ntvl.dataplane.rehearsal import REHEARSAL_S, WARM_S, Rehearsal
from ntvl.dataplane.tap import Tap, open_tap
from ntvl.dataplane.udp import SegmentSender, receive_train
from ntvl.errors import UsageError

__all__ = ["Pump"]

BATCH_FRAMES: Final = 256
BATCH_BYTES: Final = 32 * 1024
BATCH_TRAINS: Final = 16
BACKLOG_MAX: Final = 256
_NEVER: Final = float("inf")
_RETRY_S: Final = 0.02


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Pump:
    """Runs an engine until its control plane goes away.

    Args:
        sockets: bound, non-blocking UDP sockets of the main port, at most one a family is used for sending.
        channel: commands from, and events to, the control plane.
        relay: whether this is a supernode's engine.
    """

    def __init__(self, sockets: Sequence[socket.socket], channel: CommandChannel, *, relay: bool) -> None:
        self._forwarder = Forwarder(relay=relay)
        self._channel = channel
        self._sockets = {sock.fileno(): sock for sock in sockets}
        self._taps: dict[int, tuple[int, Tap]] = {}
        self._tap_of: dict[int, Tap] = {}
        senders = {sock.family: SegmentSender(sock) for sock in reversed(sockets)}
        self._sender4 = senders.get(socket.AF_INET)
        self._sender6 = senders.get(socket.AF_INET6)
        self._answering: set[Tap] = set()
        self._is_quiet = True
        self._warm_until = -_NEVER
        self._rehearsal: Rehearsal | None = None
        self._backlog: deque[Train] = deque()
        self._epoll = select.epoll()
        for descriptor in (*self._sockets, channel.fileno()):
            self._epoll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Runs until the channel ends; then every TAP is gone."""
        forwarder, poll = self._forwarder, self._epoll.poll
        control = self._channel.fileno()
        now = _clock()
        try:
            while True:
                wakeup = forwarder.poll_timeout()
                wait = _NEVER if wakeup is None else wakeup.at - now
                if self._channel.has_backlog or self._backlog:
                    wait = min(wait, _RETRY_S)
                if self._warm_until > now:
                    wait = min(wait, REHEARSAL_S)
                ready = poll(None if wait == _NEVER else max(wait, 0.0))
                now = _clock()
                if not ready and self._rehearsal is not None and self._warm_until > now:
                    self._rehearse(self._rehearsal, now)
                if self._backlog:
                    self._retry()
                for descriptor, _ in ready:
                    if descriptor in self._taps:
                        self._warm_until = now + WARM_S
                        if not self._backlog:
                            self._read_tap(descriptor, now)
                    elif descriptor in self._sockets:
                        self._warm_until = now + WARM_S
                        self._read_udp(descriptor, now)
                    elif descriptor == control:
                        commands = self._channel.receive()
                        if commands is None:
                            return
                        self._apply(commands, now)
                if wakeup is not None and wakeup.at <= now:
                    forwarder.handle_timeout(now)
                    self._write_out()
                self._report()
        finally:
            for _, tap in self._taps.values():
                tap.close()

    def _read_tap(self, descriptor: int, now: float) -> None:
        handle, tap = self._taps[descriptor]
        read = tap.read
        frames: list[bytes] = []
        size = 0
        try:
            if self._is_quiet:
                # Nothing to share a datagram with, most likely: what is alone goes at once, then more is looked for.
                train = self._forwarder.handle_frame(handle, read(), now)
                if train is not None:
                    self._send(train)
                else:
                    self._send_out()
            while size < BATCH_BYTES and len(frames) < BATCH_FRAMES:
                frame = read()
                frames.append(frame)
                size += len(frame)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(handle, f"the network device {tap.name} is gone: {error.strerror}")
            return
        self._is_quiet = len(frames) <= 1
        if frames:
            self._forwarder.handle_frames(handle, frames, now)
            self._send_out()

    def _read_udp(self, descriptor: int, now: float) -> None:
        sock = self._sockets[descriptor]
        forwarder = self._forwarder
        try:
            for _ in range(BATCH_TRAINS):
                data, segment_bytes, source = receive_train(sock)
                if segment_bytes:
                    forwarder.handle_train(data, segment_bytes, 0, source, now)
                    self._write_out()
                else:
                    write = forwarder.handle_datagram(data, 0, source, now)
                    if write is None:
                        self._write_out()
                    else:
                        self._write(*write)
                self._send_out()
                if not segment_bytes:
                    break
        except BlockingIOError:
            pass
        except OSError:
            pass  # An error that an earlier datagram caused; says nothing of those that wait.
        if not self._backlog:
            # The kernel often answers within the write: an acknowledgement, an echo.
            for tap in self._answering:
                self._read_tap(tap.descriptor, now)
        self._answering.clear()

    def _write(self, device: int, frame: bytes) -> None:
        tap = self._tap_of.get(device)
        try:
            if tap is None:
                self._forwarder.count("write-failed")
            else:
                os.write(tap.descriptor, frame)
                self._answering.add(tap)
        except OSError:
            self._forwarder.count("write-failed")

    def _send_out(self) -> None:
        poll_send = self._forwarder.poll_send
        while (train := poll_send()) is not None:
            if self._backlog:
                self._wait(train)
            else:
                self._send(train)

    def _send(self, train: Train) -> None:
        sender = self._sender6 if ":" in train.address[0] else self._sender4
        if sender is None:
            self._forwarder.count("send-failed", len(train.datagrams()))
            return
        try:
            refused = sender.send(train)
        except BlockingIOError:
            self._wait(train)
            return
        if refused:
            self._forwarder.count("send-failed", refused)

    def _wait(self, train: Train) -> None:
        if len(self._backlog) >= BACKLOG_MAX:
            self._forwarder.count("queue-full", len(train.datagrams()))
            return
        if not self._backlog:
            self._watch(select.EPOLLIN | select.EPOLLOUT, 0)
        self._backlog.append(train)

    def _retry(self) -> None:
        trains, self._backlog = self._backlog, deque()
        while trains:
            train = trains.popleft()
            self._send(train)
            if self._backlog:
                # Still no room: what is left keeps its order behind the one that was refused.
                self._backlog.extend(trains)
                return
        self._watch(select.EPOLLIN, select.EPOLLIN)

    def _watch(self, sockets: int, taps: int) -> None:
        for descriptor in self._sockets:
            self._epoll.modify(descriptor, sockets)
        for descriptor in self._taps:
            self._epoll.modify(descriptor, taps)

    def _write_out(self) -> None:
        poll_write, tap_of = self._forwarder.poll_write, self._tap_of
        while (write := poll_write()) is not None:
            device, buffers = write
            if len(buffers) == 1:
                self._write(device, buffers[0])
                continue
            tap = tap_of.get(device)
            try:
                if tap is None:
                    self._forwarder.count("write-failed")
                else:
                    os.writev(tap.descriptor, buffers)
                    self._answering.add(tap)
            except OSError:
                self._forwarder.count("write-failed")

    def _apply(self, commands: Sequence[Command | Dropped], now: float) -> None:
        forwarder = self._forwarder
        for command in commands:
            if isinstance(command, OpenDevice):
                self._open(command)
            elif isinstance(command, CloseDevice):
                self._lose(command.device, "")
            elif isinstance(command, Dropped):
                forwarder.count(command.reason, command.count)
            else:
                if isinstance(command, InstallSession):
                    cipher = command.cipher
                    if self._rehearsal is None or self._rehearsal.cipher != cipher:
                        self._rehearsal = Rehearsal(cipher)
                forwarder.apply((command,), now)
        self._send_out()

    def _open(self, command: OpenDevice) -> None:
        tap = self._tap_of.get(command.device)
        if tap is None:
            try:
                tap = open_tap(command.name, command.mac, command.mtu)
            except UsageError as error:
                self._forwarder.close_device(command.device, str(error))
                return
            self._tap_of[command.device] = tap
            self._taps[tap.descriptor] = (command.device, tap)
            self._epoll.register(tap.descriptor, select.EPOLLIN)
        self._forwarder.open_device(command, tap.name, tap.offloads, writes_uso="uso" in tap.offloads)

    def _lose(self, handle: int, reason: str) -> None:
        tap = self._tap_of.pop(handle, None)
        if tap is not None:
            self._epoll.unregister(tap.descriptor)
            del self._taps[tap.descriptor]
            tap.close()
        self._forwarder.close_device(handle, reason)

    def _rehearse(self, rehearsal: Rehearsal, now: float) -> None:
        rehearsal.step(now)
        try:
            for descriptor in self._sockets:
                self._read_udp(descriptor, now)
            for descriptor in tuple(self._taps):
                self._read_tap(descriptor, now)
        except OSError:
            pass

    def _report(self) -> None:
        poll_event, send = self._forwarder.poll_event, self._channel.send
        if self._channel.has_backlog and not self._channel.flush():
            return
        while (event := poll_event()) is not None:
            if not send(event):
                return
        self._channel.flush()
