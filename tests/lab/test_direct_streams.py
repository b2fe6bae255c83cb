"""TCP connections open from both ends at once through the kernel's NATs, where UDP does not pass."""

import json
import sys
from collections.abc import Iterator

import pytest

from ntvl.lab.program import Program
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, NatBehaviour, Passage
from ntvl.wire.address import Address

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft"), pytest.mark.timeout(60)]

NO_UDP = (NatBehaviour(passes=Passage.NO_UDP),)
SITES = {"left": NO_UDP, "no-udp": NO_UDP, "home": KINDS["eim-apdf"], "firewall": KINDS["firewall"]}
STARTED_S = 10.0
OPEN_S = 2.0
PORT = 1971

SERVER = """
import asyncio, json, sys
from ntvl.runtime.stream_server import StreamServer
from ntvl.wire.address import Address

async def serve():
    server = StreamServer(Address("127.0.0.1", 9), lambda: ())
    print(json.dumps({"port": await server.listen([Address("0.0.0.0", int(sys.argv[1]))])}))
    await asyncio.Event().wait()

asyncio.run(serve())
"""
# Dials once a file names what to dial; says what opened and how long that took, and sends a datagram through it.
NODE = """
import asyncio, json, pathlib, socket, sys, time
from ntvl.runtime.direct_streams import DirectStreams
from ntvl.wire.address import Address

async def dial(server, remotes):
    loop, began = asyncio.get_running_loop(), 0.0
    engine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    engine.bind(("127.0.0.1", 0))

    def tell_port(number, port, observed):
        print(json.dumps({"port": port, "observed": observed}))

    def tell_stream(number, remote, carrier):
        print(json.dumps({"stream": remote, "seconds": time.monotonic() - began}))
        engine.sendto(b"hello", carrier)

    streams = DirectStreams(
        Address(*engine.getsockname()), tell_port=tell_port, tell_stream=tell_stream, tell_end=lambda carrier: None
    )
    streams.want_port(1, [server])
    while not remotes.exists():
        await asyncio.sleep(0.01)
    began = time.monotonic()
    streams.dial(1, [Address(*remote) for remote in json.loads(remotes.read_text())])
    data, _ = await loop.sock_recvfrom(engine, 2048)
    print(json.dumps({"heard": data.decode()}))
    await asyncio.Event().wait()

asyncio.run(dial(Address(sys.argv[1], int(sys.argv[2])), pathlib.Path(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites(SITES)) as built:
        server = built.start("supernode", [sys.executable, "-c", SERVER, str(PORT)], name="the server")
        server.wait_event(lambda fields: "port" in fields, STARTED_S)
        yield built


def start(stage: Stage, machine: str, name: str) -> Program:
    server = stage.address("supernode")
    remotes = str(stage.directory / f"{name}.json")
    return stage.start(machine, [sys.executable, "-c", NODE, server, str(PORT), remotes], name=name)


def learn(program: Program) -> Address:
    """Returns as which address the server sees a node's port."""
    fields = program.wait_event(lambda fields: "port" in fields, STARTED_S, "have a port").fields
    assert fields["observed"], "the server told nothing"
    return Address(*fields["observed"])


@pytest.mark.parametrize("other", ["no-udp", "home", "firewall"])
def test_a_stream_opens_between_two_hosts_of_which_one_has_no_udp(stage: Stage, other: str) -> None:
    ends = {machine: start(stage, machine, f"{machine} against {other}") for machine in ("left", other)}
    seen = {machine: learn(program) for machine, program in ends.items()}
    for machine, far in (("left", other), (other, "left")):
        target = stage.directory / f"{ends[machine].name}.json"
        target.with_suffix(".part").write_text(json.dumps([seen[far]]))
        target.with_suffix(".part").rename(target)
    for machine, program in ends.items():
        opened = program.wait_event(lambda fields: "stream" in fields, 5.0, "open a stream").fields
        assert opened["stream"] == list(seen["left" if machine == other else other])
        assert opened["seconds"] < OPEN_S
        assert program.wait_event(lambda fields: "heard" in fields, 5.0, "hear the other").fields["heard"] == "hello"
    for program in ends.values():
        program.stop()
