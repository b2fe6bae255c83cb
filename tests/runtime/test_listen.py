import pytest

from ntvl.errors import UsageError
from ntvl.runtime.listen import choose_public, is_wildcard, parse_listen, parse_wss
from ntvl.wire.address import Address

EVERY = (Address("0.0.0.0", 1971), Address("::", 1971))


@pytest.mark.parametrize(
    ("texts", "addresses"),
    [
        ((), EVERY),
        ((":1971",), EVERY),
        (("1971",), EVERY),
        ((":0",), (Address("0.0.0.0", 0), Address("::", 0))),
        (("0.0.0.0:1971",), EVERY[:1]),
        (("[::]:1971",), EVERY[1:]),
        (("0.0.0.0:1971", "[::]:1971"), EVERY),
        (("203.0.113.5",), (Address("203.0.113.5", 1971),)),
        ((" 203.0.113.5:99 ",), (Address("203.0.113.5", 99),)),
        (("2001:DB8::5",), (Address("2001:db8::5", 1971),)),
        (("[2001:db8:0::5]",), (Address("2001:db8::5", 1971),)),
        (("[2001:db8::5]:99",), (Address("2001:db8::5", 99),)),
        (("203.0.113.5", "203.0.113.5:1971"), (Address("203.0.113.5", 1971),)),
    ],
)
def test_what_a_person_writes_becomes_endpoints(texts: tuple[str, ...], addresses: tuple[Address, ...]) -> None:
    assert parse_listen(texts) == addresses


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":70000",
        ":-1",
        ":\u0661",
        "example.org:1971",
        "203.0.113.300:1",
        "[203.0.113.5]:1",
        "[::",
        "[::]x",
        "224.0.0.1:1",
        "fe80::1%eth0",
        "[fe80::1]:1",
        "169.254.7.7",
        "[fe80::1%eth0]:1",
        "x" * 500,
        "1.2.3.4:1:2",
    ],
)
def test_anything_else_is_told_how_to_be_written(text: str) -> None:
    with pytest.raises(UsageError, match="write ADDR:PORT") as caught:
        parse_listen((text,))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_supernode_has_one_port() -> None:
    with pytest.raises(UsageError, match="names 1971, 1972"):
        parse_listen(("0.0.0.0:1971", "[::]:1972"))


def test_addresses_that_anybody_reaches_are_told_apart() -> None:
    hosts = ["10.0.0.1", "8.8.8.8", "100.64.0.1", "fd00::1", "2606:4700::1", "203.0.113.5", "2001:db8::5", "127.0.0.1"]
    assert choose_public(hosts) == (
        ["8.8.8.8", "2606:4700::1", "203.0.113.5", "2001:db8::5"],
        ["10.0.0.1", "100.64.0.1", "fd00::1", "127.0.0.1"],
    )


def test_two_hosts_stand_for_every_address() -> None:
    assert [is_wildcard(host) for host in ("0.0.0.0", "::", "127.0.0.1", "::1")] == [True, True, False, False]


@pytest.mark.parametrize("text", ["443", ":443"])
def test_a_port_for_websockets_is_meant_on_every_address_unless_one_is_named(text: str) -> None:
    assert parse_wss(text) == (Address("0.0.0.0", 443), Address("::", 443))
    assert parse_wss("[2001:db8::5]:8443") == (Address("2001:db8::5", 8443),)
    with pytest.raises(UsageError, match="--wss: 'x:y' has no port"):
        parse_wss("x:y")
