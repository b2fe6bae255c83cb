import pytest

from ntvl.errors import UsageError
from ntvl.runtime.proxy import Proxy, find_proxy, parse_proxy

HOST = "sn.example.org"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("proxy.example:3128/", Proxy("proxy.example", 3128)),
        ("http://proxy.example", Proxy("proxy.example", 8080)),
        ("http://us%40er:p%3Aw@10.0.0.1:1", Proxy("10.0.0.1", 1, "us@er", "p:w")),
        ("http://[2001:db8::1]:3128", Proxy("2001:db8::1", 3128)),
    ],
)
def test_every_form_that_people_write(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text, "https_proxy") == proxy


@pytest.mark.parametrize(
    "text", ["socks5://p:1", "https://p:1", "http://", "http://p:99999", "http://p:x", "http://[::"]
)
def test_what_is_no_http_proxy_is_refused_without_showing_a_password(text: str) -> None:
    with pytest.raises(UsageError, match="all_proxy") as caught:
        find_proxy(HOST, {"all_proxy": text.replace("p:", "user:secret@p:")})
    assert "secret" not in str(caught.value)


def test_the_first_variable_that_is_set_counts_and_the_password_is_not_shown() -> None:
    environ = {"ALL_PROXY": "http://c:1", "HTTPS_PROXY": "http://b:1", "https_proxy": ""}
    assert find_proxy(HOST, environ) == Proxy("b", 1)
    assert find_proxy(HOST, {"http_proxy": "http://a:1"}) is None
    assert "secret" not in f"{parse_proxy('http://u:secret@p:1', 'x')!r} {parse_proxy('http://u:secret@p:1', 'x')}"


@pytest.mark.parametrize(
    ("exceptions", "host", "excepted"),
    [
        ("*", HOST, True),
        ("localhost, example.org", HOST, True),
        (".example.org", HOST, True),
        ("*.example.org", HOST, True),
        ("ample.org", HOST, False),
        ("sn.example.org.", HOST, False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("[2001:db8::1] x", "2001:db8::1", True),
        ("example.org", "10.1.2.3", False),
        ("", HOST, False),
    ],
)
def test_hosts_that_need_no_proxy_have_none(exceptions: str, host: str, excepted: bool) -> None:
    found = find_proxy(host, {"https_proxy": "http://p:1", "NO_PROXY": exceptions})
    assert (found is None) == excepted
