"""The handshake between two nodes, or node and supernode: one round trip of Noise IK in datagrams that resist a flood.

    initiator                                          responder
    Initiation  --- INITIATION: e, es, s, ss ------->  Listener.handle_initiation -> Received
    .handle_response <--- RESPONSE: e, ee, se[, psk] -  Received.respond -> Established
    -> Established

Between nodes Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s with the community's key as PSK, to a supernode
Noise_IK_25519_ChaChaPoly_BLAKE2s. The prologue is "ntvl 1" and the kind byte. Inside each Noise payload stand, before
the caller's bytes, a flags byte (bit 0: in the initiation "AES is fast here", in the response "the data cipher is
AES-256-GCM") and the sender's index once more, so that whoever alters the index in the datagram's head breaks the
handshake and not the session after it.

What an initiation may cost before it is computed on is decided in `proto/admission.py`. Responses cost a stranger a
32-bit index and the initiator's public key to forge; an attempt bears a bounded number of bad ones.

There are no timestamps, because clocks step. A replayed initiation is refused for 180 s out of memory; a later one
yields a session of which the responder has only sent a response, and which nobody can confirm.

The four session keys: Noise's Split gives one key a direction; from each, keyed BLAKE2s makes a "data" and a "control"
key.

Source: WireGuard paper (Donenfeld, NDSS 2017) section 5.4. Deviations: no timestamp; the PSK is never zero, supernodes
have a pattern without; a response's mac2 is always zero, since who began a handshake asks no cookie of who answers it.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.admission import COOKIE_LIFETIME_S, NO_MAC, Admission, build_mac1, build_mac2, check_mac1, open_cookie
from ntvl.proto.machine import Random
from ntvl.proto.noise import HandshakeState
from ntvl.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    INITIATION_OVERHEAD_BYTES,
    KIND_PEER,
    KIND_SUPERNODE,
    InitiationDatagram,
    build_initiation_head,
    build_response_head,
    parse_cookie,
    parse_receiver,
    parse_response,
)

__all__ = [
    "COOKIE_LIFETIME_S",
    "PAYLOAD_BYTES_MAX",
    "Established",
    "Initiation",
    "Listener",
    "Received",
    "SessionKeys",
    "handshake_index",
]

_HEAD_BYTES: Final = 5
"""In each Noise payload before the caller's bytes: flags u8, sender index u32."""
PAYLOAD_BYTES_MAX: Final = HANDSHAKE_BYTES_MAX - INITIATION_OVERHEAD_BYTES - _HEAD_BYTES
"""Largest payload of a caller, in both directions."""

_PATTERNS: Final = {KIND_SUPERNODE: "IK", KIND_PEER: "IKpsk2"}
_PROLOGUE: Final = b"ntvl 1"
_FLAG_AES: Final = 1
_AES: Final = "aes256gcm"
_CHACHA: Final = "chacha20poly1305"

_BAD_RESPONSES_MAX: Final = 256
"""Forged responses that one attempt opens before it gives up: some 25 ms of computing."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Is what a session needs: data keys for the engine, control keys for the channel; no key shows in a log.

    Attributes:
        cipher: "aes256gcm" or "chacha20poly1305", for data; control is always ChaCha20-Poly1305.
        send_index: the index in datagrams to the other side.
        receive_index: the index in datagrams to us.
        initiator: whether we began.
    """

    cipher: str
    send_index: int
    receive_index: int
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    control_send_key: bytes = field(repr=False)
    control_receive_key: bytes = field(repr=False)
    initiator: bool


@dataclass(frozen=True, slots=True)
class Established:
    """Is the outcome of a handshake: keys, the other side's static public key, and its payload.

    For the initiator the other side is proven. For the responder it is proven by the first datagram that opens under
    the keys: until then the initiation may be a replay, and with a PSK its sender may not know it.
    """

    keys: SessionKeys
    remote: bytes
    payload: bytes = field(repr=False)


def handshake_index(data: bytes) -> int:
    """Returns the receiver index of a RESPONSE or COOKIE datagram: the `index` of the `Initiation` to hand it to.

    Raises:
        PeerError: reason "type", "short", "long" or "header".
    """
    return parse_receiver(data)


