"""How the command line shows numbers and names: short, aligned, and harmless to a terminal."""

import os
import re
import sys
from pathlib import Path
from typing import IO, Annotated, Any, Final, TextIO, cast

import typer
from rich.console import Console
from rich.text import Text

from ntvl.cli.argument import parse_socket
from ntvl.config import DEFAULT_SOCKET, DEFAULT_STATE, SUPERNODE_SOCKET
from ntvl.runtime.lines import printable
from ntvl.runtime.report import supernode_label

__all__ = [
    "SocketOption",
    "console",
    "describe_path",
    "format_bytes",
    "format_count",
    "format_milliseconds",
    "format_span",
    "path_maker",
    "path_place",
    "path_style",
    "say",
    "socket_path",
]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_WIDTH_WITHOUT_TERMINAL: Final = 160
_BLANKS: Final = re.compile(r"[ \t]+$", re.MULTILINE)

SocketOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        parser=parse_socket,
        help=f"The node's control socket. [NTVL_SOCKET] [default: {DEFAULT_SOCKET}]",
        show_default=False,
    ),
]
"""The flag of every verb that asks a running node."""


def socket_path(given: Path | None, *, or_supernode: bool = False) -> Path:
    """Returns the socket to ask: the flag's, else the environment's, else the default.

    Args:
        or_supernode: take a supernode's where no node has one.
    """
    path = given or Path(os.environ.get("NTVL_SOCKET") or DEFAULT_SOCKET)
    if or_supernode and given is None and not path.exists():
        other = Path(os.environ.get("NTVL_STATE") or DEFAULT_STATE) / SUPERNODE_SOCKET
        if other.exists():
            return other
    return path


def console(*, stderr: bool = False) -> Console:
    """Returns where to print: all text as it is, and wide enough for a table where there is no terminal to fit.

    There lines end with their last character as well: a table fills its last column with blanks.
    """
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(highlight=False, markup=False, emoji=False, stderr=stderr)
    trimmed = cast("IO[str]", _Trimmed(stream))
    return Console(file=trimmed, highlight=False, markup=False, emoji=False, width=_WIDTH_WITHOUT_TERMINAL)


def say(where: Console, text: str | Text) -> None:
    """Prints a paragraph: broken between words on a terminal, which by itself would break it inside of one."""
    where.print(text, soft_wrap=not where.is_terminal)


class _Trimmed:
    """Is a stream that blanks at the ends of lines do not get to; it is given whole lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        return self._stream.write(_BLANKS.sub("", text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream.fileno()


def format_bytes(count: int) -> str:
    """Returns an amount of data in three digits: "0 B", "999 B", "1.21 KiB", "45.7 MiB"."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    if unit == 0:
        return f"{count} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def format_count(count: int, noun: str) -> str:
    """Returns a number of things whose plural ends in s: "1 pair", "2 pairs", "1,024 packets"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_milliseconds(value: float | None) -> str:
    """Returns a round trip: "0.43 ms", "12.3 ms", "430 ms", or a dash for None."""
    if value is None:
        return "-"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} ms"


def format_span(seconds: float | None) -> str:
    """Returns a length of time in its two largest units: "8s", "2m 5s", "3h 12m", "4d 2h", or a dash for None."""
    if seconds is None:
        return "-"
    rest = int(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if rest >= size or parts or unit == "s":
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return " ".join(parts[:2])


def describe_path(peer: dict[str, Any]) -> str:
    """Returns how a peer is reached and where: "direct 203.0.113.5:4242", "relay 198.51.100.1:1971", "none"."""
    return f"{peer['path']} {path_place(peer)}".rstrip()


def path_place(peer: dict[str, Any]) -> str:
    """Returns where a path leads: the peer's address, the relay's, or nothing."""
    where = peer.get("remote") if peer["path"] in ("direct", "turn") else peer.get("via")
    return supernode_label(printable(where)) if where else ""


def path_maker(peer: dict[str, Any]) -> str:
    """Returns what makes a path: the technique of a direct one, the supernode of a relayed one, or nothing."""
    return path_place(peer) if peer.get("via") else peer.get("technique") or ""


def path_style(path: str) -> str:
    """Returns the colour of a path."""
    return {"direct": "green", "turn": "yellow", "relay": "yellow"}.get(path, "dim")
