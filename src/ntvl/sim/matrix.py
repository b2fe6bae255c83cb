"""The matrix of NAT kinds on virtual time: every pair, what became of it, and what the oracle had said."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ntvl.nat import KINDS, MATRIX, direct_path_possible
from ntvl.sim.net import Net

__all__ = ["PairResult", "run_matrix", "run_pair"]


class PairResult(NamedTuple):
    """Is one pair's outcome; times in seconds of virtual time from the first packet, None for never.

    `path` is "direct" only if both ends show it. `packets` is what both hosts sent until they were direct, or in all.
    """

    left: str
    right: str
    expected_direct: bool
    path: str
    first_reply_s: float | None
    direct_after_s: float | None
    packets: int

    @property
    def is_as_expected(self) -> bool:
        """Returns whether the pair talks, and is direct exactly if the oracle calls that possible."""
        return self.first_reply_s is not None and (self.path == "direct") == self.expected_direct


def run_pair(left: str, right: str, *, seed: int = 1, limit_s: float = 15.0, **faults: float) -> PairResult:
    """Returns how two nodes behind NATs of these kinds come to talk.

    Args:
        limit_s: how long a pair that may become direct has for it, and one that may not has to show it.
        faults: as for `Net`.
    """
    net = Net(seed, **faults)
    net.supernode()
    a, b = net.node("a", behind=left), net.node("b", behind=right)
    net.join()
    start, sent = net.now, a.host.sent + b.host.sent
    first_reply_s = direct_after_s = None
    while net.now < start + limit_s and (direct_after_s is None or first_reply_s is None):
        if direct_after_s is None and net.is_direct(a, b):
            direct_after_s = net.now - start
        if net.ping(a, b, limit_s=0.5) is not None and first_reply_s is None:
            first_reply_s = net.now - start
        net.run(0.02)
    packets = a.host.sent + b.host.sent - sent
    if not any(net.ping(a, b, limit_s=1.0) is not None for _ in range(5)):
        first_reply_s = None
    path = "direct" if net.is_direct(a, b) else net.path(a, b).path
    expected = direct_path_possible(KINDS[left], KINDS[right])
    return PairResult(left, right, expected, path, first_reply_s, direct_after_s, packets)


def run_matrix(pairs: Iterable[tuple[str, str]] = MATRIX, *, seed: int = 1, **faults: float) -> Iterator[PairResult]:
    """Yields the outcome of each pair, each in a network of its own."""
    for left, right in pairs:
        yield run_pair(left, right, seed=seed, **faults)
