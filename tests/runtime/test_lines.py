import io
import json

import pytest

from ntvl.runtime.lines import EventLines, printable


class Broken(io.StringIO):
    writes = 0

    def write(self, _: str) -> int:
        self.writes += 1
        raise BrokenPipeError


def test_for_programs_a_line_is_an_object_with_event_and_time_first() -> None:
    stream = io.StringIO()
    EventLines(as_json=True, stream=stream, clock=lambda: 12.34567).tell({"name": "ü", "event": "joined"}, "text")
    assert list(json.loads(stream.getvalue()).items()) == [("event", "joined"), ("time", 12.346), ("name", "ü")]


def test_for_people_it_is_a_time_and_a_sentence_without_control_characters() -> None:
    stream = io.StringIO()
    EventLines(stream=stream, clock=lambda: 0.0).tell({"event": "joined"}, "ann \x1b[31m is here", "bad")
    assert stream.getvalue()[2] == ":"
    assert stream.getvalue().endswith(" ann ?[31m is here\n")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    EventLines(stream=stream).tell({}, "well", "good")
    assert "\x1b[32mwell\x1b[0m" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    EventLines(stream=stream).tell({}, "well", "good")
    assert "\x1b" not in stream.getvalue()


def test_a_reader_that_left_ends_the_writing_and_not_the_program() -> None:
    stream = Broken()
    lines = EventLines(stream=stream)
    lines.tell({}, "one")
    lines.tell({}, "two")
    assert stream.writes == 1


def test_printable_leaves_what_is() -> None:
    assert printable("ünïcode") == "ünïcode"
    assert printable("a\nb\x07") == "a?b?"
