"""Routers that let out little, and what runs on routers: a proxy, and a daemon that maps ports."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.lab.udp import open_udp, receive

from ntvl.kind import SITE_KINDS, plan_waves
from ntvl.lab.field import SUPERNODE, build_field
from ntvl.lab.service import PROXY_PORT, start_mapper, start_proxy
from ntvl.lab.stage import Stage

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft", "tinyproxy", "miniupnpd"),
]

NARROW = ("eim-apdf", "no-udp", "tcp-443", "http-proxy")
STARTS_S = 5.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    kinds = [SITE_KINDS[name] for name in (*NARROW, "upnp", "pcp")]
    with Stage(build_field(plan_waves(kinds))) as built:
        yield built


def connects(stage: Stage, host: str, to: tuple[str, int]) -> bool:
    with closing(stage.open_socket(host, socket.AF_INET, socket.SOCK_STREAM)) as client:
        client.settimeout(0.4)
        try:
            client.connect(to)
        except OSError:
            return False
        return True


def eventually_connects(stage: Stage, host: str, to: tuple[str, int]) -> bool:
    until = time.monotonic() + STARTS_S
    while not (met := connects(stage, host, to)) and time.monotonic() < until:
        time.sleep(0.05)
    return met


@pytest.mark.parametrize(
    ("kind", "udp", "tcp", "https"),
    [
        ("eim-apdf", True, True, True),
        ("no-udp", False, True, True),
        ("tcp-443", False, False, True),
        ("http-proxy", False, False, False),
    ],
)
def test_a_router_lets_out_what_its_kind_says(stage: Stage, kind: str, udp: bool, tcp: bool, https: bool) -> None:
    host, server = f"a-{kind}", stage.address(SUPERNODE)
    with open_udp(stage, host) as client, open_udp(stage, SUPERNODE, 443) as listening:
        client.sendto(b"hello", (server, 443))
        assert (receive(listening) is not None) == udp
    for port, passes in ((443, https), (444, tcp)):
        with closing(stage.open_socket(SUPERNODE, socket.AF_INET, socket.SOCK_STREAM)) as listener:
            listener.bind((server, port))
            listener.listen()
            assert connects(stage, host, (server, port)) == passes, port


def test_the_proxy_connects_to_any_port(stage: Stage) -> None:
    server = stage.address(SUPERNODE)
    _, url = start_proxy(stage, "a-http-proxy-router")
    proxy = (url.removeprefix("http://").partition(":")[0], PROXY_PORT)
    assert eventually_connects(stage, "a-http-proxy", proxy)
    with (
        closing(stage.open_socket(SUPERNODE, socket.AF_INET, socket.SOCK_STREAM)) as listener,
        closing(stage.open_socket("a-http-proxy", socket.AF_INET, socket.SOCK_STREAM)) as client,
    ):
        listener.bind((server, 1971))
        listener.listen()
        listener.settimeout(5.0)
        client.settimeout(5.0)
        client.connect(proxy)
        client.sendall(f"CONNECT {server}:1971 HTTP/1.1\r\nHost: {server}:1971\r\n\r\n".encode())
        accepted, source = listener.accept()
        with accepted:
            assert source[0] == stage.address("a-http-proxy-router")
            accepted.sendall(b"from the server")
            with client.makefile("rb") as answer:
                assert b" 200 " in answer.readline()
                while answer.readline().strip():
                    pass
                assert answer.read(15) == b"from the server"


def test_a_router_that_maps_ports_answers_in_its_protocol(stage: Stage) -> None:
    start_mapper(stage, "a-upnp-router", "upnp")
    start_mapper(stage, "a-pcp-router", "pcp")
    gateway = {kind: stage.address(f"a-{kind}-router", f"a-{kind}-lan") for kind in ("upnp", "pcp")}
    assert eventually_connects(stage, "a-upnp", (gateway["upnp"], 5000))
    with open_udp(stage, "a-pcp") as client:
        until = time.monotonic() + STARTS_S
        answer = None
        while answer is None and time.monotonic() < until:
            client.sendto(b"\0\0", (gateway["pcp"], 5351))  # NAT-PMP: which is the public address?
            answer = receive(client, 0.2)
    assert answer is not None
    assert answer[0][8:12] == socket.inet_aton(stage.address("a-pcp-router"))
