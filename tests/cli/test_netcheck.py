"""What a person reads of a report."""

import json
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
def test_the_first_line_says_the_most_important(report: NatReport, head: str) -> None:
    assert show(report).splitlines()[0].endswith(head)


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
