"""The simulated Internet: routing, nested NATs, hairpinning, lines, partitions, clocks, and that a seed repeats a
run.
"""

import pytest
from tests.sim.probe import Probe, Reflector, address_of

from ntvl.nat import KINDS, Filtering, NatBehaviour, Passage
from ntvl.sim.packet import Link
from ntvl.sim.world import SimulationError, World
from ntvl.wire.address import Address


def observed(world: World, probe: Probe, server: Reflector) -> Address:
    probe.host.send(b"?", address_of(server.host))
    world.run(1.0)
    return server.seen[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_of_any_kind_reaches_a_server_and_hears_its_answer(kind: str) -> None:
    world = World(seed=1)
    server, probe = Reflector(world.host("server", port=1971)), Probe(world.host("a", kind))
    seen = observed(world, probe, server)
    assert probe.got == [(address_of(server.host), str(seen).encode())]
    assert (seen == address_of(probe.host)) == (kind in ("open", "firewall"))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "open"])
def test_nobody_outside_reaches_a_host_that_has_not_sent(kind: str) -> None:
    world = World(seed=1)
    site = world.site(kind)
    probe, stranger = Probe(world.host("a", site)), Probe(world.host("b"))
    stranger.host.send(b"!", Address(site.routers[-1].address, probe.host.ports[0]))
    stranger.host.send(b"!", address_of(probe.host))
    world.run(1.0)
    assert probe.got == []


def test_a_private_address_leads_nowhere_from_outside_and_to_the_neighbour_inside() -> None:
    world = World(seed=1)
    home = world.site("eim-eif")
    a, b, far = Probe(world.host("a", home)), Probe(world.host("b", home)), Probe(world.host("far", "eim-eif"))
    a.host.send(b"near", address_of(b.host))
    far.host.send(b"far", address_of(b.host))
    world.run(1.0)
    assert b.got == [(address_of(a.host), b"near")]
    assert world.internet.segment.drops == {"unroutable": 1}


@pytest.mark.parametrize("hairpin", [False, True])
def test_two_hosts_behind_one_nat_meet_at_its_outside_only_if_it_hairpins(hairpin: bool) -> None:
    world = World(seed=1)
    home = world.site([NatBehaviour(hairpin=hairpin, filtering=Filtering.ENDPOINT_INDEPENDENT)])
    server = Reflector(world.host("server", port=1971))
    a, b = Probe(world.host("a", home)), Probe(world.host("b", home))
    seen_a, seen_b = observed(world, a, server), observed(world, b, server)
    a.host.send(b"round", seen_b)
    world.run(1.0)
    assert (b.got[1:] == [(seen_a, b"round")]) == hairpin


def test_homes_behind_one_carrier_meet_over_its_hairpin() -> None:
    world = World(seed=1)
    carrier = world.site([NatBehaviour(hairpin=True)])
    server = Reflector(world.host("server", port=1971))
    a = Probe(world.host("a", world.site("eim-apdf", outside=carrier)))
    b = Probe(world.host("b", world.site("eim-apdf", outside=carrier)))
    seen_a, seen_b = observed(world, a, server), observed(world, b, server)
    a.host.send(b"open", seen_b)
    world.run(1.0)
    b.host.send(b"through", seen_a)
    world.run(1.0)
    assert a.got[1:] == [(seen_b, b"through")]
    assert b.got[1:] == []


def test_ipv6_is_filtered_but_never_translated() -> None:
    world = World(seed=1)
    a = Probe(world.host("a", "double", ipv6=True))
    b = Probe(world.host("b", ipv6=True))
    there = Address(a.host.addresses[1], a.host.ports[0])
    b.host.send(b"early", there)
    world.run(1.0)
    assert a.got == []
    a.host.send(b"out", Address(b.host.addresses[1], b.host.ports[0]))
    world.run(1.0)
    assert b.got == [(there, b"out")]
    b.host.send(b"back", there)
    world.run(1.0)
    assert [data for _, data in a.got] == [b"back"]


