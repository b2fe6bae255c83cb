import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import UsageError
from ntvl.identity.keys import format_key
from ntvl.identity.url import PORT_DEFAULT, SupernodeUrl, check_server_host, parse_supernode_url

KEY = bytes(range(32))
TEXT = format_key(KEY)


@pytest.mark.parametrize(
    ("text", "host", "port", "key"),
    [
        (f"ntvl://{TEXT}@sn.example.org:4000", "sn.example.org", 4000, KEY),
        (f"ntvl://{TEXT}@sn.example.org", "sn.example.org", 1971, KEY),
        (f"NTVL://{TEXT}@SN.Example.org./", "sn.example.org", 1971, KEY),
        (f"{TEXT}@203.0.113.5", "203.0.113.5", 1971, KEY),
        (f"ntvl://{TEXT}@[2001:DB8::0:1]:5", "2001:db8::1", 5, KEY),
        ("ntvl://sn.example.org", "sn.example.org", 1971, None),
        ("sn.example.org", "sn.example.org", 1971, None),
        (" sn.example.org:65535\n", "sn.example.org", 65535, None),
        ("my_host-1", "my_host-1", 1971, None),
        ("[2001:db8::1]", "2001:db8::1", 1971, None),
        ("[2001:db8::1]:1", "2001:db8::1", 1, None),
        ("2001:db8::1", "2001:db8::1", 1971, None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 1971, None),
    ],
)
def test_every_form_that_people_write(text: str, host: str, port: int, key: bytes | None) -> None:
    assert parse_supernode_url(text) == SupernodeUrl(host, port, key)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "names no supernode"),
        ("ntvl://", "names no supernode"),
        (f"ntvl://{TEXT}@", "names no supernode"),
        (f"ntvl://{TEXT}@:1971", "names no supernode"),
        ("https://sn.example.org", "scheme"),
        (f"ntvl://{TEXT[:-1]}@sn.example.org", "not a key"),
        ("ntvl://@sn.example.org", "not a key"),
        ("sn.example.org:", "port"),
        ("sn.example.org:0", "port"),
        ("sn.example.org:65536", "port"),
        ("sn.example.org:+80", "port"),
        ("sn.example.org:٣", "port"),
        ("sn.example.org:19x", "port"),
        ("[2001:db8::1", "brackets"),
        ("[2001:db8::1]1971", "brackets"),
        ("[sn.example.org]:1971", "brackets"),
        ("2001:db8::zz", "not an IPv6 address"),
        ("2001:db8::1%eth0", "zone"),
        ("fe80::1", "'fe80::1' is a link-local address"),
        ("[fe80::1]:1971", "link-local"),
        ("[fe80::1%eth0]:1971", "'fe80::1%eth0' is a link-local address"),
        ("169.254.7.7:1971", "link-local"),
        ("::ffff:169.254.7.7", "link-local"),
        ("0.0.0.0:1971", "not the address of one computer"),
        ("[::]:1971", "not the address of one computer"),
        ("224.0.0.1", "not the address of one computer"),
        ("255.255.255.255", "not the address of one computer"),
        ("203.0.113.256", "not an IPv4 address"),
        ("203.0.113", "not an IPv4 address"),
        ("-sn.example.org", "host name"),
        ("sn..example.org", "host name"),
        ("sn example.org", "host name"),
        ("bücher.example", "xn--"),
        ("a" * 64, "host name"),
        ("a." * 127 + "toolong", "host name"),
        ("sn.example.org/path", "host name"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as refusal:
        parse_supernode_url(text)
    message = str(refusal.value)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (SupernodeUrl("2001:db8::1", 1971, KEY, 8443), "[2001:db8::1]:1971"),
        (SupernodeUrl("203.0.113.5", 5, None), "203.0.113.5:5"),
        (SupernodeUrl("sn.example.org", 1971, None), "sn.example.org:1971"),
    ],
)
def test_sentences_call_a_supernode_by_its_endpoint(url: SupernodeUrl, endpoint: str) -> None:
    assert url.endpoint == endpoint


def is_one_computer(host: str) -> bool:
    try:
        check_server_host(host)
    except UsageError:
        return False
    return True


hosts = st.one_of(
    st.ip_addresses().map(str).filter(is_one_computer),
    st.from_regex(r"[a-z][a-z0-9]{0,9}(\.[a-z][a-z0-9]{0,9}){0,3}", fullmatch=True),
)


@given(host=hosts, port=st.integers(1, 65535), key=st.none() | st.binary(min_size=32, max_size=32))
def test_a_url_reads_back_from_its_text(host: str, port: int, key: bytes | None) -> None:
    url = SupernodeUrl(host, port, key)
    assert parse_supernode_url(str(url)) == url


@given(text=st.one_of(st.text(max_size=80), st.text(alphabet="ntvl://@[]:.%019af-", max_size=40)))
def test_any_text_is_a_url_or_a_usage_error(text: str) -> None:
    try:
        url = parse_supernode_url(text)
    except UsageError as error:
        assert str(error).endswith(".")
        return
    assert 1 <= url.port <= 65535
    assert parse_supernode_url(str(url)) == url


def test_the_printed_form_carries_the_key() -> None:
    assert str(SupernodeUrl("2001:db8::1", PORT_DEFAULT, KEY)) == f"ntvl://{TEXT}@[2001:db8::1]:1971"
    assert str(SupernodeUrl("sn.example.org", 5, None)) == "ntvl://sn.example.org:5"


@pytest.mark.parametrize(
    ("text", "port", "wss"),
    [
        (f"ntvl://{TEXT}@sn.example.org:4000?wss=8443", 4000, 8443),
        ("sn.example.org/?wss=8443", 1971, 8443),
        ("[2001:db8::1]?wss=1", 1971, 1),
        ("sn.example.org", 1971, 443),
        ("sn.example.org?wss=443", 1971, 443),
    ],
)
def test_a_url_may_name_the_port_for_websockets(text: str, port: int, wss: int) -> None:
    url = parse_supernode_url(text)
    assert (url.port, url.wss) == (port, wss)
    assert parse_supernode_url(str(url)) == url
    assert ("?wss" in str(url)) == (wss != 443)


@pytest.mark.parametrize("query", ["wss", "wss=", "wss=0", "wss=x", "tls=443", "", "wss=1&wss=2"])
def test_what_else_stands_behind_the_question_mark_is_refused(query: str) -> None:
    with pytest.raises(UsageError, match=r"wss|port"):
        parse_supernode_url(f"sn.example.org?{query}")
