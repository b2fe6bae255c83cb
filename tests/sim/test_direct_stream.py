"""Diallings and streams of simulated nodes go through the NATs, and do what TCP does there."""

from collections.abc import Callable

import pytest
from tests.sim.probe import Probe

from ntvl.nat import KINDS, Mapping, NatBehaviour, Passage, PortAllocation
from ntvl.sim.direct_stream import LIFE_S, STREAMS_MAX, SimDirectStreams
from ntvl.sim.greeter import Greeter
from ntvl.sim.packet import WAN, Link
from ntvl.sim.site import Site
from ntvl.sim.tcp_connection import SILENT_PEER_S
from ntvl.sim.tcp_ports import TcpPorts
from ntvl.sim.world import SimulationError, World
from ntvl.wire.address import Address

HOME = KINDS["eim-apdf"]
NO_UDP = (NatBehaviour(passes=Passage.NO_UDP),)
RANDOM = KINDS["apdm-random"]
STEP = 3
COUNTING = (NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=PortAllocation.SEQUENTIAL, step=STEP),)
DATAGRAM = b"a datagram"


class End:
    """Is a host with a program and its streams; keeps what it is told."""

    def __init__(self, world: World, name: str, behind: str | tuple[NatBehaviour, ...] | Site) -> None:
        self.world = world
        self.site = world.site(behind)
        self.host = world.host(name, self.site)
        self.probe = Probe(self.host)
        self.ports: list[tuple[int, int, Address | None]] = []
        self.opened: list[tuple[int, Address, Address]] = []
        self.ended: list[Address] = []
        self.streams = SimDirectStreams(
            self.host,
            world.timeline,
            world.random(name),
            tell_port=lambda *news: self.ports.append(news),
            tell_stream=lambda *news: self.opened.append(news),
            tell_end=self.ended.append,
        )

    @property
    def observed(self) -> Address:
        address = self.ports[-1][2]
        assert address is not None
        return address

    @property
    def carrier(self) -> Address:
        return self.opened[-1][2]

    @property
    def got(self) -> list[bytes]:
        return [data for _, data in self.probe.got]

    def predict(self, count: int) -> list[Address]:
        return [Address(self.observed.host, self.observed.port + STEP * place) for place in range(1, count + 1)]


class Pair:
    """Is two ends and a supernode's TCP port, everything on a line of one kind."""

    def __init__(
        self,
        left: str | tuple[NatBehaviour, ...],
        right: str | tuple[NatBehaviour, ...],
        link: Link = WAN,
        seed: int = 5,
    ) -> None:
        self.world = World(seed, link)
        self.server = self.world.host("server", port=1971)
        self.serve()
        self.a, self.b = End(self.world, "a", left), End(self.world, "b", right)

    def serve(self) -> None:
        Probe(self.server)
        Greeter(self.server, self.world.timeline, self.world.random("server/tcp"))

    @property
    def servers(self) -> list[Address]:
        return [Address(self.server.addresses[0], 1971)]

    def ask(self) -> None:
        for end in (self.a, self.b):
            end.streams.want_port(1, self.servers)
        self.world.run_until(lambda: bool(self.a.ports and self.b.ports), 2.1, "ports told")

    def meet(self, limit_s: float = 1.0) -> float:
        """Dials each other's observed address; returns how long that took."""
        self.ask()
        self.a.streams.dial(1, [self.b.observed])
        self.b.streams.dial(1, [self.a.observed])
        return self.await_open(limit_s)

    def await_open(self, limit_s: float = 1.0) -> float:
        return self.world.run_until(lambda: bool(self.a.opened and self.b.opened), limit_s, "a stream")

    def talk(self, count: int = 1) -> None:
        for _ in range(count):
            self.a.host.send(DATAGRAM, self.a.carrier)


@pytest.mark.parametrize("right", [HOME, NO_UDP, "open", "firewall", "double", "apdm-preserving"])
@pytest.mark.parametrize("left", [HOME, NO_UDP])
def test_known_addresses_are_enough_for_a_stream_within_a_second(
    left: tuple[NatBehaviour, ...], right: str | tuple[NatBehaviour, ...]
) -> None:
    pair = Pair(left, right)
    assert pair.meet() < 0.2
    (opened_a,), (opened_b,) = pair.a.opened, pair.b.opened
    assert opened_a[:2] == (1, pair.b.observed)
    assert opened_b[:2] == (1, pair.a.observed)
    pair.a.host.send(b"there", opened_a[2])
    pair.b.host.send(b"back" * 400, opened_b[2])
    pair.world.run(1.0)
    assert pair.b.probe.got == [(opened_b[2], b"there")]
    assert pair.a.probe.got == [(opened_a[2], b"back" * 400)]
    assert opened_a[2].host.startswith("127.66.")


