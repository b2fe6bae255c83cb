"""`ntvl netcheck`: what the NATs in front of this computer do, and which direct paths that allows.

All of it is longer than a terminal, so what matters most comes last: what was found, what it allows, and the verdict.
"""

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ntvl.cli.argument import refusing
from ntvl.cli.show import console, format_milliseconds
from ntvl.errors import UsageError
from ntvl.nat import KINDS, Filtering, Mapping, PortAllocation, direct_path_possible
from ntvl.proto.nat_report import NOTES, NatReport, Pooling
from ntvl.runtime.lines import printable
from ntvl.runtime.netcheck import FAMILIES, Netcheck, family_of, parse_servers, run_netcheck
from ntvl.runtime.stream_check import WORKS
from ntvl.wire.address import Address

__all__ = ["OTHERS", "build_view", "describe", "judge", "netcheck"]

OTHERS: Final[dict[str, str]] = {
    "open": "no NAT and no firewall",
    "firewall": "a firewall without NAT",
    "eim-eif": "a NAT that lets anybody in",
    "eim-adf": "a NAT that filters by address",
    "eim-apdf": "a home router: one port for all, filters by port",
    "apdm-sequential": "a NAT with the next port for each peer",
    "apdm-random": "a NAT with a random port for each peer",
    "cgn": "a home router behind a carrier's NAT with random ports",
}
"""Kinds of NAT of the other side, in words; others of `ntvl.nat.KINDS` look like one of these."""

_NOT_MEASURED: Final = ("no-server", "no-family")
_SAID_LAST: Final = ("no-answer", *_NOT_MEASURED)
"""Notes that the last line has already."""
_INDENT: Final = (0, 0, 0, 2)
_WIDTH: Final = 80
_MAPPINGS: Final = {
    Mapping.ENDPOINT_INDEPENDENT: "all peers see the same port",
    Mapping.ADDRESS_DEPENDENT: "each peer's address sees another port",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "each peer sees another port",
}
_FILTERINGS: Final = {
    Filtering.ENDPOINT_INDEPENDENT: "anybody gets in",
    Filtering.ADDRESS_DEPENDENT: "addresses that were sent to get in",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "only who was sent to gets in",
}


