import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.namespace import in_namespace, ip
from tests.runtime.program import Node, Program, ntvl, run_program

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("ip")]
HUB = "192.168.7.1"


@asynccontextmanager
async def hub(path: Path, port: str = "1971") -> AsyncIterator[Program]:
    """Runs a supernode at 192.168.7.1."""
    async with run_program("supernode", "--json", "--state", str(path), "--listen", f"{HUB}:{port}") as program:
        await program.event(lambda event: event["event"] == "ready")
        yield program


def prepare() -> None:
    """Gives the namespace one address that is not loopback, which peers offer each other."""
    ip("link add eth0 type veth peer name far")
    ip(f"address add {HUB}/24 dev eth0")
    ip("link set far up")
    ip("link set eth0 up")


def dhcp(node: Node, device: str) -> tuple[str, ...]:
    """Returns the arguments of a node beside others on one machine: without IPv4 address, their subnets do not meet."""
    return (*node.arguments, "--device", device, "--address", "dhcp")


async def ask(*arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(ntvl, *arguments)
    return done.returncode, done.stdout or done.stderr


def test_two_nodes_meet_ping_and_part(tmp_path: Path) -> None:
    alice, bob = Node(tmp_path, "alice", HUB), Node(tmp_path, "bob", HUB)

    async def scenario() -> None:
        prepare()
        async with (
            hub(tmp_path / "hub"),
            run_program(*dhcp(alice, "tapa")) as a,
            run_program(*dhcp(bob, "tapb")) as b,
        ):
            learned = await a.event(lambda event: event["event"] == "key-learned")
            pins = json.loads((alice.state / "known_supernodes.json").read_text())
            assert pins == {f"{HUB}:1971": learned["key"]}
            await a.event(lambda event: event["event"] == "peer-seen" and event["name"] == "bob")

            status, text = await ask("ping", "bob", "-c", "10", "-i", "0.3", "--json", "--socket", str(alice.socket))
            assert status == 0, text
            lines = [json.loads(line) for line in text.splitlines()]
            assert lines[0]["to"]["name"] == "bob"
            replies = [line for line in lines if line.get("rtt_ms") is not None]
            assert len(replies) >= 9
            assert replies[-1]["path"] == "direct"
            assert replies[-1]["remote"].startswith(f"{HUB}:")
            assert lines[-1]["summary"]["received"] == len(replies)

            status, text = await ask("status", "--json", "--socket", str(alice.socket))
            check_schema(json.loads(text))
            assert status == 0
            status, text = await ask("status", "--socket", str(alice.socket))
            assert f"{HUB}:" in next(line for line in text.splitlines() if "direct  simultaneous-udp" in line)

            status, text = await ask("ping", "dave", "--socket", str(alice.socket))
            assert (status, text) == (
                1,
                "ntvl: No peer is called 'dave': give a name, an address or the start of a key; known are bob.\n",
            )
            assert await b.end(signal.SIGTERM) == 0
            gone = await a.event(lambda event: event["event"] == "peer-gone", 2.0)
            assert gone["name"] == "bob"

    in_namespace(scenario, 60)


def check_schema(status: dict[str, Any]) -> None:
    """Checks the keys and types that `ntvl status --json` promises."""
    assert {key: type(value) for key, value in status["node"].items()} == {
        "name": str,
        "id": str,
        "version": str,
        "punch": str,
        "mapping_lifetime_s": type(None),
        "keepalive_s": float,
        "uptime_s": float,
    }
    assert list(status["engine"]) == ["name", "offloads"]
    assert status["port_mapping"] == {"enabled": True, "mapped": [], "outcomes": []}, "there is no gateway here"
    (community,) = status["communities"]
    assert {key: type(value) for key, value in community.items()} == {
        "name": str,
        "id": str,
        "device": str,
        "mac": str,
        "addresses": list,
        "mtu": int,
        "peers": list,
    }
    (peer,) = community["peers"]
    assert {key: type(value) for key, value in peer.items()} == {
        "name": str,
        "id": str,
        "addresses": list,
        "mac": str,
        "path": str,
        "remote": str,
        "via": type(peer["via"]),
        "technique": str,
        "nat": dict,
        "rtt_ms": float,
        "loss": float,
        "rx_bytes": int,
        "tx_bytes": int,
        "handshake_age_s": float,
        "attempts": list,
    }
    (supernode,) = status["supernodes"]
    assert list(supernode) == ["url", "state", "rtt_ms", "observed", "over"]
    assert supernode["state"] == "registered"
    assert all(type(count) is int for count in status["drops"].values())
    assert status["faults"] == {}


def test_a_supernode_that_shows_another_key_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    alice = Node(tmp_path, "alice", HUB)

    async def scenario() -> None:
        prepare()
        async with hub(tmp_path / "hub"), run_program(*alice.arguments) as node:
            await node.event(lambda event: event["event"] == "address-assigned")
            assert await node.end() == 0
        async with hub(tmp_path / "impostor"), run_program(*alice.arguments) as node:
            notice = await node.event(lambda event: event["event"] == "notice")
            assert notice["code"] == "supernode-key"
            assert "known_supernodes.json" in notice["text"]
            status = json.loads((await ask("status", "--json", "--socket", str(alice.socket)))[1])
            assert status["supernodes"][0]["state"] == "refused"
            assert status["drops"]["supernode-key"] == 1
            assert status["communities"][0]["addresses"] == []

    in_namespace(scenario, 60)


def test_the_same_node_gets_the_same_address_again_and_nobody_else_may_have_it(tmp_path: Path) -> None:
    alice, bob = Node(tmp_path, "alice", HUB), Node(tmp_path, "bob", HUB)

    async def scenario() -> None:
        prepare()
        async with hub(tmp_path / "hub"):
            leased = []
            for _ in range(2):
                async with run_program(*alice.arguments) as node:
                    event = await node.event(lambda event: event["event"] == "address-assigned")
                    leased.append(event["addresses"])
                    assert await node.end() == 0
            assert leased[0] == leased[1]
            done = await asyncio.to_thread(ntvl, *bob.arguments, "--address", "static", leased[0][0])
            assert done.returncode == 1
            assert "is leased to 'alice'" in done.stderr
            assert "choose another with --address" in done.stderr

    in_namespace(scenario, 60)


def test_a_wrong_secret_is_said_within_five_seconds_and_stays_a_named_state(tmp_path: Path) -> None:
    alice, mallory = Node(tmp_path, "alice", HUB), Node(tmp_path, "mallory", HUB)
    wrong = tmp_path / "wrong"
    wrong.write_text("not the secret of the others")
    wrong.chmod(0o600)

    async def scenario() -> None:
        prepare()
        async with hub(tmp_path / "hub"), run_program(*dhcp(alice, "tapa")) as first:
            await first.event(lambda event: event["event"] == "supernode-state" and event["state"] == "registered")
            async with run_program(*dhcp(mallory, "tapm"), "--secret-file", str(wrong)) as second:
                await second.event(lambda event: event["event"] == "started")
                notice = await second.event(lambda event: event["event"] == "notice", 5.0)
                assert notice["code"] == "community-key"
                assert "secret" in notice["text"]
                status = json.loads((await ask("status", "--json", "--socket", str(mallory.socket)))[1])
                assert status["supernodes"][0]["state"] == "refused"
                assert status["communities"][0]["peers"] == []

    in_namespace(scenario, 60)