@pytest.mark.parametrize("late_s", [0.0, 0.005, 0.3, 2.0])
@pytest.mark.parametrize("first", ["a", "b"])
def test_whoever_dials_first_the_stream_opens(first: str, late_s: float) -> None:
    pair = Pair(HOME, HOME)
    pair.ask()
    early, late = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
    early.streams.dial(1, [late.observed])
    pair.world.run(late_s)
    late.streams.dial(1, [early.observed])
    assert pair.await_open() < 0.2
    pair.talk()
    pair.world.run(1.0)
    assert pair.b.got == [DATAGRAM]


def test_a_connection_that_comes_before_the_other_end_dials_waits_for_it() -> None:
    pair = Pair(HOME, "open")
    pair.ask()
    pair.a.streams.dial(1, [pair.b.observed])
    pair.world.run(0.5)
    assert not pair.a.opened
    pair.b.streams.dial(1, [pair.a.observed])
    assert pair.await_open() < 0.05


def test_the_server_tells_what_the_nat_made_of_the_port() -> None:
    pair = Pair(COUNTING, "open")
    pair.ask()
    ((number, port, _),) = pair.a.ports
    assert number == 1
    assert pair.a.observed.host == pair.a.site.routers[0].address
    assert pair.a.observed.port != port
    assert pair.b.observed == Address(pair.b.host.addresses[0], pair.b.ports[0][1])


def test_a_counting_nat_gives_the_nth_syn_the_nth_port_after_the_one_that_the_server_saw() -> None:
    pair = Pair(COUNTING, HOME)
    pair.ask()
    wrong = Address(pair.b.observed.host, 9)
    pair.b.streams.dial(1, pair.a.predict(4))
    pair.a.streams.dial(1, [wrong, pair.b.observed])
    pair.await_open()
    assert [remote for _, remote, _ in pair.b.opened] == [pair.a.predict(2)[1]]
    pair.talk()
    pair.world.run(1.0)
    assert pair.b.got == [DATAGRAM]


def test_a_host_without_nat_takes_the_connection_from_a_port_that_nobody_named() -> None:
    pair = Pair(RANDOM, "open")
    assert pair.meet() < 0.2
    assert pair.b.opened[0][1].port != pair.a.observed.port
    stranger = End(pair.world, "stranger", HOME)
    stranger.streams.want_port(1, pair.servers)
    pair.world.run(1.0)
    stranger.streams.dial(1, [pair.b.observed])
    pair.world.run(5.0)
    assert not stranger.opened
    assert len(pair.b.opened) == 1


@pytest.mark.parametrize("left", [RANDOM, COUNTING])
def test_ports_that_nobody_can_know_let_nothing_through_a_filter(left: tuple[NatBehaviour, ...]) -> None:
    pair = Pair(left, HOME)
    with pytest.raises(SimulationError):
        pair.meet(10.0)
    assert pair.b.site.routers[0].drops == {}
    assert not pair.a.opened + pair.b.opened


@pytest.mark.parametrize("passes", [Passage.TCP_443, Passage.NOTHING])
def test_where_no_other_port_than_https_gets_out_nobody_is_asked_and_nothing_opens(passes: Passage) -> None:
    pair = Pair((NatBehaviour(passes=passes),), "open")
    pair.a.streams.want_port(1, pair.servers)
    pair.world.run(2.1)
    assert [observed for _, _, observed in pair.a.ports] == [None]
    pair.a.streams.dial(1, [Address(pair.b.host.addresses[0], 4000)])
    pair.world.run(5.0)
    assert not pair.a.opened
    assert set(pair.a.site.routers[0].drops) == {"blocked"}


def test_port_443_alone_gets_out_where_that_alone_is_let_out() -> None:
    world = World(5)
    server = world.host("server", port=443)
    Greeter(server, world.timeline, world.random("server/tcp"))
    end = End(world, "a", (NatBehaviour(passes=Passage.TCP_443),))
    end.streams.want_port(1, [Address(server.addresses[0], 443)])
    world.run(1.0)
    assert end.observed.host == end.site.routers[0].address


