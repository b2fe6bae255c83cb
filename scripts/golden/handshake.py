"""Vectors of handshakes: each whole, datagram by datagram, with all keys and chance given, and what is refused.

In order, for a peer and for a supernode: an initiation, the cookie that it gets under load, the next initiation with
that cookie, the response to it, and the session's keys.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from scripts.golden.cast import ALICE, BOB, SUPERNODE, certificate, chance, home
from scripts.golden.entry import Entry, entry

from ntvl.identity.keys import NodeKey
from ntvl.proto.admission import build_mac1
from ntvl.proto.handshake import Established, Initiation, Listener, Received, SessionKeys
from ntvl.proto.noise import HandshakeState
from ntvl.wire.handshake import (
    KIND_PEER,
    KIND_SUPERNODE,
    MAC_BYTES,
    build_response_head,
    parse_cookie,
    parse_initiation,
    parse_response,
)

__all__ = ["handshake_vectors", "peer_session"]

_PATTERNS: Final = {KIND_SUPERNODE: "IK", KIND_PEER: "IKpsk2"}
_FIRST_EPHEMERAL: Final = bytes.fromhex("e1" * 32)
_SECOND_EPHEMERAL: Final = bytes.fromhex("e2" * 32)
_ANSWER_EPHEMERAL: Final = bytes.fromhex("e3" * 32)
_COOKIE_SECRET: Final = bytes.fromhex("c0" * 32)
_COOKIE_NONCE: Final = bytes.fromhex("c1" * 12)
_SOURCE: Final = bytes((203, 0, 113, 9))
_FIRST_INDEX: Final = 0x11111111
_SECOND_INDEX: Final = 0x22222222
_ANSWER_INDEX: Final = 0x33333333


@dataclass
class _Run:
    """Is one handshake of Alice with somebody."""

    kind: int
    remote: NodeKey
    psk: bytes | None
    question: bytes
    answer: bytes
    aes: tuple[bool, bool]

    @property
    def protocol(self) -> str:
        return f"Noise_{_PATTERNS[self.kind]}_25519_ChaChaPoly_BLAKE2s"

    def state(self, ephemeral: bytes, *, initiator: bool) -> HandshakeState:
        """Returns bare Noise with what the handshake gives it."""
        return HandshakeState(
            _PATTERNS[self.kind],
            "ChaChaPoly",
            "BLAKE2s",
            initiator=initiator,
            prologue=b"ntvl 1" + bytes((self.kind,)),
            local=ALICE if initiator else self.remote,
            random=chance(ephemeral),
            remote=self.remote.public if initiator else None,
            psk=self.psk,
        )

    def initiation(self, ephemeral: bytes, index: int, cookie: bytes | None) -> Initiation:
        return Initiation(
            ALICE,
            self.remote.public,
            psk=self.psk,
            payload=self.question,
            aes=self.aes[0],
            index=index,
            random=chance(ephemeral),
            cookie=cookie,
        )

    def listener(self, *drawn: bytes, limit: int = 50) -> Listener:
        return Listener(self.remote, chance(*drawn), aes=self.aes[1], load_limit_per_s=limit)

    def respond(self, data: bytes) -> tuple[bytes, Established]:
        received = self.listener(_ANSWER_EPHEMERAL).handle_initiation(data, _SOURCE, 0.0)
        assert isinstance(received, Received)
        return received.respond(psk=self.psk, payload=self.answer, index=_ANSWER_INDEX)

    def cookie_reply(self, data: bytes) -> bytes:
        """Returns what the remote answers when load begins with the second initiation of a second."""
        listener = self.listener(_COOKIE_SECRET, _COOKIE_NONCE, limit=1)
        before = self.initiation(_ANSWER_EPHEMERAL, 1, None).datagram
        assert isinstance(listener.handle_initiation(before, _SOURCE, 0.0), Received)
        reply = listener.handle_initiation(data, _SOURCE, 0.5)
        assert isinstance(reply, bytes)
        return reply

    def insist(self) -> bytes:
        """Returns a response with AES, whatever the initiator said."""
        noise = self.state(_ANSWER_EPHEMERAL, initiator=False)
        initiation = self.initiation(_SECOND_EPHEMERAL, _SECOND_INDEX, None)
        noise.read_message(parse_initiation(initiation.datagram).noise)
        message = noise.write_message(b"\x01" + _ANSWER_INDEX.to_bytes(4, "big") + self.answer)
        head = build_response_head(_ANSWER_INDEX, _SECOND_INDEX, message)
        return head + build_mac1(ALICE.public, head) + bytes(MAC_BYTES)

    def explain_initiation(self, data: bytes) -> dict[str, Any]:
        received = self.listener().handle_initiation(data, _SOURCE, 0.0)
        assert isinstance(received, Received)
        parts = parse_initiation(data)
        inner = self.state(b"", initiator=False).read_message(parts.noise)
        return {**parts._asdict(), "remote": received.remote, **_explain_inner(inner)}

    def explain_response(self, initiation: Initiation, data: bytes) -> dict[str, Any]:
        initiation.handle_response(data)
        parts = parse_response(data)
        inner = self.finished(initiation, data, _SECOND_EPHEMERAL)[1]
        return {**parts._asdict(), **_explain_inner(inner)}

    def finished(self, initiation: Initiation, response: bytes, ephemeral: bytes) -> tuple[HandshakeState, bytes]:
        """Returns the initiator's finished Noise, made anew, and the inner payload of the response."""
        noise = self.state(ephemeral, initiator=True)
        flags = bytes((self.aes[0],)) + initiation.index.to_bytes(4, "big")
        assert noise.write_message(flags + self.question) == parse_initiation(initiation.datagram).noise
        return noise, noise.read_message(parse_response(response).noise)


