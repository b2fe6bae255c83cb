"""TURN servers as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import UsageError
from ntvl.identity.turn_uri import TurnTransport, TurnUri, parse_turn_uri

UDP, TCP, TLS = TurnTransport.UDP, TurnTransport.TCP, TurnTransport.TLS


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("turn:relay.example.org", TurnUri("relay.example.org", 3478, UDP)),
        ("turn:Relay.Example.org.:3479?transport=udp", TurnUri("relay.example.org", 3479, UDP)),
        ("turn:relay.example.org?transport=tcp", TurnUri("relay.example.org", 3478, TCP)),
        ("turns:relay.example.org", TurnUri("relay.example.org", 5349, TLS)),
        ("turns:relay.example.org:443?transport=tcp", TurnUri("relay.example.org", 443, TLS)),
        ("TURN:192.0.2.1:1", TurnUri("192.0.2.1", 1, UDP)),
        ("turn:[2001:DB8::1]:3478", TurnUri("2001:db8::1", 3478, UDP)),
        (" turn:localhost ", TurnUri("localhost", 3478, UDP)),
    ],
)
def test_what_people_write_is_understood(text: str, uri: TurnUri) -> None:
    assert parse_turn_uri(text) == uri
    assert parse_turn_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no TURN server"),
        ("stun:relay.example.org", "is no TURN server"),
        ("turn://relay.example.org", "is no TURN server"),
        ("turn:user@relay.example.org", "is no TURN server"),
        ("turn:relay.example.org:", "is no TURN server"),
        ("turn:2001:db8::1", "is no TURN server"),
        ("turn:relay.example.org:0", "has the port 0"),
        ("turn:relay.example.org:65536", "has the port 65536"),
        ("turn:relay.example.org?transport=sctp", "asks for a transport"),
        ("turns:relay.example.org?transport=udp", "asks for a transport"),
        ("turn:192.0.2.256", "has a host that is no address"),
        ("turn:[192.0.2]", "has a host that is no address"),
        ("turn:-x.example.org", "has a host that is no name"),
        ("turn:a..b", "has a host that is no name"),
        ("turn:" + "a." * 127 + "example", "has a host that is no name"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as failure:
        parse_turn_uri(text)
    assert "turn:" in str(failure.value)
    assert len(str(failure.value)) < 300


@pytest.mark.parametrize("text", ["turn:[fe80::1]", "turn:169.254.7.7:3478"])
def test_a_server_is_not_at_a_link_local_address(text: str) -> None:
    with pytest.raises(UsageError, match="is a link-local address"):
        parse_turn_uri(text)


@given(st.text(max_size=80) | st.from_regex(r"turns?:[^\n]{0,40}", fullmatch=True))
def test_any_text_is_a_server_or_a_sentence(text: str) -> None:
    try:
        uri = parse_turn_uri(text)
    except UsageError:
        return
    assert 1 <= uri.port <= 65535
    assert parse_turn_uri(str(uri)) == uri
