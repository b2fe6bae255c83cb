"""Port mapping at a router that nobody here wrote: miniupnpd, on a kernel NAT."""

import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.interop.miniupnpd import start_daemon
from tests.lab.udp import open_udp, receive

from ntvl.lab.program import Program
from ntvl.lab.stage import Stage
from ntvl.lab.topology import Host, Network, Router, Topology
from ntvl.nat import NatBehaviour

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "ping", "miniupnpd")]

PORT = 5005
MAPPER = """
import asyncio, json, signal, sys
from ntvl.runtime.portmapper import PortMapper
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    def tell(mapping):
        print(json.dumps({"mapping": mapping, "says": mapper.description}), flush=True)
    mapper = PortMapper(int(sys.argv[1]), on_change=tell)
    mapper.start()
    try:
        async with asyncio.timeout(float(sys.argv[2])):
            await stop.wait()
    except TimeoutError:
        print(json.dumps({"mapping": mapper.mapping, "says": mapper.description}), flush=True)
    await mapper.close()
    print(json.dumps({"closed": True, "says": mapper.description}), flush=True)
asyncio.run(main())
"""
# The daemon maps to no documentation address, so this Internet has another prefix. It never leaves its namespaces.
TOPOLOGY = Topology(
    (Network("internet", "9.9.9.0/24", "2001:db8::/64"), Network("lan", "192.168.1.0/24", "2001:db8:1::/64")),
    (Host("outside", ("internet",)), Host("a", ("lan",))),
    (Router("router", "internet", "lan", NatBehaviour()),),
)
NESTED = Topology(
    (Network("internet", "9.9.9.0/24"), Network("between", "10.1.0.0/24"), Network("lan", "192.168.1.0/24")),
    (Host("outside", ("internet",)), Host("a", ("lan",))),
    (Router("outer", "internet", "between", NatBehaviour()), Router("router", "between", "lan", NatBehaviour())),
)


@contextmanager
def mapped(stage: Stage, seconds: float = 60.0) -> Iterator[Program]:
    program = stage.start("a", [sys.executable, "-c", MAPPER, str(PORT), str(seconds)], name="mapper")
    yield program
    program.send_signal(signal.SIGTERM)
    program.wait_event(lambda fields: "closed" in fields, 5.0, "close")


def arrives(stage: Stage, inside: socket.socket, to: tuple[str, int], port: int) -> bool:
    with open_udp(stage, "outside", port, ipv6=":" in to[0]) as outside:
        outside.sendto(b"from outside", to)
        return receive(inside, 0.5) is not None


@pytest.mark.parametrize("protocol", ["PCP", "NAT-PMP", "UPnP"])
def test_a_datagram_from_outside_arrives_by_the_mapping_until_it_is_removed(protocol: str) -> None:
    with Stage(TOPOLOGY) as stage, open_udp(stage, "a", PORT) as inside:
        start_daemon(stage, natpmp=protocol != "UPnP", upnp=protocol == "UPnP")
        if protocol == "NAT-PMP":  # the daemon speaks both, so what begins with PCP's version does not reach it
            stage.run("router", ["nft", "insert rule inet router input udp dport 5351 @th,64,8 2 drop"])
        assert not arrives(stage, inside, (stage.address("router"), PORT), 4001)
        with mapped(stage) as program:
            wanted = f"{protocol} at {stage.address('router', 'lan')}: mapped to"
            said = program.wait_event(lambda fields: wanted in fields["says"], 20.0, "map the port").fields
            host, port = said["mapping"]
            assert host == stage.address("router")
            assert arrives(stage, inside, (host, port), 4002)
        assert not arrives(stage, inside, (host, port), 4003)
        assert str(PORT) not in stage.run("router", ["nft", "list chain inet router mini_pre"]).stdout


def test_a_pinhole_lets_ipv6_in_until_it_is_closed() -> None:
    with Stage(TOPOLOGY) as stage, open_udp(stage, "a", PORT, ipv6=True) as inside:
        start_daemon(stage, natpmp=True, upnp=False)
        to, router = (stage.address("a", ipv6=True), PORT), stage.address("router", "lan", ipv6=True)
        # Until duplicate detection is over, a host here finds no neighbour.
        stage.run("outside", ["ping", "-6", "-c", "1", "-w", "5", stage.address("router", ipv6=True)])
        stage.run("a", ["ping", "-6", "-c", "1", "-w", "5", router])
        assert not arrives(stage, inside, to, 4001)
        with mapped(stage) as program:
            program.wait_event(lambda fields: f"PCP at {router}: mapped to [{to[0]}]:{PORT}" in fields["says"], 20.0)
            assert arrives(stage, inside, to, 4002)
        assert not arrives(stage, inside, to, 4003)


def test_a_router_that_speaks_all_three_makes_one_mapping() -> None:
    with Stage(TOPOLOGY) as stage:
        start_daemon(stage, natpmp=True, upnp=True)
        with mapped(stage, 4.0) as program:
            said = program.wait_event(lambda fields: "closed" in fields, 20.0, "end by itself").fields
            kept = [event.fields for event in program.events if event.fields.get("mapping")][-1]
            assert said["closed"]
        # PCP wins if it answers before NAT-PMP is tried, after 0.25 s; a busy machine may take longer.
        (winner,) = re.findall(r"(PCP|NAT-PMP) at 192\.168\.1\.1: mapped to", kept["says"])
        assert kept["says"].count(f"not needed beside {winner}") == 2, kept["says"]


def test_a_mapping_behind_another_nat_is_not_offered() -> None:
    with Stage(NESTED) as stage:
        start_daemon(stage, natpmp=True, upnp=True)
        with mapped(stage, 2.0) as program:
            said = program.wait_event(lambda fields: "mapping" in fields, 20.0, "tell").fields
    assert said["mapping"] is None
    assert "no answer yet" not in said["says"], "all three were asked, and each says why not"


def test_a_router_that_speaks_none_is_remembered_as_such() -> None:
    with Stage(TOPOLOGY) as stage, mapped(stage, 5.0) as program:
        said = program.wait_event(lambda fields: "mapping" in fields, 20.0, "tell").fields
        assert said["mapping"] is None
        assert "UPnP at 192.168.1.1: the gateway does not answer" in said["says"]
