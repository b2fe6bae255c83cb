"""`ntvl status`: a running node's own account, as JSON or as tables for a person."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from ntvl.cli.show import (
    SocketOption,
    console,
    format_bytes,
    format_count,
    format_milliseconds,
    format_span,
    path_maker,
    path_style,
    socket_path,
)
from ntvl.errors import REASONS, UsageError
from ntvl.runtime.control_client import ask
from ntvl.runtime.lines import printable
from ntvl.runtime.report import supernode_label

__all__ = ["build_view", "read_status", "status"]

_PEER_COLUMNS = ("peer", "key", "address", "path", "by", "NAT", "at", "round trip", "received", "sent", "handshake")
_DISPENSABLE = ("handshake", "sent", "received", "key", "at")
"""What is left out, in this order, where a terminal is too narrow for a table; `--json` has it all."""
_ENDLESS = Console(width=1 << 16, force_terminal=False, highlight=False, markup=False, emoji=False)
"""No terminal, for rich takes a dumb one for 80 columns wide whatever is said."""
_PUNCH = {
    "off": "--punch off: every peer is reached by relay",
    "known": "--punch known: no port is predicted or guessed",
}
_STATE_STYLES = {"registered": "green", "unreachable": "red", "refused": "red"}


def status(
    socket: SocketOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what the node, or the supernode, on this machine is doing.

    Without --socket it is the node at the default socket, or else the supernode on this machine. A supernode with a
    state directory of its own answers at supernode.sock in it.
    """
    found = read_status(socket_path(socket, or_supernode=True))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        screen = console()
        screen.print(build_view(found, screen.width))


def read_status(path: Path) -> dict[str, Any]:
    """Returns the account of the node at a control socket.

    Raises:
        UsageError: nobody answers there.
    """
    for answer in ask(path, {"verb": "status"}):
        return answer
    raise UsageError(f"The node at {path} ended before it answered.")


def build_view(found: dict[str, Any], width: int) -> RenderableType:
    """Returns a status, a node's or a supernode's, as a person likes to read it on a terminal of `width` columns."""
    if "supernode" in found:
        return Group(*_supernode_parts(found), *_troubles(found))
    parts: list[RenderableType] = [_head(found), _port_mapping(found["port_mapping"])]
    if found["turn"]["server"]:
        parts.append(_turn(found["turn"]))
    punch = _PUNCH.get(found["node"]["punch"])
    if punch is not None:
        parts.append(Text(punch, style="yellow"))
    for community in found["communities"]:
        parts += ["", _community_head(community), _peers(community["peers"], width)]
    parts += ["", Text("supernodes", style="bold"), _supernodes(found["supernodes"])]
    return Group(*parts, *_troubles(found))


