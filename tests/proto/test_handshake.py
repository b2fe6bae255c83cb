import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proto.shaking import (
    ALICE,
    BOB,
    HOME,
    KINDS,
    MALLORY,
    flips,
    initiate,
    listen,
    receive,
    refusal,
    remac,
    shake,
)

from ntvl.identity.certificate import CERTIFICATE_BYTES_MAX, issue_certificate, verify_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import PAYLOAD_BYTES_MAX, handshake_index
from ntvl.proto.noise import HandshakeState
from ntvl.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    KIND_PEER,
    build_initiation_head,
    build_response_head,
    parse_initiation,
    parse_response,
)
from ntvl.wire.header import Kind

# --- the handshake itself ---


@pytest.mark.parametrize("psk", KINDS)
def test_one_round_trip_gives_both_sides_the_same_session(psk: bytes | None) -> None:
    attempt = initiate(random.Random(4), psk=psk)
    received = receive(listen(), attempt.datagram)
    assert received.remote == ALICE.public
    assert received.payload == b"alice's certificate"
    assert received.has_psk is (psk is not None)
    answer, bobs = received.respond(psk=psk, payload=b"bob's certificate", index=0x22222222)
    assert handshake_index(answer) == attempt.index
    alices = attempt.handle_response(answer)

    assert (alices.remote, alices.payload) == (BOB.public, b"bob's certificate")
    assert (bobs.remote, bobs.payload) == (ALICE.public, b"alice's certificate")
    assert (alices.keys.initiator, bobs.keys.initiator) == (True, False)
    assert alices.keys.send_index == bobs.keys.receive_index == 0x22222222
    assert alices.keys.receive_index == bobs.keys.send_index == 0x11111111
    assert alices.keys.send_key == bobs.keys.receive_key
    assert alices.keys.receive_key == bobs.keys.send_key
    assert alices.keys.control_send_key == bobs.keys.control_receive_key
    assert alices.keys.control_receive_key == bobs.keys.control_send_key
    keys = alices.keys
    four = {keys.send_key, keys.receive_key, keys.control_send_key, keys.control_receive_key}
    assert [len(key) for key in four] == [32] * 4


@pytest.mark.parametrize(
    ("alices", "bobs", "cipher"),
    [
        (True, True, "aes256gcm"),
        (True, False, "chacha20poly1305"),
        (False, True, "chacha20poly1305"),
        (False, False, "chacha20poly1305"),
    ],
)
def test_aes_is_chosen_where_both_do_it_fast(alices: bool, bobs: bool, cipher: str) -> None:
    attempt = initiate(random.Random(4), aes=alices)
    answer, responder = receive(listen(aes=bobs), attempt.datagram).respond(psk=HOME.psk, payload=b"", index=1)
    assert attempt.handle_response(answer).keys.cipher == responder.keys.cipher == cipher


def test_a_cipher_that_was_not_offered_is_refused() -> None:
    """A responder that insists on AES-GCM is broken; its word is not taken."""
    attempt = initiate(random.Random(4), aes=False)
    noise = HandshakeState(
        "IKpsk2",
        "ChaChaPoly",
        "BLAKE2s",
        initiator=False,
        prologue=b"ntvl 1\1",
        local=BOB,
        random=random.Random(5).randbytes,
        psk=HOME.psk,
    )
    noise.read_message(parse_initiation(attempt.datagram).noise)
    for flags, outcome in ((1, "format"), (0xFE, "chacha20poly1305")):  # flags without meaning yet are ignored
        copy = noise.copy()
        head = build_response_head(9, attempt.index, copy.write_message(bytes((flags, 0, 0, 0, 9)) + b"payload"))
        answer = remac(ALICE.public, head + bytes(32))
        if outcome == "format":
            assert refusal(lambda answer=answer: attempt.handle_response(answer)) == outcome
        else:
            assert attempt.handle_response(answer).keys.cipher == outcome


def test_two_handshakes_share_no_key() -> None:
    first, second = shake(seed=4)[0].keys, shake(seed=5)[0].keys
    assert first.send_key != second.send_key
    assert first.control_send_key != second.control_send_key


def test_no_key_shows_in_a_log() -> None:
    alices, bobs = shake()
    shown = f"{alices!r} {alices} {bobs}"
    for key in (alices.keys.send_key, alices.keys.receive_key, alices.keys.control_send_key, HOME.psk):
        assert repr(key) not in shown
        assert key.hex() not in shown


