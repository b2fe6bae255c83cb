"""The matrix of kinds on virtual time: every pair in a network of its own, and what became of it."""

from collections.abc import Iterable, Iterator
from typing import Final

from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS, Expectation, Kind, expect
from ntvl.matrix import PairOutcome, technique_of
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.site import Site
from ntvl.sim.world import SimulationError

__all__ = ["run_matrix", "run_pair"]

_PROXY: Final = "proxy.example:3128"
_RELAY_WATCH_S: Final = 8.0
"""A pair that theory leaves on the relay is watched for so long, for a path that should not be."""
_GRACE_S: Final = 2.0
"""How much longer a pair is watched than it may take, to tell late from never."""
_NAT_S: Final = 6.0
"""A node has looked at its NAT by then: the look takes 4.5 s at most."""


def run_pair(left: str, right: str, *, seed: int = 1, limit_s: float | None = None, **faults: float) -> PairOutcome:
    """Returns how two nodes in places of these kinds come to talk.

    Args:
        limit_s: how long they are watched; without it a little longer than the oracle gives them.
        faults: as for `Net`.
    Raises:
        UsageError: a kind that the simulator does not build.
    """
    kinds = (SITE_KINDS[left], SITE_KINDS[right])
    for kind in kinds:
        if not kind.simulated:
            raise UsageError(f"the simulator has no {kind.name!r}: run it in the laboratory, without --sim")
    expected = expect(*kinds)
    net = Net(seed, **faults)
    net.supernode(ipv6=True)
    a, b = _place(net, *kinds)
    try:
        net.join()
    except SimulationError:
        absent = " and ".join(node.name for node in (a, b) if not node.ipv4) or "one of them"
        return PairOutcome(left, right, "none", "none", None, None, 0, f"{absent} did not join")
    net.run(_NAT_S)
    start = net.now
    first_reply_s, direct_after_s = _watch(net, a, b, start + (limit_s or _limit_s(expected)))
    if not any(net.ping(a, b, limit_s=1.0) is not None for _ in range(5)):
        first_reply_s = None
    path = "none" if first_reply_s is None else "direct" if net.is_direct(a, b) else "relay"
    technique, packets = technique_of(_entry(a, b), _entry(b, a))
    return PairOutcome(
        left, right, path, technique, first_reply_s, direct_after_s if path == "direct" else None, packets
    )


def run_matrix(pairs: Iterable[tuple[str, str]]) -> Iterator[PairOutcome]:
    """Yields the outcome of each pair of kinds, each in a network of its own."""
    for left, right in pairs:
        yield run_pair(left, right)


def _place(net: Net, left: Kind, right: Kind) -> tuple[SimNode, SimNode]:
    common: Site | None = None
    if left.shared:
        common = net.site(left.chain[-left.shared :], ipv6=left.ipv6)
    a, b = (
        net.node(
            name,
            behind=net.site(
                kind.chain[: len(kind.chain) - kind.shared],
                outside=common,
                ipv6=kind.ipv6,
                protocols=("pcp", "natpmp") if kind.mapper == "pcp" else (),
            ),
            ipv4=kind.ipv4,
            ipv6=kind.ipv6,
            proxies=(_PROXY,) if kind.proxy else (),
        )
        for name, kind in (("a", left), ("b", right))
    )
    return a, b


def _watch(net: Net, a: SimNode, b: SimNode, until: float) -> tuple[float | None, float | None]:
    start = net.now
    first_reply_s = direct_after_s = None
    while net.now < until and (direct_after_s is None or first_reply_s is None):
        if direct_after_s is None and net.is_direct(a, b):
            direct_after_s = net.now - start
        if net.ping(a, b, limit_s=0.5) is not None and first_reply_s is None:
            first_reply_s = net.now - start
        net.run(0.02)
    return first_reply_s, direct_after_s


def _limit_s(expected: Expectation) -> float:
    return max(expected.first_reply_s, _RELAY_WATCH_S if expected.direct_s is None else expected.direct_s + _GRACE_S)


def _entry(node: SimNode, peer: SimNode) -> dict[str, object]:
    return next((shown for shown in node.peers().values() if shown["name"] == peer.name), {})
