"""Ports that nobody knows beforehand: predicted, guessed, or left alone where a person says so."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ntvl.identity.url import SupernodeUrl
from ntvl.nat import Chain, Filtering, Mapping, NatBehaviour, PortAllocation
from ntvl.sim.host import Captured
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.site import Site
from ntvl.wire.address import Address
from ntvl.wire.header import is_stun

HEAVY_PACKETS_MAX = 2250
"""A quarter of the some 9,000 that EasyTier's full round takes."""
FULL_PUNCH_PACKETS = 1500
"""More than anything but a birthday that has to search for long."""
PAUSE_S = 4.0
"""Nothing goes to a peer for longer than this between two attempts, and never within one."""
LIFETIME_SOCKETS = 2
"""How many the search for the lifetime of mappings has open in the background."""
KNOWS_ITS_NAT_S = 4.0


def sequential(step: int) -> Chain:
    return (NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.SEQUENTIAL, step=step),)


@dataclass(frozen=True)
class Run:
    """Is one pair's way to each other: when it was direct, after how many attempts, and what that took."""

    direct_after_s: float | None
    attempts: int
    packets: tuple[int, ...]
    """Checks and their answers in each attempt, of both sides."""


def pair(seed: int, left: str | Chain | Site, right: str | Chain | Site, *, net: Net | None = None) -> Iterator[Any]:
    net = net or Net(seed)
    net.supernode()
    a, b = net.node("a", behind=left), net.node("b", behind=right)
    net.join()
    net.run(KNOWS_ITS_NAT_S)
    yield from (net, a, b)


def outcomes(node: SimNode) -> list[dict[str, Any]]:
    (peer,) = node.status()["communities"][0]["peers"]
    found: list[dict[str, Any]] = peer["attempts"]
    return found


def between(net: Net, *nodes: SimNode) -> list[Captured]:
    """Returns what these sent to anybody but a supernode and themselves since they began to be recorded."""
    supernodes = {host for supernode in net.supernodes for host in supernode.host.addresses}
    return [
        each
        for node in nodes
        for each in node.host.capture or ()
        if each.outgoing and each.destination.host not in supernodes | {router.address for router in net.routers(node)}
    ]


def meet(net: Net, a: SimNode, b: SimNode, limit_s: float) -> Run:
    start = net.now
    a.host.capture, b.host.capture = [], []
    assert any(net.ping(a, b, limit_s=1.0) is not None for _ in range(5))
    while not net.is_direct(a, b) and net.now < start + limit_s:
        net.run(0.1)
    took = net.now - start if net.is_direct(a, b) else None
    tried = max(sum(o["technique"] == "simultaneous-udp" for o in outcomes(node)) for node in (a, b))
    return Run(took, tried, packets_by_attempt(between(net, a, b)))


def packets_by_attempt(sent: list[Captured]) -> tuple[int, ...]:
    """Returns how many packets each attempt took, an attempt being what no pause divides."""
    counts = list[int]()
    last = -math.inf
    for at in sorted(each.at for each in sent):
        if at > last + PAUSE_S:
            counts.append(0)
        counts[-1] += 1
        last = at
    return tuple(counts)


@pytest.fixture(scope="module")
def birthdays() -> list[Run]:
    """Returns 100 runs of a home router against one with random ports."""
    runs = []
    for seed in range(100):
        net, a, b = pair(seed, "eim-apdf", "apdm-random")
        runs.append(meet(net, a, b, 100.0))
    return runs


def test_a_birthday_hits_in_one_attempt_nine_times_of_ten_and_in_three_practically_always(birthdays: list[Run]) -> None:
    at_once = [run for run in birthdays if run.direct_after_s is not None and run.direct_after_s <= 15.0]
    assert len(at_once) >= 90
    assert {run.attempts for run in at_once} == {1}
    assert sum(run.direct_after_s is not None and run.attempts <= 3 for run in birthdays) >= 99


def test_a_birthday_costs_a_quarter_of_easytiers_packets_at_most(birthdays: list[Run]) -> None:
    most = max(max(run.packets) for run in birthdays)
    assert FULL_PUNCH_PACKETS < most < HEAVY_PACKETS_MAX, "a full punch is among them, and counted"
    assert sum(sum(run.packets) for run in birthdays) / len(birthdays) < 1000
    assert [len(run.packets) for run in birthdays] == [run.attempts for run in birthdays], "attempts are told apart"


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("other", ["eim-apdf", "sequential"])
def test_sequential_ports_are_met_within_five_seconds(other: str, step: int) -> None:
    for seed in range(5):
        net, a, b = pair(seed, "eim-apdf" if other == "eim-apdf" else sequential(1), sequential(step))
        run = meet(net, a, b, 5.0)
        assert run.direct_after_s is not None, seed
        assert max(run.packets) < 100


