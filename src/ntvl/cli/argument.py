"""Values on the command line: what is wrong with one is said in a sentence, and ends with exit status 2."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ntvl.errors import ArgumentError, UsageError

__all__ = ["check_value", "parse_number", "parse_socket", "parse_whole_number", "path_parser", "refusing"]


@contextmanager
def refusing() -> Iterator[None]:
    """Makes of a `UsageError` an `ArgumentError`: inside, nothing but what was asked for is looked at."""
    try:
        yield
    except UsageError as error:
        raise ArgumentError(str(error)) from error


def parse_whole_number(flag: str, text: str, least: int, most: int) -> int:
    """Returns what a person wrote after a flag.

    Raises:
        ArgumentError: it is no whole number within bounds, both included.
    """
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= 12 and least <= int(digits) <= most:
        return int(digits)
    raise ArgumentError(f"{flag} takes a whole number from {least} to {most}, not {text[:40]!r}.")


def parse_number(flag: str, text: str, least: float, most: float) -> float:
    """Returns what a person wrote after a flag.

    Raises:
        ArgumentError: it is no number within bounds, both included.
    """
    try:
        number = float(text)
    except ValueError:
        number = most + 1
    if least <= number <= most:
        return number
    raise ArgumentError(f"{flag} takes a number from {least:g} to {most:g}, not {text[:40]!r}.")


def check_value(flag: str, value: str | None) -> None:
    """Checks that a flag has a value, as it would not if that came from a shell variable that is empty.

    Raises:
        ArgumentError: it is followed by the next flag, or by nothing.
    """
    if value is not None and value.startswith("--"):
        raise ArgumentError(f"{flag} is followed by {value} instead of a value; is a shell variable empty?")
    if value is not None and not value.strip():
        raise ArgumentError(f"{flag} has an empty value: give it one, or leave it out; is a shell variable empty?")


def path_parser(flag: str) -> Callable[[str | Path], Path]:
    """Returns what makes a path of the value of a flag, and refuses as `check_value` does.

    A `Path` of nothing would be the directory that we are in. For a default typer calls it with what it is already.
    """

    def parse(text: str | Path) -> Path:
        check_value(flag, str(text))
        return Path(text)

    return parse


def parse_socket(text: str | Path) -> Path:
    """Returns the path of a control socket; for a default typer calls it with what it is already.

    Raises:
        ArgumentError: it names nothing, or is the next flag.
    """
    if not str(text).strip():
        raise ArgumentError(
            "--socket names no file: give it the path of a control socket, such as /run/ntvl/ntvl.sock."
        )
    return path_parser("--socket")(text)
