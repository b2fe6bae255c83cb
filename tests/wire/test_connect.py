import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError
from ntvl.wire.connect import ANSWER_BYTES_MAX, build_connect, parse_connect_answer


def test_a_request_names_the_host_and_offers_the_password() -> None:
    request = build_connect("sn.example.org", 443, user="some one", password="sécret:word").decode()
    lines = request.split("\r\n")
    assert lines[0] == "CONNECT sn.example.org:443 HTTP/1.1"
    assert lines[1] == "Host: sn.example.org:443"
    assert base64.b64decode(lines[2].removeprefix("Proxy-Authorization: Basic ")).decode() == "some one:sécret:word"
    assert lines[3:] == ["", ""]


def test_an_ipv6_literal_gets_brackets_and_nothing_is_offered_without_a_password() -> None:
    assert build_connect("2001:db8::1", 443) == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
    )


@pytest.mark.parametrize("status", [200, 407, 502])
def test_the_status_and_the_begin_of_the_tunnel_are_found(status: int) -> None:
    head = f"HTTP/1.1 {status} Whatever\r\nVia: somebody\r\n\r\n".encode()
    for end in range(len(head)):
        assert parse_connect_answer(head[:end]) is None
    assert parse_connect_answer(head + b"\x16\x03") == (status, len(head))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "format"),
        (b"HTTP/2 200\r\n\r\n", "format"),
        (b"HTTP/1.1 999 No\r\n\r\n", "format"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "format"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * ANSWER_BYTES_MAX, "long"),
    ],
)
def test_what_is_no_answer_of_a_proxy_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_connect_answer(data)
    assert caught.value.reason == reason


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.0 200 OK\r\n"]))
def test_any_bytes_give_a_status_or_a_listed_reason(data: bytes, start: bytes) -> None:
    try:
        answer = parse_connect_answer(start + data)
    except PeerError as error:
        assert error.reason in REASONS
    else:
        assert answer is None or 100 <= answer[0] <= 599
