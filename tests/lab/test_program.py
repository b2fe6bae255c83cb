"""Programs in namespaces: what they print, how they end."""

import signal
import sys
import time
from collections.abc import Iterator

import pytest

from ntvl.errors import UsageError
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip")]

TALKS = """
import sys, time
print('{"event": "started"}')
print("not an event", file=sys.stderr)
time.sleep(0.1)
print('{"event": "joined", "address": "10.77.0.1"}')
print("[1, 2]")
print("{broken")
time.sleep(100)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}'); time.sleep(100)"
FAILS = "import sys; sys.exit('the reason')"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites({})) as built:
        yield built


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_events_are_the_lines_that_are_json_objects(stage: Stage) -> None:
    told: list[str] = []
    program = stage.start("supernode", python(TALKS), on_event=lambda event: told.append(event.fields["event"]))
    joined = program.wait_event(lambda fields: fields["event"] == "joined", 5.0)
    assert joined.fields["address"] == "10.77.0.1"
    assert [event.fields["event"] for event in program.events] == ["started", "joined"] == told
    assert "not an event" in program.log
    assert program.stop() == -signal.SIGTERM


def test_an_event_that_does_not_come_is_told_with_the_last_lines(stage: Stage) -> None:
    program = stage.start("supernode", python(TALKS), name="talker")
    with pytest.raises(TimeoutError, match=r"talker did not say so within 0\.5 s"):
        program.wait_event(lambda fields: fields["event"] == "never", 0.5)
    program.kill()


def test_a_program_that_ends_is_not_waited_for(stage: Stage) -> None:
    program = stage.start("supernode", python(FAILS), name="failer")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"(?s)failer did not say so, it ended with status 1; .*:.the reason"):
        program.wait_event(lambda fields: True, 20.0)
    assert time.monotonic() - began < 10


def test_a_program_that_does_not_listen_is_killed(stage: Stage) -> None:
    program = stage.start("supernode", python(DEAF))
    program.wait_event(lambda fields: True, 5.0)
    assert program.stop(timeout_s=0.3) == -signal.SIGKILL
    assert not program.is_running


def test_a_program_runs_where_it_was_put(stage: Stage) -> None:
    links = stage.run("supernode", ["ip", "-br", "address", "show", "eth0"]).stdout
    assert "203.0.113.10/24" in links


def test_a_command_that_fails_says_why(stage: Stage) -> None:
    with pytest.raises(UsageError, match=r"status 1: .*does not exist"):
        stage.run("supernode", ["ip", "link", "show", "nothing"])
    assert stage.run("supernode", ["false"], check=False).returncode == 1
