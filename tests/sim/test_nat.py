"""The simulated NAT does what its behaviour says, seen from outside by probing (RFC 4787, RFC 5780)."""

from itertools import pairwise
from random import Random

import pytest

from ntvl.nat import KINDS, Filtering, Mapping, NatBehaviour, PortAllocation
from ntvl.sim.nat import Nat
from ntvl.wire.address import Address

EXTERNAL = "198.18.0.1"
INSIDE = Address("192.168.1.10", 40000)
OTHER = Address("192.168.1.11", 40000)
SERVER = Address("198.18.9.9", 1971)
SERVER_OTHER_PORT = Address("198.18.9.9", 1972)
SERVER_OTHER_HOST = Address("198.18.9.10", 1971)


def make(
    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT,
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT,
    allocation: PortAllocation = PortAllocation.RANDOM,
    **fields: float,
) -> Nat:
    return Nat(NatBehaviour(mapping, filtering, allocation, **fields), EXTERNAL, Random(7))  # type: ignore[arg-type]


def external(nat: Nat, destination: Address, now: float = 0.0, source: Address = INSIDE) -> Address:
    found = nat.outbound(source, destination, now)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("mapping", "mappings"),
    [
        (Mapping.ENDPOINT_INDEPENDENT, 1),
        (Mapping.ADDRESS_DEPENDENT, 2),
        (Mapping.ADDRESS_AND_PORT_DEPENDENT, 3),
    ],
)
def test_mapping_depends_on_as_much_of_the_destination_as_it_says(mapping: Mapping, mappings: int) -> None:
    nat = make(mapping)
    seen = {external(nat, server) for server in (SERVER, SERVER_OTHER_PORT, SERVER_OTHER_HOST)}
    assert len(seen) == mappings
    assert {address.host for address in seen} == {EXTERNAL}
    assert external(nat, SERVER) in seen


@pytest.mark.parametrize(
    ("filtering", "admitted"),
    [
        (Filtering.ENDPOINT_INDEPENDENT, (True, True, True)),
        (Filtering.ADDRESS_DEPENDENT, (True, True, False)),
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, (True, False, False)),
    ],
)
def test_filtering_lets_in_whom_it_says(filtering: Filtering, admitted: tuple[bool, ...]) -> None:
    nat = make(filtering=filtering)
    outside = external(nat, SERVER)
    senders = (SERVER, SERVER_OTHER_PORT, SERVER_OTHER_HOST)
    assert tuple(nat.inbound(sender, outside, 0.0) == INSIDE for sender in senders) == admitted
    assert nat.drops.get("filtered", 0) == admitted.count(False)


def test_nobody_gets_in_before_the_inside_has_sent() -> None:
    nat = make(filtering=Filtering.ENDPOINT_INDEPENDENT)
    assert nat.inbound(SERVER, Address(EXTERNAL, 40000), 0.0) is None
    assert nat.drops == {"no-mapping": 1}


def test_a_preserving_endpoint_dependent_nat_looks_endpoint_independent_until_two_hosts_collide() -> None:
    nat = make(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.PRESERVING)
    assert external(nat, SERVER).port == external(nat, SERVER_OTHER_HOST).port == INSIDE.port
    assert external(nat, SERVER, source=OTHER).port != INSIDE.port
    assert nat.inbound(SERVER_OTHER_HOST, Address(EXTERNAL, INSIDE.port), 0.0) == INSIDE


def test_a_preserving_endpoint_independent_nat_gives_a_taken_port_to_nobody_else() -> None:
    nat = make(allocation=PortAllocation.PRESERVING)
    assert external(nat, SERVER).port == INSIDE.port
    assert external(nat, SERVER_OTHER_HOST, source=OTHER).port != INSIDE.port


@pytest.mark.parametrize("step", [1, 2, 7])
def test_sequential_allocation_goes_up_by_its_step(step: int) -> None:
    nat = make(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.SEQUENTIAL, step=step)
    ports = [external(nat, Address("198.18.9.9", port)).port for port in range(2000, 2050)]
    pairs = list(pairwise(ports))
    assert all(after - before == step for before, after in pairs if after > before)
    assert sum(after < before for before, after in pairs) <= 1


def test_a_block_belongs_to_one_host_and_bounds_its_ports() -> None:
    nat = make(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.BLOCK_RANDOM, block_ports=64)
    destinations = [Address("198.18.9.9", port) for port in range(2000, 2064)]
    ports = [external(nat, destination).port for destination in destinations]
    assert len(set(ports)) == 64
    assert max(ports) - min(ports) == 63
    assert ports != sorted(ports)
    assert nat.outbound(INSIDE, SERVER, 0.0) is None
    assert nat.drops == {"no-port": 1}


