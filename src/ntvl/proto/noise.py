"""The Noise protocol framework without input or output, as far as ntvl needs it: IK and IKpsk2 over X25519.

A `HandshakeState` writes and reads messages as its pattern's table says; when both are through, `split` gives the two
transport ciphers, `split_keys` their bare keys. Randomness comes in as a function, so a test that hands in the
ephemeral keys of the published vectors gets the published bytes.

A state that met a message that does not open is spent. Where rubbish may come before the true message, read on a copy.

Source: The Noise Protocol Framework, revision 34: section 5 (states), 7.5 (IK), 9 (PSK), 12 (functions).
"""

import copy
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag

from ntvl.aead import Aead, new_aead
from ntvl.errors import PeerError
from ntvl.identity.keys import NodeKey
from ntvl.proto.machine import Random

__all__ = [
    "CIPHERS",
    "HASHES",
    "MESSAGE_BYTES_MAX",
    "PATTERNS",
    "CipherState",
    "HandshakeState",
    "Pattern",
    "SymmetricState",
]

_DH_BYTES: Final = 32
_TAG_BYTES: Final = 16
_PSK_BYTES: Final = 32
MESSAGE_BYTES_MAX: Final = 65535
_NONCE_LAST: Final = 2**64 - 1
"""Reserved for rekeying (section 5.1); never used for a message."""


class Pattern(NamedTuple):
    """Is a handshake pattern as data: keys known beforehand, then a row of tokens a message, the initiator's first."""

    initiator_known: tuple[str, ...]
    responder_known: tuple[str, ...]
    messages: tuple[tuple[str, ...], ...]

    @property
    def has_psk(self) -> bool:
        """Returns whether a pre-shared key is mixed in (then every ephemeral key is mixed into the key as well)."""
        return any("psk" in tokens for tokens in self.messages)


PATTERNS: Final[dict[str, Pattern]] = {
    "IK": Pattern((), ("s",), (("e", "es", "s", "ss"), ("e", "ee", "se"))),
    "IKpsk2": Pattern((), ("s",), (("e", "es", "s", "ss"), ("e", "ee", "se", "psk"))),
}
"""The patterns by name (sections 7.5 and 9.4)."""

HASHES: Final[dict[str, Callable[..., Any]]] = {
    "BLAKE2s": hashlib.blake2s,
    "BLAKE2b": hashlib.blake2b,
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
}
"""The hash functions by name (section 12)."""

_CIPHERS: Final = {"ChaChaPoly": ("chacha20poly1305", "little"), "AESGCM": ("aes256gcm", "big")}
CIPHERS: Final = tuple(_CIPHERS)
"""The ciphers by name (section 12); they differ in the byte order of the counter in the nonce."""


class CipherState:
    """Seals and opens under one key with a counter for a nonce (section 5.1); without a key it hands bytes through."""

    __slots__ = ("_aead", "_cipher", "_little", "number")

    def __init__(self, cipher: str, key: bytes | None = None) -> None:
        name, order = _CIPHERS[cipher]
        self._cipher = cipher
        self._little = order == "little"
        self._aead: Aead | None = None if key is None else new_aead(name, key)
        self.number = 0

    @property
    def has_key(self) -> bool:
        """Returns whether anything is sealed."""
        return self._aead is not None

    def seal(self, ad: bytes, plaintext: bytes) -> bytes:
        """Returns the sealed plaintext, 16 bytes longer, and counts up."""
        if self._aead is None:
            return plaintext
        sealed = self._aead.encrypt(self._nonce(), plaintext, ad)
        self.number += 1
        return sealed

    def open(self, ad: bytes, sealed: bytes) -> bytes:
        """Returns the plaintext and counts up.

        Raises:
            PeerError: reason "authentication"; the counter stays.
        """
        if self._aead is None:
            return sealed
        try:
            plaintext = self._aead.decrypt(self._nonce(), sealed, ad)
        except InvalidTag as error:
            raise PeerError("authentication") from error
        self.number += 1
        return plaintext

    def copy(self) -> "CipherState":
        """Returns a state that goes its own way from here."""
        return copy.copy(self)

    def _nonce(self) -> bytes:
        if self.number >= _NONCE_LAST:
            raise ValueError("a Noise cipher has run out of nonces")
        return b"\0\0\0\0" + self.number.to_bytes(8, "little" if self._little else "big")


