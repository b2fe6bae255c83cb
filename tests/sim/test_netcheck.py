"""Every kind of NAT is found to be what it is, by a host behind it and two supernodes."""

from dataclasses import replace

import pytest
from tests.sim.netcheck import netcheck, search_lifetime

from ntvl.nat import KINDS, MATRIX, Filtering, Mapping, NatBehaviour, PortAllocation, combine, direct_path_possible
from ntvl.proto.classification import PACKETS_MAX
from ntvl.proto.nat_report import NatReport
from ntvl.sim.net import Net


def classify(kind: str | list[NatBehaviour], *, supernodes: int = 2, ipv6: bool = False, **options: float) -> NatReport:
    net = Net(**options)  # type: ignore[arg-type]
    servers = [address for _ in range(supernodes) for address in net.supernode(ipv6=ipv6).addresses]
    return netcheck(net, net.host("asking", behind=kind, ipv6=ipv6), servers)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_found_to_be_what_it_is(kind: str, seed: int) -> None:
    report = classify(kind, seed=seed)
    real = combine(KINDS[kind])
    assert report.udp
    assert report.translated == real.translates if KINDS[kind] else not report.translated
    assert report.mapping is real.apparent_mapping
    assert report.filtering is real.filtering
    if report.translated:
        assert report.allocation is real.allocation
        assert report.step == real.step
    assert report.elapsed_s < 5.0
    assert report.sent_pkts <= PACKETS_MAX


@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_the_oracle_says_of_what_was_found_what_it_says_of_the_nats(left: str, right: str) -> None:
    found = [REPORTS.setdefault(kind, classify(kind)).chain() for kind in (left, right)]
    assert direct_path_possible(*found) == direct_path_possible(KINDS[left], KINDS[right])


REPORTS: dict[str, NatReport] = {}


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_loss_makes_a_report_vague_and_late_but_never_wrong_about_the_mapping(kind: str, seed: int) -> None:
    report = classify(kind, seed=seed, loss=0.1, jitter_s=0.02)
    real = combine(KINDS[kind])
    assert report.elapsed_s < 5.0
    assert report.sent_pkts <= PACKETS_MAX
    assert not report.udp or real.apparent_mapping in report.mappings
    if report.allocation is not None and report.allocation is not real.allocation:
        assert real.allocation is PortAllocation.SEQUENTIAL  # the order of what was asked again is lost


@pytest.mark.parametrize("kind", KINDS)
def test_one_server_is_enough_for_a_part_and_the_rest_is_said_to_be_unknown(kind: str) -> None:
    report = classify(kind, supernodes=1)
    real = combine(KINDS[kind])
    assert report.udp
    assert real.apparent_mapping in report.mappings
    assert real.filtering in report.filterings
    if report.mapping is None:
        assert report.mappings == (Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT)
        assert "mapping-one-address" in report.notes
    if report.filtering is None:
        assert report.filterings == (Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT)
        assert "filtering-address" in report.notes


def test_address_dependent_mapping_is_told_from_the_others() -> None:
    nat = NatBehaviour(Mapping.ADDRESS_DEPENDENT, Filtering.ADDRESS_DEPENDENT, PortAllocation.RANDOM)
    report = classify([nat])
    assert (report.mapping, report.filtering) == (nat.mapping, nat.filtering)


@pytest.mark.parametrize("step", [2, 7])
def test_the_step_of_a_sequential_nat_is_found(step: int) -> None:
    nat = NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.SEQUENTIAL, step=step)
    report = classify([nat])
    assert (report.allocation, report.step) == (PortAllocation.SEQUENTIAL, step)


@pytest.mark.parametrize("filtering", Filtering)
@pytest.mark.parametrize("hairpin", [True, False])
def test_hairpinning_is_found_where_the_mapping_lets_it_be_tried(filtering: Filtering, hairpin: bool) -> None:
    assert classify([NatBehaviour(filtering=filtering, hairpin=hairpin)]).hairpin is hairpin


def test_without_a_server_udp_counts_as_blocked() -> None:
    net = Net()
    supernodes = [net.supernode(), net.supernode()]
    servers = [address for supernode in supernodes for address in supernode.addresses]
    for supernode in supernodes:
        supernode.stop()
    report = netcheck(net, net.host("asking", behind="eim-apdf"), servers)
    assert not report.udp
    assert report.notes == ("no-answer",)
    assert report.elapsed_s < 3.0


def test_a_dead_server_does_not_spoil_the_report() -> None:
    net = Net()
    supernodes = [net.supernode() for _ in range(3)]
    supernodes[0].stop()
    servers = [address for supernode in supernodes for address in supernode.addresses]
    report = netcheck(net, net.host("asking", behind="apdm-random"), servers)
    assert (report.mapping, report.filtering) == (
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
    )
    assert "server-silent" in report.notes


@pytest.mark.parametrize("kind", ["open", "firewall", "eim-apdf", "cgn"])
def test_ipv6_is_found_untranslated(kind: str) -> None:
    report = classify(kind, ipv6=True)
    assert report.ipv6_address.startswith("[2001:db8:")
    assert report.ipv6_translated is False
    assert report.mapping is combine(KINDS[kind]).apparent_mapping


@pytest.mark.parametrize("lifetime_s", [30.0, 65.0, 120.0, 280.0])
@pytest.mark.parametrize("kind", ["eim-eif", "eim-apdf", "apdm-random"])
def test_the_lifetime_of_a_mapping_is_found_with_the_help_of_a_supernode(kind: str, lifetime_s: float) -> None:
    net = Net()
    supernode = net.supernode()
    [nat] = KINDS[kind]
    host = net.host("asking", behind=[replace(nat, lifetime_s=lifetime_s)])
    report = search_lifetime(net, host, supernode.addresses[0])
    assert report.dead_s is not None
    assert report.alive_s - 1.0 <= lifetime_s <= report.dead_s + 1.0
    assert report.dead_s - report.alive_s <= 10.0
