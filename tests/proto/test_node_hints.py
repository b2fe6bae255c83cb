"""Hints about sessions and STUN messages that come to a node, which nobody vouches for."""

import random

import pytest
from tests.proto.home import ANN, BOB, EVE, EVES_KEY, Home, alone, pair, sent_to, together
from tests.proto.scripted import World

from ntvl.dataplane.interface import InstallSession, UnknownSender
from ntvl.wire.address import Address, Origin, Relay, Transmit
from ntvl.wire.header import Kind, build_header
from ntvl.wire.stun import (
    StunClass,
    build_binding_error,
    build_binding_indication,
    build_binding_request,
    build_binding_response,
    parse_stun,
)


def test_an_unknown_session_is_answered_with_a_reset_within_a_rate() -> None:
    world, _, home = alone()
    for index in range(1, 51):
        home.hear(build_header(Kind.CONTROL, index, 0) + bytes(16))
    resets = sent_to(world, EVE, Kind.RESET)
    assert resets == [bytes((Kind.RESET, 0, 0, 0)) + index.to_bytes(4) for index in range(1, 11)]
    assert home.drops == {"unknown-session": 50}
    world.run(1.1)
    home.hear(build_header(Kind.CONTROL, 99, 0) + bytes(16))
    assert len(sent_to(world, EVE, Kind.RESET)) == 11


def test_data_for_no_session_is_answered_with_a_reset_too() -> None:
    world, supernode, home = alone()
    home.node.handle_plane_event(UnknownSender(*EVE, 1234, 0, None), world.now)
    home.node.handle_plane_event(UnknownSender(*supernode.address, 1235, 0, (11, 66)), world.now)
    home.node.handle_plane_event(UnknownSender(*EVE, 0, 0, None), world.now)
    world.flush()
    assert sent_to(world, EVE, Kind.RESET) == [bytes((Kind.RESET, 0, 0, 0)) + (1234).to_bytes(4)]
    (relayed,) = sent_to(world, supernode.address, Kind.RELAY)
    assert relayed[4:] == (66).to_bytes(4) + (11).to_bytes(4) + bytes((Kind.RESET, 0, 0, 0)) + (1235).to_bytes(4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes((Kind.RESET, 0, 0, 0)) + (5).to_bytes(4), "unknown-session"),
        (bytes((Kind.RESET, 0, 0, 0)), "short"),
        (bytes((Kind.RESET,)).ljust(9, b"\0"), "long"),
    ],
)
def test_a_reset_that_concerns_nobody_is_counted_and_never_answered(data: bytes, reason: str) -> None:
    world, _, home = alone()
    home.hear(data)
    assert home.drops == {reason: 1}
    assert [t for _, _, t in world.sent if t.address == EVE] == []


def test_a_node_that_started_anew_has_its_peers_back_in_a_second() -> None:
    world, ann, bob = together()
    again = Home(world, BOB, name="bob", random_bytes=random.Random("again").randbytes)
    world.supernodes[0].members[72] = again
    world.run(1.0)
    sealed = next(c for c in ann.told(InstallSession))
    again.node.handle_plane_event(UnknownSender(*ANN, sealed.send_index, 0, None), world.now)
    assert world.run(1.0, until=lambda: again.peer(ann.key)["path"] == "direct")
    assert again.key == bob.key


def test_whoever_did_not_get_our_question_shows_us_no_key() -> None:
    world = World()
    home = Home(world, keys=False, start=False)
    home.node.handle_interfaces([ANN.host], world.now)
    home.node.handle_supernode_address(0, [Address("203.0.113.50", 1971)], world.now)
    world.flush()
    (request,) = sent_to(world, Address("203.0.113.50", 1971), Kind.KEY_REQUEST)
    head = bytes((Kind.KEY_REPLY, 0, 0, 0))
    home.hear(head + bytes(8) + EVES_KEY.public, Address("203.0.113.50", 1971))
    assert home.drops == {"transaction": 1}
    assert home.node.poll_event() is None or home.supernode()["state"] == "connecting"
    # A server with several addresses answers from the one that its routing prefers.
    home.hear(head + request[4:12] + EVES_KEY.public, Address("203.0.113.51", 1971))
    assert home.drops == {"transaction": 1}


# --- STUN ---


def test_a_check_for_nobody_here_is_counted_and_not_answered() -> None:
    world, _, home = alone()
    for username in (None, "", "nobody", "nobody:x"):
        password = None if username is None else "p" * 24
        home.hear(build_binding_request(bytes(12), username=username, password=password))
    assert home.drops == {"integrity": 4}
    assert [t for _, _, t in world.sent if t.address == EVE] == []


def test_an_indication_is_taken_for_what_it_is_and_not_answered() -> None:
    world, _, home = alone()
    home.hear(build_binding_indication(bytes(12)))
    assert home.drops == {}
    assert [t for _, _, t in world.sent if t.address == EVE] == []


def test_an_answer_to_no_check_is_counted() -> None:
    _, ann, bob = together()
    handle = ann.handle_of(bob.key)
    for transaction in (bytes(12), handle.to_bytes(4) + bytes(8), b"\xff" * 12):
        ann.hear(build_binding_response(transaction, EVE, password="p" * 24))
        ann.hear(build_binding_error(transaction, 420, "no"))
    assert ann.drops == {"transaction": 6}


def test_an_error_about_a_check_reaches_the_peer_that_was_asked() -> None:
    world, ann, bob = pair()
    asked: list[bytes] = []

    def catch(transmit: Transmit, source: Address) -> bool:
        if source == ANN and transmit.data[0] == 0 and parse_stun(transmit.data).cls is StunClass.REQUEST:
            asked.append(parse_stun(transmit.data).transaction)
        return transmit.address in (ANN, BOB)

    world.is_lost = catch
    ann.want(bob.key)
    world.run(1.0)
    ann.hear(build_binding_error(asked[-1], 487, "Role Conflict", password="e" * 24), BOB)
    assert ann.drops == {"integrity": 1}


def test_a_check_that_came_by_relay_is_not_answered() -> None:
    world, ann, bob = pair()
    requests: list[bytes] = []

    def catch(transmit: Transmit, source: Address) -> bool:
        if source == BOB and transmit.data[0] == 0 and parse_stun(transmit.data).cls is StunClass.REQUEST:
            requests.append(transmit.data)
        return transmit.address in (ANN, BOB)

    world.is_lost = catch
    ann.want(bob.key)
    world.run(1.0)
    assert requests
    ann.hear(requests[0], Origin(world.supernodes[0].address, 0, Relay(71, 72)))
    assert ann.drops == {"integrity": 1}
    ann.hear(requests[0], EVE)
    assert ann.drops == {"integrity": 1}
