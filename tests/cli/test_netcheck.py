"""What a person reads of a report."""

import json
from collections import Counter
from io import StringIO

import pytest
from rich.console import Console

from ntvl.cli.netcheck import OTHERS, build_view, describe, judge
from ntvl.identity.url import parse_supernode_url
from ntvl.nat import KINDS, Filtering, Mapping, PortAllocation, direct_path_possible
from ntvl.proto.nat_report import NOTES, NatReport, Pooling, ServerReport
from ntvl.runtime.netcheck import Netcheck, Server
from ntvl.runtime.presence import GatewayProtocols
from ntvl.wire.address import Address

SERVER = Address("2001:db8:1234:5678:9abc:def0:1234:5678", 1971)
FULL = NatReport(
    udp=True,
    servers=(ServerReport(SERVER, 0.0123, Address("198.51.100.9", 4000), True), ServerReport(Address("192.0.2.1", 9))),
    addresses=("198.51.100.9", "198.51.100.10"),
    translated=True,
    mappings=(Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT),
    filterings=(Filtering.ADDRESS_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT),
    allocation=PortAllocation.SEQUENTIAL,
    step=-2,
    ports=(1024, 1040),
    pooling=Pooling.ARBITRARY,
    hairpin=True,
    ipv6_address="[2001:db8::9]:4000",
    ipv6_translated=False,
    notes=tuple(NOTES),
)


def show(report: NatReport, **more: object) -> str:
    fields: dict[str, object] = {"servers": (), "proxies": {}} | more
    out = StringIO()
    view = build_view(Netcheck(report, **fields))  # type: ignore[arg-type]
    Console(file=out, width=80, highlight=False, markup=False, emoji=False).print(view)
    return out.getvalue()


def test_all_of_a_report_is_shown_within_80_columns() -> None:
    text = show(FULL, proxies={"https_proxy": "http://proxy.of.a.company.example:3128\x1b[31m"})
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    words = " ".join(text.split())
    for part in (
        "behind a NAT",
        "endpoint-independent or address-dependent",
        "sequential: -2 for each; 1024 to 1040 seen",
        "arbitrary: several public addresses by turns",
        "hairpinning yes",
        "works, not translated: [2001:db8::9]:4000",
        "https_proxy=http://proxy.of.a.company",
        "12.3 ms",
        "no answer",
        "confidence low",
        *NOTES.values(),
    ):
        assert part in words, part


@pytest.mark.parametrize(
    ("report", "head"),
    [
        (NatReport(udp=False), "it is blocked here, or none of them runs."),
        (NatReport(udp=False, notes=("no-server",)), "No server's name resolves here, so nothing was measured."),
        (NatReport(udp=True, ipv6_address="[::1]:9"), "UDP works over IPv6."),
        (NatReport(udp=True, translated=False), "no NAT, but perhaps a firewall."),
        (
            NatReport(udp=True, translated=False, filterings=(Filtering.ENDPOINT_INDEPENDENT,)),
            "neither NAT nor firewall.",
        ),
        (NatReport(udp=True, translated=False, filterings=(Filtering.ADDRESS_DEPENDENT,)), "no NAT, but a firewall."),
        (NatReport(udp=True, translated=True), "behind a NAT."),
    ],
)
def test_the_last_line_says_the_most_important(report: NatReport, head: str) -> None:
    assert show(report).splitlines()[-1].endswith(head)


def test_the_last_24_rows_have_what_was_found_what_it_allows_and_the_verdict() -> None:
    lines = [line.strip() for line in show(FULL).splitlines()]
    assert len(lines) > 24
    assert {"what was found out", "a direct path to a peer behind"} <= set(lines[-23:])


@pytest.mark.parametrize(
    ("ways", "reached", "words"),
    [
        (
            ("IPv4",),
            False,
            "no way out over IPv6, and no server was named with another address: name one by its IPv4 address.",
        ),
        (("IPv6",), False, "no way out over IPv4, and no server was named with another address: name one by its IPv6"),
        ((), False, "This computer has no way out over IPv4 or IPv6: it is in no network, or has no default route."),
        (("IPv4",), True, "no way out over IPv6, so UDP was not measured; the HTTP proxy reaches a supernode."),
    ],
)
def test_a_family_that_is_missing_here_is_not_laid_to_servers(ways: tuple[str, ...], reached: bool, words: str) -> None:
    host = "192.0.2.1" if ways == ("IPv6",) else "2001:db8::10"
    server = Server("sn", host, 1971, (Address(host, 1971),))
    streams = {"sn": {"proxy": "works" if reached else "no answer"}}
    report = NatReport(udp=False, notes=("no-family",))
    text = " ".join(show(report, servers=(server,), streams=streams, ways=ways).split())
    assert words in text
    assert f"{server.addresses[0]} - no way out over {'IPv4' if ways == ('IPv6',) else 'IPv6'}" in text
    assert NOTES["no-family"] not in text, "the verdict says it"
    said = describe(Netcheck(report, (server,), {}, ways=ways))
    assert said["udp"] is None
    assert said["unreachable"] == {str(server.addresses[0]): text.partition(" - ")[2].partition(" supernodes")[0]}


def test_an_address_that_is_not_asked_is_no_silent_server() -> None:
    server = Server("sn", "sn", 1971, (Address("192.0.2.1", 1971), Address("2001:db8::10", 1971)))
    report = NatReport(udp=True, translated=True, servers=(ServerReport(server.addresses[0], 0.01),))
    words = " ".join(show(report, servers=(server,), ways=("IPv4",)).split())
    assert "[2001:db8::10]:1971 - no way out over IPv6" in words
    assert "IPv6 no way out port mapping" in words


