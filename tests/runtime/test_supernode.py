"""The real program on the loopback interface, asked over UDP; it needs no root."""

import asyncio
import base64
import functools
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.program import Program, ntvl, run_program

from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey, format_key, parse_key
from ntvl.identity.url import parse_supernode_url
from ntvl.proto.channel import Channel
from ntvl.proto.handshake import Initiation
from ntvl.wire.address import Address, Relay
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Message,
    Refused,
    Register,
    Registered,
    Roster,
    build_message,
    parse_message,
)
from ntvl.wire.header import Kind, build_header, build_relay
from ntvl.wire.service import build_key_request, parse_key_reply, parse_reset
from ntvl.wire.stun import build_binding_request, parse_stun

HOME = Community.from_seed("home", b"home" * 8)


def awaited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Makes a test of a coroutine."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@asynccontextmanager
async def run_supernode(state: Path, *arguments: str, port: int = 0) -> AsyncIterator[tuple[Program, dict[str, Any]]]:
    where = ("--state", str(state), "--listen", f"127.0.0.1:{port}")
    async with run_program("supernode", "--json", *where, *arguments) as program:
        yield program, await program.event(lambda event: event["event"] == "ready")


class Caller:
    """Is a node that a test leads by the hand, on a socket of its own."""

    def __init__(self, ready: dict[str, Any], name: str = "ann", key: NodeKey | None = None) -> None:
        self.name = name
        self.key = key or NodeKey.generate(os.urandom)
        self.supernode = parse_key(ready["key"])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5.0)
        self.socket.connect(("127.0.0.1", ready["port"]))
        self.address = Address(*self.socket.getsockname())
        self.incarnation = os.urandom(8)
        self.channel: Channel | None = None

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, data: bytes) -> bytes:
        self.socket.send(data)
        return self.socket.recv(2048)

    def receive(self, kind: Kind) -> bytes:
        """Returns the next datagram of a kind, skipping others."""
        while True:
            data = self.socket.recv(2048)
            if data[0] == kind:
                return data

    def connect(self) -> None:
        initiation = Initiation(self.key, self.supernode, psk=None, payload=b"", aes=True, index=7, random=os.urandom)
        self.channel = Channel(initiation.handle_response(self.ask(initiation.datagram)).keys)

    def seal(self, message: Message) -> bytes:
        assert self.channel is not None
        return self.channel.seal(build_message(message))

    def say(self, message: Message) -> Message:
        """Returns the answer, rosters aside."""
        assert self.channel is not None
        data = self.ask(self.seal(message))
        while True:
            answer = parse_message(self.channel.open(data))
            assert not isinstance(answer, int)
            if not isinstance(answer, Roster):
                return answer
            data = self.socket.recv(2048)

    def register(self, community: Community = HOME) -> Message:
        now = int(time.time())
        certificate = issue_certificate(
            community, node=self.key.public, name=self.name, addresses=(), not_before=now - 60, not_after=now + 3600
        )
        return self.say(Register(1, certificate, self.incarnation))

    def keepalive(self) -> Message:
        return self.say(Keepalive(2, self.incarnation, ((HOME.id, 0),)))


def sentence(done: Any, status: int = 1) -> str:
    """Returns the one line on standard error of a program that refused to start."""
    assert done.returncode == status, done
    lines: list[str] = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ntvl: ")
    return lines[0]


@awaited
async def test_it_serves_stun_keys_handshakes_and_registrations_on_one_port(tmp_path: Path) -> None:
    async with run_supernode(tmp_path / "state") as (program, ready):
        assert [parse_supernode_url(url)[:3] for url in ready["urls"]] == [
            ("127.0.0.1", ready["port"], parse_key(ready["key"]))
        ]
        with Caller(ready) as ann, Caller(ready, "bob") as bob:
            assert parse_stun(ann.ask(build_binding_request(os.urandom(12)))).address == ann.address
            assert parse_key_reply(ann.ask(build_key_request(b"12345678"))) == (b"12345678", ann.supernode)
            ann.connect()
            answer = ann.register()
            assert isinstance(answer, Registered)
            assert Address(answer.observed_host, answer.observed_port) == ann.address
            assert answer.address.startswith("10.77.")
            joined = await program.event(lambda event: event["event"] == "member-joined")
            assert (joined["name"], joined["address"], joined["observed"]) == ("ann", answer.address, str(ann.address))
            bob.connect()
            other = bob.register(Community.from_seed("home", b"another secret!!"))
            assert isinstance(other, Refused)
            assert other.reason == "community-key"
            refusal = await program.event(lambda event: event["event"] == "refusal")
            assert (refusal["name"], refusal["reason"]) == ("bob", "community-key")
            assert isinstance(bob.register(), Registered)
            assert isinstance(ann.keepalive(), KeepaliveReply)
        assert await program.end() == 0
        assert (await program.event(lambda event: event["event"] == "stopped"))["event"] == "stopped"
        assert await program.errors() == ""


