"""`ntvl why`: why a peer is reached as it is, in one paragraph, with what both ends tried below it.

What a person reads fits a terminal of 24 rows as a rule: of several attempts the last is shown, and what several
techniques came to alike is said once. Programs, and those who ask for all, get every record.
"""

import json
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ntvl.cli.show import SocketOption, console, format_count, format_milliseconds, format_span, socket_path
from ntvl.errors import UsageError
from ntvl.proto.duration import format_duration
from ntvl.runtime.control_client import ask
from ntvl.runtime.lines import printable
from ntvl.runtime.report import supernode_label

__all__ = ["build_view", "paragraph", "why"]

_WIDTH: Final = 80
_PLACES_MAX: Final = 4
_UNREACHED: Final = ("silent", "out-of-reach")
"""Causes that leave no way to be told of."""
_RAN: Final = ("direct", "no-reply")
"""Verdicts that need no reason."""


def why(
    peer: Annotated[
        str, typer.Argument(metavar="PEER", help="Name, address or the start of a key, as `ntvl status` shows them.")
    ],
    socket: SocketOption = None,
    with_all: Annotated[
        bool, typer.Option("--all", help="Show all that is on record, not the last attempt alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with all that is on record.")] = False,
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
        screen.print(build_view(found, with_all=with_all), width=min(_WIDTH, screen.width))


def paragraph(found: dict[str, Any]) -> str:
    """Returns the cause, what to do, and how things are until then."""
    parts = [found["sentence"], found["fix"]]
    if found["path"] == "direct":
        age = "" if found["since_s"] is None else f"It has been so for {format_duration(found['since_s'])}"
        parts.append(f"{age}, with a round trip of {format_milliseconds(found['rtt_ms'])}." if age else "")
    elif found["path"] != "none" and found["cause"] not in _UNREACHED:
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


def build_view(found: dict[str, Any], *, with_all: bool = False) -> RenderableType:
    """Returns what a person reads, fit for 80 columns: of the attempts the last alone, or all of them."""
    name = printable(found["name"])
    address = next((printable(a).partition("/")[0] for a in found["addresses"]), found["id"][:8])
    parts: list[RenderableType] = [
        Text.assemble((name, "bold"), f" ({address}) in {printable(found['community'])}"),
        "",
        Text(paragraph(found)),
        "",
        _ends(found, name, with_all=with_all),
    ]
    ladder = found["ladder"] if with_all else _real_steps(found["ladder"])
    shown = ladder if with_all else [rung for rung in ladder if rung["attempt"] == ladder[-1]["attempt"]]
    if shown:
        parts += ["", _ladder(shown, name, with_all=with_all)]
    if len(shown) < len(ladder):
        earlier = format_count(len(ladder) - len(shown), "earlier step")
        parts.append(Text(f"{earlier} left out; --all shows everything.", style="dim"))
    return Group(*parts)


def _real_steps(ladder: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the steps without those that neither end took: both may begin an attempt at one moment, and the second
    then ends where it begins, with the path that the first has found.
    """
    return [rung for rung in ladder if {end["verdict"] for end in _both(rung) if end} != {"not-needed"}]


def _both(rung: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    return rung["local"], rung["remote"]


def _table(*columns: str, wrapped: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column != wrapped, overflow="fold")
    return table


def _ends(found: dict[str, Any], name: str, *, with_all: bool) -> Table:
    table = _table("end", "NAT", "may be reached at", wrapped="may be reached at")
    for label, end in (("here", found["ends"]["local"]), (name, found["ends"]["remote"])):
        places = [printable(each) for each in end["candidates"]]
        if len(places) > _PLACES_MAX and not with_all:
            places = [*places[:_PLACES_MAX], f"{len(places) - _PLACES_MAX} more"]
        table.add_row(label, end["nat"]["word"] or "unknown", ", ".join(places) or "-")
    return table


def _ladder(ladder: list[dict[str, Any]], name: str, *, with_all: bool) -> Table:
    """Returns steps, oldest first: packets and verdicts of this end and of the other, the details of those that ran
    only `with_all`.
    """
    table = _table("technique", "ago", f"packets here/{name}", "verdict", wrapped="verdict")
    for rungs in _rows(ladder):
        ends = _both(rungs[0])
        table.add_row(
            ",\n".join(printable(rung["technique"]) for rung in rungs),
            format_span(rungs[0]["ago_s"]),
            "/".join(_packets(end) for end in ends),
            _verdict(ends, name, with_all=with_all),
        )
    return table


def _rows(ladder: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Returns the steps by row: techniques of one attempt that were left out for the same reason share one."""
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for number, rung in enumerate(ladder):
        ends = [None if end is None else (end["verdict"], end["detail"]) for end in _both(rung)]
        is_left_out = all(end is None or end[0] == "not-applicable" for end in ends)
        rows.setdefault((rung["attempt"], *ends) if is_left_out else (number,), []).append(rung)
    return list(rows.values())


def _packets(end: dict[str, Any] | None) -> str:
    return "-" if end is None or end["verdict"] == "not-applicable" else f"{end['packets']:,}"


def _verdict(ends: tuple[dict[str, Any] | None, dict[str, Any] | None], name: str, *, with_all: bool) -> str:
    words = ["" if end is None else _words(end, with_all=with_all) for end in ends]
    if words[0] == words[1] or not words[1]:
        return words[0]
    return "; ".join(f"{label}: {said}" for label, said in zip(("here", name), words, strict=True) if said)


def _words(end: dict[str, Any], *, with_all: bool) -> str:
    verdict = printable(end["verdict"])
    is_told = end["detail"] and (with_all or verdict not in _RAN)
    return f"{verdict}: {printable(end['detail'])}" if is_told else verdict
