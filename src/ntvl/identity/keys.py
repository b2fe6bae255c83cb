"""A node's key, and what follows from public keys alone: text form, MAC, IPv6 address.

A node is its X25519 key. MAC and IPv6 address of a member are computed from the community's and the node's public key,
so nothing hands them out, nobody negotiates them, and every receiver can check them. A MAC keeps 46 bits of a hash: a
member would have to try some 2^46 keys to meet the MAC of another.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ntvl.errors import PeerError, UsageError

__all__ = ["KEY_BYTES", "NodeKey", "derive_ipv6", "derive_mac", "format_key", "parse_key", "short_id"]

KEY_BYTES: Final = 32
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_MAC_PERSON: Final = b"ntvl mac"
_ULA_PERSON: Final = b"ntvl ula"


class NodeKey:
    """Is the X25519 key pair of a node; never shows its private half in a log."""

    __slots__ = ("_private", "public")

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> "NodeKey":
        """Returns a new key out of 32 random bytes."""
        return cls.from_bytes(random(KEY_BYTES))

    @classmethod
    def from_bytes(cls, raw: bytes) -> "NodeKey":
        """Returns the key with these 32 private bytes.

        Raises:
            UsageError: another length: the key file is damaged.
        """
        if len(raw) != KEY_BYTES:
            raise UsageError(
                f"a node key has {KEY_BYTES} bytes, this one has {len(raw)}; restore it or start with a new one."
            )
        return cls(X25519PrivateKey.from_private_bytes(raw))

    @property
    def private_bytes(self) -> bytes:
        """Returns the 32 private bytes, for the key file alone."""
        return self._private.private_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Returns the 32 bytes that this key and `public` share; some 40 µs.

        Raises:
            PeerError: reason "authentication": not 32 bytes, or a point of low order, with which all keys share zero.
        Source:
            RFC 7748 sections 5 and 6.1 (the check for zero).
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise PeerError("authentication", "public key") from error

    def __repr__(self) -> str:
        return f"NodeKey({format_key(self.public)})"


def format_key(public: bytes) -> str:
    """Returns a public key as people see it: base64url (RFC 4648 section 5) without padding, 43 characters."""
    return base64.urlsafe_b64encode(public).rstrip(b"=").decode("ascii")


def parse_key(text: str) -> bytes:
    """Returns the 32 bytes of a key that `format_key` wrote.

    Raises:
        UsageError: anything else, with a sentence for the person who typed it.
    """
    if _TEXT.fullmatch(text):
        try:
            public = base64.urlsafe_b64decode(text + "=")
        except (binascii.Error, ValueError):  # pragma: no cover - the pattern leaves nothing to complain about
            public = b""
        if len(public) == KEY_BYTES and format_key(public) == text:
            return public
    raise UsageError(
        f"{text[:60]!r} is not a key: a key is 43 letters, digits, '-' and '_', as `ntvl supernode` prints it; "
        "copy it whole."
    )


def short_id(public: bytes) -> str:
    """Returns the first 8 characters of a key's text, for people; never for decisions."""
    return format_key(public)[:8]


def derive_mac(community: bytes, node: bytes) -> bytes:
    """Returns the MAC (6 bytes, locally administered, unicast) of a node in a community.

    Args:
        community: 32 bytes, the community's public key.
        node: 32 bytes, the node's public key.
    Source:
        IEEE 802 section 8.4: bit 0 of the first byte is group, bit 1 is local.
    """
    digest = hashlib.blake2s(community + node, digest_size=6, person=_MAC_PERSON).digest()
    return bytes(((digest[0] & 0xFC) | 0x02,)) + digest[1:]


def derive_ipv6(community: bytes, mac: bytes) -> str:
    """Returns a member's IPv6 address with prefix length, like "fd12:3456:789a::202:3ff:fe04:506/64".

    Args:
        community: 32 bytes, the community's public key; 40 bits of its hash are the global id.
        mac: 6 bytes; the interface id is its EUI-64.
    Source:
        RFC 4193 section 3.1 (fd00::/8, global id, subnet 0), RFC 4291 appendix A (EUI-64, universal bit inverted).
        Deviation: the global id is a hash of the key instead of time and machine (RFC 4193 section 3.2.2).
    """
    prefix = b"\xfd" + hashlib.blake2s(community, digest_size=5, person=_ULA_PERSON).digest() + b"\0\0"
    interface = bytes((mac[0] ^ 0x02,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return f"{ipaddress.IPv6Address(prefix + interface)}/64"
