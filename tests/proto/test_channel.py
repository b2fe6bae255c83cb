import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import PeerError
from ntvl.proto.channel import BODY_BYTES_MAX, Channel
from ntvl.proto.handshake import SessionKeys
from ntvl.wire.control import MESSAGE_BYTES_MAX
from ntvl.wire.header import HEADER_BYTES, Kind, build_header

UP, DOWN = b"u" * 32, b"d" * 32


def pair() -> tuple[Channel, Channel]:
    def keys(send_index: int, receive_index: int, send: bytes, receive: bytes, initiator: bool) -> SessionKeys:
        return SessionKeys("aes256gcm", send_index, receive_index, b"x" * 32, b"y" * 32, send, receive, initiator)

    return Channel(keys(8, 7, UP, DOWN, True)), Channel(keys(7, 8, DOWN, UP, False))


def refusal(channel: Channel, data: bytes) -> str:
    with pytest.raises(PeerError) as error:
        channel.open(data)
    return error.value.reason


def test_what_one_side_seals_the_other_opens() -> None:
    alice, bob = pair()
    assert (alice.send_index, alice.receive_index) == (8, 7)
    for n in range(5):
        assert bob.open(alice.seal(b"to bob %d" % n)) == b"to bob %d" % n
        assert alice.open(bob.seal(b"to alice %d" % n)) == b"to alice %d" % n
    assert alice.sent == bob.sent == 5


def test_the_datagram_is_as_the_header_says() -> None:
    alice, _ = pair()
    alice.seal(b"")
    data = alice.seal(b"body")
    assert data[:HEADER_BYTES] == build_header(Kind.CONTROL, 8, 1)
    assert ChaCha20Poly1305(UP).decrypt(data[4:16], data[16:], None) == b"body"


def test_the_largest_message_fits_and_nothing_larger() -> None:
    alice, bob = pair()
    assert BODY_BYTES_MAX == MESSAGE_BYTES_MAX
    assert bob.open(alice.seal(bytes(BODY_BYTES_MAX))) == bytes(BODY_BYTES_MAX)
    with pytest.raises(ValueError, match="body"):
        alice.seal(bytes(BODY_BYTES_MAX + 1))
    assert alice.sent == 1


def test_every_altered_byte_is_refused_and_leaves_the_channel_as_it_was() -> None:
    alice, bob = pair()
    data = alice.seal(b"body")
    for at in range(len(data)):
        bad = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        expected = "type" if at == 0 else "header" if at < 4 else "unknown-session" if at < 8 else "authentication"
        assert refusal(bob, bad) == expected
    assert bob.open(data) == b"body"


def test_every_truncation_is_refused() -> None:
    alice, bob = pair()
    data = alice.seal(b"body")
    for length in range(len(data)):
        assert refusal(bob, data[:length]) == ("short" if length < 32 else "authentication")


def test_reordered_datagrams_open_once_each() -> None:
    alice, bob = pair()
    sent = [alice.seal(b"%d" % n) for n in range(50)]
    for n in reversed(range(50)):
        assert bob.open(sent[n]) == b"%d" % n
    for data in sent:
        assert refusal(bob, data) == "replay"


def test_the_window_holds_2048() -> None:
    alice, bob = pair()
    sent = [alice.seal(b"") for _ in range(2049)]
    bob.open(sent[2048])
    assert refusal(bob, sent[0]) == "too-old"
    assert bob.open(sent[1]) == b""


def test_a_forged_number_does_not_move_the_window() -> None:
    alice, bob = pair()
    data = alice.seal(b"body")
    assert refusal(bob, build_header(Kind.CONTROL, 8, 2**64 - 1) + data[16:]) == "authentication"
    assert bob.open(data) == b"body"


def test_our_own_datagram_come_back_is_refused() -> None:
    alice, _ = pair()
    data = alice.seal(b"body")
    assert refusal(alice, data) == "unknown-session"
    assert refusal(alice, build_header(Kind.CONTROL, 7, 0) + data[16:]) == "authentication"


def test_a_data_datagram_is_not_control() -> None:
    _, bob = pair()
    sealed = ChaCha20Poly1305(UP).encrypt(build_header(Kind.DATA, 8, 0)[4:], b"body", None)
    assert refusal(bob, build_header(Kind.DATA, 8, 0) + sealed) == "type"


def test_the_last_number_is_used_and_no_number_twice() -> None:
    alice, bob = pair()
    alice.sent = 2**64 - 1
    assert bob.open(alice.seal(b"last")) == b"last"
    with pytest.raises(ValueError, match="run out"):
        alice.seal(b"one too many")


@given(data=st.binary(max_size=120), addressed=st.booleans(), number=st.integers(0, 2**64 - 1))
def test_any_bytes_are_refused_with_a_reason(data: bytes, addressed: bool, number: int) -> None:
    _, bob = pair()
    if addressed:
        data = build_header(Kind.CONTROL, bob.receive_index, number) + data
    assert refusal(bob, data) in ("short", "header", "type", "unknown-session", "authentication")


@given(bodies=st.lists(st.binary(max_size=BODY_BYTES_MAX), max_size=10))
def test_bodies_arrive_as_they_are(bodies: list[bytes]) -> None:
    alice, bob = pair()
    assert [bob.open(alice.seal(body)) for body in bodies] == bodies
