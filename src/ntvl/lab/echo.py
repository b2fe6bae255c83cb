"""Pings from a machine of a lab, many a second, to see when the first reply comes and whether one is lost.

Sends ICMP echo requests (RFC 792) from a raw socket of that machine, at a steady pace and without waiting for replies,
so that a change of path shows as a change of round trip and nothing hides a loss.
"""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from ntvl.lab.namespace import open_socket

__all__ = ["Echo", "EchoReport"]

_REQUEST: Final = 8
_REPLY: Final = 0
_HEADER: Final = struct.Struct("!BBHHH")
_PAYLOAD: Final = bytes(range(48))
_LATE_S: Final = 1.0


@dataclass(slots=True)
class EchoReport:
    """Is what came of the pings so far. Times are seconds on the monotonic clock; both maps go by sequence number."""

    sent: dict[int, float] = field(default_factory=dict)
    answered: dict[int, float] = field(default_factory=dict)

    @property
    def first_sent_at(self) -> float:
        """Returns when the first request left."""
        return self.sent[0]

    @property
    def first_reply_s(self) -> float | None:
        """Returns the seconds from the first request to the first reply, whichever request it answers."""
        return min(self.answered.values()) - self.first_sent_at if self.answered else None

    @property
    def lost(self) -> int:
        """Returns how many requests have no reply."""
        return len(self.sent) - len(self.answered)

    def rtt_s(self, last: int = 20) -> float | None:
        """Returns the median round trip of the newest replies, or None without any."""
        newest = sorted(self.answered)[-last:]
        return median(self.answered[sequence] - self.sent[sequence] for sequence in newest) if newest else None


class Echo:
    """Pings `target` (an IPv4 address) from a namespace every `interval_s` until stopped.

    Args:
        on_first_reply: called once, on the thread that receives.
    """

    def __init__(
        self,
        namespace: str,
        target: str,
        *,
        interval_s: float = 0.02,
        on_first_reply: Callable[[EchoReport], None] | None = None,
    ) -> None:
        self.report = EchoReport()
        self._target = target
        self._interval_s = interval_s
        self._on_first_reply = on_first_reply
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._stopping = threading.Event()
        self._socket = open_socket(namespace, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._thread = threading.Thread(target=self._run, name=f"pings from {namespace}", daemon=True)
        self._thread.start()

    def stop(self) -> EchoReport:
        """Sends no more, waits up to a second for replies still under way, and returns the report."""
        self._stopping.set()
        self._thread.join()
        return self.report

    def _run(self) -> None:
        with self._socket:
            due = time.monotonic()
            while not self._stopping.is_set():
                if time.monotonic() >= due:
                    self._send()
                    due += self._interval_s
                self._receive(due)
            until = time.monotonic() + _LATE_S
            while self.report.lost and time.monotonic() < until:
                self._receive(min(until, time.monotonic() + 0.05))

    def _send(self) -> None:
        sequence = len(self.report.sent)
        self.report.sent[sequence] = time.monotonic()
        try:
            self._socket.sendto(_build_request(self._identifier, sequence), (self._target, 0))
        except OSError:
            pass  # no route yet, or the queue of an unresolved neighbour is full: a request without a reply

    def _receive(self, until: float) -> None:
        while True:
            remaining = max(0.0, until - time.monotonic())
            if not select.select([self._socket], [], [], remaining)[0]:
                return
            packet = self._socket.recv(2048)
            at = time.monotonic()
            sequence = _parse_reply(packet, self._identifier)
            if sequence in self.report.sent and sequence not in self.report.answered:
                self.report.answered[sequence] = at
                if len(self.report.answered) == 1 and self._on_first_reply is not None:
                    self._on_first_reply(self.report)


def _build_request(identifier: int, sequence: int) -> bytes:
    wrapped = sequence & 0xFFFF
    empty = _HEADER.pack(_REQUEST, 0, 0, identifier, wrapped) + _PAYLOAD
    return _HEADER.pack(_REQUEST, 0, _checksum(empty), identifier, wrapped) + _PAYLOAD


def _parse_reply(packet: bytes, identifier: int) -> int:
    """Returns the sequence number that an IPv4 packet answers, or -1 for anything else."""
    start = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < start + _HEADER.size:
        return -1
    kind, _, _, ours, sequence = _HEADER.unpack_from(packet, start)
    return int(sequence) if kind == _REPLY and ours == identifier else -1


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