class SymmetricState:
    """Holds chaining key, transcript hash and current cipher (section 5.2)."""

    __slots__ = ("_chaining_key", "_cipher", "_hash", "_hash_bytes", "cipher_state", "handshake_hash")

    def __init__(self, protocol: str, cipher: str, hash_name: str) -> None:
        self._cipher = cipher
        self._hash = HASHES[hash_name]
        self._hash_bytes: int = self._hash().digest_size
        name = protocol.encode("ascii")
        self.handshake_hash: bytes = (
            name.ljust(self._hash_bytes, b"\0") if len(name) <= self._hash_bytes else self._digest(name)
        )
        self._chaining_key = self.handshake_hash
        self.cipher_state = CipherState(cipher)

    def mix_key(self, material: bytes) -> None:
        """Mixes key material into the chaining key and starts a new cipher."""
        self._chaining_key, key = self._hkdf(material, 2)
        self.cipher_state = CipherState(self._cipher, key[:32])

    def mix_hash(self, data: bytes) -> None:
        """Appends to the transcript."""
        self.handshake_hash = self._digest(self.handshake_hash + data)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Mixes a pre-shared key into everything (section 9.1)."""
        self._chaining_key, middle, key = self._hkdf(material, 3)
        self.mix_hash(middle)
        self.cipher_state = CipherState(self._cipher, key[:32])

    def seal_and_hash(self, plaintext: bytes) -> bytes:
        """Returns the sealed plaintext, which joins the transcript."""
        sealed = self.cipher_state.seal(self.handshake_hash, plaintext)
        self.mix_hash(sealed)
        return sealed

    def open_and_hash(self, sealed: bytes) -> bytes:
        """Returns the opened plaintext; its sealed form joins the transcript.

        Raises:
            PeerError: reason "authentication".
        """
        plaintext = self.cipher_state.open(self.handshake_hash, sealed)
        self.mix_hash(sealed)
        return plaintext

    def split_keys(self) -> tuple[bytes, bytes]:
        """Returns the two transport keys of 32 bytes: initiator's to responder, then the way back."""
        first, second = self._hkdf(b"", 2)
        return first[:32], second[:32]

    def copy(self) -> "SymmetricState":
        """Returns a state that goes its own way from here."""
        other = copy.copy(self)
        other.cipher_state = self.cipher_state.copy()
        return other

    def _digest(self, data: bytes) -> bytes:
        digest: bytes = self._hash(data).digest()
        return digest

    def _hkdf(self, material: bytes, outputs: int) -> list[bytes]:
        secret = hmac.digest(self._chaining_key, material, self._hash)
        parts: list[bytes] = []
        last = b""
        for counter in range(1, outputs + 1):
            last = hmac.digest(secret, last + bytes((counter,)), self._hash)
            parts.append(last)
        return parts