def be_busy(net: Net, site: Site, name: str, flows_per_s: float) -> None:
    """Has another host of a site open new flows all the time."""
    host = net.host(name, site)

    def open_flow(number: int) -> None:
        host.send(b"hello", Address("198.19.255.254", 1024 + number))
        net.timeline.after(1 / flows_per_s, lambda: open_flow(number + 1))

    open_flow(0)


@pytest.mark.parametrize("other", ["eim-apdf", "sequential"])
def test_a_neighbour_who_opens_five_flows_a_second_does_not_hinder_prediction(other: str) -> None:
    reached = 0
    for seed in range(10):
        net = Net(seed)
        left = net.site("eim-apdf" if other == "eim-apdf" else sequential(1))
        right = net.site(sequential(1))
        be_busy(net, left, "busy-left", 5.0)
        be_busy(net, right, "busy-right", 5.0)
        _, a, b = pair(seed, left, right, net=net)
        run = meet(net, a, b, 45.0)
        reached += run.direct_after_s is not None and run.attempts <= 3
    assert reached >= 9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("right", ["apdm-random", "apdm-sequential"])
def test_promotion_to_a_punched_path_loses_and_doubles_no_packet(right: str, seed: int) -> None:
    net, a, b = pair(seed, "eim-apdf", right)
    net.stream(a, b, packets=1200, spacing_s=0.01)
    net.stream(b, a, packets=1200, spacing_s=0.01)
    net.run(14.0)
    assert net.is_direct(a, b)
    for node in (a, b):
        assert sorted(net.received(node)) == list(range(1200))


def crowded_moments(net: Net, pairs: list[tuple[SimNode, SimNode]]) -> list[float]:
    """Has pairs whose left ends share a router meet at once; returns the half seconds in which more than one of them
    guessed, and more than one alone may.
    """
    net.join()
    net.run(KNOWS_ITS_NAT_S)
    homes = [a for a, _ in pairs]
    for node in homes:
        node.host.capture = []
    for a, b in pairs:
        net.send(a, b, b"first")
    for _ in range(90):
        net.run(1.0)
        if all(net.is_direct(a, b) for a, b in pairs):
            break
    assert all(net.is_direct(a, b) for a, b in pairs)
    routers = {net.routers(b)[0].address: n for n, (_, b) in enumerate(pairs)}
    guesses = sorted(
        (each.at, routers[each.destination.host])
        for each in between(net, *homes)
        if is_stun(each.data) and each.destination.host in routers
    )
    spells = dict[int, set[int]]()
    for at, number in guesses:
        spells.setdefault(int(at * 2), set()).add(number)
    assert len(guesses) > 50 * len(pairs)
    crowded = [half for half, numbers in spells.items() if len(numbers) > 1]
    return [half / 2 for half in crowded if sum(int(at * 2) == half for at, _ in guesses) > 110]


def test_two_pairs_behind_one_home_router_punch_one_after_the_other() -> None:
    net = Net(3)
    net.supernode()
    home = net.site("eim-apdf")
    pairs = [(net.node(f"a{n}", behind=home), net.node(f"b{n}", behind="apdm-random")) for n in range(3)]
    assert crowded_moments(net, pairs) == [], "never more than one at its 200 packets a second"


def test_two_pairs_behind_one_home_router_whose_first_supernodes_differ_do_so_too() -> None:
    net = Net(3)
    supernodes = [net.supernode(), net.supernode()]
    home = net.site("eim-apdf")
    orders = (supernodes, supernodes[::-1], supernodes)
    pairs = [
        (
            net.node(f"a{n}", behind=home, supernodes=order),
            net.node(f"b{n}", behind="apdm-random", supernodes=order[::-1]),
        )
        for n, order in enumerate(orders)
    ]
    assert crowded_moments(net, pairs) == []


class Families(Net):
    """Is a network where new nodes are told the supernode that gives leave at its IPv6 address alone, others at IPv4;
    or all at IPv4 while `over_ipv6` is not set.
    """

    over_ipv6 = False

    def resolve(self, url: SupernodeUrl) -> tuple[Address, ...]:
        gives_leave = url.key == min(supernode.key.public for supernode in self.supernodes)
        return tuple(a for a in super().resolve(url) if a.is_ipv6 == (self.over_ipv6 and gives_leave))


