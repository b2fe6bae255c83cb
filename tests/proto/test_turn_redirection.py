"""A TURN server that sends its client on to another one."""

import pytest
from tests.proto.turn_server import USER, TurnServer

from ntvl.proto.turn import TurnClient
from ntvl.proto.turn_events import Allocated, Moved, TurnFailed, TurnState
from ntvl.wire.address import Address
from ntvl.wire.attribute import build_address_value
from ntvl.wire.turn import TurnMethod


def alternate(host: str, port: int = 3478) -> tuple[int, bytes]:
    return 0x8023, build_address_value(Address(host, port), bytes(16))


def test_a_server_that_sends_us_on_is_followed_once() -> None:
    server = TurnServer()
    server.answer = lambda turn: server.error(turn, 300, alternate("198.51.100.2"), (0x8003, b"two.example"), key=None)  # type: ignore[method-assign]
    server.start()
    assert server.events == [Moved(Address("198.51.100.2", 3478), "two.example")]
    assert (server.client.state, server.client.server) == (TurnState.MOVED, Address("198.51.100.2", 3478))
    server.run(server.now + 100.0)
    assert server.count(TurnMethod.ALLOCATE) == 1
    server.start()
    assert server.events[1:] == [TurnFailed("the server sends us to another, which is not followed", True)]
    assert server.count(TurnMethod.ALLOCATE) == 2


def test_the_other_server_serves_as_the_first_would() -> None:
    server = TurnServer()
    server.answer = lambda turn: server.error(turn, 300, alternate("198.51.100.2"), key=None)  # type: ignore[method-assign]
    server.start()
    del server.answer  # type: ignore[method-assign]
    server.start()
    assert isinstance(server.events[-1], Allocated)


@pytest.mark.parametrize(
    ("ours", "theirs", "followed"),
    [
        ("8.8.8.8", "9.9.9.9", True),
        ("8.8.8.8", "10.0.0.1", False),
        ("8.8.8.8", "192.168.1.1", False),
        ("8.8.8.8", "100.64.0.1", False),
        ("8.8.8.8", "fd00::1", False),
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "9.9.9.9", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.1", "224.0.0.1", False),
        ("10.0.0.1", "0.0.0.0", False),
        ("10.0.0.1", "169.254.1.1", False),
        ("10.0.0.1", "255.255.255.255", False),
        ("fd00::1", "::1", False),
        ("fd00::1", "ff02::1", False),
    ],
)
def test_nobody_sends_us_to_ourselves_our_neighbours_or_from_the_internet_into_our_network(
    ours: str, theirs: str, followed: bool
) -> None:
    server = TurnServer()
    server.client = TurnClient(Address(ours, 3478), USER, stream=False, random=server.seed.randbytes)
    server.answer = lambda turn: server.error(turn, 300, alternate(theirs), key=None)  # type: ignore[method-assign]
    server.start()
    assert (server.client.state is TurnState.MOVED) is followed


@pytest.mark.parametrize("domain", [".two.example", "two..example", "x" * 64, "two\0example", "zwei.b\u00fccher"])
def test_a_redirection_to_what_is_no_name_fails(domain: str) -> None:
    server = TurnServer()
    other = alternate("198.51.100.2"), (0x8003, domain.encode())
    server.answer = lambda turn: server.error(turn, 300, *other, key=None)  # type: ignore[method-assign]
    server.start()
    assert server.events == [TurnFailed("the server sends us to another, which is not followed", True)]


def test_a_redirection_to_nowhere_fails() -> None:
    server = TurnServer()
    server.answer = lambda turn: server.error(turn, 300, key=None)  # type: ignore[method-assign]
    server.start()
    assert isinstance(server.events[0], TurnFailed)