def test_a_rebooted_router_with_a_new_address_speaks_from_there_and_forgets_the_old_one() -> None:
    world = World(seed=1)
    home = world.site("eim-eif")
    server, a = Reflector(world.host("server", port=1971)), Probe(world.host("a", home))
    before = observed(world, a, server)
    home.reboot(new_address=True)
    server.host.send(b"late", before)
    world.run(1.0)
    assert len(a.got) == 1
    after = observed(world, a, server)
    assert after.host != before.host
    assert len(a.got) == 2


def test_a_moved_host_speaks_from_its_new_address_and_its_program_hears_of_it() -> None:
    world = World(seed=1)
    server, a = Reflector(world.host("server", port=1971)), Probe(world.host("a", "eim-eif"))
    before = observed(world, a, server)
    a.host.unplug()
    assert not a.host.send(b"nowhere", before)
    a.host.plug(world.site("eim-eif").segment)
    assert observed(world, a, server).host != before.host
    assert a.moves == 2


def test_a_host_with_two_interfaces_takes_the_one_that_leads_there() -> None:
    world = World(seed=1)
    home = world.site("eim-eif")
    neighbour, server = Probe(world.host("b", home)), Reflector(world.host("server", port=1971))
    both = Probe(world.host("a"))
    both.host.plug(home.segment)
    both.host.send(b"lan", address_of(neighbour.host))
    assert observed(world, both, server) == address_of(both.host)
    assert neighbour.got == [(Address(both.host.addresses[1], both.host.ports[0]), b"lan")]


def send_many(link: Link, count: int, seed: int = 3, spacing_s: float = 0.001) -> tuple[list[int], World]:
    world = World(seed=seed)
    a, b = Probe(world.host("a", link=link)), Probe(world.host("b"))
    for number in range(count):
        world.timeline.after(number * spacing_s, lambda n=number: a.host.send(n.to_bytes(2, "big"), address_of(b.host)))
    world.run(60.0)
    return [int.from_bytes(data, "big") for _, data in b.got], world


def test_lines_lose_duplicate_and_reorder_as_often_as_told() -> None:
    lossy, world = send_many(Link(loss=0.1), 2000)
    assert 150 < 2000 - len(lossy) < 250
    assert world.internet.segment.drops["line"] == 2000 - len(lossy)
    doubled, _ = send_many(Link(duplicate=0.1), 2000)
    assert 150 < len(doubled) - 2000 < 250
    mixed, _ = send_many(Link(reorder=0.1), 2000)
    assert sorted(mixed) == list(range(2000))
    assert mixed != sorted(mixed)
    jittery, _ = send_many(Link(delay_s=0.01, jitter_s=0.02), 2000)
    assert jittery == list(range(2000))


def test_a_line_with_a_rate_delays_and_then_drops() -> None:
    numbers, world = send_many(Link(rate_bps=8_000.0, queue_bytes=300), 100, spacing_s=0.0)
    assert len(numbers) == 10
    assert world.internet.segment.drops["line"] == 100 - len(numbers)


def test_a_datagram_larger_than_the_line_carries_is_lost() -> None:
    world = World(seed=1)
    a, b = Probe(world.host("a", link=Link(mtu_bytes=1492))), Probe(world.host("b"))
    a.host.send(bytes(1464), address_of(b.host))
    a.host.send(bytes(1465), address_of(b.host))
    world.run(1.0)
    assert [len(data) for _, data in b.got] == [1464]


def test_delay_is_the_sum_of_both_lines() -> None:
    world = World(seed=1)
    server = Reflector(world.host("server", link=Link(delay_s=0.030)))
    a = Probe(world.host("a", link=Link(delay_s=0.020)))
    a.host.send(b"?", address_of(server.host))
    assert world.run_until(lambda: bool(a.got)) == pytest.approx(0.1)


def test_the_same_seed_gives_the_same_run_and_another_gives_another() -> None:
    link = Link(loss=0.1, reorder=0.1, duplicate=0.1, jitter_s=0.01)
    assert send_many(link, 300, seed=5)[0] == send_many(link, 300, seed=5)[0]
    assert send_many(link, 300, seed=5)[0] != send_many(link, 300, seed=6)[0]


