"""`ntvl why`: why a peer is reached as it is, in one paragraph, with what both ends tried below it."""

import json
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ntvl.cli.show import SocketOption, console, format_milliseconds, format_span, socket_path
from ntvl.errors import UsageError
from ntvl.proto.duration import format_duration
from ntvl.runtime.control_client import ask
from ntvl.runtime.lines import printable
from ntvl.runtime.report import supernode_label

__all__ = ["build_view", "paragraph", "why"]

_WIDTH: Final = 80
_ROWS_MAX: Final = 8
_PLACES_MAX: Final = 4


def why(
    peer: Annotated[
        str, typer.Argument(metavar="PEER", help="Name, address or the start of a key, as `ntvl status` shows them.")
    ],
    socket: SocketOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say why a peer is reached as it is: one cause, one thing to do about it, and what both ends have tried.

    The peer is asked for its side; it takes at most 1.5 seconds.
    """
    path = socket_path(socket)
    found = next(ask(path, {"verb": "why", "peer": peer}), None)
    if found is None:
        raise UsageError(f"The node at {path} ended before it answered.")
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        screen = console()
        screen.print(build_view(found), width=min(_WIDTH, screen.width))


def paragraph(found: dict[str, Any]) -> str:
    """Returns the cause, what to do, and how things are until then."""
    parts = [found["sentence"], found["fix"]]
    if found["path"] == "direct":
        age = "" if found["since_s"] is None else f"It has been so for {format_duration(found['since_s'])}"
        parts.append(f"{age}, with a round trip of {format_milliseconds(found['rtt_ms'])}." if age else "")
    elif found["path"] != "none":
        via = f" by {supernode_label(found['via'])}" if found["via"] else ""
        words = {"relay": "relayed", "turn": "relayed by a TURN server"}
        word = words.get(found["path"], f"reached by {found['path']}")
        rtt = "" if found["rtt_ms"] is None else f", {format_milliseconds(found['rtt_ms'])}"
        parts.append(f"Until then it is {word}{via}{rtt}.")
    if found["retry_s"] is not None:
        parts.append(f"The next attempt comes in {format_duration(found['retry_s'])}.")
    if found["note"]:
        parts.append(found["note"])
    return printable(" ".join(part for part in parts if part))


def build_view(found: dict[str, Any]) -> RenderableType:
    """Returns what a person reads, fit for 80 columns."""
    name = printable(found["name"])
    address = next((printable(a).partition("/")[0] for a in found["addresses"]), found["id"][:8])
    parts: list[RenderableType] = [
        Text.assemble((name, "bold"), f" ({address}) in {printable(found['community'])}"),
        "",
        Text(paragraph(found)),
        "",
        _ends(found, name),
    ]
    if found["ladder"]:
        parts += ["", _ladder(found["ladder"], name)]
    return Group(*parts)


def _table(*columns: str, wrapped: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column != wrapped, overflow="fold")
    return table


def _ends(found: dict[str, Any], name: str) -> Table:
    table = _table("end", "NAT", "may be reached at", wrapped="may be reached at")
    for label, end in (("here", found["ends"]["local"]), (name, found["ends"]["remote"])):
        places = [printable(each) for each in end["candidates"]]
        more = [f"{len(places) - _PLACES_MAX} more"] if len(places) > _PLACES_MAX else []
        table.add_row(label, end["nat"]["word"] or "unknown", ", ".join(places[:_PLACES_MAX] + more) or "-")
    return table


def _ladder(ladder: list[dict[str, Any]], name: str) -> Table:
    """Returns the last steps, oldest first: packets and verdicts of this end and of the other."""
    table = _table("technique", "ago", f"packets here/{name}", "verdict", wrapped="verdict")
    for rung in ladder[-_ROWS_MAX:]:
        ends = (rung["local"], rung["remote"])
        packets = "/".join(_packets(end) for end in ends)
        table.add_row(printable(rung["technique"]), format_span(rung["ago_s"]), packets, _verdict(ends, name))
    return table


def _packets(end: dict[str, Any] | None) -> str:
    return "-" if end is None or end["verdict"] == "not-applicable" else f"{end['packets']:,}"


def _verdict(ends: tuple[dict[str, Any] | None, dict[str, Any] | None], name: str) -> str:
    words = ["" if end is None else _words(end) for end in ends]
    if words[0] == words[1] or not words[1]:
        return words[0]
    return "; ".join(f"{label}: {said}" for label, said in zip(("here", name), words, strict=True) if said)


def _words(end: dict[str, Any]) -> str:
    verdict = printable(end["verdict"])
    return f"{verdict}: {printable(end['detail'])}" if end["detail"] else verdict
