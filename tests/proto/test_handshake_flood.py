"""Handshakes under a flood: cookies, rates, and sessions that go on."""

import random

from tests.proto.shaking import BOB, HOME, flips, initiate, listen, receive, refusal, remac, shake

from ntvl.errors import PeerError
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Listener, handshake_index
from ntvl.wire.handshake import KIND_PEER, build_initiation_head


def flood(listener: Listener, count: int, now: float, seed: int = 7) -> list[bytes]:
    """Sends initiations with a right mac1 that do not open, from made-up addresses; returns the cookies sent back."""
    chance = random.Random(seed)
    cookies: list[bytes] = []
    for _ in range(count):
        head = build_initiation_head(KIND_PEER, chance.randrange(2**32), chance.randbytes(800))
        try:
            reply = listener.handle_initiation(remac(BOB.public, head + bytes(32)), chance.randbytes(4), now)
        except PeerError as error:
            assert error.reason == "authentication"
        else:
            assert isinstance(reply, bytes)
            cookies.append(reply)
    return cookies


def test_a_flood_without_cookies_costs_no_diffie_hellman(exchanges: list[bytes]) -> None:
    listener = listen(load_limit_per_s=50)
    assert len(flood(listener, 50, 10.0)) == 0
    assert len(exchanges) == 50  # rubbish does not get past the first one each
    exchanges.clear()
    cookies = flood(listener, 2000, 10.5, seed=8)
    assert len(cookies) == 2000
    assert not exchanges
    assert {len(cookie) for cookie in cookies} == {52}


def test_who_shows_a_cookie_gets_through_a_flood() -> None:
    listener = listen()
    flood(listener, 100, 10.0)
    attempt = initiate(random.Random(4))
    reply = listener.handle_initiation(attempt.datagram, b"alice's address", 10.1)
    assert isinstance(reply, bytes)
    assert handshake_index(reply) == attempt.index
    cookie = attempt.handle_cookie(reply)
    flood(listener, 100, 10.2)
    second = initiate(random.Random(5), cookie=cookie, index=5)
    received = receive(listener, second.datagram, now=10.3)
    answer, bobs = received.respond(psk=HOME.psk, payload=b"", index=2)
    assert second.handle_response(answer).keys.send_key == bobs.keys.receive_key


def test_a_cookie_does_not_help_another_address() -> None:
    listener = listen()
    flood(listener, 100, 10.0)
    attempt = initiate(random.Random(4))
    reply = listener.handle_initiation(attempt.datagram, b"mallory's address", 10.1)
    assert isinstance(reply, bytes)
    stolen = initiate(random.Random(5), cookie=attempt.handle_cookie(reply))
    assert isinstance(listener.handle_initiation(stolen.datagram, b"alice's address", 10.1), bytes)


def test_with_a_cookie_too_a_source_has_its_rate(exchanges: list[bytes]) -> None:
    listener, chance = listen(), random.Random(4)
    flood(listener, 100, 10.0)
    attempt = initiate(chance)
    reply = listener.handle_initiation(attempt.datagram, b"m", 10.1)
    assert isinstance(reply, bytes)
    cookie = attempt.handle_cookie(reply)
    attempts = [initiate(chance, cookie=cookie).datagram for _ in range(100)]
    exchanges.clear()
    outcomes = []
    for data in attempts:
        try:
            outcomes.append(type(listener.handle_initiation(data, b"m", 10.2)).__name__)
        except PeerError as error:
            outcomes.append(error.reason)
    assert outcomes == ["Received"] * 5 + ["rate"] * 95
    assert len(exchanges) == 2 * 5


def test_a_flood_leaves_established_sessions_alone(exchanges: list[bytes]) -> None:
    alices, bobs = shake()
    alice, bob = Channel(alices.keys), Channel(bobs.keys)
    exchanges.clear()
    listener = listen()
    flood(listener, 51, 10.0)
    exchanges.clear()
    for n in range(200):
        assert len(flood(listener, 5, 10.2, seed=n)) == 5
        assert bob.open(alice.seal(b"ping %d" % n)) == b"ping %d" % n
        assert alice.open(bob.seal(b"pong %d" % n)) == b"pong %d" % n
    assert not exchanges


def test_a_forged_or_foreign_cookie_is_refused_and_the_attempt_goes_on() -> None:
    listener = listen()
    flood(listener, 100, 10.0)
    attempt, other = initiate(random.Random(4)), initiate(random.Random(5))
    reply = listener.handle_initiation(attempt.datagram, b"a", 10.1)
    assert isinstance(reply, bytes)
    assert refusal(lambda: other.handle_cookie(reply)) == "cookie"
    assert refusal(lambda: initiate(random.Random(6), index=9).handle_cookie(reply)) == "unknown-session"
    for _, bad in flips(reply):
        assert refusal(lambda bad=bad: attempt.handle_cookie(bad)) in ("type", "header", "unknown-session", "cookie")
    assert len(attempt.handle_cookie(reply)) == 16
    # It is no more than a hint: an answer that comes after all is taken.
    answer, _ = receive(listen(), attempt.datagram).respond(psk=HOME.psk, payload=b"", index=2)
    attempt.handle_response(answer)
