"""What a person reads of a report."""

import json
from io import StringIO

import pytest
from rich.console import Console

from ntvl.cli.netcheck import OTHERS, build_view, describe, judge
from ntvl.nat import KINDS, Filtering, Mapping, PortAllocation, direct_path_possible
from ntvl.proto.nat_report import NOTES, NatReport, Pooling, ServerReport
from ntvl.runtime.netcheck import Netcheck, Server
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
        (NatReport(udp=False), "UDP does not work here: no server answers."),
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
    )
    expected = direct_path_possible(KINDS["apdm-random"], KINDS[kind])
    assert judge(certain, kind) == ("direct" if expected else "relay")
    assert judge(NatReport(udp=True, translated=True), kind) == ("direct" if expected else "unknown")


def test_every_kind_looks_to_others_like_one_that_is_named() -> None:
    own = [KINDS[kind] for kind in KINDS]
    shown = {tuple(direct_path_possible(mine, KINDS[kind]) for mine in own) for kind in OTHERS}
    assert {tuple(direct_path_possible(mine, KINDS[kind]) for mine in own) for kind in KINDS} == shown


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
