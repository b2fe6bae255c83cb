"""Full load on the data plane: the control plane answers all the same, and at once."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.member import NTVL
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "iperf3")]

ANSWER_S_MAX = 0.1
SECONDS = 6


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"], "c": KINDS["apdm-random"]})) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", relayed=("c",))
        built.wait_path("a", "b", "direct")
        yield built


def ask(path: Path, question: dict[str, object]) -> float:
    """Returns how many seconds an answer at a control socket takes."""
    began = time.monotonic()
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(5.0)
        client.connect(str(path))
        client.sendall(json.dumps(question).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            data += client.recv(65536)
    assert json.loads(data.splitlines()[0])
    return time.monotonic() - began


@pytest.mark.parametrize("target", ["b", "c"])
def test_the_control_plane_answers_within_a_tenth_of_a_second_under_full_load(overlay: Overlay, target: str) -> None:
    stage, address = overlay.stage, overlay.address(target)
    server = stage.start(target, ["iperf3", "-s", "-1", "--forceflush", "-B", address])
    eventually(lambda: any("listening" in line for line in server.log), 5.0, "iperf3 listens")
    client = stage.start("a", ["iperf3", "-c", address, "-t", str(SECONDS), "-J"])
    time.sleep(1.0)
    took_s: list[float] = []
    pinged = stage.run(
        "a",
        [*NTVL, "ping", target, "-c", "10", "-i", "0.2", "--json", "--socket", str(overlay.members["a"].socket)],
    ).stdout
    for _ in range(15):
        took_s.append(ask(overlay.members["a"].socket, {"verb": "status"}))
        time.sleep(0.1)
    assert client.wait(20.0) == 0
    lines = [json.loads(line) for line in pinged.splitlines()]
    rtts = [line["rtt_ms"] for line in lines if line.get("rtt_ms") is not None]
    print(f"status: median {median(took_s) * 1000:.1f} ms, slowest {max(took_s) * 1000:.1f} ms")
    print(f"ping over the control plane of both: median {median(rtts):.1f} ms, slowest {max(rtts):.1f} ms")
    assert len(rtts) >= 9
    assert median(took_s) < ANSWER_S_MAX
    assert median(rtts) / 1000 < ANSWER_S_MAX
