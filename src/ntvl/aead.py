"""The two ciphers of a session, and which of them a processor does fast.

Both are AEADs with a 32-byte key, a 12-byte nonce and a 16-byte tag, so nothing else in ntvl needs to know which one it
uses. AES-256-GCM is several times faster where the processor has instructions for AES and for carry-less
multiplication, and slower (and hard to do in constant time) where it has not; then ChaCha20-Poly1305 (RFC 8439) is the
one.
"""

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

__all__ = ["CIPHERS", "KEY_BYTES", "Aead", "aes_is_fast", "new_aead"]

CIPHERS: Final = ("aes256gcm", "chacha20poly1305")
"""The ciphers that a data session may use, the one preferred where both sides do it fast first."""

KEY_BYTES: Final = 32

Aead = AESGCM | ChaCha20Poly1305


def new_aead(cipher: str, key: bytes) -> Aead:
    """Returns the AEAD of that name under a key.

    Args:
        cipher: one of `CIPHERS`.
        key: 32 bytes.
    Raises:
        ValueError: an unknown name or a key of another length; the caller built it wrongly.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a session key has {KEY_BYTES} bytes, not {len(key)}")
    if cipher == "aes256gcm":
        return AESGCM(key)
    if cipher == "chacha20poly1305":
        return ChaCha20Poly1305(key)
    raise ValueError(f"unknown cipher {cipher!r}")


def aes_is_fast(cpuinfo: str) -> bool:
    """Returns whether the processor has instructions for AES and for the multiplication in GCM.

    Args:
        cpuinfo: the text of /proc/cpuinfo; its first processor speaks for all.
    Source:
        Linux names them "aes" and "pclmulqdq" in "flags" (x86), "aes" and "pmull" in "Features" (arm64).
    """
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
            return "aes" in flags and bool(flags & {"pclmulqdq", "pmull"})
    return False
