"""A community: a name and an Ed25519 key, with a pre-shared key for the handshakes of its members.

In a passphrase community both keys follow from name and secret, so whoever knows the secret can certify itself. The
derivation is Argon2id, slow and memory-hard on purpose, because the supernode and every peer see the public key and
could try secrets against it.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ntvl.errors import UsageError

__all__ = ["NAME_PATTERN", "SECRET_CHARS_ADVISED", "Community", "check_community_name", "derive_community"]

NAME_PATTERN: Final = r"^[a-z0-9._-]{1,63}\Z"
SECRET_CHARS_ADVISED: Final = 12
"""A shorter secret is worth a warning from whoever asks for it."""

_ITERATIONS: Final = 3
_MEMORY_KIB: Final = 64 * 1024
_LANES: Final = 4
"""RFC 9106 section 4, the second recommended option."""
_SALT_PERSON: Final = b"ntvlsalt"
_SEED_PERSON: Final = b"ntvl community 1"
_NAME: Final = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class Community:
    """Is one virtual network as a member holds it.

    Attributes:
        name: 1..63 characters out of a-z, 0-9, ".", "_" and "-".
        id: 32 bytes, the Ed25519 public key: what makes it this community and no other of that name.
        psk: 32 bytes, mixed into the handshakes between members; secret.
        signing_key: 32 bytes, the Ed25519 seed that certifies members; secret; None where this node cannot certify.
    """

    name: str
    id: bytes
    psk: bytes = field(repr=False)
    signing_key: bytes | None = field(repr=False)

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> "Community":
        """Returns a community whose keys follow from random bytes: microseconds instead of Argon2id.

        Args:
            name: as above.
            seed: at least 16 unguessable bytes (guessable ones in the simulator and in tests only).
        Raises:
            UsageError: a name out of bounds.
        """
        check_community_name(name)
        salted = hashlib.blake2b(name.encode(), digest_size=32).digest()
        return _from_material(name, hashlib.blake2b(seed, key=salted, digest_size=64, person=_SEED_PERSON).digest())


def check_community_name(name: str) -> None:
    """Passes a valid community name.

    Raises:
        UsageError: one sentence that says what a name may hold.
    """
    if not _NAME.match(name):
        raise UsageError(
            f"{name[:70]!r} cannot name a community: use 1 to 63 of the characters a-z, 0-9, '.', '_' and '-', "
            "and no capitals."
        )


def derive_community(name: str, secret: str) -> Community:
    """Returns the passphrase community of that name and secret; takes some 0.1 s and 64 MiB.

    Args:
        name: 1..63 characters out of a-z, 0-9, ".", "_" and "-".
        secret: at least one character; put into Unicode NFC first, since keyboards differ in how they compose.
    Raises:
        UsageError: a name out of bounds, or an empty secret.
    Source:
        RFC 9106: Argon2id with t=3, m=64 MiB, p=4; 64 bytes, of which 32 are the Ed25519 seed and 32 the pre-shared
        key. Deviation: the salt is a hash of the name, because all members must come to the same key without meeting
        first.
    """
    check_community_name(name)
    if not secret:
        raise UsageError(
            "The community's secret is empty; give one in a file (--secret-file), in NTVL_SECRET or at the prompt."
        )
    try:
        password = unicodedata.normalize("NFC", secret).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError("The community's secret is not valid UTF-8 text; write it as UTF-8.") from error
    salt = hashlib.blake2s(name.encode(), digest_size=16, person=_SALT_PERSON).digest()
    kdf = Argon2id(salt=salt, length=64, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return _from_material(name, kdf.derive(password))


def _from_material(name: str, material: bytes) -> Community:
    seed = material[:32]
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return Community(name=name, id=public, psk=material[32:], signing_key=seed)
