"""Nodes behind routers that give each peer another random port: direct once one of the routers maps a port."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.interop.miniupnpd import start_daemon
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.member import NTVL
from ntvl.lab.stage import Stage
from ntvl.lab.topology import Host, Network, Router, Topology
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "miniupnpd")]

(RANDOM,) = KINDS["apdm-random"]
# The daemon maps to no documentation address, so this Internet has another prefix. It never leaves its namespaces.
TOPOLOGY = Topology(
    (
        Network("internet", "9.9.9.0/24"),
        Network("lan-a", "192.168.1.0/24"),
        Network("lan-b", "192.168.2.0/24"),
    ),
    (Host("supernode", ("internet",)), Host("a", ("lan-a",)), Host("b", ("lan-b",))),
    (Router("router", "internet", "lan-a", RANDOM), Router("router-b", "internet", "lan-b", RANDOM)),
)
DIRECT_S = 2.0


def mapped_ports(stage: Stage) -> str:
    return stage.run("router", ["nft", "list chain inet router mini_pre"]).stdout


@contextmanager
def overlay_on(stage: Stage, *machines: str) -> Iterator[Overlay]:
    overlay = Overlay(stage)
    overlay.join(*machines)
    yield overlay


def noticed(overlay: Overlay, machine: str, code: str) -> float | None:
    """Returns when a node told it, on the wall clock."""
    events = [event.fields for event in overlay.members[machine].program.events]
    return next((float(each["time"]) for each in events if each.get("code") == code), None)


def direct_since(overlay: Overlay, source: str, target: str) -> float:
    events = [event.fields for event in overlay.members[source].program.events]
    return next(float(each["time"]) for each in events if (each.get("name"), each.get("path")) == (target, "direct"))


def check_mapped(overlay: Overlay, protocol: str) -> None:
    """Checks that `a` is reached at its mapping, says so, and that the router has forgotten it when `a` has left."""
    stage, member = overlay.stage, overlay.members["a"]
    port = next(e.fields["port"] for e in member.program.events if e.fields["event"] == "started")
    shown = member.status()["port_mapping"]
    assert shown["mapped"] == [f"{stage.address('router')}:{port}"]
    assert [o["protocol"] for o in shown["outcomes"] if o["state"] == "mapped"] == [protocol]
    assert overlay.members["b"].path_to("a").remote == shown["mapped"][0]
    text = stage.run("a", [*NTVL, "status", "--socket", str(member.socket)]).stdout
    assert f"port mapped at {shown['mapped'][0]} by {protocol} at 192.168.1.1" in text
    assert str(port) in mapped_ports(stage)
    member.program.send_signal(signal.SIGTERM)
    member.program.wait_event(lambda fields: fields["event"] == "stopped", 5.0, "leave")
    assert str(port) not in mapped_ports(stage)


def test_upnp_makes_two_random_routers_direct() -> None:
    with Stage(TOPOLOGY) as stage:
        start_daemon(stage, natpmp=False, upnp=True)
        with overlay_on(stage, "a", "b") as overlay:
            overlay.wait_path("a", "b", "direct", 15.0)
            eventually(lambda: noticed(overlay, "a", "port-mapped"), 1.0, "a told of its mapping")
            mapped = noticed(overlay, "a", "port-mapped")
            assert mapped is not None
            met = max(
                float(event.fields["time"])
                for event in overlay.members["b"].program.events
                if event.fields["event"] == "peer-seen"
            )
            assert direct_since(overlay, "b", "a") - max(mapped, met) < DIRECT_S
            check_mapped(overlay, "UPnP")


def test_pcp_makes_a_relayed_pair_direct_as_soon_as_the_router_speaks_it() -> None:
    with Stage(TOPOLOGY) as stage, overlay_on(stage, "a", "b") as overlay:
        echo = overlay.echo("a", "b")
        overlay.wait_path("a", "b", "relay", 10.0)
        time.sleep(1.0)
        assert overlay.path("a", "b") == "relay", "two random ports, and nobody maps one"
        # The daemon speaks both, and NAT-PMP, which asks more often, would hear of it first.
        stage.run("router", ["nft", "insert rule inet router input udp dport 5351 @th,64,8 0 drop"])
        start_daemon(stage, natpmp=True, upnp=False)
        eventually(lambda: noticed(overlay, "a", "port-mapped"), 20.0, "a told of its mapping")
        overlay.wait_path("a", "b", "direct", 10.0)
        echo.stop()
        mapped = noticed(overlay, "a", "port-mapped")
        assert mapped is not None
        assert direct_since(overlay, "b", "a") - mapped < DIRECT_S
        check_mapped(overlay, "PCP")


def test_switched_off_nothing_is_asked_of_the_router() -> None:
    with Stage(TOPOLOGY) as stage:
        daemon = start_daemon(stage, natpmp=True, upnp=True)
        overlay = Overlay(stage)
        overlay.join("a", arguments=("--no-port-mapping",))
        time.sleep(1.0)
        assert overlay.members["a"].status()["port_mapping"] == {"enabled": False, "mapped": [], "outcomes": []}
        assert "dnat" not in mapped_ports(stage)
        assert daemon.is_running
        words = ["--supernode", stage.address("supernode"), "--json"]
        found = json.loads(stage.run("a", [*NTVL, "netcheck", *words]).stdout)
        assert found["port_mapping"] == {"192.168.1.1": ["PCP", "NAT-PMP", "UPnP"]}
        assert found["elapsed_s"] < 5.0
        assert "dnat" not in mapped_ports(stage), "netcheck makes no mapping"
