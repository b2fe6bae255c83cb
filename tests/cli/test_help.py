"""What `--help` prints of every command."""

import itertools
import re
from typing import Any

import pytest
import typer.main

from ntvl.cli import VERBS, build_app
from ntvl.cli.help import render

COMMANDS = [(), *((verb,) for verb in VERBS), *(("lab", name) for name in ("matrix", "up", "shell", "down"))]


def explain(path: tuple[str, ...], columns: int) -> str:
    command: Any = typer.main.get_command(build_app(path))
    context = command.context_class(command, info_name="ntvl", help_option_names=["-h", "--help"])
    for name in path:
        command = command.get_command(context, name)
        context = command.context_class(command, info_name=name, parent=context)
    return render(command, context, columns)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_fits_the_terminal_and_is_wrapped_once(path: tuple[str, ...]) -> None:
    for columns in (80, 100):
        text = explain(path, columns)
        lines = text.splitlines()
        assert max(map(len, lines)) < columns
        assert not any(line != line.rstrip() for line in lines)
        for line, after in itertools.pairwise(lines):
            is_new = not line or not after or line.endswith(":") or re.match(r"  \S", after)
            first = re.match(r"`[^`]+`|\[default: .*?\]|\S+", after.lstrip())
            assert is_new or (first and len(line) + 1 + len(first[0]) >= columns), f"{line!r} ends early"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_names_things_in_words(path: tuple[str, ...]) -> None:
    text = explain(path, 80)
    assert not re.search(r"<\w+>|\{|\[\[|\\\\|IP/LEN\]", text)
    assert "-h, --help  " in text


def test_what_a_command_takes_stands_in_its_line_of_usage() -> None:
    assert explain(("ping",), 80).startswith("Usage: ntvl ping [OPTIONS] PEER\n")
    assert explain(("node",), 80).startswith("Usage: ntvl node [OPTIONS]\n")
    assert explain(("lab", "shell"), 80).startswith("Usage: ntvl lab shell [OPTIONS] HOST [COMMAND...]\n")
    assert explain((), 80).startswith("Usage: ntvl [OPTIONS] COMMAND ...\n")


def test_a_narrow_terminal_gets_lines_too_long_rather_than_none() -> None:
    assert max(map(len, explain(("node",), 10).splitlines())) <= 60