class Initiation:
    """Is one attempt of ours at a handshake: a datagram to send, and the wait for what comes back.

    An attempt sends its datagram once; a new try is a new `Initiation`, with an index of its own.

    Args:
        local: our key.
        remote: the other side's static public key, 32 bytes.
        psk: the community's 32 bytes for a peer, None for a supernode.
        payload: the caller's bytes, at most `PAYLOAD_BYTES_MAX`; sealed for `remote`, without forward secrecy.
        aes: whether AES is fast here.
        index: where we will receive under the session, 0..2^32-1.
        random: gives the ephemeral key.
        cookie: 16 bytes that `handle_cookie` of an earlier attempt gave, at most `COOKIE_LIFETIME_S` ago.
    Raises:
        PeerError: reason "authentication": `remote` is not a usable key.
        ValueError: too long a payload; the caller's mistake.
    """

    def __init__(
        self,
        local: NodeKey,
        remote: bytes,
        *,
        psk: bytes | None,
        payload: bytes,
        aes: bool,
        index: int,
        random: Random,
        cookie: bytes | None = None,
    ) -> None:
        _check_payload(payload)
        kind = KIND_SUPERNODE if psk is None else KIND_PEER
        self.index = index
        self._local = local
        self._remote = remote
        self._aes = aes
        self._bad_responses = 0
        self._done = False
        self._noise = HandshakeState(
            _PATTERNS[kind],
            "ChaChaPoly",
            "BLAKE2s",
            initiator=True,
            prologue=_prologue(kind),
            local=local,
            random=random,
            remote=remote,
            psk=psk,
        )
        noise = self._noise.write_message(_build_inner(aes, index, payload))
        head = build_initiation_head(kind, index, noise)
        self._mac1 = build_mac1(remote, head)
        head += self._mac1
        self.datagram: bytes = head + build_mac2(cookie, head)

    def handle_response(self, data: bytes) -> Established:
        """Returns the session that a response to this attempt makes.

        Args:
            data: any bytes.
        Raises:
            PeerError: reason "type", "short", "long", "header", "unknown-session" (not for this attempt), "mac1",
                "authentication" (wrong key, wrong PSK or altered), "format", "replayed-handshake" (this attempt is
                through already) or "rate" (too many bad ones: make a new attempt). The true response may still come.
        """
        response = parse_response(data)
        if response.receiver != self.index:
            raise PeerError("unknown-session")
        check_mac1(self._local.public, data)
        if self._done:
            raise PeerError("replayed-handshake")
        if self._bad_responses >= _BAD_RESPONSES_MAX:
            raise PeerError("rate", "responses that do not open")
        noise = self._noise.copy()
        try:
            aes, payload = _parse_inner(noise.read_message(response.noise), response.sender)
            if aes and not self._aes:
                raise PeerError("format", "a cipher that was not offered")
        except PeerError:
            self._bad_responses += 1
            raise
        self._done = True
        keys = _derive_keys(noise, aes=aes, send_index=response.sender, receive_index=self.index, initiator=True)
        return Established(keys, self._remote, payload)

    def handle_cookie(self, data: bytes) -> bytes:
        """Returns the cookie with which to make a new `Initiation`: the other side is under load.

        Args:
            data: any bytes.
        Raises:
            PeerError: reason "type", "short", "long", "header", "unknown-session" or "cookie"; this attempt goes on.
        """
        reply = parse_cookie(data)
        if reply.receiver != self.index:
            raise PeerError("unknown-session")
        return open_cookie(self._remote, reply, self._mac1)


class Received:
    """Is an initiation that opened; answer it with `respond`, once, or let it go.

    Attributes:
        remote: the initiator's static public key; proven to have made this initiation, perhaps long ago.
        payload: the initiator's bytes.
        has_psk: whether it is a peer's (with PSK) or a node's to its supernode (without).
    """

    __slots__ = ("_aes", "_noise", "_sender", "has_psk", "payload", "remote")

    def __init__(
        self, noise: HandshakeState, remote: bytes, payload: bytes, *, has_psk: bool, aes: bool, sender: int
    ) -> None:
        self.remote = remote
        self.payload = payload
        self.has_psk = has_psk
        self._noise: HandshakeState | None = noise
        self._aes = aes
        self._sender = sender

    def respond(self, *, psk: bytes | None, payload: bytes, index: int) -> tuple[bytes, Established]:
        """Returns the RESPONSE datagram and the session, which may send once a datagram has opened under it.

        Args:
            psk: the community's 32 bytes where `has_psk`, else None.
            payload: our bytes, at most `PAYLOAD_BYTES_MAX`; forward-secret.
            index: where we will receive under the session, 0..2^32-1.
        Raises:
            ValueError: a second call, a PSK where none belongs or none where one does, too long a payload; the caller's
                mistake.
        """
        if (psk is not None) != self.has_psk:
            raise ValueError("a peer's handshake needs the community's key, a supernode's has none")
        _check_payload(payload)
        noise, self._noise = self._noise, None
        if noise is None:
            raise ValueError("an initiation is answered once")
        noise.psk = psk
        message = noise.write_message(_build_inner(self._aes, index, payload))
        head = build_response_head(index, self._sender, message)
        datagram = head + build_mac1(self.remote, head) + NO_MAC
        keys = _derive_keys(noise, aes=self._aes, send_index=self._sender, receive_index=index, initiator=False)
        return datagram, Established(keys, self.remote, self.payload)


