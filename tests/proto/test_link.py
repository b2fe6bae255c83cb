import random
from itertools import pairwise

import pytest

from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.handshake import Listener, Received
from ntvl.proto.indices import Indices
from ntvl.proto.link import REJECT_AFTER_S, REKEY_AFTER_S, Link
from ntvl.wire.header import Kind, parse_header

PSK = bytes(range(32))


class End:
    """Is one side: a link, and what a node has around it."""

    def __init__(self, name: str, load_limit_per_s: int = 50) -> None:
        chance = random.Random(name)
        self.name = name
        self.key = NodeKey.generate(chance.randbytes)
        self.random = chance.randbytes
        self.indices = Indices[object](self.random)
        self.listener = Listener(self.key, self.random, aes=True, load_limit_per_s=load_limit_per_s)
        self.payload = f"certificate of {name}".encode()

    def meet(self, other: "End", psk: bytes | None = PSK) -> None:
        self.link = Link(
            self.key,
            other.key.public,
            psk=psk,
            payload=lambda: self.payload,
            aes=True,
            random=self.random,
            indices=self.indices,
            owner=self.name,
        )

    def hear(self, initiation: bytes, now: float) -> bytes:
        """Answers an initiation with a response, or a cookie."""
        received = self.listener.handle_initiation(initiation, b"there", now)
        if not isinstance(received, Received):
            return received
        return self.link.accept(received, now)[0]

    def say(self, body: bytes) -> bytes:
        data = self.link.seal(body)
        assert data is not None
        return data

    def open(self, data: bytes) -> tuple[bytes, bool]:
        return self.link.open(data, parse_header(data)[1])


def ends(psk: bytes | None = PSK) -> tuple[End, End]:
    ann, bob = End("ann"), End("bob")
    ann.meet(bob, psk)
    bob.meet(ann, psk)
    return ann, bob


def started(end: End, now: float) -> bytes:
    data = end.link.start(now)
    assert data is not None
    return data


def shake(ann: End, bob: End, now: float, *, confirm: bool = True) -> None:
    ann.link.handle_response(bob.hear(started(ann, now), now), now)
    if confirm:
        bob.open(ann.say(b"confirm"))


def refusal(end: End, data: bytes, now: float = 100.0) -> str:
    with pytest.raises(PeerError) as error:
        end.link.handle_response(data, now)
    return error.value.reason


# --- one handshake ---


@pytest.mark.parametrize("psk", [PSK, None])
def test_one_round_trip_makes_a_session_in_both_directions(psk: bytes | None) -> None:
    ann, bob = ends(psk)
    response = bob.hear(started(ann, 100.0), 100.0)
    established = ann.link.handle_response(response, 100.1)
    assert established.payload == b"certificate of bob"
    assert not ann.link.is_shaking
    assert bob.open(ann.say(b"hello")) == (b"hello", True)
    assert ann.open(bob.say(b"hello back")) == (b"hello back", False)
    assert bob.open(ann.say(b"again")) == (b"again", False)


def test_the_side_that_answered_sends_nothing_until_something_opened() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0, confirm=False)
    assert bob.link.sending is None
    assert bob.link.seal(b"too early") is None
    assert bob.link.age_s(101.0) is None
    assert ann.link.sending is not None
    data = ann.say(b"confirm")
    altered = data[:-1] + bytes((data[-1] ^ 1,))
    with pytest.raises(PeerError, match="authentication"):
        bob.open(altered)
    assert bob.link.seal(b"still too early") is None
    bob.open(data)
    assert bob.link.sending is bob.link.sessions[0]


def test_before_any_handshake_there_is_nothing_to_seal_open_or_wait_for() -> None:
    ann, _ = ends()
    assert ann.link.seal(b"x") is None
    assert (ann.link.sending, ann.link.rekey_at(), ann.link.poll_timeout(), ann.link.age_s(1.0)) == (None,) * 4
    with pytest.raises(PeerError, match="unknown-session"):
        ann.link.open(bytes(32), 7)
    assert refusal(ann, bytes(200)) == "unknown-session"
    assert ann.link.handle_timeout(1e6) is None