def test_random_ports_never_collide_and_never_are_privileged() -> None:
    nat = make(Mapping.ADDRESS_AND_PORT_DEPENDENT)
    ports = [external(nat, Address("198.18.9.9", port)).port for port in range(1, 3001)]
    assert len(set(ports)) == 3000
    assert min(ports) >= 1024
    assert max(ports) - min(ports) > 50_000


def test_a_mapping_lives_as_long_as_something_is_sent_or_answered_and_no_longer() -> None:
    nat = make(lifetime_s=30.0)
    outside = external(nat, SERVER, 0.0)
    assert nat.inbound(SERVER, outside, 29.0) == INSIDE
    assert nat.inbound(SERVER, outside, 58.0) == INSIDE
    assert external(nat, SERVER, 87.0) == outside
    assert nat.inbound(SERVER, outside, 118.0) is None
    assert external(nat, SERVER, 119.0) != outside


def test_each_destination_of_a_mapping_is_forgotten_on_its_own() -> None:
    nat = make(lifetime_s=30.0)
    outside = external(nat, SERVER, 0.0)
    assert external(nat, SERVER_OTHER_HOST, 20.0) == outside
    assert nat.inbound(SERVER, outside, 40.0) is None
    assert nat.inbound(SERVER_OTHER_HOST, outside, 40.0) == INSIDE


def test_a_reboot_forgets_all_and_maps_anew() -> None:
    nat = make()
    before = external(nat, SERVER)
    nat.reboot()
    assert nat.inbound(SERVER, before, 0.0) is None
    assert external(nat, SERVER) != before
    nat.reboot("198.18.0.2")
    assert external(nat, SERVER).host == "198.18.0.2"


def test_a_firewall_filters_and_leaves_addresses_alone() -> None:
    nat = Nat(KINDS["firewall"][0], EXTERNAL, Random(7))
    assert nat.inbound(SERVER, INSIDE, 0.0) is None
    assert external(nat, SERVER) == INSIDE
    assert nat.inbound(SERVER, INSIDE, 0.0) == INSIDE
    assert nat.inbound(SERVER_OTHER_PORT, INSIDE, 0.0) is None


# --- a box that takes what nobody asked for ---


def test_a_flow_to_where_something_came_from_unasked_leaves_from_another_port_and_the_others_do_not() -> None:
    nat = make(allocation=PortAllocation.PRESERVING, takes_unsolicited=True)
    mapped = external(nat, SERVER)
    assert nat.inbound(SERVER_OTHER_HOST, mapped, 0.0) is None
    apart = external(nat, SERVER_OTHER_HOST)
    assert (apart.host, apart.port == mapped.port) == (mapped.host, False)
    assert external(nat, SERVER_OTHER_HOST, 20.0) == apart
    assert external(nat, SERVER_OTHER_PORT) == external(nat, SERVER) == mapped
    assert nat.inbound(SERVER_OTHER_HOST, apart, 20.0) == INSIDE
    assert nat.inbound(SERVER, apart, 20.0) is None


def test_what_came_before_there_was_a_mapping_is_remembered_for_30_s_after_the_last() -> None:
    for now, kept in ((29.0, False), (31.0, True)):
        nat = make(allocation=PortAllocation.PRESERVING, takes_unsolicited=True)
        assert nat.inbound(SERVER, Address(EXTERNAL, INSIDE.port), 0.0) is None
        assert (external(nat, SERVER, now).port == INSIDE.port) is kept


def test_who_has_been_sent_to_spoils_nothing() -> None:
    nat = make(allocation=PortAllocation.PRESERVING, takes_unsolicited=True)
    mapped = external(nat, SERVER)
    assert nat.inbound(SERVER, mapped, 1.0) == INSIDE
    assert external(nat, SERVER, 2.0) == mapped


def test_a_reboot_forgets_what_came_unasked() -> None:
    nat = make(allocation=PortAllocation.PRESERVING, takes_unsolicited=True)
    assert nat.inbound(SERVER, Address(EXTERNAL, INSIDE.port), 0.0) is None
    nat.reboot()
    assert external(nat, SERVER, 1.0).port == INSIDE.port


def test_a_box_that_drops_it_keeps_its_port() -> None:
    nat = make(allocation=PortAllocation.PRESERVING)
    assert nat.inbound(SERVER, Address(EXTERNAL, INSIDE.port), 0.0) is None
    assert external(nat, SERVER, 1.0).port == INSIDE.port