class HandshakeState:
    """Writes and reads the messages of one handshake (section 5.3).

    Args:
        pattern: a name in `PATTERNS`.
        cipher: a name in `CIPHERS`.
        hash_name: a name in `HASHES`.
        initiator: whether this side writes first.
        prologue: bytes that both sides must agree on.
        local: our static key.
        random: gives the ephemeral key.
        remote: the other side's static public key where the pattern has us know it.
        psk: 32 bytes for a pattern with a PSK; may be set later, as `psk`, until the token comes.

    Attributes:
        remote: the other side's static public key once known; proven only when its message opened.
        finished: whether all messages are through.
    """

    def __init__(
        self,
        pattern: str,
        cipher: str,
        hash_name: str,
        *,
        initiator: bool,
        prologue: bytes,
        local: NodeKey,
        random: Random,
        remote: bytes | None = None,
        psk: bytes | None = None,
    ) -> None:
        if psk is not None and len(psk) != _PSK_BYTES:
            raise ValueError(f"a pre-shared key has {_PSK_BYTES} bytes, not {len(psk)}")
        self._pattern = PATTERNS[pattern]
        self._initiator = initiator
        self._local = local
        self._random = random
        self._ephemeral: NodeKey | None = None
        self._remote_ephemeral: bytes | None = None
        self._step = 0
        self.remote = remote
        self.psk = psk
        self._symmetric = SymmetricState(f"Noise_{pattern}_25519_{cipher}_{hash_name}", cipher, hash_name)
        self._symmetric.mix_hash(prologue)
        for known, ours in ((self._pattern.initiator_known, initiator), (self._pattern.responder_known, not initiator)):
            for token in known:
                if token != "s" or (remote is None and not ours):
                    raise ValueError(f"{pattern} needs a key that is not given")
                self._symmetric.mix_hash(local.public if ours else remote or b"")

    @property
    def finished(self) -> bool:
        """Returns whether all messages are through."""
        return self._step == len(self._pattern.messages)

    @property
    def handshake_hash(self) -> bytes:
        """Returns the transcript hash, the same on both sides of a finished handshake."""
        return self._symmetric.handshake_hash

    def write_message(self, payload: bytes) -> bytes:
        """Returns our next message with `payload` inside, sealed as far as the pattern is by then.

        Raises:
            ValueError: it is not our turn, a key is missing, or the message is too long; the caller's mistake.
            PeerError: reason "authentication": the other side's key is of low order.
        """
        symmetric = self._symmetric
        parts: list[bytes] = []
        for token in self._tokens(ours=True):
            if token == "e":
                self._ephemeral = NodeKey.generate(self._random)
                parts.append(self._ephemeral.public)
                self._mix_ephemeral(self._ephemeral.public)
            elif token == "s":
                parts.append(symmetric.seal_and_hash(self._local.public))
            else:
                self._mix_token(token)
        parts.append(symmetric.seal_and_hash(payload))
        message = b"".join(parts)
        if len(message) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a Noise message of {len(message)} bytes")
        self._step += 1
        return message

    def read_message(self, message: bytes) -> bytes:
        """Returns the payload of the other side's next message.

        Args:
            message: any bytes.
        Raises:
            PeerError: reason "short", "long" or "authentication"; the state is spent.
            ValueError: it is not the other side's turn; the caller's mistake.
        """
        if len(message) > MESSAGE_BYTES_MAX:
            raise PeerError("long", "handshake")
        at = 0
        symmetric = self._symmetric
        for token in self._tokens(ours=False):
            if token == "e":
                self._remote_ephemeral = _take(message, at, _DH_BYTES)
                at += _DH_BYTES
                self._mix_ephemeral(self._remote_ephemeral)
            elif token == "s":
                length = _DH_BYTES + (_TAG_BYTES if symmetric.cipher_state.has_key else 0)
                self.remote = symmetric.open_and_hash(_take(message, at, length))
                at += length
            else:
                self._mix_token(token)
        payload = symmetric.open_and_hash(message[at:])
        self._step += 1
        return payload

    def copy(self) -> "HandshakeState":
        """Returns a handshake that goes its own way from here, with the same keys."""
        other = copy.copy(self)
        other._symmetric = self._symmetric.copy()
        return other

    def split_keys(self) -> tuple[bytes, bytes]:
        """Returns the two transport keys: initiator's to responder, then the way back.

        Raises:
            ValueError: the handshake is not finished.
        """
        if not self.finished:
            raise ValueError("the handshake is not finished")
        return self._symmetric.split_keys()

    def split(self, cipher: str) -> tuple[CipherState, CipherState]:
        """Returns the transport ciphers (send, receive) of this side, of the handshake's own kind or another."""
        to_responder, to_initiator = (CipherState(cipher, key) for key in self.split_keys())
        return (to_responder, to_initiator) if self._initiator else (to_initiator, to_responder)

    def _tokens(self, *, ours: bool) -> tuple[str, ...]:
        if self.finished or (self._step % 2 == 0) != (self._initiator == ours):
            raise ValueError("a handshake message out of turn")
        return self._pattern.messages[self._step]

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._pattern.has_psk:
            self._symmetric.mix_key(public)

    def _mix_token(self, token: str) -> None:
        if token == "psk":
            if self.psk is None or len(self.psk) != _PSK_BYTES:
                raise ValueError(f"this handshake needs a pre-shared key of {_PSK_BYTES} bytes")
            self._symmetric.mix_key_and_hash(self.psk)
            return
        # The first letter names the initiator's key, the second the responder's.
        mine, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        local = self._ephemeral if mine == "e" else self._local
        remote = self._remote_ephemeral if theirs == "e" else self.remote
        if local is None or remote is None:
            raise ValueError(f"the token {token!r} needs a key that is not there")
        self._symmetric.mix_key(local.exchange(remote))


def _take(message: bytes, at: int, length: int) -> bytes:
    part = message[at : at + length]
    if len(part) < length:
        raise PeerError("short", "handshake")
    return part
