"""Sealing and opening in bulk give what one by one gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.pair import KEY_AB, KEY_BA

from ntvl.dataplane.session import Session
from ntvl.errors import PeerError

ciphers = pytest.mark.parametrize("cipher", ["aes256gcm", "chacha20poly1305"])


def both(cipher: str = "aes256gcm") -> tuple[Session, Session]:
    return Session(cipher, 22, 11, KEY_AB, KEY_BA, True), Session(cipher, 11, 22, KEY_BA, KEY_AB, True)


def seal(session: Session, plains: list[bytes]) -> list[bytes]:
    numbers, bodies = session.seal(plains)
    return [session.header + number + body for number, body in zip(numbers, bodies, strict=True)]


@ciphers
@pytest.mark.parametrize("count", [1, 2, 45, 64])
@pytest.mark.parametrize("skip", [0, 12])
@pytest.mark.parametrize("last", [1000, 1])
def test_a_train_opens_as_its_datagrams_do(cipher: str, count: int, skip: int, last: int) -> None:
    a, b = both(cipher)
    plains = [bytes([index]) * 1000 for index in range(count)]
    plains[-1] = plains[-1][:last]
    datagrams = [bytes(skip) + datagram for datagram in seal(a, plains)]
    one_by_one = both(cipher)[1]
    assert [one_by_one.open(datagram, skip) for datagram in datagrams] == plains
    if count > 1:
        assert b.open_train(b"".join(datagrams), len(datagrams[0]), skip) == plains
        assert bytes(b.window.seen) == bytes(one_by_one.window.seen)
        assert b.window.top == one_by_one.window.top == count - 1
        assert b.open_train(b"".join(datagrams), len(datagrams[0]), skip) is None, "all seen before"


def test_numbers_go_on_across_single_datagrams_and_trains() -> None:
    a, b = both()
    for count in (1, 3, 1, 2):
        for datagram in seal(a, [b"x"] * count):
            assert b.open(datagram) == b"x"
    assert (a.number, b.window.top) == (7, 6)


@settings(deadline=None)
@given(st.permutations(range(6)), st.integers(0, 6), st.integers(0, 5), st.booleans())
def test_a_train_that_is_not_perfect_changes_nothing(order: list[int], seen: int, broken: int, breaks: bool) -> None:
    a, b = both()
    datagrams = seal(a, [bytes([index]) * 30 for index in range(6)])
    for datagram in datagrams[:seen]:
        b.open(datagram)
    train = [datagrams[index] for index in order]
    if breaks:
        train[broken] = train[broken][:-1] + bytes([train[broken][-1] ^ 1])
    before = (b.window.top, bytes(b.window.seen))
    plains = b.open_train(b"".join(train), len(train[0]))
    if order == sorted(order) and seen == 0 and not breaks:
        assert plains == [bytes([index]) * 30 for index in range(6)]
    else:
        assert plains is None
        assert (b.window.top, bytes(b.window.seen)) == before


def test_a_gap_before_a_train_is_no_obstacle() -> None:
    a, b = both()
    datagrams = seal(a, [bytes([index]) * 30 for index in range(10)])
    assert b.open_train(b"".join(datagrams[4:]), len(datagrams[0])) is not None
    assert b.open(datagrams[0]) == bytes(30)
    with pytest.raises(PeerError, match="replay"):
        b.open(datagrams[7])


def test_one_direction_does_not_open_the_other() -> None:
    a, _ = both()
    (datagram,) = seal(a, [b"x"])
    with pytest.raises(PeerError, match="authentication"):
        a.open(datagram)
