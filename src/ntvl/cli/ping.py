"""`ntvl ping`: round trips to a peer through the overlay, each with the way that its reply took."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from ntvl.cli.argument import parse_number, parse_whole_number
from ntvl.cli.show import SocketOption, console, describe_path, format_milliseconds, path_style, socket_path
from ntvl.runtime.control_client import ask
from ntvl.runtime.lines import printable

__all__ = ["Tally", "ping"]

_COUNT_MAX: Final = 1_000_000
"""What a node takes, too."""


def ping(
    peer: Annotated[
        str, typer.Argument(metavar="PEER", help="Name, address or the start of a key, as `ntvl status` shows them.")
    ],
    count: Annotated[
        str,
        typer.Option("-c", "--count", metavar="N", help="End after so many; 0: at Ctrl-C. [default: 0]"),
    ] = "0",
    interval: Annotated[
        str,
        typer.Option("-i", "--interval", metavar="SECONDS", help="Wait between two, 0.02 to 3600. [default: 1]"),
    ] = "1",
    socket: SocketOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Measure the way to a peer, and say which way it is.

    Exits with 0 if anything came back, with 1 if nothing did.
    """
    times = parse_whole_number("--count", count, 0, _COUNT_MAX)
    interval_s = parse_number("--interval", interval, 0.02, 3600)
    question = {"verb": "ping", "peer": peer, "count": times, "interval_s": interval_s}
    answers = ask(socket_path(socket), question, patience_s=interval_s + 10.0)
    tally = Tally()
    try:
        _show(answers, tally, as_json=as_json)
    except KeyboardInterrupt:
        if not as_json:
            print()
    if as_json:
        print(json.dumps({"summary": tally.summary()}), flush=True)
    elif tally.sent:
        console().print(tally.sentence())
    raise typer.Exit(0 if tally.received else 1)


def _show(answers: Iterator[dict[str, Any]], tally: "Tally", *, as_json: bool) -> None:
    screen = console()
    name = ""
    for answer in answers:
        changed = tally.add(answer) if "sequence" in answer else False
        if as_json:
            print(json.dumps({**answer, "changed": changed} if "sequence" in answer else answer), flush=True)
        elif "to" in answer:
            to = answer["to"]
            name = printable(to["name"] or to["id"][:8])
            address = next((a.partition("/")[0] for a in to["addresses"]), to["id"][:8])
            screen.print(f"pinging {name} ({printable(address)}) in {to['community']}")
        elif answer["rtt_ms"] is None:
            gone = answer["reason"] == "gone"
            screen.print(f"{answer['sequence']:>3}  {f'{name} has left' if gone else 'no reply'}", style="red")
        else:
            way = describe_path(answer)
            line = Text(f"{answer['sequence']:>3}  {format_milliseconds(answer['rtt_ms']):>9}  ")
            line.append(way, path_style(answer["path"]))
            line.append("  path changed" if changed else "", "bold")
            screen.print(line)


class Tally:
    """Counts pings and what came back."""

    def __init__(self) -> None:
        self.sent = 0
        self.paths: dict[str, int] = {}
        self._rtts_ms: list[float] = []
        self._way: tuple[str, str | None] | None = None

    @property
    def received(self) -> int:
        """Returns how many were answered."""
        return len(self._rtts_ms)

    def add(self, reply: dict[str, Any]) -> bool:
        """Takes one reply, or the news that none came; returns whether it took another way than the one before."""
        self.sent += 1
        if reply["rtt_ms"] is None:
            return False
        self._rtts_ms.append(reply["rtt_ms"])
        path = reply["path"]
        self.paths[path] = self.paths.get(path, 0) + 1
        before, self._way = self._way, (path, reply["remote"] if path in ("direct", "turn") else reply["via"])
        return before is not None and before != self._way

    def summary(self) -> dict[str, Any]:
        """Returns the end result: counts, loss, round trips in milliseconds, replies by path."""
        rtts = self._rtts_ms
        return {
            "sent": self.sent,
            "received": self.received,
            "min_ms": round(min(rtts), 3) if rtts else None,
            "avg_ms": round(sum(rtts) / len(rtts), 3) if rtts else None,
            "max_ms": round(max(rtts), 3) if rtts else None,
            "paths": self.paths,
        }

    def sentence(self) -> str:
        """Returns the summary in two lines, or one where nothing came back."""
        lost = f"{100 * (self.sent - self.received) / self.sent:.0f}% lost"
        if not self._rtts_ms:
            return f"{self.sent} sent, nothing came back"
        rtts = self._rtts_ms
        ways = ", ".join(f"{times} {path}" for path, times in self.paths.items())
        spread = " / ".join(format_milliseconds(v) for v in (min(rtts), sum(rtts) / len(rtts), max(rtts)))
        return f"{self.sent} sent, {self.received} received ({ways}), {lost}\nmin / avg / max {spread}"
