import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.credential import (
    Authorization,
    Credentials,
    NonceFeatures,
    PasswordAlgorithm,
    derive_key,
    derive_userhash,
    parse_algorithms,
    parse_nonce_features,
    prepare_text,
)

MATRIX = "マトリックス"


def test_the_key_is_the_md5_of_user_realm_and_password() -> None:
    """The example of RFC 8489 section 9.2.2."""
    key = derive_key(Credentials("user", "pass"), "realm")
    assert key == bytes.fromhex("8493fbc53ba582fb4c044c456bdc40eb")
    assert derive_key(Credentials("user", "pass"), "realm\0") == key


def test_the_newer_key_is_the_sha_256_of_the_same() -> None:
    key = derive_key(Credentials("user", "pass"), "realm", PasswordAlgorithm.SHA256)
    assert key == hashlib.sha256(b"user:realm:pass").digest()


def test_a_user_hash_is_that_of_rfc_8489_appendix_b_1() -> None:
    hashed = "4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
    assert derive_userhash(MATRIX, "example.org").hex() == hashed


def test_text_is_brought_into_one_form() -> None:
    assert prepare_text("café") == "café"
    assert prepare_text("a\u3000b") == "a b"
    assert prepare_text(MATRIX) == MATRIX


@pytest.mark.parametrize("text", ["", "a\nb", "a\0", "x" * 509])
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        prepare_text(text)


@pytest.mark.parametrize(
    ("nonce", "algorithms", "anonymity"),
    [
        (b"obMatJos2AAAAx", False, False),
        (b"obMatJos2AAABx", True, False),
        (b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA", False, True),
        (b"obMatJos2AAAD", True, True),
        (b"obMatJos2gAAAx", True, False),
        (b"obMatJos2wAAAx", True, True),
        (b"obMatJos2AAA", False, False),
        (b"obMatJos2AA*B", False, False),
        (b"obMatJos2\xff\xff\xff\xff", False, False),
        (b"f//499k954d6OL34oL9FSTvy64sA", False, False),
        (b"", False, False),
    ],
)
def test_a_nonce_tells_what_the_server_can_do(nonce: bytes, algorithms: bool, anonymity: bool) -> None:
    assert parse_nonce_features(nonce) == NonceFeatures(algorithms, anonymity)


@given(st.binary(max_size=40))
def test_any_nonce_tells_something(nonce: bytes) -> None:
    parse_nonce_features(nonce)
    parse_nonce_features(b"obMatJos2" + nonce)


def test_algorithms_keep_the_servers_order_and_unknown_ones_are_passed_over() -> None:
    assert parse_algorithms(bytes.fromhex("0009000501020304050000000002000000010000")) == (
        PasswordAlgorithm.SHA256,
        PasswordAlgorithm.MD5,
    )


@given(st.binary(max_size=40))
@example(b"\0\1\0")
@example(b"\0\1\0\5abc")
def test_any_bytes_give_algorithms_or_a_named_reason(value: bytes) -> None:
    try:
        parse_algorithms(value)
    except PeerError as error:
        assert error.reason in REASONS


def test_a_password_is_never_shown() -> None:
    secret = "hunter2"
    authorization = Authorization("user", b"", "realm", b"nonce", secret.encode())
    assert secret not in repr(Credentials("user", secret)) + repr(authorization)
