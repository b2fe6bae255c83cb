"""Names, sockets and variables around the machine that knows the NAT."""

import json
import socket
import time
from contextlib import closing

import pytest
from tests.runtime.program import ntvl

from ntvl.errors import UsageError
from ntvl.runtime import netcheck as module
from ntvl.runtime.netcheck import Server, find_proxies, parse_servers, run_netcheck
from ntvl.runtime.presence import GatewayProtocols
from ntvl.wire.address import Address

ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""Starts a program in a network namespace with nothing but loopback: no gateway hears of it."""


async def no_gateways() -> tuple[GatewayProtocols, ...]:
    return ()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("stun.example:3479", "stun.example", 3479),
        ("stun.example", "stun.example", 3478),
        ("stun:stun.example", "stun.example", 3478),
        ("192.0.2.1", "192.0.2.1", 3478),
        ("[2001:db8::1]:99", "2001:db8::1", 99),
        ("[2001:db8::1]", "2001:db8::1", 3478),
        ("2001:db8::1", "2001:db8::1", 3478),
    ],
)
def test_stun_servers_are_written_in_many_ways(text: str, host: str, port: int) -> None:
    [server] = parse_servers((), [text])
    assert (server.host, server.port) == (host, port)


@pytest.mark.parametrize("text", ["", "http://x", "a@b", "x:0", "x:y", "[::1", "ntvl://x:1", "x y"])
def test_what_is_no_stun_server_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="names no STUN server; write HOST:PORT"):
        parse_servers((), [text])


@pytest.mark.parametrize("text", ["fe80::1", "[fe80::1]:3478", "fe80::1%eth0", "169.254.7.7", "stun:169.254.7.7:1"])
def test_a_stun_server_is_not_at_a_link_local_address(text: str) -> None:
    with pytest.raises(UsageError, match="is a link-local address"):
        parse_servers((), [text])


def test_a_server_that_is_named_twice_is_asked_once() -> None:
    servers = parse_servers(["192.0.2.1", "192.0.2.1:1971"], ["192.0.2.1:1971", "192.0.2.1"])
    assert [server.name for server in servers] == ["192.0.2.1:1971", "192.0.2.1:3478"]


def test_proxies_are_shown_without_passwords() -> None:
    environ = {"HTTPS_PROXY": "http://me:secret@proxy:3128/", "no_proxy": "localhost", "PATH": "/bin", "all_proxy": ""}
    assert find_proxies(environ) == {
        "HTTPS_PROXY": "http://proxy:3128/",
        "all_proxy": "",
        "no_proxy": "localhost",
    }
    assert "secret" not in str(find_proxies({"http_proxy": "me:secret@proxy:3128", "ALL_PROXY": "http://[::1"}))


def test_a_resolver_that_hangs_or_fails_is_told_and_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVE_S", 0.05)
    monkeypatch.setattr(module, "read_protocols", no_gateways)

    def lookup(host: str, port: int) -> list[Address]:
        if host == "slow":
            time.sleep(0.5)
        if host == "gone":
            raise socket.gaierror(-2, "Name or service not known")
        return [] if host == "empty" else [Address("127.0.0.1", port)]

    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as mute:
        mute.bind(("127.0.0.1", 0))
        names = ("slow", "gone", "empty", "mute")
        servers = [Server(name, name, mute.getsockname()[1]) for name in names]
        found = run_netcheck(servers, {}, lookup=lookup)
    assert [server.problem for server in found.servers] == [
        "the resolver does not answer",
        "name or service not known",
        "it has no usable address",
        "",
    ]
    assert not found.report.udp
    assert [server.address.host for server in found.report.servers] == ["127.0.0.1"]


def test_where_no_name_resolves_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_protocols", no_gateways)

    def lookup(host: str, port: int) -> list[Address]:
        raise socket.gaierror(-2, "Name or service not known")

    found = run_netcheck(parse_servers(["sn.example"], []), {}, lookup=lookup)
    assert (found.report.udp, found.report.notes, found.report.servers) == (False, ("no-server",), ())
    assert found.streams == {
        "sn.example:1971": {"tcp": "the name does not resolve", "wss": "the name does not resolve"}
    }


def test_without_a_server_to_ask_it_says_what_to_write() -> None:
    done = ntvl("netcheck")
    assert done.returncode == 2
    assert done.stderr == "ntvl: Name a server to ask with --supernode URL or --stun HOST:PORT, better two.\n"


@pytest.mark.needs_root
@pytest.mark.needs_program("ip", "unshare")
def test_where_nobody_answers_the_exit_status_is_1_and_json_is_whole() -> None:
    began = time.monotonic()
    done = ntvl("netcheck", "--json", wrapper=ALONE, NTVL_SUPERNODE="127.0.0.1:9")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["notes"], found["port_mapping"]) == (["no-answer"], {})
    assert time.monotonic() - began < 7.0, "five seconds, and a program that starts"


@pytest.mark.needs_root
@pytest.mark.needs_program("ip", "unshare")
@pytest.mark.parametrize(
    ("urls", "notes", "asked"),
    [("[2001:db8::10]:9", "no-family", []), ("127.0.0.1:9 [2001:db8::10]:9", "no-answer", ["127.0.0.1:9"])],
)
def test_a_supernode_of_a_family_that_this_computer_lacks_is_not_asked(urls: str, notes: str, asked: list[str]) -> None:
    script = (
        "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up"
        ' && ip addr add 192.0.2.9/24 dev v0 && ip route add default via 192.0.2.1 && exec "$@"'
    )
    wrapper = ("unshare", "--net", "sh", "-c", script, "sh")
    done = ntvl("netcheck", "--json", wrapper=wrapper, NTVL_SUPERNODE=urls)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["notes"], [server["address"] for server in found["servers"]]) == ([notes], asked)
    assert found["unreachable"] == {"[2001:db8::10]:9": "no way out over IPv6"}
    if asked:
        return
    text = ntvl("netcheck", wrapper=wrapper, NTVL_SUPERNODE=urls).stdout
    assert "no way out over IPv6, and no server was named with another address" in " ".join(text.split())
    assert not any(line != line.rstrip() for line in text.splitlines()), "no blanks into a pipe"
