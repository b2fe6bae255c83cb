import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from tests.runtime.namespace import in_namespace, ip
from tests.runtime.program import Node, ntvl, run_program

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("ip")]


def sentence(done: object) -> str:
    """Returns the one line on standard error of a program that refused to start."""
    assert getattr(done, "returncode") == 1, done  # noqa: B009
    errors: str = getattr(done, "stderr")  # noqa: B009
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("ntvl: ")
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_everything_down_within_two_seconds(tmp_path: Path, number: signal.Signals) -> None:
    node = Node(tmp_path)

    async def scenario() -> None:
        async with run_program(*node.arguments, "--device", "tap7") as program:
            started = await program.event(lambda event: event["event"] == "started")
            assert started["port"] > 0
            assert started["name"] == "alice"
            while "tap7" not in ip("-brief link"):  # noqa: ASYNC110 - the kernel tells nobody here
                await asyncio.sleep(0.05)
            status = json.loads(
                (await asyncio.to_thread(ntvl, "status", "--json", "--socket", str(node.socket))).stdout
            )
            assert status["node"]["id"] == started["id"]
            assert status["supernodes"][0]["state"] in ("connecting", "unreachable")
            began = time.monotonic()
            assert await program.end(number) == 0
            assert time.monotonic() - began < 2.0
            assert (await program.event(lambda event: event["event"] == "stopped"))["event"] == "stopped"
            assert await program.errors() == ""

    in_namespace(scenario)
    assert not node.socket.exists()
    assert (node.state / "node.lock").read_text() == ""


def test_a_second_start_on_the_same_state_is_refused_and_the_first_runs_on(tmp_path: Path) -> None:
    node = Node(tmp_path)

    async def scenario() -> None:
        async with run_program(*node.arguments) as program:
            await program.event(lambda event: event["event"] == "started")
            second = await asyncio.to_thread(ntvl, *node.arguments)
            assert f"Another ntvl node already runs with the state directory {node.state}" in sentence(second)
            other = Node(tmp_path, "bob")
            third = await asyncio.to_thread(ntvl, *other.arguments, "--socket", str(node.socket))
            assert "Another program answers at" in sentence(third)
            assert "ntvl1" not in ip("-brief link"), "its device is gone again"
            assert (await asyncio.to_thread(ntvl, "status", "--socket", str(node.socket))).returncode == 0
            assert await program.end() == 0

    in_namespace(scenario)


def test_a_killed_node_leaves_nothing_that_keeps_the_next_from_starting(tmp_path: Path) -> None:
    node = Node(tmp_path)

    async def scenario() -> None:
        async with run_program(*node.arguments, "--port", "4242") as program:
            await program.event(lambda event: event["event"] == "started")
            assert await program.end(signal.SIGKILL) == -signal.SIGKILL
        async with run_program(*node.arguments, "--port", "4242", "--device", "ntvl0") as program:
            await program.event(lambda event: event["event"] == "started")
            assert await program.end() == 0

    in_namespace(scenario)


def test_a_second_ctrl_c_forces_the_end(tmp_path: Path) -> None:
    node = Node(tmp_path)

    async def scenario() -> None:
        async with run_program(*node.arguments) as program:
            await program.event(lambda event: event["event"] == "started")
            os.kill(program.process.pid, signal.SIGSTOP)
            os.kill(program.process.pid, signal.SIGINT)
            os.kill(program.process.pid, signal.SIGCONT)
            program.process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(program.process.wait(), 3) in (0, 130)

    in_namespace(scenario)


