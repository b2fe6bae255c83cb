"""Long-term credentials: how a user of a TURN server shows that he knows his password without sending it.

A server answers the first request with a realm and a nonce. From user name, realm and password comes a key, under which
every further request and answer carries an integrity attribute:

    nothing more             key = MD5(user:realm:password), MESSAGE-INTEGRITY
    PASSWORD-ALGORITHMS      key by the first algorithm of it that we know, MESSAGE-INTEGRITY-SHA256

A nonce that begins with the nonce cookie tells what else the server can do: 24 bits in base64, of which two are
defined. Since the nonce is protected in the next request, nobody can take PASSWORD-ALGORITHMS out unnoticed.

Source: RFC 8489 sections 9.2, 14.4, 14.11, 14.12, 18.1 and 18.5; RFC 8265 section 4.2 (OpaqueString). Deviations: of
OpaqueString the mapping of spaces, NFC and the refusal of control characters, not its table of unassigned characters;
PASSWORD-ALGORITHMS counts only where the nonce announces it, as section 9.2.5 asks of a careful client.
"""

import base64
import binascii
import hashlib
import struct
import unicodedata
from enum import IntEnum
from typing import Final, NamedTuple

from ntvl.errors import PeerError

__all__ = [
    "CREDENTIAL_BYTES_MAX",
    "Authorization",
    "Credentials",
    "NonceFeatures",
    "PasswordAlgorithm",
    "derive_key",
    "derive_userhash",
    "parse_algorithms",
    "parse_nonce_features",
    "prepare_text",
]

CREDENTIAL_BYTES_MAX: Final = 508
"""Longest user name; the same is asked of a password (RFC 8489 section 14.3)."""
_NONCE_COOKIE: Final = b"obMatJos2"
_PASSWORD_ALGORITHMS: Final = 0x800001
_USERNAME_ANONYMITY: Final = 0x400002
"""Bits 0 and 1 counted from either end: servers do both. Erratum 6290 and the vector of appendix B.1 count from the
right; the bits at the other end are not assigned."""
_ALGORITHM: Final = struct.Struct("!HH")


class PasswordAlgorithm(IntEnum):
    """Names how a key comes from a password (RFC 8489 section 18.5)."""

    MD5 = 1
    SHA256 = 2


class Credentials(NamedTuple):
    """Is a user name and its password, both prepared by `prepare_text`; never shows the password."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


class NonceFeatures(NamedTuple):
    """Tells what a server's nonce announces (RFC 8489 section 18.1)."""

    password_algorithms: bool = False
    username_anonymity: bool = False


class Authorization(NamedTuple):
    """Is what one request carries to be believed, and under what its answer must be.

    Attributes:
        username: or "" where `userhash` stands in its place.
        userhash: 32 bytes, or empty.
        realm: as the server named it.
        nonce: as the server named it.
        key: of `algorithm`.
        algorithm: chosen out of `algorithms`.
        algorithms: the server's PASSWORD-ALGORITHMS as it came, or None: then the integrity is HMAC-SHA1.
    """

    username: str
    userhash: bytes
    realm: str
    nonce: bytes
    key: bytes
    algorithm: PasswordAlgorithm = PasswordAlgorithm.MD5
    algorithms: bytes | None = None

    def __repr__(self) -> str:
        return f"Authorization(realm={self.realm!r})"


def prepare_text(text: str) -> str:
    """Returns a user name or password in the one form in which it is hashed (OpaqueString, RFC 8265 section 4.2).

    Raises:
        ValueError: empty, too long, or with a control character.
    """
    text = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    text = unicodedata.normalize("NFC", text)
    if not text or len(text.encode()) > CREDENTIAL_BYTES_MAX:
        raise ValueError(f"has {len(text.encode())} bytes, not 1 to {CREDENTIAL_BYTES_MAX}")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("has a control character")
    return text


def derive_key(credentials: Credentials, realm: str, algorithm: PasswordAlgorithm = PasswordAlgorithm.MD5) -> bytes:
    """Returns the key of a user in a realm, 16 bytes of MD5 or 32 of SHA-256 (RFC 8489 section 18.5.1)."""
    realm = realm.rstrip("\0")
    data = f"{credentials.username}:{realm}:{credentials.password}".encode()
    if algorithm is PasswordAlgorithm.SHA256:
        return hashlib.sha256(data).digest()
    return hashlib.md5(data, usedforsecurity=False).digest()  # the protocol's choice, kept for every older server


def derive_userhash(username: str, realm: str) -> bytes:
    """Returns what stands for a user name where the server lets it be hidden, 32 bytes (RFC 8489 section 14.4)."""
    realm = realm.rstrip("\0")
    return hashlib.sha256(f"{username}:{realm}".encode()).digest()


def parse_nonce_features(nonce: bytes) -> NonceFeatures:
    """Returns what a nonce announces; any bytes that are no nonce cookie announce nothing."""
    encoded = nonce[len(_NONCE_COOKIE) : len(_NONCE_COOKIE) + 4]
    if not nonce.startswith(_NONCE_COOKIE) or len(encoded) != 4:
        return NonceFeatures()
    try:
        bits = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return NonceFeatures()
    flags = int.from_bytes(bits)
    return NonceFeatures(bool(flags & _PASSWORD_ALGORITHMS), bool(flags & _USERNAME_ANONYMITY))


def parse_algorithms(value: bytes) -> tuple[PasswordAlgorithm, ...]:
    """Returns those of PASSWORD-ALGORITHMS that this program knows, in the server's order.

    Raises:
        PeerError: reason "format".
    """
    known: list[PasswordAlgorithm] = []
    start = 0
    while start < len(value):
        if start + 4 > len(value):
            raise PeerError("format", "PASSWORD-ALGORITHMS")
        number, length = _ALGORITHM.unpack_from(value, start)
        start += 4 + length + -length % 4
        if start > len(value):
            raise PeerError("format", "PASSWORD-ALGORITHMS")
        if number in (PasswordAlgorithm.MD5, PasswordAlgorithm.SHA256) and length == 0:
            known.append(PasswordAlgorithm(number))
    return tuple(known)
