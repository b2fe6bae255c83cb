"""What a signal does, and the ones after it, while something is built, removed, or done."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ntvl.lab import run as run_module
from ntvl.lab.ending import STOPPED, Ending, ignore_signals
from ntvl.lab.run import find_runs, new_run

TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Gives back the handlers, which stay ignored after an end."""
    before = {number: signal.getsignal(number) for number in TAKEN}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_RECORDS", tmp_path / "records")
    monkeypatch.setattr(run_module, "NAMESPACES", tmp_path / "no-namespaces")


@pytest.mark.parametrize("number", TAKEN[:3])
def test_the_first_signal_ends_it_and_those_after_it_do_nothing(number: signal.Signals) -> None:
    said: list[str] = []
    cleaned = []
    with pytest.raises(SystemExit) as caught, Ending(said.append, said.append):
        try:
            send(number)
        finally:
            for again in TAKEN[:3]:  # while things are removed
                send(again)
            cleaned.append("whole")
    send(number)
    assert caught.value.code == 128 + number
    assert said == ["removing everything", STOPPED]
    assert cleaned == ["whole"]


def test_a_signal_in_the_middle_of_a_removal_removes_the_rest() -> None:
    said: list[str] = []
    with pytest.raises(SystemExit), Ending(said.append):
        new_run("mine").keep()
        send(signal.SIGINT)  # as in a removal that was under way: nothing here catches it
    assert find_runs() == []
    assert said == [STOPPED]


def test_what_is_raised_instead_of_the_end_does_not_hide_it() -> None:
    with pytest.raises(SystemExit) as caught, Ending(lambda text: None):
        try:
            send(signal.SIGTERM)
        except SystemExit as error:
            raise OSError("a removal that fails") from error
    assert caught.value.code == 128 + signal.SIGTERM


def test_what_is_settled_stays() -> None:
    said: list[str] = []
    with Ending(said.append) as ending:
        run = new_run("mine").keep()
        ending.settle()
        send(signal.SIGINT)
    send(signal.SIGINT)
    assert find_runs() == [run]
    assert said == []


def test_without_a_signal_everything_is_as_before() -> None:
    before = [signal.getsignal(number) for number in TAKEN]
    with Ending(print, seconds=100, expired=lambda: None):
        run = new_run("mine")
    assert [signal.getsignal(number) for number in TAKEN] == before
    assert signal.alarm(0) == 0
    assert find_runs() == [run]


def test_the_end_of_the_time_raises_what_it_is_told_to() -> None:
    def expired() -> None:
        raise TimeoutError("late")

    with pytest.raises(TimeoutError, match="late"), Ending(print, seconds=100, expired=expired):
        new_run("mine")
        send(signal.SIGALRM)
    assert find_runs() == []


def test_nohup_stays_in_force() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Ending(print):
        send(signal.SIGHUP)


def test_a_removal_can_ignore_signals_altogether() -> None:
    ignore_signals()
    for number in TAKEN[:3]:
        send(number)