def test_the_largest_payloads_fit_and_nothing_larger() -> None:
    assert PAYLOAD_BYTES_MAX >= CERTIFICATE_BYTES_MAX
    attempt = initiate(random.Random(4), payload=bytes(PAYLOAD_BYTES_MAX))
    assert len(attempt.datagram) == HANDSHAKE_BYTES_MAX == 1188
    received = receive(listen(), attempt.datagram)
    answer, _ = received.respond(psk=HOME.psk, payload=bytes(PAYLOAD_BYTES_MAX), index=1)
    assert len(answer) <= HANDSHAKE_BYTES_MAX
    assert len(attempt.handle_response(answer).payload) == PAYLOAD_BYTES_MAX
    with pytest.raises(ValueError, match="payload"):
        initiate(random.Random(4), payload=bytes(PAYLOAD_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="payload"):
        receive(listen(), initiate(random.Random(5)).datagram).respond(
            psk=HOME.psk, payload=bytes(PAYLOAD_BYTES_MAX + 1), index=1
        )


def test_respond_is_called_once_and_with_a_psk_where_one_belongs() -> None:
    received = receive(listen(), initiate(random.Random(4)).datagram)
    with pytest.raises(ValueError, match="community"):
        received.respond(psk=None, payload=b"", index=1)
    received.respond(psk=HOME.psk, payload=b"", index=1)
    with pytest.raises(ValueError, match="once"):
        received.respond(psk=HOME.psk, payload=b"", index=1)
    supernodes = receive(listen(), initiate(random.Random(5), psk=None).datagram)
    with pytest.raises(ValueError, match="none"):
        supernodes.respond(psk=HOME.psk, payload=b"", index=1)


@settings(max_examples=25)
@given(
    mine=st.binary(max_size=PAYLOAD_BYTES_MAX),
    yours=st.binary(max_size=PAYLOAD_BYTES_MAX),
    seed=st.integers(0, 2**32 - 1),
)
def test_payloads_arrive_as_they_are(mine: bytes, yours: bytes, seed: int) -> None:
    attempt = initiate(random.Random(seed), payload=mine)
    received = receive(listen(), attempt.datagram)
    assert received.payload == mine
    assert len(mine) < 8 or mine not in attempt.datagram
    answer, _ = received.respond(psk=HOME.psk, payload=yours, index=seed)
    established = attempt.handle_response(answer)
    assert (established.payload, established.keys.send_index) == (yours, seed)


# --- bytes altered on the way ---


@pytest.mark.parametrize("psk", KINDS)
def test_every_altered_byte_of_an_initiation_is_refused(psk: bytes | None, exchanges: list[bytes]) -> None:
    data = initiate(random.Random(4), psk=psk).datagram
    exchanges.clear()
    listener = listen(load_limit_per_s=10_000)
    for at, bad in flips(data[:-16]):
        assert refusal(lambda bad=bad: listener.handle_initiation(bad + bytes(16), b"m", 10.0)) in (
            "mac1",
            "type",
            "header",
        )
        assert not exchanges, at
    receive(listener, data)  # none of that keeps the true one out


@pytest.mark.parametrize("psk", KINDS)
def test_every_byte_altered_by_one_who_knows_the_public_key_is_refused(psk: bytes | None) -> None:
    data = initiate(random.Random(4), psk=psk).datagram
    listener = listen(load_limit_per_s=10_000)
    for _, bad in flips(data[:-32]):
        assert refusal(lambda bad=bad: listener.handle_initiation(remac(BOB.public, bad + bytes(32)), b"m", 10.0)) in (
            "authentication",
            "type",
            "header",
        )
    receive(listener, data)


@pytest.mark.parametrize("psk", KINDS)
def test_every_altered_byte_of_a_response_is_refused_and_the_true_one_still_comes_through(psk: bytes | None) -> None:
    attempt = initiate(random.Random(4), psk=psk)
    answer, bobs = receive(listen(), attempt.datagram).respond(psk=psk, payload=b"bob's", index=2)
    for _, bad in flips(answer):
        assert refusal(lambda bad=bad: attempt.handle_response(bad)) in ("mac1", "type", "header", "unknown-session")
    for _, bad in flips(answer[:-32]):
        assert refusal(lambda bad=bad: attempt.handle_response(remac(ALICE.public, bad + bytes(32)))) in (
            "authentication",
            "type",
            "header",
            "unknown-session",
        )
    assert attempt.handle_response(answer).keys.send_key == bobs.keys.receive_key


def test_every_truncation_is_refused() -> None:
    attempt = initiate(random.Random(4))
    listener = listen(load_limit_per_s=10_000)
    for length in range(len(attempt.datagram)):
        assert refusal(lambda n=length: listener.handle_initiation(attempt.datagram[:n], b"m", 10.0)) in (
            "short",
            "mac1",
        )
    answer, _ = receive(listener, attempt.datagram).respond(psk=HOME.psk, payload=b"bob's", index=2)
    for length in range(len(answer)):
        assert refusal(lambda n=length: attempt.handle_response(answer[:n])) in ("short", "mac1", "header")


def test_an_attempt_bears_a_bounded_number_of_forged_responses(exchanges: list[bytes]) -> None:
    attempt = initiate(random.Random(4))
    answer, _ = receive(listen(), attempt.datagram).respond(psk=HOME.psk, payload=b"", index=2)
    forged = remac(ALICE.public, answer[:-33] + bytes((answer[-33] ^ 1,)) + bytes(32))
    exchanges.clear()
    reasons = [refusal(lambda: attempt.handle_response(forged)) for _ in range(1000)]
    assert reasons == ["authentication"] * 256 + ["rate"] * 744
    assert len(exchanges) == 2 * 256


@pytest.mark.parametrize("kind", [Kind.INITIATION, Kind.RESPONSE, Kind.COOKIE])
@given(rest=st.binary(max_size=300), tidy=st.booleans())
def test_any_bytes_are_refused_with_a_reason(kind: Kind, rest: bytes, tidy: bool) -> None:
    attempt, listener = initiate(random.Random(4)), listen()
    data = bytes((kind,)) + (bytes(3) + attempt.index.to_bytes(4, "big") if tidy else b"") + rest
    for data_ in (data, remac(BOB.public, data), remac(ALICE.public, data)):
        reasons = {
            refusal(lambda d=data_: listener.handle_initiation(d, b"m", 10.0)),
            refusal(lambda d=data_: attempt.handle_response(d)),
            refusal(lambda d=data_: attempt.handle_cookie(d)),
        }
        assert reasons <= {"short", "long", "type", "header", "mac1", "unknown-session", "authentication", "cookie"}


# --- wrong keys ---


def test_without_the_communitys_key_the_initiator_does_not_finish() -> None:
    attempt = initiate(random.Random(4), psk=bytes(32))
    answer, _ = receive(listen(), attempt.datagram).respond(psk=HOME.psk, payload=b"", index=2)
    assert refusal(lambda: attempt.handle_response(answer)) == "authentication"


def test_without_the_communitys_key_the_responder_is_not_believed() -> None:
    attempt = initiate(random.Random(4))
    answer, _ = receive(listen(), attempt.datagram).respond(psk=bytes(32), payload=b"", index=2)
    assert refusal(lambda: attempt.handle_response(answer)) == "authentication"


def test_another_key_than_the_one_that_was_called_cannot_answer() -> None:
    attempt = initiate(random.Random(4))
    assert refusal(lambda: listen(MALLORY).handle_initiation(attempt.datagram, b"a", 10.0)) == "mac1"
    assert refusal(lambda: listen(MALLORY).handle_initiation(remac(MALLORY.public, attempt.datagram), b"a", 10.0)) == (
        "authentication"
    )


def test_a_peers_initiation_is_not_taken_for_a_supernodes() -> None:
    data = bytearray(initiate(random.Random(4)).datagram)
    data[1] = 0
    assert refusal(lambda: listen().handle_initiation(remac(BOB.public, bytes(data)), b"a", 10.0)) == "authentication"


@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31), bytes(31), b""])
def test_a_key_of_low_order_or_none_is_not_called(key: bytes) -> None:
    assert refusal(lambda: initiate(random.Random(4), remote=key)) == "authentication"


