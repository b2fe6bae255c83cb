"""The oracle, judged by hand on the pairs that people know."""

import pytest

from ntvl.nat import (
    KINDS,
    MATRIX,
    Filtering,
    Mapping,
    NatBehaviour,
    Passage,
    PortAllocation,
    combine,
    direct_path_possible,
    find_kind,
)

HARD = ("apdm-sequential", "apdm-block", "apdm-random", "cgn")
EASY = tuple(kind for kind in KINDS if kind not in HARD)
OPEN_TO_NEW_PORTS = ("open", "eim-eif", "eim-adf")


def possible(left: str, right: str, **options: object) -> bool:
    return direct_path_possible(KINDS[left], KINDS[right], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("left", EASY)
@pytest.mark.parametrize("right", EASY)
def test_endpoint_independent_mapping_on_both_sides_is_always_enough(left: str, right: str) -> None:
    assert possible(left, right)


@pytest.mark.parametrize("left", HARD)
@pytest.mark.parametrize("right", EASY)
def test_an_endpoint_dependent_side_needs_a_peer_that_lets_in_new_ports(left: str, right: str) -> None:
    assert possible(left, right) == (right in OPEN_TO_NEW_PORTS)
    assert possible(right, left) == (right in OPEN_TO_NEW_PORTS)
    assert possible(left, right, techniques="all")


@pytest.mark.parametrize("left", HARD)
@pytest.mark.parametrize("right", HARD)
def test_two_endpoint_dependent_sides_need_ports_that_can_be_predicted(left: str, right: str) -> None:
    assert not possible(left, right)
    assert possible(left, right, techniques="all") == (left == right == "apdm-sequential")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind]])
def test_two_hosts_on_one_lan_always_meet(kind: str) -> None:
    assert direct_path_possible(KINDS[kind], KINDS[kind], shared=len(KINDS[kind]))


def test_behind_one_carrier_two_homes_meet_only_if_it_hairpins() -> None:
    home = NatBehaviour()
    for hairpin in (False, True):
        carrier = NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT, hairpin=hairpin)
        assert direct_path_possible((home, carrier), (home, carrier), shared=1) == hairpin


def test_a_host_directly_behind_the_carrier_is_reached_by_its_neighbour_in_a_home() -> None:
    carrier = NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.RANDOM)
    assert direct_path_possible((carrier,), (NatBehaviour(), carrier), shared=1)


def test_chains_that_do_not_share_what_they_should_are_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        direct_path_possible(KINDS["cgn"], KINDS["double"], shared=1)
    with pytest.raises(ValueError, match="share"):
        direct_path_possible(KINDS["open"], KINDS["double"], shared=1)


def test_a_chain_is_as_hard_as_its_hardest_box() -> None:
    combined = combine(KINDS["cgn"])
    assert combined.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
    assert combined.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT
    assert combined.allocation is PortAllocation.BLOCK_RANDOM
    assert combine(()).filtering is Filtering.ENDPOINT_INDEPENDENT
    assert not combine(KINDS["firewall"]).translates


def test_every_kind_has_a_name_and_every_pair_is_judged_once() -> None:
    assert all(find_kind(chain) == name for name, chain in KINDS.items())
    assert find_kind((NatBehaviour(lifetime_s=1.0),)) is None
    assert len(MATRIX) == len(KINDS) * (len(KINDS) + 1) // 2


@pytest.mark.parametrize("passes", [Passage.NO_UDP, Passage.TCP_443, Passage.NOTHING])
def test_without_udp_there_is_no_direct_path_but_on_one_lan(passes: Passage) -> None:
    box = NatBehaviour(passes=passes)
    assert combine((NatBehaviour(), box)).passes is passes
    assert not direct_path_possible((box,), (), techniques="all")
    assert direct_path_possible((box,), (box,), shared=1)
