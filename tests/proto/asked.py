"""Servers of a script for machines that ask: what each answers to a question, from where, and to which socket."""

import random
from collections.abc import Callable
from typing import Protocol

from ntvl.proto.machine import Wakeup
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.stun import Stun, parse_stun

__all__ = ["Asker", "Reply", "chance", "play"]

Reply = tuple[bytes, Origin]
"""A datagram, with where it comes from and the local socket that it comes to."""


class Asker(Protocol):
    """Is a machine that asks questions."""

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def poll_timeout(self) -> Wakeup | None: ...
    def poll_transmit(self) -> Transmit | None: ...


def chance(seed: int = 1) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def play(
    machine: Asker,
    answer: Callable[[Transmit, Stun, float], list[Reply]],
    *,
    now: float = 100.0,
    delay_s: float = 0.02,
    limit_s: float = 10_000.0,
) -> float:
    """Lets a machine talk to a script until it wants nothing more; returns how long that took."""
    began, until = now, now + limit_s
    coming: list[tuple[float, int, Reply]] = []
    while now <= until:
        while (sent := machine.poll_transmit()) is not None:
            for reply in answer(sent, parse_stun(sent.data), now):
                coming.append((now + delay_s, len(coming), reply))
        coming.sort(key=lambda each: each[:2])
        wakeup = machine.poll_timeout()
        if wakeup is None:
            return now - began
        if coming and coming[0][0] <= wakeup.at:
            now, _, (data, origin) = coming.pop(0)
            machine.handle_datagram(data, origin, now)
        else:
            now = max(now, wakeup.at)
            machine.handle_timeout(now)
    raise AssertionError("it never ends")


def seen_at(port: int) -> Address:
    return Address("198.51.100.9", port)