def _troubles(found: dict[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if found["drops"]:
        parts += ["", Text("dropped", style="bold"), _drops(found["drops"])]
    if found["faults"]:
        words = ", ".join(f"{place} ({format_count(times, 'time')})" for place, times in found["faults"].items())
        parts += ["", Text(f"survived bugs, please report them with the log: {printable(words)}", style="red")]
    return parts


def _supernode_parts(found: dict[str, Any]) -> list[RenderableType]:
    supernode = found["supernode"]
    parts: list[RenderableType] = [
        Text.assemble(
            ("supernode", "bold"),
            f"  {supernode['key']}  port {supernode['port']}  up {format_span(supernode['uptime_s'])}  "
            f"ntvl {supernode['version']}  engine {found['engine']['name']}",
        ),
        Text(
            f"{format_count(found['members'], 'member')}, {format_count(found['sessions'], 'session')}; "
            f"relayed {format_bytes(found['relayed_bytes'])} in {format_count(found['relayed_packets'], 'packet')}"
        ),
    ]
    for community in found["communities"]:
        parts += ["", Text(printable(community["name"]), style="bold"), _members(community["members"])]
    return parts


def _members(members: list[dict[str, Any]]) -> Table:
    table = _table("member", "address", "seen at", "silent for", "relayed", right=("silent for", "relayed"))
    for member in sorted(members, key=lambda m: (m["name"].casefold(), m["id"])):
        table.add_row(
            printable(member["name"]) or member["id"][:8],
            _first_address(member),
            member["observed"] or "-",
            format_span(member["silent_s"]),
            format_bytes(member["relayed_bytes"]),
        )
    return table


def _head(found: dict[str, Any]) -> Text:
    node, engine = found["node"], found["engine"]
    offloads = ", ".join(engine["offloads"]) or "none"
    return Text.assemble(
        (printable(node["name"]), "bold"),
        f"  {node['id'][:8]}  up {format_span(node['uptime_s'])}  ntvl {node['version']}  engine {engine['name']}",
        (f" (offloads: {offloads})", "dim"),
    )


def _port_mapping(shown: dict[str, Any]) -> Text:
    """Returns one line: where the port is mapped and by what, or in short why it is not."""
    if not shown["enabled"]:
        return Text("port mapping off", style="dim")
    outcomes = shown["outcomes"]
    if shown["mapped"]:
        by = ", ".join(f"{o['protocol']} at {o['gateway']}" for o in outcomes if o["state"] == "mapped")
        return Text(f"port mapped at {', '.join(shown['mapped'])} by {printable(by)}", style="green")
    fares = ", ".join(f"{o['protocol']} {o['state']}" for o in outcomes) or "no gateway"
    return Text(f"port not mapped: {printable(fares)}", style="dim")


def _turn(shown: dict[str, Any]) -> Text:
    """Returns one line: what the TURN server lends, or why it lends nothing."""
    if shown["relayed"]:
        return Text(f"relayed at {shown['relayed']} by {printable(shown['server'])}", style="green")
    return Text(f"not relayed by {printable(shown['server'])}: {printable(shown['reason'] or '')}", style="yellow")


def _community_head(community: dict[str, Any]) -> Text:
    addresses = ", ".join(community["addresses"]) or "no address yet"
    return Text.assemble(
        (community["name"], "bold"),
        f"  {community['device']}  {addresses}",
        (f"  mtu {community['mtu']}  {community['mac']}", "dim"),
    )


def _table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for column in columns:
        justify: JustifyMethod = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column not in ("at", "by", "reason"), overflow="fold")
    return table


def _peers(peers: list[dict[str, Any]], width: int) -> RenderableType:
    if not peers:
        return Text("  nobody else is here yet", style="dim")
    order = {"direct": 0, "turn": 1, "relay": 1}
    peers = sorted(peers, key=lambda p: (order.get(p["path"], 2), p["name"].casefold(), p["id"]))
    columns = list(_PEER_COLUMNS)
    table = _peer_table(peers, columns)
    for column in _DISPENSABLE:
        if _ENDLESS.measure(table).maximum <= width:
            break
        columns.remove(column)
        table = _peer_table(peers, columns)
    return table


def _peer_table(peers: list[dict[str, Any]], columns: list[str]) -> Table:
    table = _table(*columns, right=("round trip", "received", "sent", "handshake"))
    for peer in peers:
        cells: dict[str, str | Text] = {
            "peer": printable(peer["name"]) or "-",
            "key": peer["id"][:8],
            "address": _first_address(peer),
            "path": Text(peer["path"], style=path_style(peer["path"])),
            "by": printable(path_maker(peer)) or "-",
            "NAT": _nat_word(peer),
            "at": peer["remote"] or "-",
            "round trip": format_milliseconds(peer["rtt_ms"]),
            "received": format_bytes(peer["rx_bytes"]),
            "sent": format_bytes(peer["tx_bytes"]),
            "handshake": format_span(peer["handshake_age_s"]),
        }
        table.add_row(*(cells[column] for column in columns))
    return table


def _nat_word(peer: dict[str, Any]) -> str:
    nat = peer.get("nat")
    return (nat["remote"]["word"] if nat else None) or "-"


def _first_address(entry: dict[str, Any]) -> str:
    return next((printable(address).partition("/")[0] for address in entry["addresses"]), "-")


def _supernodes(supernodes: list[dict[str, Any]]) -> Table:
    table = _table("address", "state", "over", "round trip", "sees us at", right=("round trip",))
    for supernode in supernodes:
        table.add_row(
            supernode_label(supernode["url"]),
            Text(supernode["state"], style=_STATE_STYLES.get(supernode["state"], "yellow")),
            supernode.get("over") or "-",
            format_milliseconds(supernode["rtt_ms"]),
            supernode["observed"] or "-",
        )
    return table


def _drops(drops: dict[str, int]) -> Table:
    table = _table("times", "reason", right=("times",))
    for reason, times in sorted(drops.items(), key=lambda drop: -drop[1]):
        table.add_row(f"{times:,}", Text.assemble(reason, (f"  {REASONS.get(reason, '')}", "dim")))
    return table
