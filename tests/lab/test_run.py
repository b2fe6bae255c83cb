"""Which labs are stale, and that only those go."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ntvl.lab import run as module
from ntvl.lab.run import Run, find_runs, new_run, remove_run, remove_stale_runs

ENDS_AT_ONCE = "import os; print(os.getpid())"
MAKES_A_LAB = """
import sys, time
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
with Stage(build_sites({{"a": ()}}), "killed") as stage:
    program = stage.start("a", ["sleep", "1000"])
    {keep}
    print(stage.run_record.name, program.pid, stage.directory, flush=True)
    time.sleep({sleep_s})
"""


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_RECORDS", tmp_path / "records")
    monkeypatch.setattr(module, "NAMESPACES", tmp_path / "no-namespaces")
    return tmp_path / "records"


def runs(pid: str) -> bool:
    """Returns whether a process is there and not merely unreaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def dead_process() -> int:
    done = subprocess.run([sys.executable, "-c", ENDS_AT_ONCE], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_run_of_this_process_is_not_stale(records: Path) -> None:
    run = new_run("mine")
    assert run.pid == os.getpid()
    assert not run.is_stale
    assert find_runs() == [run]
    assert remove_stale_runs() == []
    remove_run(run)
    assert find_runs() == []


def test_a_run_of_a_dead_process_goes_with_its_directory(records: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    run = Run("1-1", dead_process(), 12345, str(left))
    run.write()
    assert remove_stale_runs() == [run]
    assert not left.exists()
    assert find_runs() == []


def test_a_process_with_the_same_id_that_started_later_is_another_one(records: Path) -> None:
    Run("1-1", os.getpid(), 1).write()
    assert [run.name for run in remove_stale_runs()] == ["1-1"]


def test_a_kept_run_outlives_its_process(records: Path) -> None:
    kept = Run("1-1", dead_process(), 12345).keep()
    assert remove_stale_runs() == []
    assert find_runs() == [kept]


def test_a_record_that_cannot_be_read_is_stale(records: Path) -> None:
    records.mkdir()
    (records / "7-1.json").write_text("{not json")
    assert [run.name for run in remove_stale_runs()] == ["7-1"]
    assert find_runs() == []


@pytest.mark.lab
@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKES_A_LAB.format(keep="", sleep_s=1000)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert maker.stdout is not None
        name, program, directory = maker.stdout.readline().split()
        assert name not in [run.name for run in remove_stale_runs()], "a living lab of another process is left alone"
        assert Path(directory).is_dir()
    finally:
        maker.send_signal(signal.SIGKILL)
        maker.communicate()
    assert runs(program), "the killed run left its program"
    assert name in [run.name for run in remove_stale_runs()]
    assert not runs(program)
    assert not Path(directory).exists()
    assert not [namespace for namespace in os.listdir("/run/netns") if name in namespace]


@pytest.mark.lab
@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_a_kept_lab_stays_with_its_programs_until_it_is_removed() -> None:
    script = MAKES_A_LAB.format(keep="stage.keep()", sleep_s=0)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    name, program, directory = done.stdout.split()
    run = next(run for run in find_runs() if run.name == name)
    try:
        assert name not in [run.name for run in remove_stale_runs()]
        assert runs(program)
        assert len(run.namespaces()) == 3
    finally:
        remove_run(run)
    assert not runs(program)
    assert not Path(directory).exists()
    assert run.namespaces() == []