def test_where_no_name_resolves_nothing_is_said_of_udp() -> None:
    found = Netcheck(NatReport(udp=False, notes=("no-server",)), (), {})
    assert describe(found)["udp"] is None
    text = show(found.report, streams={"sn.example:1971": {"proxy": "works"}})
    assert "so UDP was not measured; the HTTP proxy reaches a supernode." in " ".join(text.split())


def test_the_port_mapping_protocols_of_each_gateway_are_shown() -> None:
    gateways = (GatewayProtocols("192.168.1.1", ("PCP", "UPnP")), GatewayProtocols("fe80::1", ()))
    words = " ".join(show(NatReport(udp=True), gateways=gateways).split())
    assert "port mapping PCP, UPnP at 192.168.1.1; neither PCP nor NAT-PMP nor UPnP at fe80::1" in words
    assert "port mapping no gateway to ask" in " ".join(show(NatReport(udp=True)).split())
    found = describe(Netcheck(NatReport(udp=False), (), {}, gateways))
    assert found["port_mapping"] == {"192.168.1.1": ["PCP", "UPnP"], "fe80::1": []}


def test_a_server_that_does_not_resolve_is_shown() -> None:
    text = show(NatReport(udp=False), servers=(Server("hub.example:1971", "hub.example", 1971, (), "no such name"),))
    assert "not resolved: no such name" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_verdict_is_given_where_all_that_is_possible_agrees(kind: str) -> None:
    certain = NatReport(
        udp=True,
        translated=True,
        mappings=(Mapping.ADDRESS_AND_PORT_DEPENDENT,),
        filterings=(Filtering.ADDRESS_AND_PORT_DEPENDENT,),
        allocation=PortAllocation.RANDOM,
    )
    expected = direct_path_possible(KINDS["apdm-random"], KINDS[kind], techniques="all")
    assert judge(certain, kind) == ("direct" if expected else "relay")
    assert judge(NatReport(udp=True, translated=True), kind) == ("direct" if expected else "unknown")


def test_every_kind_looks_to_others_like_one_that_is_named() -> None:
    own = [KINDS[kind] for kind in KINDS]
    shown = {tuple(direct_path_possible(mine, KINDS[kind], techniques="all") for mine in own) for kind in OTHERS}
    every = {tuple(direct_path_possible(mine, KINDS[kind], techniques="all") for mine in own) for kind in KINDS}
    assert every == shown


def test_json_has_every_possibility_and_verdict() -> None:
    said = json.loads(json.dumps(describe(Netcheck(FULL, (), {"http_proxy": "x"}))))
    assert said["mappings"] == ["endpoint-independent", "address-dependent"]
    assert said["servers"][0] == {
        "address": str(SERVER),
        "rtt_ms": 12.3,
        "seen_at": "198.51.100.9:4000",
        "has_other_port": True,
    }
    assert set(said["direct"]) == set(KINDS)
    assert said["proxies"] == {"http_proxy": "x"}


def test_streams_are_shown_with_their_ports_and_a_network_without_udp_is_called_so() -> None:
    server = Server("sn:1971", "sn", 1971, url=parse_supernode_url("sn?wss=8443"))
    streams = {"sn:1971": {"tcp": "no answer", "wss": "works", "proxy": "works"}}
    text = " ".join(show(NatReport(udp=False), servers=(server,), streams=streams).split())
    assert "UDP is blocked here; supernodes are reached over TCP all the same." in text
    for row in ("sn:1971 TCP 1971 no answer", "sn:1971 TLS 8443 works", "sn:1971 HTTP proxy works"):
        assert row in text


def test_a_captive_portal_and_a_proxy_that_is_needed_are_said() -> None:
    blocked = NatReport(udp=False, notes=("no-answer",))
    nothing = {"sn": {"tcp": "no answer", "wss": "no answer"}}
    text = " ".join(show(blocked, streams=nothing, portal="http://login.example/").split())
    assert text.endswith(
        "A captive portal stands between this computer and the Internet: log in at http://login.example/ with a "
        "browser first."
    )
    assert "log in with a browser" in " ".join(show(blocked, streams=nothing, portal="?").split())
    said = describe(Netcheck(blocked, (), {}, (), nothing, portal="?"))
    assert (said["captive_portal"], said["proxy_needed"]) == ("?", None)
    only = {"sn": {"tcp": "no answer", "wss": "no answer", "proxy": "works"}}
    assert "Nothing but the HTTP proxy gets out of here" in " ".join(show(blocked, streams=only).split())
    assert describe(Netcheck(blocked, (), {}, (), only))["proxy_needed"] is True
    assert describe(Netcheck(blocked, (), {}, (), {"sn": {"tcp": "works", "proxy": "works"}}))["proxy_needed"] is False
    assert "portal" not in show(FULL, portal="http://login.example/")


def test_what_gateways_said_beside_the_point_is_added_up() -> None:
    gateways = tuple(
        GatewayProtocols(host, (), Counter(drops))
        for host, drops in (("a", {"type": 2}), ("b", {"type": 1, "rate": 4}))
    )
    assert describe(Netcheck(FULL, (), {}, gateways))["drops"] == {"rate": 4, "type": 3}
    assert describe(Netcheck(FULL, (), {}))["drops"] == {}
