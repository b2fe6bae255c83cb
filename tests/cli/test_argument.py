import pytest
from typer.testing import CliRunner

from ntvl.cli import build_app
from ntvl.cli.argument import parse_number, parse_whole_number, refusing
from ntvl.cli.ping import _COUNT_MAX
from ntvl.errors import ArgumentError, UsageError
from ntvl.runtime.service import COUNT_MAX


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 7 ", 7), ("10", 10)])
def test_whole_numbers_within_bounds_are_taken(text: str, number: int) -> None:
    assert parse_whole_number("--count", text, 0, 10) == number


@pytest.mark.parametrize("text", ["", "abc", "-1", "11", "1.5", "1e3", "\u0661", "9" * 5000])
def test_anything_else_is_told_the_bounds(text: str) -> None:
    with pytest.raises(ArgumentError, match="--count takes a whole number from 0 to 10, not '") as caught:
        parse_whole_number("--count", text, 0, 10)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "-inf", "0.01", "3601"])
def test_no_number_within_bounds_is_told_the_bounds(text: str) -> None:
    assert parse_number("--interval", "0.02", 0.02, 3600) == 0.02
    with pytest.raises(ArgumentError, match=r"--interval takes a number from 0\.02 to 3600, not '"):
        parse_number("--interval", text, 0.02, 3600)


def test_what_is_wrong_while_arguments_are_judged_is_an_argument() -> None:
    with pytest.raises(ArgumentError, match="no such thing"), refusing():
        raise UsageError("no such thing")


def test_the_command_and_the_node_count_equally_far() -> None:
    assert _COUNT_MAX == COUNT_MAX


@pytest.mark.parametrize(
    "words",
    [["status"], ["ping", "x"], ["why", "x"], ["node", "--community", "home"]],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("nothing", ["", " "])
def test_a_socket_without_a_name_is_refused_by_every_verb(words: list[str], nothing: str) -> None:
    done = CliRunner().invoke(build_app(words[:1]), [*words, "--socket", nothing])
    assert isinstance(done.exception, ArgumentError)
    assert str(done.exception).startswith("--socket names no file: give it the path of a control socket, such as /run/")
