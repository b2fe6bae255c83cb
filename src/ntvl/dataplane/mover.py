"""What moves between TAPs, sockets and a forwarder: the system calls of the Python engine.

Whatever came is passed on before more is read, in batches small enough that nothing waits long and large enough that
system calls are shared. What little comes goes by the shortest way (`handle_frame`, `handle_datagram`), bulk goes by
the lane, all else by the ordinary way. After a write the TAP is looked at once: the kernel often answers within the
write, an acknowledgement or an echo.

When the network takes no more, trains wait here and TAPs are left unread, so that their queue holds back those who
send.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ntvl.dataplane.forwarder import Forwarder, Train
from ntvl.dataplane.slots import FrameSlots
from ntvl.dataplane.tap import Tap
from ntvl.dataplane.udp import SegmentSender, receive_into, receive_train
from ntvl.wire.vnet import SUPER_BYTES_MAX

__all__ = ["BACKLOG_MAX", "BATCH_FRAMES", "BATCH_TRAINS", "LARGE_BYTES", "Mover"]

BATCH_FRAMES: Final = 256
BATCH_TRAINS: Final = 16
LARGE_BYTES: Final = 16 * 1024
"""A frame or train from here on is a part of a bulk transfer, and passed on before the next is read."""
BACKLOG_MAX: Final = 256
QUIET_S: Final = 0.0005
"""A frame so long after the one before it is taken to be alone."""
LOOKS_SKIPPED_MAX: Final = 63
"""A TAP that never answers within a write is looked at after one write in 64."""


class Mover:
    """Moves frames and trains through one forwarder.

    Args:
        forwarder: what decides where they go.
        sockets: bound, non-blocking UDP sockets; the first of each family sends.
        on_blocked: is told when the network takes no more (True) and when it does again (False).
        on_lost: is told of a device that is gone: its handle and why.

    Attributes:
        taps: the devices by handle; whoever opens and closes them keeps this up to date.
        has_moved: whether something has been sent or written; whoever wants to know resets it.
        is_quiet: whether the last batch from a TAP was of at most one frame.
    """

    __slots__ = (
        "_answering",
        "_backlog",
        "_is_bulk",
        "_looks_due",
        "_looks_skipped",
        "_on_blocked",
        "_on_lost",
        "_others",
        "_read_at",
        "_sender4",
        "_sender6",
        "_slots",
        "forwarder",
        "has_moved",
        "is_quiet",
        "taps",
    )

    def __init__(
        self,
        forwarder: Forwarder,
        sockets: Sequence[socket.socket],
        *,
        on_blocked: Callable[[bool], None],
        on_lost: Callable[[int, str], None],
    ) -> None:
        self.forwarder = forwarder
        self.taps: dict[int, Tap] = {}
        self.has_moved = False
        self.is_quiet = True
        senders = {sock.family: SegmentSender(sock) for sock in reversed(sockets)}
        self._sender4 = senders.get(socket.AF_INET)
        self._sender6 = senders.get(socket.AF_INET6)
        self._others: dict[int, SegmentSender] = {}
        self._on_blocked = on_blocked
        self._on_lost = on_lost
        self._backlog: deque[Train] = deque()
        self._answering: dict[int, Tap] = {}
        self._slots: dict[int, FrameSlots | None] = {}
        self._is_bulk = False
        self._looks_due = self._looks_skipped = 0
        self._read_at = float("-inf")

    @property
    def is_blocked(self) -> bool:
        """Returns whether trains wait for the network."""
        return bool(self._backlog)

    def forget(self, handle: int) -> None:
        """Forgets a device that was closed."""
        self.taps.pop(handle, None)
        self._slots.pop(handle, None)

    def add_socket(self, number: int, sock: socket.socket) -> None:
        """Lets trains leave by a socket besides the main port's."""
        self._others[number] = SegmentSender(sock)

    def remove_socket(self, number: int) -> None:
        """Sends no more by a socket."""
        self._others.pop(number, None)

    # --- TAP to UDP ---

    def read_tap(self, handle: int, tap: Tap, now: float) -> bool:
        """Passes on a batch of what a TAP has; returns whether there was anything."""
        frames: list[bytes] = []
        slots = self._slots.get(handle)
        try:
            if slots is not None and not self._read_slots(handle, tap, slots, frames, now):
                self._read_at = now
                return True
            read, descriptor = os.read, tap.descriptor
            if now - self._read_at > QUIET_S and not frames:
                # Nothing to share a datagram with, most likely, and nothing behind it: it goes at once, by itself.
                train = self.forwarder.handle_frame(handle, read(descriptor, SUPER_BYTES_MAX), now)
                self._read_at = now
                if train is not None:
                    self.send(train)
                else:
                    self.send_out()
                return True
            for _ in range(BATCH_FRAMES):
                frame = read(descriptor, SUPER_BYTES_MAX)
                frames.append(frame)
                if len(frame) > LARGE_BYTES:
                    self._slots[handle] = self.forwarder.lane.find_slots(frame)
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._on_lost(handle, f"the network device {tap.name} is gone: {(error.strerror or str(error)).lower()}")
            return False
        self.is_quiet = len(frames) <= 1
        if not frames:
            return False
        self._read_at = now
        self.forwarder.handle_frames(handle, frames, now)
        self.send_out()
        return True

    def _read_slots(self, handle: int, tap: Tap, slots: FrameSlots, frames: list[bytes], now: float) -> bool:
        """Reads a super-frame into slots.

        Returns:
            Whether it was something else, now in `frames`, with maybe more behind it; the slots are then given up.
        """
        size = os.readv(tap.descriptor, slots.views)
        lane = self.forwarder.lane
        train = lane.seal_slots(handle, slots, size, now) if size > LARGE_BYTES else None
        if train is None:
            frames.append(slots.frame(size))
            self._slots[handle] = lane.find_slots(frames[0]) if size > LARGE_BYTES else None
            return True
        self.send(train)
        self.is_quiet = False
        return False

    def send_out(self) -> None:
        """Sends what the forwarder has to send."""
        poll_send = self.forwarder.poll_send
        while (train := poll_send()) is not None:
            self.send(train)

    def send(self, train: Train) -> None:
        """Sends one train, or keeps it until the network takes it."""
        if self._backlog:
            self._wait(train)
            return
        if train.socket:
            sender = self._others.get(train.socket)
        else:
            sender = self._sender6 if ":" in train.address[0] else self._sender4
        if sender is None:
            self.forwarder.count("send-failed", len(train.datagrams()))
            return
        try:
            refused = sender.send(train)
        except BlockingIOError:
            self._wait(train)
            return
        self.has_moved = True
        if refused:
            self.forwarder.count("send-failed", refused)

    def _wait(self, train: Train) -> None:
        if len(self._backlog) >= BACKLOG_MAX:
            self.forwarder.count("queue-full", len(train.datagrams()))
            return
        # What lies in buffers that are soon used again is copied.
        self._backlog.append(train._replace(buffers=[bytes(buffer) for buffer in train.buffers]))
        if len(self._backlog) == 1:
            self._on_blocked(True)

    def retry(self) -> None:
        """Sends what waits, as far as the network takes it."""
        trains, self._backlog = self._backlog, deque()
        while trains:
            self.send(trains.popleft())
            if self._backlog:
                # Still no room: what is left keeps its order behind the one that was refused.
                self._backlog.extend(trains)
                return
        self._on_blocked(False)

    # --- UDP to TAP ---

    def read_udp(self, sock: socket.socket, now: float, number: int = 0) -> None:
        """Passes on a batch of what a socket, `number` to the control plane, has, and what the TAPs answer to it."""
        forwarder = self.forwarder
        try:
            for _ in range(BATCH_TRAINS):
                if self._is_bulk:
                    size, segment_bytes, source = receive_into(sock, forwarder.lane.buffer)
                    if segment_bytes and forwarder.lane.open_train(size, segment_bytes, number, source, now):
                        self.write_out()
                        continue
                    data = bytes(forwarder.lane.buffer[:size])
                else:
                    data, segment_bytes, source = receive_train(sock)
                if segment_bytes:
                    self._is_bulk = len(data) > LARGE_BYTES and not forwarder.is_relay
                    forwarder.handle_train(data, segment_bytes, number, source, now)
                    self.write_out()
                    self.send_out()
                    continue
                self._is_bulk = False
                write = forwarder.handle_datagram(data, number, source, now)
                if write is None:
                    self.write_out()
                    self.send_out()
                else:
                    self._write(*write)
                break
        except BlockingIOError:
            pass
        except OSError:
            pass  # An error that an earlier datagram caused; says nothing of those that wait.
        if self._answering:
            # Whether it answers within the write is a habit that lasts: a host answers, a client is answered. And who
            # has been answered waits for this processor, so a look in vain makes the next one rarer.
            if self._looks_due > 0:
                self._looks_due -= 1
            elif not self._backlog:
                answered = False
                for handle, tap in self._answering.items():
                    answered |= self.read_tap(handle, tap, now)
                self._looks_skipped = 0 if answered else min(2 * self._looks_skipped + 1, LOOKS_SKIPPED_MAX)
                self._looks_due = self._looks_skipped
            self._answering.clear()

    def write_out(self) -> None:
        """Writes what the forwarder has for the TAPs."""
        poll_write = self.forwarder.poll_write
        while (write := poll_write()) is not None:
            device, buffers = write
            if len(buffers) == 1:
                self._write(device, buffers[0])
                continue
            tap = self.taps.get(device)
            try:
                if tap is None:
                    self.forwarder.count("write-failed")
                else:
                    os.writev(tap.descriptor, buffers)
                    self._answering[device] = tap
                    self.has_moved = True
            except OSError:
                self.forwarder.count("write-failed")

    def _write(self, device: int, frame: bytes | memoryview) -> None:
        tap = self.taps.get(device)
        try:
            if tap is None:
                self.forwarder.count("write-failed")
            else:
                os.write(tap.descriptor, frame)
                self._answering[device] = tap
                self.has_moved = True
        except OSError:
            self.forwarder.count("write-failed")
