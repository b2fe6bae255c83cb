"""How many bits of TCP a second go from one machine of a lab to another, by iperf3."""

import json
import time

from ntvl.errors import UsageError
from ntvl.lab.stage import Stage

__all__ = ["measure_tcp_bps"]

_STARTS_S = 5.0


def measure_tcp_bps(stage: Stage, client: str, server: str, address: str, *, seconds: int = 1) -> float:
    """Returns the bits of TCP payload that arrive in a second, over one connection.

    Args:
        address: where the server listens, an address of its own.
        seconds: 1 or more, whole, as iperf3 counts.
    Raises:
        UsageError: iperf3 is missing or fails; the message has what it said.
    """
    listener = stage.start(server, ["iperf3", "--server", "--one-off", "--bind", address, "--forceflush"])
    until = time.monotonic() + _STARTS_S
    while not any("listening" in line for line in listener.log):
        if not listener.is_running or time.monotonic() > until:
            raise UsageError(f"iperf3 did not start on {server}: {' '.join(listener.log) or 'it said nothing'}")
        time.sleep(0.01)
    try:
        argv = ["iperf3", "--client", address, "--time", str(seconds), "--json", "--connect-timeout", "3000"]
        done = stage.run(client, argv, timeout_s=seconds + 5, check=False)
    finally:
        listener.stop()
    report = json.loads(done.stdout or "{}")
    if "error" in report or done.returncode:
        raise UsageError(f"iperf3 from {client} to {server} failed: {report.get('error', done.stderr.strip())}")
    return float(report["end"]["sum_received"]["bits_per_second"])
