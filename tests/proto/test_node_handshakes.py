"""Handshakes that come to a node: answered, refused, replayed and by the hundred."""

import random

import pytest
from tests.proto.home import ANN, BOB, DAY_S, EVE, EVES_KEY, Home, alone, initiation_to, sent_to, together
from tests.proto.scripted import COMMUNITY, OTHER_COMMUNITY, WALL, World, member

from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.proto.events import Notice, PeerGone, PeerSeen, PingReply
from ntvl.wire.address import Origin, Relay
from ntvl.wire.control import Roster
from ntvl.wire.header import Kind


def test_a_handshake_of_a_member_is_answered() -> None:
    world, _, home = alone()
    handshake = initiation_to(home, EVES_KEY)
    home.hear(handshake.datagram)
    (response,) = sent_to(world, EVE, Kind.RESPONSE)
    assert handshake.handle_response(response).remote == home.key
    assert not home.drops


@pytest.mark.parametrize(
    ("reason", "choices"),
    [
        ("unknown-community", {"community": OTHER_COMMUNITY, "psk": OTHER_COMMUNITY.psk}),
        ("certificate-expired", {"not_before_s": -10 * DAY_S, "not_after_s": -DAY_S}),
        ("certificate-not-yet-valid", {"not_before_s": DAY_S, "not_after_s": 2 * DAY_S}),
        ("certificate-key", {"node": bytes(range(32))}),
        ("short", {"payload": b""}),
        ("format", {"payload": b"x" * 300}),
        ("type", {"psk": None}),
    ],
)
def test_a_handshake_without_right_is_counted_by_reason_and_not_answered(
    reason: str, choices: dict[str, object]
) -> None:
    world, _, home = alone()
    for _ in range(2):
        home.hear(initiation_to(home, EVES_KEY, **choices).datagram)  # type: ignore[arg-type]
    assert home.drops == {reason: 1, "replayed-handshake": 1}
    assert sent_to(world, EVE, Kind.RESPONSE) == []
    assert [n.code for n in home.said(Notice)] == [reason]
    assert home.said(PeerSeen) == []


def test_a_refused_node_is_talked_about_once_for_each_reason() -> None:
    _, _, home = alone()
    for n in range(5):
        home.hear(initiation_to(home, EVES_KEY, community=OTHER_COMMUNITY, not_after_s=DAY_S + n).datagram)
    assert home.drops["unknown-community"] == 5
    assert [n.code for n in home.said(Notice)] == ["unknown-community"]


def test_a_certificate_that_nobody_signed_is_refused() -> None:
    _, _, home = alone()
    good = initiation_to(home, EVES_KEY)
    payload = bytearray(
        issue_certificate(
            COMMUNITY,
            node=EVES_KEY.public,
            name="eve",
            addresses=(),
            not_before=int(WALL),
            not_after=int(WALL + DAY_S),
        )
    )
    payload[-1] ^= 1
    home.hear(initiation_to(home, EVES_KEY, payload=bytes(payload)).datagram)
    assert home.drops == {"signature": 1}
    home.hear(good.datagram)
    assert home.drops == {"signature": 1}


def test_a_wrong_community_key_is_noticed_by_who_opens_the_answer() -> None:
    world = World()
    supernode = world.supernodes[0]
    supernode.relay_ids = {ANN: 71, BOB: 72}
    wrong = Community("lan", COMMUNITY.id, bytes(32), COMMUNITY.signing_key)
    ann, bob = Home(world, ANN, name="ann"), Home(world, BOB, name="bob", communities=(wrong,))
    supernode.members = {71: ann, 72: bob}
    world.run(1.0)
    supernode.say(Roster(COMMUNITY.id, 0, 5, (member(bob.key, 72, "bob"),)), to=ANN)
    world.run(0.1)
    ann.want(bob.key)
    world.run(5.0)
    assert ann.drops["authentication"] >= 1
    assert ann.peer(bob.key)["path"] == "none"


def test_a_handshake_under_our_own_key_is_our_own_come_back() -> None:
    _, _, home = alone()
    home.hear(initiation_to(home, home.settings.key).datagram)
    assert home.drops == {"reflected": 1}


def test_a_handshake_for_another_node_is_not_computed_on() -> None:
    world, _, home = alone()
    other = Home(world, BOB, name="bob", start=False)
    home.hear(initiation_to(other, EVES_KEY).datagram)
    assert home.drops == {"mac1": 1}


def test_a_flood_of_handshakes_is_answered_with_cookies_and_sessions_go_on() -> None:
    world, ann, bob = together()
    for n in range(200):
        key = NodeKey.generate(random.Random(n).randbytes)
        ann.hear(initiation_to(ann, key, community=OTHER_COMMUNITY).datagram)
    cookies = len(sent_to(world, EVE, Kind.COOKIE))
    assert cookies >= 100
    assert ann.drops["under-load"] == cookies
    assert ann.drops["unknown-community"] <= 100
    number = bob.node.ping("lan", ann.key, world.now)
    world.run(0.1)
    assert [reply.id for reply in bob.said(PingReply)] == [number]


def test_a_handshake_by_relay_is_answered_by_relay() -> None:
    world, supernode, home = alone()
    home.hear(initiation_to(home, EVES_KEY).datagram, Origin(supernode.address, 0, Relay(11, 66)))
    (answer,) = sent_to(world, supernode.address, Kind.RELAY)
    assert answer[4:12] == (66).to_bytes(4) + (11).to_bytes(4)
    assert answer[12] == Kind.RESPONSE


def test_a_replayed_handshake_makes_no_member_that_stays() -> None:
    world, supernode, home = alone()
    home.hear(initiation_to(home, EVES_KEY).datagram, Origin(supernode.address, 0, Relay(11, 66)))
    world.run(400.0)
    assert home.status()["communities"][0]["peers"] == []  # type: ignore[index]
    assert [e.name for e in home.said(PeerGone)] == ["eve"]
