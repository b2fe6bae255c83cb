"""Runs the programs in turn, several rounds of each, and compares medians: `python -m bench [--help]`, as root."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from bench.comparison import GOALS, Comparison, Row
from bench.measure import round_trip_s, small_packets_per_s, throughput_bps
from bench.ntvl import Ntvl
from bench.programs import Fastd, OpenVpn, Program, Static, Tinc
from bench.stage import Stage

NEEDED = ("ip", "ping", "iperf3", "tincd", "openvpn", "fastd", "ethtool", "sysctl", "ss")
OTHERS: tuple[Program, ...] = (
    Tinc("aes-256-cbc", "sha256"),
    OpenVpn(),
    Fastd("salsa2012+umac"),
    Fastd("aes128-gcm"),
)


def main() -> int:
    """Returns 0 when every goal is met, 1 when one is missed, 2 when nothing could be measured."""
    options = _parse()
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        print("bench: needs root" if os.geteuid() else f"bench: needs {', '.join(missing)}", file=sys.stderr)
        return 2
    ours: tuple[Program, ...] = (Ntvl(), Ntvl(relay=True), Static(), Static(relay=True))
    programs = [program for program in (*ours, *OTHERS) if any(word in program.name for word in options.only or [""])]
    comparison = Comparison(ours=[program.name for program in ours])
    for number in range(options.rounds):
        for program in programs:
            print(f"round {number + 1} of {options.rounds}: {program.name} ...", end=" ", file=sys.stderr, flush=True)
            row = measure(program, options.seconds, offloads=not options.plain)
            comparison.add(program.name, row)
            print(row, file=sys.stderr, flush=True)
    print(comparison.table())
    if options.json:
        Path(options.json).write_text(comparison.json())
    return 0 if comparison.verdict() else 1


def measure(program: Program, seconds: float, *, offloads: bool) -> Row:
    """Returns one program's figures on a stage of its own."""
    with Stage(offloads=offloads) as stage:
        program.start(stage)
        stage.wait_for_ping()
        return Row(
            throughput_bps=throughput_bps(stage, seconds),
            round_trip_s=round_trip_s(stage, 20),
            small_packets_per_s=small_packets_per_s(stage, max(1.0, seconds / 2)),
        )


def _parse() -> argparse.Namespace:
    goals = ", ".join(f"{goal.name} {goal.words}" for goal in GOALS)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures ntvl beside tinc, OpenVPN and fastd in network namespaces. Goals: " + goals,
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs; medians count (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one throughput measurement (3)")
    parser.add_argument("--plain", action="store_true", help="switch the underlay's own segmentation offloads off")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="only programs with one of these in their names")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
