"""`ntvl lab up`, `shell` and `down`, and what a killed run leaves."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.test_run import runs

from ntvl.lab.namespace import list_processes
from ntvl.lab.run import Run, find_runs, remove_run
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


class Lab:
    """Runs `ntvl lab`, and remembers which labs it has put up."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, errors = process.communicate(stdin)
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Returns the command as a terminal starts it: the first of a process group."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [*NTVL, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self.pids.append(process.pid)
        return process


def kept() -> list[Run]:
    return [run for run in find_runs() if run.kept and run.title == "ntvl lab"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Leaves a lab alone that somebody has up, for there is one at a time, and removes none but its own.

    It is the one way to the command here, so that no test can remove what it did not make.
    """
    if kept():
        pytest.skip("a lab is up on this machine: remove it with `ntvl lab down`")
    command = Lab()
    yield command
    for run in find_runs():
        if run.pid in command.pids:
            remove_run(run)


def shell_at_a_terminal(host: str) -> str:
    """Returns what a terminal shows when a person enters a host, types a command and leaves."""
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [*NTVL, "shell", host],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        env={**os.environ, "SHELL": "/bin/bash"},
    )
    os.close(inside)
    os.write(outside, b"true\nexit\n")
    shown = b""
    while True:
        try:
            shown += os.read(outside, 65536)
        except OSError:  # the other end is closed
            break
    os.close(outside)
    assert process.wait(10) == 0
    return shown.decode()


def press_ctrl_c(process: subprocess.Popen[str], times: int, gap_s: float) -> None:
    """Does what a terminal does: every process of the group gets the signal."""
    for _ in range(times):
        try:
            os.killpg(process.pid, signal.SIGINT)
        except ProcessLookupError:
            return
        time.sleep(gap_s)


def test_a_lab_comes_up_takes_commands_and_goes_down(lab: Lab, tmp_path: Path) -> None:
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
    missing = lab("shell", "home", "nosuchprogram")
    assert (missing.returncode, missing.stdout) == (127, "")
    assert "There is no program 'nosuchprogram' here" in missing.stderr
    assert shell_at_a_terminal("home").count("(home) ") >= 2, "the prompt says where one is"
    assert "it has home, home-router, server" in lab("shell", "office").stderr
    helpers = list_processes(run.namespaces())
    assert len(helpers) == 1
    down = lab("down")
    assert down.stdout == "Removed the lab, and ended 1 program in it.\n"
    assert run.namespaces() == []
    assert not kept()
    assert not any(runs(str(pid)) for pid in helpers)
    assert lab("down").stdout == "Nothing was left to remove.\n"


def test_twenty_hosts_come_up_in_seconds(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    sites = "".join(f'[site.h{number}]\nkind = "double"\n' for number in range(HOSTS))
    file.write_text(TOPOLOGY + sites)
    began = time.monotonic()
    assert lab("up", str(file)).returncode == 0
    assert time.monotonic() - began < 15.0
    assert lab("shell", f"h{HOSTS - 1}", "ping", "-c", "1", "-w", "5", "203.0.113.10").returncode == 0


def test_what_a_killed_matrix_left_is_removed_by_the_next_and_a_living_lab_is_not(lab: Lab) -> None:
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


@pytest.mark.parametrize(("times", "gap_s"), [(1, 0.0), (2, 0.02), (4, 0.1)])
def test_ctrl_c_ends_a_matrix_however_often_it_is_pressed_and_removes_everything(
    lab: Lab, times: int, gap_s: float
) -> None:
    ending = lab.start("matrix", "--kinds", "open,eim-apdf")
    assert ending.stderr is not None
    assert "machines are built" in ending.stderr.readline()
    run = next(run for run in find_runs() if run.pid == ending.pid)
    time.sleep(0.3)  # programs are starting
    press_ctrl_c(ending, times, gap_s)
    _, errors = ending.communicate(timeout=20)
    assert ending.returncode == 128 + signal.SIGINT
    assert errors.endswith("Stopped; everything is removed.\n")
    assert run.namespaces() == []
    assert not Path(run.directory).exists()
    assert not [left for left in find_runs() if left.pid == ending.pid]


def test_ctrl_c_at_any_moment_of_up_leaves_a_whole_lab_and_says_so_or_none(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(TOPOLOGY.replace("http-proxy", "double"))
    moments = [0.05 * step for step in range(1, 9)]  # from before there is anything to after the end
    for after_s in moments:
        up = lab.start("up", str(file))
        time.sleep(after_s)
        press_ctrl_c(up, 2, 0.02)
        out, _ = up.communicate(timeout=20)
        standing = [run for run in find_runs() if run.pid == up.pid]
        if up.returncode == 0:
            assert "removes everything." in out
            assert len(standing) == 1
            remove_run(standing[0])
        else:
            assert standing == []
