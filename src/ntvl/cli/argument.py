"""Values on the command line: what is wrong with one is said in a sentence, and ends with exit status 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ntvl.errors import ArgumentError, UsageError

__all__ = ["parse_number", "parse_socket", "parse_whole_number", "refusing"]


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


def parse_socket(text: str | Path) -> Path:
    """Returns the path of a control socket; for a default typer calls it with what it is already.

    Raises:
        ArgumentError: it names nothing. A `Path` of nothing would be the directory that we are in.
    """
    if not str(text).strip():
        raise ArgumentError(
            "--socket names no file: give it the path of a control socket, such as /run/ntvl/ntvl.sock."
        )
    return Path(text)
