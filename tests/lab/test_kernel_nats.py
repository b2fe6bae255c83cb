"""What the kernel's routers really do, asked from inside a lab: each kind is what its name says."""

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from tests.lab.udp import Prober, open_udp, punch, receive

from ntvl.dataplane.udp import send_datagram
from ntvl.lab.ruleset import BLOCK_FIRST_PORT
from ntvl.lab.stage import Stage
from ntvl.lab.topology import Host, Network, Router, Topology, build_sites
from ntvl.nat import (
    KINDS,
    MATRIX,
    Filtering,
    NatBehaviour,
    PortAllocation,
    combine,
    direct_path_possible,
)
from ntvl.wire.address import Address

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

PAIR_SIDES = ("left", "right")
HOME = KINDS["eim-apdf"]
RANDOM = KINDS["apdm-random"][0]
TAKER = (
    NatBehaviour(takes_unsolicited=True),
    NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT, translates=False),
)
"""A home router without an input filter, and the provider's, which filters nothing."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    sites = {f"{side}-{kind}": chain for kind, chain in KINDS.items() for side in PAIR_SIDES}
    with Stage(build_sites(sites, publics=("first", "second"), ipv6=True)) as built:
        yield built


@pytest.fixture
def prober(stage: Stage) -> Iterator[Prober]:
    with Prober(stage, "first", "second") as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_maps_as_its_name_says(stage: Stage, prober: Prober, kind: str) -> None:
    with open_udp(stage, f"left-{kind}") as client:
        assert prober.mapping(client) == combine(KINDS[kind]).apparent_mapping


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_filters_as_its_name_says(stage: Stage, prober: Prober, kind: str) -> None:
    with open_udp(stage, f"left-{kind}") as client:
        assert prober.filtering(client) == combine(KINDS[kind]).filtering


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_allocates_ports_as_its_name_says(stage: Stage, prober: Prober, kind: str) -> None:
    ports = []
    for _ in range(4):
        with open_udp(stage, f"left-{kind}") as client:
            ports.append((client.getsockname()[1], prober.observe(client, prober.first).port))
    preserved = [inside == outside for inside, outside in ports]
    outsides = [outside for _, outside in ports]
    match combine(KINDS[kind]).allocation:
        case PortAllocation.PRESERVING:
            assert all(preserved)
        case PortAllocation.SEQUENTIAL:
            assert all(after - before == 1 for before, after in pairwise(outsides))
        case PortAllocation.BLOCK_RANDOM:
            assert all(BLOCK_FIRST_PORT <= port < BLOCK_FIRST_PORT + 1024 for port in outsides)
            assert len(set(outsides)) > 1
        case PortAllocation.RANDOM:
            assert not all(preserved)
            assert max(outsides) - min(outsides) > 256  # four random ports so close: once in ten million


@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_two_ends_that_fire_at_each_other_meet_when_the_oracle_says_so(
    stage: Stage, prober: Prober, left: str, right: str
) -> None:
    with open_udp(stage, f"left-{left}") as one, open_udp(stage, f"right-{right}") as other:
        met = punch(one, other, prober.observe(one, prober.first), prober.observe(other, prober.first))
    assert met == direct_path_possible(KINDS[left], KINDS[right])


@pytest.mark.parametrize("kind", ["firewall", "eim-apdf", "double"])
def test_ipv6_is_filtered_and_not_translated(stage: Stage, kind: str) -> None:
    inside = stage.address(f"left-{kind}", ipv6=True)
    with open_udp(stage, f"left-{kind}", ipv6=True) as client, open_udp(stage, "first", 4000, ipv6=True) as server:
        server.sendto(b"unasked", (inside, client.getsockname()[1]))
        assert receive(client) is None
        client.sendto(b"hello", (stage.address("first", ipv6=True), 4000))
        came = receive(server, 1.0)
        assert came is not None
        assert came[1] == Address(inside, client.getsockname()[1])
        server.sendto(b"answer", came[1])
        assert receive(client, 1.0) is not None


def test_a_datagram_that_nobody_asked_for_does_not_spoil_the_mapping_that_follows(stage: Stage, prober: Prober) -> None:
    with open_udp(stage, "left-eim-apdf") as client, open_udp(stage, "second", 4001) as early:
        mapped = prober.observe(client, prober.first)
        early.sendto(b"too early", mapped)
        assert receive(client) is None
        client.sendto(b"now", (stage.address("second"), 4001))
        came = receive(early, 1.0)
    assert came is not None
    assert came[1] == mapped


@pytest.fixture(scope="module")
def takers() -> Iterator[Stage]:
    with Stage(build_sites({"left": TAKER, "right": TAKER}, publics=("first", "second"))) as built:
        yield built


def test_a_router_that_takes_such_a_datagram_itself_changes_the_port(takers: Stage) -> None:
    with (
        Prober(takers, "first", "second") as prober,
        open_udp(takers, "left") as client,
        open_udp(takers, "second", 4002) as early,
    ):
        mapped = prober.observe(client, prober.first)
        early.sendto(b"too early", mapped)
        assert receive(client) is None
        client.sendto(b"now", (takers.address("second"), 4002))
        came = receive(early, 1.0)
    assert came is not None
    assert came[1].host == mapped.host
    assert came[1].port != mapped.port


@pytest.mark.parametrize("ttl", [0, 2])
def test_two_such_routers_are_crossed_after_openers_and_not_without(takers: Stage, ttl: int) -> None:
    """Both ends send, one of them first, as they always do but by chance."""
    with (
        Prober(takers, "first", "second") as prober,
        open_udp(takers, "left") as left,
        open_udp(takers, "right") as right,
    ):
        seen = {end: prober.observe(end, prober.first) for end in (left, right)}
        if ttl:
            send_datagram(left, b"opener", seen[right], ttl)
            send_datagram(right, b"opener", seen[left], ttl)
            assert receive(left) is receive(right) is None
        assert punch(left, right, seen[left], seen[right]) is bool(ttl)


def test_a_mapping_is_forgotten_after_its_lifetime_and_not_before() -> None:
    short = NatBehaviour(RANDOM.mapping, allocation=RANDOM.allocation, lifetime_s=2)
    with (
        Stage(build_sites({"a": (short,)}, publics=("first", "second"))) as built,
        Prober(built, "first", "second") as prober,
        open_udp(built, "a") as client,
    ):
        mapped = prober.observe(client, prober.first)
        for _ in range(3):
            time.sleep(1.0)
            assert prober.observe(client, prober.first) == mapped
        time.sleep(3.5)
        prober.servers[prober.first].sendto(b"late", mapped)
        assert receive(client) is None
        assert prober.observe(client, prober.first) != mapped


@pytest.mark.parametrize("step", [1, 2])
def test_a_sequential_router_counts_in_its_step(step: int) -> None:
    nat = NatBehaviour(RANDOM.mapping, allocation=PortAllocation.SEQUENTIAL, step=step)
    with (
        Stage(build_sites({"a": (nat,)}, publics=("first", "second"))) as built,
        Prober(built, "first", "second") as prober,
        open_udp(built, "a") as client,
    ):
        ports = [prober.observe(client, server).port for server in prober.servers]
    assert [after - before for before, after in pairwise(ports)] == [step, step]


@pytest.mark.parametrize("hairpin", [True, False])
def test_two_hosts_behind_one_router_meet_outside_if_it_hairpins(hairpin: bool) -> None:
    topology = Topology(
        (Network("internet", "203.0.113.0/24"), Network("lan", "192.168.1.0/24"), Network("lan-2", "192.168.2.0/24")),
        (Host("first", ("internet",)), Host("second", ("internet",)), Host("a", ("lan",)), Host("b", ("lan",))),
        (Router("router", "internet", "lan", NatBehaviour(hairpin=hairpin)),),
    )
    with (
        Stage(topology) as built,
        Prober(built, "first", "second") as prober,
        open_udp(built, "a", 5000) as one,
        open_udp(built, "b", 5000) as other,
    ):
        one_at, other_at = prober.observe(one, prober.first), prober.observe(other, prober.first)
        assert one_at != other_at, "the router keeps two hosts with one port apart"
        assert punch(one, other, one_at, other_at) == hairpin


def test_a_rebooted_router_maps_anew(stage: Stage, prober: Prober) -> None:
    router, host = "right-apdm-random-router", "right-apdm-random"
    with open_udp(stage, host) as client:
        before = prober.observe(client, prober.first)
        stage.reboot_router(router, wan="203.0.113.200/24")
        after = prober.observe(client, prober.first)
        assert (after.host, after.port == before.port) == ("203.0.113.200", False)
        prober.servers[prober.first].sendto(b"to the old mapping", before)
        assert receive(client) is None
    stage.reboot_router(router, wan=f"{stage.address(router)}/24")
    with open_udp(stage, host) as client:
        assert prober.observe(client, prober.first).host == stage.address(router)


def test_homes_with_the_same_private_prefix_do_not_see_each_other() -> None:
    with (
        Stage(build_sites({"a": HOME, "b": HOME}, same_lan=True)) as built,
        open_udp(built, "a", 5000) as one,
        open_udp(built, "b", 5000) as other,
    ):
        assert built.address("a") == built.address("b")
        one.sendto(b"to myself", (built.address("b"), 5000))
        assert receive(one, 1.0) is not None
        assert receive(other) is None