def test_so_do_pairs_that_the_supernode_sees_at_ipv6_addresses_and_at_the_routers_own() -> None:
    net = Families(3)
    for _ in range(2):
        net.supernode(ipv6=True)
    home = net.site("eim-apdf", ipv6=True)
    pairs = []
    for n, over_ipv6 in enumerate((True, False, True)):
        net.over_ipv6 = over_ipv6
        a = net.node(f"a{n}", behind=home, ipv6=over_ipv6)
        net.over_ipv6 = False
        pairs.append((a, net.node(f"b{n}", behind="apdm-random")))
    assert crowded_moments(net, pairs) == []


# --- what a person can switch off ---


@pytest.mark.parametrize("behind", ["open", "eim-apdf", "apdm-random"])
def test_with_punching_off_no_datagram_goes_to_a_peer_from_either_end(behind: str) -> None:
    net = Net(5)
    net.supernode()
    net.supernode()
    a, b = net.node("a", behind=behind, direct=False), net.node("b", behind="eim-eif")
    a.host.capture, b.host.capture = [], []
    net.join()
    net.run(KNOWS_ITS_NAT_S)
    looked = [each for each in a.host.capture if each.outgoing and is_stun(each.data)]
    assert looked == [], "nor does it look at its NAT"
    for _ in range(30):
        assert net.ping(a, b) is not None
        net.run(2.0)
    assert between(net, a, b) == []
    net.reboot_nat(a, new_address=True)
    net.run(30.0)
    assert net.ping(b, a) is not None
    assert [each for each in between(net, a, b) if is_stun(each.data)] == []
    assert net.path(a, b).path == net.path(b, a).path == "relay"
    assert a.status()["node"]["punch"] == "off"
    assert {o["verdict"] for o in outcomes(b)} == {"not-applicable"}


@pytest.mark.parametrize("behind", ["apdm-random", "apdm-sequential"])
def test_with_known_addresses_only_nobody_guesses_or_asks(behind: str) -> None:
    net = Net(6)
    supernode = net.supernode()
    a, b = net.node("a", behind="eim-apdf", guesses=False), net.node("b", behind=behind)
    net.join()
    net.run(KNOWS_ITS_NAT_S)
    a.host.capture, b.host.capture = [], []
    assert net.ping(a, b) is not None
    net.run(40.0)
    assert net.path(a, b).path == "relay"
    named = {a.host.addresses[0], b.host.addresses[0]}
    for router in (*net.routers(a), *net.routers(b)):
        named.add(router.address)
    sent = between(net, a, b)
    assert {each.destination.host for each in sent} <= named
    assert len({each.destination for each in sent}) <= 4
    for node in (a, b):
        asked = [e for e in node.host.capture or () if e.outgoing and is_stun(e.data)]
        askers = {e.source.port for e in asked if e.destination.host in supernode.host.addresses}
        assert len(askers) <= LIFETIME_SOCKETS, "no prediction asks"
    for node in (a, b):
        said = {o["technique"]: o["detail"] for o in outcomes(node)}
        assert said["birthday"] == said["port-prediction"] == "one side lets no ports be guessed"
    assert (a.status()["node"]["punch"], b.status()["node"]["punch"]) == ("known", "all")


def test_with_known_addresses_only_easy_pairs_go_direct() -> None:
    net = Net(7)
    net.supernode()
    a, b = net.node("a", behind="eim-apdf", guesses=False), net.node("b", behind="double")
    net.join()
    net.send(a, b, b"first")
    assert net.run_until(lambda: net.is_direct(a, b), 2.0) < 2.0


def test_a_network_change_in_the_middle_of_a_punch_is_followed_by_another() -> None:
    net, a, b = pair(91, "eim-apdf", "apdm-random")
    assert net.ping(a, b) is not None
    net.run(3.0)
    net.move(a, behind="eim-apdf")
    for _ in range(400):
        net.run(0.1)
        if net.is_direct(a, b):
            break
    assert net.is_direct(a, b)
    for node in (a, b):
        net.run(1.0)
        assert len(node.host.ports) <= 2 + LIFETIME_SOCKETS, "the main port, and the one that was hit"


def test_loss_costs_a_punch_time_and_nothing_else() -> None:
    reached = 0
    for seed in range(10):
        net, a, b = pair(seed, "eim-apdf", "apdm-random", net=Net(seed, loss=0.05))
        reached += meet(net, a, b, 60.0).direct_after_s is not None
    assert reached >= 9


def test_a_filter_by_address_needs_no_guess() -> None:
    behaviour = NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT)
    net, a, b = pair(8, (behaviour,), "apdm-random")
    run = meet(net, a, b, 5.0)
    assert run.direct_after_s is not None
    assert run.direct_after_s < 2.0
    assert max(run.packets) < 40
