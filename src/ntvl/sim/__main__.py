"""`python -m ntvl.sim`: measures the simulated internet.

--nodes 1000    so many nodes join one community; prints the virtual and the real time
--loss P        so many of the datagrams are lost
--seed N        repeats a run

Pairs of NATs are tried on virtual time by `ntvl lab matrix --sim`.
"""

import argparse
import gc
import resource
import sys
import time
from collections.abc import Sequence

from ntvl.sim.net import Net

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ntvl.sim", description="A whole internet on virtual time.")
    parser.add_argument("--nodes", type=int, required=True, metavar="N", help="let N nodes join one community")
    parser.add_argument("--loss", type=float, default=0.0, metavar="P", help="probability that a datagram is lost")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run (default 1)")
    options = parser.parse_args(arguments)
    if options.nodes < 1 or not 0.0 <= options.loss < 1.0:
        parser.error("--nodes counts from 1, and --loss is a probability below 1")
    _join(options.nodes, options.seed, options.loss)
    return 0


def _join(nodes: int, seed: int, loss: float) -> None:
    start = time.perf_counter()
    gc.disable()  # Hardly anything here dies; looking at millions of living objects again and again doubles the time.
    net = Net(seed, loss=loss)
    net.supernode()
    for _ in range(nodes):
        net.node()
    built = time.perf_counter()
    start_words, building = ("1 node starts", "it") if nodes == 1 else (f"{nodes} nodes start at one moment", "them")
    _say(f"{start_words} (seed {seed}, loss {loss:.1%}); building {building} took {built - start:.1f} s")
    while not all(node.ipv4 for node in net.nodes):
        net.run(0.02)
    have = "it has an address" if nodes == 1 else "all have addresses"
    _say(f"{have} after {net.now:.2f} s of virtual time ({time.perf_counter() - start:.1f} s real)")
    while not net.is_joined():
        net.run(0.1)
    gc.enable()
    seconds, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    if nodes > 1:
        _say(f"all know all others after {net.now:.2f} s of virtual time")
    _say(
        f"{seconds:.1f} s real, {usage.ru_utime + usage.ru_stime:.1f} s of CPU, {net.timeline.steps} steps, "
        f"{usage.ru_maxrss / 1024:.0f} MB"
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