class Listener:
    """Is the answering side of one node key.

    Args:
        local: our key.
        random: gives ephemeral keys, cookie secrets and nonces.
        aes: whether AES is fast here.
        load_limit_per_s: how many initiations that pass mac1 in one second make the load under which cookies are asked
            for.
    """

    def __init__(self, local: NodeKey, random: Random, *, aes: bool, load_limit_per_s: int = 50) -> None:
        self._local = local
        self._random = random
        self._aes = aes
        self._admission = Admission(local.public, random, load_limit_per_s=load_limit_per_s)

    def handle_initiation(self, data: bytes, source: bytes, now: float) -> Received | bytes:
        """Returns the opened initiation, or a COOKIE datagram to send back where we are under load.

        Args:
            data: any bytes.
            source: names the sender's address, the same bytes for the same address; for IPv6 its first 64 bits are
                wise.
            now: seconds, monotonic.
        Raises:
            PeerError: reason "type", "short", "long", "header", "mac1", "replayed-handshake", "rate" (under load, this
                source has had its share), "authentication", "format" or "reflected" (from our own key).
        """
        initiation = self._admission.admit(data, source, now)
        if isinstance(initiation, bytes):
            return initiation
        received = self._open(initiation)
        self._admission.remember(initiation, now)
        return received

    def _open(self, initiation: InitiationDatagram) -> Received:
        noise = HandshakeState(
            _PATTERNS[initiation.kind],
            "ChaChaPoly",
            "BLAKE2s",
            initiator=False,
            prologue=_prologue(initiation.kind),
            local=self._local,
            random=self._random,
        )
        inner = noise.read_message(initiation.noise)
        aes, payload = _parse_inner(inner, initiation.sender)
        remote = noise.remote
        if remote is None or remote == self._local.public:
            raise PeerError("reflected")
        return Received(
            noise,
            remote,
            payload,
            has_psk=initiation.kind == KIND_PEER,
            aes=aes and self._aes,
            sender=initiation.sender,
        )


def _derive_keys(
    noise: HandshakeState, *, aes: bool, send_index: int, receive_index: int, initiator: bool
) -> SessionKeys:
    to_responder, to_initiator = noise.split_keys()
    send, receive = (to_responder, to_initiator) if initiator else (to_initiator, to_responder)
    return SessionKeys(
        cipher=_AES if aes else _CHACHA,
        send_index=send_index,
        receive_index=receive_index,
        send_key=_derive(send, b"data"),
        receive_key=_derive(receive, b"data"),
        control_send_key=_derive(send, b"control"),
        control_receive_key=_derive(receive, b"control"),
        initiator=initiator,
    )


def _derive(key: bytes, label: bytes) -> bytes:
    return hashlib.blake2s(label, key=key, digest_size=32).digest()


def _prologue(kind: int) -> bytes:
    return _PROLOGUE + bytes((kind,))


def _build_inner(aes: bool, index: int, payload: bytes) -> bytes:
    return bytes((_FLAG_AES if aes else 0,)) + index.to_bytes(4, "big") + payload


def _parse_inner(inner: bytes, index: int) -> tuple[bool, bytes]:
    if len(inner) < _HEAD_BYTES:
        raise PeerError("format", "handshake payload")
    if int.from_bytes(inner[1:_HEAD_BYTES], "big") != index:
        raise PeerError("authentication", "index altered on the way")
    return bool(inner[0] & _FLAG_AES), inner[_HEAD_BYTES:]


def _check_payload(payload: bytes) -> None:
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a handshake payload of {len(payload)} bytes is over {PAYLOAD_BYTES_MAX}")
