"""`ntvl lab up`, `shell` and `down`, and what a killed run leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.test_run import runs

from ntvl.lab.namespace import list_processes
from ntvl.lab.run import Run, find_runs
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "ping", "tinyproxy")]

NTVL = [sys.executable, "-m", "ntvl", "lab"]
TOPOLOGY = """
[network.internet]
ipv4 = "203.0.113.0/24"
[host.server]
network = "internet"
[site.home]
kind = "http-proxy"
"""
HOSTS = 20
STARTS_AND_STAYS_S = 10.0


def lab(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NTVL, *arguments], input=stdin, capture_output=True, text=True, check=False)


def kept() -> list[Run]:
    return [run for run in find_runs() if run.kept and run.title == "ntvl lab"]


@pytest.fixture
def clean() -> Iterator[None]:
    """Leaves a lab alone that somebody has up, for there is one at a time."""
    if kept():
        pytest.skip("a lab is up on this machine: remove it with `ntvl lab down`")
    yield
    lab("down")


def test_a_lab_comes_up_takes_commands_and_goes_down(clean: None, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(TOPOLOGY)
    assert "No lab is up: build one with `ntvl lab up FILE`" in lab("shell", "home").stderr
    up = lab("up", str(file))
    assert up.returncode == 0, up.stderr
    assert "https_proxy=http://192.168.1.1:8888" in up.stdout
    assert max(map(len, up.stdout.splitlines()[:8])) <= 80
    [run] = kept()
    assert "A lab is up already" in lab("up", str(file)).stderr
    assert kept() == [run]
    pinged = lab("shell", "home-router", "ping", "-c", "1", "-w", "5", "203.0.113.10")
    assert pinged.returncode == 0, "options after the host are the command's"
    assert lab("shell", "home", "ping", "-c", "1", "-W", "1", "203.0.113.10").returncode == 1, "nothing but the proxy"
    assert "192.168.1.10" in lab("shell", "home", stdin="ip -4 address\nexit 7\n").stdout
    assert lab("shell", "home", "sh", "-c", "exit 7").returncode == 7
    assert "it has home, home-router, server" in lab("shell", "office").stderr
    helpers = list_processes(run.namespaces())
    assert len(helpers) == 1
    down = lab("down")
    assert down.stdout == "Removed the lab, and ended 1 program in it.\n"
    assert run.namespaces() == []
    assert not kept()
    assert not any(runs(str(pid)) for pid in helpers)
    assert lab("down").stdout == "Nothing was left to remove.\n"


def test_twenty_hosts_come_up_in_seconds(clean: None, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    sites = "".join(f'[site.h{number}]\nkind = "double"\n' for number in range(HOSTS))
    file.write_text(TOPOLOGY + sites)
    began = time.monotonic()
    assert lab("up", str(file)).returncode == 0
    assert time.monotonic() - began < 15.0
    assert lab("shell", f"h{HOSTS - 1}", "ping", "-c", "1", "-w", "5", "203.0.113.10").returncode == 0


def test_what_a_killed_matrix_left_is_removed_by_the_next_and_a_living_lab_is_not(tmp_path: Path) -> None:
    killed = subprocess.Popen([*NTVL, "matrix", "--kinds", "open"], stderr=subprocess.PIPE, text=True)
    left: Run | None = None
    try:
        until = time.monotonic() + STARTS_AND_STAYS_S
        while time.monotonic() < until and (left is None or not list_processes(left.namespaces())):
            left = next((run for run in find_runs() if run.pid == killed.pid), None)
            time.sleep(0.05)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert left is not None
    programs = list_processes(left.namespaces())
    assert programs, "the killed run left its programs"
    with Stage(build_sites({"a": ()}), "alive"):  # the next lab on this machine, whatever it is
        assert left.namespaces() == []
        assert not list_processes(left.namespaces())
        alive = next(run for run in find_runs() if run.pid == os.getpid())
        assert lab("down").returncode == 0
        assert alive.namespaces(), "a lab that is alive stays"


def test_a_matrix_that_is_told_to_end_removes_everything() -> None:
    ending = subprocess.Popen([*NTVL, "matrix", "--kinds", "open"], stderr=subprocess.PIPE, text=True)
    assert ending.stderr is not None
    assert "machines are built" in ending.stderr.readline()
    run = next(run for run in find_runs() if run.pid == ending.pid)
    ending.send_signal(signal.SIGTERM)
    ending.communicate(timeout=20)
    assert ending.returncode == 128 + signal.SIGTERM
    assert run.namespaces() == []
    assert not Path(run.directory).exists()
