"""The network that everything is measured on: two hosts, and between them a third that routes.

    a 10.90.1.1 --veth-- 10.90.1.254 s 10.90.2.254 --veth-- 10.90.2.1 b

The host in the middle stands for the internet when programs talk directly, and is the supernode when they are relayed.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

UNDERLAY = {"a": "10.90.1.1", "b": "10.90.2.1", "s": "10.90.1.254"}
OVERLAY = {"a": "10.91.0.1", "b": "10.91.0.2"}
START_S = 15.0


class Stage:
    """Is the network, and the programs that run in it; leave it with everything gone.

    Args:
        offloads: whether the underlay's devices may carry super-frames; without, it is more like a real network card.
    """

    def __init__(self, *, offloads: bool = True) -> None:
        self._prefix = f"ntvl-bench-{os.getpid()}"
        self._offloads = offloads
        self._programs: list[subprocess.Popen[bytes]] = []
        self._directory = tempfile.TemporaryDirectory(prefix="ntvl-bench-")
        self.directory = Path(self._directory.name)

    def __enter__(self) -> "Stage":
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_programs()
        for host in ("a", "b", "s"):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], stderr=subprocess.DEVNULL, check=False)
        self._directory.cleanup()

    def namespace(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def command(self, host: str, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace(host), *arguments]

    def run(self, host: str, *arguments: str, timeout_s: float = 60.0, check: bool = True) -> str:
        """Runs a program to its end and returns what it prints."""
        done = subprocess.run(
            self.command(host, *arguments), capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, host: str, *arguments: str, log: str, cwd: Path | None = None) -> "subprocess.Popen[bytes]":
        """Starts a program that runs until `stop_programs`; what it says goes to the file `log`."""
        with open(self.directory / log, "wb") as output:
            program = subprocess.Popen(
                self.command(host, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
            )
        self._programs.append(program)
        return program

    def stop_programs(self) -> None:
        """Ends what `start` started, the latest first."""
        for program in reversed(self._programs):
            if program.poll() is None:
                program.send_signal(signal.SIGTERM)
        for program in self._programs:
            try:
                program.wait(5.0)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self._programs.clear()

    def wait_for_ping(self) -> None:
        """Waits until b answers a across the overlay.

        Raises:
            RuntimeError: it does not within `START_S`; with the programs' logs.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if "1 received" in self.run("a", "ping", "-c1", "-W1", OVERLAY["b"], check=False):
                return
        logs = "".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in self.directory.glob("*.log")
        )
        raise RuntimeError(f"no answer across the overlay\n{logs}")

    def up(self, host: str, device: str, mtu: int | None = None) -> None:
        """Gives a host's overlay device its address, once it is there."""
        deadline = time.monotonic() + START_S
        while device not in self.run(host, "ip", "-br", "link"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{device} did not appear on {host}")
            time.sleep(0.05)
        self.run(host, "ip", "addr", "replace", f"{OVERLAY[host]}/24", "dev", device)
        if mtu:
            self.run(host, "ip", "link", "set", device, "mtu", str(mtu))
        self.run(host, "ip", "link", "set", device, "up")

    def _build(self) -> None:
        for host in ("a", "b", "s"):
            subprocess.run(["ip", "netns", "add", self.namespace(host)], check=True)
            self.run(host, "ip", "link", "set", "lo", "up")
            # No router solicitations and duplicate address detection in the middle of a measurement.
            self.run(host, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        for host, net in (("a", 1), ("b", 2)):
            self.run(
                host, "ip", "link", "add", "wan", "type", "veth",
                "peer", "name", host, "netns", self.namespace("s"),
            )  # fmt: skip
            self.run(host, "ip", "addr", "add", f"10.90.{net}.1/24", "dev", "wan")
            self.run(host, "ip", "link", "set", "wan", "up")
            self.run("s", "ip", "addr", "add", f"10.90.{net}.254/24", "dev", host)
            self.run("s", "ip", "link", "set", "dev", host, "up")
            self.run(host, "ip", "route", "add", "default", "via", f"10.90.{net}.254")
            if not self._offloads:
                for where, device in ((host, "wan"), ("s", host)):
                    self.run(where, "ethtool", "-K", device, *_off("tso", "gso", "gro", "tx-udp-segmentation"))
        self.run("s", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def _off(*features: str) -> Sequence[str]:
    return [word for feature in features for word in (feature, "off")]