def netcheck(
    supernode: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A supernode to ask. Repeat it: two tell more than one. [NTVL_SUPERNODE]"),
    ] = None,
    stun: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="A STUN server to ask, port 3478 if none is given. May be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find out what the NATs and firewalls in front of this computer do to UDP, and what that allows.

    It needs no privilege and no running node, and takes at most 5 seconds. The exit status is 0 if UDP works.
    """
    urls = list(supernode or ())
    if not urls and not stun:
        urls = os.environ.get("NTVL_SUPERNODE", "").split()
    with refusing():
        servers = parse_servers(urls, stun or ())
        if not servers:
            raise UsageError("Name a server to ask with --supernode URL or --stun HOST:PORT, better two.")
    found = run_netcheck(servers, os.environ)
    if as_json:
        print(json.dumps(describe(found), indent=2, ensure_ascii=False))
    else:
        screen = console()
        screen.print(build_view(found), width=min(_WIDTH, screen.width))
    raise typer.Exit(0 if found.report.udp else 1)


def describe(found: Netcheck) -> dict[str, Any]:
    """Returns everything for programs."""
    report = found.report
    fields: dict[str, Any] = msgspec.to_builtins(report)
    del fields["servers"]
    return {
        **fields,
        "udp": report.udp if _is_measured(report) else None,
        "confidence": str(report.confidence),
        "direct": {kind: judge(report, kind) for kind in KINDS} if report.udp else {},
        "servers": [
            {
                "address": str(each.address),
                "rtt_ms": None if each.rtt_s is None else round(each.rtt_s * 1000, 3),
                "seen_at": None if each.seen_at is None else str(each.seen_at),
                "has_other_port": each.has_other_port,
            }
            for each in report.servers
        ],
        "unresolved": {server.name: server.problem for server in found.servers if server.problem},
        "unreachable": {str(address): _no_way(address) for address in found.not_asked},
        "proxies": found.proxies,
        "port_mapping": {each.gateway: list(each.protocols) for each in found.gateways},
        "streams": found.streams,
        "proxy_needed": found.proxy_needed,
        "captive_portal": found.portal or None,
        "drops": dict(sorted(sum((each.drops for each in found.gateways), Counter[str]()).items())),
    }


def judge(report: NatReport, kind: str) -> str:
    """Returns whether a direct path to a kind of NAT is possible: "direct", "relay", or "unknown" with this report."""
    allocations = (PortAllocation.SEQUENTIAL, PortAllocation.RANDOM) if not report.allocation else (report.allocation,)
    verdicts = {
        direct_path_possible(
            replace(report, mappings=(mapping,), filterings=(filtering,), allocation=allocation).chain(),
            KINDS[kind],
            techniques="all",
        )
        for mapping, filtering, allocation in itertools.product(report.mappings, report.filterings, allocations)
    }
    return "unknown" if len(verdicts) > 1 else "direct" if verdicts == {True} else "relay"


def build_view(found: Netcheck) -> RenderableType:
    """Returns what a person reads, fit for 80 columns."""
    report = found.report
    parts: list[RenderableType] = [Text("servers", style="bold"), _servers(found)]
    if found.streams:
        parts += ["", Text("supernodes without UDP", style="bold"), _streams(found)]
    notes = [code for code in report.notes if report.udp or code not in _SAID_LAST]
    if notes:
        parts += ["", Text("what could not be found out, or not for sure", style="bold")]
        parts += [_item(NOTES[code]) for code in notes]
    parts += ["", Text("what was found out", style="bold"), _facts(found)]
    if report.udp and report.translated is not None:
        parts += ["", Text("a direct path to a peer behind", style="bold"), _prospects(report)]
    return Group(*parts, "", Text(_verdict(found), style="bold"))


def _verdict(found: Netcheck) -> str:
    report = found.report
    is_reached = any(WORKS in ways.values() for ways in found.streams.values())
    if found.portal and not report.udp and not is_reached:
        place = "" if found.portal == "?" else f" at {found.portal}"
        return f"A captive portal stands between this computer and the Internet: log in{place} with a browser first."
    if not _is_measured(report):
        return _why_not_measured(found, is_reached=is_reached)
    if found.proxy_needed:
        return "Nothing but the HTTP proxy gets out of here; supernodes are reached through it."
    if not report.udp and is_reached:
        return "UDP is blocked here; supernodes are reached over TCP all the same."
    if not report.udp:
        return "No server answers over UDP: it is blocked here, or none of them runs."
    if report.translated is None:
        return "UDP works over IPv6."
    if not report.translated:
        if len(report.filterings) > 1 and Filtering.ENDPOINT_INDEPENDENT in report.filterings:
            return "UDP works. This computer is behind no NAT, but perhaps a firewall."
        is_open = report.filtering is Filtering.ENDPOINT_INDEPENDENT
        return f"UDP works. This computer is behind {'neither NAT nor' if is_open else 'no NAT, but a'} firewall."
    return "UDP works. This computer is behind a NAT."


def _why_not_measured(found: Netcheck, *, is_reached: bool) -> str:
    if "no-family" not in found.report.notes:
        if is_reached:
            return "No server's name resolves here, so UDP was not measured; the HTTP proxy reaches a supernode."
        return "No server's name resolves here, so nothing was measured."
    lacks = " or ".join(family for family in FAMILIES if family not in found.ways)
    if is_reached:
        return (
            f"This computer has no way out over {lacks}, so UDP was not measured; the HTTP proxy reaches a supernode."
        )
    if not found.ways:
        return f"This computer has no way out over {lacks}: it is in no network, or has no default route."
    return (
        f"This computer has no way out over {lacks}, and no server was named with another address: name one by its "
        f"{found.ways[0]} address."
    )


def _is_measured(report: NatReport) -> bool:
    """Returns whether any server could be asked."""
    return report.udp or not set(_NOT_MEASURED) & set(report.notes)


def _facts(found: Netcheck) -> RenderableType:
    report = found.report
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    if report.translated is not None:
        table.add_row("public address", ", ".join(report.addresses))
        if report.translated:
            table.add_row("mapping", _possible(report.mappings, _MAPPINGS))
        table.add_row("filtering", _possible(report.filterings, _FILTERINGS))
        if report.translated:
            table.add_row("ports", _ports(report))
            table.add_row("addresses", _pooling(report))
            table.add_row("hairpinning", {True: "yes", False: "no", None: "unknown"}[report.hairpin])
    table.add_row("IPv6", _ipv6(found))
    table.add_row("port mapping", _port_mapping(found))
    proxies = [f"{name}={printable(value)}" for name, value in found.proxies.items()]
    table.add_row("HTTP proxy", ", ".join(proxies) or "none in the environment")
    if report.udp:
        table.add_row("confidence", str(report.confidence))
    return Padding(table, _INDENT)


def _port_mapping(found: Netcheck) -> str:
    words = [
        f"{', '.join(each.protocols) or 'neither PCP nor NAT-PMP nor UPnP'} at {each.gateway}"
        for each in found.gateways
    ]
    return "; ".join(words) or "no gateway to ask"


def _possible(facts: Iterable[Mapping] | Iterable[Filtering], words: dict[Any, str]) -> str:
    known = list(facts)
    if len(known) == 1:
        return f"{known[0]}: {words[known[0]]}"
    return "unknown" if len(known) == len(words) else " or ".join(known)


def _ports(report: NatReport) -> str:
    seen = "" if report.ports is None else f"{report.ports[0]} to {report.ports[1]} seen"
    match report.allocation:
        case PortAllocation.PRESERVING:
            return "preserving: a program's own port is kept"
        case PortAllocation.SEQUENTIAL:
            return f"sequential: {report.step:+d} for each; {seen}"
        case PortAllocation.BLOCK_RANDOM:
            return f"random in a block of about {report.block_ports}; {seen}"
        case PortAllocation.RANDOM:
            return f"random; {seen}"
    return f"unknown; {seen}" if seen else "unknown"


def _pooling(report: NatReport) -> str:
    if report.pooling is Pooling.ARBITRARY:
        return "arbitrary: several public addresses by turns"
    return "unknown" if report.pooling is None else "paired: always the same public address"


def _ipv6(found: Netcheck) -> str:
    report = found.report
    if "IPv6" not in found.ways:
        return "no way out"
    if not report.ipv6_address:
        asked = any(server.address.is_ipv6 for server in report.servers)
        return "no answer" if asked else "not tried: no server with an IPv6 address"
    return f"works, {'translated' if report.ipv6_translated else 'not translated'}: {report.ipv6_address}"


def _prospects(report: NatReport) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for kind, words in OTHERS.items():
        verdict = judge(report, kind)
        shown = {"direct": "yes", "relay": "no, by relay", "unknown": "unknown"}[verdict]
        table.add_row(words, Text(shown, style={"direct": "green", "relay": "yellow"}.get(verdict, "dim")))
    return Padding(table, _INDENT)


def _servers(found: Netcheck) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("address", overflow="fold")
    table.add_column("round trip", justify="right", no_wrap=True)
    table.add_column("sees us at", overflow="fold")
    for server in found.report.servers:
        rtt = None if server.rtt_s is None else server.rtt_s * 1000
        table.add_row(
            str(server.address), format_milliseconds(rtt), str(server.seen_at) if server.seen_at else "no answer"
        )
    for address in found.not_asked:
        table.add_row(str(address), "-", _no_way(address))
    for named in found.servers:
        if named.problem:
            table.add_row(printable(named.name), "-", f"not resolved: {printable(named.problem)}")
    return Padding(table, _INDENT)


def _no_way(address: Address) -> str:
    return f"no way out over {family_of(address)}"


def _streams(found: Netcheck) -> RenderableType:
    urls = {server.name: server.url for server in found.servers}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, ways in found.streams.items():
        url = urls.get(name)
        for kind, words in ways.items():
            port = "" if url is None else f" {url.port if kind == 'tcp' else url.wss}"
            label = {"tcp": f"TCP{port}", "wss": f"TLS{port}", "proxy": "HTTP proxy"}[kind]
            table.add_row(printable(name), label, Text(printable(words), style="green" if words == WORKS else "yellow"))
    return Padding(table, _INDENT)


def _item(text: str) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_row("-", Text(text))
    return Padding(table, _INDENT)
