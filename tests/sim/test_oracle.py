"""The oracle against the simulated NATs: two programs punch by the rule book, and reach exactly the pairs that it
names.

The puncher below knows no ntvl: it learns its address from a server, sends to all that it knows of the other side,
answers checks where they came from, and checks the sources that it did not know (peer-reflexive). An answer counts
when it comes from where the check went, as RFC 8445 section 7.2.5.2.1 demands.
"""

from itertools import combinations_with_replacement, product

import pytest
from tests.sim.probe import Reflector, address_of

from ntvl.nat import KINDS, MATRIX, Chain, Filtering, Mapping, NatBehaviour, PortAllocation, direct_path_possible
from ntvl.sim.host import Host
from ntvl.sim.site import Site
from ntvl.sim.world import World
from ntvl.wire.address import Address

ROUNDS = 12
HOME = NatBehaviour()


class Puncher:
    def __init__(self, host: Host, server: Address) -> None:
        self.host = host
        self.server = server
        self.advertised: list[Address] = [address_of(host)]
        self.targets: list[Address] = []
        self.direct = False
        host.program = self

    def learn(self) -> None:
        self.host.send(b"learn", self.server)

    def fire(self) -> None:
        for number, target in enumerate(self.targets):
            self.host.send(b"check %d" % number, target)

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        if source == self.server:
            host, _, port = data.decode().rpartition(":")
            self.advertised.append(Address(host, int(port)))
        elif data.startswith(b"check "):
            self.host.send(b"answer " + data[6:], source)
            if source not in self.targets and len(self.targets) < 40:
                self.targets.append(source)
        elif data.startswith(b"answer ") and self.targets[int(data[7:])] == source:
            self.direct = True

    def handle_wake(self) -> None:
        pass

    def handle_interfaces(self) -> None:
        pass


def punch(world: World, left: Site, right: Site) -> bool:
    server = Reflector(world.host("server", port=1971))
    a = Puncher(world.host("a", left), address_of(server.host))
    b = Puncher(world.host("b", right), address_of(server.host))
    a.learn()
    b.learn()
    world.run(1.0)
    a.targets, b.targets = list(b.advertised), list(a.advertised)
    for _ in range(ROUNDS):
        a.fire()
        b.fire()
        world.run(0.2)
    assert a.direct == b.direct
    return a.direct


@pytest.mark.parametrize(("left", "right"), MATRIX)
def test_punching_reaches_exactly_the_pairs_that_the_oracle_calls_possible(left: str, right: str) -> None:
    world = World(seed=11)
    reached = punch(world, world.site(left), world.site(right))
    assert reached == direct_path_possible(KINDS[left], KINDS[right])


ALL_BOXES = [
    NatBehaviour(mapping, filtering, allocation)
    for mapping, filtering, allocation in product(
        Mapping, Filtering, (PortAllocation.PRESERVING, PortAllocation.RANDOM)
    )
]


def test_the_oracle_is_right_for_every_mapping_and_filtering() -> None:
    wrong = []
    for left, right in combinations_with_replacement(ALL_BOXES, 2):
        world = World(seed=12)
        reached = punch(world, world.site([left]), world.site([right]))
        if reached != direct_path_possible([left], [right]):
            wrong.append((left, right, reached))
    assert wrong == []


CARRIERS = [
    NatBehaviour(mapping, filtering, PortAllocation.RANDOM, hairpin=hairpin)
    for mapping, filtering, hairpin in product(Mapping, Filtering, (False, True))
]
INNER: list[Chain] = [(), (HOME,), KINDS["firewall"], KINDS["apdm-random"], KINDS["eim-eif"], KINDS["double"]]


def test_the_oracle_is_right_behind_one_carrier() -> None:
    wrong = []
    for carrier, (left, right) in product(CARRIERS, combinations_with_replacement(INNER, 2)):
        world = World(seed=13)
        outside = world.site([carrier])
        reached = punch(world, world.site(left, outside=outside), world.site(right, outside=outside))
        if reached != direct_path_possible((*left, carrier), (*right, carrier), shared=1):
            wrong.append((carrier, left, right, reached))
    assert wrong == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind]])
def test_two_hosts_on_one_lan_always_meet(kind: str) -> None:
    world = World(seed=14)
    site = world.site(kind)
    assert punch(world, site, site)