def _peer() -> _Run:
    question = certificate(ALICE.public, "büro-pc", "10.77.0.5/16")
    return _Run(KIND_PEER, BOB, home().psk, question, certificate(BOB.public, "laptop", "10.77.0.6/16"), (True, True))


def peer_session() -> tuple[SessionKeys, SessionKeys]:
    """Returns what Alice and Bob have after their handshake."""
    run = _peer()
    initiation = run.initiation(_SECOND_EPHEMERAL, _SECOND_INDEX, None)
    response, bobs = run.respond(initiation.datagram)
    return initiation.handle_response(response).keys, bobs.keys


def handshake_vectors() -> list[Entry]:
    """Returns both handshakes and what goes wrong with them."""
    supernode = _Run(KIND_SUPERNODE, SUPERNODE, None, b"", b"", (True, False))
    return [*_run(_peer(), "peer"), *_refusals(_peer()), *_run(supernode, "supernode")]


def _run(run: _Run, to: str) -> list[Entry]:
    known = {"protocol": run.protocol, "responder_private": run.remote.private_bytes}
    known |= {"psk": run.psk} if run.psk is not None else {}
    asking = {**known, "initiator_private": ALICE.private_bytes, "payload": run.question, "aes": run.aes[0]}
    first = run.initiation(_FIRST_EPHEMERAL, _FIRST_INDEX, None)
    reply = run.cookie_reply(first.datagram)
    cookie = first.handle_cookie(reply)
    second = run.initiation(_SECOND_EPHEMERAL, _SECOND_INDEX, cookie)
    response, established = run.respond(second.datagram)
    noise, _ = run.finished(second, response, _SECOND_EPHEMERAL)
    to_responder, to_initiator = noise.split_keys()
    return [
        entry(
            f"{to}: an initiation",
            first.datagram,
            run.explain_initiation,
            **asking,
            initiator_ephemeral=_FIRST_EPHEMERAL,
            index=_FIRST_INDEX,
        ),
        entry(
            f"{to}: the cookie reply to it under load",
            reply,
            lambda data: {**parse_cookie(data)._asdict(), "cookie": first.handle_cookie(data)},
            responder_public=run.remote.public,
            mac1=parse_initiation(first.datagram).mac1,
            cookie_secret=_COOKIE_SECRET,
            source=_SOURCE,
            nonce=_COOKIE_NONCE,
        ),
        entry(
            f"{to}: another initiation, with the cookie",
            second.datagram,
            run.explain_initiation,
            **asking,
            initiator_ephemeral=_SECOND_EPHEMERAL,
            index=_SECOND_INDEX,
            cookie=cookie,
        ),
        entry(
            f"{to}: the response to it",
            response,
            lambda data: run.explain_response(second, data),
            **known,
            responder_ephemeral=_ANSWER_EPHEMERAL,
            index=_ANSWER_INDEX,
            payload=run.answer,
            aes=run.aes[1],
        ),
        entry(
            f"{to}: the keys: data to responder, data to initiator, control to responder, control to initiator",
            _keys(established.keys),
            lambda _: _explain_keys(established.keys),
            handshake_hash=noise.handshake_hash,
            split_to_responder=to_responder,
            split_to_initiator=to_initiator,
        ),
    ]


