"""`ntvl demo` as people run it: what it prints, what it leaves, what it removes."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ntvl.lab.member import NTVL
from ntvl.lab.run import find_runs, remove_run, remove_stale_runs

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft", "tcpdump", "iperf3"),
]

DEMO = [*NTVL, "demo"]


def namespaces_of(pid: int) -> list[str]:
    return [name for name in os.listdir("/run/netns") if name.startswith(f"ntvl-{pid}-")]


def test_the_demo_proves_what_it_promises() -> None:
    began = time.monotonic()
    process = subprocess.Popen([*DEMO, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (0, ""), said
    assert time.monotonic() - began < 60
    document = json.loads(said)
    assert document["ok"] is True
    pairs = {(pair["from"], pair["to"]): pair for pair in document["pairs"]}
    assert {names: pair["path"] for names, pair in pairs.items()} == {
        ("home-a", "home-b"): "direct",
        ("home-a", "office-c"): "direct",
        ("office-c", "office-d"): "relay",
    }
    for pair in pairs.values():
        assert set(pair) == {"from", "to", "path", "first_reply_ms", "direct_after_ms", "rtt_ms", "mbps"}
        assert 0 < pair["first_reply_ms"] < 1000
        assert 0 < pair["rtt_ms"] < 100
        assert pair["mbps"] > 10
    assert 0 < pairs["home-a", "home-b"]["direct_after_ms"] < 2000
    assert 0 < pairs["home-a", "office-c"]["direct_after_ms"] < 30_000
    assert pairs["office-c", "office-d"]["direct_after_ms"] is None
    assert document["proof"]["text_found"] is False
    assert document["proof"]["clear_text_found"] is True
    assert namespaces_of(process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [2.5, 5.0])
def test_a_demo_that_is_stopped_leaves_nothing(number: signal.Signals, after_s: float) -> None:
    process = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)
    assert process.poll() is None
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)
    said, errors = process.communicate(timeout=15)
    assert process.returncode == 128 + number, said + errors
    assert said.endswith("everything is removed.\n")
    assert "Traceback" not in errors
    assert namespaces_of(process.pid) == []
    assert not [run for run in find_runs() if run.pid == process.pid]


def test_a_killed_demo_is_removed_by_the_next_lab() -> None:
    process = subprocess.Popen(DEMO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(4.0)
    process.kill()
    process.wait()
    run = next(run for run in find_runs() if run.pid == process.pid)
    assert namespaces_of(process.pid)
    assert run.name in [stale.name for stale in remove_stale_runs()]
    assert namespaces_of(process.pid) == []
    assert not Path(run.directory).exists()


def test_a_kept_demo_can_be_entered_and_removed() -> None:
    process = subprocess.Popen([*DEMO, "--json", "--keep"], stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=90)
    try:
        assert process.returncode == 0, said
        document = json.loads(said)
        kept = document["kept"]
        run = next(run for run in find_runs() if run.pid == process.pid)
        assert run.kept
        status = subprocess.run(
            [*NTVL, "status", "--json", "--socket", document["sockets"]["home-a"]],
            capture_output=True,
            text=True,
            check=True,
        )
        peers = json.loads(status.stdout)["communities"][0]["peers"]
        assert {peer["name"] for peer in peers} == {"home-b", "office-c", "office-d"}
        address = next(peer["addresses"][0] for peer in peers if peer["name"] == "home-b").partition("/")[0]
        enter = ["ip", "netns", "exec", kept["home-a"], "ping", "-c", "2", "-i", "0.2", "-W", "2", address]
        subprocess.run(enter, check=True, capture_output=True)
        again = subprocess.Popen(
            ["sh", f"{run.directory}/home-b.sh", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert "ntvl node" in again.communicate(timeout=10)[0], "what starts a node again is a command"
    finally:
        for run in find_runs():
            if run.pid == process.pid:
                remove_run(run)
    assert namespaces_of(process.pid) == []