def test_the_indices_of_handshake_and_session_lead_to_the_owner() -> None:
    ann, bob = ends()
    initiation = started(ann, 100.0)
    response = bob.hear(initiation, 100.0)
    index = int.from_bytes(response[8:12], "big")
    assert ann.indices.find(index) == "ann"
    ann.link.handle_response(response, 100.0)
    assert ann.indices.find(ann.link.sessions[0].keys.receive_index) == "ann"
    ann.link.close()
    assert ann.indices.find(ann.link.dropped[0]) is None


# --- tries ---


def test_a_handshake_under_way_is_not_started_twice() -> None:
    ann, _ = ends()
    started(ann, 100.0)
    assert ann.link.start(100.1) is None
    assert ann.link.tries == 1


def test_an_unanswered_handshake_is_tried_eight_times_in_twenty_seconds_and_given_up() -> None:
    ann, _ = ends()
    sent = [(100.0, started(ann, 100.0))]
    while (at := ann.link.poll_timeout()) is not None:
        data = ann.link.handle_timeout(at)
        if data is None:
            break
        sent.append((at, data))
    waits = [late - early for (early, _), (late, _) in pairwise(sent)]
    assert waits == [pytest.approx(wait, abs=0.26) for wait in (0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0)]
    assert len({data for _, data in sent}) == 8
    assert not ann.link.is_shaking
    assert 119.0 < at < 122.0
    assert ann.link.poll_timeout() is None
    assert ann.link.start(at) is not None
    assert ann.link.tries == 1


def test_waking_early_changes_nothing() -> None:
    ann, _ = ends()
    started(ann, 100.0)
    assert ann.link.handle_timeout(100.4) is None
    assert ann.link.tries == 1


def tried(ann: End, count: int) -> list[bytes]:
    """Lets tries go without an answer; returns all of them."""
    tries = [started(ann, 100.0)]
    while len(tries) < count:
        at = ann.link.poll_timeout()
        assert at is not None
        again = ann.link.handle_timeout(at)
        assert again is not None
        tries.append(again)
    return tries


def test_the_answer_to_an_earlier_try_counts_and_tells_the_round_trip() -> None:
    ann, bob = ends()
    first, _, _ = tried(ann, 3)
    ann.link.handle_response(bob.hear(first, 101.0), 102.0)
    assert ann.link.rtt_s == 2.0
    assert not ann.link.is_shaking
    assert bob.open(ann.say(b"x")) == (b"x", True)


def test_a_later_try_that_made_the_other_side_forget_the_earlier_is_answered_too() -> None:
    ann, bob = ends()
    first, second = tried(ann, 2)
    early, late = bob.hear(first, 101.0), bob.hear(second, 101.5)
    ann.link.handle_response(early, 102.0)
    with pytest.raises(PeerError):
        bob.open(ann.say(b"x"))
    ann.link.handle_response(late, 102.5)
    assert bob.open(ann.say(b"x")) == (b"x", True)


def test_an_answer_to_a_try_long_ago_is_too_late() -> None:
    ann, bob = ends()
    first, *_, last = tried(ann, 4)
    assert refusal(ann, bob.hear(first, 105.0), 105.0) == "unknown-session"
    ann.link.handle_response(bob.hear(last, 105.0), 105.0)
    assert bob.open(ann.say(b"x")) == (b"x", True)


def test_a_response_counts_once_and_a_forged_one_not_at_all() -> None:
    ann, bob = ends()
    response = bob.hear(started(ann, 100.0), 100.0)
    forged = response[:40] + bytes((response[40] ^ 1,)) + response[41:]
    assert refusal(ann, forged) in ("mac1", "authentication")
    assert ann.link.is_shaking
    ann.link.handle_response(response, 100.0)
    assert refusal(ann, response) == "unknown-session"
    assert len(ann.link.sessions) == 1


