"""`python -m ntvl.sim`: measures the simulated internet.

--nodes 1000    so many nodes join one community; prints the virtual and the real time
--matrix        every pair of NAT kinds, against the oracle; exit status 1 where one differs
--seed N        repeats a run
"""

import argparse
import gc
import resource
import sys
import time
from collections.abc import Sequence

from ntvl.matrix import Verdict
from ntvl.sim.matrix import run_matrix
from ntvl.sim.net import Net

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ntvl.sim", description="A whole internet on virtual time.")
    parser.add_argument("--nodes", type=int, default=0, metavar="N", help="let N nodes join one community")
    parser.add_argument("--matrix", action="store_true", help="run every pair of NAT kinds against the oracle")
    parser.add_argument("--loss", type=float, default=0.0, metavar="P", help="probability that a datagram is lost")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run (default 1)")
    options = parser.parse_args(arguments)
    if options.nodes < 0 or not 0.0 <= options.loss < 1.0:
        parser.error("--nodes counts from 0, and --loss is a probability below 1")
    if not options.nodes and not options.matrix:
        parser.error("say what to run: --nodes N, --matrix, or both")
    status = 0
    if options.nodes:
        _join(options.nodes, options.seed, options.loss)
    if options.matrix:
        status = _matrix(options.seed, options.loss)
    return status


def _join(nodes: int, seed: int, loss: float) -> None:
    start = time.perf_counter()
    gc.disable()  # Hardly anything here dies; looking at millions of living objects again and again doubles the time.
    net = Net(seed, loss=loss)
    net.supernode()
    for _ in range(nodes):
        net.node()
    built = time.perf_counter()
    _say(f"{nodes} nodes start at one moment (seed {seed}, loss {loss:.1%}); building them took {built - start:.1f} s")
    while not all(node.ipv4 for node in net.nodes):
        net.run(0.02)
    _say(f"all have addresses after {net.now:.2f} s of virtual time ({time.perf_counter() - start:.1f} s real)")
    while not net.is_joined():
        net.run(0.1)
    gc.enable()
    seconds, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    _say(f"all know all others after {net.now:.2f} s of virtual time")
    _say(
        f"{seconds:.1f} s real, {usage.ru_utime + usage.ru_stime:.1f} s of CPU, {net.timeline.steps} steps, "
        f"{usage.ru_maxrss / 1024:.0f} MB"
    )


def _matrix(seed: int, loss: float) -> int:
    _say(f"{'left':16} {'right':16} {'path':7} {'by':18} {'first reply':>12} {'direct after':>13} {'packets':>8}")
    wrong = count = 0
    for result in run_matrix(seed=seed, loss=loss):
        count += 1
        verdict = result.judge()
        wrong += verdict is not Verdict.AS_EXPECTED
        mark = "" if verdict is Verdict.AS_EXPECTED else f"  {verdict}"
        _say(
            f"{result.left:16} {result.right:16} {result.path:7} {result.technique:18} {_ms(result.first_reply_s):>12} "
            f"{_ms(result.direct_after_s):>13} {result.packets:>8}{mark}"
        )
    _say(f"{count - wrong} of {count} pairs as the oracle says (seed {seed})")
    return 1 if wrong else 0


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