def test_the_second_server_is_asked_where_the_first_is_silent() -> None:
    pair = Pair(HOME, HOME)
    pair.a.streams.want_port(1, [Address("198.18.200.1", 1971), *pair.servers])
    assert pair.world.run_until(lambda: bool(pair.a.ports), 2.0) > 1.0
    assert pair.a.observed.host == pair.a.site.routers[0].address


def test_without_an_answer_the_port_is_told_after_two_seconds() -> None:
    pair = Pair(HOME, HOME)
    pair.server.end_streams()  # Its program is gone: refused, again and again.
    pair.a.streams.want_port(1, pair.servers)
    assert pair.world.run_until(lambda: bool(pair.a.ports), 2.1) == pytest.approx(2.0)
    assert pair.a.ports[0][1] > 0
    assert pair.a.ports[0][2] is None
    pair.serve()
    pair.a.streams.want_port(2, pair.servers)
    pair.world.run(1.0)
    assert pair.a.observed.host == pair.a.site.routers[0].address


def reboot(pair: Pair) -> None:
    pair.a.site.reboot()


def move(pair: Pair) -> None:
    pair.a.host.unplug()
    pair.a.host.plug(pair.world.site(HOME).segment)


def cut(pair: Pair) -> None:
    pair.world.cut([pair.a.host], [pair.b.host])


@pytest.mark.parametrize("what", [reboot, move, cut])
def test_a_stream_that_has_lost_its_way_ends_after_twenty_seconds(what: Callable[[Pair], None]) -> None:
    pair = Pair(HOME, HOME)
    pair.meet()
    what(pair)
    pair.talk(3)
    pair.b.host.send(DATAGRAM, pair.b.carrier)
    pair.world.run(SILENT_PEER_S - 1.0)
    assert not pair.a.ended + pair.b.ended
    pair.world.run(2.0)
    assert pair.a.ended == [pair.a.carrier]
    assert pair.b.ended == [pair.b.carrier]
    assert not pair.a.got + pair.b.got


def test_a_short_cut_only_delays() -> None:
    pair = Pair(HOME, HOME)
    pair.meet()
    cut(pair)
    pair.talk(3)
    pair.world.run(5.0)
    pair.world.heal()
    pair.world.run(5.0)
    assert pair.b.got == [DATAGRAM] * 3
    assert not pair.a.ended + pair.b.ended


def test_a_program_that_ends_breaks_its_streams_and_a_stream_closed_is_told_to_the_other_end() -> None:
    pair = Pair(HOME, HOME)
    pair.meet()
    pair.b.host.end_streams()
    assert pair.world.run_until(lambda: bool(pair.a.ended), 1.0) == pytest.approx(0.0204, abs=0.001)
    assert pair.b.ended == []
    pair = Pair(HOME, HOME)
    pair.meet()
    pair.a.streams.close_stream(pair.a.carrier)
    pair.world.run(1.0)
    assert (pair.a.ended, pair.b.ended) == ([], [pair.b.carrier])


def test_a_sleeper_misses_its_streams_end_and_hears_of_it_when_it_speaks() -> None:
    pair = Pair(HOME, HOME)
    pair.meet()
    pair.a.host.suspend(3600.0)
    pair.b.host.send(DATAGRAM, pair.b.carrier)
    pair.world.run(3600.0)
    assert pair.b.ended == [pair.b.carrier]
    pair.talk()
    pair.world.run(1.0)
    assert pair.a.ended == [pair.a.carrier]


@pytest.mark.parametrize("seed", range(4))
def test_lines_that_lose_mix_and_double_delay_datagrams_and_keep_their_order(seed: int) -> None:
    pair = Pair(HOME, HOME, WAN.but(loss=0.05, reorder=0.05, duplicate=0.05, jitter_s=0.005), seed)
    pair.meet(15.0)
    sent = [bytes([number % 251]) * (1 + 37 * number % 3000) for number in range(400)]
    for place, data in enumerate(sent):
        pair.world.timeline.after(place * 0.01, lambda data=data: pair.a.host.send(data, pair.a.carrier))  # type: ignore[misc]
    pair.world.run(20.0)
    assert pair.b.got == sent
    assert not pair.a.ended + pair.b.ended


def test_what_a_slow_line_cannot_take_is_dropped_and_the_rest_keeps_its_order() -> None:
    pair = Pair(HOME, HOME, WAN.but(rate_bps=1e6, queue_bytes=20_000))
    pair.meet()
    sent = [number.to_bytes(2, "big") * 500 for number in range(1000)]
    for data in sent:
        pair.a.host.send(data, pair.a.carrier)
    pair.world.run(60.0)
    assert 200 < len(pair.b.got) < 500
    assert pair.b.got == sent[: len(pair.b.got)]
    assert not pair.a.ended + pair.b.ended


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[float, int]:
        pair = Pair(RANDOM, "open", WAN.but(loss=0.2), 3)
        return pair.meet(30.0), pair.world.timeline.steps

    assert run() == run()