def test_what_keeps_a_node_from_starting_is_one_sentence(tmp_path: Path) -> None:
    async def scenario() -> None:
        ip("link add eth0 type veth peer name far")
        ip("address add 10.5.0.1/24 dev eth0")
        ip("link set far up")
        ip("link set eth0 up")
        node = Node(tmp_path)

        def refused(*more: str, **environ: str) -> str:
            return sentence(ntvl(*node.arguments, *more, **environ))

        def scenarios() -> None:
            assert "10.5.0.0/24, which this machine reaches through eth0; choose another" in refused(
                "--subnet", "10.5.0.0/16"
            )
            assert "has an interface eth0 already" in refused("--device", "eth0")
            overlapping = ("--subnet", "10.5.0.0/16")
            assert "has an interface eth0 already" in refused("--device", "eth0", *overlapping)
            assert "is not a socket" in refused("--socket", str(node.secret), *overlapping)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
                taken.bind(("0.0.0.0", 0))
                assert "port" in refused("--port", str(taken.getsockname()[1]))
                assert "overlaps" not in refused("--port", str(taken.getsockname()[1]), *overlapping)
            assert "no such file" in refused("--secret-file", str(tmp_path / "no"))
            (node.state / "node.key").chmod(0o644)
            assert "is open to other users (mode 0644)" in refused()
            (node.state / "node.key").chmod(0o600)
            without = tuple(a for a in node.arguments if a not in ("--secret-file", str(node.secret)))
            assert "needs its secret" in sentence(ntvl(*without))
            assert "weak-secret" in ntvl(*without, "--device", "eth0", NTVL_SECRET="short").stdout
            assert ip("-brief link").count("\n") == 3, "no device is left"

        await asyncio.to_thread(scenarios)

    in_namespace(scenario, 60.0)  # A dozen programs, one after the other.


@pytest.mark.needs_program("setpriv")
def test_without_privilege_a_node_says_so(tmp_path: Path) -> None:
    node = Node(tmp_path)
    done = ntvl(*node.arguments, wrapper=("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"))
    assert "CAP_NET_ADMIN" in sentence(done)


@pytest.mark.needs_program("unshare")
@pytest.mark.parametrize("arguments", [("demo",), ("node",)])
def test_without_a_tun_device_a_program_says_how_to_get_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    done = ntvl(*(Node(tmp_path).arguments if arguments == ("node",) else arguments), wrapper=hidden)
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "/dev/net/tun" in line
    assert "modprobe tun" in line


@pytest.mark.needs_program("setpriv")
def test_a_key_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.state.mkdir()
    (node.state / "node.key").write_text("belongs to somebody else")
    (node.state / "node.key").chmod(0o600)
    os.chown(node.state / "node.key", 65534, 65534)
    bounded = "-dac_override,-dac_read_search"
    done = ntvl(*node.arguments, wrapper=("setpriv", f"--bounding-set={bounded}", f"--inh-caps={bounded}"))
    assert f"Cannot read the node key {node.state / 'node.key'}: no permission" in sentence(done)


def test_an_unknown_supernode_is_a_named_state_that_is_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path, supernode="hub.invalid")

    async def scenario() -> None:
        async with run_program(*node.arguments) as program:
            notice = await program.event(lambda event: event["event"] == "notice")
            assert notice["code"] == "unknown-host"
            assert "hub.invalid does not resolve" in notice["text"]
            status = json.loads(
                (await asyncio.to_thread(ntvl, "status", "--json", "--socket", str(node.socket))).stdout
            )
            assert status["supernodes"][0]["state"] == "resolving"
            assert await program.end() == 0

    in_namespace(scenario)


def test_the_secret_reaches_neither_arguments_nor_children_nor_output(tmp_path: Path) -> None:
    node = Node(tmp_path)
    arguments = tuple(a for a in node.arguments if a not in ("--secret-file", str(node.secret)))
    secret = "a secret that nobody else may see"

    async def scenario() -> None:
        async with run_program(*arguments, NTVL_SECRET=secret) as program:
            await program.event(lambda event: event["event"] == "started")
            shown = (await asyncio.to_thread(ntvl, "status", "--json", "--socket", str(node.socket))).stdout
            children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text().split()  # noqa: ASYNC240
            assert children, "the engine is a child"
            for child in children:
                assert secret.encode() not in Path(f"/proc/{child}/environ").read_bytes()  # noqa: ASYNC240
                assert secret.encode() not in Path(f"/proc/{child}/cmdline").read_bytes()  # noqa: ASYNC240
            assert await program.end() == 0
            assert secret not in shown + json.dumps(program.events) + await program.errors()

    in_namespace(scenario)
