"""A flood of handshakes at real programs: cookies come back, and those who talk, or want to, do."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.identity.keys import NodeKey, parse_key
from ntvl.lab.stage import Stage
from ntvl.lab.topology import Host, Topology, build_sites
from ntvl.nat import KINDS
from ntvl.proto.handshake import Initiation
from ntvl.wire.header import Kind

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

RATE_PER_S = 400


@contextmanager
def flood(stage: Stage, victim: bytes, target: tuple[str, int], psk: bytes | None) -> Iterator[dict[int, int]]:
    """Sends well-made initiations of ever new sessions to a program; gives what comes back, by kind."""
    answers: dict[int, int] = {}
    ended = threading.Event()
    key = NodeKey.generate(os.urandom)
    attempts = [
        Initiation(key, victim, psk=psk, payload=b"no certificate", aes=True, index=i, random=os.urandom).datagram
        for i in range(1000)
    ]
    with stage.open_socket("flooder", socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind(("0.0.0.0", 0))
        attacker.settimeout(0.2)

        def send() -> None:
            for number in range(10**9):
                if ended.wait(1 / RATE_PER_S):
                    return
                attacker.sendto(attempts[number % len(attempts)], target)

        def receive() -> None:
            while not ended.is_set():
                try:
                    kind = attacker.recv(2048)[0]
                except TimeoutError:
                    continue
                answers[kind] = answers.get(kind, 0) + 1

        threads = [threading.Thread(target=each) for each in (send, receive)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            ended.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    base = build_sites({"a": KINDS["eim-apdf"], "b": KINDS["apdm-random"], "victim": KINDS["open"]})
    topology = Topology(base.networks, (*base.hosts, Host("flooder", ("internet",))), base.routers)
    with Stage(topology) as stage:
        built = Overlay(stage)
        built.join("a", "victim")
        built.wait_path("a", "victim", "direct")
        yield built


def test_a_node_under_flood_answers_with_cookies_and_its_sessions_flow(overlay: Overlay) -> None:
    stage, victim = overlay.stage, overlay.members["victim"]
    node = victim.status()["node"]
    port = next(e.fields["port"] for e in victim.program.events if e.fields.get("event") == "started")
    echo = overlay.echo("a", "victim", 0.05)
    with flood(stage, parse_key(node["id"]), (stage.address("victim"), port), bytes(32)) as answers:
        eventually(lambda: answers.get(Kind.COOKIE, 0) > RATE_PER_S, 20.0, "cookies")
        overlay.join("b")
        took_s = eventually(lambda: overlay.pings("b", "victim", 0.3).answered, 10.0, "a newcomer gets through")
        print(f"a newcomer talks after {took_s:.1f} s, answers by kind {answers}")
    assert echo.stop().lost == 0
    assert set(answers) == {Kind.COOKIE}
    assert victim.status()["drops"]["under-load"] >= answers[Kind.COOKIE]


def test_a_supernode_under_flood_answers_with_cookies_and_lets_nodes_in(overlay: Overlay) -> None:
    stage = overlay.stage
    url = overlay.urls[0]
    key = url.removeprefix("ntvl://").partition("@")[0]
    with flood(stage, parse_key(key), (stage.address("supernode"), 1971), None) as answers:
        eventually(lambda: answers.get(Kind.COOKIE, 0) > RATE_PER_S, 20.0, "cookies")
        member = overlay.members["a"]
        assert member.program.stop() == 0
        began = time.monotonic()
        member.restart()
        assert member.wait_address(15.0)
        print(f"joined after {time.monotonic() - began:.1f} s, answers by kind {answers}")