@awaited
async def test_the_relay_carries_from_member_to_member_and_from_nobody_else(tmp_path: Path) -> None:
    async with run_supernode(tmp_path / "state") as (_, ready):
        with Caller(ready, "ann") as ann, Caller(ready, "bob") as bob, Caller(ready, "eve") as eve:
            ids = []
            for caller in (ann, bob):
                caller.connect()
                answer = caller.register()
                assert isinstance(answer, Registered)
                ids.append(answer.relay_id)
            relayed = build_relay(Relay(ids[1], ids[0]), build_header(Kind.DATA, 9, 1) + b"sealed for bob, unread")
            ann.socket.send(relayed)
            assert bob.receive(Kind.RELAY) == relayed
            assert parse_reset(eve.ask(relayed)) == 0
            assert isinstance(bob.keepalive(), KeepaliveReply)
            bob.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                bob.receive(Kind.RELAY)


@awaited
async def test_addresses_survive_a_restart_and_nodes_are_told_at_their_next_contact(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with run_supernode(state) as (program, ready):
        ann = Caller(ready)
        ann.connect()
        before = ann.register()
        assert await program.end(signal.SIGKILL) == -signal.SIGKILL
    with ann:
        async with run_supernode(state, port=ready["port"]) as (program, again):
            assert again["key"] == ready["key"]
            ann.socket.send(ann.seal(Keepalive(2, ann.incarnation)))
            # By kind: a last roster of the one that was killed may still be under way.
            assert parse_reset(ann.receive(Kind.RESET)) == ann.channel.send_index  # type: ignore[union-attr]
            ann.connect()
            reply = ann.keepalive()
            assert isinstance(reply, KeepaliveReply)
            assert reply.unknown == (HOME.id,)
            after = ann.register()
            assert isinstance(before, Registered)
            assert isinstance(after, Registered)
            assert (before.address, before.relay_id) == (after.address, after.relay_id)
            assert await program.end(signal.SIGINT) == 0


@awaited
async def test_its_status_is_told_at_its_control_socket(tmp_path: Path) -> None:
    async with run_supernode(tmp_path / "state") as (_, ready):
        with Caller(ready) as ann:
            ann.connect()
            ann.register()
            ann.socket.send(b"\xffrubbish")
            ann.keepalive()
        done = await asyncio.to_thread(ntvl, "status", "--json", "--socket", ready["socket"])
        status = json.loads(done.stdout)
        assert status["supernode"]["key"] == ready["key"]
        assert status["supernode"]["port"] == ready["port"]
        assert status["members"] == 1
        assert status["communities"][0]["members"][0]["name"] == "ann"
        assert status["drops"] == {"type": 1}
        assert status["faults"] == {}
        assert (os.stat(ready["socket"]).st_mode & 0o777) == 0o600


@awaited
async def test_two_supernodes_never_share_a_state_or_a_port(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with run_supernode(state) as (program, ready):
        arguments = ("supernode", "--listen", f"127.0.0.1:{ready['port']}", "--state")
        second = await asyncio.to_thread(ntvl, *arguments, str(state))
        assert f"Another ntvl supernode already runs with the state directory {state}" in sentence(second)
        third = await asyncio.to_thread(ntvl, *arguments, str(tmp_path / "other"))
        assert f"UDP port {ready['port']} is in use" in sentence(third)
        with Caller(ready) as ann:
            assert parse_stun(ann.ask(build_binding_request(os.urandom(12)))).address == ann.address
        assert await program.end() == 0


@awaited
async def test_an_engine_that_dies_ends_the_program_with_a_sentence(tmp_path: Path) -> None:
    async with run_supernode(tmp_path / "state") as (program, ready):
        children = children_of(ready["pid"])
        assert len(children) == 1
        os.kill(children[0], signal.SIGKILL)
        assert await asyncio.wait_for(program.process.wait(), 5.0) == 1
        errors = await program.errors()
        assert errors.startswith("ntvl: The data plane failed (")
        assert errors.endswith("); start the supernode again.\n")
        assert errors.count("\n") == 1


@awaited
async def test_the_end_of_its_terminal_ends_it(tmp_path: Path) -> None:
    async with run_supernode(tmp_path / "state") as (program, _):
        assert await program.end(signal.SIGHUP) == 0


def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = ("supernode", "--listen", "127.0.0.1:0", "--state")
    file = tmp_path / "file"
    file.write_text("")
    assert str(file / "state") in sentence(ntvl(*arguments, str(file / "state")))
    state.mkdir(mode=0o700)
    (state / "supernode.key").write_text("")
    (state / "supernode.key").chmod(0o644)
    assert "is open to other users" in sentence(ntvl(*arguments, str(state)))
    (state / "supernode.key").unlink()
    (state / "leases.db").write_bytes(b"rubbish" * 1000)
    assert "is damaged" in sentence(ntvl(*arguments, str(state)))
    assert "write ADDR:PORT" in sentence(ntvl("supernode", "--listen", "nonsense:x"), status=2)
    assert "is not an address of this computer" in sentence(
        ntvl("supernode", "--listen", "203.0.113.77:0", "--state", str(tmp_path / "other"))
    )


@awaited
async def test_keys_and_leases_are_for_their_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with run_supernode(state) as (program, ready):
        with Caller(ready) as ann:
            ann.connect()
            ann.register()
        modes = {path.name: path.stat().st_mode & 0o777 for path in state.iterdir()}
        assert {"supernode.key", "leases.db"} <= set(modes)
        assert set(modes.values()) == {0o600}
        assert state.stat().st_mode & 0o777 == 0o700
        assert format_key(NodeKey.from_bytes(parse_private(state)).public) == ready["key"]
        assert await program.end() == 0


def parse_private(state: Path) -> bytes:
    return base64.b64decode((state / "supernode.key").read_text())


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
