"""Fuzzing finds nothing: runs with --fuzz-seconds, as `make test` does, beside the tests before it."""

import subprocess
import sys

import pytest
from tests.fuzz.conftest import FUZZ, FuzzRun
from tests.fuzz.fuzz import NO_ATHERIS, has_atheris


@pytest.mark.timeout(0)
def test_fuzzing_finds_nothing(fuzz_run: FuzzRun) -> None:
    if not has_atheris():
        pytest.skip(NO_ATHERIS)
    status, output = fuzz_run.wait()
    assert status == 0, output
    assert "nothing found" in output


def test_fuzzing_says_what_targets_there_are() -> None:
    run = subprocess.run([sys.executable, str(FUZZ), "nonsense"], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "fuzz: " in run.stderr
