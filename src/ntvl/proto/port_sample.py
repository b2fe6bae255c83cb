"""How a NAT chooses external ports, judged by a sample: which port each of several local sockets got, in order.

    all, or nearly all, the local port          preserving
    most steps the same, and small              sequential with that step
    all steps small, positive, of one measure   sequential, while others behind the NAT take ports in between
    all within a few thousand                   a contiguous block of the host's own
    else                                        random

Source: RFC 4787 section 4.2. The bound of a block leaves eight random ports one chance in thirty million to look like
one.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import gcd
from typing import Final, NamedTuple

from ntvl.nat import PortAllocation

__all__ = ["PORTS_MIN", "Allocation", "judge_ports"]

PORTS_MIN: Final = 6
"""Fewest ports by which a block is told from chance."""
BLOCK_MAX: Final = 4096
BLOCK_MIN: Final = 64
STEP_MAX: Final = 256
BUSY_STEP_MAX: Final = 64
_SERIES_MIN: Final = 4


class Allocation(NamedTuple):
    """Says what was seen: `allocation` None where there are too few ports to tell.

    `step` counts for SEQUENTIAL, may be negative; `ports` are lowest and highest external port, None without any;
    `block_ports` is a guess at the size of a block.
    """

    allocation: PortAllocation | None
    step: int = 1
    ports: tuple[int, int] | None = None
    block_ports: int = 0


def judge_ports(series: Sequence[tuple[int, int]], others: Sequence[int] = ()) -> Allocation:
    """Returns the allocation that a sample shows.

    Args:
        series: (local port, external port) of mappings made one after another.
        others: further external ports of this host, in no order.
    """
    outside = [external for _, external in series]
    every = sorted({*outside, *others})
    if not every:
        return Allocation(None)
    ports = (every[0], every[-1])
    kept = sum(local == external for local, external in series)
    if len(series) >= 2 and kept * 4 >= len(series) * 3:
        return Allocation(PortAllocation.PRESERVING, ports=ports)
    if len(series) >= _SERIES_MIN and (step := _find_step(outside)):
        return Allocation(PortAllocation.SEQUENTIAL, step, ports)
    if len(every) < PORTS_MIN:
        return Allocation(None, ports=ports)
    span = ports[1] - ports[0] + 1
    if span <= BLOCK_MAX:
        size = max(BLOCK_MIN, 1 << (span - 1).bit_length())
        return Allocation(PortAllocation.BLOCK_RANDOM, ports=ports, block_ports=size)
    return Allocation(PortAllocation.RANDOM, ports=ports)


def _find_step(outside: Sequence[int]) -> int:
    """Returns the step in a series, 0 for none."""
    steps = [after - before for before, after in pairwise(outside)]
    step, count = Counter(steps).most_common(1)[0]
    if 1 <= abs(step) <= STEP_MAX and count * 2 > len(steps):
        return step
    if all(1 <= each <= BUSY_STEP_MAX for each in steps):
        return gcd(*steps)
    return 0