def test_an_initiation_with_an_ephemeral_key_of_low_order_is_refused() -> None:
    head = build_initiation_head(KIND_PEER, 1, bytes(120))
    assert (
        refusal(lambda: listen().handle_initiation(remac(BOB.public, head + bytes(32)), b"m", 10.0)) == "authentication"
    )


def test_our_own_key_from_outside_is_a_reflection_or_a_copy() -> None:
    attempt = initiate(random.Random(4), local=BOB)
    assert refusal(lambda: listen().handle_initiation(attempt.datagram, b"m", 10.0)) == "reflected"


def test_a_datagram_sent_back_to_its_sender_is_refused() -> None:
    attempt = initiate(random.Random(4))
    assert refusal(lambda: listen(ALICE).handle_initiation(attempt.datagram, b"m", 10.0)) == "mac1"
    answer, _ = receive(listen(), attempt.datagram).respond(psk=HOME.psk, payload=b"", index=attempt.index)
    other_way = initiate(random.Random(5), local=BOB, remote=ALICE.public)
    assert refusal(lambda: other_way.handle_response(answer)) == "mac1"


def test_a_response_to_another_attempt_is_refused() -> None:
    first, second = initiate(random.Random(4)), initiate(random.Random(5))
    answer, _ = receive(listen(), first.datagram).respond(psk=HOME.psk, payload=b"", index=2)
    assert refusal(lambda: second.handle_response(answer)) == "authentication"
    third = initiate(random.Random(6), index=3)
    assert refusal(lambda: third.handle_response(answer)) == "unknown-session"
    first.handle_response(answer)