def test_an_ended_dialling_takes_and_opens_nothing_and_its_streams_stay() -> None:
    pair = Pair(HOME, "open")
    pair.meet()
    pair.b.streams.unwant(1)
    pair.a.streams.want_port(2, pair.servers)
    pair.world.run(1.0)
    pair.a.streams.dial(2, [pair.b.observed])
    pair.world.run(5.0)
    assert [number for number, _, _ in pair.a.opened] == [1]
    pair.talk()
    pair.world.run(1.0)
    assert pair.b.got == [DATAGRAM]


def test_a_dialling_that_nobody_ends_ends_itself() -> None:
    pair = Pair(HOME, HOME)
    pair.ask()
    pair.a.streams.dial(1, [pair.b.observed])
    pair.world.run(LIFE_S)
    steps = pair.world.timeline.steps
    pair.b.streams.dial(1, [pair.a.observed])
    pair.world.run(60.0)
    assert not pair.a.opened + pair.b.opened
    assert pair.world.timeline.steps == steps


def test_a_dialling_has_four_streams_at_most() -> None:
    pair = Pair("open", "open")
    pair.ask()
    callers = [End(pair.world, f"caller{number}", "open") for number in range(STREAMS_MAX + 2)]
    for caller in callers:
        caller.streams.want_port(1, pair.servers)
    pair.world.run(1.0)
    pair.b.streams.dial(1, [Address(caller.observed.host, 9) for caller in callers])
    for caller in callers:
        caller.streams.dial(1, [pair.b.observed])
    pair.world.run(2.0)
    assert len(pair.b.opened) == STREAMS_MAX
    assert sum(len(caller.opened) for caller in callers) == STREAMS_MAX


def test_whoever_connects_and_does_not_greet_is_closed() -> None:
    pair = Pair("open", "open")
    pair.ask()
    silent = pair.world.host("silent")
    opened: list[object] = []
    connection = TcpPorts(silent, pair.world.timeline, pair.world.random("silent")).connect(
        4000, pair.b.observed, opened.append
    )
    assert connection is not None
    pair.b.streams.dial(1, [Address(silent.addresses[0], 9)])
    pair.world.run(1.0)
    assert opened == [connection]
    assert connection.state == "open"
    connection.send(b"GET / HTTP/1.0\r\n\r\n")
    pair.world.run(1.0)
    assert connection.state == "closed"
    assert pair.b.streams.drops == {"type": 1}
    again = TcpPorts(silent, pair.world.timeline, pair.world.random("silent")).connect(
        4001, pair.b.observed, opened.append
    )
    assert again is not None
    pair.world.run(2.9)
    assert again.state == "open"
    pair.world.run(0.3)
    assert again.state == "closed"
    assert not pair.b.opened


def test_two_hosts_on_one_lan_connect_by_their_own_addresses_and_by_the_routers_where_it_hairpins() -> None:
    for behaviour, target in ((NatBehaviour(), "host"), (NatBehaviour(hairpin=True), "observed")):
        pair = Pair((behaviour,), "open")
        pair.b = End(pair.world, "c", pair.a.site)
        pair.ask()
        for end, other in ((pair.a, pair.b), (pair.b, pair.a)):
            own = Address(other.host.addresses[0], other.ports[0][1])
            end.streams.dial(1, [own if target == "host" else other.observed])
        assert pair.await_open() < 0.2


def test_ipv6_is_filtered_and_not_translated() -> None:
    world = World(5)
    ends = []
    for name in ("a", "b"):
        end = End(world, name, world.site(HOME, ipv6=True))
        end.host.unplug()
        end.host.plug(end.site.segment)
        end.streams.want_port(1, [])
        ends.append(end)
    world.run(0.1)
    addresses = [Address(end.host.addresses[1], end.ports[0][1]) for end in ends]
    ends[0].streams.dial(1, addresses[1:])
    world.run(0.5)
    assert not ends[0].opened
    ends[1].streams.dial(1, addresses[:1])
    world.run_until(lambda: all(end.opened for end in ends), 1.0)
    assert [end.opened[0][1] for end in ends] == addresses[::-1]
