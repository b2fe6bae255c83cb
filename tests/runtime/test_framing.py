from ntvl.runtime.framing import PlainFraming
from ntvl.wire.address import Address

SEEN = Address("203.0.113.7", 40312)


def test_two_ends_greet_each_other_and_carry_datagrams_both_ways() -> None:
    client, server = PlainFraming(), PlainFraming(SEEN)
    assert server.begin() == b""
    assert server.take_output() == b""
    assert server.feed(client.begin() + client.frame(b"early")) == [b"early"]
    assert server.is_open
    assert not client.is_open
    assert client.feed(server.take_output() + server.frame(b"answer")) == [b"answer"]
    assert client.is_open
    assert client.observed == SEEN
    assert (client.take_output(), server.take_output()) == (b"", b"")


def test_a_server_says_nothing_to_who_has_not_greeted() -> None:
    server = PlainFraming(SEEN)
    assert server.feed(b"ntvl") == []
    assert server.take_output() == b""
