import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ntvl.errors import PeerError
from ntvl.proto.admission import COOKIE_LIFETIME_S, Admission, build_mac1, build_mac2, check_mac1, open_cookie
from ntvl.wire.handshake import InitiationDatagram, build_initiation_head, parse_cookie

PUBLIC = bytes(range(32))
LIMIT = 50


@dataclass
class Sender:
    """Makes initiations that nobody could open, with a right mac1: all that admission looks at."""

    random: random.Random

    def initiation(self, cookie: bytes | None = None, noise: bytes | None = None) -> bytes:
        head = build_initiation_head(1, 7, self.random.randbytes(100) if noise is None else noise)
        head += build_mac1(PUBLIC, head)
        return head + build_mac2(cookie, head)


@pytest.fixture
def sender() -> Sender:
    return Sender(random.Random(5))


@pytest.fixture
def door() -> Admission:
    return Admission(PUBLIC, random.Random(6).randbytes, load_limit_per_s=LIMIT)


def flood(door: Admission, sender: Sender, now: float, count: int = LIMIT) -> None:
    for _ in range(count):
        door.admit(sender.initiation(), b"mallory", now)


def cookie_from(door: Admission, data: bytes, source: bytes, now: float) -> bytes:
    reply = door.admit(data, source, now)
    assert isinstance(reply, bytes)
    return open_cookie(PUBLIC, parse_cookie(reply), data[-32:-16])


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as error:
        call()
    return error.value.reason


def test_without_load_a_right_mac1_is_enough(door: Admission, sender: Sender) -> None:
    for n in range(200):
        assert isinstance(door.admit(sender.initiation(), b"a", n * 0.021), InitiationDatagram)


def test_a_wrong_mac1_is_refused_and_makes_no_load(door: Admission, sender: Sender) -> None:
    good = sender.initiation()
    for at in range(len(good) - 16):
        bad = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        assert refusal(lambda bad=bad: door.admit(bad, b"a", 0.0)) in ("mac1", "type", "header")
    assert isinstance(door.admit(good, b"a", 0.0), InitiationDatagram)


def test_a_mac1_for_another_receiver_is_refused(sender: Sender) -> None:
    assert refusal(lambda: check_mac1(bytes(32), sender.initiation())) == "mac1"


def test_load_begins_above_the_limit_and_ends_a_second_after_the_flood(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)
    assert isinstance(door.admit(sender.initiation(), b"b", 10.5), bytes)
    for n in range(LIMIT):  # what is refused counts as well
        assert isinstance(door.admit(sender.initiation(), b"b", 10.9 + n / 1000), bytes)
    assert isinstance(door.admit(sender.initiation(), b"b", 11.8), bytes)
    assert isinstance(door.admit(sender.initiation(), b"b", 12.8), InitiationDatagram)


def test_a_cookie_lets_its_source_through_and_no_other(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)
    cookie = cookie_from(door, sender.initiation(), b"alice", 10.0)
    assert isinstance(door.admit(sender.initiation(cookie), b"alice", 10.1), InitiationDatagram)
    assert isinstance(door.admit(sender.initiation(cookie), b"mallory", 10.1), bytes)
    assert isinstance(door.admit(sender.initiation(bytes(16)), b"alice", 10.1), bytes)


def test_a_cookie_reply_opens_only_with_the_initiation_that_it_answers(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)
    data, other = sender.initiation(), sender.initiation()
    reply = door.admit(data, b"alice", 10.0)
    assert isinstance(reply, bytes)
    cookie = parse_cookie(reply)
    assert refusal(lambda: open_cookie(PUBLIC, cookie, other[-32:-16])) == "cookie"
    assert refusal(lambda: open_cookie(bytes(32), cookie, data[-32:-16])) == "cookie"
    for at in range(len(reply) - 44, len(reply)):
        bad = reply[:at] + bytes((reply[at] ^ 1,)) + reply[at + 1 :]
        assert refusal(lambda bad=bad: open_cookie(PUBLIC, parse_cookie(bad), data[-32:-16])) == "cookie"


def test_a_cookie_outlives_one_change_of_the_secret_and_not_two(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)
    cookie = cookie_from(door, sender.initiation(), b"alice", 10.0)
    for now, admitted in ((10.0 + COOKIE_LIFETIME_S + 1, True), (10.0 + 2 * COOKIE_LIFETIME_S + 2, False)):
        flood(door, sender, now)
        assert isinstance(door.admit(sender.initiation(cookie), b"alice", now), InitiationDatagram) is admitted


