"""Diallings and carriers of a node, shared by its peers."""

from typing import Any

from ntvl.proto.events import DialPortWanted, DialUnwanted, DialWanted, StreamUnwanted
from ntvl.proto.far_ends import FarEnds
from ntvl.proto.stream_paths import DIALLINGS_MAX, SERVERS_MAX, StreamPaths
from ntvl.wire.address import Address, Origin

SERVERS = [Address("192.0.2.1", 1971), Address("192.0.2.2", 1971), Address("192.0.2.3", 1971)]
REMOTE, CARRIER = Address("198.51.100.2", 4000), Address("127.64.0.1", 40000)


class Owner:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def handle_port(self, port: int, observed: Address | None, now: float) -> None:
        self.heard.append(("port", port, observed))

    def handle_stream(self, carrier: Address, now: float) -> None:
        self.heard.append(("stream", carrier))

    def handle_end(self, carrier: Address, now: float) -> None:
        self.heard.append(("end", carrier))


def build() -> tuple[StreamPaths, list[Any], FarEnds]:
    told: list[Any] = []
    ends = FarEnds()
    return StreamPaths(told.append, ends), told, ends


def test_a_dialling_goes_from_a_port_to_connections_that_outlive_it() -> None:
    paths, told, ends = build()
    owner = Owner()
    number = paths.begin(owner, SERVERS)
    paths.handle_port(number, 4001, REMOTE, 1.0)
    paths.dial(number, [REMOTE])
    paths.handle_stream(number, REMOTE, CARRIER, 1.0)
    paths.end(number)
    paths.end(number)
    assert told == [
        DialPortWanted(number, tuple(SERVERS[:SERVERS_MAX])),
        DialWanted(number, (REMOTE,)),
        DialUnwanted(number),
    ]
    assert owner.heard == [("port", 4001, REMOTE), ("stream", CARRIER)]
    assert ends.unveil(Origin(CARRIER)).address == REMOTE
    paths.handle_end(CARRIER, 2.0)
    paths.handle_end(CARRIER, 2.0)
    assert owner.heard[-1] == ("end", CARRIER)
    assert len(owner.heard) == 3
    assert not ends.is_carrier(CARRIER)


def test_a_connection_that_opens_after_the_end_is_closed_and_a_late_port_ignored() -> None:
    paths, told, ends = build()
    owner = Owner()
    number = paths.begin(owner, [])
    paths.end(number)
    paths.handle_port(number, 4001, None, 1.0)
    paths.handle_stream(number, REMOTE, CARRIER, 1.0)
    assert owner.heard == []
    assert told[-1] == StreamUnwanted(CARRIER)
    assert not ends.is_carrier(CARRIER)


def test_no_more_than_some_diallings_at_once() -> None:
    paths, told, _ = build()
    numbers = [paths.begin(Owner(), []) for _ in range(DIALLINGS_MAX + 2)]
    assert numbers[DIALLINGS_MAX:] == [0, 0]
    assert len(set(numbers)) == DIALLINGS_MAX + 1
    assert len(told) == DIALLINGS_MAX
    paths.end(numbers[0])
    assert paths.begin(Owner(), []) > 0


def test_only_the_owners_unused_connections_are_closed() -> None:
    paths, told, _ = build()
    owner, other = Owner(), Owner()
    carriers = [CARRIER._replace(port=port) for port in (1, 2, 3)]
    first, second = paths.begin(owner, []), paths.begin(other, [])
    paths.handle_stream(first, REMOTE, carriers[0], 1.0)
    paths.handle_stream(first, REMOTE, carriers[1], 1.0)
    paths.handle_stream(second, REMOTE, carriers[2], 1.0)
    told.clear()
    paths.settle(owner, {carriers[0]})
    paths.settle(owner, {carriers[0]})
    assert told == [StreamUnwanted(carriers[1])]
    paths.handle_end(carriers[1], 2.0)
    assert ("end", carriers[1]) not in owner.heard