def test_another_community_key_ends_in_no_session() -> None:
    ann, bob = ends()
    bob.meet(ann, bytes(32))
    assert refusal(ann, bob.hear(started(ann, 100.0), 100.0)) == "authentication"
    assert ann.link.sessions == []


def test_a_key_that_nobody_can_hold_starts_nothing_and_leaks_no_index() -> None:
    ann, _ = ends()
    drawn = list[bytes]()

    def random_bytes(length: int) -> bytes:
        drawn.append(ann.random(length))
        return drawn[-1]

    indices = Indices[object](random_bytes)
    ann.link = Link(
        ann.key, bytes(32), psk=PSK, payload=lambda: b"", aes=True, random=random_bytes, indices=indices, owner="ann"
    )
    assert ann.link.start(100.0) is None
    assert not ann.link.is_shaking
    assert ann.link.poll_timeout() is None
    assert all(indices.find(int.from_bytes(data, "big")) is None for data in drawn if len(data) == 4)


# --- cookies ---


def test_under_load_the_next_try_carries_the_cookie() -> None:
    ann, bob = ends()
    bob.listener = Listener(bob.key, bob.random, aes=True, load_limit_per_s=1)
    bob.hear(started(stranger(bob), 100.0), 100.0)
    cookie = bob.hear(started(ann, 100.0), 100.0)
    assert cookie[0] == Kind.COOKIE
    second = ann.link.handle_cookie(cookie, 100.05)
    assert second is not None
    assert ann.link.tries == 2
    response = bob.hear(second, 100.1)
    assert response[0] == Kind.RESPONSE
    ann.link.handle_response(response, 100.15)
    assert bob.open(ann.say(b"x")) == (b"x", True)


def stranger(bob: End) -> End:
    other = End("eve")
    other.meet(bob)
    return other


def test_a_second_cookie_is_kept_but_does_not_make_us_send_at_once() -> None:
    ann, bob = ends()
    bob.listener = Listener(bob.key, bob.random, aes=True, load_limit_per_s=1)
    bob.hear(started(stranger(bob), 100.0), 100.0)
    second = ann.link.handle_cookie(bob.hear(started(ann, 100.0), 100.0), 100.0)
    assert second is not None
    without = second[:-16] + bytes(16)
    cookie = bob.hear(without, 100.01)
    assert cookie[0] == Kind.COOKIE
    assert ann.link.handle_cookie(cookie, 100.02) is None
    at = ann.link.poll_timeout()
    assert at is not None
    third = ann.link.handle_timeout(at)
    assert third is not None
    assert third[-16:] != bytes(16)


def test_a_cookie_for_no_handshake_or_a_forged_one_is_refused() -> None:
    ann, bob = ends()
    bob.listener = Listener(bob.key, bob.random, aes=True, load_limit_per_s=1)
    bob.hear(started(stranger(bob), 100.0), 100.0)
    cookie = bob.hear(started(ann, 100.0), 100.0)
    forged = cookie[:-1] + bytes((cookie[-1] ^ 1,))
    with pytest.raises(PeerError, match="cookie"):
        ann.link.handle_cookie(forged, 100.0)
    assert ann.link.tries == 1
    ann.link.close()
    with pytest.raises(PeerError, match="unknown-session"):
        ann.link.handle_cookie(cookie, 100.0)


# --- lifetimes ---


def test_the_side_that_began_renews_the_keys_after_120_s_and_the_other_a_little_later() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    assert ann.link.rekey_at() == 100.0 + REKEY_AFTER_S == 220.0
    assert bob.link.rekey_at() == 235.0
    assert ann.link.age_s(150.0) == 50.0


def test_a_session_ends_180_s_after_it_was_made_on_both_sides() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    for end in (ann, bob):
        index = end.link.sessions[0].keys.receive_index
        assert end.link.poll_timeout() == 100.0 + REJECT_AFTER_S == 280.0
        end.link.handle_timeout(279.9)
        assert end.link.sending is not None
        end.link.handle_timeout(280.0)
        assert (end.link.sending, end.link.sessions, end.link.dropped) == (None, [], [index])
        assert end.indices.find(index) is None