def test_a_cookie_does_not_live_on_through_a_long_silence(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)
    cookie = cookie_from(door, sender.initiation(), b"alice", 10.0)
    flood(door, sender, 5000.0)
    assert isinstance(door.admit(sender.initiation(cookie), b"alice", 5000.0), bytes)


def test_a_source_with_a_cookie_is_held_to_its_rate(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)
    cookie = cookie_from(door, sender.initiation(), b"alice", 10.0)
    admitted = 0
    for n in range(1000):
        now = 10.0 + n / 1000
        try:
            admitted += isinstance(door.admit(sender.initiation(cookie), b"alice", now), InitiationDatagram)
        except PeerError as error:
            assert error.reason == "rate"
    assert 20 <= admitted <= 25
    bob = cookie_from(door, sender.initiation(), b"bob", 11.0)
    assert isinstance(door.admit(sender.initiation(bob), b"bob", 11.0), InitiationDatagram)


def test_the_table_of_sources_is_bounded_and_frees_what_is_idle(door: Admission, sender: Sender) -> None:
    flood(door, sender, 10.0)

    def come(n: int, now: float) -> object:
        source = n.to_bytes(4, "big")
        return door.admit(sender.initiation(cookie_from(door, sender.initiation(), source, now)), source, now)

    for n in range(4096):
        assert isinstance(come(n, 10.0), InitiationDatagram)
    assert refusal(lambda: come(5000, 10.1)) == "rate"
    assert isinstance(come(7, 10.1), InitiationDatagram)
    for n in range(5000, 5000 + 4095):  # all but 7 have been idle long enough
        assert isinstance(come(n, 10.26), InitiationDatagram)
    assert refusal(lambda: come(10_000, 10.26)) == "rate"


def test_what_is_remembered_is_refused_for_180_s(door: Admission, sender: Sender) -> None:
    data = sender.initiation()
    initiation = door.admit(data, b"alice", 10.0)
    assert isinstance(initiation, InitiationDatagram)
    assert isinstance(door.admit(data, b"alice", 10.0), InitiationDatagram)  # it has not opened yet
    door.remember(initiation, 10.0)
    for now in (10.0, 189.9):
        assert refusal(lambda now=now: door.admit(data, b"mallory", now)) == "replayed-handshake"
        # Another mac2 or index in the head makes it no other handshake.
        again = sender.initiation(cookie=bytes(16), noise=initiation.noise)
        assert refusal(lambda now=now, again=again: door.admit(again, b"alice", now)) == "replayed-handshake"
    assert isinstance(door.admit(data, b"alice", 190.0), InitiationDatagram)


def test_replays_make_no_load(door: Admission, sender: Sender) -> None:
    data = sender.initiation()
    initiation = door.admit(data, b"alice", 10.0)
    assert isinstance(initiation, InitiationDatagram)
    door.remember(initiation, 10.0)
    for _ in range(10 * LIMIT):
        assert refusal(lambda: door.admit(data, b"mallory", 10.0)) == "replayed-handshake"
    assert isinstance(door.admit(sender.initiation(), b"bob", 10.0), InitiationDatagram)


def test_the_memory_keeps_the_newest_4096(door: Admission, sender: Sender) -> None:
    sent: list[bytes] = []
    for n in range(4097):
        data = sender.initiation()
        initiation = door.admit(data, b"alice", n * 0.03)
        assert isinstance(initiation, InitiationDatagram)
        door.remember(initiation, n * 0.03)
        sent.append(data)
    now = 4097 * 0.03
    assert isinstance(door.admit(sent[0], b"alice", now), InitiationDatagram)
    for data in (sent[1], sent[-1]):
        assert refusal(lambda data=data: door.admit(data, b"alice", now)) == "replayed-handshake"


def test_the_limit_is_at_least_one_a_second(sender: Sender) -> None:
    door = Admission(PUBLIC, random.Random(6).randbytes, load_limit_per_s=0)
    assert isinstance(door.admit(sender.initiation(), b"a", 0.0), InitiationDatagram)
    assert isinstance(door.admit(sender.initiation(), b"a", 0.9), bytes)
