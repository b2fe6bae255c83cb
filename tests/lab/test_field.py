"""The lab of the matrix: a host of every kind on either side."""

import pytest

from ntvl.kind import SITE_KINDS, plan_waves
from ntvl.lab.field import SUPERNODE, build_field, programs_for
from ntvl.lab.plan import build_plan

ALL = list(SITE_KINDS.values())
TOPOLOGY = build_field(plan_waves(ALL))


@pytest.mark.parametrize("name", SITE_KINDS)
def test_both_hosts_of_a_kind_are_behind_its_boxes(name: str) -> None:
    kind = SITE_KINDS[name]
    for side in ("a", "b"):
        assert TOPOLOGY.chain_of(f"{side}-{name}") == kind.chain
        [interface] = TOPOLOGY.interfaces(f"{side}-{name}")
        assert (interface.ipv4 != "", interface.ipv6 != "") == (kind.ipv4, kind.ipv6)


@pytest.mark.parametrize("name", [name for name, kind in SITE_KINDS.items() if kind.shared])
def test_two_hosts_share_the_boxes_that_their_kind_shares(name: str) -> None:
    outermost = [router for router in TOPOLOGY.routers if router.name == f"{name}-router"]
    assert len(outermost) == 1
    inside = [TOPOLOGY.interfaces(f"{side}-{name}")[0].network for side in ("a", "b")]
    assert (inside[0] == inside[1]) == (len(SITE_KINDS[name].chain) == 1)


def test_there_is_no_host_but_those_of_the_pairs() -> None:
    open_, cgn, alone = (SITE_KINDS[name] for name in ("open", "cgn", "same-nat"))
    built = build_field([[(cgn, open_), (alone, alone)], [(cgn, cgn)]])
    assert [host.name for host in built.hosts] == [
        SUPERNODE,
        "b-open",
        "a-cgn",
        "b-cgn",
        "a-same-nat",
        "b-same-nat",
    ]


def test_the_supernode_has_both_families_and_a_prefix_that_a_router_maps_ports_of() -> None:
    [interface] = TOPOLOGY.interfaces(SUPERNODE)
    assert interface.ipv4.startswith("9.9.9.")
    assert interface.ipv6


def test_all_of_it_can_be_planned() -> None:
    assert len(build_plan(TOPOLOGY, "t").namespaces) == len(TOPOLOGY.machines) + 1


def test_programs_are_asked_for_where_a_kind_needs_them() -> None:
    assert programs_for([SITE_KINDS["open"]]) == ["ip", "nft"]
    assert programs_for(ALL) == ["ip", "nft", "miniupnpd", "tinyproxy"]
