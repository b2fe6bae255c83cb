import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.noise import CIPHERS, HASHES, PATTERNS, HandshakeState

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "noise.json").read_text(encoding="utf-8")
)["vectors"]
ALICE, BOB = (NodeKey.generate(random.Random(seed).randbytes) for seed in (1, 2))
PSK = bytes(range(32))


def parts(protocol: str) -> tuple[str, str, str]:
    noise, pattern, dh, cipher, hash_name = protocol.split("_")
    assert (noise, dh) == ("Noise", "25519")
    return pattern, cipher, hash_name


def pair(
    pattern: str = "IKpsk2", cipher: str = "ChaChaPoly", hash_name: str = "BLAKE2s", **changes: Any
) -> tuple[HandshakeState, HandshakeState]:
    psk = PSK if pattern == "IKpsk2" else None
    common: dict[str, Any] = {"prologue": b"prologue", "random": random.Random(3).randbytes, "psk": psk}
    initiator = HandshakeState(
        pattern, cipher, hash_name, initiator=True, **({"local": ALICE, "remote": BOB.public} | common | changes)
    )
    return initiator, HandshakeState(pattern, cipher, hash_name, initiator=False, local=BOB, **common)


def reason(take: Any, *arguments: bytes) -> str:
    with pytest.raises(PeerError) as error:
        take(*arguments)
    return error.value.reason


def test_the_vectors_cover_every_protocol_that_we_speak() -> None:
    wanted = {f"Noise_{p}_25519_{c}_{h}" for p in PATTERNS for c in CIPHERS for h in HASHES}
    assert {vector["protocol"] for vector in VECTORS if vector["source"] == "cacophony"} == wanted


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['source']}-{vector['protocol']}")
def test_published_vectors_come_out_byte_for_byte(vector: dict[str, Any]) -> None:
    raw = {
        name: bytes.fromhex(value) for name, value in vector.items() if name not in ("source", "protocol", "messages")
    }
    pattern, cipher, hash_name = parts(vector["protocol"])
    static = NodeKey.from_bytes(raw["responder_static"])
    assert static.public == raw["responder_public"]
    initiator_static = NodeKey.from_bytes(raw["initiator_static"])
    initiator = HandshakeState(
        pattern,
        cipher,
        hash_name,
        initiator=True,
        prologue=raw["prologue"],
        local=initiator_static,
        random=lambda count: raw["initiator_ephemeral"],
        remote=raw["responder_public"],
        psk=raw.get("psk"),
    )
    responder = HandshakeState(
        pattern,
        cipher,
        hash_name,
        initiator=False,
        prologue=raw["prologue"],
        local=static,
        random=lambda count: raw["responder_ephemeral"],
    )
    responder.psk = raw.get("psk")
    messages = [tuple(map(bytes.fromhex, message)) for message in vector["messages"]]
    assert len(messages) >= (6 if vector["source"] == "cacophony" else 2)
    (payload1, message1), (payload2, message2), *transport = messages

    assert initiator.write_message(payload1) == message1
    assert responder.read_message(message1) == payload1
    assert responder.remote == initiator_static.public
    assert not initiator.finished
    assert responder.write_message(payload2) == message2
    assert initiator.read_message(message2) == payload2
    assert initiator.finished
    assert responder.finished
    assert initiator.handshake_hash == responder.handshake_hash
    if "handshake_hash" in raw:
        assert initiator.handshake_hash == raw["handshake_hash"]

    initiator_send, initiator_receive = initiator.split(cipher)
    responder_send, responder_receive = responder.split(cipher)
    for turn, (payload, message) in enumerate(transport):
        send, receive = (initiator_send, responder_receive) if turn % 2 == 0 else (responder_send, initiator_receive)
        assert send.seal(b"", payload) == message
        assert receive.open(b"", message) == payload


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_talks_with_an_independent_implementation(pattern: str, cipher: str, ours_first: bool) -> None:
    """The package `noiseprotocol` on the other side, as initiator and as responder."""
    theirs = NoiseConnection.from_name(f"Noise_{pattern}_25519_{cipher}_BLAKE2s".encode())
    theirs.set_prologue(b"prologue")
    if pattern == "IKpsk2":
        theirs.set_psks(psk=PSK)
    static = BOB if ours_first else ALICE
    theirs.set_keypair_from_private_bytes(Keypair.STATIC, static.private_bytes)
    initiator, responder = pair(pattern, cipher)
    if ours_first:
        theirs.set_as_responder()
        theirs.start_handshake()
        assert theirs.read_message(initiator.write_message(b"certificate")) == b"certificate"
        assert initiator.read_message(bytes(theirs.write_message(b"another"))) == b"another"
        ours = initiator
    else:
        theirs.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, BOB.public)
        theirs.set_as_initiator()
        theirs.start_handshake()
        assert responder.read_message(bytes(theirs.write_message(b"certificate"))) == b"certificate"
        assert responder.remote == ALICE.public
        assert theirs.read_message(responder.write_message(b"another")) == b"another"
        ours = responder
    assert theirs.handshake_finished
    assert ours.finished
    assert theirs.get_handshake_hash() == ours.handshake_hash
    send, receive = ours.split(cipher)
    for turn in range(3):
        text = b"turn %d" % turn
        assert theirs.decrypt(send.seal(b"", text)) == text
        assert receive.open(b"", bytes(theirs.encrypt(text))) == text


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_altered_byte_of_every_message_is_refused(pattern: str) -> None:
    initiator, responder = pair(pattern)
    message = initiator.write_message(b"payload")
    for at in range(len(message)):
        altered = message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :]
        assert reason(responder.copy().read_message, altered) == "authentication"
    assert responder.read_message(message) == b"payload"
    answer = responder.write_message(b"answer")
    for at in range(len(answer)):
        altered = answer[:at] + bytes((answer[at] ^ 1,)) + answer[at + 1 :]
        assert reason(initiator.copy().read_message, altered) == "authentication"
    assert initiator.read_message(answer) == b"answer"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_truncation_is_refused(pattern: str) -> None:
    initiator, responder = pair(pattern)
    message = initiator.write_message(b"")
    for length in range(len(message)):
        assert reason(responder.copy().read_message, message[:length]) in ("short", "authentication")
    assert reason(responder.copy().read_message, bytes(65536)) == "long"


