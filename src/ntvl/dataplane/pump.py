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
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ntvl.dataplane.channel import CommandChannel, Dropped
from ntvl.dataplane.forwarder import Forwarder, Train
from ntvl.dataplane.interface import CloseDevice, Command, InstallSession, OpenDevice
from ntvl.dataplane.rehearsal import REHEARSAL_S, WARM_S, Rehearsal
from ntvl.dataplane.slots import FrameSlots
from ntvl.dataplane.tap import Tap, open_tap
from ntvl.dataplane.udp import SegmentSender, receive_into, receive_train
from ntvl.errors import UsageError
from ntvl.wire.vnet import SUPER_BYTES_MAX

__all__ = ["Pump"]

BATCH_FRAMES: Final = 256
LARGE_BYTES: Final = 16 * 1024
BATCH_SLOTS: Final = 1
BATCH_TRAINS: Final = 16
BACKLOG_MAX: Final = 256
_NEVER: Final = float("inf")
_RETRY_S: Final = 0.02
_EVENTS_MAX: Final = 16


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
        self._sockets = list(sockets)
        self._taps: dict[int, Tap] = {}
        senders = {sock.family: SegmentSender(sock) for sock in reversed(sockets)}
        self._sender4 = senders.get(socket.AF_INET)
        self._sender6 = senders.get(socket.AF_INET6)
        self._answering: dict[int, Tap] = {}
        self._is_quiet = True
        self._is_bulk = False
        self._slots: dict[int, FrameSlots | None] = {}
        self._moved = False
        self._warm_until = -_NEVER
        self._rehearsal: Rehearsal | None = None
        self._backlog: deque[Train] = deque()
        self._ended = False
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[float], None]] = {}
        self._add(channel, self._read_channel)
        for sock in self._sockets:
            self._add(sock, partial(self._read_udp, sock))

    def run(self) -> None:
        """Runs until the channel ends; then every TAP is gone."""
        forwarder, poll, handlers = self._forwarder, self._epoll.poll, self._handlers
        sched_yield = os.sched_yield
        now = _clock()
        try:
            while not self._ended:
                wakeup = forwarder.poll_timeout()
                wait = _NEVER if wakeup is None else wakeup.at - now
                if self._channel.has_backlog or self._backlog:
                    wait = min(wait, _RETRY_S)
                if self._warm_until > now:
                    wait = min(wait, REHEARSAL_S)
                ready = poll(None if wait == _NEVER else max(wait, 0.0), _EVENTS_MAX)
                now = _clock()
                for descriptor, _ in ready:
                    handler = handlers.get(descriptor)
                    if handler is not None:
                        handler(now)
                if self._moved and self._is_quiet:
                    # Whoever waited for this frame may well wait for this processor, too: first they, then the books.
                    sched_yield()
                if self._moved:
                    self._moved = False
                    self._warm_until = now + WARM_S
                elif not ready and self._warm_until > now and self._rehearsal is not None:
                    self._rehearse(self._rehearsal, now)
                if self._backlog:
                    self._retry()
                if wakeup is not None and wakeup.at <= now:
                    forwarder.handle_timeout(now)
                    self._write_out()
                self._report()
        finally:
            for tap in self._taps.values():
                tap.close()

    def _read_channel(self, now: float) -> None:
        commands = self._channel.receive()
        if commands is None:
            self._ended = True
        else:
            self._apply(commands, now)

    def _read_tap(self, handle: int, tap: Tap, now: float) -> None:
        frames: list[bytes] = []
        slots = self._slots.get(handle)
        try:
            if slots is not None and not self._read_slots(handle, tap, slots, frames, now):
                return
            read, descriptor = os.read, tap.descriptor
            if self._is_quiet and not frames:
                # Nothing to share a datagram with, most likely: what is alone goes at once, then more is looked for.
                train = self._forwarder.handle_frame(handle, read(descriptor, SUPER_BYTES_MAX), now)
                if train is not None:
                    self._send(train)
                else:
                    self._send_out()
            for _ in range(BATCH_FRAMES):
                frame = read(descriptor, SUPER_BYTES_MAX)
                frames.append(frame)
                if len(frame) > LARGE_BYTES:
                    self._slots[handle] = self._forwarder.lane.find_slots(frame)
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(handle, f"the network device {tap.name} is gone: {error.strerror}")
            return
        self._is_quiet = len(frames) <= 1
        if frames:
            self._forwarder.handle_frames(handle, frames, now)
            self._send_out()

    def _read_slots(self, handle: int, tap: Tap, slots: FrameSlots, frames: list[bytes], now: float) -> bool:
        """Reads super-frames into slots for as long as they come in their shape.

        Returns:
            Whether there may be more to read; a first other frame is then in `frames`, and the slots are given up.
        """
        for _ in range(BATCH_SLOTS):
            size = os.readv(tap.descriptor, slots.views)
            train = self._forwarder.lane.seal_slots(handle, slots, size, now) if size > LARGE_BYTES else None
            if train is None:
                frames.append(slots.frame(size))
                self._slots[handle] = self._forwarder.lane.find_slots(frames[0]) if size > LARGE_BYTES else None
                return True
            self._send(train)
            self._is_quiet = False
        return False

    def _read_udp(self, sock: socket.socket, now: float) -> None:
        forwarder = self._forwarder
        try:
            for _ in range(BATCH_TRAINS):
                if self._is_bulk:
                    size, segment_bytes, source = receive_into(sock, forwarder.lane.buffer)
                    if segment_bytes and forwarder.lane.open_train(size, segment_bytes, 0, source, now):
                        self._write_out()
                        continue
                    data = bytes(forwarder.lane.buffer[:size])
                else:
                    data, segment_bytes, source = receive_train(sock)
                self._is_bulk = len(data) > LARGE_BYTES and segment_bytes > 0
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
            for handle, tap in self._answering.items():
                self._read_tap(handle, tap, now)
        self._answering.clear()

    def _write(self, device: int, frame: bytes | memoryview) -> None:
        tap = self._taps.get(device)
        try:
            if tap is None:
                self._forwarder.count("write-failed")
            else:
                os.write(tap.descriptor, frame)
                self._answering[device] = tap
                self._moved = True
        except OSError:
            self._forwarder.count("write-failed")

    def _send_out(self) -> None:
        poll_send = self._forwarder.poll_send
        while (train := poll_send()) is not None:
            self._send(train)

    def _send(self, train: Train) -> None:
        if self._backlog:
            self._wait(train)
            return
        sender = self._sender6 if ":" in train.address[0] else self._sender4
        if sender is None:
            self._forwarder.count("send-failed", len(train.datagrams()))
            return
        try:
            refused = sender.send(train)
        except BlockingIOError:
            self._wait(train)
            return
        self._moved = True
        if refused:
            self._forwarder.count("send-failed", refused)

    def _wait(self, train: Train) -> None:
        if len(self._backlog) >= BACKLOG_MAX:
            self._forwarder.count("queue-full", len(train.datagrams()))
            return
        if not self._backlog:
            self._watch(select.EPOLLIN | select.EPOLLOUT, 0)
        # What lies in buffers that are soon used again is copied.
        self._backlog.append(train._replace(buffers=[bytes(buffer) for buffer in train.buffers]))

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
        for sock in self._sockets:
            self._epoll.modify(sock, sockets)
        for tap in self._taps.values():
            self._epoll.modify(tap, taps)

    def _write_out(self) -> None:
        poll_write, taps = self._forwarder.poll_write, self._taps
        while (write := poll_write()) is not None:
            device, buffers = write
            if len(buffers) == 1:
                self._write(device, buffers[0])
                continue
            tap = taps.get(device)
            try:
                if tap is None:
                    self._forwarder.count("write-failed")
                else:
                    os.writev(tap.descriptor, buffers)
                    self._answering[device] = tap
                    self._moved = True
            except OSError:
                self._forwarder.count("write-failed")

    def _add(self, source: "CommandChannel | socket.socket | Tap", handler: Callable[[float], None]) -> None:
        self._handlers[source.fileno()] = handler
        self._epoll.register(source, select.EPOLLIN)

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
        tap = self._taps.get(command.device)
        if tap is None:
            try:
                tap = open_tap(command.name, command.mac, command.mtu)
            except UsageError as error:
                self._forwarder.close_device(command.device, str(error))
                return
            self._taps[command.device] = tap
            self._add(tap, partial(self._read_tap, command.device, tap))
        self._forwarder.open_device(command, tap.name, tap.offloads, writes_uso="uso" in tap.offloads)

    def _lose(self, handle: int, reason: str) -> None:
        tap = self._taps.pop(handle, None)
        if tap is not None:
            self._epoll.unregister(tap.descriptor)
            self._slots.pop(handle, None)
            del self._handlers[tap.descriptor]
            tap.close()
        self._forwarder.close_device(handle, reason)

    def _rehearse(self, rehearsal: Rehearsal, now: float) -> None:
        rehearsal.step(now)
        try:
            for sock in self._sockets:
                self._read_udp(sock, now)
            for handle, tap in tuple(self._taps.items()):
                self._read_tap(handle, tap, now)
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
