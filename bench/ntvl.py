"""ntvl's real programs on a stage: a supernode in the middle, a node on either side."""

import json
import sys
import time

from bench.programs import Program
from bench.stage import OVERLAY, Stage

READY_S = 30.0
SUPERNODE = {"a": "10.90.1.254", "b": "10.90.2.254"}
"""The address of the host in the middle that each side is next to."""


class Ntvl(Program):
    """Is `ntvl supernode` and two times `ntvl node`; relayed where the router in the middle forwards nothing."""

    def __init__(self, *, relay: bool = False) -> None:
        self.name = "ntvl, relayed" if relay else "ntvl"
        self._path = "relay" if relay else "direct"

    def start(self, stage: Stage) -> None:
        if self._path == "relay":
            stage.run("s", "sysctl", "-qw", "net.ipv4.ip_forward=0")
        secret = stage.directory / "secret"
        secret.write_text("a secret for measurements only")
        secret.chmod(0o600)
        command = (sys.executable, "-m", "ntvl")
        stage.start("s", *command, "supernode", "--json", "--state", str(stage.directory / "s"), log="supernode.log")
        for host in ("a", "b"):
            stage.start(
                host, *command, "node", "--json", "--community", "bench", "--secret-file", str(secret),
                "--supernode", SUPERNODE[host], "--name", host, "--address", f"static {OVERLAY[host]}/24",
                "--subnet", "10.91.0.0/24", "--state", str(stage.directory / host),
                "--socket", str(stage.directory / f"{host}.sock"), log=f"node-{host}.log",
            )  # fmt: skip
        stage.wait_for_ping()
        self._wait_for_path(stage)

    def _wait_for_path(self, stage: Stage) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            paths = [self._show_path(stage, host) for host in ("a", "b")]
            if paths == [self._path, self._path]:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the path is {paths}, not {self._path}")
            time.sleep(0.1)

    @staticmethod
    def _show_path(stage: Stage, host: str) -> str:
        socket = str(stage.directory / f"{host}.sock")
        status = json.loads(stage.run(host, sys.executable, "-m", "ntvl", "status", "--json", "--socket", socket))
        peers = status["communities"][0]["peers"]
        return str(peers[0]["path"]) if peers else "none"