def test_an_inner_payload_without_its_head_is_refused() -> None:
    noise = HandshakeState(
        "IKpsk2",
        "ChaChaPoly",
        "BLAKE2s",
        initiator=True,
        prologue=b"ntvl 1\1",
        local=ALICE,
        random=random.Random(4).randbytes,
        remote=BOB.public,
        psk=HOME.psk,
    )
    head = build_initiation_head(KIND_PEER, 1, noise.write_message(b"1234"))
    assert refusal(lambda: listen().handle_initiation(remac(BOB.public, head + bytes(32)), b"m", 10.0)) == "format"


# --- replays ---


def test_an_initiation_seen_before_is_refused_before_it_is_computed_on(exchanges: list[bytes]) -> None:
    listener = listen()
    data = initiate(random.Random(4)).datagram
    receive(listener, data, now=10.0)
    exchanges.clear()
    for now in (10.0, 11.0, 189.0):
        assert refusal(lambda now=now: listener.handle_initiation(data, b"m", now)) == "replayed-handshake"
    assert not exchanges


def test_an_initiation_replayed_after_the_memory_gives_a_session_that_nobody_can_use() -> None:
    listener, attempt = listen(), initiate(random.Random(4))
    first, _ = receive(listener, attempt.datagram, now=10.0).respond(psk=HOME.psk, payload=b"", index=2)
    alices = attempt.handle_response(first)
    # Mallory recorded it; Bob answers with a fresh ephemeral key, so Alice's keys do not fit.
    again, bobs = receive(listener, attempt.datagram, now=500.0).respond(psk=HOME.psk, payload=b"", index=3)
    assert bobs.keys.receive_key != alices.keys.send_key
    assert refusal(lambda: Channel(bobs.keys).open(Channel(alices.keys).seal(b"x"))) == "unknown-session"
    assert refusal(lambda: attempt.handle_response(again)) == "replayed-handshake"


def test_a_response_counts_once() -> None:
    attempt = initiate(random.Random(4))
    answer, _ = receive(listen(), attempt.datagram).respond(psk=HOME.psk, payload=b"", index=2)
    attempt.handle_response(answer)
    assert refusal(lambda: attempt.handle_response(answer)) == "replayed-handshake"


# --- a hostile supernode ---


def certificate(community: Community, key: NodeKey) -> bytes:
    return issue_certificate(community, node=key.public, name="n", addresses=(), not_before=0, not_after=100)


def test_a_supernode_that_puts_its_own_key_in_a_members_place_cannot_finish() -> None:
    """It tells Alice that Bob's key is its own; it has neither the community's PSK nor a certificate."""
    supernode = MALLORY
    attempt = initiate(random.Random(4), remote=supernode.public, payload=certificate(HOME, ALICE))
    received = receive(listen(supernode), attempt.datagram)
    answer, _ = received.respond(psk=bytes(32), payload=certificate(HOME, BOB), index=2)
    assert refusal(lambda: attempt.handle_response(answer)) == "authentication"


def test_a_supernode_that_has_the_psk_still_lacks_a_certificate_for_its_key() -> None:
    supernode, impostor = MALLORY, Community.from_seed("home", b"the supernode's own")
    for shown, reason in (
        (certificate(HOME, BOB), "certificate-key"),
        (certificate(impostor, supernode), "unknown-community"),
    ):
        attempt = initiate(random.Random(4), remote=supernode.public)
        answer, _ = receive(listen(supernode), attempt.datagram).respond(psk=HOME.psk, payload=shown, index=2)
        established = attempt.handle_response(answer)
        assert established.remote == supernode.public
        assert (
            refusal(
                lambda e=established: verify_certificate(e.payload, wall_time=50.0, community=HOME.id, node=e.remote)
            )
            == reason
        )


def test_a_supernode_in_the_middle_can_read_nothing_and_change_nothing() -> None:
    """It relays the handshake: it sees every byte, may change any, and knows both public keys."""
    attempt = initiate(random.Random(4), payload=certificate(HOME, ALICE))
    answer, bobs = receive(listen(), attempt.datagram).respond(psk=HOME.psk, payload=certificate(HOME, BOB), index=2)
    assert ALICE.public not in attempt.datagram
    assert b"home" not in attempt.datagram + answer
    relabelled = build_response_head(77, attempt.index, parse_response(answer).noise)
    assert refusal(lambda: attempt.handle_response(remac(ALICE.public, relabelled + bytes(32)))) == "authentication"
    alices = attempt.handle_response(answer)
    sealed = Channel(alices.keys).seal(b"known plaintext")
    assert b"known plaintext" not in sealed
    assert Channel(bobs.keys).open(sealed) == b"known plaintext"
