import pytest
from cryptography.exceptions import InvalidTag

from ntvl.aead import CIPHERS, aes_is_fast, new_aead

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse2 {}\n\nprocessor\t: 1\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd {}\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_one_aead_seals_another_of_the_same_key_opens(cipher: str) -> None:
    sealed = new_aead(cipher, bytes(32)).encrypt(bytes(12), b"frame", None)
    assert len(sealed) == 5 + 16
    assert new_aead(cipher, bytes(32)).decrypt(bytes(12), sealed, None) == b"frame"
    with pytest.raises(InvalidTag):
        new_aead(cipher, b"\1" * 32).decrypt(bytes(12), sealed, None)


def test_the_ciphers_are_the_published_ones() -> None:
    # RFC 8439 section 2.8.2; the GCM specification's test case 13, the empty message.
    key = bytes(range(0x80, 0xA0))
    nonce = bytes.fromhex("070000004041424344454647")
    text = (
        b"Ladies and Gentlemen of the class of '99: "
        b"If I could offer you only one tip for the future, sunscreen would be it."
    )
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = new_aead("chacha20poly1305", key).encrypt(nonce, text, aad)
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
    assert new_aead("aes256gcm", bytes(32)).encrypt(bytes(12), b"", None).hex() == "530f8afbc74536b9a963b4f1c4cb738b"


@pytest.mark.parametrize(
    ("cipher", "key"), [("aes256gcm", bytes(16)), ("chacha20poly1305", b""), ("aes128gcm", bytes(32))]
)
def test_a_wrong_name_or_key_length_is_the_callers_mistake(cipher: str, key: bytes) -> None:
    with pytest.raises(ValueError, match=r"key|cipher"):
        new_aead(cipher, key)


@pytest.mark.parametrize(
    ("cpuinfo", "fast"),
    [
        (X86.format("aes pclmulqdq avx"), True),
        (X86.format("aes"), False),
        (X86.format("pclmulqdq vaes"), False),
        (ARM.format("aes pmull sha1"), True),
        (ARM.format("crc32"), False),
        ("", False),
        ("model name: aes pclmulqdq\n", False),
    ],
)
def test_aes_is_fast_where_the_processor_has_both_instructions(cpuinfo: str, fast: bool) -> None:
    assert aes_is_fast(cpuinfo) is fast