def _refusals(run: _Run) -> list[Entry]:
    data = run.initiation(_SECOND_EPHEMERAL, _SECOND_INDEX, None).datagram
    response = run.respond(data)[0]

    def asked(name: str, data: bytes) -> Entry:
        return entry(f"refused: {name}", data, run.explain_initiation, responder_private=BOB.private_bytes)

    def answered(name: str, data: bytes, *, aes: bool = True) -> Entry:
        waiting = replace(run, aes=(aes, True)).initiation(_SECOND_EPHEMERAL, _SECOND_INDEX, None)
        given: Entry = {
            "initiator_private": ALICE.private_bytes,
            "initiator_ephemeral": _SECOND_EPHEMERAL,
            "psk": run.psk,
        }
        given |= {"responder_public": BOB.public, "index": _SECOND_INDEX, "payload": run.question, "aes": aes}
        return entry(f"refused: {name}", data, waiting.handle_response, **given)

    for_another = replace(run, remote=SUPERNODE).initiation(_SECOND_EPHEMERAL, _SECOND_INDEX, None)
    to_itself = Initiation(
        BOB, BOB.public, psk=run.psk, payload=b"", aes=True, index=1, random=chance(_SECOND_EPHEMERAL)
    )
    unasked = replace(run, aes=(False, True))
    same_index = run.initiation(_FIRST_EPHEMERAL, _SECOND_INDEX, None)
    return [
        asked("an initiation for another key", for_another.datagram),
        asked("the sender's index in an initiation altered", _altered(data, 7, BOB.public)),
        asked("the kind in an initiation altered", _altered(data, 1, BOB.public)),
        asked("a reserved byte in an initiation", data[:2] + b"\x01" + data[3:]),
        asked("an initiation cut short", data[:135]),
        asked("an initiation too long", data.ljust(1189, b"\0")),
        asked("an initiation of the receiver's own", to_itself.datagram),
        answered("a response to another index", _altered(response, 11, ALICE.public)),
        answered("the sender's index in a response altered", _altered(response, 7, ALICE.public)),
        answered("a response with a mac2", response[:-1] + b"\x01"),
        answered("a response with a wrong mac1", _altered(response, 7, BOB.public)),
        answered("a response under another pre-shared key", replace(run, psk=bytes(32)).respond(data)[0]),
        answered("a response with a cipher that was not offered", unasked.insist(), aes=False),
        entry(
            "refused: a cookie for another initiation",
            run.cookie_reply(data),
            same_index.handle_cookie,
            responder_public=BOB.public,
            mac1=parse_initiation(same_index.datagram).mac1,
        ),
    ]


def _altered(data: bytes, place: int, receiver: bytes) -> bytes:
    """Returns a handshake datagram with a byte altered and a mac1 that is right."""
    covered = bytearray(data[: -2 * MAC_BYTES])
    covered[place] ^= 1
    return bytes(covered) + build_mac1(receiver, bytes(covered)) + bytes(MAC_BYTES)


def _explain_inner(inner: bytes) -> dict[str, Any]:
    return {"flags": inner[0], "index": int.from_bytes(inner[1:5], "big"), "payload": inner[5:]}


def _keys(keys: SessionKeys) -> bytes:
    return keys.receive_key + keys.send_key + keys.control_receive_key + keys.control_send_key


def _explain_keys(keys: SessionKeys) -> dict[str, Any]:
    return {
        "cipher": keys.cipher,
        "index_at_responder": keys.receive_index,
        "index_at_initiator": keys.send_index,
        "data_to_responder": keys.receive_key,
        "data_to_initiator": keys.send_key,
        "control_to_responder": keys.control_receive_key,
        "control_to_initiator": keys.control_send_key,
    }