def test_a_rekey_changes_over_without_losing_what_is_under_way() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    under_way = ann.say(b"old")
    back = bob.say(b"old back")
    shake(ann, bob, 220.0, confirm=False)
    assert bob.open(under_way) == (b"old", False)
    assert ann.open(back) == (b"old back", False)
    old = bob.link.sending
    assert bob.open(ann.say(b"new")) == (b"new", True)
    assert bob.link.sending is not old
    assert ann.open(bob.say(b"new back")) == (b"new back", False)


def test_until_a_new_session_is_confirmed_the_old_one_sends() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    shake(ann, bob, 220.0, confirm=False)
    assert ann.open(bob.say(b"under the old one")) == (b"under the old one", False)
    assert bob.link.sending is bob.link.sessions[1]


def test_lost_responses_do_not_cost_the_session_in_use() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    in_use = bob.link.sending
    data = started(ann, 220.0)
    for _ in range(7):
        bob.hear(data, 220.0)
        at = ann.link.poll_timeout()
        assert at is not None
        again = ann.link.handle_timeout(at)
        assert again is not None
        data = again
    assert bob.link.sending is in_use
    assert bob.open(ann.say(b"under the old one")) == (b"under the old one", False)
    assert bob.link.rekey_at() == 235.0


def test_no_more_than_four_sessions_are_kept_and_the_one_in_use_is_among_them() -> None:
    ann, bob = ends()
    for n in range(10):
        shake(ann, bob, 100.0 + n)
        assert len(ann.link.sessions) <= 4
        assert len(bob.link.sessions) <= 4
        assert bob.open(ann.say(b"x")) == (b"x", False)
    assert len(ann.link.dropped) == 10 - len(ann.link.sessions)
    assert all(ann.indices.find(index) is None for index in ann.link.dropped)
    assert all(ann.indices.find(s.keys.receive_index) == "ann" for s in ann.link.sessions)


def test_two_handshakes_that_cross_leave_both_sides_able_to_talk() -> None:
    ann, bob = ends()
    from_ann, from_bob = started(ann, 100.0), started(bob, 100.0)
    to_ann, to_bob = bob.hear(from_ann, 100.05), ann.hear(from_bob, 100.05)
    ann.link.handle_response(to_ann, 100.1)
    bob.link.handle_response(to_bob, 100.1)
    crossing = ann.say(b"from ann"), bob.say(b"from bob")
    assert bob.open(crossing[0])[0] == b"from ann"
    assert ann.open(crossing[1])[0] == b"from bob"
    for n in range(3):
        assert bob.open(ann.say(b"%d" % n)) == (b"%d" % n, False)
        assert ann.open(bob.say(b"%d" % n)) == (b"%d" % n, False)


def test_an_initiation_while_we_shake_hands_ourselves_is_answered() -> None:
    ann, bob = ends()
    started(bob, 100.0)
    shake(ann, bob, 100.1)
    assert bob.link.is_shaking
    assert ann.open(bob.say(b"x")) == (b"x", False)


def test_closing_forgets_every_key_and_the_handshake_under_way() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    shake(ann, bob, 220.0)
    response = bob.hear(started(ann, 230.0), 230.0)
    ann.link.close()
    assert (ann.link.sessions, ann.link.is_shaking, ann.link.poll_timeout()) == ([], False, None)
    assert len(ann.link.dropped) == 2
    assert ann.link.seal(b"x") is None
    assert refusal(ann, response, 230.0) == "unknown-session"
    shake(ann, bob, 231.0)
    assert bob.open(ann.say(b"afresh")) == (b"afresh", False)


def test_the_payload_is_asked_for_anew_with_each_handshake() -> None:
    ann, bob = ends()
    shake(ann, bob, 100.0)
    bob.payload = b"renewed certificate"
    response = bob.hear(started(ann, 220.0), 220.0)
    assert ann.link.handle_response(response, 220.0).payload == b"renewed certificate"
