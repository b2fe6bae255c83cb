from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.service import (
    build_key_reply,
    build_key_request,
    build_reset,
    parse_key_reply,
    parse_key_request,
    parse_reset,
)

PARSERS = [parse_key_request, parse_key_reply, parse_reset]


def test_the_layout_is_what_the_module_says() -> None:
    assert build_key_request(b"12345678") == b"\x85\0\0\0" + b"12345678" + bytes(52)
    assert build_key_reply(b"12345678", b"k" * 32) == b"\x86\0\0\0" + b"12345678" + b"k" * 32
    assert build_reset(0x01020304) == b"\x87\0\0\0\x01\x02\x03\x04"


def test_what_is_built_parses() -> None:
    assert parse_key_request(build_key_request(b"12345678")) == b"12345678"
    assert parse_key_reply(build_key_reply(b"12345678", b"k" * 32)) == (b"12345678", b"k" * 32)
    assert parse_reset(build_reset(2**32 - 1)) == 2**32 - 1


def test_an_answer_is_never_longer_than_its_question() -> None:
    assert len(build_key_reply(bytes(8), bytes(32))) <= len(build_key_request(bytes(8)))


@pytest.mark.parametrize("parse", PARSERS)
@given(st.binary(max_size=1300))
def test_any_bytes_are_parsed_or_refused(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except PeerError as error:
        assert error.reason in REASONS


@pytest.mark.parametrize(
    ("parse", "good"),
    [
        (parse_key_request, build_key_request(b"12345678")),
        (parse_key_reply, build_key_reply(b"12345678", b"k" * 32)),
        (parse_reset, build_reset(7)),
    ],
)
def test_each_thing_that_can_be_wrong_has_its_reason(parse: Callable[[bytes], object], good: bytes) -> None:
    for data, reason in [
        (good[:-1], "short"),
        (b"", "short"),
        (good.ljust(1201, b"\0"), "long"),
        (b"\x80" + good[1:], "type"),
        (good[:1] + b"\0\1\0" + good[4:], "header"),
    ]:
        with pytest.raises(PeerError) as caught:
            parse(data)
        assert caught.value.reason == reason