@given(message=st.binary(max_size=400))
def test_any_bytes_are_refused_with_a_reason(message: bytes) -> None:
    initiator, responder = pair()
    assert reason(responder.copy().read_message, message) in ("short", "authentication")
    responder.read_message(initiator.write_message(b""))
    assert reason(initiator.copy().read_message, message) in ("short", "authentication")


def test_a_copy_that_met_rubbish_leaves_the_original_as_it_was() -> None:
    initiator, responder = pair()
    responder.read_message(initiator.write_message(b""))
    answer = responder.write_message(b"answer")
    rubbish = initiator.copy()
    assert reason(rubbish.read_message, answer[:-1] + bytes((answer[-1] ^ 1,))) == "authentication"
    assert initiator.read_message(answer) == b"answer"
    assert initiator.split_keys() == responder.split_keys()


@pytest.mark.parametrize(
    "changes", [{"prologue": b"prologuf"}, {"psk": bytes(32)}, {"remote": ALICE.public}], ids=["prologue", "psk", "key"]
)
def test_two_sides_that_disagree_do_not_finish(changes: dict[str, Any]) -> None:
    initiator, responder = pair(**changes)
    message = initiator.write_message(b"")
    if "psk" in changes:  # mixed in with the second message
        responder.read_message(message)
        assert reason(initiator.read_message, responder.write_message(b"")) == "authentication"
    else:
        assert reason(responder.read_message, message) == "authentication"


def test_low_order_keys_are_refused_wherever_they_come_in() -> None:
    initiator, responder = pair(remote=bytes(32))
    assert reason(initiator.write_message, b"") == "authentication"
    assert reason(responder.read_message, bytes(96)) == "authentication"
    initiator, _ = pair()
    initiator.write_message(b"")
    assert reason(initiator.read_message, bytes(48)) == "authentication"


def test_out_of_turn_and_without_keys_is_the_callers_mistake() -> None:
    initiator, responder = pair()
    for call in (responder.write_message, initiator.read_message):
        with pytest.raises(ValueError, match="turn"):
            call(b"")
    with pytest.raises(ValueError, match="not finished"):
        initiator.split_keys()
    with pytest.raises(ValueError, match="not given"):
        pair(remote=None)
    with pytest.raises(ValueError, match="32 bytes"):
        pair(psk=bytes(31))
    responder.read_message(initiator.write_message(b""))
    responder.psk = None
    with pytest.raises(ValueError, match="pre-shared"):
        responder.write_message(b"")


def test_too_long_a_message_is_the_callers_mistake() -> None:
    initiator, _ = pair()
    with pytest.raises(ValueError, match="65"):
        initiator.write_message(bytes(65536 - 96))


def test_transport_ciphers_count_and_refuse_what_is_altered() -> None:
    initiator, responder = pair()
    responder.read_message(initiator.write_message(b""))
    initiator.read_message(responder.write_message(b""))
    send, _ = initiator.split("ChaChaPoly")
    _, receive = responder.split("ChaChaPoly")
    first, second = send.seal(b"ad", b"x"), send.seal(b"ad", b"x")
    assert first != second
    assert reason(receive.open, b"ad", second) == "authentication"
    assert reason(receive.open, b"other", first) == "authentication"
    assert receive.open(b"ad", first) == b"x"
    assert receive.open(b"ad", second) == b"x"
