import random
from typing import cast

from ntvl.dataplane.interface import OpenSocket
from ntvl.identity.keys import NodeKey
from ntvl.proto.context import Context
from ntvl.proto.events import SeenElsewhere
from ntvl.proto.leave import Leave
from ntvl.proto.registration import Registration
from ntvl.proto.sockets import Sockets
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.whereabouts import Whereabouts
from ntvl.wire.address import Address, Origin
from ntvl.wire.stun import build_binding_response, parse_stun

SERVER, STREAM = Address("198.51.100.1", 1971), Address("127.70.1.2", 4000)
HOME = ("192.168.1.2",)


class Supernode:
    """Is what a whereabouts asks of a registration."""

    def __init__(self) -> None:
        self.resolved: tuple[Address, ...] = (Address("2001:db8::1", 1971), SERVER)
        self.address: Address | None = SERVER
        self.observed: Address | None = Address("203.0.113.9", 4001)

    def is_reachable(self) -> bool:
        return True


class Place:
    """Is a whereabouts with one supernode, which answers as one that sees every socket at its own port."""

    def __init__(self, *, direct: bool = True) -> None:
        self.context = Context(random.Random(1).randbytes, lambda: 0.0)
        self.supernode = Supernode()
        self.told: list[float] = []
        self.opened = 0
        self.around = Surroundings(
            NodeKey.generate(random.Random(2).randbytes),
            aes=True,
            direct=direct,
            tie_breaker=1,
            sockets=Sockets(self.context),
            candidates=tuple,
            leave=Leave(self.context, lambda community: None),
            refresh=lambda now: None,
            tell=self.context.events.append,
            url=str,
        )
        self.here = Whereabouts(
            self.context,
            self.around,
            port=4001,
            registrations=[cast(Registration, self.supernode)],
            on_nat=self.told.append,
        )

    def play(self, now: float, until: float, *, seen: str = "203.0.113.9") -> None:
        while True:
            while self.context.commands or self.context.transmits:
                while self.context.commands:
                    command = self.context.commands.popleft()
                    if isinstance(command, OpenSocket):
                        self.opened += 1
                        self.here.handle_socket(command.socket, 5000 + command.socket, now)
                while self.context.transmits:
                    sent = self.context.transmits.popleft()
                    assert sent.address == SERVER
                    answer = build_binding_response(
                        parse_stun(sent.data).transaction, Address(seen, 5000 + sent.socket)
                    )
                    assert self.here.handle_datagram(answer, Origin(sent.address, sent.socket), now)
            wakeup = self.context.timers.next()
            if wakeup is None or wakeup.at > until:
                return
            now = max(now, wakeup.at)
            for key in self.context.timers.due(now):
                if key == ("nat",):
                    self.here.handle_nat_timeout(now)
                else:
                    self.here.handle_lifetime_timeout(now)


def test_where_it_is_told_its_addresses_it_looks_and_tells_what_is_new_once() -> None:
    place = Place()
    assert not place.here.handle_interfaces(HOME, 100.0)
    place.play(100.0, 106.0)
    assert place.here.report is not None
    assert place.around.udp
    assert len(place.told) == 1
    assert place.around.nat.allocation == "preserving"
    place.here.look_again(107.0)
    place.play(107.0, 112.0)
    assert len(place.told) == 1


def test_told_again_it_looks_again_for_the_route_may_be_another() -> None:
    place = Place()
    place.here.handle_interfaces(HOME, 100.0)
    place.play(100.0, 106.0)
    before = place.opened
    assert place.here.handle_interfaces(HOME, 107.0)
    place.play(107.0, 112.0)
    assert place.opened > before


def test_a_supernode_that_sees_us_elsewhere_makes_a_look_but_its_first_word_does_not() -> None:
    place = Place()
    place.here.handle_interfaces(HOME, 100.0)
    place.play(100.0, 106.0)
    before = place.opened
    place.here.handle_observed(0, 106.0)
    place.play(106.0, 108.0)
    assert place.opened == before
    assert list(place.context.events) == []
    place.here.handle_observed(0, 108.0)
    assert list(place.context.events) == [SeenElsewhere(0)], "for gateways and servers may have forgotten us"
    place.play(108.0, 113.0)
    assert place.opened > before


def test_where_all_goes_by_relay_nothing_is_looked_at() -> None:
    place = Place(direct=False)
    place.here.handle_interfaces(HOME, 100.0)
    place.here.handle_observed(0, 100.0)
    place.here.handle_observed(0, 101.0)
    place.play(100.0, 110.0)
    assert place.opened == 0


def test_candidates_are_our_addresses_what_supernodes_see_and_what_gateways_map() -> None:
    place = Place()
    assert [c.kind for c in place.here.candidates()] == ["srflx"]
    place.here.handle_interfaces(HOME, 100.0)
    place.around.mappings = (Address("203.0.113.9", 7000),)
    found = {(c.kind, c.host, c.port) for c in place.here.candidates()}
    assert found == {
        ("host", "192.168.1.2", 4001),
        ("mapped", "203.0.113.9", 7000),
        ("srflx", "203.0.113.9", 4001),
    }


def test_a_stream_is_no_stun_server() -> None:
    place = Place()
    assert place.here.servers() == (SERVER,)
    assert place.here.server() == SERVER
    place.supernode.address = STREAM
    assert place.here.server() is None


def test_what_comes_to_other_sockets_is_for_others() -> None:
    assert not Place().here.handle_datagram(b"\x00" * 20, Origin(SERVER, 0), 100.0)