def test_a_cut_separates_hosts_in_the_directions_told_until_it_heals() -> None:
    world = World(seed=1)
    a, b = Probe(world.host("a")), Probe(world.host("b"))

    def exchange() -> tuple[int, int]:
        a.got.clear()
        b.got.clear()
        a.host.send(b"x", address_of(b.host))
        b.host.send(b"x", address_of(a.host))
        world.run(1.0)
        return len(a.got), len(b.got)

    world.cut([a.host], [b.host], one_way=True)
    assert exchange() == (1, 0)
    world.cut([a.host], [b.host])
    assert exchange() == (0, 0)
    world.heal()
    assert exchange() == (1, 1)


def test_a_suspended_host_is_deaf_and_dumb_and_its_clocks_go_on() -> None:
    world = World(seed=1)
    a, b = Probe(world.host("a")), Probe(world.host("b"))
    now, wall = a.host.now, a.host.wall()
    a.host.suspend(3600.0)
    b.host.send(b"x", address_of(a.host))
    assert not a.host.send(b"x", address_of(b.host))
    world.run(3599.0)
    assert a.wakes == 0
    world.run(1.0)
    assert (a.wakes, a.got) == (1, [])
    assert a.host.now - now == pytest.approx(3600.0)
    assert a.host.wall() - wall == pytest.approx(3600.0)
    a.host.step_wall(-86400.0)
    assert a.host.wall() - wall == pytest.approx(3600.0 - 86400.0)
    assert a.host.now != b.host.now


def test_what_does_not_happen_in_time_is_said_with_the_seed() -> None:
    world = World(seed=4711)
    with pytest.raises(SimulationError, match=r"nothing awaited.*4711"):
        world.run_until(lambda: False, 5.0, "nothing awaited")
    assert world.now == 5.0


@pytest.mark.parametrize("passes", [Passage.NO_UDP, Passage.TCP_443, Passage.NOTHING])
def test_a_box_that_lets_no_udp_out_drops_and_counts_it(passes: Passage) -> None:
    world = World(seed=1)
    site = world.site([NatBehaviour(passes=passes)])
    server, inside = world.host("server", port=1971), world.host("inside", site)
    inside.send(b"hello", Address(server.addresses[0], 1971))
    world.run(1.0)
    assert server.received == 0
    assert server.drops == {}
    assert site.routers[0].drops == {"blocked": 1}


# --- time to live ---


@pytest.mark.parametrize(("ttl", "died"), [(1, "router"), (2, "internet"), (7, "internet"), (8, "their router")])
def test_a_packet_gets_as_far_as_its_time_to_live(ttl: int, died: str) -> None:
    world = World(seed=1)
    near, far = world.site("eim-apdf"), world.site("eim-eif")
    server = Reflector(world.host("server", port=1971))
    a, b = Probe(world.host("a", near)), Probe(world.host("b", far))
    seen = observed(world, b, server)
    (ours,), (theirs,) = near.routers, far.routers
    a.host.send(b"opener", seen, 0, ttl)
    world.run(1.0)
    drops = {
        "router": ours.drops.get("ttl", 0),
        "internet": world.internet.segment.drops.get("ttl", 0),
        "their router": theirs.drops.get("ttl", 0),
    }
    assert drops == {where: int(where == died) for where in drops}
    assert b.got == [(address_of(server.host), str(seen).encode())]
    b.host.send(b"back", Address(ours.address, a.host.ports[0]))
    world.run(1.0)
    assert (a.got == []) is (died == "router"), "a router that let it out has a mapping"


def test_what_lives_long_enough_arrives() -> None:
    world = World(seed=1)
    a, b = Probe(world.host("a", "eim-apdf")), Probe(world.host("b"))
    a.host.send(b"!", address_of(b.host), 0, 8)
    world.run(1.0)
    assert [data for _, data in b.got] == [b"!"]
