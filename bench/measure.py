"""What is measured on a stage where b answers a: throughput, round trip, small packets."""

import json
import re
import statistics
import sys
import time

from bench.stage import OVERLAY, Stage

IPERF_PORT = 5201
PACKET_PORT = 9001
SMALL_PAYLOAD_BYTES = 22
"""With UDP, IPv4 and Ethernet headers: a frame of 64 bytes."""
RATES = (100_000, 200_000, 300_000, 450_000)


def throughput_bps(stage: Stage, seconds: float) -> float:
    """Returns what one TCP stream from a to b moves, as iperf3's receiver sees it, its first second left out."""
    server = stage.start("b", "iperf3", "-s", "-1", "-p", str(IPERF_PORT), "-B", OVERLAY["b"], log="iperf3.log")
    for _ in range(50):
        time.sleep(0.1)
        if f":{IPERF_PORT}" in stage.run("b", "ss", "-Hltn"):
            break
    out = stage.run(
        "a", "iperf3", "-J", "-c", OVERLAY["b"], "-p", str(IPERF_PORT), "-t", str(seconds), "-O", "1",
        timeout_s=seconds + 20,
    )  # fmt: skip
    server.wait(5.0)
    return float(json.loads(out)["end"]["sum_received"]["bits_per_second"])


def round_trip_s(stage: Stage, count: int) -> float:
    """Returns the median round trip of an idle overlay, five pings a second."""
    out = stage.run("a", "ping", "-n", "-i", "0.2", "-c", str(count), OVERLAY["b"])
    times = [float(value) / 1000 for value in re.findall(r"time=([\d.]+)", out)]
    if len(times) < count * 0.9:
        raise RuntimeError(f"pings were lost:\n{out}")
    return statistics.median(times)


def small_packets_per_s(stage: Stage, seconds: float) -> float:
    """Returns the most 64-byte frames a second that came through, at the best of several offered rates."""
    return max(small_packets_at(stage, rate, seconds) for rate in RATES)


def small_packets_at(stage: Stage, rate: int, seconds: float) -> float:
    """Returns how many 64-byte frames a second came through while `rate` were offered."""
    counter = stage.start("b", sys.executable, "-m", "bench.packets", "count", str(PACKET_PORT), log="count.log")
    log = stage.directory / "count.log"
    while "ready" not in log.read_text():
        time.sleep(0.05)
    stage.run(
        "a", sys.executable, "-m", "bench.packets", "send", OVERLAY["b"], str(PACKET_PORT), str(SMALL_PAYLOAD_BYTES),
        str(rate), str(seconds), timeout_s=seconds + 20,
    )  # fmt: skip
    counter.wait(20.0)
    received = json.loads(log.read_text().splitlines()[-1])["received"]
    return float(received) / seconds
